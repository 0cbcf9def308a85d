//! Settings of the backend client. Plain values: reading files and environments is the binary's
//! task.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

pub use ht_overload::GuardConfig;
use http::{HeaderName, Method};

/// How to reach the API and what to send it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendConfig {
    /// Base address, `http://` or `https://`, ending in a slash. It is only prepended to the
    /// paths below. Holds no credentials.
    pub url: String,
    /// Reach the API over this unix socket; `url` is then `http://` and still gives the path
    /// prefix and the `Host`.
    pub socket: Option<PathBuf>,
    /// Path of the bootstrap call, relative to `url`. Called with GET.
    pub bootstrap: String,
    /// Timeout of one call from the moment it has its permit: connect, request, whole response.
    pub timeout: Duration,
    /// Path of the user's id in the bootstrap response, such as `["user", "data", "id"]`. Empty:
    /// not read.
    pub user_id_path: Arc<[String]>,
    /// Which headers are forwarded, in order; a later one of the same name replaces an earlier.
    pub headers: Arc<[HeaderRule]>,
    /// Longest head that forwarded headers may make, in bytes: enforced by
    /// [`crate::ForwardRules::of`].
    pub forward_bytes_max: usize,
    /// How bootstrap calls are held back.
    pub guard: GuardConfig,
    /// Longest bootstrap answer that is read, in bytes.
    pub answer_bytes_max: usize,
    /// Check the API's certificate. Only ever off in development.
    pub tls_verify: bool,
    /// PEM file with the authorities to trust instead of the system's.
    pub tls_ca_file: Option<PathBuf>,
    /// The calls at connect, ping and disconnect.
    pub hooks: HookCalls,
}

/// The API calls behind the hooks; `None` disables hooks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HookCalls {
    /// After a user was admitted.
    pub connect: Option<HookCall>,
    /// At a client's `ping`.
    pub ping: Option<HookCall>,
    /// After the connection ended.
    pub disconnect: Option<HookCall>,
    /// Upper bound of one call.
    pub timeout: Duration,
}

/// One hook's request, written `POST user/notify_online/` in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookCall {
    /// The method, usually POST.
    pub method: Method,
    /// The path, relative to the backend's url.
    pub path: String,
}

/// One forwarded header: its name at the API and the source of its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderRule {
    /// The header's name at the API.
    pub name: HeaderName,
    /// Source of the value; without a value, the header is omitted.
    pub source: HeaderSource,
    /// `Token {}` turns the value `x` into `Token x`. Has exactly one `{}`.
    pub format: Option<String>,
}

/// Source of a forwarded header's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderSource {
    /// A header of the client's request.
    Header(HeaderName),
    /// A parameter of the client's query string: the first of that name, percent-decoded.
    Param(String),
    /// A cookie of the client: the last of that name, quotes removed, not percent-decoded.
    Cookie(String),
    /// Always this value.
    Fixed(String),
}

/// The defaults, which nearly every tenant shares.
static HEADERS: LazyLock<Arc<[HeaderRule]>> =
    LazyLock::new(|| BackendConfig::default_headers().into());
static USER_ID_PATH: LazyLock<Arc<[String]>> =
    LazyLock::new(|| BackendConfig::default_user_id_path().into());

impl BackendConfig {
    /// Rules for [`Self::headers`]. Where they are the default, all configurations share them.
    #[must_use]
    pub fn shared_headers(headers: Vec<HeaderRule>) -> Arc<[HeaderRule]> {
        shared(&HEADERS, headers)
    }

    /// A path for [`Self::user_id_path`]. Where it is the default, all configurations share it.
    #[must_use]
    pub fn shared_user_id_path(path: Vec<String>) -> Arc<[String]> {
        shared(&USER_ID_PATH, path)
    }

    /// Default path of the user's id.
    #[must_use]
    pub fn default_user_id_path() -> Vec<String> {
        ["user", "id"].map(str::to_owned).into()
    }

    /// The headers that are forwarded by default.
    #[must_use]
    pub fn default_headers() -> Vec<HeaderRule> {
        let rule = |name, source, format: Option<&str>| HeaderRule {
            name: HeaderName::from_static(name),
            source,
            format: format.map(str::to_owned),
        };
        let forward = |name| {
            rule(
                name,
                HeaderSource::Header(HeaderName::from_static(name)),
                None,
            )
        };
        vec![
            forward("cookie"),
            forward("user-agent"),
            forward("x-real-ip"),
            rule(
                "x-csrftoken",
                HeaderSource::Cookie("csrftoken".into()),
                None,
            ),
            rule(
                "authorization",
                HeaderSource::Param("token".into()),
                Some("Token {}"),
            ),
        ]
    }
}

fn shared<T: PartialEq>(default: &Arc<[T]>, values: Vec<T>) -> Arc<[T]> {
    if **default == *values {
        return Arc::clone(default);
    }
    values.into()
}
