//! Sign-ins that want a second factor: begun with one, completed with another.
//! Invariant: between the two the client holds a ticket and no token; it works for five
//! minutes and five tries, and the tries at one account are slowed down across its tickets.
//! Refuses a code twice: a time step, a recovery code, a short message, a challenge.

use core_platform::{
    clock::UnixMicros,
    crypto::SubjectKey,
    db::{self, Tx},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::{
    Change, ContactKind, Credentials, Kind, Link, SECRET, active_totp, passkeys, recovery, totp,
};
use crate::{
    contacts::{CODE_LIFETIME, Contact, Issue, Purpose},
    counters::Event,
    error::Error,
    facts::{About, Fact},
    messages::{self, Message, Template},
    origin::Origin,
    sessions::{NewSession, Tokens},
    store::{attempts, credentials as rows, recovery_codes, users},
    throttle::{self, Throttle},
    tickets,
};

/// Five tries at three of a million codes, before the throttle sets in.
const ATTEMPTS_MAX: i64 = 5;
/// Second factors are counted by account, whoever has its password.
const SCOPE: &str = "factor";

/// What somebody has proved so far.
pub(crate) struct FirstFactor {
    pub(crate) user: Uuid,
    /// RFC 8176, or `fed`.
    pub(crate) amr: &'static str,
    /// What is linked as soon as the account is open.
    pub(crate) link: Option<Link>,
}

/// Where a sign-in with one factor has led.
pub(crate) enum SignIn {
    Done(Tokens),
    Wanted(SecondFactor),
}

/// A sign-in that waits. No `Debug`.
pub(crate) struct SecondFactor {
    pub(crate) ticket: String,
    /// What would do.
    pub(crate) methods: Vec<&'static str>,
}

/// What is given as the second factor. No `Debug`.
pub(crate) enum Proof {
    Totp(String),
    RecoveryCode(String),
    Sms(String),
    Passkey { ticket: String, answer: Value },
}

/// What a waiting sign-in remembers.
#[derive(Serialize, Deserialize)]
struct Waiting {
    /// The first factor.
    amr: String,
    link: Option<Link>,
}

impl SignIn {
    pub(crate) fn event(&self) -> Event {
        match self {
            Self::Done(_) => Event::LoggedIn,
            Self::Wanted(_) => Event::SecondFactorWanted,
        }
    }
}

impl Credentials {
    /// Opens a session for who has proved one factor, or asks for the second one.
    /// The last thing before the commit of the transaction that holds the proof.
    pub(crate) async fn sign_in(
        &self,
        tx: &mut Tx,
        first: FirstFactor,
        origin: &Origin,
        now: UnixMicros,
    ) -> Result<SignIn, Error> {
        let FirstFactor { user, amr, link } = first;
        let methods = self.methods(tx, user).await?;
        if methods.is_empty() {
            let new = NewSession {
                user,
                amr: &[amr],
                auth_time: now,
                origin,
            };
            let tokens = self.enter(tx, &new, link.as_ref(), now).await?;
            return Ok(SignIn::Done(tokens));
        }
        let waiting = Waiting {
            amr: amr.to_owned(),
            link,
        };
        let ticket = self
            .tickets
            .issue(tx, tickets::Kind::SecondFactor, Some(user), &waiting, now)
            .await?;
        Ok(SignIn::Wanted(SecondFactor { ticket, methods }))
    }

    /// Opens the session, and makes the link that the first factor has brought.
    async fn enter(
        &self,
        tx: &mut Tx,
        new: &NewSession<'_>,
        link: Option<&Link>,
        now: UnixMicros,
    ) -> Result<Tokens, Error> {
        if let Some(link) = link {
            let key = self.vault.key(&mut *tx, new.user).await?;
            self.link(tx, &key, link, now).await?;
        }
        let tokens = self.sessions.open(tx, new, now).await?;
        if link.is_some() {
            let about = About::by(new.user).at(new.origin);
            self.tell(tx, Kind::Oidc.name(), Change::Added, &about, now)
                .await?;
        }
        Ok(tokens)
    }

    /// Opens the session that waited.
    ///
    /// # Errors
    /// [`Error::BadMfaToken`], [`Error::BadSecondFactor`], [`Error::Throttled`], or the
    /// database.
    pub(crate) async fn complete(
        &self,
        ticket: &str,
        proof: Proof,
        origin: &Origin,
        now: UnixMicros,
    ) -> Result<Tokens, Error> {
        let mut tx = self.db.begin().await?;
        let (user, waiting) = self.waiting(&mut tx, ticket, now).await?;
        // One try at a time: a burst over many tickets would be judged before it is counted.
        users::lock(&mut tx, user).await?;
        let throttle = Throttle {
            scope: SCOPE,
            account: user.as_bytes(),
            network: &origin.network,
        };
        throttle.check_account(&mut tx, now).await?;
        let is_used_up = matches!(proof, Proof::RecoveryCode(_));
        let Some(second) = self.prove(&mut tx, user, proof, now).await? else {
            let failures = throttle.fail(&mut tx, now).await?;
            if let Some(severity) = throttle::severity(failures) {
                let about = About::to(user).at(origin);
                let fact = Fact::LoginFailed { severity, failures };
                self.facts.tell(&mut tx, &[fact], &about, now).await?;
            }
            tx.commit().await?;
            self.counters.count(Event::SecondFactorWrong);
            return Err(Error::BadSecondFactor);
        };
        self.tickets.spend(&mut tx, ticket).await?;
        attempts::clear(&mut tx, SCOPE, user.as_bytes()).await?;
        let mut amr = vec![waiting.amr.as_str()];
        amr.extend(second);
        amr.push("mfa");
        let new = NewSession {
            user,
            amr: &amr,
            auth_time: now,
            origin,
        };
        let tokens = match self.enter(&mut tx, &new, waiting.link.as_ref(), now).await {
            // Another sign-in has linked the identity meanwhile.
            Err(Error::Db(db::Error::Taken(_))) => return Err(Error::BadMfaToken),
            entered => entered?,
        };
        if is_used_up {
            let about = About::by(user).at(origin);
            self.tell(&mut tx, recovery::NAME, Change::UsedUp, &about, now)
                .await?;
        }
        tx.commit().await?;
        self.counters.count(Event::LoggedIn);
        Ok(tokens)
    }

    /// Sends a code to the phone of who waits. It counts as one of the tries.
    ///
    /// # Errors
    /// [`Error::BadMfaToken`], [`Error::Invalid`] without such a phone, or the database.
    pub(crate) async fn send_sms(
        &self,
        ticket: &str,
        now: UnixMicros,
    ) -> Result<SecondFactor, Error> {
        let mut tx = self.db.begin().await?;
        let (user, _) = self.waiting(&mut tx, ticket, now).await?;
        let methods = self.methods(&mut tx, user).await?;
        let key = self.vault.key(&mut tx, user).await?;
        let Some(phone) = self.phone(&mut tx, &key).await? else {
            return Err(Error::Invalid(
                "send_sms",
                "no phone of the account takes codes",
            ));
        };
        let issue = Issue {
            user: Some(user),
            purpose: Purpose::SecondFactor,
            contact: &phone,
            value: None,
        };
        let event = match self.codes.issue(&mut tx, issue, now).await? {
            None => Event::CodeWithheld,
            Some(code) => {
                let until = now + CODE_LIFETIME;
                let message = Message::new(Some(phone), Template::SignInCode, until)
                    .value("code", code)
                    .value("minutes", (CODE_LIFETIME.as_secs() / 60).to_string());
                messages::post(&mut tx, &key, &message, now).await?;
                Event::CodeSent
            }
        };
        tx.commit().await?;
        self.counters.count(event);
        Ok(SecondFactor {
            ticket: ticket.to_owned(),
            methods,
        })
    }

    async fn waiting(
        &self,
        tx: &mut Tx,
        ticket: &str,
        now: UnixMicros,
    ) -> Result<(Uuid, Waiting), Error> {
        let kind = tickets::Kind::SecondFactor;
        let found = self
            .tickets
            .attempt::<Waiting>(tx, kind, ticket, ATTEMPTS_MAX, now)
            .await?;
        let (user, waiting) = found.ok_or(Error::BadMfaToken)?;
        Ok((user.ok_or(Error::BadMfaToken)?, waiting))
    }

    /// What would do as a second factor; nothing where none is wanted.
    async fn methods(&self, tx: &mut Tx, user: Uuid) -> Result<Vec<&'static str>, Error> {
        let found = rows::of_user(&mut *tx, user).await?;
        if active_totp(&found).is_none() {
            return Ok(Vec::new());
        }
        let mut methods = vec!["totp"];
        if recovery_codes::left(&mut *tx, user).await? > 0 {
            methods.push("recovery_code");
        }
        if found.iter().any(|row| row.kind == Kind::Passkey.name()) {
            methods.push("passkey");
        }
        let key = self.vault.key(&mut *tx, user).await?;
        if self.phone(tx, &key).await?.is_some() {
            methods.push("sms");
        }
        Ok(methods)
    }

    /// The number that codes may be sent to: the one its owner has allowed, verified still.
    /// Another number needs no fresh sign-in to become the account's, so it does not do.
    async fn phone(&self, tx: &mut Tx, key: &SubjectKey) -> Result<Option<Contact>, Error> {
        let found = rows::of_user(&mut *tx, key.subject()).await?;
        let allowed = found.iter().find(|row| row.kind == Kind::Sms.name());
        let Some(allowed) = allowed.and_then(|row| row.secret.as_ref()) else {
            return Ok(None);
        };
        let allowed = key.open(SECRET, allowed)?;
        let phone = self.contact(tx, key, ContactKind::Phone).await?;
        Ok(phone
            .filter(|(phone, verified)| *verified && self.codes.index(phone) == allowed)
            .map(|(phone, _)| phone))
    }

    /// How the proof shows in the token (RFC 8176); `None` if it proves nothing, which may
    /// have used something up: the caller commits in both cases.
    async fn prove(
        &self,
        tx: &mut Tx,
        user: Uuid,
        proof: Proof,
        now: UnixMicros,
    ) -> Result<Option<Vec<&'static str>>, Error> {
        let (proved, amr) = match proof {
            Proof::Totp(code) => (self.prove_totp(tx, user, &code, now).await?, vec!["otp"]),
            Proof::RecoveryCode(code) => {
                (recovery::spend(tx, user, &code, now).await?, vec!["otp"])
            }
            Proof::Sms(code) => (self.prove_sms(tx, user, &code, now).await?, vec!["sms"]),
            Proof::Passkey { ticket, answer } => {
                let whose = self.assert(tx, &ticket, answer, now).await?;
                (whose == Some(user), passkeys::AMR.to_vec())
            }
        };
        Ok(proved.then_some(amr))
    }

    async fn prove_totp(
        &self,
        tx: &mut Tx,
        user: Uuid,
        code: &str,
        now: UnixMicros,
    ) -> Result<bool, Error> {
        let found = rows::of_user(&mut *tx, user).await?;
        let Some(row) = active_totp(&found) else {
            return Ok(false);
        };
        let key = self.vault.key(&mut *tx, user).await?;
        totp::spend_code(tx, &key, row, code, now).await
    }

    async fn prove_sms(
        &self,
        tx: &mut Tx,
        user: Uuid,
        code: &str,
        now: UnixMicros,
    ) -> Result<bool, Error> {
        let key = self.vault.key(&mut *tx, user).await?;
        let Some(phone) = self.phone(tx, &key).await? else {
            return Ok(false);
        };
        let purposes = [Purpose::SecondFactor];
        let redeemed = self.codes.redeem(tx, &phone, &purposes, code, now).await?;
        Ok(redeemed.is_some_and(|redeemed| redeemed.user == user))
    }
}
