//! gRPC status codes, read from headers or trailers, and what they are in HTTP.
//!
//! Invariant: never panics on what an upstream sends. That is why `tonic::Status::from_header_map`
//! is not used: it panics on a `grpc-status-details-bin` that is not base64 (tonic 0.14.9).

use std::borrow::Cow;

use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use percent_encoding::percent_decode;
use tonic::Code;
use tonic_types::{ErrorDetails, StatusExt};

use crate::json::scalar::BASE64;

pub(crate) const GRPC_STATUS: &str = "grpc-status";
pub(crate) const GRPC_MESSAGE: &str = "grpc-message";
pub(crate) const GRPC_STATUS_DETAILS: &str = "grpc-status-details-bin";

/// A status an upstream sent.
#[derive(Debug)]
pub(crate) struct GrpcStatus {
    pub(crate) code: Code,
    pub(crate) message: String,
    pub(crate) details: ErrorDetails,
    /// The details as they came: an encoded `google.rpc.Status`.
    pub(crate) encoded: Bytes,
    /// The trailers it came in; none where it came in the head.
    pub(crate) trailers: HeaderMap,
}

impl GrpcStatus {
    /// `None` without a `grpc-status`.
    pub(crate) fn read(headers: &HeaderMap) -> Option<Self> {
        let code = headers.get(GRPC_STATUS)?;
        let code = code
            .to_str()
            .ok()
            .and_then(|text| text.parse().ok())
            .map_or(Code::Unknown, Code::from_i32);
        let message = headers
            .get(GRPC_MESSAGE)
            .map_or(Cow::Borrowed(""), |value| {
                percent_decode(value.as_bytes()).decode_utf8_lossy()
            })
            .into_owned();
        let encoded: Bytes = headers
            .get(GRPC_STATUS_DETAILS)
            .and_then(|value| BASE64.decode(value.as_bytes()).ok())
            .unwrap_or_default()
            .into();
        let details = tonic::Status::with_details(code, "", encoded.clone()).get_error_details();
        Some(Self {
            code,
            message,
            details,
            encoded,
            trailers: HeaderMap::new(),
        })
    }
}

/// Base64 as binary metadata and Connect's details have it.
pub(crate) fn unpadded(bytes: &[u8]) -> String {
    BASE64_STANDARD_NO_PAD.encode(bytes)
}

/// The table of `google/rpc/code.proto`.
pub(crate) fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        // nginx's "client closed request"; IANA has registered none.
        Code::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::REQUEST_TIMEOUT),
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => {
            StatusCode::BAD_REQUEST
        }
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The code's name in `google/rpc/code.proto`, in lower case.
pub(crate) fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "ok",
        Code::Cancelled => "cancelled",
        Code::Unknown => "unknown",
        Code::InvalidArgument => "invalid_argument",
        Code::DeadlineExceeded => "deadline_exceeded",
        Code::NotFound => "not_found",
        Code::AlreadyExists => "already_exists",
        Code::PermissionDenied => "permission_denied",
        Code::ResourceExhausted => "resource_exhausted",
        Code::FailedPrecondition => "failed_precondition",
        Code::Aborted => "aborted",
        Code::OutOfRange => "out_of_range",
        Code::Unimplemented => "unimplemented",
        Code::Internal => "internal",
        Code::Unavailable => "unavailable",
        Code::DataLoss => "data_loss",
        Code::Unauthenticated => "unauthenticated",
    }
}

/// The code's name in the Connect protocol.
pub(crate) fn connect_name(code: Code) -> &'static str {
    match code {
        Code::Cancelled => "canceled",
        other => name(other),
    }
}

/// What a gRPC client is told of an answer that HTTP has a status for.
pub(crate) fn of_http(status: StatusCode) -> Code {
    match status.as_u16() {
        400 | 411 | 412 | 415 | 422 => Code::InvalidArgument,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 | 405 | 501 => Code::Unimplemented,
        408 | 504 => Code::DeadlineExceeded,
        413 | 429 | 431 => Code::ResourceExhausted,
        499 => Code::Cancelled,
        502 | 503 => Code::Unavailable,
        _ => Code::Internal,
    }
}

/// Codes whose message is about the inside of a service: it goes to the log, not to a client.
pub(crate) fn is_internal(code: Code) -> bool {
    matches!(code, Code::Internal | Code::Unknown | Code::DataLoss)
}
