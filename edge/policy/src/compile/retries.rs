//! Another try after one that failed: how often, why, which methods, and at whose cost.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::matches::{METHODS, method};
use super::routes::TIMEOUT_BOUNDS;
use super::{Compiler, values};
use crate::codes;
use crate::diagnostic::{Fault, shown};
use crate::document::{RetriesDoc, RetryOnDoc, Settings};
use crate::field::{At, Either, Field, List, items};
use crate::model::{Retries, RetryOn};

/// Each further try multiplies the load on what is failing already.
const ATTEMPTS_BOUNDS: RangeInclusive<u32> = 1..=5;
const ATTEMPTS: u32 = 1;
/// Failures that come at once, and after which the endpoint is not busy with the request any more.
const ON: [RetryOn; 4] = [
    RetryOn::ConnectFailure,
    RetryOn::Reset,
    RetryOn::BadGateway,
    RetryOn::Unavailable,
];
/// Envoy's, as the budget below.
const BACKOFF: Duration = Duration::from_millis(25);
const BACKOFF_BOUNDS: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(10);
const BUDGET_PERCENT: u32 = 20;
const PERCENT_BOUNDS: RangeInclusive<u32> = 1..=100;

impl Compiler<'_> {
    pub(super) fn retries(&mut self, settings: &Settings<'_>) -> Option<Retries> {
        let at = settings.retries.given()?;
        let doc = self.unless("off", at)?;
        Some(Retries {
            attempts: self.number(&doc.attempts, ATTEMPTS, ATTEMPTS_BOUNDS),
            on: self.causes(&doc.on, at),
            methods: self.repeatable(&doc.methods, at),
            per_try_timeout: self.per_try_timeout(doc, settings),
            backoff: self.duration(&doc.backoff, BACKOFF, BACKOFF_BOUNDS),
            budget_percent: self.budget(&doc.budget_percent),
        })
    }

    fn causes(&mut self, list: &List<RetryOnDoc>, owner: &At<Either<RetriesDoc>>) -> Vec<RetryOn> {
        if list.is_absent() {
            return ON.to_vec();
        }
        self.required_list(list, owner.mark, "map of `retries`", "on");
        let mut causes = Vec::new();
        for item in items(list) {
            let cause = match item.value {
                RetryOnDoc::ConnectFailure => RetryOn::ConnectFailure,
                RetryOnDoc::Reset => RetryOn::Reset,
                RetryOnDoc::Timeout => RetryOn::Timeout,
                RetryOnDoc::BadGateway => RetryOn::BadGateway,
                RetryOnDoc::Unavailable => RetryOn::Unavailable,
                RetryOnDoc::GatewayTimeout => RetryOn::GatewayTimeout,
            };
            if causes.contains(&cause) {
                let message = "the same cause is listed twice";
                self.report
                    .push(item.mark, Fault::new(codes::REPEATED, message));
            } else {
                causes.push(cause);
            }
        }
        causes
    }

    fn repeatable(
        &mut self,
        list: &List<String>,
        owner: &At<Either<RetriesDoc>>,
    ) -> Vec<http::Method> {
        if list.is_absent() {
            return Vec::new();
        }
        self.required_list(list, owner.mark, "map of `retries`", "methods");
        self.texts(list, METHODS.len(), |text| method(text).map(drop))
            .iter()
            .filter_map(|name| method(name).ok())
            .collect()
    }

    fn per_try_timeout(&mut self, doc: &RetriesDoc, settings: &Settings<'_>) -> Option<Duration> {
        let limit = self.optional_duration(&doc.per_try_timeout, TIMEOUT_BOUNDS)?;
        let (Some(written), Some(whole)) = (
            doc.per_try_timeout.given(),
            settings.request_timeout.given(),
        ) else {
            return Some(limit);
        };
        if values::duration(&whole.value).is_ok_and(|whole| whole < limit) {
            let message = format!(
                "`per_try_timeout` of {} is longer than the `request_timeout` of {}",
                shown(&written.value),
                shown(&whole.value)
            );
            let fault = Fault::new(codes::TRY_TIMEOUT, message);
            self.report.push(
                written.mark,
                fault.hint("all tries together have the time of the request"),
            );
        }
        Some(limit)
    }

    /// A request has one retry under way at most, so all of them is no bound.
    fn budget(&mut self, field: &Field<u64>) -> Option<u32> {
        let percent = self.number(field, BUDGET_PERCENT, PERCENT_BOUNDS);
        (percent < *PERCENT_BOUNDS.end()).then_some(percent)
    }
}
