//! Reading the log, by pages.
//! Invariant: every page is read by an index, newest first; the next page begins
//! below the last `seq` of this one, so entries written meanwhile move nothing.

use super::{Entry, chain};
use crate::{
    clock::UnixMicros,
    db::{Db, Error, Query, query},
};

/// Entries on one page.
pub const LIST_MAX: i64 = 200;

/// Which entries; what is `None` does not matter.
#[derive(Clone, Debug)]
pub struct Filter {
    pub subject: Option<String>,
    pub actor: Option<String>,
    pub action: Option<String>,
    pub from: Option<UnixMicros>,
    pub until: Option<UnixMicros>,
    /// Only entries before this `seq`: the last of the page before.
    pub before: Option<i64>,
    /// At most [`LIST_MAX`].
    pub limit: i64,
}

impl Default for Filter {
    fn default() -> Self {
        Self {
            subject: None,
            actor: None,
            action: None,
            from: None,
            until: None,
            before: None,
            limit: LIST_MAX,
        }
    }
}

pub(super) async fn list(db: &Db, filter: &Filter) -> Result<Vec<Entry>, Error> {
    let rows = statement(filter)
        .bind(filter.subject.clone())
        .bind(filter.actor.clone())
        .bind(filter.action.clone())
        .bind(filter.from)
        .bind(filter.until)
        .bind(filter.before.unwrap_or(i64::MAX))
        .bind(filter.limit.clamp(1, LIST_MAX))
        .fetch_all(db)
        .await?;
    rows.iter()
        .map(|row| Ok(chain::stored(row)?.entry))
        .collect()
}

/// Four texts, because `$1 IS NULL OR subject = $1` alone would let no index be used.
fn statement(filter: &Filter) -> Query {
    if filter.subject.is_some() {
        query(chain::columns!(
            "WHERE subject = $1 AND ($2 IS NULL OR actor = $2) AND ($3 IS NULL OR action = $3)
               AND ($4 IS NULL OR at >= $4) AND ($5 IS NULL OR at < $5) AND seq < $6
             ORDER BY seq DESC LIMIT $7"
        ))
    } else if filter.actor.is_some() {
        query(chain::columns!(
            "WHERE ($1 IS NULL OR subject = $1) AND actor = $2 AND ($3 IS NULL OR action = $3)
               AND ($4 IS NULL OR at >= $4) AND ($5 IS NULL OR at < $5) AND seq < $6
             ORDER BY seq DESC LIMIT $7"
        ))
    } else if filter.action.is_some() {
        query(chain::columns!(
            "WHERE ($1 IS NULL OR subject = $1) AND ($2 IS NULL OR actor = $2) AND action = $3
               AND ($4 IS NULL OR at >= $4) AND ($5 IS NULL OR at < $5) AND seq < $6
             ORDER BY seq DESC LIMIT $7"
        ))
    } else {
        query(chain::columns!(
            "WHERE ($1 IS NULL OR subject = $1) AND ($2 IS NULL OR actor = $2)
               AND ($3 IS NULL OR action = $3)
               AND ($4 IS NULL OR at >= $4) AND ($5 IS NULL OR at < $5) AND seq < $6
             ORDER BY seq DESC LIMIT $7"
        ))
    }
}
