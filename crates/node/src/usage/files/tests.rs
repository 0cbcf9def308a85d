//! The files in a folder of their own.

use super::*;

fn hour(text: &str) -> Hour {
    Hour::parse(text).unwrap()
}

fn listed(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".jsonl"))
        .collect();
    names.sort();
    names
}

fn read(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap()
}

#[test]
fn each_hour_and_run_has_one_file_that_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = UsageFiles::new(&folder.path().join("usage.jsonl"), "b1");
    files.checkpoint(hour("2026-11-30T12"), "").unwrap();
    assert_eq!(listed(folder.path()), [] as [&str; 0]);
    for lines in ["1\n", "2\n"] {
        files.checkpoint(hour("2026-11-30T12"), lines).unwrap();
    }
    assert_eq!(listed(folder.path()), ["usage.2026-11-30T12.b1.open.jsonl"]);
    assert!(files.unsent().unwrap().is_empty());
    files.complete(hour("2026-11-30T12"), "3\n").unwrap();
    files.complete(hour("2026-11-30T13"), "").unwrap();
    files.checkpoint(hour("2026-11-30T14"), "4\n").unwrap();
    let complete = "usage.2026-11-30T12.b1.jsonl";
    assert_eq!(
        listed(folder.path()),
        [complete, "usage.2026-11-30T14.b1.open.jsonl"]
    );
    assert_eq!(read(folder.path(), complete), "3\n");
    let unsent = files.unsent().unwrap();
    assert_eq!(unsent, [folder.path().join(complete)]);
    files.sent(&unsent[0]).unwrap();
    assert!(files.unsent().unwrap().is_empty());
    assert_eq!(
        listed(folder.path())[0],
        "usage.2026-11-30T12.b1.sent.jsonl"
    );
}

#[test]
fn a_run_completes_what_dead_ones_left_and_nothing_of_those_that_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("usage.jsonl");
    let mut running = UsageFiles::new(&path, "running");
    running
        .checkpoint(hour("2026-11-30T12"), "running\n")
        .unwrap();
    let mut dead = UsageFiles::new(&path, "dead");
    dead.checkpoint(hour("2026-11-30T12"), "dead\n").unwrap();
    // Its lock is gone with its descriptors, as with `kill -9`.
    drop(dead);
    fs::write(
        folder.path().join("usage.2026-11-30T12.x.y.jsonl"),
        "foreign",
    )
    .unwrap();
    fs::write(
        folder.path().join("usagex.2026-11-30T12.x.open.jsonl"),
        "foreign",
    )
    .unwrap();

    let mut next = UsageFiles::new(&path, "next");
    assert_eq!(next.recover().unwrap(), 1);
    assert_eq!(next.recover().unwrap(), 0);
    let names = listed(folder.path());
    assert!(
        names.contains(&"usage.2026-11-30T12.dead.jsonl".to_owned()),
        "{names:?}"
    );
    assert!(
        names.contains(&"usage.2026-11-30T12.running.open.jsonl".to_owned()),
        "{names:?}"
    );
    assert!(!folder.path().join("usage.dead.lock").exists());
    assert!(folder.path().join("usage.running.lock").exists());
    running.end();
    assert!(!folder.path().join("usage.running.lock").exists());
    assert_eq!(next.recover().unwrap(), 1);
    let unsent = next.unsent().unwrap();
    assert_eq!(unsent.len(), 2);
}

#[test]
fn old_files_are_removed_and_those_that_nobody_took_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = UsageFiles::new(&folder.path().join("bills"), "b");
    for text in ["2026-11-01T00", "2026-11-01T01", "2026-11-01T02"] {
        files.complete(hour(text), "1\n").unwrap();
    }
    files.checkpoint(hour("2026-10-01T00"), "1\n").unwrap();
    files.sent(&files.unsent().unwrap()[0]).unwrap();
    let now = hour("2026-12-01T01").begin() + Duration::from_secs(1);
    let keep = Duration::from_hours(30 * 24 - 1);
    assert_eq!(files.remove_old(now, keep).unwrap(), 1);
    assert_eq!(
        listed(folder.path()),
        [
            "bills.2026-10-01T00.b.open.jsonl",
            "bills.2026-11-01T02.b.jsonl"
        ]
    );
}

#[test]
fn what_the_disk_does_not_take_is_an_error_and_the_last_checkpoint_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("inner");
    let mut files = UsageFiles::new(&path.join("usage.jsonl"), "b");
    assert!(files.checkpoint(hour("2026-11-30T12"), "1\n").is_err());
    assert!(files.recover().is_err());
    fs::create_dir(&path).unwrap();
    files.checkpoint(hour("2026-11-30T12"), "1\n").unwrap();
    // As with a full disk, nothing new can be made.
    fs::create_dir(path.join("usage.b.new")).unwrap();
    assert!(files.checkpoint(hour("2026-11-30T12"), "2\n").is_err());
    assert_eq!(read(&path, "usage.2026-11-30T12.b.open.jsonl"), "1\n");
    fs::remove_dir(path.join("usage.b.new")).unwrap();
    files.complete(hour("2026-11-30T12"), "3\n").unwrap();
    assert_eq!(read(&path, "usage.2026-11-30T12.b.jsonl"), "3\n");
}
