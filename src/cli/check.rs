//! `high-templar check`: tests the listeners, the API and the broker, and reports what to fix.

mod folders;
mod tenants;

use std::fmt::Display;
use std::path::PathBuf;

use ht_backend::config::BackendConfig;
use ht_backend::{Answer, Backend as _, Credentials, HttpBackend, Refusal};
use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::cli::finding::Finding;
use crate::cli::finding::Finding::{Fix, Note, Works};
use crate::cli::{Done, Exit, broker, check_ca, occupant, print};
use crate::config::Sources;

pub(super) use tenants::survey;

/// What to check.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration file [default: high-templar.toml if it exists, or HT_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Test the API with the certificate authorities of this PEM file, instead of
    /// backend.tls_ca_file and those of the system
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

pub(super) fn run(args: Args) -> Done {
    let mut config = Sources::of_process(args.config).load()?;
    print("ok   configuration")?;
    for note in &config.notes {
        print(&format!("     {note}"))?;
    }
    if let Some(ca) = args.ca {
        check_ca(&ca)?;
        if !config.backend.url.starts_with("https://") {
            print("     --ca changes nothing: backend.url does not begin with https://")?;
        }
        config.backend.tls_ca_file = Some(ca);
        config.backend.tls_verify = true;
    }
    let engine = config.engine();
    super::block_on(async {
        let mut all_work = true;
        for (name, finding) in occupant::listeners(&config.server).await {
            all_work &= report(name, &finding)?;
        }
        if config.backend.url.is_empty() {
            let none = "backend.url is not set: there is no tenant main";
            all_work &= report("backend", &Note(none.to_owned()))?;
        } else {
            for finding in backend(config.backend.clone()).await {
                all_work &= report("backend", &finding)?;
            }
        }
        for (name, finding) in folders::written(&config) {
            all_work &= report(name, &finding)?;
        }
        all_work &= tenants::all(&config).await?;
        let trigger_bytes = config.server.limits.trigger_bytes;
        let broker = broker::probe(engine.as_ref(), trigger_bytes).await;
        all_work &= report("broker", &broker)?;
        if all_work {
            print("Everything works.")?;
            Ok(Exit::Success)
        } else {
            Ok(Exit::Failure)
        }
    })
}

/// Prints a finding. Returns whether there is nothing to fix.
fn report(name: &str, finding: &Finding) -> anyhow::Result<bool> {
    let (mark, text) = match finding {
        Works(text) => ("ok  ", text),
        Note(text) => ("NOTE", text),
        Fix(text) => ("FIX ", text),
    };
    print(&format!("{mark} {name}: {text}"))?;
    Ok(!matches!(finding, Fix(_)))
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
    // Without a response to a short head, a long one cannot be tested.
    if !matches!(answer, Answer::Failed(_)) {
        let long = backend.bootstrap(&long_head(bytes_max)).await;
        findings.push(judged_long(&address, bytes_max, &answer, &long));
    }
    findings
}

/// Headers of the greatest permitted total length. They are two lines, because servers also limit the
/// length of one.
fn long_head(bytes: usize) -> Credentials {
    const USER_AGENT_BYTES: usize = 256;
    let line = |name: &HeaderName, bytes: usize| {
        let value = bytes.saturating_sub(name.as_str().len() + ": \r\n".len());
        HeaderValue::try_from("x".repeat(value)).expect("letters are a valid header value")
    };
    let mut headers = HeaderMap::new();
    let name = header::USER_AGENT;
    headers.insert(name.clone(), line(&name, USER_AGENT_BYTES));
    let name = header::COOKIE;
    headers.insert(name.clone(), line(&name, bytes - USER_AGENT_BYTES));
    headers.into()
}

/// Compares the response to the longest head with that to a short one.
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
         long for the API's server: {what}. A client with that many cookies could never connect. Lower \
         the setting, or raise the server's limit (uWSGI: buffer-size; gunicorn: \
         limit_request_field_size; nginx: large_client_header_buffers; Node: --max-http-header-size)"
    ))
}

fn long_works(bytes_max: usize) -> Finding {
    Works(format!(
        "answers a request head of {bytes_max} bytes (backend.forward_bytes_max)"
    ))
}

/// Judges the API by its response to a client without credentials.
fn judged(address: &str, answer: &Answer) -> Finding {
    let fix = |what: &dyn Display, advice: Option<&str>| {
        let advice = advice.map_or_else(String::new, |advice| format!("; {advice}"));
        Fix(format!("{address}: {what}{advice}"))
    };
    match answer {
        Answer::Admitted(permissions) if !permissions.ignored.is_empty() => {
            let causes: Vec<_> = permissions
                .ignored
                .iter()
                .map(ToString::to_string)
                .collect();
            fix(
                &causes.join("; "),
                Some("have the API correct it, or leave it out"),
            )
        }
        Answer::Admitted(_) => Works(format!(
            "{address} answers, and admits a client without any credentials: is that intended?"
        )),
        Answer::Refused(refusal @ Refusal::Status(status)) => match *status {
            404 | 405 | 410 => fix(refusal, Some(&*refusal.advice())),
            400 => Works(format!("{address} answers (400; {})", refusal.advice())),
            status => Works(format!(
                "{address} answers, and refuses a client without credentials ({status})"
            )),
        },
        Answer::Refused(refusal) => fix(refusal, Some(&*refusal.advice())),
        Answer::Failed(failure) => fix(failure, failure.advice().as_deref()),
    }
}
