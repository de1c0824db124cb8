//! Addresses and numbers, and the codes that prove whose they are.
//! Invariant: a code is kept as a keyed hash, works once, for a few minutes and a few
//! tries; asking for one costs the same whether or not the contact is known.
//! Refuses to send: it says what to send, `messages` does it after the commit.

mod codes;

use std::fmt;

pub(crate) use codes::{ALPHABET, CODE_LIFETIME, Codes, Issue, before, plain, random};

/// What sort of contact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Email,
    Phone,
}

impl Kind {
    /// As the database writes it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Phone => "phone",
        }
    }
}

/// What a code is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To prove a contact the account has.
    Verify,
    /// To prove one that is to take its place.
    Change,
    /// To set a new password.
    Reset,
    /// To complete a sign-in.
    SecondFactor,
    /// None: its owner is only told something, which is limited like codes are.
    Notice,
}

impl Purpose {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Verify => "verify",
            Self::Change => "change",
            Self::Reset => "reset",
            Self::SecondFactor => "second_factor",
            Self::Notice => "notice",
        }
    }
}

/// An address or number in its one spelling. No `Debug` of its text: it is personal.
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Contact {
    pub(crate) kind: Kind,
    pub(crate) value: String,
}

impl Contact {
    /// Addresses are compared without regard to case. RFC 5321 section 2.4 leaves the
    /// local part to the receiver, but no large one tells `Ada@` from `ada@`, and two
    /// accounts that differ only in case would be a trap. The input rules admit ASCII
    /// only and no blanks, so there is nothing else to fold.
    pub(crate) fn email(address: &str) -> Self {
        Self {
            kind: Kind::Email,
            value: address.to_ascii_lowercase(),
        }
    }

    /// The input rules leave one spelling (E.164).
    pub(crate) fn phone(number: &str) -> Self {
        Self {
            kind: Kind::Phone,
            value: number.to_owned(),
        }
    }

    /// Either of the two: a number has no `@`.
    pub(crate) fn parse(text: &str) -> Self {
        if text.contains('@') {
            Self::email(text)
        } else {
            Self::phone(text)
        }
    }
}

impl fmt::Debug for Contact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contact")
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}
