//! The table of settings as documents: the reference in Markdown and a commented file.

use std::fmt::Write as _;

use crate::config::names::{section_of, variable_of};
use crate::config::secret_file::file_of;
use crate::config::sections::SECTIONS;
use crate::config::settings::{described, is_live, is_secret};
use crate::config::table::Described;
use crate::config::tenants;

const INTRODUCTION: &str = include_str!("docs/introduction.md");
const HEADERS: &str = include_str!("docs/headers.md");
const LEGACY: &str = include_str!("docs/legacy.md");

/// The reference of every setting: `docs/configuration.md`.
#[must_use]
pub fn markdown() -> String {
    let mut out = INTRODUCTION.to_owned();
    let settings = described();
    for (section, about) in SECTIONS {
        match *section {
            "" => out.push_str("\n## At the top of the file\n"),
            name => out.push_str(&format!("\n## [{name}]\n")),
        }
        write(&mut out, format_args!("\n{about}\n"));
        for setting in of_section(&settings, section) {
            let default = match setting.key {
                "backend.url" => "none: it must be given".to_owned(),
                _ => format!("`{}`", setting.default),
            };
            write(
                &mut out,
                format_args!(
                    "\n### `{key}`\n\n{doc}\n\n- Default: {default}\n- Expects: {expects}\n- Variable: `{variable}`\n- Changes: {changes}\n",
                    key = setting.key,
                    doc = setting.doc,
                    expects = setting.expects,
                    variable = variable_of(setting.key),
                    changes = if is_live(setting.key) {
                        "at a reload"
                    } else {
                        "at a restart"
                    },
                ),
            );
            if is_secret(setting.key) {
                let file = file_of(setting.key);
                let variable = variable_of(&file);
                write(
                    &mut out,
                    format_args!("- From a file: `{file}` or `{variable}` names it\n"),
                );
            }
        }
        match *section {
            "backend" => out.push_str(HEADERS),
            "tenants" => out.push_str(&tenants::markdown()),
            _ => {}
        }
    }
    out.push_str(LEGACY);
    out
}

/// A file with every setting at its default, commented out.
#[must_use]
pub fn toml() -> String {
    let mut out = "# Settings of high-templar. What is commented out is the default.\n".to_owned();
    let settings = described();
    for (section, about) in SECTIONS {
        write(&mut out, format_args!("\n# {about}\n"));
        if !section.is_empty() {
            write(&mut out, format_args!("[{section}]\n"));
        }
        for setting in of_section(&settings, section) {
            let name = setting.key.rsplit('.').next().unwrap_or(setting.key);
            out.push('\n');
            comment(&mut out, setting.doc);
            comment(&mut out, &format!("Expects {}.", setting.expects));
            if is_secret(setting.key) {
                let text = format!("A file that holds it: {name}_file.");
                comment(&mut out, &text);
            }
            if setting.key == "backend.url" {
                out.push_str("url = \"http://localhost:8000/api/\"\n");
            } else {
                write(&mut out, format_args!("#{name} = {}\n", setting.default));
            }
        }
    }
    out
}

fn of_section<'a>(
    settings: &'a [Described],
    section: &'a str,
) -> impl Iterator<Item = &'a Described> {
    settings
        .iter()
        .filter(move |setting| section_of(setting.key) == section)
}

/// A comment, broken at 90 columns.
fn comment(out: &mut String, text: &str) {
    const COLUMNS: usize = 90;
    let mut width = 0;
    for word in text.split(' ') {
        let length = word.chars().count();
        if width == 0 || width + 1 + length > COLUMNS {
            out.push_str(if width == 0 { "# " } else { "\n# " });
            width = 2;
        } else {
            out.push(' ');
            width += 1;
        }
        out.push_str(word);
        width += length;
    }
    out.push('\n');
}

fn write(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a String takes every text");
}
