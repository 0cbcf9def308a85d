//! Whose the triggers and commands of a request are.

use std::sync::Arc;

use ht_edge::respond::Body;
use ht_proto::entry::TenantId;
use ht_proto::record::Record;
use ht_proto::tenant::{TenantName, TenantNameError};
use ht_proto::trigger::{Problem, TriggerError};
use http::{HeaderMap, Response, StatusCode};

use crate::internal::access::{Access, forbidden};
use crate::internal::rejected::refused;
use crate::internal::{Internal, error};
use crate::metrics;
use crate::tenants::{Tenant, Tenants};

/// The header by which an unrestricted key names a tenant.
const HEADER: &str = "high-templar-tenant";

type Refused = Box<Response<Body>>;

/// The tenant that all of a request is for; none: each record names its own, or is of `main`.
///
/// # Errors
/// With the response if the request names one that is not there, or that its key does not belong to.
pub(super) fn of_request(
    internal: &Internal,
    headers: &HeaderMap,
    access: Access,
) -> Result<Option<Arc<Tenant>>, Refused> {
    let tenants = internal.tenants();
    let named = header(headers).map_err(|()| {
        let sentence = format!("High-Templar-Tenant: {TenantNameError}.");
        Box::new(error(StatusCode::BAD_REQUEST, &sentence))
    })?;
    if named.is_some() && !tenants.are_enabled() {
        let sentence = "This gateway has no tenants: leave out the header High-Templar-Tenant.";
        return Err(Box::new(error(StatusCode::BAD_REQUEST, sentence)));
    }
    let tenant = match (access.tenant(), named) {
        (Some(own), named) => {
            // It was there a moment ago, when its key was checked.
            let own = tenants.get(own).ok_or_else(|| unknown("of this key"))?;
            if named.is_some_and(|named| named != *own.name()) {
                return Err(Box::new(foreign(&own, None)));
            }
            own
        }
        (None, Some(named)) => {
            let found = tenants.named(&named);
            found.ok_or_else(|| unknown(named.as_str()))?
        }
        (None, None) => return Ok(None),
    };
    Ok(Some(tenant))
}

fn header(headers: &HeaderMap) -> Result<Option<TenantName>, ()> {
    let mut lines = headers.get_all(HEADER).iter();
    match (lines.next(), lines.next()) {
        (None, _) => Ok(None),
        (Some(line), None) => {
            let name = line.to_str().map_err(drop)?.parse();
            name.map(Some).map_err(drop)
        }
        (Some(_), Some(_)) => Err(()),
    }
}

/// What is counted for the tenant of this name, to which a tenant's key must belong.
pub(super) fn metrics(
    internal: &Internal,
    headers: &HeaderMap,
    access: Access,
    name: &str,
) -> Response<Body> {
    let tenants = internal.tenants();
    let found = name.parse().ok().and_then(|name| tenants.named(&name));
    match (found, access.tenant()) {
        (Some(tenant), None) => metrics::respond_of(&internal.sources, &tenant, headers),
        (Some(tenant), Some(own)) if tenant.id() == own => {
            metrics::respond_of(&internal.sources, &tenant, headers)
        }
        // It learns of no other tenant whether it is there.
        (_, Some(_)) => forbidden("this key belongs to another tenant", None),
        (None, None) => *unknown(name),
    }
}

/// Determines whose each record is, and names its tenant in its text, as the log has it. `scope`: the
/// tenant that all of them must be of; `is_list`: there are several; `bytes_max`: the longest text that
/// nodes read from the log.
///
/// # Errors
/// With the response if one of them may not be sent: none is sent then.
pub(super) fn assign(
    tenants: &Tenants,
    scope: Option<&Arc<Tenant>>,
    records: &mut [Record],
    is_list: bool,
    bytes_max: usize,
) -> Result<Vec<TenantId>, Refused> {
    let records = records.iter_mut().enumerate();
    let assigned = records.map(|(index, record)| {
        let index = is_list.then_some(index);
        let wrong = |problem| {
            Box::new(refused(&TriggerError {
                trigger: index,
                member: Some("tenant".to_owned()),
                problem,
            }))
        };
        if !tenants.are_enabled() {
            return tenants.of_record(record).map_err(wrong);
        }
        let tenant = match (scope, record.tenant()) {
            (_, Some(Err(error))) => return Err(wrong((*error).into())),
            (Some(scope), Some(Ok(name))) if name != scope.name() => {
                return Err(Box::new(foreign(scope, index)));
            }
            (Some(scope), _) => Arc::clone(scope),
            (None, Some(Ok(name))) => {
                let found = tenants.named(name);
                found.ok_or_else(|| wrong(Problem::UnknownTenant(name.clone())))?
            }
            (None, None) => tenants.get(TenantId::MAIN).ok_or_else(nobody)?,
        };
        if tenant.is_suspended() {
            return Err(Box::new(suspended(&tenant, index)));
        }
        if !tenant.name().is_main() {
            record.name_tenant(tenant.name());
        }
        if record.text().len() > bytes_max {
            return Err(Box::new(refused(&TriggerError {
                trigger: index,
                member: None,
                problem: Problem::TooLong(bytes_max),
            })));
        }
        Ok(tenant.id())
    });
    assigned.collect()
}

/// 404 for a tenant that is not there.
fn unknown(name: &str) -> Refused {
    let sentence = format!("there is no tenant {name}");
    Box::new(error(StatusCode::NOT_FOUND, &sentence))
}

/// 400 for a record that names no tenant, where there is no `main`.
fn nobody() -> Refused {
    let sentence = "this gateway has no tenant main: name one by the header High-Templar-Tenant or \
                    the member `tenant`, or send a key of a tenant";
    Box::new(error(StatusCode::BAD_REQUEST, sentence))
}

/// 403 for a request, or a record of it, that names another tenant than the one that it is of.
fn foreign(own: &Tenant, trigger: Option<usize>) -> Response<Body> {
    let own = own.name();
    forbidden(
        &format!("this request is of the tenant {own} and names another one"),
        trigger,
    )
}

fn suspended(tenant: &Tenant, trigger: Option<usize>) -> Response<Body> {
    let name = tenant.name();
    forbidden(&format!("the tenant {name} is suspended"), trigger)
}
