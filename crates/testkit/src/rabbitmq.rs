//! A real RabbitMQ server, run by `tests/support/rabbitmq`.
//!
//! Starting one takes some seconds of processor time, so ordinary tests use a virtual host of
//! [`RabbitMq::shared`], which all test processes use together and which stops by itself when it is
//! no longer used. A test that stops, kills or pauses the server uses its own.
//!
//! `HT_RABBITMQ_BIN` names the folder of another version's programs, and `HT_RABBITMQ_SCRIPT` another
//! script with the same commands, such as one for a container, to run all tests against that.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use uuid::Uuid;

/// A running server. Dropping an own one stops it, also when a test panics; if the whole test
/// process is killed, the server stops itself a second later.
#[derive(Debug)]
pub struct RabbitMq {
    directory: PathBuf,
    url: String,
    /// Held for its `Drop`, which removes the directory; `None` for the shared server.
    own: Option<tempfile::TempDir>,
}

impl RabbitMq {
    /// Starts a server of this test alone and waits until it serves. Blocks for some seconds.
    ///
    /// # Panics
    /// When it cannot be started; the message says what to install.
    #[must_use]
    pub fn start() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("ht-rabbitmq-")
            .tempdir()
            .expect("a temporary directory");
        let url = script("start", directory.path(), &[]);
        Self {
            directory: directory.path().to_owned(),
            url,
            own: Some(directory),
        }
    }

    /// The server that ordinary tests share, started by the first that requests it.
    ///
    /// # Panics
    /// When it cannot be started; the message says what to install.
    #[must_use]
    pub fn shared() -> Self {
        let directory = shared_directory();
        let url = script("share", &directory, &[]);
        Self {
            directory,
            url,
            own: None,
        }
    }

    /// The url of the default virtual host, with user and password `rabbitmq`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The AMQP port on 127.0.0.1.
    ///
    /// # Panics
    /// When the start script printed no such url.
    #[must_use]
    pub fn port(&self) -> u16 {
        let (_, rest) = self.url.rsplit_once(':').expect("a port in the url");
        let (port, _) = rest.split_once('/').expect("a path in the url");
        port.parse().expect("a number as port")
    }

    /// Makes an empty virtual host, deleted when the value is dropped.
    #[must_use]
    pub fn vhost(&self) -> Vhost {
        let name = format!("t{}", Uuid::new_v4().simple());
        let url = script("vhost", &self.directory, &[&name]);
        Vhost {
            directory: self.directory.clone(),
            name,
            url,
        }
    }

    /// Graceful shutdown of the server; it closes its connections.
    pub fn stop(&self) {
        self.control("stop");
    }

    /// SIGKILL: sockets are reset, everything transient is lost.
    pub fn kill(&self) {
        self.control("kill");
    }

    /// Starts the stopped or killed server again on the same port and waits until it serves.
    pub fn start_again(&self) {
        self.control("again");
    }

    /// SIGSTOP: the sockets stay open, and nothing responds.
    pub fn pause(&self) {
        self.control("pause");
    }

    /// SIGCONT after [`RabbitMq::pause`].
    pub fn resume(&self) {
        self.control("resume");
    }

    /// `rabbitmqctl` with these arguments; its output. Takes a second or two.
    ///
    /// # Panics
    /// When the command fails.
    #[must_use]
    pub fn ctl(&self, arguments: &[&str]) -> String {
        script("ctl", &self.directory, arguments)
    }

    /// An Erlang expression evaluated in the server; its value as Erlang prints it. Fast.
    ///
    /// # Panics
    /// When the expression fails.
    #[must_use]
    pub fn eval(&self, expression: &str) -> String {
        script("eval", &self.directory, &[expression])
    }

    fn control(&self, action: &str) {
        assert!(
            self.own.is_some(),
            "{action} on the shared server would break other tests: use RabbitMq::start()"
        );
        script(action, &self.directory, &[]);
    }
}

impl Drop for RabbitMq {
    fn drop(&mut self) {
        if self.own.is_some() {
            // While a panic unwinds a second one would abort; the watcher ends it then.
            let ended = run("end", &self.directory, &[]);
            if let Err(text) = ended {
                eprintln!("{text}");
            }
        }
    }
}

/// A virtual host of one test.
#[derive(Debug)]
pub struct Vhost {
    directory: PathBuf,
    name: String,
    url: String,
}

impl Vhost {
    /// The AMQP url of this virtual host.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The names of the queues in it.
    #[must_use]
    pub fn queues(&self) -> Vec<String> {
        self.names("[element(4, amqqueue:get_name(Q)) || Q <- rabbit_amqqueue:list(<<\"VHOST\">>)]")
    }

