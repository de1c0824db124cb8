//! Making codes, and taking them back.
//! Invariant: at most `SENT_MAX` codes an hour go to one contact for one purpose,
//! whoever asks for them; each may be guessed at `ATTEMPTS_MAX` times.

use std::time::Duration;

use aws_lc_rs::{constant_time, rand};
use core_platform::{
    clock::UnixMicros,
    crypto::Vault,
    db::{self, Tx},
};
use uuid::Uuid;

use super::{Contact, Purpose};
use crate::{error::NoRandom, store::codes};

/// Long enough for a mail that is grey-listed once.
pub(crate) const CODE_LIFETIME: Duration = Duration::from_secs(15 * 60);
/// Five tries at six digits: one in 200,000.
const ATTEMPTS_MAX: i64 = 5;
/// Codes to one contact for one purpose within `SENT_WINDOW`. With five tries each, who guesses has
/// one chance in 40,000 an hour, and nobody's mailbox is flooded.
const SENT_MAX: i64 = 5;
const SENT_WINDOW: Duration = Duration::from_secs(3600);
/// Two clicks are not two mails.
const SENT_PAUSE: Duration = Duration::from_secs(30);

/// Crockford's base 32: no letter that reads as a digit.
pub(crate) const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// 50 bits: a reset takes the account, so its code can't be guessed at all.
const RESET_CHARS: usize = 10;
const VERIFY_DIGITS: usize = 6;

/// What a code is asked for.
pub(crate) struct Issue<'a> {
    /// `None` for a contact nobody has: the row is made all the same.
    pub(crate) user: Option<Uuid>,
    pub(crate) purpose: Purpose,
    pub(crate) contact: &'a Contact,
    /// The sealed new contact of a change.
    pub(crate) value: Option<Vec<u8>>,
}

/// A code that was right.
pub(crate) struct Redeemed {
    pub(crate) user: Uuid,
    /// The sealed new contact, if this proves a change.
    pub(crate) change: Option<Vec<u8>>,
}

/// Codes of this service.
#[derive(Clone)]
pub(crate) struct Codes {
    vault: Vault,
}

impl Codes {
    pub(crate) fn new(vault: Vault) -> Self {
        Self { vault }
    }

    /// What stands for a contact where it must be found.
    pub(crate) fn index(&self, contact: &Contact) -> Vec<u8> {
        self.vault.blind_index(contact.kind.name(), &contact.value)
    }

    /// A new code to be sent, or `None` if the contact has had enough of them.
    pub(crate) async fn issue(
        &self,
        tx: &mut Tx,
        issue: Issue<'_>,
        now: UnixMicros,
    ) -> Result<Option<String>, crate::Error> {
        let index = self.index(issue.contact);
        let since = before(now, SENT_WINDOW);
        let (sent, last) = codes::sent(tx, &index, issue.purpose, since).await?;
        if sent >= SENT_MAX || last.is_some_and(|last| last + SENT_PAUSE > now) {
            return Ok(None);
        }
        let code = match issue.purpose {
            Purpose::Reset => random(RESET_CHARS, ALPHABET)?,
            _ => random(VERIFY_DIGITS, b"0123456789")?,
        };
        // The newest is the one that was read last; older ones would only be more to guess at.
        if let Some(user) = issue.user {
            codes::void(tx, user, issue.purpose, now).await?;
        }
        let id = Uuid::now_v7();
        let new = codes::NewCode {
            id,
            user: issue.user,
            purpose: issue.purpose,
            kind: issue.contact.kind,
            contact_index: &index,
            value: issue.value,
            code_hash: &self.hash(id, &code),
            expires_at: now + CODE_LIFETIME,
        };
        codes::insert(tx, &new, now).await?;
        Ok(Some(code))
    }

    /// Whose code this is. A wrong one counts against every code it could have been;
    /// the caller commits in both cases.
    pub(crate) async fn redeem(
        &self,
        tx: &mut Tx,
        contact: &Contact,
        purposes: &[Purpose],
        code: &str,
        now: UnixMicros,
    ) -> Result<Option<Redeemed>, db::Error> {
        let code = plain(code);
        let names = purposes.iter().map(|purpose| purpose.name().to_owned());
        let index = self.index(contact);
        let usable = codes::usable(tx, &index, names.collect(), ATTEMPTS_MAX, now).await?;
        let right = usable.iter().find(|row| {
            let hash = self.hash(row.id, &code);
            constant_time::verify_slices_are_equal(&hash, &row.code_hash).is_ok()
        });
        let Some((row, user)) = right.and_then(|row| Some((row, row.user?))) else {
            codes::miss(tx, usable.iter().map(|row| row.id).collect()).await?;
            return Ok(None);
        };
        if !codes::spend(tx, row.id, now).await? {
            return Ok(None);
        }
        Ok(Some(Redeemed {
            user,
            change: row.change.then(|| row.value.clone()).flatten(),
        }))
    }

    fn hash(&self, id: Uuid, code: &str) -> Vec<u8> {
        self.vault.blind_index("code", &format!("{id}:{code}"))
    }
}

/// As it was sent, whatever the reader put between its groups.
pub(crate) fn plain(code: &str) -> String {
    code.chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_uppercase())
        .collect()
}

/// Every character equally likely: bytes that would favour the first ones are dropped.
pub(crate) fn random(length: usize, alphabet: &[u8]) -> Result<String, NoRandom> {
    let fair = 256 - 256 % alphabet.len();
    let mut text = String::with_capacity(length);
    let mut bytes = [0; 32];
    while text.len() < length {
        rand::fill(&mut bytes).map_err(|_| NoRandom)?;
        let fair = bytes
            .iter()
            .map(|byte| usize::from(*byte))
            .filter(|byte| *byte < fair);
        let chars = fair.filter_map(|byte| alphabet.get(byte % alphabet.len()));
        text.extend(
            chars
                .take(length - text.len())
                .map(|byte| char::from(*byte)),
        );
    }
    Ok(text)
}

/// `span` before `now`.
pub(crate) fn before(now: UnixMicros, span: Duration) -> UnixMicros {
    let span = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
    UnixMicros(now.0.saturating_sub(span))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_of_their_alphabet_and_differ() {
        let digits = random(VERIFY_DIGITS, b"0123456789").unwrap();
        assert_eq!(digits.len(), VERIFY_DIGITS);
        assert!(digits.bytes().all(|byte| byte.is_ascii_digit()));
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..200 {
            assert!(seen.insert(random(RESET_CHARS, ALPHABET).unwrap()));
        }
        let all: std::collections::BTreeSet<char> = seen.iter().flat_map(|c| c.chars()).collect();
        assert_eq!(all.len(), ALPHABET.len(), "every character comes up");
    }

    #[test]
    fn codes_are_read_as_people_type_them() {
        assert_eq!(plain(" 123-456 "), "123456");
        assert_eq!(plain("abcde-12345"), "ABCDE12345");
        assert_eq!(plain("\u{1f600}"), "");
    }
}
