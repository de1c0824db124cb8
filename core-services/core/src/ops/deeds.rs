//! What operators change: dead letters and jobs.

use core_platform::{
    audit::{Actor, Audit},
    clock,
    db::Db,
    events::dead_letters::Which,
    ops::{EVENTS_MAX, Operator},
};

use super::{
    flags::{KeyRingFlags, LettersFlags, RetryFlags, WhichFlags},
    open,
};
use crate::{
    Failure,
    databases::Stores,
    offline::{block_on, print},
};

pub(super) fn replay(flags: &LettersFlags) -> Result<(), Failure> {
    let (stores, which) = (flags.stores.settings()?, which(&flags.which)?);
    block_on(async {
        let db = open(flags.service, &stores).await?;
        let audit = audit(&db, &flags.keyring, &stores).await?;
        let replayed = operator(&db, &audit).replay(&flags.consumer, which, clock::now());
        let count = replayed.await;
        db.close().await;
        print(format!("replaying: {}\n", count?).as_bytes())
    })
}

pub(super) fn purge(flags: &LettersFlags) -> Result<(), Failure> {
    let (stores, which) = (flags.stores.settings()?, which(&flags.which)?);
    block_on(async {
        let db = open(flags.service, &stores).await?;
        let audit = audit(&db, &flags.keyring, &stores).await?;
        let purged = operator(&db, &audit).purge(&flags.consumer, which, clock::now());
        let count = purged.await;
        db.close().await;
        print(format!("purged: {}\n", count?).as_bytes())
    })
}

pub(super) fn retry(flags: &RetryFlags) -> Result<(), Failure> {
    let stores = flags.stores.settings()?;
    block_on(async {
        let db = open(flags.service, &stores).await?;
        let audit = audit(&db, &flags.keyring, &stores).await?;
        let retried = operator(&db, &audit).retry_job(flags.id, clock::now());
        let retried = retried.await;
        db.close().await;
        retried?;
        print(format!("queued: {}\n", flags.id).as_bytes())
    })
}

fn operator<'a>(db: &'a Db, audit: &'a Audit) -> Operator<'a> {
    Operator {
        db,
        audit,
        actor: Actor::Operator,
    }
}

async fn audit(db: &Db, flags: &KeyRingFlags, stores: &Stores) -> anyhow::Result<Audit> {
    Ok(Audit::new(&flags.vault(db, stores, clock::now()).await?)?)
}

fn which(flags: &WhichFlags) -> Result<Which, Failure> {
    if flags.all {
        return Ok(Which::All);
    }
    if flags.events.len() > EVENTS_MAX {
        let count = flags.events.len();
        let text = format!("--event: {count} events\nhint: at most {EVENTS_MAX}, or --all");
        return Err(Failure::usage(anyhow::anyhow!(text)));
    }
    Ok(Which::Events(flags.events.clone()))
}
