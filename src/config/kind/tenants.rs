//! Settings of the section `[tenants]`.

use ht_node::config::TenantName;

use crate::config::kind::{Choice, Kind, Wrong, quoted};
use crate::config::node::Node;

/// The source of tenants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TenantsFrom {
    /// There is none besides `main`.
    None,
    /// Files.
    File,
    /// A registry.
    Http,
}

impl Choice for TenantsFrom {
    const ALL: &'static [(&'static str, Self)] = &[
        ("none", Self::None),
        ("file", Self::File),
        ("http", Self::Http),
    ];
}

/// The tenant of clients that name none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TenantDefault(pub(crate) Option<TenantName>);

/// The kind of `tenants.default`.
pub(crate) struct DefaultTenant;

impl Kind for DefaultTenant {
    type Value = TenantDefault;

    fn read(&self, node: &Node) -> Result<TenantDefault, Wrong> {
        match node.text().ok_or(Wrong::Kind)? {
            "none" => Ok(TenantDefault(None)),
            name => {
                let name = name.parse().map_err(|_| Wrong::Kind)?;
                Ok(TenantDefault(Some(name)))
            }
        }
    }

    fn expects(&self) -> String {
        "\"none\", \"main\" or the name of a tenant".into()
    }

    fn show(&self, value: &TenantDefault) -> String {
        quoted(value.0.as_ref().map_or("none", TenantName::as_str))
    }
}
