//! A broker in a database of its own, for one machine or a few: tables `bus_*`.
//! Invariant: an event and its delivery to every known consumer are one commit; a
//! delivery's row goes when it is settled under the lease it was handed out with.
//! Refuses no process: any number may share the database; those of one wake each other.

use std::{sync::Arc, time::Duration};

use tokio::sync::Notify;
use uuid::Uuid;

use super::{Delivery, Error, Receipt, Verdict};
use crate::{
    clock::{self, UnixMicros},
    db::{self, Db, Migration, Tx, query},
    events::{Settings, outbox::Outgoing},
};

/// Looks follow each other at the shortest after an event and slow down to the longest:
/// that is what an event of another process waits for.
const LOOK_SHORTEST: Duration = Duration::from_millis(10);
const LOOK_LONGEST: Duration = Duration::from_millis(250);
/// Events deleted by one transaction, with their deliveries.
const SWEEP_MAX: i64 = 500;

const MIGRATIONS: [Migration; 1] = [Migration {
    version: 1,
    name: "broker",
    up: include_str!("../../../migrations/broker/0001_broker.up.sql"),
    down: include_str!("../../../migrations/broker/0001_broker.down.sql"),
}];

/// The broker; clones share its database and wake each other's consumers.
#[derive(Clone)]
pub struct Embedded {
    db: Db,
    lease: Duration,
    published: Arc<Notify>,
}

/// One consumer in one domain.
pub struct Subscription {
    bus: Embedded,
    /// `<consumer>/<domain>`
    key: String,
    look: Duration,
}

impl Embedded {
    /// On the database `events`, which is brought to the newest version.
    ///
    /// # Errors
    /// See [`db::Error`].
    pub async fn open(db: Db, settings: &Settings) -> Result<Self, db::Error> {
        db.migrate(&MIGRATIONS, None).await?;
        Ok(Self {
            db,
            lease: settings.lease,
            published: Arc::new(Notify::new()),
        })
    }

    pub(super) async fn ping(&self) -> Result<(), Error> {
        Ok(self.db.ping().await?)
    }

    pub(super) async fn publish(&self, events: &[Outgoing], now: UnixMicros) -> Result<(), Error> {
        let mut tx = self.db.begin().await?;
        query("SELECT id FROM bus_gate {for_share}")
            .fetch_one(&mut tx)
            .await?;
        for event in events {
            publish_one(&mut tx, event, now).await?;
        }
        tx.commit().await?;
        self.published.notify_waiters();
        Ok(())
    }

    pub(super) async fn subscribe(
        &self,
        consumer: &str,
        domain: &str,
        types: Vec<String>,
    ) -> Result<Subscription, Error> {
        let key = format!("{consumer}/{domain}");
        let mut tx = self.db.begin().await?;
        query("SELECT id FROM bus_gate {for_update}")
            .fetch_one(&mut tx)
            .await?;
        let known = query("SELECT 1 FROM bus_subscriptions WHERE consumer = $1 LIMIT 1")
            .bind(&key)
            .fetch_optional(&mut tx)
            .await?;
        if known.is_none() {
            query(
                "INSERT INTO bus_deliveries (consumer, seq, deliveries, free_at)
                 SELECT CAST($1 AS TEXT), seq, 0, published_at FROM bus_log WHERE type {any_text:$2}",
            )
            .bind(&key)
            .bind(types.clone())
            .execute(&mut tx)
            .await?;
        }
        query("DELETE FROM bus_subscriptions WHERE consumer = $1")
            .bind(&key)
            .execute(&mut tx)
            .await?;
        for kind in &types {
            query("INSERT INTO bus_subscriptions (consumer, type) VALUES ($1, $2)")
                .bind(&key)
                .bind(kind)
                .execute(&mut tx)
                .await?;
        }
        tx.commit().await?;
        Ok(Subscription {
            bus: self.clone(),
            key,
            look: LOOK_SHORTEST,
        })
    }

    pub(super) async fn sweep(&self, before: UnixMicros) -> Result<bool, Error> {
        let mut tx = self.db.begin().await?;
        let swept = query(
            "DELETE FROM bus_log WHERE seq IN (
                 SELECT seq FROM bus_log WHERE published_at < $1
                 ORDER BY published_at LIMIT $2
             )",
        )
        .bind(before)
        .bind(SWEEP_MAX)
        .execute(&mut tx)
        .await?;
        tx.commit().await?;
        Ok(i64::try_from(swept).is_ok_and(|swept| swept == SWEEP_MAX))
    }
}

