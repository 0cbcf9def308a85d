//! The real binary, running. `HT_GATEWAY_BIN` names another build of it, such as a release.

use std::io::{BufRead, BufReader, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::log::Watched;
use crate::support::stream::Address;
use crate::support::{Answer, Client, DEADLINE, StubBackend, eventually, http};

/// The binary that was built with the tests.
const BUILT: &str = env!("CARGO_BIN_EXE_high-templar");

/// How to start a gateway.
pub(crate) struct Builder {
    variables: Vec<(String, String)>,
    file: String,
    folder: TempDir,
    open_files: Option<u32>,
    /// Names and sockets that are passed as a service manager does it.
    sockets: Vec<(String, OwnedFd)>,
}

impl Builder {
    /// Limits its open files.
    pub(crate) fn open_files(mut self, max: u32) -> Self {
        self.open_files = Some(max);
        self
    }

    /// Sets a variable of the environment.
    pub(crate) fn set(mut self, name: &str, value: impl ToString) -> Self {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.into(), value.to_string()));
        self
    }

    /// Does not set a variable that every test has otherwise.
    pub(crate) fn unset(mut self, name: &str) -> Self {
        self.variables.retain(|(known, _)| known != name);
        self
    }

    /// Appends lines to the configuration file.
    pub(crate) fn file(mut self, lines: &str) -> Self {
        self.file.push_str(lines);
        self
    }

    /// The hooks of the usual deployment.
    pub(crate) fn hooks(self) -> Self {
        self.set("HT_HOOKS__CONNECT", "POST user/notify_online/")
            .set("HT_HOOKS__PING", "POST user/notify_online/")
            .set("HT_HOOKS__DISCONNECT", "POST user/notify_offline/")
    }

    /// Passes a socket that is open already, under this name.
    pub(crate) fn pass(mut self, name: &str, socket: impl Into<OwnedFd>) -> Self {
        let socket = socket2::Socket::from(socket.into());
        socket.set_cloexec(false).expect("an inherited socket");
        self.sockets.push((name.into(), socket.into()));
        self
    }

    /// The gateway's own folder, for sockets.
    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Starts it and waits until it logs its addresses.
    #[track_caller]
    pub(crate) fn start(self) -> Gateway {
        let mut gateway = self.spawn(Stdio::piped());
        // In the log as JSON the text ends with a quote.
        let address = |gateway: &Gateway, line: &str| {
            let rest = gateway.wait_for_line(line);
            Address::parse(rest.split([' ', '"']).next().unwrap_or_default())
        };
        gateway.public = Some(address(&gateway, "browsers connect to "));
        gateway.internal = Some(address(&gateway, "triggers, metrics and health are on "));
        gateway
    }

    /// Starts it on passed sockets, with its log discarded.
    pub(crate) fn start_unheard(
        self,
        log: impl Into<Stdio>,
        public: &Address,
        internal: &Address,
    ) -> Gateway {
        let mut gateway = self.spawn(log.into());
        gateway.lines.change(|lines| lines.ended = true);
        gateway.public = Some(public.clone());
        gateway.internal = Some(internal.clone());
        gateway
    }

    /// Starts it and waits until it ends; its exit code and its log.
    #[track_caller]
    pub(crate) fn start_and_fail(self) -> (Option<i32>, String) {
        let mut gateway = self.spawn(Stdio::piped());
        let code = gateway.wait_for_end();
        (code, gateway.log())
    }

    fn spawn(self, log: Stdio) -> Gateway {
        let file = self.folder.path().join("high-templar.toml");
        std::fs::write(&file, &self.file).expect("a configuration file");
        let mut command = shell(self.open_files, &self.sockets);
        let mut child = command
            .arg(std::env::var("HT_GATEWAY_BIN").unwrap_or_else(|_| BUILT.into()))
            .args(["serve", "--config"])
            .arg(&file)
            .current_dir(self.folder.path())
            .env_clear()
            .envs(self.variables)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the binary starts");
        let lines = Arc::new(Watched::new(Lines::default()));
        if let Some(stderr) = child.stderr.take() {
            collect(stderr, Arc::clone(&lines));
        }
        Gateway {
            child,
            lines,
            public: None,
            internal: None,
            folder: self.folder,
        }
    }
}

