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
    /// Unknown, used, expired, tried too often: one answer for all.
    #[error("the sign-in cannot be completed any more, begin it again")]
    BadMfaToken,
    #[error("the second factor is wrong")]
    BadSecondFactor,
    #[error("the passkey does not open any account")]
    BadPasskey,
    /// The challenge was used, has expired, or was answered wrongly.
    #[error("the passkey could not be registered, begin again")]
    BadCeremony,
    #[error("no such credential")]
    NoSuchCredential,
    #[error("nothing else opens the account: set a password first")]
    LastCredential,
    #[error("too many of them")]
    TooManyCredentials,
    #[error("there is an authenticator already")]
    TotpActive,
    #[error("there is no authenticator")]
    NoTotp,
    #[error("no such provider")]
    NoSuchProvider,
    /// Begun elsewhere, used, expired: one answer for all.
    #[error("this sign-in was not begun here, begin it again")]
    BadOidcState,
    /// The user or the provider said no.
    #[error("the provider did not sign you in")]
    OidcRefused,
    /// What is wrong is for the log.
    #[error("the provider's answer is not valid")]
    BadOidcAnswer,
    #[error("the provider does not answer")]
    OidcAway,
    #[error("the provider has not verified an e-mail address of yours")]
    OidcUnverified,
    #[error("the address has an account: sign in to it another way, or set a new password for it")]
    OidcSignInFirst,
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
    /// A library that should not fail; its own words may hold a secret.
    #[error("the library `{0}` failed")]
    Library(&'static str),
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
