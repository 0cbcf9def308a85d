//! The tenants of a node: their numbers, whose a request is, and what a new list of them changes.

pub mod changes;
pub mod claims;
pub mod directory;
pub mod host;
pub mod ids;
