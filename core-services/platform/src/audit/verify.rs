//! Does the log still tell what was written?
//! Invariant: it says so only if every entry from the first on is there once, in
//! its order, unchanged, up to the one that the head names.
//! Refuses to trust the table for where it ends: whoever cuts the end off and
//! rewrites the head to match shows only against an anchor kept elsewhere.

use std::{fmt, str::FromStr};

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::chain::{self, GENESIS, Hash};
use crate::db::{Db, Error, query};

/// Entries read at once: a few hundred kilobytes.
const BATCH: i64 = 500;

/// A place in the log, with what stood there. As text: `SEQ HASH`, in base64url.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchor {
    pub seq: i64,
    pub hash: Vec<u8>,
}

#[derive(Debug, thiserror::Error)]
#[error("no anchor\nhint: one line that an earlier verification printed, such as `7 q83v…`")]
pub struct NoAnchor;

impl fmt::Display for Anchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.seq, URL_SAFE_NO_PAD.encode(&self.hash))
    }
}

impl FromStr for Anchor {
    type Err = NoAnchor;

    fn from_str(text: &str) -> Result<Self, NoAnchor> {
        let (seq, hash) = text.trim().split_once(' ').ok_or(NoAnchor)?;
        let hash = URL_SAFE_NO_PAD.decode(hash).map_err(|_| NoAnchor)?;
        if hash.len() != GENESIS.len() {
            return Err(NoAnchor);
        }
        Ok(Self {
            seq: seq.parse().map_err(|_| NoAnchor)?,
            hash,
        })
    }
}

/// The first thing that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The entry says something else than was written, or was never written.
    Changed { seq: i64 },
    /// The entry names another one before it than there is.
    Unlinked { seq: i64 },
    /// The entry that should be here was removed.
    Missing { seq: i64 },
    /// The log ends before the head.
    Truncated { last: i64, head: i64 },
    /// The head is gone, or names an entry that is not the newest.
    Head,
    /// The entry at the anchor is another one: the log was rolled back or rewritten.
    Anchor { seq: i64 },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed { seq } => write!(f, "entry {seq} was changed or inserted"),
            Self::Unlinked { seq } => write!(f, "entry {seq} does not follow the one before it"),
            Self::Missing { seq } => write!(f, "entry {seq} was removed"),
            Self::Truncated { last, head } => {
                write!(
                    f,
                    "the log ends at entry {last}, but entry {head} was written"
                )
            }
            Self::Head => f.write_str("the head does not name the newest entry"),
            Self::Anchor { seq } => write!(f, "entry {seq} is not the one of the anchor"),
        }
    }
}

/// What a walk found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Entries that are in order, from the first on.
    pub entries: i64,
    /// The last of them; to be kept where the database's writers can't reach it.
    pub head: Anchor,
    pub fault: Option<Fault>,
}

/// The walk so far.
struct Walk<'a> {
    key: &'a hmac::Key,
    seq: i64,
    hash: Hash,
    /// The head at the walk's beginning.
    head: Option<&'a Anchor>,
    since: Option<&'a Anchor>,
}

pub(super) async fn verify(
    key: &hmac::Key,
    db: &Db,
    since: Option<&Anchor>,
) -> Result<Report, Error> {
    // Entries may be appended during the walk: it must pass the head of its beginning
    // and must not pass the head of its end.
    let head = head(db).await?;
    let mut walk = Walk {
        key,
        seq: 0,
        hash: GENESIS,
        head: head.as_ref(),
        since,
    };
    let fault = walk.run(db).await?;
    let fault = match fault {
        Some(fault) => Some(fault),
        None => walk.end(self::head(db).await?.as_ref()),
    };
    Ok(Report {
        entries: walk.seq,
        head: Anchor {
            seq: walk.seq,
            hash: walk.hash.to_vec(),
        },
        fault,
    })
}

impl Walk<'_> {
    async fn run(&mut self, db: &Db) -> Result<Option<Fault>, Error> {
        if let Some(fault) = self.misplaced(db).await? {
            return Ok(Some(fault));
        }
        loop {
            let rows = query(chain::columns!("WHERE seq > $1 ORDER BY seq LIMIT $2"))
                .bind(self.seq)
                .bind(BATCH)
                .fetch_all(db)
                .await?;
            if rows.is_empty() {
                return Ok(None);
            }
            for row in &rows {
                if let Err(fault) = self.step(&chain::stored(row)?) {
                    return Ok(Some(fault));
                }
            }
        }
    }

    /// Entries that a walk from 1 upwards would never see.
    async fn misplaced(&self, db: &Db) -> Result<Option<Fault>, Error> {
        let row = query("SELECT seq FROM audit_log WHERE seq < 1 ORDER BY seq LIMIT 1")
            .fetch_optional(db)
            .await?;
        row.map(|row| Ok(Fault::Changed { seq: row.get(0)? }))
            .transpose()
    }

    fn step(&mut self, stored: &chain::Stored) -> Result<(), Fault> {
        let seq = self.seq + 1;
        if stored.entry.seq != seq {
            return Err(Fault::Missing { seq });
        }
        if stored.before != self.hash {
            return Err(Fault::Unlinked { seq });
        }
        let hash = chain::link(self.key, &self.hash, &stored.entry);
        if stored.hash != hash {
            return Err(Fault::Changed { seq });
        }
        let differs = |anchor: &Anchor| anchor.seq == seq && anchor.hash != hash;
        if self.head.is_some_and(differs) {
            return Err(Fault::Head);
        }
        if self.since.is_some_and(differs) {
            return Err(Fault::Anchor { seq });
        }
        (self.seq, self.hash) = (seq, hash);
        Ok(())
    }

    fn end(&self, head_now: Option<&Anchor>) -> Option<Fault> {
        let reach = |anchor: Option<&Anchor>| anchor.map_or(0, |anchor| anchor.seq);
        let expected = reach(self.head).max(reach(self.since));
        if self.seq < expected {
            return Some(Fault::Truncated {
                last: self.seq,
                head: expected,
            });
        }
        (self.seq > reach(head_now)).then_some(Fault::Head)
    }
}

async fn head(db: &Db) -> Result<Option<Anchor>, Error> {
    let row = query("SELECT seq, hash FROM audit_head WHERE id = 1")
        .fetch_optional(db)
        .await?;
    row.map(|row| {
        Ok(Anchor {
            seq: row.get(0)?,
            hash: row.get(1)?,
        })
    })
    .transpose()
}
