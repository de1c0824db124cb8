//! `palisade-core ops`: what operators do by hand, on the databases themselves.
//! Invariant: each deed is in the audit log as an operator's; running services see it at
//! once, as they would another replica's. What is done is the platform's, as for the RPCs.
//! Refuses a database that no service has used: nothing is made or migrated here.

mod flags;
mod roles;
mod signing_keys;
mod rows;
mod lists;
mod deeds;
mod audit;

use anyhow::anyhow;
use core_platform::{db::Db, service::Definition};

pub(crate) use flags::OpsCommand;
use flags::{AuditCommand, DeadLettersCommand, JobsCommand, SagasCommand};

use crate::{Failure, databases::Stores, services::Service};

pub(crate) fn run(command: &OpsCommand) -> Result<(), Failure> {
    match command {
        OpsCommand::GrantRole(flags) => roles::grant(flags),
        OpsCommand::RotateSigningKey(flags) => signing_keys::rotate(flags),
        OpsCommand::DeadLetters(DeadLettersCommand::List(flags)) => lists::dead_letters(flags),
        OpsCommand::DeadLetters(DeadLettersCommand::Replay(flags)) => deeds::replay(flags),
        OpsCommand::DeadLetters(DeadLettersCommand::Purge(flags)) => deeds::purge(flags),
        OpsCommand::Jobs(JobsCommand::List(flags)) => lists::jobs(flags),
        OpsCommand::Jobs(JobsCommand::Retry(flags)) => deeds::retry(flags),
        OpsCommand::Sagas(SagasCommand::List(flags)) => lists::sagas(flags),
        OpsCommand::Audit(AuditCommand::Verify(flags)) => audit::verify(flags),
        OpsCommand::Status(flags) => lists::status(flags),
    }
}

/// A service's database, used before.
async fn open(service: Service, stores: &Stores) -> anyhow::Result<Db> {
    let Definition {
        name, migrations, ..
    } = service.definition();
    let location = stores.location(name);
    if location.is_empty(name).await? {
        return Err(anyhow!(
            "there is nothing of {name} in `{location}`\nhint: the same --data-dir or DATABASE_URL__{} as the service's",
            name.to_uppercase().replace('-', "_")
        ));
    }
    let db = Db::open(&location, name).await?;
    let steps = db.status(migrations).await?;
    if steps.iter().any(|step| !step.is_applied) {
        db.close().await;
        return Err(anyhow!(
            "the tables of {name} are not those of this version\nhint: palisade-core migrate {name}"
        ));
    }
    Ok(db)
}
