//! A folder with a file for each tenant, as it is changed by commands and requests.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ht_node::config::TenantName;
use serde_json::Value as Json;
use toml::de::DeTable;

use crate::config::quoted;
use crate::tenants::disk;

/// Permission bits of a tenant's file, less the umask: it holds no secret.
const MODE: u32 = 0o644;

/// A folder of tenants.
#[derive(Clone, Debug)]
pub(crate) struct Folder(PathBuf);

/// Why a tenant's file was not changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FolderError {
    /// There is none.
    #[error("there is no file of a tenant {name} in {}", .folder.display())]
    NoTenant {
        /// Its name.
        name: TenantName,
        /// The folder.
        folder: PathBuf,
    },
    /// There are several, and each is the whole tenant.
    #[error("{} and {} are both of the tenant: remove one of them", .one.display(), .other.display())]
    Twice {
        /// A file.
        one: PathBuf,
        /// The other one.
        other: PathBuf,
    },
    /// What is in it cannot be read.
    #[error("{} cannot be changed: {cause}. Mend it first", .path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// The file system.
    #[error("cannot write {}: {cause}. Make the folder writable for this user", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: io::Error,
    },
}

impl Folder {
    /// The folder at this path.
    pub(crate) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Whether there is a file of this tenant.
    pub(crate) fn has(&self, name: &TenantName) -> bool {
        self.paths(name).iter().any(|path| path.exists())
    }

    /// Writes a tenant.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(crate) fn put(&self, name: &TenantName, json: &Json) -> Result<PathBuf, FolderError> {
        let path = self.path_to_write(name)?;
        let is_json = path.extension().is_some_and(|ending| ending == "json");
        let text = if is_json {
            format!("{json:#}\n")
        } else {
            toml(json)
        };
        self.write(path, &text)
    }

    /// Writes the text of a tenant's TOML, which is a new one.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(crate) fn put_text(&self, name: &TenantName, text: &str) -> Result<PathBuf, FolderError> {
        let [toml, _] = self.paths(name);
        self.write(toml, text)
    }

    /// Suspends a tenant, or ends that: only this line of its file changes.
    ///
    /// # Errors
    /// If there is none, or its file cannot be read or written.
    pub(crate) fn set_suspended(
        &self,
        name: &TenantName,
        suspended: bool,
    ) -> Result<PathBuf, FolderError> {
        if !self.has(name) {
            return Err(self.nobody(name));
        }
        let path = self.path_to_write(name)?;
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(cause) => return Err(FolderError::Io { path, cause }),
        };
        // A byte order mark before it means nothing, and is left out.
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        if path.extension().is_some_and(|ending| ending == "json") {
            return match serde_json::from_str(text) {
                Ok(Json::Object(mut members)) => {
                    members.insert("suspended".to_owned(), suspended.into());
                    self.put(name, &Json::Object(members))
                }
                Ok(_) => Err(broken(path, "it is no object")),
                Err(cause) => Err(broken(path, cause)),
            };
        }
        match with_suspended(text, suspended) {
            Ok(text) => self.write(path, &text),
            Err(cause) => Err(broken(path, cause)),
        }
    }

    /// Deletes a tenant.
    ///
    /// # Errors
    /// If there is none, or its file cannot be deleted.
    pub(crate) fn remove(&self, name: &TenantName) -> Result<(), FolderError> {
        let paths = self.paths(name).into_iter().filter(|path| path.exists());
        let mut is_gone = false;
        for path in paths {
            disk::remove(&path).map_err(|cause| FolderError::Io { path, cause })?;
            is_gone = true;
        }
        if is_gone {
            Ok(())
        } else {
            Err(self.nobody(name))
        }
    }

    fn nobody(&self, name: &TenantName) -> FolderError {
        FolderError::NoTenant {
            name: name.clone(),
            folder: self.0.clone(),
        }
    }

    fn write(&self, path: PathBuf, text: &str) -> Result<PathBuf, FolderError> {
        match disk::replace(&path, text.as_bytes(), MODE) {
            Ok(()) => Ok(path),
            Err(cause) => Err(FolderError::Io { path, cause }),
        }
    }

    /// The file of a tenant that is there, or a new one.
    fn path_to_write(&self, name: &TenantName) -> Result<PathBuf, FolderError> {
        let [toml, json] = self.paths(name);
        match (toml.exists(), json.exists()) {
            (true, true) => Err(FolderError::Twice {
                one: toml,
                other: json,
            }),
            (false, true) => Ok(json),
            (_, false) => Ok(toml),
        }
    }

    fn paths(&self, name: &TenantName) -> [PathBuf; 2] {
        ["toml", "json"].map(|ending| self.0.join(format!("{name}.{ending}")))
    }
}

/// A tenant as a file of TOML.
fn toml(json: &Json) -> String {
    let Json::Object(members) = json else {
        return String::new();
    };
    let (tables, values): (Vec<_>, Vec<_>) =
        members.iter().partition(|(_, value)| value.is_object());
    let mut out = String::new();
    for (name, value) in values {
        out.push_str(&format!("{} = {}\n", key(name), inline(value)));
    }
    for (name, table) in tables {
        out.push_str(&format!("\n[{}]\n", key(name)));
        for (name, value) in table.as_object().into_iter().flatten() {
            out.push_str(&format!("{} = {}\n", key(name), inline(value)));
        }
    }
    out
}

