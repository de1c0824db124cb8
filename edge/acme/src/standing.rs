//! Where a name stands, from what is on disk and the time. Reads neither.

use time::{Duration, OffsetDateTime};

use crate::files::Record;
use crate::schedule::Validity;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    InForce {
        not_after: OffsetDateTime,
        renew_at: OffsetDateTime,
    },
    /// Due, but the last tries failed.
    Waiting {
        failures: u32,
        retry_at: OffsetDateTime,
    },
    Due(Due),
    /// What is on disk cannot be read; nothing is ordered over it.
    Unknown(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) why: &'static str,
    /// In a row, so far.
    pub(crate) failures: u32,
    /// Of the certificate in force.
    pub(crate) lifetime: Option<Duration>,
}

/// What is on disk for a name.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// None where there is no pair that can be served.
    pub(crate) validity: Option<Validity>,
    pub(crate) record: Option<Record>,
}

impl Found {
    /// `not_before` is the earliest time for an order, whatever the record says.
    pub(crate) fn standing(
        &self,
        directory: &str,
        jitter: f64,
        not_before: OffsetDateTime,
        now: OffsetDateTime,
    ) -> Standing {
        let record = self.record.as_ref();
        let ours = record.filter(|record| record.directory == directory);
        let why = match &self.validity {
            None => "there is none that can be served",
            // A test directory's certificate must not stay when the real one is configured.
            Some(_) if record.is_some() && ours.is_none() => {
                "the last order went to another directory"
            }
            Some(_) if ours.is_some_and(|record| !record.issued) => "the last order failed",
            Some(validity) => {
                let renew_at = validity.renew_at(jitter);
                if now < renew_at {
                    return Standing::InForce {
                        not_after: validity.not_after,
                        renew_at,
                    };
                }
                "it is time to renew"
            }
        };
        let failures = ours.map_or(0, |record| record.failures);
        let recorded = ours.and_then(|it| OffsetDateTime::from_unix_timestamp(it.retry_at).ok());
        let retry_at = recorded.map_or(not_before, |recorded| recorded.max(not_before));
        if now < retry_at {
            return Standing::Waiting { failures, retry_at };
        }
        Standing::Due(Due {
            why,
            failures,
            lifetime: self.validity.map(|validity| validity.lifetime()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIRECTORY: &str = "https://acme.test/directory";
    const EPOCH: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    fn day(day: i64) -> OffsetDateTime {
        EPOCH + Duration::days(day)
    }

    /// A certificate for ninety days from day 0.
    fn found(record: Option<Record>) -> Found {
        let validity = Validity {
            not_before: day(0),
            not_after: day(90),
        };
        Found {
            validity: Some(validity),
            record,
        }
    }

    fn record(directory: &str, issued: bool, failures: u32, retry_day: i64) -> Record {
        Record {
            directory: directory.into(),
            issued,
            failures,
            retry_at: day(retry_day).unix_timestamp(),
        }
    }

    fn on(found: &Found, now: i64) -> Standing {
        found.standing(DIRECTORY, 0.0, EPOCH, day(now))
    }

    #[track_caller]
    fn assert_due(standing: &Standing, wanted: &str, wanted_failures: u32) {
        let Standing::Due(Due { why, failures, .. }) = standing else {
            panic!("not due: {standing:?}");
        };
        assert!(why.contains(wanted), "{why}");
        assert_eq!(*failures, wanted_failures);
    }

    #[test]
    fn a_certificate_is_in_force_until_two_thirds_of_its_life() {
        // With or without a record: somebody else's certificate is taken over when it is due.
        for record in [None, Some(record(DIRECTORY, true, 0, 0))] {
            let found = found(record);
            let in_force = Standing::InForce {
                not_after: day(90),
                renew_at: day(60),
            };
            assert_eq!(on(&found, 0), in_force);
            assert_eq!(on(&found, 59), in_force);
            assert_due(&on(&found, 60), "renew", 0);
            assert_due(&on(&found, 91), "renew", 0);
        }
        assert_due(&on(&Found::default(), 1), "none", 0);
    }

    #[test]
    fn failures_are_waited_for_and_then_tried_again() {
        let failed = found(Some(record(DIRECTORY, false, 3, 62)));
        let waiting = Standing::Waiting {
            failures: 3,
            retry_at: day(62),
        };
        assert_eq!(on(&failed, 61), waiting);
        assert_due(&on(&failed, 62), "failed", 3);
        let missing = Found {
            validity: None,
            ..failed
        };
        assert_eq!(on(&missing, 61), waiting);
        assert_due(&on(&missing, 62), "none", 3);
    }

    #[test]
    fn what_could_not_be_recorded_is_waited_for_as_well() {
        let standing = found(None).standing(DIRECTORY, 0.0, day(70), day(65));
        let waiting = Standing::Waiting {
            failures: 0,
            retry_at: day(70),
        };
        assert_eq!(standing, waiting);
        // But it does not put a certificate out of force.
        let standing = found(None).standing(DIRECTORY, 0.0, day(70), day(10));
        assert!(matches!(standing, Standing::InForce { .. }));
    }

    #[test]
    fn another_directory_is_asked_at_once() {
        let other = "https://staging.test/directory";
        for issued in [true, false] {
            let found = found(Some(record(other, issued, 5, 80)));
            assert_due(&on(&found, 1), "another directory", 0);
        }
    }
}
