//! A real NATS server with JetStream, of one test alone: it starts in a moment.
//!
//! It is Debian's, or the one that `HT_NATS_SERVER` names.

use std::fs::{self, File};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use async_nats::{Client, ConnectOptions};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ht_broker::config::NatsConfig;
use nkeys::KeyPair;
use serde_json::{Value, json};

/// Longer than a server takes to start, even on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// Below the range from which the kernel takes ports for outgoing connections.
const PORTS: std::ops::Range<u16> = 24_000..28_000;

/// A running server. Dropping it stops it; if the test's thread ends, the kernel does.
pub struct Nats {
    folder: tempfile::TempDir,
    port: u16,
    /// Keep others from its ports while the server is stopped.
    claims: Vec<File>,
    child: Mutex<Option<Child>>,
}

impl Nats {
    /// Starts a server and waits until it serves.
    ///
    /// # Panics
    /// When it cannot be started; the message says what to install.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with("jetstream { store_dir: \"STORE\" }")
    }

    /// The same, with this configuration, in which `STORE` is a folder of its own.
    ///
    /// # Panics
    /// When it cannot be started; the message says what to install.
    #[must_use]
    pub fn start_with(configuration: &str) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("ht-nats-")
            .tempdir()
            .expect("a temporary directory");
        let (port, claim) = free_port();
        let server = Self {
            folder,
            port,
            claims: vec![claim],
            child: Mutex::default(),
        };
        server.configure(configuration);
        server.start_again();
        server
    }

    /// Starts a server of an operator, on which one account has JetStream. Returns it with the
    /// content of a credentials file of a user.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start_with_operator() -> (Self, String) {
        let operator = KeyPair::new_operator();
        let [system, account] = [(); 2].map(|()| KeyPair::new_account());
        let user = KeyPair::new_user();
        let none = json!({"subs": -1, "data": -1, "payload": -1, "conn": -1, "leaf": -1,
            "imports": -1, "exports": -1, "wildcards": true});
        let mut limits = none.clone();
        for limit in ["mem_storage", "disk_storage", "streams", "consumer"] {
            limits[limit] = (-1).into();
        }
        let of_account = |limits: &Value| json!({"type": "account", "limits": limits});
        let of_operator = json!({"type": "operator", "system_account": system.public_key()});
        let of_user = json!({"type": "user", "subs": -1, "data": -1, "payload": -1});
        let configuration = format!(
            "jetstream {{ store_dir: \"STORE\" }}\noperator: {}\nsystem_account: {}\n\
             resolver: MEMORY\nresolver_preload {{ {}: {}, {}: {} }}",
            token(&operator, &operator, of_operator),
            system.public_key(),
            system.public_key(),
            token(&system, &operator, of_account(&none)),
            account.public_key(),
            token(&account, &operator, of_account(&limits)),
        );
        let credentials = format!(
            "-----BEGIN NATS USER JWT-----\n{}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
            token(&user, &account, of_user),
            user.seed().expect("a seed"),
        );
        (Self::start_with(&configuration), credentials)
    }

    /// Starts servers that form a cluster, which takes a while to choose its leader.
    ///
    /// # Panics
    /// When they cannot be started.
    #[must_use]
    pub fn cluster(size: usize) -> Vec<Self> {
        let (ports, claims): (Vec<_>, Vec<_>) = (0..size).map(|_| free_port()).unzip();
        let routes: Vec<_> = ports
            .iter()
            .map(|port| format!("nats://127.0.0.1:{port}"))
            .collect();
        let routes = routes.join(", ");
        let members = ports.iter().map(|port| {
            Self::start_with(&format!(
                "server_name: n{port}\njetstream {{ store_dir: \"STORE\" }}\n\
                 cluster {{ name: test, listen: \"127.0.0.1:{port}\", routes: [{routes}] }}"
            ))
        });
        let mut members: Vec<_> = members.collect();
        for (member, claim) in members.iter_mut().zip(claims) {
            member.claims.push(claim);
        }
        members
    }

    /// Writes another configuration, for [`Nats::start_again`].
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn configure(&self, configuration: &str) {
        let store = self.folder.path().join("store").display().to_string();
        let text = configuration.replace("STORE", &store);
        fs::write(self.folder.path().join("nats.conf"), text).expect("a file");
    }

    /// Starts the stopped or killed server again on the same port and waits until it serves.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_again(&self) {
        let output = File::create(self.folder.path().join("output")).expect("a file");
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(binary())
            .args([
                "--addr",
                "127.0.0.1",
                "--port",
                &self.port.to_string(),
                "--config",
            ])
            .arg(self.folder.path().join("nats.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output)
            .spawn()
            .expect("setpriv");
        *self.child() = Some(child);
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let ended = self
                .child()
                .as_mut()
                .and_then(|it| it.try_wait().ok().flatten());
            if ended.is_some() || begun.elapsed() > SOON {
                let output = fs::read_to_string(self.folder.path().join("output"));
                panic!("nats-server did not start: {}", output.unwrap_or_default());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Its url.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The configuration of a log in it.
    #[must_use]
    pub fn config(&self) -> NatsConfig {
        NatsConfig {
            url: self.url(),
            ..NatsConfig::default()
        }
    }

    /// SIGKILL.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill(&self) {
        let mut child = self.child().take().expect("a running server");
        child.kill().and_then(|()| child.wait()).expect("its end");
    }

    /// Ends the server in order.
    ///
    /// # Panics
    /// When it does not run, or does not end.
    pub fn stop(&self) {
        self.signal("TERM");
        let mut child = self.child().take().expect("a running server");
        child.wait().expect("its end");
    }

    /// SIGSTOP: the sockets stay open, and nothing responds.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// SIGCONT after [`Nats::pause`].
    pub fn resume(&self) {
        self.signal("CONT");
    }

    /// Has it read its configuration anew.
    pub fn reload(&self) {
        self.signal("HUP");
    }

    /// A connection of its own.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn connect(&self) -> Client {
        self.connect_with(ConnectOptions::new()).await
    }

    /// A connection with these options.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn connect_with(&self, options: ConnectOptions) -> Client {
        options.connect(self.url()).await.expect("a connection")
    }

    /// What JetStream answers.
    ///
    /// # Panics
    /// When it does not.
    pub async fn request(&self, verb: &str, body: &Value) -> Value {
        let client = self.connect().await;
        let request = client.request(format!("$JS.API.{verb}"), body.to_string().into());
        let answer = request.await.expect("an answer of JetStream");
        serde_json::from_slice(&answer.payload).expect("JSON")
    }

    /// Deletes a stream.
    ///
    /// # Panics
    /// When there is none.
    pub async fn delete_stream(&self, name: &str) {
        let answer = self
            .request(&format!("STREAM.DELETE.{name}"), &json!({}))
            .await;
        assert_eq!(answer["success"], true, "{answer}");
    }

    /// Publishes these bodies as a backend does, in order, each when the one before was stored.
    ///
    /// # Panics
    /// When one is not stored.
    pub async fn publish(&self, bodies: Vec<Vec<u8>>) {
        let client = self.connect().await;
        for body in bodies {
            let stored = client.request(NatsConfig::default().subject, body.into());
            let answer = stored.await.expect("an acknowledgement");
            let answer: Value = serde_json::from_slice(&answer.payload).expect("JSON");
            assert!(answer["seq"].is_u64(), "{answer}");
        }
    }

    fn signal(&self, name: &str) {
        let pid = self.child().as_ref().expect("a running server").id();
        let mut kill = Command::new("kill");
        let sent = kill.arg(format!("-{name}")).arg(pid.to_string()).status();
        assert!(sent.expect("kill").success());
    }

    fn child(&self) -> std::sync::MutexGuard<'_, Option<Child>> {
        self.child.lock().expect("no test panics while it holds it")
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        let child = self.child.get_mut().ok().and_then(Option::take);
        if let Some(mut child) = child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What an issuer states of a key, as a JWT of NATS.
