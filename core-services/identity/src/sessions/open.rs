//! Opening a session.

use std::collections::BTreeMap;

use core_platform::{clock::UnixMicros, crypto::SubjectKey, db::Tx};
use uuid::Uuid;

use super::{
    DEVICE, ENDED_KEPT, Reason, SESSION_LIFETIME, SESSIONS_PER_USER_MAX, Sessions, TOKEN_LIFETIME,
    Tokens, token::RefreshToken,
};
use crate::{
    contacts::{Contact, Kind, before},
    counters::Event,
    error::Error,
    facts::{About, Fact},
    keys::Grant,
    messages::{self, Message, NEWS_LIFETIME, Template},
    origin::Origin,
    profiles::CONTACT,
    store::{contacts, refresh_tokens, sessions, users},
};

/// Who has proved what, and where.
pub(crate) struct NewSession<'a> {
    pub(crate) user: Uuid,
    /// How they proved it (RFC 8176), such as `pwd`, `otp`, `hwk`.
    pub(crate) amr: &'a [&'a str],
    /// When they did.
    pub(crate) auth_time: UnixMicros,
    pub(crate) origin: &'a Origin,
}

impl Sessions {
    /// Opens a session in the transaction that holds the proof. The last thing before
    /// its commit.
    pub(crate) async fn open(
        &self,
        tx: &mut Tx,
        new: &NewSession<'_>,
        now: UnixMicros,
    ) -> Result<Tokens, Error> {
        let kept = self.admit(tx, new.user, now).await?;
        let key = self.vault.key(&mut *tx, new.user).await?;
        // A blind index of its own for each user: it links nobody with anybody.
        let device = format!("{}:{}", new.user, new.origin.device);
        let device_index = self.vault.blind_index("device", &device);
        let (had_any, had_this) = sessions::known(tx, new.user, &device_index).await?;
        sessions::forget(tx, new.user, before(now, ENDED_KEPT)).await?;
        self.make_room(tx, new, now).await?;

        let session = Uuid::now_v7();
        let row = sessions::NewRow {
            id: session,
            user: new.user,
            auth_time: new.auth_time,
            amr: &new.amr.join(" "),
            device: &key.seal(DEVICE, new.origin.device.as_bytes())?,
            device_index: &device_index,
            network: &new.origin.network,
            expires_at: now + SESSION_LIFETIME,
        };
        sessions::insert(tx, &row, now).await?;
        let refresh = RefreshToken::generate()?;
        let token = refresh_tokens::NewToken {
            id: refresh.id,
            session,
            parent: None,
            secret_hash: &refresh.hash(),
            expires_at: now + TOKEN_LIFETIME,
        };
        refresh_tokens::insert(tx, &token, now).await?;

        let amr: Vec<String> = new.amr.iter().map(|name| (*name).to_owned()).collect();
        let mut facts = vec![Fact::LoggedIn {
            session,
            amr: amr.clone(),
        }];
        if kept {
            facts.push(Fact::DeletionCancelled);
        }
        if had_any && !had_this {
            self.warn(tx, &key, new, now).await?;
            facts.push(Fact::NewDevice { session });
            self.counters.count(Event::NewDevice);
        }
        let about = About::by(new.user).at(new.origin);
        self.facts.tell(tx, &facts, &about, now).await?;
        let rights = self.roles.rights(&mut *tx, new.user).await?;
        let grant = Grant {
            user: new.user,
            session,
            auth_time: new.auth_time,
            amr: &amr,
            roles: &rights.roles,
            scope: &rights.scope(),
        };
        self.tokens(&grant, refresh.text(), now)
    }

    /// Lets in who is not suspended. Who closed the account keeps it by coming back in
    /// time: true then.
    async fn admit(&self, tx: &mut Tx, user: Uuid, now: UnixMicros) -> Result<bool, Error> {
        let standing = users::standing(tx, user).await?;
        let standing = standing.ok_or(Error::BadCredentials)?;
        if standing.suspended_at.is_some() {
            return Err(Error::Suspended);
        }
        match standing.delete_at {
            None => Ok(false),
            Some(at) if at <= now => Err(Error::BadCredentials),
            Some(_) => {
                users::set_deletion(tx, user, None).await?;
                Ok(true)
            }
        }
    }

    async fn make_room(
        &self,
        tx: &mut Tx,
        new: &NewSession<'_>,
        now: UnixMicros,
    ) -> Result<(), Error> {
        let live = sessions::live(&mut *tx, new.user, now).await?;
        let ended: Vec<_> = live
            .iter()
            .skip(SESSIONS_PER_USER_MAX - 1)
            .map(|row| row.id)
            .collect();
        self.end(tx, new.user, &ended, Reason::Limit, now).await?;
        Ok(())
    }

    async fn warn(
        &self,
        tx: &mut Tx,
        key: &SubjectKey,
        new: &NewSession<'_>,
        now: UnixMicros,
    ) -> Result<(), Error> {
        let contacts = contacts::of_user(&mut *tx, new.user).await?;
        let Some(email) = contacts.iter().find(|row| row.kind == Kind::Email.name()) else {
            return Ok(());
        };
        let to = Contact::email(&key.open_text(CONTACT, &email.value)?);
        let or_unknown = |text: &str| if text.is_empty() { "unknown" } else { text }.to_owned();
        let message = Message {
            values: BTreeMap::from([
                ("device".to_owned(), or_unknown(&new.origin.device)),
                ("network".to_owned(), or_unknown(&new.origin.network)),
            ]),
            ..Message::new(Some(to), Template::NewDevice, now + NEWS_LIFETIME)
        };
        messages::post(tx, key, &message, now).await
    }
}
