//! Passkeys (WebAuthn Level 3): made by who has just signed in, used without a user name.
//! Invariant: a challenge works once, for five minutes, and is kept on this side only; the
//! authenticator has verified its user, and its counter never goes back.
//! Refuses to ask who wants to sign in: the passkey says it, and a guess learns nothing.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use core_platform::{
    clock::UnixMicros,
    crypto::SubjectKey,
    db::{self, Tx},
    token::Caller,
};
use serde_json::Value;
use uuid::Uuid;
use webauthn_rs::prelude::{
    DiscoverableAuthentication, Passkey, PasskeyRegistration, PublicKeyCredential,
    RegisterPublicKeyCredential,
};

use super::{Change, ContactKind, Credential, Credentials, Kind, NAME, SECRET, credential};
use crate::{
    counters::Event,
    error::Error,
    facts::About,
    origin::Origin,
    profiles,
    sessions::{NewSession, Tokens},
    store::{
        credentials::{self as rows, CredentialRow, NewRow},
        users,
    },
    tickets,
};

/// Phones, laptops and keys of one person. All are told to the browser, so that none is
/// made twice.
const PASSKEYS_MAX: usize = 20;
/// RFC 8176: a key in hardware, and somebody was there.
pub(super) const AMR: [&str; 2] = ["hwk", "user"];

/// What the browser is asked. No `Debug`: it may hold the user's address.
pub(crate) struct Ceremony {
    /// To be given back with the answer.
    pub(crate) ticket: String,
    pub(crate) options: Value,
}

impl Credentials {
    /// # Errors
    /// [`Error::TooManyCredentials`], [`Error::SessionEnded`], or the database.
    pub(crate) async fn begin_passkey_registration(
        &self,
        caller: &Caller,
        now: UnixMicros,
    ) -> Result<Ceremony, Error> {
        self.sessions.require_live(caller, now).await?;
        let user = caller.user;
        let mut tx = self.db.begin().await?;
        let key = self.vault.key(&mut tx, user).await?;
        let found = rows::of_user(&mut tx, user).await?;
        let known = found.iter().filter(|row| row.kind == Kind::Passkey.name());
        let known = known.map(|row| Ok::<_, Error>(passkey(&key, row)?.cred_id().clone()));
        let known = known.collect::<Result<Vec<_>, _>>()?;
        if known.len() >= PASSKEYS_MAX {
            return Err(Error::TooManyCredentials);
        }
        let profile = users::by_id(&mut tx, user).await?;
        let profile = profile.ok_or(Error::SessionEnded)?;
        let email = self.contact(&mut tx, &key, ContactKind::Email).await?;
        let account = email.map_or(profile.handle, |(email, _)| email.value);
        let name = key.open_text(profiles::NAME, &profile.name)?;
        let begun = self
            .webauthn
            .start_passkey_registration(user, &account, &name, Some(known));
        let (challenge, state) = begun.map_err(|_| Error::Library("webauthn"))?;
        let ticket = self
            .tickets
            .issue(
                &mut tx,
                tickets::Kind::PasskeyRegistration,
                Some(user),
                &state,
                now,
            )
            .await?;
        tx.commit().await?;

        let mut options = serde_json::to_value(&challenge)?;
        let selection = options.pointer_mut("/publicKey/authenticatorSelection");
        if let Some(selection) = selection.and_then(Value::as_object_mut) {
            // Else it could not say whose it is at a sign-in.
            selection.insert("residentKey".to_owned(), "required".into());
            selection.insert("requireResidentKey".to_owned(), true.into());
        }
        Ok(Ceremony { ticket, options })
    }

    /// Keeps the passkey that the browser made.
    ///
    /// # Errors
    /// [`Error::BadCeremony`], [`Error::TooManyCredentials`], [`Error::SessionEnded`], or
    /// the database.
    pub(crate) async fn finish_passkey_registration(
        &self,
        caller: &Caller,
        ticket: &str,
        made: Value,
        name: &str,
        origin: &Origin,
        now: UnixMicros,
    ) -> Result<Credential, Error> {
        self.sessions.require_live(caller, now).await?;
        let user = caller.user;
        let mut tx = self.db.begin().await?;
        let kind = tickets::Kind::PasskeyRegistration;
        let begun = self.tickets.take(&mut tx, kind, ticket, now).await?;
        let state: Option<PasskeyRegistration> = begun
            .filter(|(whose, _)| *whose == Some(user))
            .map(|(_, state)| state);
        let made = serde_json::from_value::<RegisterPublicKeyCredential>(made).ok();
        let passkey = state.zip(made).and_then(|(state, made)| {
            self.webauthn
                .finish_passkey_registration(&made, &state)
                .ok()
        });
        let Some(passkey) = passkey else {
            // The challenge is used up by that.
            tx.commit().await?;
            return Err(Error::BadCeremony);
        };
        users::lock(&mut tx, user).await?;
        let found = rows::of_user(&mut tx, user).await?;
        let known = found.iter().filter(|row| row.kind == Kind::Passkey.name());
        if known.count() >= PASSKEYS_MAX {
            return Err(Error::TooManyCredentials);
        }
        let key = self.vault.key(&mut tx, user).await?;
        let id = Uuid::now_v7();
        let row = NewRow {
            id,
            user,
            kind: Kind::Passkey.name(),
            name: &key.seal(NAME, name.as_bytes())?,
            provider: "",
            secret: Some(key.seal(SECRET, &serde_json::to_vec(&passkey)?)?),
            lookup: Some(self.lookup(passkey.cred_id())),
            confirmed_at: Some(now),
        };
        match rows::insert(&mut tx, &row, now).await {
            // Registered already, by whomever.
            Err(db::Error::Taken(_)) => return Err(Error::BadCeremony),
            done => done?,
        }
        let about = About::by(user).at(origin);
        let found = rows::of_user(&mut tx, user).await?;
        self.tell(&mut tx, Kind::Passkey.name(), Change::Added, &about, now)
            .await?;
        tx.commit().await?;
        let row = found.iter().find(|row| row.id == id);
        credential(&key, row.ok_or(Error::NoSuchCredential)?)
    }

