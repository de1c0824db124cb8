//! Errors and ends of streams as the Connect protocol writes them.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage};
use serde::Serialize;
use serde_json::Value;
use tonic_types::pb;

use super::code;
use super::render::Told;
use crate::framing;
use crate::metadata;

/// The flag of the last message of a stream.
pub(crate) const END_STREAM: u8 = 0x02;

/// Most details of an error that are passed on.
const DETAILS_MAX: usize = 32;

/// Longest detail that is also shown as JSON, in bytes; for people who read it in a browser.
const DEBUG_BYTES_MAX: usize = 4 * 1024;

/// The types that details usually have.
static GOOGLE_RPC: LazyLock<Option<DescriptorPool>> =
    LazyLock::new(|| DescriptorPool::decode(pb::FILE_DESCRIPTOR_SET).ok());

#[derive(Serialize)]
struct Error<'a> {
    code: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    message: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    details: Vec<Detail>,
}

#[derive(Serialize)]
struct Detail {
    r#type: String,
    value: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    debug: Option<Value>,
}

#[derive(Serialize)]
struct EndStream<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Error<'a>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<&'a str, Vec<&'a str>>,
}

/// The body of a unary answer that failed.
pub(crate) fn error(told: Told<'_>) -> Bytes {
    // Strings and JSON that was written here: there is nothing that could fail to be written.
    serde_json::to_vec(&Error::of(told))
        .unwrap_or_default()
        .into()
}

/// The last message of a stream, with its prefix; `trailers` hold metadata only.
pub(crate) fn end(told: Option<Told<'_>>, trailers: &HeaderMap) -> Bytes {
    let mut metadata: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (name, value) in trailers {
        if let Ok(value) = value.to_str() {
            metadata.entry(name.as_str()).or_default().push(value);
        }
    }
    let error = told.map(Error::of);
    let end = serde_json::to_vec(&EndStream { error, metadata }).unwrap_or_default();
    framing::frame(END_STREAM, &end).unwrap_or_default()
}

/// Metadata behind the message of a unary answer, in its head.
pub(crate) fn put_trailers(headers: &mut HeaderMap, trailers: HeaderMap) {
    metadata::each(trailers, |name, value| {
        if let Ok(name) = HeaderName::try_from(format!("trailer-{name}")) {
            headers.append(name, value);
        }
    });
}

impl<'a> Error<'a> {
    fn of(told: Told<'a>) -> Self {
        let status = pb::Status::decode(told.details).unwrap_or_default();
        let details = status.details.into_iter().take(DETAILS_MAX);
        Self {
            code: code::connect_name(told.code),
            message: told.message,
            details: details
                .map(|any| Detail::of(&any.type_url, &any.value, told.pool))
                .collect(),
        }
    }
}

impl Detail {
    fn of(type_url: &str, value: &[u8], pool: Option<&DescriptorPool>) -> Self {
        let name = type_url.rsplit('/').next().unwrap_or_default();
        Self {
            r#type: name.to_owned(),
            value: code::unpadded(value),
            debug: debug(name, value, pool),
        }
    }
}

fn debug(name: &str, value: &[u8], pool: Option<&DescriptorPool>) -> Option<Value> {
    if value.len() > DEBUG_BYTES_MAX {
        return None;
    }
    let known = |pool: &DescriptorPool| pool.get_message_by_name(name);
    let message = pool
        .and_then(known)
        .or_else(|| GOOGLE_RPC.as_ref().and_then(known))?;
    let message = DynamicMessage::decode(message, value).ok()?;
    serde_json::to_value(&message).ok()
}
