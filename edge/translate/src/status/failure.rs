//! Why a call failed, as the client may know it.

use http::StatusCode;
use http::header::RETRY_AFTER;

use super::code;
use super::problem::Rejection;
use crate::rpc::Rpc;
use crate::upstream::Failure;
use crate::{http_metadata, metadata};

pub(crate) const TOO_LARGE: &str = "upstream_response_too_large";
pub(crate) const INVALID: &str = "upstream_response_invalid";

/// As the edge says of calls that it forwards as they are.
const RETRY_SECONDS: &str = "1";

/// What the client is told; the cause goes to the log.
pub(crate) fn reject(rpc: &Rpc, failure: Failure) -> Rejection {
    match failure {
        Failure::Status(status, initial) => {
            if code::is_internal(status.code) {
                let code = code::name(status.code);
                tracing::warn!(rpc = %rpc.name, code, message = %status.message, "call failed");
            }
            let chosen = http_metadata::status_of_failure(&initial);
            Rejection::grpc(rpc, *status, metadata::headers(initial)).with_status(chosen)
        }
        Failure::Timeout => Rejection::new(
            StatusCode::GATEWAY_TIMEOUT,
            "deadline_exceeded",
            "the service did not answer in time",
        ),
        Failure::Unavailable(cause) => {
            tracing::warn!(rpc = %rpc.name, %cause, "upstream not available");
            Rejection::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "the service cannot be reached",
            )
            .with_header(RETRY_AFTER, RETRY_SECONDS)
        }
        failure @ Failure::TooLarge(_) => bad_gateway(rpc, TOO_LARGE, &failure),
        failure @ Failure::Protocol(_) => bad_gateway(rpc, INVALID, &failure),
        failure @ Failure::Broken(_) => bad_gateway(rpc, "upstream_broken", &failure),
    }
}

pub(crate) fn bad_gateway(
    rpc: &Rpc,
    code: &'static str,
    cause: &dyn std::error::Error,
) -> Rejection {
    tracing::warn!(rpc = %rpc.name, code, %cause, "upstream answer not usable");
    Rejection::new(
        StatusCode::BAD_GATEWAY,
        code,
        "the service did not give a usable answer",
    )
}
