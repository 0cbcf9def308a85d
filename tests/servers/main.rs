//! APIs on real servers: uWSGI with its default buffer of 4 KiB, alone and behind nginx, gets
//! clients whose cookies are longer, and is restarted.
//!
//! `./test servers` installs uWSGI and nginx, `./test metrics` fetches promtool.

// Other tests use the rest of it.
#[allow(dead_code, unused_imports)]
#[path = "../it/support/mod.rs"]
mod support;

mod alerts;
mod promtool;

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::support::stream::Address;
use crate::support::{Gateway, Handshake, StubBackend, eventually, http};

/// Admits clients with a cookie.
const APPLICATION: &str = r#"
def application(environ, start_response):
    if "HTTP_COOKIE" in environ:
        start_response("200 OK", [("Content-Type", "application/json")])
        return [b'{"allowed_rooms": []}']
    start_response("401 Unauthorized", [("Content-Type", "application/json")])
    return [b"{}"]
"#;

/// Longer than uWSGI's buffer.
const LONG: usize = 6_000;

/// A running server; ended when dropped.
struct Server(Child);

impl Server {
    fn start(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::null());
        Self(command.spawn().expect("the server is installed"))
    }

    fn uwsgi(folder: &Path, http: SocketAddr, socket: SocketAddr) -> Self {
        fs::write(folder.join("app.py"), APPLICATION).expect("a file");
        let server = Self::start(
            Command::new("uwsgi")
                .current_dir(folder)
                .args(["--plugin", "python3", "--wsgi-file", "app.py", "--need-app"])
                .args(["--master", "--die-on-term", "--processes", "2"])
                .args(["--http-socket", &http.to_string()])
                .args(["--socket", &socket.to_string()])
                .stderr(Stdio::null()),
        );
        serves(http);
        server
    }

    /// In front of uWSGI.
    fn nginx(folder: &Path, listen: SocketAddr, socket: SocketAddr) -> Self {
        let file = folder.join("nginx.conf");
        let shown = folder.display();
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let temporary = temporary.map(|name| format!("{name}_temp_path {shown}/{name};\n"));
        let parameters = fs::read_to_string("/etc/nginx/uwsgi_params").expect("nginx's file");
        let configuration = format!(
            "daemon off; pid {shown}/pid; error_log stderr crit;\n\
             events {{ worker_connections 200; }}\n\
             http {{ access_log off;\n{}\
             server {{ listen {listen}; location / {{ {parameters} uwsgi_pass {socket}; }} }} }}\n",
            temporary.concat()
        );
        fs::write(&file, configuration).expect("a file");
        let mut command = Command::new("/usr/sbin/nginx");
        let server = Self::start(command.args(["-e", "stderr", "-c"]).arg(file));
        serves(listen);
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // By a signal: both end their workers then.
        let pid = self.0.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        let _ = self.0.wait();
    }
}

/// Waits until a server responds.
fn serves(address: SocketAddr) {
    eventually("the server serves", || {
        http::try_request(&Address::Tcp(address), "GET", "/api/bootstrap/", &[], b"").ok()
    });
}

/// Released at once: neither server reports which free port it took.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address")
}

/// uWSGI alone, or with nginx in front.
struct Site {
    url: String,
    folder: TempDir,
    http: SocketAddr,
    socket: SocketAddr,
    uwsgi: Option<Server>,
    _nginx: Option<Server>,
}

impl Site {
    fn start(behind_nginx: bool) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (http, socket, front) = (free_address(), free_address(), free_address());
        let uwsgi = Server::uwsgi(folder.path(), http, socket);
        let nginx = behind_nginx.then(|| Server::nginx(folder.path(), front, socket));
        let listens = if behind_nginx { front } else { http };
        Self {
            url: format!("http://{listens}/api/"),
            folder,
            http,
            socket,
            uwsgi: Some(uwsgi),
            _nginx: nginx,
        }
    }

    fn gateway(&self) -> Gateway {
        Gateway::with(&StubBackend::open())
            .set("HT_BACKEND__URL", &self.url)
            .set("HT_BACKEND__CIRCUIT_BACKOFF", "100ms")
            .set("HT_BACKEND__CIRCUIT_BACKOFF_MAX", "300ms")
            .start()
    }

    fn restart(&mut self) {
        self.uwsgi = None;
        let started = Server::uwsgi(self.folder.path(), self.http, self.socket);
        self.uwsgi = Some(started);
    }
}

