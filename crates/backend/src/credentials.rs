//! What is forwarded to the API for one client.

use std::fmt;
use std::net::IpAddr;

use ht_proto::entry::TenantId;
use http::HeaderMap;

/// What is forwarded to the API for one client: finished request headers. They carry the client's
/// address, which is not forwarded by itself: it selects the client's fair queue. They also know the
/// tenant that the client belongs to, so that no other tenant's API ever gets them.
///
/// They are secrets, so `Debug` shows the names only.
#[derive(Clone, Default)]
pub struct Credentials {
    headers: HeaderMap,
    address: Option<IpAddr>,
    tenant: TenantId,
}

impl Credentials {
    /// The same from a client with this address; `None` where it is not known.
    #[must_use]
    pub fn from_address(self, address: Option<IpAddr>) -> Self {
        Self { address, ..self }
    }

    /// The same for the API of this tenant.
    #[must_use]
    pub fn of_tenant(self, tenant: TenantId) -> Self {
        Self { tenant, ..self }
    }

    /// The tenant whose API they are for; [`TenantId::MAIN`] unless stated otherwise.
    #[must_use]
    pub fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// The headers, ready to be put on a request.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The client's address.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    pub(crate) fn headers_mut(&mut self) -> &mut HeaderMap {
        &mut self.headers
    }
}

impl From<HeaderMap> for Credentials {
    fn from(headers: HeaderMap) -> Self {
        Self {
            headers,
            address: None,
            tenant: TenantId::MAIN,
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.headers.keys()).finish()
    }
}
