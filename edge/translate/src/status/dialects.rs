//! What gRPC-Web and Connect are told of a rejection.
//!
//! Invariant: a service's details pass as they came; what is refused here has details of the same
//! types, so a client needs one way to read them.

use std::time::Duration;

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use tonic::Code;

use super::connect;
use super::problem::{Parts, Rejection};
use super::render::{self, FailedCall, Told};
use crate::compression::{Coding, Refused};
use crate::dialect::Dialect;
use crate::metadata;

/// What an RPC takes (W3C Linked Data Platform 1.0, section 7.1).
const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");

impl Rejection {
    pub(crate) fn rpc_not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "rpc_not_found",
            "there is no such rpc",
        )
    }

    /// An RPC that takes other types than the request's.
    pub(crate) fn media_type(accepted: &'static str) -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            format!("this rpc takes `{accepted}`"),
        )
        .with_header(ACCEPT_POST, accepted)
    }

    /// A message or a body that cannot be unpacked.
    pub(crate) fn compression(what: &str, refused: &Refused) -> Self {
        match refused {
            Refused::TooLong(max) => Self::body_too_large(*max),
            Refused::Ratio | Refused::Malformed(_) => {
                Self::bad_request("invalid_compression", format!("{what}: {refused}"))
            }
        }
    }

    /// A message that is compressed as nobody here knows.
    pub(crate) fn coding_unknown() -> Self {
        let mut rejection = Self::bad_request(
            "unsupported_content_encoding",
            format!(
                "the message may be compressed by one of `{}`",
                Coding::NAMES
            ),
        );
        rejection.0.grpc = Code::Unimplemented;
        rejection
    }

    /// What a dialect's answer is made of.
    pub(crate) fn tell<R>(&self, f: impl FnOnce(Told<'_>) -> R) -> R {
        f(Told {
            code: self.0.grpc,
            message: &self.0.detail,
            details: &self.0.details(),
            pool: self.0.pool.as_ref(),
        })
    }

    /// All of a failed call's metadata, for dialects that have one place for it.
    pub(crate) fn metadata(&self) -> HeaderMap {
        let mut metadata = self.0.headers.clone();
        metadata::append(&mut metadata, self.0.trailers.clone());
        metadata
    }

    /// As the client's dialect has it; given back where that is plain HTTP.
    pub(super) fn into_told(self, dialect: Dialect) -> Result<Response<Bytes>, Self> {
        let Some(mut told) = self.tell(|told| told.answer(dialect)) else {
            return Err(self);
        };
        let parts = *self.0;
        let headers = told.headers_mut();
        metadata::append(headers, parts.headers);
        match dialect {
            Dialect::ConnectUnary(_) => connect::put_trailers(headers, parts.trailers),
            _ => metadata::append(headers, parts.trailers),
        }
        let is_connect = matches!(
            dialect,
            Dialect::ConnectUnary(_) | Dialect::ConnectStream(_)
        );
        let is_ours = parts.encoded.is_none();
        if is_connect && is_ours && is_of_http(parts.status) {
            *told.status_mut() = parts.status;
        }
        Ok(told)
    }
}

impl Parts {
    /// An encoded `google.rpc.Status`: the service's own, or one that says what was refused here.
    fn details(&self) -> Bytes {
        if let Some(encoded) = &self.encoded {
            return encoded.clone();
        }
        let seconds = |value: &HeaderValue| value.to_str().ok()?.parse().ok();
        let call = FailedCall {
            code: self.grpc,
            message: &self.detail,
            reason: self.code,
            retry_after: self
                .headers
                .get(RETRY_AFTER)
                .and_then(seconds)
                .map(Duration::from_secs),
        };
        render::details(&call, |details| {
            for violation in &self.details.errors {
                details.add_bad_request_violation(&violation.field, &violation.description);
            }
        })
    }
}

/// Of no RPC at all (the Connect protocol, "HTTP to Error Code"): a client's mistake in its request line
/// or its content type, where `unimplemented` would be a 501.
fn is_of_http(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::UNSUPPORTED_MEDIA_TYPE
    )
}
