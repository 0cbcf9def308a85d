//! `high-templar check`: what works, and what to do about what does not.

use std::fmt::Display;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::ExitCode;

use ht_backend::config::BackendConfig;
use ht_backend::{Answer, Backend as _, Credentials, Failure, HttpBackend, Refusal};
use ht_server::config::Listen;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::cli::{Done, broker, print};
use crate::config::Sources;

/// What to check.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration file [default: high-templar.toml if it exists, or HT_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// One line of the answer.
pub(super) enum Finding {
    /// It works; the text says what was seen.
    Works(String),
    /// It does not; the text says what to do.
    Fix(String),
}

use Finding::{Fix, Works};

pub(super) fn run(args: Args) -> Done {
    let config = Sources::of_process(args.config).load()?;
    print("ok   configuration")?;
    for note in &config.notes {
        print(&format!("     {note}"))?;
    }
    super::block_on(async {
        let mut all_work = true;
        for (name, listen) in [
            ("listen", &config.server.listen),
            ("internal.listen", &config.server.internal.listen),
        ] {
            all_work &= told(name, &listening(listen))?;
        }
        for finding in backend(config.backend).await {
            all_work &= told("backend", &finding)?;
        }
        all_work &= told("broker", &broker::probe(config.rabbitmq.as_ref()).await)?;
        if all_work {
            print("Everything works.")?;
            Ok(ExitCode::SUCCESS)
        } else {
            Ok(ExitCode::FAILURE)
        }
    })
}

/// Prints a finding; whether it is good.
fn told(name: &str, finding: &Finding) -> anyhow::Result<bool> {
    match finding {
        Works(text) => print(&format!("ok   {name}: {text}"))?,
        Fix(text) => print(&format!("FIX  {name}: {text}"))?,
    }
    Ok(matches!(finding, Works(_)))
}

fn listening(listen: &Listen) -> Finding {
    let address = match listen {
        Listen::Tcp(address) => address,
        Listen::Unix { path, .. } => {
            let folder = path
                .parent()
                .filter(|folder| !folder.as_os_str().is_empty());
            return match folder {
                Some(folder) if !folder.is_dir() => Fix(format!(
                    "there is no folder {} for the socket",
                    folder.display()
                )),
                Some(_) | None => Works(listen.to_string()),
            };
        }
    };
    match TcpListener::bind(address) {
        Ok(_) => Works(format!("{address} is free")),
        Err(cause) if cause.kind() == ErrorKind::AddrInUse => Works(format!(
            "{address} is in use: fine if this gateway runs already"
        )),
        Err(cause) => Fix(format!("cannot listen on {address}: {cause}")),
    }
}

async fn backend(config: BackendConfig) -> Vec<Finding> {
    let bytes_max = config.forward_bytes_max;
    let mut address = format!("{}{}", config.url, config.bootstrap);
    if let Some(socket) = &config.socket {
        address = format!("{address} over {}", socket.display());
    }
    let backend = match HttpBackend::new(config) {
        Ok(backend) => backend,
        Err(error) => return vec![Fix(error.to_string())],
    };
    let answer = backend.probe().await;
    let mut findings = vec![judged(&address, &answer)];
    // What does not answer a short head tells nothing about a long one.
    if !matches!(answer, Answer::Failed(_)) {
        let long = backend.bootstrap(&long_head(bytes_max)).await;
        findings.push(judged_long(&address, bytes_max, &answer, &long));
    }
    findings
}

/// Headers that are as long together as a visitor's may be. Servers bound a single line as well,
/// and browsers send more than one.
fn long_head(bytes: usize) -> Credentials {
    const USER_AGENT_BYTES: usize = 256;
    let line = |name: &HeaderName, bytes: usize| {
        let value = bytes.saturating_sub(name.as_str().len() + ": \r\n".len());
        HeaderValue::try_from("x".repeat(value)).expect("letters are a header's value")
    };
    let mut headers = HeaderMap::new();
    let name = header::USER_AGENT;
    headers.insert(name.clone(), line(&name, USER_AGENT_BYTES));
    let name = header::COOKIE;
    headers.insert(name.clone(), line(&name, bytes - USER_AGENT_BYTES));
    headers.into()
}

/// What the answer to the longest head says, beside that to a short one.
fn judged_long(address: &str, bytes_max: usize, short: &Answer, long: &Answer) -> Finding {
    let what: &dyn Display = match (short, long) {
        (Answer::Refused(Refusal::Status(one)), Answer::Refused(Refusal::Status(other)))
            if one == other =>
        {
            return long_works(bytes_max);
        }
        (_, Answer::Refused(refusal @ Refusal::Status(400 | 413 | 414 | 431))) => refusal,
        (_, Answer::Failed(failure)) => failure,
        (_, Answer::Admitted(_) | Answer::Refused(_)) => return long_works(bytes_max),
    };
    Fix(format!(
        "{address}: a request head of {bytes_max} bytes, which is backend.forward_bytes_max, is too \
         long for the API's server: {what}. A visitor with as many cookies would never get in. Lower \
         the setting, or raise the server's limit (uWSGI: buffer-size; gunicorn: \
         limit_request_field_size; nginx: large_client_header_buffers; Node: --max-http-header-size)"
    ))
}

fn long_works(bytes_max: usize) -> Finding {
    Works(format!(
        "answers a request head of {bytes_max} bytes (backend.forward_bytes_max)"
    ))
}

/// What an answer to a visitor without credentials says about the API.
fn judged(address: &str, answer: &Answer) -> Finding {
    let fix = |what: &dyn Display, help: &str| Fix(format!("{address}: {what}{help}"));
    match answer {
        Answer::Admitted(_) => Works(format!(
            "{address} answers, and admits a visitor without any credentials: is that intended?"
        )),
        Answer::Refused(refusal @ Refusal::Status(status)) => match *status {
            404 | 405 | 410 => fix(refusal, "; check backend.url and backend.bootstrap"),
            400 if address.contains("localhost") => Works(format!(
                "{address} answers (400; with Django, check that ALLOWED_HOSTS has this host)"
            )),
            status => Works(format!(
                "{address} answers, and refuses a visitor without credentials ({status})"
            )),
        },
        Answer::Refused(refusal) => fix(refusal, ""),
        Answer::Failed(failure @ Failure::Connect(_)) => {
            fix(failure, "; is the API running, and is backend.url right?")
        }
        Answer::Failed(failure @ Failure::Status { status: 429, .. }) => fix(
            failure,
            ": it limits how often the gateway may call; exempt the gateway",
        ),
        Answer::Failed(failure @ Failure::Status { .. }) => {
            fix(failure, ": it is broken or not running; look at its log")
        }
        Answer::Failed(failure @ Failure::Timeout { .. }) => fix(
            failure,
            "; is it overloaded, or is backend.timeout too short?",
        ),
        Answer::Failed(failure) => fix(failure, ""),
    }
}
