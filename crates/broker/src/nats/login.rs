//! Who the gateway is to the server, and whom it trusts.

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_nats::ConnectOptions;
use rustls::ClientConfig;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;

use crate::config::NatsConfig;
use crate::nats::address::Address;
use crate::nats::cause::Cause;
use crate::tls;

/// Limit on connecting to one address.
const CONNECT: Duration = Duration::from_secs(5);

/// A server that is silent for so long is asked for a sign of life; without two of them the
/// connection is lost.
const PING: Duration = Duration::from_secs(3);

/// The login and the trust of a connection.
#[derive(Clone)]
pub(super) struct Login {
    identity: Identity,
    demands_tls: bool,
    ca_file: Option<PathBuf>,
    /// Certificate and key of the client.
    own: Option<(PathBuf, PathBuf)>,
}

#[derive(Clone)]
enum Identity {
    Nobody,
    User(String, String),
    Token(String),
    NKey(String),
    Credentials(String),
}

impl Login {
    pub(super) fn new(config: &NatsConfig, address: &Address) -> Self {
        let (user, password) = match &address.login {
            Some((user, Some(password))) => (Some(user), Some(password)),
            Some((_, None)) | None => (None, None),
        };
        let token = match &address.login {
            Some((token, None)) => Some(token),
            Some((_, Some(_))) | None => None,
        };
        let user = config.username.as_ref().or(user);
        let password = config.password.as_ref().or(password);
        let token = config.token.as_ref().or(token);
        let identity = if let Some(credentials) = &config.credentials {
            Identity::Credentials(credentials.clone())
        } else if let Some(seed) = &config.nkey {
            Identity::NKey(seed.clone())
        } else if let Some(user) = user {
            Identity::User(user.clone(), password.cloned().unwrap_or_default())
        } else if let Some(token) = token {
            Identity::Token(token.clone())
        } else {
            Identity::Nobody
        };
        let own = config.tls_certificate_file.clone();
        Self {
            identity,
            demands_tls: address.endpoint.tls,
            ca_file: config.tls_ca_file.clone(),
            own: own.zip(config.tls_key_file.clone()),
        }
    }

    /// The options of a connection. Files are read anew for each.
    pub(super) fn options(&self, servers: usize) -> Result<ConnectOptions, Cause> {
        let options = ConnectOptions::new()
            .connection_timeout(CONNECT)
            .ping_interval(PING)
            .request_timeout(None)
            .ignore_discovered_servers()
            // It ends when it is lost: whoever uses it connects anew, and knows of the loss.
            .max_reconnects(servers)
            .require_tls(self.demands_tls)
            .tls_client_config(self.tls()?);
        let login = |_hides_the_seed| Cause::Login("the credentials cannot be read".into());
        Ok(match &self.identity {
            Identity::Nobody => options,
            Identity::User(user, password) => {
                options.user_and_password(user.clone(), password.clone())
            }
            Identity::Token(token) => options.token(token.clone()),
            Identity::NKey(seed) => options.nkey(seed.trim().to_owned()),
            // The library wants the last line to end.
            Identity::Credentials(text) => {
                options.credentials(&format!("{text}\n")).map_err(login)?
            }
        })
    }

    fn tls(&self) -> Result<ClientConfig, Cause> {
        let wrong = |error: std::io::Error| Cause::Tls(error.to_string());
        let other = |error: rustls::Error| Cause::Tls(error.to_string());
        // A server may demand it, whatever the url says.
        let roots = match tls::roots(self.ca_file.as_deref(), "nats.tls_ca_file") {
            Err(_none) if self.ca_file.is_none() && !self.demands_tls => {
                rustls::RootCertStore::empty()
            }
            roots => roots.map_err(wrong)?,
        };
        let builder = ClientConfig::builder_with_provider(tls::provider())
            .with_safe_default_protocol_versions()
            .map_err(other)?
            .with_root_certificates(roots);
        let Some((certificate, key)) = &self.own else {
            return Ok(builder.with_no_client_auth());
        };
        let chain = tls::certificates(certificate, "nats.tls_certificate_file").map_err(wrong)?;
        let key = private_key(key).map_err(wrong)?;
        builder.with_client_auth_cert(chain, key).map_err(other)
    }
}

fn private_key(file: &Path) -> std::io::Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_file(file).map_err(|cause| {
        std::io::Error::other(format!("nats.tls_key_file {}: {cause}", file.display()))
    })
}
