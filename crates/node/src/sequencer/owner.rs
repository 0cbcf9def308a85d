//! Whose the records of a log are.

use ht_broker::Refusal;
use ht_proto::entry::TenantId;
use ht_proto::record::Record;
use ht_proto::trigger::Problem;

use super::NodeSequencer;

impl NodeSequencer {
    /// The tenant that a record of the log is of. The own log of a tenant speaks for that tenant
    /// alone, whoever writes to it, and no other log speaks for the tenant: neither can reach clients
    /// of the other, or be read twice.
    ///
    /// # Errors
    /// If it may not be placed.
    pub(super) fn of_log(&self, record: &Record) -> Result<TenantId, Refusal> {
        let Some(owner) = &self.owner else {
            let tenant = self.tenants.of_record(record);
            let tenant = tenant.map_err(|problem| {
                if problem == Problem::NoTenants {
                    return Refusal::OfTenants;
                }
                Refusal::Wrong(format!("tenant: {problem}"))
            })?;
            if record.tenant().is_some() && self.tenants.has_own_log(tenant) {
                let what = "tenant: this tenant has a log of its own";
                return Err(Refusal::Wrong(what.to_owned()));
            }
            return Ok(tenant);
        };
        match record.tenant() {
            None => Ok(owner.id),
            Some(Ok(name)) if *name == owner.name => Ok(owner.id),
            Some(_) => Err(Refusal::Wrong(format!(
                "tenant: this is the log of the tenant {}, and the record names another",
                owner.name
            ))),
        }
    }
}
