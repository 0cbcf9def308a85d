//! Running the binary: in an empty folder, with no environment but what a test sets.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Makes a gateway use free ports.
pub(crate) const ANY_PORTS: [(&str, &str); 2] = [
    ("HT_LISTEN", "127.0.0.1:0"),
    ("HT_INTERNAL__LISTEN", "127.0.0.1:0"),
];

/// An empty folder, removed when dropped.
pub(crate) fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

/// Output of a finished command.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A command of the binary, not started yet.
pub(crate) fn command(folder: &Path, args: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_high-templar"));
    command.args(args).current_dir(folder).env_clear();
    command.envs(variables.iter().copied());
    command
}

/// Runs a command to its end.
///
/// # Panics
/// When it has not ended by the deadline.
#[track_caller]
pub(crate) fn run(folder: &Path, args: &[&str], variables: &[(&str, &str)]) -> Finished {
    let mut child = command(folder, args, variables)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let stdout = read_all(child.stdout.take().expect("piped"));
    let stderr = read_all(child.stderr.take().expect("piped"));
    let status = end_of(&mut child);
    let [stdout, stderr] = [stdout, stderr].map(|text| text.join().expect("a text"));
    let status = status.unwrap_or_else(|| panic!("it does not end:\n{stdout}\n{stderr}"));
    Finished {
        code: status.code(),
        stdout,
        stderr,
    }
}

fn read_all(mut from: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut text = String::new();
        from.read_to_string(&mut text).expect("UTF-8");
        text
    })
}

/// Waits for the end, until the deadline; then kills.
fn end_of(child: &mut Child) -> Option<ExitStatus> {
    let until = Instant::now() + DEADLINE;
    while Instant::now() < until {
        if let Some(status) = child.try_wait().expect("a child") {
            return Some(status);
        }
        thread::sleep(Duration::from_millis(5));
    }
    let _ = child.kill();
    let _ = child.wait();
    None
}

/// A running command whose lines are read as they come.
pub(crate) struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
    seen: String,
}

impl Running {
    /// Starts it.
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let (sender, lines) = mpsc::sync_channel(10_000);
        let stdout = child.stdout.take().expect("piped");
        let stderr = child.stderr.take().expect("piped");
        forward(stdout, sender.clone());
        forward(stderr, sender);
        Self {
            child,
            lines,
            seen: String::new(),
        }
    }

    /// Waits for a line with this text and returns the rest of it.
    #[track_caller]
    pub(crate) fn line_with(&mut self, text: &str) -> String {
        let until = Instant::now() + DEADLINE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("no line with {text:?} in:\n{}", self.seen);
            };
            self.seen.push_str(&line);
            self.seen.push('\n');
            if let Some((_, rest)) = line.split_once(text) {
                return rest.to_owned();
            }
        }
    }

    /// Sends a signal, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &self.child.id().to_string()])
            .status();
        assert!(sent.is_ok_and(|status| status.success()));
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        let status = end_of(&mut self.child);
        let status = status.unwrap_or_else(|| panic!("it does not end:\n{}", self.seen));
        let mut seen = std::mem::take(&mut self.seen);
        for line in self.lines.iter() {
            seen.push_str(&line);
            seen.push('\n');
        }
        (status, seen)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn forward(from: impl Read + Send + 'static, to: mpsc::SyncSender<String>) {
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if to.send(line).is_err() {
                break;
            }
        }
    });
}

/// A backend that sends the same response to every request. Its address ends in `/api/`.
pub(crate) fn stub_backend(answer: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/api/", listener.local_addr().expect("an address"));
    let answer = answer.to_owned();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let answer = answer.clone();
            thread::spawn(move || respond(stream, &answer));
        }
    });
    url
}

/// A complete HTTP response.
pub(crate) fn answer(status: &str, kind: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn respond(stream: TcpStream, answer: &str) {
    let Ok(mut writer) = stream.try_clone() else {
        return;
    };
    let mut head = BufReader::new(stream).lines();
    while let Some(Ok(line)) = head.next() {
        if line.is_empty() {
            let _ = writer.write_all(answer.as_bytes());
            return;
        }
    }
}
