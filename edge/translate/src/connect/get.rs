//! The message of a Connect `GET`, in its query.
//!
//! Invariant: a parameter given twice is refused: two readers could take different ones, and a cache is
//! one of them.

use base64::Engine;
use bytes::Bytes;

use crate::compression::{Coding, Unknown};
use crate::json::percent;
use crate::json::scalar::BASE64_URL;
use crate::status::problem::Rejection;

/// The message as it was sent, and how it is compressed.
pub(super) fn message(query: &str) -> Result<(Bytes, Option<Coding>), Rejection> {
    let message = one(query, "message")?.ok_or_else(|| refuse("message", "is missing"))?;
    let message = percent::decode_form_bytes(message)
        .map_err(|error| refuse("message", &error.to_string()))?;
    let is_base64 = match one(query, "base64")? {
        None | Some("0") => false,
        Some("1") => true,
        Some(_) => return Err(refuse("base64", "is not `1`")),
    };
    let message = if is_base64 {
        BASE64_URL
            .decode(&message)
            .map_err(|_| refuse("message", "is not base64 for urls"))?
    } else {
        message
    };
    let coding = Coding::sent(one(query, "compression")?.unwrap_or_default())
        .map_err(|Unknown| Rejection::coding_unknown())?;
    Ok((message.into(), coding))
}

fn one<'q>(query: &'q str, name: &str) -> Result<Option<&'q str>, Rejection> {
    let mut values = query.split('&').filter_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then_some(value)
    });
    let value = values.next();
    match values.next() {
        None => Ok(value),
        Some(_) => Err(refuse(name, "is given twice")),
    }
}

fn refuse(name: &str, reason: &str) -> Rejection {
    Rejection::field("invalid_query", "query parameter", name, reason)
}
