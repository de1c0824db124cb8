//! A call that failed, as gRPC, gRPC-Web and Connect tell it.
//!
//! Sources: gRPC's PROTOCOL-HTTP2 ("Trailers-Only") and PROTOCOL-WEB documents; the Connect
//! protocol's "Error end-stream message" and "Unary response".

use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use prost_reflect::DescriptorPool;
use tonic::Code;
use tonic_types::{ErrorDetails, StatusExt};

use super::code;
use super::connect;
use crate::dialect::Dialect;

/// Whose `reason` it is in a `google.rpc.ErrorInfo` of ours.
pub(crate) const DOMAIN: &str = "palisade";

/// What `grpc-message` may not hold as it is.
const RESERVED: &AsciiSet = &CONTROLS.add(b'%');

/// Longest encoded `google.rpc.Status` in a header, in bytes: whole heads are often bounded to 8 or
/// 16 KiB, and an error without its details is better than none.
const DETAILS_HEADER_BYTES_MAX: usize = 4 * 1024;

/// A call that failed, as its client is told.
#[derive(Debug, Clone, Copy)]
pub struct FailedCall<'a> {
    pub code: Code,
    pub message: &'a str,
    /// Stable name of what was refused, for programs: the `reason` of a `google.rpc.ErrorInfo` of the
    /// domain `palisade`.
    pub reason: &'a str,
    /// When to come back: a `google.rpc.RetryInfo`.
    pub retry_after: Option<Duration>,
}

/// The whole answer that tells a client that its call failed before anything was answered. `None`
/// for plain HTTP, whose answers are made elsewhere.
#[must_use]
pub fn failed_call(dialect: Dialect, call: &FailedCall<'_>) -> Option<Response<Bytes>> {
    let details = details(call, |_| {});
    Told {
        code: call.code,
        message: call.message,
        details: &details,
        pool: None,
    }
    .answer(dialect)
}

/// What every failure of our own says in `google.rpc.Status`, encoded; `add` says more.
pub(crate) fn details(call: &FailedCall<'_>, add: impl FnOnce(&mut ErrorDetails)) -> Bytes {
    let mut details = ErrorDetails::new();
    details.set_error_info(call.reason, DOMAIN, []);
    if call.retry_after.is_some() {
        details.set_retry_info(call.retry_after);
    }
    add(&mut details);
    let status = tonic::Status::with_error_details(call.code, call.message, details);
    Bytes::copy_from_slice(status.details())
}

/// A failure, whoever failed.
#[derive(Clone, Copy)]
pub(crate) struct Told<'a> {
    pub(crate) code: Code,
    pub(crate) message: &'a str,
    /// An encoded `google.rpc.Status`, or nothing.
    pub(crate) details: &'a [u8],
    /// What knows the types of the details, beside those of `google.rpc`.
    pub(crate) pool: Option<&'a DescriptorPool>,
}

impl Told<'_> {
    pub(crate) fn answer(self, dialect: Dialect) -> Option<Response<Bytes>> {
        match dialect {
            Dialect::Http => None,
            Dialect::Grpc | Dialect::GrpcWeb { .. } => {
                let mut response = answer(StatusCode::OK, dialect, Bytes::new());
                self.put_trailers(response.headers_mut());
                Some(response)
            }
            Dialect::ConnectUnary(_) => {
                let status = code::http_status(self.code);
                let mut response = answer(status, dialect, connect::error(self));
                let json = HeaderValue::from_static("application/json");
                response.headers_mut().insert(CONTENT_TYPE, json);
                Some(response)
            }
            Dialect::ConnectStream(_) => {
                let end = connect::end(Some(self), &HeaderMap::new());
                Some(answer(StatusCode::OK, dialect, end))
            }
        }
    }

    /// The status as gRPC and gRPC-Web have it in trailers.
    pub(crate) fn put_trailers(self, trailers: &mut HeaderMap) {
        trailers.insert(code::GRPC_STATUS, HeaderValue::from(self.code as i32));
        let text = utf8_percent_encode(self.message, RESERVED).to_string();
        if let Ok(value) = HeaderValue::from_str(&text)
            && !text.is_empty()
        {
            trailers.insert(code::GRPC_MESSAGE, value);
        }
        if (1..=DETAILS_HEADER_BYTES_MAX).contains(&self.details.len())
            && let Ok(value) = HeaderValue::try_from(code::unpadded(self.details))
        {
            trailers.insert(code::GRPC_STATUS_DETAILS, value);
        }
    }
}

fn answer(status: StatusCode, dialect: Dialect, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static(dialect.content_type());
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}