/// A command that runs its arguments with so many open files at most, and with these sockets from
/// descriptor 3 on (sd_listen_fds(3)).
fn shell(open_files: Option<u32>, sockets: &[(String, OwnedFd)]) -> Command {
    let mut script = String::new();
    if let Some(max) = open_files {
        script += &format!("ulimit -n {max}\n");
    }
    if !sockets.is_empty() {
        // Out of the way first: one may be where another belongs.
        for (index, (_, socket)) in sockets.iter().enumerate() {
            script += &format!("exec {}<&{}\n", 100 + index, socket.as_raw_fd());
        }
        for index in 0..sockets.len() {
            script += &format!("exec {}<&{1} {1}<&-\n", 3 + index, 100 + index);
        }
        let names: Vec<_> = sockets.iter().map(|(name, _)| &**name).collect();
        let (count, names) = (sockets.len(), names.join(":"));
        script += &format!("export LISTEN_PID=$$ LISTEN_FDS={count} LISTEN_FDNAMES={names}\n");
    }
    let mut command = Command::new("/bin/bash");
    command.args(["-c", &(script + "exec \"$@\""), "bash"]);
    command
}

#[derive(Default)]
struct Lines {
    text: String,
    ended: bool,
}

fn collect(from: impl Read + Send + 'static, to: Arc<Watched<Lines>>) {
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            to.change(|lines| {
                lines.text.push_str(&line);
                lines.text.push('\n');
            });
        }
        to.change(|lines| lines.ended = true);
    });
}

/// A running gateway; killed when dropped.
pub(crate) struct Gateway {
    child: Child,
    lines: Arc<Watched<Lines>>,
    public: Option<Address>,
    internal: Option<Address>,
    /// Removed with the gateway.
    folder: TempDir,
}

impl Gateway {
    /// A gateway for this backend, with two threads on free ports.
    pub(crate) fn with(backend: &StubBackend) -> Builder {
        let builder = Builder {
            variables: Vec::new(),
            file: String::new(),
            folder: tempfile::tempdir().expect("a folder"),
            open_files: None,
            sockets: Vec::new(),
        };
        builder
            .set("HT_BACKEND__URL", &backend.url)
            .set("HT_LISTEN", "127.0.0.1:0")
            .set("HT_INTERNAL__LISTEN", "127.0.0.1:0")
            .set("HT_THREADS", 2)
    }

    /// A gateway with default settings.
    #[track_caller]
    pub(crate) fn start(backend: &StubBackend) -> Self {
        Self::with(backend).start()
    }

    /// Where browsers connect.
    pub(crate) fn public(&self) -> &Address {
        self.public.as_ref().expect("a started gateway")
    }

    /// Where triggers, metrics and health are served.
    pub(crate) fn internal(&self) -> &Address {
        self.internal.as_ref().expect("a started gateway")
    }

    /// Its own folder.
    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything that was logged so far.
    pub(crate) fn log(&self) -> String {
        self.lines.look(|lines| lines.text.clone())
    }

    /// Waits for a line with this text, also an earlier one, and returns the rest of it.
    #[track_caller]
    pub(crate) fn wait_for_line(&self, text: &str) -> String {
        let found = self.lines.wait(|lines| {
            let rest = lines.text.lines().find_map(|line| line.split_once(text));
            match rest {
                Some((_, rest)) => Some(Some(rest.to_owned())),
                None if lines.ended => Some(None),
                None => None,
            }
        });
        match found.flatten() {
            Some(rest) => rest,
            None => panic!("no line with {text:?} in:\n{}", self.log()),
        }
    }

