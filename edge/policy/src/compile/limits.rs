//! Rate limits: what is counted, for whom, and how much of it.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::{Compiler, Fingerprint, headers, routes, values};
use crate::codes;
use crate::diagnostic::{Fault, shown, suggestion};
use crate::document::{LimitDoc, LimitKeyDoc};
use crate::field::{At, Either};
use crate::model::{Limit, LimitKey};

/// A limit above a million each second limits nothing.
const REQUESTS_BOUNDS: RangeInclusive<u64> = 1..=1_000_000;
const PERIOD_BOUNDS: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(30 * 86_400);
const BURST_BOUNDS: RangeInclusive<u32> = 1..=1_000_000;
/// A burst that takes longer to come back is a quota of another kind, and would overflow
/// the limiter's 64 bits of nanoseconds some 500 times later.
const REFILL_MAX: Duration = Duration::from_secs(366 * 86_400);
const KEYS_MAX: u64 = 100_000;
/// Some 100 bytes each.
const KEYS_MAX_BOUNDS: RangeInclusive<u64> = 1..=10_000_000;

impl Compiler<'_> {
    pub(super) fn limit(&mut self, at: &At<LimitDoc>) -> Limit {
        let doc = &at.value;
        let name: Arc<str> = doc.name.given().map_or("", |name| &name.value).into();
        let key = self
            .required(&doc.key, at.mark, "limit", "key")
            .and_then(|key| self.limit_key(key));
        let key = key.unwrap_or(LimitKey::ClientAddress);
        let rate = self.required(&doc.rate, at.mark, "limit", "rate");
        let rate = rate.and_then(|rate| self.report.check(rate.mark, limit_rate(&rate.value)));
        let (requests, period) = rate.unwrap_or((1, Duration::from_secs(1)));
        let burst = self.number(&doc.burst, requests, BURST_BOUNDS);
        if let Some(written) = doc.burst.given()
            && (period / requests).saturating_mul(burst) > REFILL_MAX
        {
            let fault = Fault::new(
                codes::OUT_OF_RANGE,
                format!("a burst of `{burst}` at this rate takes more than a year to come back"),
            );
            self.report.push(written.mark, fault);
        }
        let keys_max = self.large_number(&doc.keys_max, KEYS_MAX, KEYS_MAX_BOUNDS);
        let mut fingerprint = Fingerprint::new("limit", &name);
        fingerprint
            .debug(&key)
            .debug(&requests)
            .debug(&period)
            .debug(&burst)
            .debug(&keys_max);
        Limit {
            origin: self.origin(&doc.name, at.mark),
            name,
            mode: routes::mode(&doc.mode),
            key,
            requests,
            period,
            burst,
            keys_max,
            fingerprint: fingerprint.finish(),
        }
    }

    fn limit_key(&mut self, at: &At<Either<LimitKeyDoc>>) -> Option<LimitKey> {
        const WORDS: [&str; 2] = ["client_address", "caller"];
        match &at.value {
            Either::Plain(word) if word == WORDS[0] => Some(LimitKey::ClientAddress),
            Either::Plain(word) if word == WORDS[1] => Some(LimitKey::Caller),
            Either::Plain(word) => {
                let message = format!(
                    "expected `client_address`, `caller`, a `header` or a `claim`, found {}",
                    shown(word)
                );
                let known = match word.as_str() {
                    "ip" | "client_ip" | "address" | "remote_addr" => {
                        Some("did you mean \"client_address\"?".to_owned())
                    }
                    "user" | "subject" | "sub" => Some("did you mean \"caller\"?".to_owned()),
                    _ => suggestion(word, WORDS),
                };
                let hint = known.unwrap_or_else(|| {
                    "write `{ header: x-api-key }` or `{ claim: tenant }`".to_owned()
                });
                self.report
                    .push(at.mark, Fault::new(codes::CHOICE, message).hint(hint));
                None
            }
            Either::Full(doc) => match (doc.header.given(), doc.claim.given()) {
                (Some(header), None) => self
                    .report
                    .check(header.mark, headers::readable_name(&header.value))
                    .map(LimitKey::Header),
                (None, Some(claim)) => {
                    self.report
                        .check(claim.mark, values::plain_text(&claim.value, "claim"))?;
                    Some(LimitKey::Claim(claim.value.clone()))
                }
                (Some(_), Some(_)) => {
                    self.report.push(
                        at.mark,
                        Fault::new(
                            codes::CHOICE,
                            "a limit counts by a `header` or by a `claim`, not by both",
                        ),
                    );
                    None
                }
                (None, None) => {
                    if doc.header.is_absent() && doc.claim.is_absent() {
                        self.missing(
                            at.mark,
                            "the key has neither a `header` nor a `claim`".to_owned(),
                        );
                    }
                    None
                }
            },
        }
    }
}

fn limit_rate(text: &str) -> Result<(u32, Duration), Fault> {
    let (requests, period) = values::rate(text)?;
    let out_of_range = |what: String| {
        Err(Fault::new(
            codes::OUT_OF_RANGE,
            format!("{}: {what}", shown(text)),
        ))
    };
    if !REQUESTS_BOUNDS.contains(&requests) {
        return out_of_range(format!(
            "`{requests}` requests are not within `{}` and `{}`",
            REQUESTS_BOUNDS.start(),
            REQUESTS_BOUNDS.end()
        ));
    }
    if !PERIOD_BOUNDS.contains(&period) {
        return out_of_range(format!(
            "the time is not within `{}` and `{}`",
            values::written(*PERIOD_BOUNDS.start()),
            values::written(*PERIOD_BOUNDS.end())
        ));
    }
    Ok((u32::try_from(requests).unwrap_or(u32::MAX), period))
}