/// Whether a client from this address with this cookie is admitted.
fn is_admitted(gateway: &Gateway, address: &str, cookie: &str) -> bool {
    let handshake = Handshake::new(gateway)
        .header("X-Real-IP", address)
        .header("Cookie", cookie);
    handshake.open().expect_json()["is_authorized"] == true
}

fn long_cookies_concern_their_visitor_only(behind_nginx: bool) {
    let site = Site::start(behind_nginx);
    let gateway = site.gateway();
    for number in 0..60 {
        let address = format!("192.0.2.{}", number % 15);
        let cookie = format!("a={number}{}", "x".repeat(LONG));
        assert!(!is_admitted(&gateway, &address, &cookie));
        if number % 12 == 11 {
            assert!(is_admitted(&gateway, "203.0.113.7", "session=1"));
        }
    }
    let opened = gateway.metric("high_templar_backend_circuit_opened_total");
    assert_eq!(opened, 0, "{}", gateway.log());
}

fn an_outage_opens_the_circuit_until_the_server_is_back(behind_nginx: bool) {
    let mut site = Site::start(behind_nginx);
    let gateway = site.gateway();
    assert!(is_admitted(&gateway, "203.0.113.7", "session=1"));
    site.uwsgi = None;
    let open = "high_templar_backend_circuit_open";
    eventually("the circuit opens", || {
        assert!(!is_admitted(&gateway, "203.0.113.7", "session=1"));
        (gateway.metric(open) == 1).then_some(())
    });
    site.restart();
    // By itself: no client connects meanwhile.
    gateway.wait_for_metric(open, 0);
    assert!(is_admitted(&gateway, "203.0.113.7", "session=1"));
}

#[test]
#[ignore = "needs uWSGI: ./test servers"]
fn long_cookies_at_uwsgi_affect_their_client_only() {
    long_cookies_concern_their_visitor_only(false);
}

#[test]
#[ignore = "needs uWSGI and nginx: ./test servers"]
fn long_cookies_at_uwsgi_behind_nginx_concern_their_visitor_only() {
    long_cookies_concern_their_visitor_only(true);
}

#[test]
#[ignore = "needs uWSGI: ./test servers"]
fn a_restart_of_uwsgi_opens_the_circuit_and_closes_it() {
    an_outage_opens_the_circuit_until_the_server_is_back(false);
}

#[test]
#[ignore = "needs uWSGI and nginx: ./test servers"]
fn a_restart_of_uwsgi_behind_nginx_opens_the_circuit_and_closes_it() {
    an_outage_opens_the_circuit_until_the_server_is_back(true);
}

#[test]
#[ignore = "needs uWSGI and nginx: ./test servers"]
fn check_finds_a_buffer_that_is_too_short() {
    for behind_nginx in [false, true] {
        let site = Site::start(behind_nginx);
        for (limit, works) in [("8KiB", false), ("3KiB", true)] {
            let output = Command::new(env!("CARGO_BIN_EXE_high-templar"))
                .arg("check")
                .current_dir(site.folder.path())
                .env_clear()
                .env("HT_LISTEN", "127.0.0.1:0")
                .env("HT_INTERNAL__LISTEN", "127.0.0.1:0")
                .env("HT_BACKEND__URL", &site.url)
                .env("HT_BACKEND__FORWARD_BYTES_MAX", limit)
                .output()
                .expect("the binary runs");
            let said = String::from_utf8_lossy(&output.stdout);
            assert_eq!(output.status.success(), works, "{said}");
            assert_eq!(said.contains("buffer-size"), !works, "{said}");
        }
    }
}
