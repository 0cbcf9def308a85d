//! `/tenants/`: the list of tenants, and changes of it.

use std::time::Duration;

use bytes::Bytes;
use ht_edge::respond::{self, Body};
use ht_proto::tenant::TenantName;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use tokio::time::timeout;

use crate::administration::TenantRequest;
use crate::internal::{Internal, error};

/// Longest text of a tenant, in bytes.
const TENANT_BYTES_MAX: usize = 256 << 10;

/// Time limit of the body of a request.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Responds to a request about all tenants, or about the one with this name.
pub(super) async fn respond(
    internal: &Internal,
    request: Request<Incoming>,
    name: Option<&str>,
) -> Response<Body> {
    let Some(admin) = internal.sources.node.administration.admin() else {
        let sentence = "This gateway has no tenants: set tenants.source.";
        return error(StatusCode::NOT_FOUND, sentence);
    };
    let asked = match name {
        None if !matches!(*request.method(), Method::GET | Method::HEAD) => {
            return respond::method_not_allowed("GET, HEAD");
        }
        None => TenantRequest::List,
        Some(name) => {
            let Ok(name) = name.parse::<TenantName>() else {
                let sentence = "There is no tenant of this name: names have 1 to 40 characters \
                                a-z, 0-9 and -.";
                return error(StatusCode::NOT_FOUND, sentence);
            };
            match *request.method() {
                Method::GET | Method::HEAD => TenantRequest::Show(name),
                Method::DELETE => TenantRequest::Remove(name),
                Method::PUT => match body(request).await {
                    Ok(body) => TenantRequest::Put(name, body),
                    Err(response) => return *response,
                },
                _ => return respond::method_not_allowed("GET, HEAD, PUT, DELETE"),
            }
        }
    };
    let answer = admin.answer(asked).await;
    respond::json(answer.status, &answer.body)
}

async fn body(request: Request<Incoming>) -> Result<Bytes, Box<Response<Body>>> {
    let body = Limited::new(request.into_body(), TENANT_BYTES_MAX).collect();
    match timeout(BODY_TIMEOUT, body).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(_)) => {
            let sentence = format!("A tenant has at most {TENANT_BYTES_MAX} bytes of JSON.");
            Err(Box::new(error(StatusCode::PAYLOAD_TOO_LARGE, &sentence)))
        }
        Err(_) => {
            let sentence = "The body did not arrive in time.";
            Err(Box::new(error(StatusCode::REQUEST_TIMEOUT, sentence)))
        }
    }
}
