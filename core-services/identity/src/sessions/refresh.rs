//! Trading a refresh token.
//! Invariant: a token is traded once, for one successor; its second use ends the
//! session, live descendants included, before anything is answered. Only the newest
//! trade is answered again, with the same successor, for `GRACE`.

use std::time::Duration;

use core_platform::{clock::UnixMicros, db::Tx};
use uuid::Uuid;

use super::{Reason, Sessions, TOKEN_LIFETIME, Tokens, token::RefreshToken};
use crate::{
    counters::Event,
    error::Error,
    facts::{About, Fact},
    keys::Grant,
    origin::Origin,
    store::{
        refresh_tokens::{self, ChildRow, NewToken, TokenRow},
        sessions,
    },
};

/// A client whose answer was lost tries again within seconds. So would a thief who
/// listens: he gets the same successor, and the first of the two to trade it makes the
/// other's a reuse.
pub(crate) const GRACE: Duration = Duration::from_secs(10);

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Good,
    Bad,
    Reused,
    /// Traded just now; this is what it was traded for.
    Again(Uuid),
}

impl Sessions {
    /// Trades a refresh token for a new pair.
    ///
    /// # Errors
    /// [`Error::BadRefreshToken`] for every kind of bad one, or the database.
    pub(crate) async fn refresh(
        &self,
        text: &str,
        origin: &Origin,
        now: UnixMicros,
    ) -> Result<Tokens, Error> {
        let traded = self.trade(text, origin, now).await;
        let event = match &traded {
            Ok(_) => Event::Refreshed,
            Err(_) => Event::RefreshFailed,
        };
        self.counters.count(event);
        traded
    }

    async fn trade(&self, text: &str, origin: &Origin, now: UnixMicros) -> Result<Tokens, Error> {
        let token = RefreshToken::parse(text).ok_or(Error::BadRefreshToken)?;
        // Made-up tokens end here: they must not keep the one writer from its work.
        let seen = refresh_tokens::read(&self.db, token.id).await?;
        let seen = seen.ok_or(Error::BadRefreshToken)?;
        if !is_genuine(&seen, &token, now) {
            return Err(Error::BadRefreshToken);
        }
        // Once more under the lock, as another call may have used it since.
        let mut tx = self.db.begin().await?;
        let row = refresh_tokens::lock(&mut tx, token.id).await?;
        let row = row.ok_or(Error::BadRefreshToken)?;
        let child = refresh_tokens::child(&mut tx, token.id).await?;
        match judge(&row, &token, child.as_ref(), now) {
            Verdict::Bad => Err(Error::BadRefreshToken),
            Verdict::Reused => {
                self.end_family(&mut tx, &row, origin, now).await?;
                tx.commit().await?;
                Err(Error::BadRefreshToken)
            }
            Verdict::Again(child_id) => {
                let successor = token.successor(child_id, &self.vault)?;
                // Differs only if the vault was replaced in these seconds.
                if !child.is_some_and(|child| successor.matches(&child.secret_hash)) {
                    return Err(Error::BadRefreshToken);
                }
                self.counters.count(Event::RefreshedAgain);
                self.renewed(&mut tx, &row, &successor, now).await
            }
            Verdict::Good => {
                let successor = token.successor(Uuid::now_v7(), &self.vault)?;
                refresh_tokens::spend(&mut tx, token.id, row.session, now).await?;
                let new = NewToken {
                    id: successor.id,
                    session: row.session,
                    parent: Some(token.id),
                    secret_hash: &successor.hash(),
                    expires_at: now + TOKEN_LIFETIME,
                };
                refresh_tokens::insert(&mut tx, &new, now).await?;
                sessions::seen(&mut tx, row.session, &origin.network, now).await?;
                let tokens = self.renewed(&mut tx, &row, &successor, now).await?;
                tx.commit().await?;
                Ok(tokens)
            }
        }
    }

    async fn end_family(
        &self,
        tx: &mut Tx,
        row: &TokenRow,
        origin: &Origin,
        now: UnixMicros,
    ) -> Result<(), Error> {
        let ended = [row.session];
        self.end(tx, row.user, &ended, Reason::TokenReuse, now)
            .await?;
        let fact = [Fact::TokenReused {
            session: row.session,
        }];
        let about = About::to(row.user).at(origin);
        self.facts.tell(tx, &fact, &about, now).await?;
        self.counters.count(Event::RefreshReused);
        tracing::warn!(session = %row.session, user = %row.user, "refresh token reused: session ended");
        Ok(())
    }

    async fn renewed(
        &self,
        tx: &mut Tx,
        row: &TokenRow,
        successor: &RefreshToken,
        now: UnixMicros,
    ) -> Result<Tokens, Error> {
        let amr: Vec<String> = row.amr.split_whitespace().map(str::to_owned).collect();
        let rights = self.roles.rights(&mut *tx, row.user).await?;
        let grant = Grant {
            user: row.user,
            session: row.session,
            auth_time: row.auth_time,
            amr: &amr,
            roles: &rights.roles,
            scope: &rights.scope(),
        };
        self.tokens(&grant, successor.text(), now)
    }
}

/// The secret first: a guessed id must not end anyone's session.
fn is_genuine(row: &TokenRow, token: &RefreshToken, now: UnixMicros) -> bool {
    let dead = row.session_revoked_at.is_some() || row.session_expires_at <= now;
    token.matches(&row.secret_hash) && !dead
}

fn judge(
    row: &TokenRow,
    token: &RefreshToken,
    child: Option<&ChildRow>,
    now: UnixMicros,
) -> Verdict {
    if !is_genuine(row, token, now) {
        return Verdict::Bad;
    }
    match (row.used_at, child) {
        (Some(used_at), Some(child)) if child.used_at.is_none() && near(used_at, now) => {
            Verdict::Again(child.id)
        }
        (Some(_), _) => Verdict::Reused,
        (None, _) if row.expires_at <= now => Verdict::Bad,
        (None, _) => Verdict::Good,
    }
}

/// In either direction: the clocks of two replicas differ a little.
fn near(a: UnixMicros, b: UnixMicros) -> bool {
    u128::from(a.0.abs_diff(b.0)) <= GRACE.as_micros()
}
