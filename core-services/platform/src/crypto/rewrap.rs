//! After a rotation of the key ring: a job that wraps old data keys anew.
//! Invariant: it says when an older line of the ring is not needed any more, and
//! warns of keys whose line was taken out before.

use async_trait::async_trait;

use super::{Error, Vault};
use crate::{
    db::Db,
    jobs::{CronError, Failure, Job, JobContext, Jobs, Options},
};

const KIND: &str = "platform.rewrap-data-keys";
/// Nothing waits for it; a look that finds nothing costs an index read.
const HOURLY: &str = "37 * * * *";

struct Rewrap(Vault);

/// Adds the job to those of a service.
///
/// # Errors
/// Never: its pattern is tested.
pub fn register(jobs: &mut Jobs, vault: Vault) -> Result<(), CronError> {
    jobs.add(KIND, Options::default(), Rewrap(vault));
    jobs.schedule(KIND, HOURLY)
}

#[async_trait]
impl Job for Rewrap {
    async fn run(&self, context: &JobContext) -> Result<(), Failure> {
        rewrap(&self.0, &context.db).await.map_err(Failure::retry)
    }
}

async fn rewrap(vault: &Vault, db: &Db) -> Result<(), Error> {
    let moved = vault.rewrap(db).await?;
    let left = vault.wrapped_by_older(db).await?;
    if !left.is_empty() {
        tracing::warn!(
            moved,
            ?left,
            "data keys are wrapped by keys that the ring lacks"
        );
    } else if moved > 0 {
        tracing::info!(
            moved,
            "data keys wrapped anew; older lines of the key ring can go"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_job_is_scheduled() {
        let mut jobs = Jobs::new().unwrap();
        assert!(jobs.schedule(KIND, HOURLY).is_ok());
    }
}
