//! A real PostgreSQL server, run by `tests/support/postgres`.
//!
//! Ordinary tests use a database of [`Postgres::shared`], which all test processes use together and
//! which stops by itself when it is no longer used. A test that stops, kills or pauses the server
//! uses its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use ht_broker::config::PostgresConfig;
use ht_broker::postgres::Schema;
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

/// Longer than connecting takes, even on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// A running server. Dropping an own one stops it, also when a test panics; if the whole test
/// process is killed, the server stops itself a second later.
#[derive(Debug)]
pub struct Postgres {
    directory: PathBuf,
    /// Held for its `Drop`, which removes the directory; `None` for the shared server.
    own: Option<tempfile::TempDir>,
}

impl Postgres {
    /// Starts a server of this test alone, with these lines in its configuration, and waits until
    /// it serves.
    ///
    /// # Panics
    /// When it cannot be started; the message says what to install.
    #[must_use]
    pub fn start(configuration: &[&str]) -> Self {
        Self::start_with(configuration, None)
    }

    /// The same, with TLS: `server.crt` and `server.key` are in this folder.
    ///
    /// # Panics
    /// When it cannot be started; the message says what to install.
    #[must_use]
    pub fn start_with_tls(folder: &Path) -> Self {
        Self::start_with(&[], Some(folder))
    }

    fn start_with(configuration: &[&str], tls: Option<&Path>) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("ht-postgres-")
            .tempdir()
            .expect("a temporary directory");
        let started = run_with("start", directory.path(), configuration, tls);
        started.unwrap_or_else(|text| panic!("{text}"));
        Self {
            directory: directory.path().to_owned(),
            own: Some(directory),
        }
    }

    /// The server that ordinary tests share, started by the first that requests it.
    ///
    /// # Panics
    /// When it cannot be started; the message says what to install.
    #[must_use]
    pub fn shared() -> Self {
        let directory = root().join(".test/postgres");
        let _ = script("share", &directory, &[]);
        Self {
            directory,
            own: None,
        }
    }

    /// Makes an empty database, dropped when the value is.
    #[must_use]
    pub fn database(&self) -> Database {
        let name = format!("t{}", Uuid::new_v4().simple());
        let url = script("database", &self.directory, &[&name]);
        Database {
            directory: self.directory.clone(),
            name,
            url,
        }
    }

    /// Ends the server in order; it closes its connections.
    pub fn stop(&self) {
        self.control("stop");
    }

    /// SIGKILL to all of its processes.
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

    /// SIGCONT after [`Postgres::pause`].
    pub fn resume(&self) {
        self.control("resume");
    }

    fn control(&self, action: &str) {
        assert!(
            self.own.is_some(),
            "{action} on the shared server would break other tests: use Postgres::start()"
        );
        script(action, &self.directory, &[]);
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if self.own.is_some()
            && let Err(text) = run("end", &self.directory, &[])
        {
            // While a panic unwinds a second one would abort; the watcher ends it then.
            eprintln!("{text}");
        }
    }
}

/// A database of one test.
#[derive(Debug)]
pub struct Database {
    directory: PathBuf,
    name: String,
    url: String,
}

impl Database {
    /// The url of this database, of a superuser.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The url of another user, whose password is the name.
    #[must_use]
    pub fn url_of(&self, user: &str) -> String {
        self.url
            .replace("postgres:postgres@", &format!("{user}:{user}@"))
    }

    /// The configuration of a log in it.
    #[must_use]
    pub fn config(&self) -> PostgresConfig {
        PostgresConfig {
            url: self.url.clone(),
            publish_timeout: Duration::from_secs(5),
            ..PostgresConfig::default()
        }
    }

    /// A connection, driven by a task of its own.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn connect(&self) -> Client {
        let connecting = tokio_postgres::connect(&self.url, NoTls);
        let connected = tokio::time::timeout(SOON, connecting).await;
        let (client, connection) = connected
            .expect("the server answers soon")
            .expect("a connection to the test's database");
        tokio::spawn(connection);
        client
    }

    /// Makes the schema of the log.
    ///
    /// # Panics
    /// When the server refuses it.
    pub async fn with_log(self) -> Self {
        let schema = Schema::new(&self.config().log).expect("a name");
        self.execute(&schema.sql()).await;
        self
    }

    /// Executes statements.
    ///
    /// # Panics
    /// When the server refuses one.
    pub async fn execute(&self, sql: &str) {
        let done = self.connect().await.batch_execute(sql).await;
        done.unwrap_or_else(|error| panic!("{error:?}"));
    }

    /// The number that a query returns.
    ///
    /// # Panics
    /// When it returns none.
    pub async fn number(&self, sql: &str) -> i64 {
        let row = self.connect().await.query_one(sql, &[]).await;
        row.unwrap_or_else(|error| panic!("{sql}: {error:?}"))
            .get(0)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // The server may be stopped or removed by now.
        let _ = run("drop", &self.directory, &[&self.name]);
    }
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

#[track_caller]
fn script(action: &str, directory: &Path, arguments: &[&str]) -> String {
    match run(action, directory, arguments) {
        Ok(output) => output,
        Err(text) => panic!("{text}"),
    }
}

fn run(action: &str, directory: &Path, arguments: &[&str]) -> Result<String, String> {
    run_with(action, directory, arguments, None)
}

fn run_with(
    action: &str,
    directory: &Path,
    arguments: &[&str],
    tls: Option<&Path>,
) -> Result<String, String> {
    let output = Command::new(root().join("tests/support/postgres"))
        .envs(tls.map(|folder| ("HT_POSTGRES_TLS", folder)))
        .arg(action)
        .arg(directory)
        .args(arguments)
        .env("HT_POSTGRES_OWNER", std::process::id().to_string())
        .stdin(Stdio::null())
        .output()
        .map_err(|cause| format!("tests/support/postgres cannot be run: {cause}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    Err(format!(
        "tests/support/postgres {action}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    ))
}