async fn publish_one(tx: &mut Tx, event: &Outgoing, now: UnixMicros) -> Result<(), db::Error> {
    let logged = query(
        "INSERT INTO bus_log (event_id, type, published_at, body) VALUES ($1, $2, $3, $4)
         ON CONFLICT (event_id) DO NOTHING RETURNING seq",
    )
    .bind(event.id)
    .bind(&event.kind)
    .bind(now)
    .bind(&event.body)
    .fetch_optional(&mut *tx)
    .await?;
    let Some(logged) = logged else {
        return Ok(());
    };
    query(
        "INSERT INTO bus_deliveries (consumer, seq, deliveries, free_at)
         SELECT consumer, seq, 0, published_at
         FROM bus_log JOIN bus_subscriptions ON bus_subscriptions.type = bus_log.type
         WHERE seq = $1",
    )
    .bind(logged.get::<i64>(0)?)
    .execute(tx)
    .await?;
    Ok(())
}

impl Subscription {
    pub(super) async fn next(&mut self, max: usize) -> Result<Vec<Delivery>, Error> {
        let bus = self.bus.clone();
        let published = bus.published.notified();
        let claimed = self.claim(max).await?;
        if !claimed.is_empty() {
            self.look = LOOK_SHORTEST;
            return Ok(claimed);
        }
        tokio::select! {
            () = published => self.look = LOOK_SHORTEST,
            () = tokio::time::sleep(self.look) => self.look = (self.look * 2).min(LOOK_LONGEST),
        }
        self.claim(max).await
    }

    async fn claim(&self, max: usize) -> Result<Vec<Delivery>, Error> {
        let (db, now, lease) = (&self.bus.db, clock::now(), Uuid::new_v4());
        // Without asking for SQLite's write lock while there is nothing to do.
        let free =
            query("SELECT seq FROM bus_deliveries WHERE consumer = $1 AND free_at <= $2 LIMIT 1");
        let free = free.bind(&self.key).bind(now);
        if free.fetch_optional(db).await?.is_none() {
            return Ok(Vec::new());
        }
        let mut tx = db.begin().await?;
        query(
            "WITH picked AS MATERIALIZED (
                 SELECT seq FROM bus_deliveries WHERE consumer = $1 AND free_at <= $2
                 ORDER BY seq LIMIT $3 {skip_locked}
             )
             UPDATE bus_deliveries SET free_at = $4, lease = $5, deliveries = deliveries + 1
             WHERE consumer = $1 AND seq IN (SELECT seq FROM picked)",
        )
        .bind(&self.key)
        .bind(now)
        .bind(i64::try_from(max).unwrap_or(i64::MAX))
        .bind(now + self.bus.lease)
        .bind(lease)
        .execute(&mut tx)
        .await?;
        let rows = query(
            "SELECT bus_deliveries.seq, deliveries, body
             FROM bus_deliveries JOIN bus_log ON bus_log.seq = bus_deliveries.seq
             WHERE lease = $1 ORDER BY bus_deliveries.seq",
        )
        .bind(lease)
        .fetch_all(&mut tx)
        .await?;
        tx.commit().await?;
        let deliveries = rows.iter().map(|row| {
            let seq = row.get(0)?;
            Ok(Delivery {
                body: row.get(2)?,
                deliveries: u32::try_from(row.get::<i64>(1)?).unwrap_or(u32::MAX),
                receipt: Receipt::Embedded { seq, lease },
            })
        });
        deliveries.collect()
    }

    pub(super) async fn settle(&self, settled: Vec<(Delivery, Verdict)>) -> Result<(), Error> {
        let now = clock::now();
        let mut tx = self.bus.db.begin().await?;
        for (delivery, verdict) in settled {
            let Receipt::Embedded { seq, lease } = delivery.receipt else {
                continue;
            };
            let settle = match verdict {
                Verdict::Done | Verdict::Drop => query(
                    "DELETE FROM bus_deliveries
                     WHERE consumer = $1 AND seq = $2 AND lease = $3",
                )
                .bind(&self.key)
                .bind(seq)
                .bind(lease),
                Verdict::Again(wait) => query(
                    "UPDATE bus_deliveries SET free_at = $4, lease = NULL
                     WHERE consumer = $1 AND seq = $2 AND lease = $3",
                )
                .bind(&self.key)
                .bind(seq)
                .bind(lease)
                .bind(now + wait),
            };
            settle.execute(&mut tx).await?;
        }
        Ok(tx.commit().await?)
    }

    pub(super) async fn pending(&self) -> Result<i64, Error> {
        let row = query("SELECT COUNT(*) FROM bus_deliveries WHERE consumer = $1")
            .bind(&self.key)
            .fetch_one(&self.bus.db)
            .await?;
        Ok(row.get(0)?)
    }
}
