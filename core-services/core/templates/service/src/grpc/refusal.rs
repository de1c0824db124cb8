//! What the wire makes of a no.
//! Invariant: reasons are stable and listed in the README.

use core_platform::errors;
use tonic::{Code, Status};

use crate::error::Error;

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let said = error.to_string();
        match error {
            Error::NoSuchItem => errors::refused(Code::NotFound, "NO_SUCH_ITEM", said),
            Error::NameTaken => errors::refused(Code::AlreadyExists, "NAME_TAKEN", said),
            Error::TooMany => errors::refused(Code::FailedPrecondition, "TOO_MANY", said),
            Error::Db(error) => error.into(),
        }
    }
}
