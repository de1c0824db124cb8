//! Forgets what has ended: exports, keys, revocations.
//! Invariant: only what nobody can use any more goes.

use std::time::Duration;

use core_platform::jobs::{Failure, Job, JobContext};
use tonic::async_trait;

use crate::store::{api_keys, exports, revocations};

/// Ended keys are kept for so long, for those who look where one went.
const API_KEYS_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// Beyond its last token, for clocks that differ.
const REVOCATIONS_KEPT: Duration = Duration::from_secs(3600);

/// The job.
pub(crate) struct Upkeep;

impl Upkeep {
    pub(crate) const KIND: &'static str = "identity.upkeep";
    pub(crate) const SCHEDULE: &'static str = "27 * * * *";
}

#[async_trait]
impl Job for Upkeep {
    async fn run(&self, context: &JobContext) -> Result<(), Failure> {
        let now = context.now;
        let mut tx = context.begin().await?;
        exports::forget(&mut tx, now).await?;
        api_keys::forget(&mut tx, now - API_KEYS_KEPT).await?;
        revocations::forget(&mut tx, now - REVOCATIONS_KEPT).await?;
        tx.commit().await?;
        Ok(())
    }
}
