//! Connection ids that say which process issued them, and the keys that generations share.
//!
//! After the binary was replaced, one process reads the UDP socket and the others finish their
//! connections. A datagram belongs to the process that issued its destination connection id, so
//! the id begins with the number of that process's generation. In clear: it is the same for all
//! connections of a process, and tells an observer no more than when we were replaced.

use std::os::fd::OwnedFd;

use anyhow::Context;
use aws_lc_rs::hkdf::{HKDF_SHA256, Prk, Salt};
use aws_lc_rs::{hmac, rand};
use quinn::{ConnectionId, ConnectionIdGenerator};
use serde::{Deserialize, Serialize};

/// Processes that may still be draining when another one takes over.
pub const GENERATIONS_MAX: usize = 64;

/// One byte of generation, then what makes an id unique, then the proof that it is ours.
const ID_BYTES: usize = 8;
const NONCE_BYTES: usize = 4;
const TAG_BYTES: usize = 3;

/// First byte of a datagram (RFC 8999, 5.1): a long header names the length of its ids.
const LONG_HEADER: u8 = 0x80;
/// Where that length stands, after the first byte and the version.
const LONG_HEADER_ID_LENGTH_AT: usize = 5;

/// What keys are made of. Known to the processes of one edge and to nobody else.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret([u8; 32]);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    fn random() -> anyhow::Result<Self> {
        let mut secret = [0; 32];
        rand::fill(&mut secret).ok().context("no random numbers")?;
        Ok(Self(secret))
    }

    fn derive(&self, purpose: &str) -> hmac::Tag {
        hmac::sign(
            &hmac::Key::new(hmac::HMAC_SHA256, &self.0),
            purpose.as_bytes(),
        )
    }

    fn mac_key(&self, purpose: &str) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, self.derive(purpose).as_ref())
    }

    /// For stateless resets (RFC 9000, 10.3): the new process ends what a dead one left behind.
    pub(super) fn reset_key(&self) -> hmac::Key {
        self.mac_key("stateless reset")
    }

    /// For Retry tokens (RFC 9000, 8.1.2): a client may come back to another process.
    pub(super) fn token_key(&self) -> Prk {
        Salt::new(HKDF_SHA256, &[]).extract(self.derive("retry token").as_ref())
    }
}

/// A process still draining, and where its datagrams go.
#[derive(Debug)]
pub struct Older {
    pub number: u8,
    pub relay: OwnedFd,
}

/// Which process of an edge this is, counted from the one that was started by itself.
#[derive(Debug)]
pub struct Generation {
    pub number: u8,
    pub secret: Secret,
    pub older: Vec<Older>,
}

impl Generation {
    /// Of a process that replaces nobody.
    pub fn first() -> anyhow::Result<Self> {
        Ok(Self {
            number: 1,
            secret: Secret::random()?,
            older: Vec::new(),
        })
    }

    /// The next number that no living process has.
    pub(super) fn number_after(own: u8, older: &[Older]) -> u8 {
        let mut next = own.wrapping_add(1);
        // Ends: there are more numbers than `GENERATIONS_MAX`.
        while next == own || older.iter().any(|older| older.number == next) {
            next = next.wrapping_add(1);
        }
        next
    }
}

/// Issues and recognises the ids of one generation.
#[derive(Clone)]
pub(super) struct ConnectionIds {
    number: u8,
    key: hmac::Key,
}

impl ConnectionIds {
    pub(super) fn new(number: u8, secret: &Secret) -> Self {
        Self {
            number,
            key: secret.mac_key("connection id"),
        }
    }

    pub(super) fn number(&self) -> u8 {
        self.number
    }

    fn tag(&self, unsigned: &[u8]) -> [u8; TAG_BYTES] {
        let tag = hmac::sign(&self.key, unsigned);
        let mut short = [0; TAG_BYTES];
        for (to, from) in short.iter_mut().zip(tag.as_ref()) {
            *to = *from;
        }
        short
    }

    fn is_ours(&self, id: &[u8]) -> bool {
        let (unsigned, tag) = id.split_at(id.len().min(1 + NONCE_BYTES));
        id.len() == ID_BYTES && self.tag(unsigned) == tag
    }

    /// The generation, not this one, whose process issued the id that a datagram is sent to.
    ///
    /// A client chooses the id of its first packets itself (RFC 9000, 7.2), which is why those
    /// with a long header must prove that it is one of ours. With a short header it always is.
    pub(super) fn foreign(&self, datagram: &[u8]) -> Option<u8> {
        let first = *datagram.first()?;
        let id = if first & LONG_HEADER == 0 {
            datagram.get(1..1 + ID_BYTES)?
        } else {
            let (length, rest) = datagram.get(LONG_HEADER_ID_LENGTH_AT..)?.split_first()?;
            rest.get(..usize::from(*length))?
        };
        let number = *id.first()?;
        if number == self.number || (first & LONG_HEADER != 0 && !self.is_ours(id)) {
            return None;
        }
        Some(number)
    }
}