    /// The queues that the exchange's bindings lead to, whatever the routing key.
    #[must_use]
    pub fn bound_to(&self, exchange: &str) -> Vec<String> {
        self.names(&format!(
            "[element(4, element(4, B)) || B <- rabbit_binding:list_for_source(\
             rabbit_misc:r(<<\"VHOST\">>, exchange, <<\"{exchange}\">>))]"
        ))
    }

    /// Whether the exchange exists.
    #[must_use]
    pub fn has_exchange(&self, exchange: &str) -> bool {
        self.eval(&format!(
            "rabbit_exchange:exists(rabbit_misc:r(<<\"VHOST\">>, exchange, <<\"{exchange}\">>))"
        )) == "true"
    }

    /// Deletes the exchange, with its bindings.
    pub fn delete_exchange(&self, exchange: &str) {
        let _ = self.eval(&format!(
            "ok = rabbit_exchange:delete(\
             rabbit_misc:r(<<\"VHOST\">>, exchange, <<\"{exchange}\">>), false, <<\"test\">>)"
        ));
    }

    /// Deletes a queue, even an exclusive one of another connection: its consumers are cancelled.
    pub fn delete_queue(&self, queue: &str) {
        let _ = self.eval(&format!(
            "{{ok, Q}} = rabbit_amqqueue:lookup(\
             rabbit_misc:r(<<\"VHOST\">>, queue, <<\"{queue}\">>)),\
             {{ok, _}} = rabbit_amqqueue:delete(Q, false, false, <<\"test\">>), ok"
        ));
    }

    /// Closes every connection to this virtual host, as an operator does.
    pub fn close_connections(&self) {
        let _ = self.eval(
            "[rabbit_networking:close_connection(P, \"closed by a test\") \
             || P <- rabbit_networking:connections(), \
             [{vhost, <<\"VHOST\">>}] =:= (catch rabbit_reader:info(P, [vhost]))], ok",
        );
    }

    /// Revokes all permissions of the user in this virtual host but those that match the patterns.
    pub fn permit(&self, configure: &str, write: &str, read: &str) {
        let _ = self.eval(&format!(
            "ok = rabbit_auth_backend_internal:set_permissions(<<\"rabbitmq\">>, <<\"VHOST\">>, \
             <<\"{configure}\">>, <<\"{write}\">>, <<\"{read}\">>, <<\"test\">>)"
        ));
    }

    /// An Erlang expression evaluated in the server; `VHOST` in it is this one's name.
    ///
    /// # Panics
    /// When the expression fails.
    #[must_use]
    pub fn eval(&self, expression: &str) -> String {
        let expression = expression.replace("VHOST", &self.name);
        script("eval", &self.directory, &[&expression])
    }

    fn names(&self, list: &str) -> Vec<String> {
        self.eval(&format!("[binary_to_list(N) || N <- {list}]"))
            .split(['[', ']', ',', '"'])
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect()
    }
}

impl Drop for Vhost {
    fn drop(&mut self) {
        // The server may be stopped or removed by now, and its virtual hosts with it.
        let deletion = format!("rabbit_vhost:delete(<<\"{}\">>, <<\"test\">>)", self.name);
        let _ = run("eval", &self.directory, &[&deletion]);
    }
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// One for each version: those of Debian and another may run side by side.
fn shared_directory() -> PathBuf {
    let other = ["HT_RABBITMQ_BIN", "HT_RABBITMQ_SCRIPT"].map(std::env::var_os);
    if other == [None, None] {
        return root().join(".test/rabbitmq");
    }
    let mut hasher = DefaultHasher::new();
    other.hash(&mut hasher);
    root().join(format!(".test/rabbitmq-{:016x}", hasher.finish()))
}

#[track_caller]
fn script(action: &str, directory: &Path, arguments: &[&str]) -> String {
    match run(action, directory, arguments) {
        Ok(output) => output,
        Err(text) => panic!("{text}"),
    }
}

fn run(action: &str, directory: &Path, arguments: &[&str]) -> Result<String, String> {
    let own = || root().join("tests/support/rabbitmq");
    let script = std::env::var_os("HT_RABBITMQ_SCRIPT").map_or_else(own, PathBuf::from);
    let output = Command::new(script)
        .arg(action)
        .arg(directory)
        .args(arguments)
        .env("HT_RABBITMQ_OWNER", std::process::id().to_string())
        .stdin(Stdio::null())
        .output()
        .map_err(|cause| format!("tests/support/rabbitmq cannot be run: {cause}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    Err(format!(
        "tests/support/rabbitmq {action}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    ))
}