    /// A request to the internal listener.
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Answer {
        http::request(self.internal(), "GET", path, &[], b"")
    }

    /// Posts a body to `/trigger/`, without a content type.
    #[track_caller]
    pub(crate) fn post(&self, body: impl AsRef<[u8]>) -> Answer {
        http::request(self.internal(), "POST", "/trigger/", &[], body.as_ref())
    }

    /// Posts triggers, which must be accepted.
    #[track_caller]
    pub(crate) fn trigger(&self, trigger: &Value) -> Value {
        let answer = self.post(trigger.to_string());
        assert_eq!(answer.status, 200, "{trigger}: {answer:?}");
        answer.json()
    }

    /// A number of `/metrics`, by its name and labels as shown there; 0 if it is absent.
    #[track_caller]
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let answer = self.get("/metrics");
        assert_eq!(answer.status, 200, "{answer:?}");
        let lines = answer.text().lines();
        let found = lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let values: Vec<_> = found.map(|value| value.parse().expect(value)).collect();
        assert!(values.len() <= 1, "{name}: {values:?}");
        values.first().copied().unwrap_or(0)
    }

    /// Waits until a metric has a value.
    #[track_caller]
    pub(crate) fn wait_for_metric(&self, name: &str, value: u64) {
        eventually(&format!("{name} {value}"), || {
            (self.metric(name) == value).then_some(())
        });
    }

    /// Waits until `status` counts this many connections, its own included.
    #[track_caller]
    pub(crate) fn wait_for_open(&self, asking: &mut Client, count: u64) {
        eventually(&format!("{count} open connections"), || {
            (asking.status()["open_connections"] == count).then_some(())
        });
    }

    /// Sends a signal, such as `TERM`.
    #[track_caller]
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &self.child.id().to_string()])
            .status();
        assert!(sent.is_ok_and(|status| status.success()));
    }

    /// SIGSTOP, and waits until every thread has stopped: one that runs may still answer.
    #[track_caller]
    pub(crate) fn stop(&self) {
        self.signal("STOP");
        let tasks = format!("/proc/{}/task", self.child.id());
        eventually("all threads stopped", || {
            let tasks = std::fs::read_dir(&tasks).expect("the gateway runs");
            let mut states = tasks.flatten().map(|task| {
                let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
                stat.rsplit(") ")
                    .next()
                    .is_some_and(|rest| rest.starts_with('T'))
            });
            states.all(|stopped| stopped).then_some(())
        });
    }

    /// Writes another configuration file and reloads it; returns the log line about it.
    #[track_caller]
    pub(crate) fn reload(&self, file: &str) -> String {
        let before = self.log().len();
        self.reload_unheard(file);
        let said = self.lines.wait(|lines| {
            let new = &lines.text[before..];
            let done = ["settings reloaded", "nothing changes"];
            let done = done.iter().any(|text| new.contains(text));
            (done || lines.ended).then(|| new.to_owned())
        });
        said.unwrap_or_else(|| panic!("nothing about a reload:\n{}", self.log()))
    }

    /// Writes another configuration file and has it read.
    pub(crate) fn reload_unheard(&self, file: &str) {
        let path = self.folder.path().join("high-templar.toml");
        std::fs::write(path, file).expect("a configuration file");
        self.signal("HUP");
    }

    /// Waits for the process's end; its exit code.
    #[track_caller]
    pub(crate) fn wait_for_end(&mut self) -> Option<i32> {
        let ended = self.lines.wait(|lines| lines.ended.then_some(()));
        assert!(
            ended.is_some(),
            "no end within {DEADLINE:?}:\n{}",
            self.log()
        );
        self.child.wait().expect("a child").code()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = self.lines.wait(|lines| lines.ended.then_some(()));
        let log = self.log();
        if thread::panicking() {
            eprintln!("the gateway's log:\n{log}");
        } else {
            assert!(!log.contains("panic"), "{log}");
        }
    }
}
