//! Tries dead letters again that an operator asked for.
//! Invariant: the letter itself is the queue, so a replay reaches the one consumer that
//! gave up, on every bus; effect, inbox mark and the letter's end are one transaction.
//! Refuses to go on for ever: with its tries used up the letter rests again.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{Consumer, Event, Events, Failure, inbox};
use crate::{
    clock,
    clock::UnixMicros,
    db::{self, Db, query},
    reason::shortened,
};

/// An operator waits; the look is one indexed read.
const LOOKED_EVERY: Duration = Duration::from_secs(1);

/// A letter that was taken for one try, which is counted already.
struct Taken {
    seq: i64,
    tries: i64,
    body: Vec<u8>,
}

pub(super) async fn run(events: Events, consumer: Arc<Consumer>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        match next(&events, &consumer).await {
            Ok(true) => {}
            Ok(false) => wait(&stop).await,
            Err(error) => {
                tracing::warn!(%error, consumer = consumer.name, "dead letters wait");
                wait(&stop).await;
            }
        }
    }
}

async fn wait(stop: &CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = tokio::time::sleep(LOOKED_EVERY) => {}
    }
}

/// Tries one letter; false if none is due.
async fn next(events: &Events, consumer: &Consumer) -> Result<bool, db::Error> {
    let now = clock::now();
    let until = now + events.settings.lease;
    let Some(letter) = take(&events.db, consumer.name, now, until).await? else {
        return Ok(false);
    };
    match apply(&events.db, consumer, &letter).await? {
        Ok(()) => tracing::info!(consumer = consumer.name, "a dead letter was handled"),
        Err(failure) => put_back(events, &letter, &failure).await?,
    }
    Ok(true)
}

async fn take(
    db: &Db,
    consumer: &str,
    now: UnixMicros,
    until: UnixMicros,
) -> Result<Option<Taken>, db::Error> {
    let due = query("SELECT seq FROM dead_letters WHERE consumer = $1 AND replay_at <= $2 LIMIT 1")
        .bind(consumer)
        .bind(now);
    if due.fetch_optional(db).await?.is_none() {
        return Ok(None);
    }
    let mut tx = db.begin().await?;
    let row = query(
        "WITH picked AS MATERIALIZED (
             SELECT seq FROM dead_letters WHERE consumer = $1 AND replay_at <= $2
             ORDER BY seq LIMIT 1 {skip_locked}
         )
         UPDATE dead_letters SET replay_at = $3, tries = tries + 1
         WHERE seq IN (SELECT seq FROM picked) RETURNING seq, tries, body",
    )
    .bind(consumer)
    .bind(now)
    .bind(until)
    .fetch_optional(&mut tx)
    .await?;
    let taken = row.map(|row| {
        Ok::<_, db::Error>(Taken {
            seq: row.get(0)?,
            tries: row.get(1)?,
            body: row.get(2)?,
        })
    });
    let taken = taken.transpose()?;
    tx.commit().await?;
    Ok(taken)
}

async fn apply(
    db: &Db,
    consumer: &Consumer,
    letter: &Taken,
) -> Result<Result<(), Failure>, db::Error> {
    let Ok(event) = Event::decode(&letter.body) else {
        return Err(db::Error::Corrupt("dead_letters.body"));
    };
    let mut tx = db.begin().await?;
    // Handled meanwhile by a late delivery: only the letter is left to go.
    if inbox::handle(&mut tx, consumer.name, event.id, clock::now()).await?
        && let Err(failure) = consumer.call(&mut tx, &event).await
    {
        return Ok(Err(failure));
    }
    query("DELETE FROM dead_letters WHERE seq = $1")
        .bind(letter.seq)
        .execute(&mut tx)
        .await?;
    tx.commit().await?;
    Ok(Ok(()))
}

async fn put_back(events: &Events, letter: &Taken, failure: &Failure) -> Result<(), db::Error> {
    let settings = &events.settings;
    let tries = u32::try_from(letter.tries).unwrap_or(u32::MAX);
    let again = match failure {
        Failure::Transient(_) if tries < settings.tries_max => {
            Some(clock::now() + settings.retry.after(tries))
        }
        _ => None,
    };
    let mut tx = events.db.begin().await?;
    query("UPDATE dead_letters SET replay_at = $2, error = $3 WHERE seq = $1")
        .bind(letter.seq)
        .bind(again)
        .bind(shortened(&failure.to_string()))
        .execute(&mut tx)
        .await?;
    tx.commit().await
}
