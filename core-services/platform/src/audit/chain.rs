//! One link: what exactly is authenticated.
//! Invariant: two entries that differ anywhere encode differently, so no change
//! can hide behind an equal text; the encoding never changes under one version.
//!
//! `VERSION | previous hash (32) | seq (8, big-endian) | id (16) | at, in
//! microseconds (8, big-endian)`, then actor_kind, actor, action, subject, detail,
//! address_prefix, each as `1 | length (8, big-endian) | UTF-8`, or `0` for NULL.

use aws_lc_rs::hmac;

use super::Entry;
use crate::db::{Error, Row};

/// HMAC-SHA-256.
pub(super) type Hash = [u8; 32];

/// What the first entry follows.
pub(super) const GENESIS: Hash = [0; 32];

const VERSION: u8 = 1;

/// The columns that [`stored`] reads, in its order.
macro_rules! columns {
    ($rest:literal) => {
        concat!(
            "SELECT seq, id, at, actor_kind, actor, action, subject, detail, address_prefix,
                    prev_hash, hash
             FROM audit_log ",
            $rest
        )
    };
}
pub(super) use columns;

/// The hash of `entry` behind the one whose hash is `before`.
pub(super) fn link(key: &hmac::Key, before: &Hash, entry: &Entry) -> Hash {
    let mut context = hmac::Context::with_key(key);
    context.update(&[VERSION]);
    context.update(before);
    context.update(&entry.seq.to_be_bytes());
    context.update(entry.id.as_bytes());
    context.update(&entry.at.0.to_be_bytes());
    for text in [
        Some(&entry.actor_kind),
        Some(&entry.actor),
        Some(&entry.action),
        entry.subject.as_ref(),
        Some(&entry.detail),
        entry.address_prefix.as_ref(),
    ] {
        match text {
            Some(text) => {
                context.update(&[1]);
                context.update(&(text.len() as u64).to_be_bytes());
                context.update(text.as_bytes());
            }
            None => context.update(&[0]),
        }
    }
    let mut hash = GENESIS;
    hash.copy_from_slice(context.sign().as_ref());
    hash
}

/// An entry with the two hashes as they are stored, whatever they are.
pub(super) struct Stored {
    pub(super) entry: Entry,
    pub(super) before: Vec<u8>,
    pub(super) hash: Vec<u8>,
}

pub(super) fn stored(row: &Row) -> Result<Stored, Error> {
    Ok(Stored {
        entry: Entry {
            seq: row.get(0)?,
            id: row.get(1)?,
            at: row.get(2)?,
            actor_kind: row.get(3)?,
            actor: row.get(4)?,
            action: row.get(5)?,
            subject: row.get(6)?,
            detail: row.get(7)?,
            address_prefix: row.get(8)?,
        },
        before: row.get(9)?,
        hash: row.get(10)?,
    })
}
