//! The JSON request body: what may be sent, how much of it, and into which message.
//!
//! Invariant: a compressed body is unpacked once it is all there, so that a slow client holds no more
//! memory than it has sent.

use std::pin::Pin;

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use prost_reflect::DynamicMessage;
use tonic::codegen::StdError;

use crate::compression::{Coding, Refused, Unknown, Unpacked};
use crate::json::read;
use crate::options::Options;
use crate::rules::binding::{Binding, RequestBody};
use crate::status::problem::Rejection;

/// How much of a refused body is read and thrown away, in bytes.
const DRAINED_BYTES_MAX: usize = 1024 * 1024;

/// Reads the body `binding` expects, which may be empty.
pub(crate) async fn read<B>(
    binding: &Binding,
    headers: &HeaderMap,
    body: B,
    bytes_max: usize,
) -> Result<Bytes, Rejection>
where
    B: Body,
    B::Error: Into<StdError>,
{
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    if matches!(binding.body, RequestBody::None) {
        // A length of zero still lets an empty chunked body pass.
        return match Limited::new(body, 0).collect().await {
            Ok(_) => Ok(Bytes::new()),
            Err(error) if error.is::<LengthLimitError>() => Err(Rejection::bad_request(
                "unexpected_body",
                "this request takes no body",
            )),
            Err(_) => Err(incomplete()),
        };
    }
    let typed = headers.contains_key(CONTENT_TYPE);
    let coding = coding(headers)?;
    if typed && !is_utf8(headers, &["application/json"]) {
        return Err(Rejection::not_json());
    }
    let announced = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|bytes| bytes > bytes_max) {
        return Err(Rejection::body_too_large(bytes_max));
    }
    let bytes = match Limited::new(body, bytes_max).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            return Err(Rejection::body_too_large(bytes_max));
        }
        Err(_) => return Err(incomplete()),
    };
    if !typed && !bytes.is_empty() {
        return Err(Rejection::not_json());
    }
    match coding {
        None => Ok(bytes),
        Some(coding) => coding
            .decompress(&bytes, bytes_max)
            .map_err(|error| refused(&error)),
    }
}

/// Discards what is left of a refused request's body, up to a bound.
///
/// A connection that closes while its peer still writes gives the peer a broken pipe, and the
/// edge would answer 502 where it was told 404 or 413.
pub(crate) async fn drain<B: Body>(mut body: Pin<&mut B>) {
    let mut left = DRAINED_BYTES_MAX;
    while let Some(Ok(frame)) = body.frame().await {
        let bytes = frame.data_ref().map_or(0, Buf::remaining);
        let Some(rest) = left.checked_sub(bytes) else {
            return;
        };
        left = rest;
    }
}

pub(crate) fn incomplete() -> Rejection {
    Rejection::bad_request("incomplete_body", "the request body ended early")
}

/// Why an [`Unpacked`] body could not be read on.
pub(crate) fn broken(error: &StdError) -> Rejection {
    error.downcast_ref().map_or_else(incomplete, refused)
}

/// Lets `body` be unpacked as the headers say.
pub(crate) fn unpack<B>(headers: &HeaderMap, body: &mut Unpacked<B>) -> Result<(), Rejection> {
    match coding(headers)? {
        None => Ok(()),
        Some(coding) => body.unpack(coding).map_err(|error| refused(&error)),
    }
}

fn coding(headers: &HeaderMap) -> Result<Option<Coding>, Rejection> {
    Coding::sent_by(headers, CONTENT_ENCODING).map_err(|Unknown| Rejection::content_coding())
}

fn refused(refused: &Refused) -> Rejection {
    Rejection::compression("the request body", refused)
}

/// One of these media types, with no charset but UTF-8 (RFC 8259 section 8.1), exactly once.
pub(crate) fn is_utf8(headers: &HeaderMap, names: &[&str]) -> bool {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return false;
    };
    let Ok(value) = value.to_str() else {
        return false;
    };
    let mut parts = value.split(';').map(str::trim);
    let is_named = parts
        .next()
        .is_some_and(|essence| names.iter().any(|name| essence.eq_ignore_ascii_case(name)));
    is_named
        && parts.all(|parameter| match parameter.split_once('=') {
            Some((name, value)) if name.trim().eq_ignore_ascii_case("charset") => {
                value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
            }
            _ => true,
        })
}

/// Parses `bytes` into a message of the binding's request type.
pub(crate) fn parse(
    binding: &Binding,
    bytes: &[u8],
    options: &Options,
) -> Result<DynamicMessage, Rejection> {
    let input = &binding.rpc.input;
    if bytes.is_empty() {
        return Ok(DynamicMessage::new(input.clone()));
    }
    match &binding.body {
        RequestBody::None => Ok(DynamicMessage::new(input.clone())),
        RequestBody::Whole => read::message(input, bytes, &options.json),
        RequestBody::Field(field) => read::field(input, field, bytes, &options.json),
    }
    .map_err(|error| Rejection::json("the request body", &error))
}
