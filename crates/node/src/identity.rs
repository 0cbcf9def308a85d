//! How a running gateway identifies itself to a process that finds its internal address in use.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::config::Listen;

/// The value of `Server` begins with it.
const PRODUCT: &str = "high-templar/";

/// Where the gateway serves browsers.
const LISTEN: HeaderName = HeaderName::from_static("high-templar-listen");

/// The headers of responses to `/live` on the internal listener.
#[derive(Debug)]
pub(crate) struct Identity {
    listen: Option<HeaderValue>,
}

impl Identity {
    /// For a gateway whose public listener is there.
    pub(crate) fn new(public: &Listen) -> Self {
        Self {
            // A socket's path may contain characters that no header can; then it is omitted.
            listen: HeaderValue::try_from(public.to_string()).ok(),
        }
    }

    /// Adds it to a response.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        let product = concat!("high-templar/", env!("CARGO_PKG_VERSION"));
        headers.insert(header::SERVER, HeaderValue::from_static(product));
        if let Some(listen) = &self.listen {
            headers.insert(LISTEN, listen.clone());
        }
    }
}

/// Version of the gateway that sent a response with these headers, and its public address; `None`
/// if it was no gateway.
#[must_use]
pub fn read(headers: &HeaderMap) -> Option<(String, String)> {
    let text = |name| headers.get(name)?.to_str().ok();
    let version = text(header::SERVER)?.strip_prefix(PRODUCT)?;
    let listen = text(LISTEN)?;
    Some((version.to_owned(), listen.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_written_headers_are_parsed() {
        let mut headers = HeaderMap::new();
        assert_eq!(read(&headers), None);
        let public = Listen::Tcp("127.0.0.1:5000".parse().unwrap());
        Identity::new(&public).write(&mut headers);
        let version = env!("CARGO_PKG_VERSION").to_owned();
        assert_eq!(read(&headers), Some((version, "127.0.0.1:5000".to_owned())));
        headers.insert(header::SERVER, HeaderValue::from_static("nginx"));
        assert_eq!(read(&headers), None);
    }
}
