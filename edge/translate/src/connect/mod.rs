//! The Connect protocol: one message each way over plain HTTP, or streams of messages with prefixes.
//!
//! Source: the Connect Protocol Reference (connectrpc.com/docs/protocol).

mod codec;
mod get;
mod stream;
mod unary;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, Method};

use crate::dialect::Dialect;
use crate::metadata;
use crate::rpc::Rpc;
use crate::status::problem::Rejection;
use crate::translator::Translator;

pub(crate) use self::stream::answer as stream;
pub(crate) use self::unary::answer as unary;

const VERSION: HeaderName = HeaderName::from_static("connect-protocol-version");
const TIMEOUT: HeaderName = HeaderName::from_static("connect-timeout-ms");

/// Digits of a timeout in milliseconds; more than three months.
const TIMEOUT_DIGITS_MAX: usize = 10;

/// The RPC that a request is for, where its method and its dialect are those that the RPC takes.
fn find(
    translator: &Translator,
    method: &Method,
    path: &str,
    dialect: Dialect,
) -> Result<Arc<Rpc>, Rejection> {
    let rpc = translator.rpc(path).ok_or_else(Rejection::rpc_not_found)?;
    let takes_get = rpc.is_without_side_effects && !rpc.is_streaming();
    if *method == Method::GET && takes_get {
        return Ok(rpc.clone());
    }
    if *method != Method::POST {
        let methods: &[_] = if takes_get {
            &[Method::GET, Method::POST]
        } else {
            &[Method::POST]
        };
        return Err(Rejection::method_not_allowed(methods));
    }
    match (
        rpc.is_streaming(),
        matches!(dialect, Dialect::ConnectStream(_)),
    ) {
        (true, false) => Err(Rejection::media_type(
            "application/connect+json, application/connect+proto",
        )),
        (false, true) => Err(Rejection::media_type("application/json, application/proto")),
        _ => Ok(rpc.clone()),
    }
}

fn check_version(headers: &HeaderMap) -> Result<(), Rejection> {
    if headers.get_all(VERSION).iter().all(|value| value == "1") {
        return Ok(());
    }
    let reason = "`connect-protocol-version` must be `1`";
    Err(Rejection::bad_request("invalid_protocol_version", reason))
}

/// The metadata of the call.
fn metadata(headers: HeaderMap) -> Result<HeaderMap, Rejection> {
    let timeout = timeout(&headers)?;
    let mut metadata = metadata::request(headers);
    if let Some(timeout) = timeout {
        metadata::shorten(&mut metadata, timeout);
    }
    Ok(metadata)
}

fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, Rejection> {
    let Some(value) = headers.get(TIMEOUT) else {
        return Ok(None);
    };
    let digits = value.as_bytes();
    let millis = (1..=TIMEOUT_DIGITS_MAX)
        .contains(&digits.len())
        .then(|| std::str::from_utf8(digits).ok())
        .flatten()
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|text| text.parse().ok());
    match millis {
        Some(millis) => Ok(Some(Duration::from_millis(millis))),
        None => Err(Rejection::bad_request(
            "invalid_timeout",
            format!("`connect-timeout-ms` must be at most {TIMEOUT_DIGITS_MAX} digits"),
        )),
    }
}
