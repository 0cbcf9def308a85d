//! Completions of shells, and manual pages.

use std::process::Command;

use crate::binary::{folder, run};

/// What a shell prints that runs a script, and more behind it.
fn output_of(shell: &str, script: &str, more: &str) -> String {
    let output = Command::new(shell)
        .args(["-c", &format!("{script}\n{more}")])
        .output()
        .unwrap_or_else(|cause| panic!("{shell}: {cause}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{shell}: {output:?}");
    text
}

#[test]
fn bash_completes_commands_and_options() {
    let folder = folder();
    let script = run(folder.path(), &["completions", "bash"], &[]);
    assert_eq!(script.code, Some(0), "{script:?}");
    for (words, expected) in [
        ("high-templar hea", "health"),
        ("high-templar health --re", "--ready"),
        ("high-templar tenant sus", "suspend"),
    ] {
        let last = words.rsplit(' ').next().unwrap();
        let before = words.rsplit(' ').nth(1).unwrap();
        let count = words.split(' ').count() - 1;
        let ask = format!(
            "COMP_WORDS=({words}); COMP_CWORD={count}\n\
             _high__templar high-templar '{last}' '{before}'\n\
             printf '%s\\n' \"${{COMPREPLY[@]}}\""
        );
        let found = output_of("bash", &script.stdout, &ask);
        assert_eq!(found.trim(), expected, "{words}");
    }
}

#[test]
fn every_shell_has_completions_with_all_commands() {
    let folder = folder();
    for shell in ["bash", "zsh", "fish"] {
        let found = run(folder.path(), &["completions", shell], &[]);
        assert_eq!(found.code, Some(0), "{found:?}");
        for command in ["serve", "health", "tenant", "completions"] {
            assert!(found.stdout.contains(command), "{shell}: {command}");
        }
    }
    let found = run(folder.path(), &["completions", "cmd.exe"], &[]);
    assert_eq!(found.code, Some(2), "{found:?}");
}

#[test]
fn manual_pages_are_printed_and_written() {
    let folder = folder();
    let found = run(folder.path(), &["man"], &[]);
    assert_eq!(found.code, Some(0), "{found:?}");
    assert!(found.stdout.contains(".SH \"EXIT STATUS\""), "{found:?}");
    let found = run(folder.path(), &["man", "--dir", "."], &[]);
    assert_eq!((found.code, &*found.stdout), (Some(0), ""), "{found:?}");
    assert!(folder.path().join("high-templar-tenant-add.1").is_file());
    let found = run(folder.path(), &["man", "--dir", "none"], &[]);
    assert_eq!(found.code, Some(1), "{found:?}");
    assert!(found.stderr.contains("cannot write to none"), "{found:?}");
}
