//! How the rules say no.
//! Invariant: a variant is a fact of the domain; what the wire makes of it is
//! `grpc`'s business.

use core_platform::db;

use crate::{keys, password, refresh};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Unknown address or wrong password; which one is nobody's business.
    #[error("email or password is wrong")]
    BadCredentials,
    /// Unknown, used, expired, revoked: one answer for all.
    #[error("the refresh token is not valid")]
    BadRefreshToken,
    /// The access token is genuine, but its session has ended.
    #[error("the session has ended")]
    SessionEnded,
    #[error("the current password is wrong")]
    WrongPassword,
    #[error("the new password is the current one")]
    SamePassword,
    #[error(transparent)]
    Password(#[from] password::Error),
    #[error(transparent)]
    Keys(#[from] keys::Error),
    #[error(transparent)]
    Random(#[from] refresh::NoRandom),
    #[error(transparent)]
    Db(#[from] db::Error),
}
