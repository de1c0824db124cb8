//! The job that walks the audit log once a day.
//! Invariant: a log that was touched is a failed job, an error in the log and
//! `audit_log_intact 0` until a later walk finds all in order; a process also keeps the
//! head of its last walk, against which a log shows that was cut off meanwhile.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tonic::async_trait;

use super::{Anchor, Audit};
use crate::{
    db,
    jobs::{CronError, Failure, Job, JobContext, Jobs, Options},
    metrics::{GaugesOf, Metrics},
};

const KIND: &str = "platform.verify-audit-log";
/// When least is going on.
const DAILY: &str = "17 3 * * *";
/// Some hundred million entries.
const TIMEOUT: Duration = Duration::from_secs(3600);

struct Watch {
    audit: Audit,
    service: &'static str,
    /// Absent until this process has walked.
    intact: GaugesOf,
    last: Mutex<Option<Anchor>>,
}

/// Adds the job to those of `service`.
///
/// # Errors
/// Never: its pattern is tested.
pub fn register(
    jobs: &mut Jobs,
    audit: Audit,
    service: &'static str,
    metrics: &Metrics,
) -> Result<(), CronError> {
    let options = Options {
        parallel_max: 1,
        timeout: TIMEOUT,
    };
    let watch = Watch {
        audit,
        service,
        intact: metrics.audit_log_intact.clone(),
        last: Mutex::default(),
    };
    jobs.add(KIND, options, watch);
    jobs.schedule(KIND, DAILY)
}

impl Watch {
    fn last(&self) -> std::sync::MutexGuard<'_, Option<Anchor>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn walk(&self, db: &db::Db) -> Result<(), Failure> {
        let since = self.last().clone();
        let report = self.audit.verify(db, since.as_ref()).await;
        let report = report.map_err(Failure::retry)?;
        let intact = self.intact.with_label_values(&[self.service]);
        intact.set(i64::from(report.fault.is_none()));
        if let Some(fault) = report.fault {
            tracing::error!(service = self.service, %fault, "the audit log was touched");
            return Err(Failure::Permanent(fault.to_string()));
        }
        *self.last() = Some(report.head);
        Ok(())
    }
}

#[async_trait]
impl Job for Watch {
    async fn run(&self, context: &JobContext) -> Result<(), Failure> {
        self.walk(&context.db).await
    }
}

#[cfg(test)]
mod tests {
    use core_testing::Database;

    use super::*;
    use crate::{audit::tests::*, crypto::tests::fresh, db::query};

    #[tokio::test]
    async fn a_walk_says_whether_the_log_is_whole() {
        let at = Database::sqlite();
        let db = fresh(&at).await;
        let (audit, metrics) = (audit(&db).await, Metrics::new().unwrap());
        let mut jobs = Jobs::new().unwrap();
        register(&mut jobs, audit.clone(), "t", &metrics).unwrap();
        let watch = Watch {
            audit: audit.clone(),
            service: "t",
            intact: metrics.audit_log_intact.clone(),
            last: Mutex::default(),
        };
        let intact = || metrics.audit_log_intact.with_label_values(&["t"]).get();
        record(&audit, &db, 0..5).await;
        watch.walk(&db).await.unwrap();
        assert_eq!(intact(), 1);
        // The end is cut off and the head fits: only who remembers can tell.
        let mut tx = db.begin().await.unwrap();
        for cut in [
            "UPDATE audit_head SET seq = 4, hash = (SELECT hash FROM audit_log WHERE seq = 4)",
            "DELETE FROM audit_log WHERE seq = 5",
        ] {
            query(cut).execute(&mut tx).await.unwrap();
        }
        tx.commit().await.unwrap();
        assert!(audit.verify(&db, None).await.unwrap().fault.is_none());
        let found = watch.walk(&db).await.unwrap_err();
        assert!(matches!(found, Failure::Permanent(_)), "{found}");
        assert!(found.to_string().contains("ends at entry 4"), "{found}");
        assert_eq!(intact(), 0);
        // Another process has no such memory.
        *watch.last() = None;
        watch.walk(&db).await.unwrap();
        assert_eq!(intact(), 1);
    }
}
