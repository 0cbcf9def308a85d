//! TLS with the backend and of the command line's clients: the output of the log and `high-templar
//! check` for real servers that cannot be trusted.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::ServerConfig;
use serde_json::json;
use tempfile::TempDir;

use crate::binary::{ANY_PORTS, Finished, command, folder, run};
use crate::bootstrap::expect_refusal;
use crate::support::{Client, Gateway, Reply, Seen, StubBackend, tls};

fn admit(_: &Seen) -> Reply {
    Reply::rooms(&json!([{"room": "*"}]))
}

/// An authority whose certificate is in a file.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        let authority = Self {
            issuer,
            folder: folder(),
        };
        fs::write(authority.file(), authority.issuer.pem()).expect("a file");
        authority
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A server with a certificate for `localhost`.
    fn server(&self, edit: impl FnOnce(&mut CertificateParams)) -> Arc<ServerConfig> {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        edit(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        tls::server(certificate.der().clone(), &key)
    }
}

/// A server whose certificate is its own issuer and states whether it is an authority; its file.
fn self_signed(is_ca: IsCa, folder: &Path) -> (Arc<ServerConfig>, PathBuf) {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    params.is_ca = is_ca;
    let key = KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("a certificate");
    let file = folder.join("cert.pem");
    fs::write(&file, certificate.pem()).expect("a file");
    (tls::server(certificate.der().clone(), &key), file)
}

fn check(url: &str, args: &[&str], variables: &[(&str, &str)]) -> Finished {
    let variables = [&ANY_PORTS[..], &[("HT_BACKEND__URL", url)], variables].concat();
    run(folder().path(), &[&["check"], args].concat(), &variables)
}

/// Both the log and `high-templar check` show the cause of an unusable backend and the advice.
#[track_caller]
fn expect_told(url: &str, ca_file: &Path, cause: &str, advice: &str) {
    let ca_file = ca_file.to_string_lossy();
    let found = check(url, &[], &[("HT_BACKEND__TLS_CA_FILE", &ca_file)]);
    assert_eq!(found.code, Some(1), "{found:?}");
    let line = found.stdout.lines().find(|line| line.starts_with("FIX"));
    let line = line.expect("something to fix");
    for part in ["backend: ", "TLS with the backend failed: ", cause, advice] {
        assert!(line.contains(part), "{part:?} in {line}");
    }
    // At the start, before any client connects.
    let gateway = Gateway::with(&StubBackend::open())
        .set("HT_BACKEND__URL", url)
        .set("HT_BACKEND__TLS_CA_FILE", ca_file)
        .start();
    let line = gateway.wait_for_line(" WARN ht_backend::guard::log: the backend cannot be reached");
    for part in ["cause=", cause, "advice=", advice] {
        assert!(line.contains(part), "{part:?} in {line}");
    }
}

#[test]
fn a_certificate_that_cannot_be_trusted_is_explained_by_check_and_by_the_log() {
    type Edit = fn(&mut CertificateParams);
    let (ours, other) = (Authority::new("ours"), Authority::new("Other CA"));
    let expired: Edit = |params| params.not_after = rcgen::date_time_ymd(2001, 1, 2);
    let early: Edit = |params| params.not_before = rcgen::date_time_ymd(3000, 1, 2);
    let elsewhere: Edit = |params| {
        let other = CertificateParams::new(vec!["other.test".to_owned()]).unwrap();
        params.subject_alt_names = other.subject_alt_names;
    };
    for (server, cause, advice) in [
        (
            ours.server(expired),
            "expired on 2001-01-02 00:00:00 UTC",
            "renew it",
        ),
        (ours.server(early), "not valid before 3000-01-02", "clocks"),
        (
            ours.server(elsewhere),
            "not for localhost, but for other.test",
            "issue one with DNS:localhost",
        ),
        (
            other.server(|_| {}),
            "issued by \"Other CA\", which is not trusted",
            "set backend.tls_ca_file",
        ),
    ] {
        let backend = StubBackend::tls(server, admit);
        expect_told(&backend.url, &ours.file(), cause, advice);
        assert!(backend.requests().is_empty());
    }
}

#[test]
fn a_self_signed_certificate_is_explained_even_if_it_is_the_trusted_one() {
    let folder = folder();
    let ours = Authority::new("ours");
    let (server, _) = self_signed(IsCa::ExplicitNoCa, folder.path());
    let backend = StubBackend::tls(server, admit);
    let cause = "self-signed and not trusted";
    expect_told(&backend.url, &ours.file(), cause, "set backend.tls_ca_file");

    let ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let (server, file) = self_signed(ca, folder.path());
    let backend = StubBackend::tls(server, admit);
    let cause = "self-signed and marked as a certificate authority";
    expect_told(&backend.url, &file, cause, "`openssl req -x509");
}

#[test]
fn a_wrong_scheme_is_explained() {
    let ours = Authority::new("ours");
    let secure = StubBackend::tls(ours.server(|_| {}), admit);
    let found = check(&secure.url.replace("https:", "http:"), &[], &[]);
    assert_eq!(found.code, Some(1), "{found:?}");
    for part in ["the port speaks TLS", "use https:// in backend.url"] {
        assert!(found.stdout.contains(part), "{part:?} in {}", found.stdout);
    }
    let gateway = Gateway::with(&secure)
        .set("HT_BACKEND__URL", secure.url.replace("https:", "http:"))
        .start();
    expect_refusal(&gateway, 1013);
    let line = gateway.wait_for_line("the backend cannot be reached");
    assert!(line.contains("use https:// in backend.url"), "{line}");
}

