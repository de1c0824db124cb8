//! What a refusal looks like on the wire: gRPC status plus google.rpc details.
//! Invariant: `ErrorInfo.reason` is stable, upper case, made for programs;
//! the message is for people and carries no internals.
//! Refuses to let a cause out: it goes to the log, the caller gets "internal error".

use std::{fmt::Display, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

use crate::db;

/// The `ErrorInfo` domain of all reasons here (AIP-193).
pub const DOMAIN: &str = "palisade.internal";

/// Told to callers that met a full queue; long enough to drain one, short enough to wait for.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A refusal with its stable reason.
pub fn refused(code: Code, reason: &'static str, message: impl Into<String>) -> Status {
    let info = ErrorDetails::with_error_info(reason, DOMAIN, []);
    Status::with_error_details(code, message, info)
}

/// `INVALID_ARGUMENT` with the fields that are wrong, and why.
pub fn invalid(violations: Vec<(String, String)>) -> Status {
    let mut details = ErrorDetails::with_bad_request(
        violations
            .into_iter()
            .map(|(field, description)| FieldViolation::new(field, description))
            .collect::<Vec<_>>(),
    );
    details.set_error_info("INVALID_INPUT", DOMAIN, []);
    Status::with_error_details(Code::InvalidArgument, "some fields are not valid", details)
}

/// `UNAVAILABLE`: nothing was done, the same call may be sent again a little later.
pub fn busy(reason: &'static str) -> Status {
    unavailable(reason, "too busy, try again shortly")
}

/// As [`busy`], for another cause.
fn unavailable(reason: &'static str, message: &str) -> Status {
    let mut details = ErrorDetails::with_retry_info(Some(RETRY_AFTER));
    details.set_error_info(reason, DOMAIN, []);
    Status::with_error_details(Code::Unavailable, message, details)
}

/// `INTERNAL`; the cause is logged and stays here.
pub fn internal(cause: &(impl Display + ?Sized)) -> Status {
    tracing::error!(%cause, "internal error");
    refused(Code::Internal, "INTERNAL", "internal error")
}

impl From<db::Error> for Status {
    fn from(error: db::Error) -> Self {
        match error {
            db::Error::Busy | db::Error::Collision => busy("DATABASE_BUSY"),
            db::Error::Away(cause) => {
                // Once for all calls it is said by who looks after dependencies.
                tracing::debug!(%cause, "the database is away");
                unavailable("DATABASE_AWAY", "the database is away, try again shortly")
            }
            db::Error::Full(cause) => {
                tracing::error!(%cause, "the database has no room left");
                unavailable(
                    "DATABASE_FULL",
                    "there is no room to write, try again later",
                )
            }
            other => internal(&other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_carry_reason_and_fields() {
        let status = invalid(vec![(
            "email".to_owned(),
            "must be an e-mail address".to_owned(),
        )]);
        let details = status.get_error_details();
        assert_eq!(details.error_info().unwrap().reason, "INVALID_INPUT");
        assert_eq!(
            details.bad_request().unwrap().field_violations[0].field,
            "email"
        );
    }

    #[test]
    fn busy_says_when_to_return() {
        let status = Status::from(db::Error::Busy);
        assert_eq!(status.code(), Code::Unavailable);
        let details = status.get_error_details();
        assert_eq!(details.retry_info().unwrap().retry_delay, Some(RETRY_AFTER));
        assert_eq!(details.error_info().unwrap().reason, "DATABASE_BUSY");
    }

    #[test]
    fn causes_stay_inside() {
        let status = Status::from(db::Error::Corrupt("users.email"));
        assert_eq!(status.code(), Code::Internal);
        let all = format!("{status:?} {}", String::from_utf8_lossy(status.details()));
        assert!(!all.contains("users.email"), "{all}");
    }
}
