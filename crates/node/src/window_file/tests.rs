//! The file of the window: what is taken, and what is ignored.

use std::os::unix::fs::{PermissionsExt, symlink};

use ht_proto::cursor::Check;
use ht_proto::entry::{Epoch, Position};
use ht_proto::saved::{SavedOrder, SavedWriter};

use super::*;

const LIMITS: WindowLimits = WindowLimits {
    entries: 100,
    bytes: 1 << 20,
    age: 60_000,
};

/// A directory of its own, which is removed in the end.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("ht-window-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> WindowFile {
        WindowFile::new(self.path(), LIMITS, 10)
    }

    fn path(&self) -> PathBuf {
        self.0.join("window")
    }

    /// The names of what is in it.
    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(&self.0).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(now.unwrap().as_millis()).unwrap()
}

/// A window that was saved at this time.
fn order(at: u64) -> SavedOrder {
    SavedOrder {
        epoch: Epoch::from_random(1),
        at,
        last: Position::new(7).unwrap(),
        start: Position::START,
        start_check: Check::NONE,
        is_missing: false,
    }
}

fn save(file: &WindowFile, order: &SavedOrder) -> u64 {
    let write = |out: &mut BufWriter<File>| SavedWriter::new(out, order)?.end().map(drop);
    file.save(write).unwrap()
}

#[test]
fn a_window_is_taken_once() {
    let directory = Directory::new();
    let file = directory.file();
    assert!(file.take().is_none(), "there is none");
    assert!(directory.names().is_empty());
    let order = order(now());
    assert!(save(&file, &order) > 0);
    assert_eq!(directory.names(), ["window"]);
    let mode = fs::metadata(directory.path()).unwrap().mode();
    assert_eq!(mode & 0o777, 0o600);
    let (saved, ago) = file.take().unwrap();
    assert_eq!(saved.order, order);
    assert!(ago < Duration::from_secs(30));
    assert!(directory.names().is_empty());
    assert!(file.take().is_none());
}

#[test]
fn a_file_that_is_old_or_from_the_future_is_dropped() {
    let directory = Directory::new();
    let file = directory.file();
    for (at, expected) in [
        (now() - LIMITS.age - 1, "it is older than window.age"),
        (
            now() + 100_000,
            "it was saved in the future: is the clock right?",
        ),
    ] {
        save(&file, &order(at));
        assert_eq!(file.try_take().unwrap_err().to_string(), expected);
        assert!(directory.names().is_empty());
    }
    // A clock that was set back a little.
    save(&file, &order(now() + 10_000));
    assert_eq!(file.take().unwrap().1, Duration::ZERO);
}

#[test]
fn a_file_that_others_could_have_written_is_ignored() {
    let directory = Directory::new();
    let file = directory.file();
    save(&file, &order(now()));
    let mode = fs::Permissions::from_mode(0o660);
    fs::set_permissions(directory.path(), mode).unwrap();
    assert!(matches!(file.try_take(), Err(Unusable::Foreign)));
    assert!(directory.names().is_empty());
}

#[test]
fn what_is_no_window_is_ignored() {
    let directory = Directory::new();
    let file = directory.file();
    fs::write(directory.path(), "not a window").unwrap();
    assert!(matches!(file.try_take(), Err(Unusable::Saved(_))));
    fs::write(directory.path(), "").unwrap();
    assert!(matches!(file.try_take(), Err(Unusable::Saved(_))));
    // A link to a window that is fine.
    save(&file, &order(now()));
    let real = directory.0.join("real");
    fs::rename(directory.path(), &real).unwrap();
    symlink(&real, directory.path()).unwrap();
    assert!(matches!(file.try_take(), Err(Unusable::Io(_))));
    assert_eq!(directory.names(), ["real"]);
    // What cannot be deleted could be read twice.
    fs::create_dir(directory.path()).unwrap();
    assert!(file.try_take().is_err());
}

#[test]
fn no_more_is_read_than_a_window_can_have() {
    let directory = Directory::new();
    let file = directory.file();
    let length = usize::try_from(file.bytes_max).unwrap() + 1;
    fs::write(directory.path(), vec![b'1'; length]).unwrap();
    assert!(matches!(file.try_take(), Err(Unusable::TooLong(_))));
}

#[test]
fn a_file_that_is_there_halfway_is_replaced_and_nothing_follows_its_link() {
    let directory = Directory::new();
    let file = directory.file();
    let other = directory.0.join("other");
    fs::write(&other, "other").unwrap();
    symlink(&other, directory.0.join("window.new")).unwrap();
    save(&file, &order(now()));
    assert_eq!(fs::read(&other).unwrap(), b"other");
    assert!(file.take().is_some());
    assert_eq!(directory.names(), ["other"]);
}
