//! A real Redis, or a Valkey: each test starts its own, which takes a moment and a few megabytes.
//!
//! The program is `redis-server`, or the one that `HT_REDIS_SERVER` names.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use ht_broker::config::RedisConfig;
use uuid::Uuid;

/// Longer than starting takes, even on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// Time between two looks at something that is awaited.
const LOOK: Duration = Duration::from_millis(10);

/// Below the range from which the kernel takes ports for outgoing connections, so that a stopped
/// server comes back on its port; beside the one of the other servers of tests.
const PORTS: std::ops::Range<u16> = 24_000..28_000;

/// Ends the server when this process is gone, however it dies: then its standard input ends.
const WATCHED: &str = r#"exec 3<&0
"$@" </dev/null 3<&- & server=$!
echo $server >pid
(read -r _ <&3; kill -9 $server) & watcher=$!
wait $server
kill $watcher"#;

/// A running server. Dropping it stops it, also when a test panics.
#[derive(Debug)]
pub struct Redis {
    folder: tempfile::TempDir,
    port: u16,
    arguments: Vec<String>,
    shell: Option<Child>,
}

impl Redis {
    /// Starts a server that keeps its data in an append-only file, and waits until it serves.
    ///
    /// # Panics
    /// When it cannot be started; the message says what to install.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same, with these arguments.
    ///
    /// # Panics
    /// When it cannot be started; the message says what to install.
    #[must_use]
    pub fn start_with(arguments: &[&str]) -> Self {
        let port = free_port();
        Self::start_on(port, arguments)
    }

    /// The same, on this port.
    ///
    /// # Panics
    /// When it cannot be started; the message says what to install.
    #[must_use]
    pub fn start_on(port: u16, arguments: &[&str]) -> Self {
        let mut server = Self {
            folder: tempfile::Builder::new()
                .prefix("ht-redis-")
                .tempdir()
                .expect("a temporary directory"),
            port,
            arguments: arguments.iter().map(|&it| it.to_owned()).collect(),
            shell: None,
        };
        server.start_again();
        server
    }

    /// Its port on loopback.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The folder with its files.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its url.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The configuration of a log in it.
    #[must_use]
    pub fn config(&self) -> RedisConfig {
        RedisConfig {
            url: self.url(),
            publish_timeout: Duration::from_secs(5),
            ..RedisConfig::default()
        }
    }

    /// Sends a command with `redis-cli` and returns its answer.
    ///
    /// # Panics
    /// When it cannot be sent.
    pub fn command(&self, arguments: &[&str]) -> String {
        self.command_with(arguments, "")
    }

    /// The same; the last argument is this text.
    ///
    /// # Panics
    /// When it cannot be sent.
    pub fn command_with(&self, arguments: &[&str], input: &str) -> String {
        let mut command = Command::new("redis-cli");
        command.arg("-p").arg(self.port.to_string());
        if !input.is_empty() {
            command.arg("-x");
        }
        let output = run(command.args(arguments), input);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.signal("KILL");
        self.gone();
    }

    /// From its next start on the server has this port.
    pub const fn move_to(&mut self, port: u16) {
        self.port = port;
    }

    /// The killed server had not written so many bytes at the end of its append-only file, or as many
    /// as there are. Returns how many those are.
    ///
    /// # Panics
    /// When the file is not there.
    pub fn lose_end(&self, bytes: u64) -> u64 {
        let path = self.append_only_file();
        let file = std::fs::File::options().write(true).open(path);
        let file = file.expect("its append-only file");
        let len = file.metadata().expect("its size").len();
        let lost = bytes.min(len);
        file.set_len(len - lost).expect("it is cut");
        lost
    }

    /// The file to which it appends: the last one that its manifest names.
    fn append_only_file(&self) -> PathBuf {
        let folder = self.folder().join("appendonlydir");
        let manifest = folder.join("appendonly.aof.manifest");
        let manifest = std::fs::read_to_string(manifest).expect("its manifest");
        let last = manifest.lines().last().expect("a file");
        folder.join(last.split(' ').nth(1).expect("its name"))
    }

    /// SIGTERM: it saves what it has.
    pub fn stop(&mut self) {
        self.signal("TERM");
        self.gone();
    }

    /// SIGSTOP: the sockets stay open, and nothing responds.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// SIGCONT after [`Redis::pause`].
    pub fn resume(&self) {
        self.signal("CONT");
    }

    /// Starts the stopped or killed server again on the same port and waits until it serves.
    ///
    /// # Panics
    /// When it does not.
    pub fn start_again(&mut self) {
        self.start_again_with(&[]);
    }

    /// The same, with more arguments.
    ///
    /// # Panics
    /// When it does not.
    pub fn start_again_with(&mut self, arguments: &[&str]) {
        let program = std::env::var("HT_REDIS_SERVER").unwrap_or_else(|_| "redis-server".into());
        let log = std::fs::File::create(self.folder.path().join("output")).expect("a file");
        let port = self.port.to_string();
        let mut command = Command::new("sh");
        command.args(["-c", WATCHED, "sh", &program, "--port", &port]);
        command.args(["--bind", "127.0.0.1", "--appendonly", "yes", "--save", ""]);
        command.args(&self.arguments).args(arguments);
        command.current_dir(self.folder.path());
        command.stdin(Stdio::piped());
        command.stdout(log.try_clone().expect("a file")).stderr(log);
        self.shell = Some(command.spawn().expect("a shell"));
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let shell = self.shell.as_mut().expect("it was started");
            let ended = shell.try_wait().expect("its state");
            assert!(
                ended.is_none() && begun.elapsed() < SOON,
                "{program} does not serve (apt-get install redis-server): {}",
                std::fs::read_to_string(self.folder.path().join("output")).unwrap_or_default()
            );
            sleep(LOOK);
        }
    }

    fn signal(&self, signal: &str) {
        let pid = std::fs::read_to_string(self.folder.path().join("pid")).unwrap_or_default();
        let output = Command::new("kill")
            .args(["-s", signal, pid.trim()])
            .output();
        assert!(output.expect("kill").status.success(), "{signal} {pid}");
    }

    fn gone(&mut self) {
        let mut shell = self.shell.take().expect("it runs");
        let begun = Instant::now();
        // Not `wait`, which would end its input first.
        while shell.try_wait().expect("its state").is_none() {
            assert!(begun.elapsed() < SOON, "the server does not end");
            sleep(LOOK);
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if let Some(mut shell) = self.shell.take() {
            // The end of its input: the server is killed.
            drop(shell.stdin.take());
            let _ = shell.wait();
        }
    }
}

fn run(command: &mut Command, input: &str) -> Output {
    command.stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .expect("redis-cli (apt-get install redis-tools)");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(input.as_bytes()).expect("its input");
    drop(stdin);
    child.wait_with_output().expect("its output")
}

/// A port that nobody uses now.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn free_port() -> u16 {
    for _ in 0..200 {
        let random = Uuid::new_v4().as_fields().1 % (PORTS.end - PORTS.start);
        let port = PORTS.start + random;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port between {} and {}", PORTS.start, PORTS.end);
}

/// The file of a certificate and of its key, for a server with TLS.
#[must_use]
pub fn tls_arguments(certificate: &Path, key: &Path) -> Vec<String> {
    let file = |path: &Path| PathBuf::from(path).display().to_string();
    let pairs = [
        ("--tls-cert-file", file(certificate)),
        ("--tls-key-file", file(key)),
        ("--tls-auth-clients", "no".to_owned()),
    ];
    pairs
        .into_iter()
        .flat_map(|(name, value)| [name.to_owned(), value])
        .collect()
}