    /// # Errors
    /// The database.
    pub(crate) async fn begin_passkey_login(&self, now: UnixMicros) -> Result<Ceremony, Error> {
        let begun = self.webauthn.start_discoverable_authentication();
        let (mut challenge, state) = begun.map_err(|_| Error::Library("webauthn"))?;
        // How the browser asks is the page's business.
        challenge.mediation = None;
        let mut tx = self.db.begin().await?;
        let ticket = self
            .tickets
            .issue(&mut tx, tickets::Kind::PasskeyLogin, None, &state, now)
            .await?;
        tx.commit().await?;
        let options = serde_json::to_value(&challenge)?;
        Ok(Ceremony { ticket, options })
    }

    /// Opens a session for whom the passkey names.
    ///
    /// # Errors
    /// [`Error::BadPasskey`], [`Error::Unverified`], or the database.
    pub(crate) async fn finish_passkey_login(
        &self,
        ticket: &str,
        answer: Value,
        origin: &Origin,
        now: UnixMicros,
    ) -> Result<Tokens, Error> {
        let mut tx = self.db.begin().await?;
        let Some(user) = self.assert(&mut tx, ticket, answer, now).await? else {
            tx.commit().await?;
            self.counters.count(Event::LoginFailed);
            return Err(Error::BadPasskey);
        };
        let key = self.vault.key(&mut tx, user).await?;
        let email = self.contact(&mut tx, &key, ContactKind::Email).await?;
        if self.require_verified && !email.is_some_and(|(_, verified)| verified) {
            return Err(Error::Unverified);
        }
        let new = NewSession {
            user,
            amr: &AMR,
            auth_time: now,
            origin,
        };
        let tokens = self.sessions.open(&mut tx, &new, now).await?;
        tx.commit().await?;
        self.counters.count(Event::LoggedIn);
        Ok(tokens)
    }

    /// Whose passkey has answered the challenge. `None` uses the challenge up as well, so the
    /// caller commits in both cases.
    pub(super) async fn assert(
        &self,
        tx: &mut Tx,
        ticket: &str,
        answer: Value,
        now: UnixMicros,
    ) -> Result<Option<Uuid>, Error> {
        let kind = tickets::Kind::PasskeyLogin;
        let begun = self
            .tickets
            .take::<DiscoverableAuthentication>(tx, kind, ticket, now)
            .await?;
        let Some((_, state)) = begun else {
            return Ok(None);
        };
        let Ok(answer) = serde_json::from_value::<PublicKeyCredential>(answer) else {
            return Ok(None);
        };
        // Held until the commit: of two answers with one counter one is refused.
        let lookup = self.lookup(answer.get_credential_id());
        let Some(row) = rows::lock(tx, &lookup).await? else {
            return Ok(None);
        };
        // WebAuthn section 7.2 step 6: the handle must be there, and name the owner.
        if answer.get_user_unique_id() != Some(row.user.as_bytes().as_slice()) {
            return Ok(None);
        }
        let key = self.vault.key(&mut *tx, row.user).await?;
        let mut passkey = passkey(&key, &row)?;
        let judged = self
            .webauthn
            .finish_discoverable_authentication_v2(&answer, state, &passkey);
        let proved = match judged {
            Ok(proved) if proved.user_verified() => proved,
            Ok(_) => return Ok(None),
            Err(error) => {
                // A counter that went back tells of a copied key.
                tracing::warn!(user = %row.user, credential = %row.id, %error, "passkey refused");
                return Ok(None);
            }
        };
        let changed = passkey.update_credential(&proved) == Some(true);
        let secret = match changed {
            true => Some(key.seal(SECRET, &serde_json::to_vec(&passkey)?)?),
            false => None,
        };
        rows::used(tx, row.id, secret, now).await?;
        Ok(Some(row.user))
    }

    fn lookup(&self, credential_id: &[u8]) -> Vec<u8> {
        let text = URL_SAFE_NO_PAD.encode(credential_id);
        self.vault.blind_index(Kind::Passkey.name(), &text)
    }
}

fn passkey(key: &SubjectKey, row: &CredentialRow) -> Result<Passkey, Error> {
    let sealed = row.secret.as_deref().unwrap_or_default();
    Ok(serde_json::from_slice(&key.open(SECRET, sealed)?)?)
}
