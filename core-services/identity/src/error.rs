//! How the rules say no.
//! Invariant: a variant is a fact of the domain; what the wire makes of it is
//! `grpc`'s business.

use std::time::Duration;

use core_platform::{audit, crypto, db, jobs::Failure};

use crate::{keys, password};

/// The system's random numbers failed.
#[derive(Debug, thiserror::Error)]
#[error("no random numbers")]
pub struct NoRandom;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Unknown address or wrong password; which one is nobody's business.
    #[error("email or password is wrong")]
    BadCredentials,
    /// Too many failures; says nothing of the password that was tried.
    #[error("too many failed attempts, try again later")]
    Throttled(Duration),
    #[error("the e-mail address has to be verified first")]
    Unverified,
    #[error("the account is suspended")]
    Suspended,
    /// Unknown, used, expired, revoked: one answer for all.
    #[error("the refresh token is not valid")]
    BadRefreshToken,
    /// The access token is genuine, but its session has ended.
    #[error("the session has ended")]
    SessionEnded,
    #[error("no such session")]
    NoSuchSession,
    #[error("the current password is wrong")]
    WrongPassword,
    #[error("the new password is the current one")]
    SamePassword,
    #[error("the password is known from a breach")]
    Breached,
    /// Wrong, used, expired, tried too often: one answer for all.
    #[error("the code is not valid")]
    BadCode,
    #[error("the handle is taken")]
    HandleTaken,
    #[error("it was changed meanwhile")]
    Changed,
    #[error("no such user")]
    NoSuchUser,
    #[error("no such API key")]
    NoSuchApiKey,
    #[error("no such export")]
    NoSuchExport,
    /// It is being made.
    #[error("the export is not ready yet")]
    ExportNotReady,
    /// Nobody could undo it.
    #[error("this is the last administrator")]
    LastAdmin,
    #[error("the role may do more than you")]
    BeyondOwnRights,
    /// Of what there are as many as there may be.
    #[error("there may be no more {0}")]
    TooMany(&'static str),
    /// The caller blocks the other.
    #[error("you block this user")]
    Blocked,
    /// The field, and what is wrong with it.
    #[error("{0}: {1}")]
    Invalid(&'static str, &'static str),
    #[error(transparent)]
    Password(#[from] password::Error),
    #[error(transparent)]
    Keys(#[from] keys::Error),
    #[error(transparent)]
    Random(#[from] NoRandom),
    #[error(transparent)]
    Crypto(#[from] crypto::Error),
    #[error(transparent)]
    Audit(#[from] audit::Error),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error("the archive: {0}")]
    Archive(#[from] std::io::Error),
    #[error(transparent)]
    Db(#[from] db::Error),
}

/// A job tries again: what is wrong now may be right later.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::retry(error)
    }
}
