//! The JSON request body: what may be sent, how much of it, and into which message.
//!
//! Invariant: JSON goes straight from its bytes into the message, without a tree in between.
//! Nesting is bounded by serde_json's limit of 128. Refuses content codings: a body that unpacks
//! to a thousand times its length would pass the length limit.

use std::pin::Pin;

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use prost_reflect::{DynamicMessage, FieldDescriptor};
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, IntoDeserializer, MapAccess};
use serde_json::de::SliceRead;
use tonic::codegen::StdError;

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
    check_coding(headers)?;
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
    Ok(bytes)
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

pub(crate) fn check_coding(headers: &HeaderMap) -> Result<(), Rejection> {
    let plain = |value: &http::HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
    if headers.get_all(CONTENT_ENCODING).iter().all(plain) {
        Ok(())
    } else {
        Err(Rejection::content_coding())
    }
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
    if bytes.is_empty() {
        return Ok(DynamicMessage::new(binding.rpc.input.clone()));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let input = binding.rpc.input.clone();
    let message = match &binding.body {
        RequestBody::None => Ok(DynamicMessage::new(input)),
        RequestBody::Whole => {
            DynamicMessage::deserialize_with_options(input, &mut json, &options.json.deserialize())
        }
        RequestBody::Field(field) => DynamicMessage::deserialize_with_options(
            input,
            MapAccessDeserializer::new(OneField {
                field: Some(field),
                json: &mut json,
            }),
            &options.json.deserialize(),
        ),
    };
    message
        .and_then(|message| json.end().map(|()| message))
        .map_err(|error| {
            Rejection::bad_request("invalid_json", format!("the request body: {error}"))
        })
}

/// Presents a JSON value as the object `{"field": value}`, so that every kind of field a rule can
/// name as its body is read by the one ProtoJSON reader.
struct OneField<'a, 'json, 'de> {
    field: Option<&'a FieldDescriptor>,
    json: &'json mut serde_json::Deserializer<SliceRead<'de>>,
}

impl<'de> MapAccess<'de> for OneField<'_, '_, 'de> {
    type Error = serde_json::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Self::Error> {
        self.field
            .take()
            .map(|field| seed.deserialize(field.json_name().into_deserializer()))
            .transpose()
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, Self::Error> {
        seed.deserialize(&mut *self.json)
    }
}
