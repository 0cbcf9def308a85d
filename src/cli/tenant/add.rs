//! `high-templar tenant add`: a new tenant with keys of its own.

use std::fs::File;
use std::io::Read as _;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ht_node::config::{KeyHash, TenantName};
use sha2::{Digest as _, Sha256};

use super::{folder, when};
use crate::cli::{Done, print};
use crate::config::{Config, Mistakes, quoted, tenant_in};

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

pub(super) fn run(config: &Config, args: Args) -> Done {
    let folder = folder(config)?;
    let name = &args.name;
    if config
        .server
        .tenants
        .list
        .iter()
        .any(|tenant| tenant.name == *name)
    {
        bail!("there is a tenant {name} already: high-templar tenant show {name}");
    }
    let keys = Keys::new().context("cannot make keys")?;
    let text = written(&args, &keys);
    check(config, &text)?;
    let path = folder.put_text(name, &text)?;
    print(&format!(
        "Added {name} in {}. {}",
        path.display(),
        when(config)
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
    let websocket = &config.server.public.websocket_path;
    for host in &args.hosts {
        print(&format!(
            "                                         {websocket} on {host}"
        ))?;
    }
    Ok(ExitCode::SUCCESS)
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

/// Checks the new tenant, alone and beside the others.
fn check(config: &Config, text: &str) -> Result<(), Mistakes> {
    let mut mistakes = Mistakes::default();
    let mut documents = config.tenancy.documents(&mut mistakes);
    documents.extend(tenant_in(text, "the arguments", &mut mistakes));
    config
        .tenancy
        .checked(&documents, config.tenancy.operator(), &mut mistakes);
    if mistakes.is_empty() {
        Ok(())
    } else {
        Err(mistakes)
    }
}