fn token(subject: &KeyPair, issuer: &KeyPair, mut statement: Value) -> String {
    statement["version"] = 2.into();
    let claims = json!({
        "jti": uuid::Uuid::new_v4().simple().to_string(),
        "iat": 1_700_000_000,
        "iss": issuer.public_key(),
        "sub": subject.public_key(),
        "name": "test",
        "nats": statement,
    });
    let header = json!({"typ": "JWT", "alg": "ed25519-nkey"});
    let encoded = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let [header, claims] = [header, claims].map(|part| encoded(part.to_string().as_bytes()));
    let signed = issuer.sign(format!("{header}.{claims}").as_bytes());
    let signature = encoded(&signed.expect("a signature"));
    format!("{header}.{claims}.{signature}")
}

/// A port that no other test claims, and the claim, which lasts as long as the file is open.
fn free_port() -> (u16, File) {
    let folder = std::env::temp_dir().join("ht-nats-ports");
    fs::create_dir_all(&folder).expect("a folder");
    let from = uuid::Uuid::new_v4().as_fields().1 % (PORTS.end - PORTS.start);
    for step in 0..PORTS.end - PORTS.start {
        let port = PORTS.start + (from + step) % (PORTS.end - PORTS.start);
        let claim = File::create(folder.join(port.to_string())).expect("a file");
        if claim.try_lock().is_ok() && TcpStream::connect(("127.0.0.1", port)).is_err() {
            return (port, claim);
        }
    }
    panic!("no free port in {PORTS:?}");
}

fn binary() -> PathBuf {
    let named = std::env::var_os("HT_NATS_SERVER").map(PathBuf::from);
    let binary = named.unwrap_or_else(|| "/usr/sbin/nats-server".into());
    let found = binary.display();
    assert!(
        binary.exists(),
        "{found} is not there: apt-get install nats-server"
    );
    binary
}
