//! Wire to domain and back.
//! Invariant: a handler checks its input first, takes the caller from the verified
//! token and never from the message, and reads the time once.
//! Refuses to decide anything else.

mod admin;
mod auth;
mod credential;
mod keys;
mod refusal;
mod user;

use core_platform::{clock::UnixMicros, errors, token::Caller};
use prost_types::Timestamp;
use tonic::{
    Request, Response, Status,
    metadata::{AsciiMetadataValue, MetadataMap, MetadataValue},
};
use uuid::Uuid;

pub(crate) use admin::Admin;
pub(crate) use auth::Auth;
pub(crate) use credential::CredentialRpc;
pub(crate) use keys::Keys;
pub(crate) use user::Users;

/// The edge sets the HTTP status from it; other gRPC callers don't see a difference.
const HTTP_STATUS: &str = "x-http-status";
/// The edge sets `ETag` from it; other gRPC callers read it here.
const ETAG: &str = "x-http-header-etag";
const IF_MATCH: &str = "if-match";

/// The verified caller; the platform's layer put it there.
fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    request
        .extensions()
        .get::<Caller>()
        .cloned()
        .ok_or_else(|| errors::internal("an RPC that needs a caller is declared public"))
}

fn with_http_status<T>(message: T, status: &'static str) -> Response<T> {
    let mut response = Response::new(message);
    response
        .metadata_mut()
        .insert(HTTP_STATUS, MetadataValue::from_static(status));
    response
}

/// The entity tag of a version (RFC 9110 section 8.8.3).
fn with_etag<T>(message: T, version: i64) -> Response<T> {
    let mut response = Response::new(message);
    if let Ok(value) = AsciiMetadataValue::try_from(format!("\"{version}\"")) {
        response.metadata_mut().insert(ETAG, value);
    }
    response
}

/// The version that `If-Match` names; `None` without the field and for `*`, as what is
/// changed here always exists. A tag that is none of ours matches nothing.
fn if_match(metadata: &MetadataMap) -> Option<i64> {
    const NONE_OF_OURS: i64 = 0;
    let text = metadata.get(IF_MATCH)?.to_str().unwrap_or_default().trim();
    if text == "*" {
        return None;
    }
    let number = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    Some(
        number
            .and_then(|number| number.parse().ok())
            .unwrap_or(NONE_OF_OURS),
    )
}

/// The input rules admit UUIDs only.
fn uuid(field: &'static str, text: &str) -> Result<Uuid, Status> {
    Uuid::try_parse(text)
        .map_err(|_| errors::invalid(vec![(field.to_owned(), "must be a UUID".to_owned())]))
}

fn timestamp(at: UnixMicros) -> Timestamp {
    Timestamp {
        seconds: at.seconds(),
        nanos: at.subsecond_nanos(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_come_from_entity_tags() {
        let check = |sent: Option<&str>, expected: Option<i64>| {
            let mut metadata = MetadataMap::new();
            if let Some(sent) = sent {
                metadata.insert(IF_MATCH, sent.parse().unwrap());
            }
            assert_eq!(if_match(&metadata), expected, "{sent:?}");
        };
        check(None, None);
        check(Some("*"), None);
        check(Some("\"3\""), Some(3));
        check(Some("3"), Some(0));
        // A weak tag never matches (RFC 9110 section 13.1.1).
        check(Some("W/\"3\""), Some(0));
        check(Some("\"3\", \"4\""), Some(0));
        check(Some(""), Some(0));
    }
}
