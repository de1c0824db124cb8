//! How the rules say no.
//! Invariant: a variant is a fact of the domain; what the wire makes of it is
//! `grpc`'s business.

use std::time::Duration;

use core_platform::{audit, crypto, db};

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
    #[error(transparent)]
    Db(#[from] db::Error),
}