#[test]
fn a_file_of_authorities_that_cannot_be_used_is_a_mistake_in_the_settings() {
    let folder = folder();
    let text = folder.path().join("text.pem");
    fs::write(&text, "no certificate").unwrap();
    let text = text.to_string_lossy();
    let url = ("HT_BACKEND__URL", "https://127.0.0.1:9/");
    for (file, part) in [
        ("/nonexistent/ca.pem", "cannot be read: No such file"),
        (&text, "holds no certificate in PEM format"),
    ] {
        for subcommand in ["serve", "check"] {
            let variables = [
                ANY_PORTS[0],
                ANY_PORTS[1],
                url,
                ("HT_BACKEND__TLS_CA_FILE", file),
            ];
            let found = run(folder.path(), &[subcommand], &variables);
            assert_eq!(found.code, Some(78), "{found:?}");
            let line = format!("HT_BACKEND__TLS_CA_FILE: {file}: {part}");
            assert!(found.stderr.contains(&line), "{line:?} in {}", found.stderr);
        }
        // An unused setting is not read.
        let off = ("HT_BACKEND__TLS_VERIFY", "false");
        let found = check(url.1, &[], &[off, ("HT_BACKEND__TLS_CA_FILE", file)]);
        assert_eq!(found.code, Some(1), "{found:?}");
        let wrong = check(url.1, &["--ca", file], &[]);
        assert_eq!(wrong.code, Some(1), "{wrong:?}");
        assert!(wrong.stderr.contains(&format!("--ca: {file}")), "{wrong:?}");
    }
    let variables = [ANY_PORTS[0], ANY_PORTS[1], url, ("SSL_CERT_FILE", &*text)];
    let found = run(folder.path(), &["serve"], &variables);
    assert_eq!(found.code, Some(78), "{found:?}");
    let part = format!("can be read from SSL_CERT_FILE={text}");
    assert!(found.stderr.contains(&part), "{}", found.stderr);
}

#[test]
fn ssl_cert_file_replaces_the_system_authorities() {
    let ours = Authority::new("ours");
    let backend = StubBackend::tls(ours.server(|_| {}), admit);
    let file = ours.file();
    let file = file.to_string_lossy();
    let found = check(&backend.url, &[], &[("SSL_CERT_FILE", &file)]);
    assert_eq!(found.code, Some(0), "{found:?}");
    let gateway = Gateway::with(&backend).set("SSL_CERT_FILE", &file).start();
    Client::connect(&gateway).fence();
    let found = check(&backend.url, &["--ca", &file], &[]);
    assert_eq!(found.code, Some(0), "{found:?}");
}

/// A proxy with TLS in front is anything that terminates it; the handshake is what matters here.
#[test]
fn the_terminals_clients_explain_tls_and_trust_another_authority() {
    let (ours, other) = (Authority::new("ours"), Authority::new("Other CA"));
    let server = StubBackend::tls(ours.server(|_| {}), |_| Reply::http("418 X", &[], "tea"));
    let url = server.url.replace("https:", "wss:");
    let room = ["--room", "{\"room\":1}", "--url", &url];
    let [ours, other] = [&ours, &other].map(|authority| authority.file());
    let (ours, other) = (ours.to_string_lossy(), other.to_string_lossy());
    // For bench, where it would publish.
    let internal = StubBackend::open();
    let internal = internal.url.trim_end_matches("/api/").to_owned();
    for (subcommand, more) in [("listen", &[][..]), ("bench", &["--trigger", &*internal])] {
        let run = |ca: &str| {
            let args = [&[subcommand], &room[..], more, &["--ca", ca]].concat();
            run(folder().path(), &args, &[])
        };
        let refused = run(&other);
        assert_eq!(refused.code, Some(1), "{refused:?}");
        for part in [
            "issued by \"ours\", which is not trusted",
            "set --ca to a PEM file",
        ] {
            assert!(
                refused.stderr.contains(part),
                "{part:?} in {}",
                refused.stderr
            );
        }
        let missing = run("/nonexistent/ca.pem");
        let part = "--ca: /nonexistent/ca.pem: cannot be read";
        assert!(missing.stderr.contains(part), "{missing:?}");
    }
    // Trusted, the server's own answer is seen.
    let trusted = [&["listen"], &room[..], &["--ca", &ours]].concat();
    let found = run(folder().path(), &trusted, &[]);
    assert!(
        found.stderr.contains("answered with status 418"),
        "{found:?}"
    );
    let args = [
        &["listen", "--ca", &*ours],
        &room[..2],
        &["--url", "ws://127.0.0.1:9/"],
    ]
    .concat();
    let plain = command(folder().path(), &args, &[]).output().unwrap();
    let text = String::from_utf8_lossy(&plain.stderr);
    assert!(
        text.contains("--ca is for addresses that begin with wss://"),
        "{text}"
    );
}