impl ConnectionIdGenerator for ConnectionIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut nonce = [0; NONCE_BYTES];
        // Without random numbers the ids would still differ: quinn asks again for one in use.
        if rand::fill(&mut nonce).is_err() {
            nonce = fastrand::u32(..).to_be_bytes();
        }
        let mut id = Vec::with_capacity(ID_BYTES);
        id.push(self.number);
        id.extend_from_slice(&nonce);
        id.extend_from_slice(&self.tag(&id));
        ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<std::time::Duration> {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use proptest::prelude::*;

    use super::*;

    fn ids(number: u8) -> ConnectionIds {
        ConnectionIds::new(number, &Secret([7; 32]))
    }

    fn issued(number: u8) -> Vec<u8> {
        ids(number).generate_cid().to_vec()
    }

    fn short(id: &[u8]) -> Vec<u8> {
        [&[0x40], id, &[9; 20]].concat()
    }

    fn long(version: u32, id: &[u8]) -> Vec<u8> {
        let length = u8::try_from(id.len()).expect("an id");
        [&[0xc0], &version.to_be_bytes()[..], &[length], id, &[9; 20]].concat()
    }

    #[test]
    fn datagrams_are_told_apart_by_their_destination() {
        let old = issued(1);
        let mut forged = old.clone();
        forged[7] ^= 1;
        let other_secret = ConnectionIds::new(1, &Secret([8; 32])).generate_cid();
        let longer = [&old[..], &[0]].concat();
        let cases: &[(&str, Vec<u8>, Option<u8>)] = &[
            ("short, an older process", short(&old), Some(1)),
            ("short, this process", short(&issued(2)), None),
            (
                "short, fixed bit greased",
                [&[0x00], &old[..]].concat(),
                Some(1),
            ),
            ("short, cut", vec![0x40, 1, 2, 3], None),
            ("long, an older process", long(1, &old), Some(1)),
            ("long, this process", long(1, &issued(2)), None),
            ("long, version 2 of QUIC", long(0x6b33_43cf, &old), Some(1)),
            (
                "long, id of the client that begins as ours",
                long(1, &forged),
                None,
            ),
            ("long, id of another edge", long(1, &other_secret), None),
            ("long, longer id of the client", long(1, &longer), None),
            ("long, empty id", long(1, &[]), None),
            ("long, cut id", long(1, &old)[..10].to_vec(), None),
            ("long, nothing but the first byte", vec![0xc0], None),
            ("empty", vec![], None),
        ];
        for (what, datagram, expected) in cases {
            assert_eq!(ids(2).foreign(datagram), *expected, "{what}");
        }
    }

    #[test]
    fn ids_differ_and_prove_themselves() {
        let mut ids = ids(3);
        let (one, two) = (ids.generate_cid(), ids.generate_cid());
        assert_ne!(one, two);
        assert_eq!(one.len(), ids.cid_len());
        assert!(ids.is_ours(&one) && ids.is_ours(&two));
        assert!(!ids.is_ours(&[3; 8]) && !ids.is_ours(&[3; 3]) && !ids.is_ours(&[]));
    }

    #[test]
    fn keys_follow_from_the_secret_alone() {
        let sign = |byte| {
            let key = Secret([byte; 32]).reset_key();
            hmac::sign(&key, b"id").as_ref().to_vec()
        };
        assert_eq!(sign(1), sign(1));
        assert_ne!(sign(1), sign(2));
        assert_eq!(format!("{:?}", Secret([1; 32])), "Secret");
    }

    #[test]
    fn a_number_in_use_is_skipped() {
        let older = |numbers: &[u8]| -> Vec<Older> {
            let one = |number: &u8| Older {
                number: *number,
                relay: UnixDatagram::unbound().expect("a socket").into(),
            };
            numbers.iter().map(one).collect()
        };
        assert_eq!(Generation::number_after(1, &[]), 2);
        assert_eq!(Generation::number_after(255, &older(&[0, 1])), 2);
    }

    proptest! {
        #[test]
        fn any_datagram_is_judged(datagram in proptest::collection::vec(any::<u8>(), 0..64)) {
            let foreign = ids(2).foreign(&datagram);
            prop_assert_ne!(foreign, Some(2));
        }
    }
}
