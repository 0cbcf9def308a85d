//! What is forwarded to the API for one visitor.

use std::fmt;

use http::HeaderMap;

/// What is forwarded to the API for one visitor: finished request headers.
///
/// They are secrets, so `Debug` shows the names only.
#[derive(Clone, Default)]
pub struct Credentials(HeaderMap);

impl Credentials {
    /// The headers, ready to be put on a request.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.0
    }

    pub(crate) fn headers_mut(&mut self) -> &mut HeaderMap {
        &mut self.0
    }
}

impl From<HeaderMap> for Credentials {
    fn from(headers: HeaderMap) -> Self {
        Self(headers)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
