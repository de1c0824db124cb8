//! Schedules: cron patterns in UTC whose ticks become jobs.
//! Invariant: a tick becomes one job, whatever the number of replicas; the newest
//! tick stands for all that were missed.
//! Refuses to run what was due before a schedule was first seen.

use std::{collections::HashMap, time::Duration};

use chrono::{DateTime, Utc};
use croner::Cron;

use super::{NewJob, store};
use crate::{
    clock::UnixMicros,
    db::{Db, Error, query},
};

/// A tick that lies further ahead came of a clock that was wrong: to wait for it
/// would stop the schedule.
const AHEAD_MAX: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Debug, thiserror::Error)]
#[error("schedule of `{kind}`: `{pattern}` is no cron pattern: {source}")]
pub struct CronError {
    kind: String,
    pattern: String,
    source: croner::errors::CronError,
}

/// When jobs of one kind are due.
pub(super) struct Schedule {
    kind: String,
    cron: Cron,
}

impl Schedule {
    pub(super) fn parse(kind: &str, pattern: &str) -> Result<Self, CronError> {
        let cron = pattern.parse().map_err(|source| CronError {
            kind: kind.to_owned(),
            pattern: pattern.to_owned(),
            source,
        })?;
        Ok(Self {
            kind: kind.to_owned(),
            cron,
        })
    }

    /// The newest tick that is not after `now`. None before the first one ever.
    fn tick(&self, now: UnixMicros) -> Option<UnixMicros> {
        let now = DateTime::<Utc>::from_timestamp(now.seconds(), 0)?;
        let tick = self.cron.find_previous_occurrence(&now, true).ok()?;
        Some(UnixMicros(tick.timestamp_micros()))
    }
}

/// Enqueues what is due; returns how many jobs that made.
pub(super) async fn tick(db: &Db, schedules: &[Schedule], now: UnixMicros) -> Result<usize, Error> {
    let kinds: Vec<_> = schedules.iter().map(|each| each.kind.clone()).collect();
    let rows = query("SELECT kind, last_tick FROM job_schedules WHERE kind {any_text:$1}")
        .bind(kinds)
        .fetch_all(db)
        .await?;
    let mut known = HashMap::with_capacity(rows.len());
    for row in rows {
        known.insert(row.get::<String>(0)?, row.get::<UnixMicros>(1)?);
    }
    let mut added = 0;
    for schedule in schedules {
        let Some(tick) = schedule.tick(now) else {
            continue;
        };
        match known.get(&schedule.kind) {
            Some(last) if *last <= now + AHEAD_MAX => {
                if *last < tick && fire(db, schedule, tick, now).await? {
                    added += 1;
                }
            }
            _ => begin_at(db, schedule, tick, now).await?,
        }
    }
    Ok(added)
}

/// A schedule that is new, or whose last tick came of a wrong clock: counts from `tick` on.
async fn begin_at(
    db: &Db,
    schedule: &Schedule,
    tick: UnixMicros,
    now: UnixMicros,
) -> Result<(), Error> {
    let mut tx = db.begin().await?;
    query(
        "INSERT INTO job_schedules (kind, last_tick) VALUES ($1, $2)
         ON CONFLICT (kind) DO UPDATE SET last_tick = excluded.last_tick
         WHERE job_schedules.last_tick > $3",
    )
    .bind(&schedule.kind)
    .bind(tick)
    .bind(now + AHEAD_MAX)
    .execute(&mut tx)
    .await?;
    tx.commit().await
}

/// Makes the tick a job, unless another replica did or the previous one is unfinished;
/// in the latter case it is left for the next look.
async fn fire(
    db: &Db,
    schedule: &Schedule,
    tick: UnixMicros,
    now: UnixMicros,
) -> Result<bool, Error> {
    let mut tx = db.begin().await?;
    let moved = query("UPDATE job_schedules SET last_tick = $2 WHERE kind = $1 AND last_tick < $2")
        .bind(&schedule.kind)
        .bind(tick)
        .execute(&mut tx)
        .await?;
    if moved == 0 {
        return Ok(false);
    }
    let job = NewJob::scheduled(&schedule.kind);
    let (_, is_new) = store::insert(&mut tx, &job, now).await?;
    if is_new {
        tx.commit().await?;
    }
    Ok(is_new)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2027-01-15T08:00:00Z, a Friday.
    const EIGHT: UnixMicros = UnixMicros(1_800_000_000_000_000);

    #[test]
    fn ticks_are_whole_seconds_in_utc() {
        for (pattern, after_eight_ms, tick_s) in [
            ("0 * * * *", 0, 0),
            ("0 * * * *", 1, 0),
            ("0 * * * *", 3_599_999, 0),
            ("0 * * * *", 3_600_000, 3_600),
            ("*/15 * * * *", 901_500, 900),
            ("0 8 * * FRI", 7_200_000, 0),
            ("30 7 * * *", 0, -1_800),
        ] {
            let schedule = Schedule::parse("k", pattern).unwrap();
            let now = EIGHT + Duration::from_millis(after_eight_ms);
            let expected = UnixMicros(EIGHT.0 + tick_s * 1_000_000);
            assert_eq!(schedule.tick(now), Some(expected), "{pattern}");
        }
    }

    #[test]
    fn a_bad_pattern_is_named() {
        let Err(error) = Schedule::parse("k", "61 * * * *") else {
            panic!("accepted");
        };
        let said = error.to_string();
        assert!(said.starts_with("schedule of `k`: `61 * * * *`"), "{said}");
    }
}
