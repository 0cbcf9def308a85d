//! Usage over time, by a clock of the test.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::*;
use crate::usage::ledger::{Peaks, Sums};

/// A node that uses one message a second for `acme`, from 2026-11-30T12:58:30 on.
struct Running {
    folder: tempfile::TempDir,
    counts: Arc<UsageCounts>,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

fn start(file: &str) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let began = Instant::now();
    let base = Hour::parse("2026-11-30T13").unwrap().begin() - Duration::from_secs(90);
    let clock = Arc::new(move || base + began.elapsed());
    let read = move |ledger: &mut Ledger| {
        let sums = Sums {
            messages_in: began.elapsed().as_secs(),
            ..Sums::default()
        };
        ledger.note(&"acme".parse().unwrap(), sums, Peaks::default());
    };
    let counts = Arc::<UsageCounts>::default();
    let usage = Usage {
        ledger: Ledger::new("a", "b00t", clock()),
        read: Box::new(read),
        files: SharedFiles::new(&folder.path().join(file), "b00t"),
        interval: Duration::from_secs(60),
        keep: Duration::from_hours(24),
        clock,
        sender: None,
        counts: Arc::clone(&counts),
        throttles: Arc::default(),
        is_posted: false,
        complete: VecDeque::new(),
    };
    let shutdown = CancellationToken::new();
    Running {
        folder,
        counts,
        task: tokio::spawn(usage.run(shutdown.clone())),
        shutdown,
    }
}

impl Running {
    /// Messages of each file, by its name, and whether it is complete.
    fn files(&self) -> BTreeMap<String, (u64, bool)> {
        let mut all = BTreeMap::new();
        for entry in fs::read_dir(self.folder.path()).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if path
                .extension()
                .is_some_and(|extension| extension == "jsonl")
            {
                let text = fs::read_to_string(&path).unwrap();
                let record: Value = serde_json::from_str(text.trim()).unwrap();
                let messages = record["messages_in"].as_u64().unwrap();
                all.insert(name, (messages, record["complete"].as_bool().unwrap()));
            }
        }
        all
    }
}

fn named<const N: usize>(files: [(&str, (u64, bool)); N]) -> BTreeMap<String, (u64, bool)> {
    files.map(|(name, file)| (name.to_owned(), file)).into()
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_is_written_each_minute_and_at_the_end_of_each_hour() {
    let running = start("usage.jsonl");
    let (hour12, hour13) = ("usage.2026-11-30T12.b00t", "usage.2026-11-30T13.b00t");
    let open12 = format!("{hour12}.open.jsonl");
    let (full12, open13) = (format!("{hour12}.jsonl"), format!("{hour13}.open.jsonl"));
    for (seconds, expected) in [
        (59, named([])),
        (2, named([(&open12, (60, false))])),
        // 13:00:01
        (30, named([(&full12, (90, true))])),
        (60, named([(&full12, (90, true)), (&open13, (60, false))])),
    ] {
        sleep(Duration::from_secs(seconds)).await;
        assert_eq!(running.files(), expected, "after {seconds} more seconds");
    }
    // 13:01:31
    sleep(Duration::from_secs(30)).await;
    running.shutdown.cancel();
    let Running { folder, task, .. } = running;
    task.await.unwrap();
    let last = folder.path().join(format!("{hour13}.jsonl"));
    let record: Value = serde_json::from_str(&fs::read_to_string(last).unwrap()).unwrap();
    assert_eq!(
        (&record["messages_in"], &record["complete"]),
        (&91.into(), &true.into())
    );
    assert_eq!(record["until"], "2026-11-30T13:01:31Z");
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        2,
        "no lock is left"
    );
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_written_is_kept_and_written_later() {
    let running = start("missing/usage.jsonl");
    sleep(Duration::from_secs(155)).await;
    // 13:01:05: also the end of an hour has failed.
    assert!(running.counts.write_failures.load(Ordering::Relaxed) >= 3);
    let folder = running.folder.path().join("missing");
    fs::create_dir(&folder).unwrap();
    sleep(Duration::from_secs(60)).await;
    running.shutdown.cancel();
    running.task.await.unwrap();
    let messages = |hour: u32| {
        let file = folder.join(format!("usage.2026-11-30T{hour}.b00t.jsonl"));
        let record: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
        record["messages_in"].as_u64().unwrap()
    };
    assert_eq!((messages(12), messages(13)), (90, 125));
}

#[tokio::test(start_paused = true)]
async fn a_start_completes_what_a_dead_run_left() {
    let running = start("usage.jsonl");
    let left = "usage.2026-11-30T11.dead.open.jsonl";
    fs::write(
        running.folder.path().join(left),
        "{\"messages_in\": 7, \"complete\": false}\n",
    )
    .unwrap();
    sleep(Duration::from_secs(100)).await;
    let files = running.files();
    assert_eq!(
        files["usage.2026-11-30T11.dead.jsonl"],
        (7, false),
        "{files:?}"
    );
}