/// A value of JSON in one line of TOML.
fn inline(value: &Json) -> String {
    match value {
        // No setting takes it; whoever reads it says so.
        Json::Null => "\"\"".to_owned(),
        Json::Bool(_) | Json::Number(_) => value.to_string(),
        Json::String(text) => quoted(text),
        Json::Array(items) => {
            let items: Vec<_> = items.iter().map(inline).collect();
            format!("[{}]", items.join(", "))
        }
        Json::Object(members) => {
            let members = members.iter();
            let members: Vec<_> = members
                .map(|(name, value)| format!("{} = {}", key(name), inline(value)))
                .collect();
            format!("{{ {} }}", members.join(", "))
        }
    }
}

/// A name of TOML.
fn key(name: &str) -> String {
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if !name.is_empty() && name.bytes().all(is_bare) {
        name.to_owned()
    } else {
        quoted(name)
    }
}

/// The TOML of a tenant with this setting: its value is changed, or a line added at the top.
///
/// # Errors
/// If it is no TOML.
fn with_suspended(text: &str, suspended: bool) -> Result<String, String> {
    let table = DeTable::parse(text).map_err(|error| error.message().to_owned())?;
    let mut settings = table.get_ref().iter();
    let found = settings.find(|(name, _)| name.get_ref() == "suspended");
    let value = found.map(|(_, value)| value.span());
    let parts = value.and_then(|span| Some((text.get(..span.start)?, text.get(span.end..)?)));
    Ok(match parts {
        Some((before, after)) => format!("{before}{suspended}{after}"),
        None => format!("suspended = {suspended}\n{text}"),
    })
}

fn broken(path: PathBuf, cause: impl fmt::Display) -> FolderError {
    FolderError::Broken {
        path,
        cause: cause.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::tenant_of_file;

    #[test]
    fn only_one_value_of_a_file_changes() {
        for (text, expected) in [
            ("", "suspended = true\n"),
            (
                "# acme\nkey = 'a'\n",
                "suspended = true\n# acme\nkey = 'a'\n",
            ),
            (
                "# acme\nsuspended = false # for now\n[backend]\nurl = ''\n",
                "# acme\nsuspended = true # for now\n[backend]\nurl = ''\n",
            ),
            (
                "a = 1\n[features]\nsuspended = false\n",
                "suspended = true\na = 1\n[features]\nsuspended = false\n",
            ),
            ("suspended=false", "suspended=true"),
            ("\"suspended\" = false\n", "\"suspended\" = true\n"),
            ("'suspended'= false\n", "'suspended'= true\n"),
            (
                "\"s\\u0075spended\" = false\n",
                "\"s\\u0075spended\" = true\n",
            ),
            (
                "a = \"\"\"\nsuspended = false\n\"\"\"\n",
                "suspended = true\na = \"\"\"\nsuspended = false\n\"\"\"\n",
            ),
            (
                "suspended = 'no'\r\na = 1\r\n",
                "suspended = true\r\na = 1\r\n",
            ),
        ] {
            assert_eq!(
                with_suspended(text, true).as_deref(),
                Ok(expected),
                "{text:?}"
            );
        }
        assert!(with_suspended("suspended = \n", true).is_err());
    }

    #[test]
    fn a_byte_order_mark_hides_nothing_and_a_broken_file_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let tenants = Folder::new(folder.path());
        for (file, text, expected) in [
            (
                "a.toml",
                "\u{feff}suspended = false\n",
                Some("suspended = true\n"),
            ),
            (
                "b.json",
                "\u{feff}{}",
                Some("{\n  \"suspended\": true\n}\n"),
            ),
            ("c.json", "[]", None),
            ("d.json", "suspended = false", None),
            ("e.toml", "suspended = ", None),
        ] {
            let path = folder.path().join(file);
            fs::write(&path, text).unwrap();
            let done = tenants.set_suspended(&file[..1].parse().unwrap(), true);
            assert_eq!(done.is_ok(), expected.is_some(), "{file}: {done:?}");
            let now = fs::read_to_string(&path).unwrap();
            assert_eq!(now, expected.unwrap_or(text), "{file}");
        }
    }

    #[test]
    fn a_tenant_is_written_in_the_form_that_its_file_has() {
        let folder = tempfile::tempdir().unwrap();
        let tenants = Folder::new(folder.path());
        let name: TenantName = "acme".parse().unwrap();
        let tenant = json!({
            "name": "acme",
            "origins": ["https://a.example", "quoted \"\\\n\u{7f}é"],
            "limits": { "connections": 7 },
            "backend": { "url": "http://a/", "headers": { "X A": { "fixed": { "env": "A" } } } },
            "suspended": true,
        });
        let path = tenants.put(&name, &tenant).unwrap();
        assert_eq!(path, folder.path().join("acme.toml"));
        let text = fs::read_to_string(&path).unwrap();
        let read = tenant_of_file(&text, Path::new("acme.toml"));
        assert!(read.broken.is_empty(), "{}\n{text}", read.broken);
        assert_eq!(read.to_json(), tenant, "{text}");

        tenants.set_suspended(&name, false).unwrap();
        assert!(
            fs::read_to_string(&path)
                .unwrap()
                .contains("suspended = false")
        );
        tenants.remove(&name).unwrap();
        assert!(matches!(
            tenants.remove(&name),
            Err(FolderError::NoTenant { .. })
        ));
        assert!(tenants.set_suspended(&name, true).is_err());

        let path = folder.path().join("acme.json");
        fs::write(&path, "{}").unwrap();
        assert_eq!(tenants.put(&name, &tenant).unwrap(), path);
        tenants.set_suspended(&name, false).unwrap();
        let read: Json = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(read["suspended"], json!(false));
        fs::write(folder.path().join("acme.toml"), "").unwrap();
        assert!(matches!(
            tenants.put(&name, &tenant),
            Err(FolderError::Twice { .. })
        ));
    }
}
