//! Signing in with a password.

use core_platform::clock::UnixMicros;
use uuid::Uuid;

use super::Accounts;
use crate::{
    contacts::Contact,
    counters::Event,
    credentials::{FirstFactor, SignIn},
    error::Error,
    facts::{About, Fact},
    origin::Origin,
    password::{Against, is_imported},
    store::{attempts, passwords},
    throttle::{self, Throttle},
};

/// Logins are counted by address, known or not.
pub(super) const SCOPE: &str = "account";

impl Accounts {
    /// Opens a session, or asks for the second factor.
    ///
    /// # Errors
    /// [`Error::BadCredentials`], [`Error::Throttled`], [`Error::Unverified`], a full
    /// queue, or the database.
    pub(crate) async fn login(
        &self,
        email: &str,
        password: String,
        origin: &Origin,
        now: UnixMicros,
    ) -> Result<SignIn, Error> {
        let index = self.codes.index(&Contact::email(email));
        let throttle = Throttle {
            scope: SCOPE,
            account: &index,
            network: &origin.network,
        };
        if let Err(refused) = throttle.check(&self.db, now).await {
            self.counters.count(Event::LoginThrottled);
            return Err(refused);
        }
        let found = passwords::credentials(&self.db, &index).await?;
        let against = found
            .as_ref()
            .map_or(Against::Dummy, |found| Against::Stored(found.phc.clone()));
        let right = self.hasher.verify(password.clone(), against).await?;
        let user = found.as_ref().map(|found| found.user);
        let Some(found) = found.filter(|_| right) else {
            return self.login_failed(&throttle, user, now).await;
        };
        if self.policy.require_verified && !found.email_verified {
            return Err(Error::Unverified);
        }
        let rehashed = match is_imported(&found.phc) {
            true => Some(self.hasher.hash(password).await?),
            false => None,
        };
        let mut tx = self.db.begin().await?;
        // A password change that ended "all other sessions" meanwhile must not miss this one.
        if !passwords::still(&mut tx, found.user, &found.phc).await? {
            drop(tx);
            return self.login_failed(&throttle, user, now).await;
        }
        throttle.check_account(&mut tx, now).await?;
        if let Some(phc) = rehashed {
            passwords::rehash(&mut tx, found.user, &phc).await?;
            self.counters.count(Event::PasswordRehashed);
        }
        attempts::clear(&mut tx, SCOPE, &index).await?;
        let first = FirstFactor {
            user: found.user,
            amr: "pwd",
            link: None,
        };
        let signed_in = self
            .credentials
            .sign_in(&mut tx, first, origin, now)
            .await?;
        tx.commit().await?;
        self.counters.count(signed_in.event());
        Ok(signed_in)
    }

    async fn login_failed(
        &self,
        throttle: &Throttle<'_>,
        user: Option<Uuid>,
        now: UnixMicros,
    ) -> Result<SignIn, Error> {
        let mut tx = self.db.begin().await?;
        let failures = throttle.fail(&mut tx, now).await?;
        if let Some(severity) = throttle::severity(failures) {
            let about = About {
                user,
                proved: false,
                network: throttle.network,
            };
            let fact = Fact::LoginFailed { severity, failures };
            self.facts.tell(&mut tx, &[fact], &about, now).await?;
        }
        tx.commit().await?;
        self.counters.count(Event::LoginFailed);
        throttle::sweep(&self.db, now).await?;
        Err(Error::BadCredentials)
    }
}
