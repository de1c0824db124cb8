//! Page tokens: where the next page of a list begins, in words only we can make.
//! Invariant: a token is good for the list, the filter and the caller it was made
//! for, in every replica and after a rotation of the key ring.
//! Refuses to hide what it says: a position is signed, not sealed, so it holds
//! nothing that its caller may not see.

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Serialize, de::DeserializeOwned};
use tonic::{Code, Status};

use crate::{
    crypto::{self, Vault},
    errors,
};

/// The first byte; another layout is another version.
const VERSION: u8 = 1;
/// Half of HMAC-SHA-256, as RFC 2104 section 5 allows: a guess must be sent here to be tried.
const TAG_BYTES: usize = 16;
/// Tokens stand in query strings.
const TOKEN_BYTES_MAX: usize = 512;
/// What fits into such a token beside version and tag.
const POSITION_BYTES_MAX: usize = TOKEN_BYTES_MAX / 4 * 3 - TAG_BYTES - 1;

/// A position that no token could hold: a mistake of the list, not of its caller.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "a page's position has {0} bytes, a token holds {POSITION_BYTES_MAX}\nhint: ids and times only"
    )]
    TooLong(usize),
    #[error("a page's position is no JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        errors::internal(&error)
    }
}

/// What a token is good for.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// The full name of the RPC.
    pub list: &'a str,
    /// Who asks: a user's id, a service's name.
    pub caller: &'a str,
    /// All that decides which rows the list has and in which order, page size left out.
    pub filter: &'a [u8],
}

/// Makes and reads the page tokens of one service.
#[derive(Clone)]
pub struct Cursors {
    key: hmac::Key,
}

impl Cursors {
    /// # Errors
    /// Only if the library fails.
    pub fn new(vault: &Vault) -> Result<Self, crypto::Error> {
        Ok(Self {
            key: vault.hmac_key("cursor")?,
        })
    }

    /// The token of the page that begins after `position`, such as `(created_at, id)`
    /// of the last row.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn token(&self, query: Query<'_>, position: &impl Serialize) -> Result<String, Error> {
        let position = serde_json::to_vec(position)?;
        if position.len() > POSITION_BYTES_MAX {
            return Err(Error::TooLong(position.len()));
        }
        let tag = self.tag(query, &position);
        let mut bytes = vec![VERSION];
        bytes.extend(tag);
        bytes.extend(position);
        Ok(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// The position in `token`; `None` for the empty token, which asks for the first page.
    ///
    /// # Errors
    /// `INVALID_PAGE_TOKEN` for one that was not made for this query and caller.
    pub fn position<T: DeserializeOwned>(
        &self,
        query: Query<'_>,
        token: &str,
    ) -> Result<Option<T>, Status> {
        if token.is_empty() {
            return Ok(None);
        }
        let read = self.read(query, token);
        read.map(Some).ok_or_else(|| {
            errors::refused(
                Code::InvalidArgument,
                "INVALID_PAGE_TOKEN",
                "the page token is not of this list\n\
                 hint: ask for the first page again, without one, when the filter changes",
            )
        })
    }

    fn read<T: DeserializeOwned>(&self, query: Query<'_>, token: &str) -> Option<T> {
        if token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (&VERSION, rest) = bytes.split_first()? else {
            return None;
        };
        let (tag, position) = rest.split_first_chunk::<TAG_BYTES>()?;
        let expected = self.tag(query, position);
        aws_lc_rs::constant_time::verify_slices_are_equal(tag, &expected).ok()?;
        serde_json::from_slice(position).ok()
    }

    /// Each part with its length, so that none can run into the next.
    fn tag(&self, query: Query<'_>, position: &[u8]) -> [u8; TAG_BYTES] {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&[VERSION]);
        for part in [
            query.list.as_bytes(),
            query.caller.as_bytes(),
            query.filter,
            position,
        ] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut tag = [0; TAG_BYTES];
        for (to, from) in tag.iter_mut().zip(context.sign().as_ref()) {
            *to = *from;
        }
        tag
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::StatusExt;
    use uuid::Uuid;

    use super::*;

    const QUERY: Query<'static> = Query {
        list: "auth.v1.AuthService/ListSessions",
        caller: "u1",
        filter: b"active",
    };

    fn cursors(byte: u8) -> Cursors {
        Cursors {
            key: hmac::Key::new(hmac::HMAC_SHA256, &[byte; 32]),
        }
    }

    type Position = (i64, Uuid);

    fn position() -> Position {
        (1_800_000_000_000_000, Uuid::from_u128(5))
    }

    #[test]
    fn a_token_is_good_for_its_query_and_caller_only() {
        let token = cursors(1).token(QUERY, &position()).unwrap();
        let read = |cursors: Cursors, query| cursors.position::<Position>(query, &token);
        assert_eq!(read(cursors(1), QUERY).unwrap(), Some(position()));
        for query in [
            Query {
                list: "auth.v1.AuthService/ListCredentials",
                ..QUERY
            },
            Query {
                caller: "u2",
                ..QUERY
            },
            Query {
                filter: b"all",
                ..QUERY
            },
            // The same bytes, cut elsewhere.
            Query {
                caller: "u1a",
                filter: b"ctive",
                ..QUERY
            },
        ] {
            let refused = read(cursors(1), query).unwrap_err();
            let reason = refused
                .get_error_details()
                .error_info()
                .unwrap()
                .reason
                .clone();
            assert_eq!(reason, "INVALID_PAGE_TOKEN");
            assert_eq!(refused.code(), Code::InvalidArgument);
        }
        assert!(read(cursors(2), QUERY).is_err());
        assert_eq!(cursors(1).position::<Position>(QUERY, "").unwrap(), None);
    }

    #[test]
    fn the_longest_position_fits_into_the_longest_token() {
        let cursors = cursors(1);
        // Two bytes are the quotes.
        let longest = "x".repeat(POSITION_BYTES_MAX - 2);
        let token = cursors.token(QUERY, &longest).unwrap();
        assert!(token.len() <= TOKEN_BYTES_MAX, "{}", token.len());
        assert_eq!(
            cursors.position(QUERY, &token).unwrap(),
            Some(longest.clone())
        );
        let longer = longest + "x";
        assert!(matches!(
            cursors.token(QUERY, &longer),
            Err(Error::TooLong(_))
        ));
    }

    proptest::proptest! {
        #[test]
        fn any_change_is_refused(n: i64, at: usize, to in "[A-Za-z0-9_-]") {
            let cursors = cursors(1);
            let token = cursors.token(QUERY, &n).unwrap();
            let at = at % token.len();
            let mut changed = token.clone();
            changed.replace_range(at..=at, &to);
            let read = cursors.position::<i64>(QUERY, &changed);
            proptest::prop_assert_eq!(read.is_ok(), changed == token);
        }

        #[test]
        fn junk_does_not_panic(junk in "\\PC{1,600}") {
            proptest::prop_assert!(cursors(1).position::<i64>(QUERY, &junk).is_err());
        }
    }
}
