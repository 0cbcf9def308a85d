//! Runs a proxy with its configuration from docs/proxies.md.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::support::stream::Address;
use crate::support::{eventually, http};

/// The page whose blocks are run.
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/proxies.md");

/// A proxy of the page.
#[derive(Clone, Copy)]
pub(crate) enum Server {
    Nginx,
    HaProxy,
    Caddy,
}

impl Server {
    /// The language of its block.
    fn language(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::HaProxy => "haproxy",
            Self::Caddy => "caddyfile",
        }
    }

    /// Placeholder in the page, to be replaced by the listening address.
    fn listens(self) -> &'static str {
        match self {
            Self::Nginx => "listen 80;",
            Self::HaProxy => "bind :80",
            Self::Caddy => "http://example.com:80 {",
        }
    }

    fn listen_on(self, address: SocketAddr) -> String {
        match self {
            Self::Nginx => format!("listen {address}; # listens"),
            Self::HaProxy => format!("bind {address}"),
            Self::Caddy => format!("http://:{} {{\n    bind {}", address.port(), address.ip()),
        }
    }

    /// The complete configuration file: the parts that the page leaves to the installation surround
    /// the block.
    fn file(self, block: &str, folder: &Path) -> String {
        let folder = folder.display();
        match self {
            Self::Nginx => {
                let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
                let temporary =
                    temporary.map(|name| format!("{name}_temp_path {folder}/{name};\n"));
                format!(
                    "daemon off; pid {folder}/pid; error_log stderr warn;\n\
                     events {{ worker_connections 2000; }}\n\
                     http {{ access_log off;\n{}{block}\n}}\n",
                    temporary.concat()
                )
            }
            Self::HaProxy => block.to_owned(),
            Self::Caddy => format!("{{\n admin off\n auto_https off\n}}\n{block}"),
        }
    }

    fn command(self, file: &Path) -> Command {
        let mut command = match self {
            Self::Nginx => Command::new("/usr/sbin/nginx"),
            Self::HaProxy => Command::new("/usr/sbin/haproxy"),
            Self::Caddy => Command::new("/usr/bin/caddy"),
        };
        match self {
            Self::Nginx => command.args(["-e", "stderr", "-c"]).arg(file),
            Self::HaProxy => command.args(["-db", "-f"]).arg(file),
            Self::Caddy => command
                .args(["run", "--adapter", "caddyfile", "--config"])
                .arg(file),
        };
        command
    }
}

/// A running proxy; ended when dropped.
pub(crate) struct Proxy {
    child: Child,
    address: Address,
    /// Removed with the proxy.
    _folder: TempDir,
}

impl Proxy {
    /// Starts a proxy with its block of the page in front of two nodes, and waits until it serves.
    pub(crate) fn start(server: Server, nodes: [&Address; 2]) -> Self {
        Self::start_with(server, nodes, &[])
    }

    /// The same with changes to the block.
    pub(crate) fn start_with(
        server: Server,
        nodes: [&Address; 2],
        changes: &[(&str, &str)],
    ) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        // Released at once: none of these proxies reports which free port it took.
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = free.local_addr().expect("an address");
        drop(free);
        let mut block = block(server.language());
        let replaced = [
            (server.listens(), server.listen_on(address)),
            ("10.0.0.11:5000", tcp(nodes[0])),
            ("10.0.0.12:5000", tcp(nodes[1])),
        ];
        for (from, to) in replaced {
            assert_eq!(block.matches(from).count(), 1, "{from:?} in {block}");
            block = block.replace(from, &to);
        }
        for (from, to) in changes {
            assert_eq!(block.matches(from).count(), 1, "{from:?} in {block}");
            block = block.replace(from, to);
        }
        let file = folder.path().join("configuration");
        fs::write(&file, server.file(&block, folder.path())).expect("a file");
        let child = server
            .command(&file)
            .env("HOME", folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the proxy is installed");
        let proxy = Self {
            child,
            address: Address::Tcp(address),
            _folder: folder,
        };
        // A port of nginx that speaks HTTP/2 without TLS speaks nothing else.
        let speaks_http1 = !changes.iter().any(|(_, to)| to.contains("http2"));
        eventually("the proxy serves", || match speaks_http1 {
            true => http::try_request(proxy.address(), "GET", "/ws/", &[], b"")
                .ok()
                .map(drop),
            false => TcpStream::connect(address).ok().map(drop),
        });
        proxy
    }

    /// Where clients connect.
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // By a signal: nginx ends its workers then.
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        let _ = self.child.wait();
    }
}

fn tcp(address: &Address) -> String {
    match address {
        Address::Tcp(address) => address.to_string(),
        Address::Unix(path) => panic!("{} is no TCP address", path.display()),
    }
}

/// The block of the page in this language: there is one of each.
fn block(language: &str) -> String {
    let page = fs::read_to_string(PAGE).expect("the page");
    let fence = format!("```{language}\n");
    let mut blocks = page.split(&fence).skip(1);
    let block = blocks.next().and_then(|rest| rest.split("```").next());
    assert!(blocks.next().is_none(), "one block of {language}");
    block.expect("a block").to_owned()
}
