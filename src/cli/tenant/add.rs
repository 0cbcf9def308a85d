//! `high-templar tenant add`: a new tenant with keys of its own.

use std::fs::File;
use std::io::Read as _;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ht_node::config::{KeyHash, TenantName};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::{folder, when};
use crate::cli::{Done, Exit, print};
use crate::config::{Survey, Tenancy, quoted, tenant_of_json};

/// The new tenant.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Its name: 1 to 40 characters a-z, 0-9 and -
    name: TenantName,
    /// URL of its HTTP API, ending in a slash
    #[arg(long, value_name = "URL")]
    backend: String,
    /// Host of its WebSocket, such as live.acme.example; can be repeated
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,
    /// Origin whose pages may open a WebSocket, such as https://acme.example; can be repeated
    #[arg(long = "origin", value_name = "ORIGIN")]
    origins: Vec<String>,
}

/// The keys of a tenant, which are shown once.
struct Keys {
    public: String,
    secret: String,
}

pub(super) fn run(tenancy: &Tenancy, websocket_path: &str, args: Args) -> Done {
    let folder = folder(tenancy)?;
    let name = &args.name;
    let survey = tenancy.survey();
    if folder.has(name) || survey.find(name.as_str()).is_some() {
        bail!("there is a tenant {name} already: high-templar tenant show {name}");
    }
    let keys = Keys::new().context("cannot make keys")?;
    check(tenancy, survey, &args, &keys)?;
    let path = folder.put_text(name, &written(&args, &keys))?;
    print(&format!(
        "Added {name} in {}. {}",
        path.display(),
        when(tenancy, &tenancy.survey())
    ))?;
    print("")?;
    print(&format!(
        "Key of its API, which publishes with it: {}",
        keys.secret
    ))?;
    print("  It is shown only now; the file has its digest.")?;
    print(&format!(
        "Public key, which names the tenant:      {}",
        keys.public
    ))?;
    print(&format!(
        "WebSocket of its pages:                  /t/{name}/ws/ on every host"
    ))?;
    for host in &args.hosts {
        print(&format!(
            "                                         {websocket_path} on {host}"
        ))?;
    }
    Ok(Exit::Success)
}

impl Keys {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            public: format!("pk_{}", random::<12>()?),
            secret: format!("sk_{}", random::<32>()?),
        })
    }
}

/// So many random bytes as text.
fn random<const N: usize>() -> std::io::Result<String> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// The file of the tenant.
fn written(args: &Args, keys: &Keys) -> String {
    let list = |texts: &[String]| {
        let texts: Vec<_> = texts.iter().map(|text| quoted(text)).collect();
        format!("[{}]", texts.join(", "))
    };
    let hash = KeyHash::new(Sha256::digest(keys.secret.as_bytes()).into());
    format!(
        "name = {name}\nhosts = {hosts}\nkey = {key}\norigins = {origins}\n\
         publish_keys = [{{ hash = \"{hash}\", may = [\"publish\", \"command\", \"read\"] }}]\n\
         suspended = false\n\n[backend]\nurl = {url}\n",
        name = quoted(args.name.as_str()),
        hosts = list(&args.hosts),
        key = quoted(&keys.public),
        origins = list(&args.origins),
        url = quoted(&args.backend),
    )
}

/// Checks the new tenant, alone and beside the others. Their mistakes are theirs.
fn check(tenancy: &Tenancy, others: Survey, args: &Args, keys: &Keys) -> anyhow::Result<()> {
    let json = json!({
        "name": args.name.as_str(),
        "hosts": args.hosts,
        "key": keys.public,
        "origins": args.origins,
        "backend": { "url": args.backend },
    });
    let others = others.tenants.into_iter().map(|it| it.document);
    let new = tenant_of_json(json, ARGUMENTS);
    let all = tenancy.survey_of(others.chain([new]).collect(), tenancy.operator());
    let own = all.tenants.last();
    let mistakes: Vec<_> = own
        .into_iter()
        .flat_map(|it| it.mistakes.lines())
        .map(|line| of_option(&line, &args.name))
        .collect();
    match mistakes.as_slice() {
        [] => Ok(()),
        mistakes => bail!("{}", mistakes.join("\n  ")),
    }
}

/// Where the settings of the new tenant are, in mistakes.
const ARGUMENTS: &str = "the arguments";

/// A line about a setting, as one about the option that it came from.
fn of_option(line: &str, name: &TenantName) -> String {
    let line = line.strip_prefix(&format!("{ARGUMENTS}: ")).unwrap_or(line);
    let line = line
        .strip_prefix(&format!("tenant {name}: "))
        .unwrap_or(line);
    let options = [
        ("backend.url: ", "--backend: "),
        ("hosts: ", "--host: "),
        ("origins.allow: ", "--origin: "),
        ("origins: ", "--origin: "),
        ("name: ", "the name: "),
    ];
    for (setting, option) in options {
        if let Some(what) = line.strip_prefix(setting) {
            return format!("{option}{what}");
        }
    }
    line.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_name_the_option() {
        let name: TenantName = "acme".parse().unwrap();
        for (line, expected) in [
            (
                "the arguments: tenant acme: backend.url: end it with a slash",
                "--backend: end it with a slash",
            ),
            (
                "the arguments: tenant acme: hosts: \"*\": one by one",
                "--host: \"*\": one by one",
            ),
            (
                "the arguments: tenant acme: origins.allow: \"x y\": no origin",
                "--origin: \"x y\": no origin",
            ),
            (
                "the arguments: tenant acme: the tenants a and acme both have the host x",
                "the tenants a and acme both have the host x",
            ),
        ] {
            assert_eq!(of_option(line, &name), expected);
        }
    }
}
