//! Tickets: secrets that stand for what was begun and not finished, such as a sign-in that
//! waits for its second factor.
//! Invariant: a ticket is 256 random bits, of which the database holds SHA-256 only; what it
//! stands for lies sealed beside it, and it ends after its lifetime.
//! Refuses to be found by anything but the whole secret.

use std::time::Duration;

use aws_lc_rs::{
    digest::{SHA256, digest},
    rand,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use core_platform::{
    clock::UnixMicros,
    crypto::{Field, SubjectKey, Vault},
    db::Tx,
    jobs::{Failure, Job, JobContext},
};
use serde::{Serialize, de::DeserializeOwned};
use tonic::async_trait;
use uuid::Uuid;

use crate::{
    error::{Error, NoRandom},
    store::tickets::{self, NewTicket, TicketRow},
};

/// Long enough to find the phone, short enough that nobody finds the ticket.
const LIFETIME: Duration = Duration::from_secs(5 * 60);
/// Time to sign in at the provider, with its own second factor.
const OIDC_LIFETIME: Duration = Duration::from_secs(10 * 60);
const SECRET_BYTES: usize = 32;
const STATE: Field = Field::new("tickets.state");

/// The job that forgets what has expired, and when.
pub(crate) const SWEEP: &str = "identity.sweep-tickets";
pub(crate) const SWEEP_AT: &str = "*/10 * * * *";

/// What a ticket stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    SecondFactor,
    PasskeyRegistration,
    PasskeyLogin,
    Oidc,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::SecondFactor => "second_factor",
            Self::PasskeyRegistration => "passkey_registration",
            Self::PasskeyLogin => "passkey_login",
            Self::Oidc => "oidc",
        }
    }

    fn lifetime(self) -> Duration {
        match self {
            Self::Oidc => OIDC_LIFETIME,
            Self::SecondFactor | Self::PasskeyRegistration | Self::PasskeyLogin => LIFETIME,
        }
    }
}

/// Issues tickets and takes them back.
#[derive(Clone)]
pub(crate) struct Tickets {
    vault: Vault,
}

impl Tickets {
    pub(crate) fn new(vault: Vault) -> Self {
        Self { vault }
    }

    /// A new ticket; returns its secret. `user`: whose it is, if that is known.
    pub(crate) async fn issue(
        &self,
        tx: &mut Tx,
        kind: Kind,
        user: Option<Uuid>,
        state: &impl Serialize,
        now: UnixMicros,
    ) -> Result<String, Error> {
        let secret = secret()?;
        let key = self.key(tx, user).await?;
        let new = NewTicket {
            hash: &hash(&secret),
            kind: kind.name(),
            user,
            state: &key.seal(STATE, &serde_json::to_vec(state)?)?,
            expires_at: now + kind.lifetime(),
        };
        tickets::insert(tx, &new, now).await?;
        Ok(secret)
    }

    /// Whose it is and what it stands for, for the last time.
    pub(crate) async fn take<T: DeserializeOwned>(
        &self,
        tx: &mut Tx,
        kind: Kind,
        secret: &str,
        now: UnixMicros,
    ) -> Result<Option<(Option<Uuid>, T)>, Error> {
        let row = tickets::take(tx, &hash(secret), kind.name(), now).await?;
        self.open(tx, row).await
    }

    /// The same, but the ticket stays, and one try of `attempts_max` is used up, whatever
    /// comes of it: the caller commits in both cases.
    pub(crate) async fn attempt<T: DeserializeOwned>(
        &self,
        tx: &mut Tx,
        kind: Kind,
        secret: &str,
        attempts_max: i64,
        now: UnixMicros,
    ) -> Result<Option<(Option<Uuid>, T)>, Error> {
        let row = tickets::attempt(tx, &hash(secret), kind.name(), attempts_max, now).await?;
        self.open(tx, row).await
    }

    /// It was used.
    pub(crate) async fn spend(&self, tx: &mut Tx, secret: &str) -> Result<(), Error> {
        Ok(tickets::delete(tx, &hash(secret)).await?)
    }

    async fn open<T: DeserializeOwned>(
        &self,
        tx: &mut Tx,
        row: Option<TicketRow>,
    ) -> Result<Option<(Option<Uuid>, T)>, Error> {
        let Some(row) = row else { return Ok(None) };
        let key = self.key(tx, row.user).await?;
        let state = serde_json::from_slice(&key.open(STATE, &row.state)?)?;
        Ok(Some((row.user, state)))
    }

    async fn key(&self, tx: &mut Tx, user: Option<Uuid>) -> Result<SubjectKey, Error> {
        Ok(match user {
            Some(user) => self.vault.key(&mut *tx, user).await?,
            None => self.vault.service_key().clone(),
        })
    }
}

/// 256 random bits, as text that fits into URLs and cookies.
pub(crate) fn secret() -> Result<String, NoRandom> {
    let mut bytes = [0; SECRET_BYTES];
    rand::fill(&mut bytes).map_err(|_| NoRandom)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// What is kept of a secret.
pub(crate) fn hash(secret: &str) -> Vec<u8> {
    digest(&SHA256, secret.as_bytes()).as_ref().to_vec()
}

/// Forgets tickets that have expired.
pub(crate) struct Sweep;

#[async_trait]
impl Job for Sweep {
    async fn run(&self, context: &JobContext) -> Result<(), Failure> {
        let mut tx = context.begin().await?;
        tickets::sweep(&mut tx, context.now).await?;
        context.finish(&mut tx).await?;
        tx.commit().await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_long_and_differ() {
        let (one, other) = (secret().unwrap(), secret().unwrap());
        assert_eq!((one.len(), other.len()), (43, 43));
        assert_ne!(one, other);
        assert_ne!(hash(&one), hash(&other));
        assert_eq!(hash(&one).len(), 32);
    }
}
