//! How long a call may take, and what the calls made for it take over from it.
//! Invariant: a deadline only ever shrinks from hop to hop (gRPC over HTTP2,
//! `Timeout`); the user's own token travels on, to be verified again.
//! Refuses to guess at a `grpc-timeout` that isn't one: it counts as absent.

use std::{future::Future, time::Duration};

use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use tokio::time::Instant;

pub(crate) const GRPC_TIMEOUT: &str = "grpc-timeout";
/// Digits that the protocol allows.
const DIGITS_MAX: usize = 8;

/// What a call hands on to the calls that are made for it.
#[derive(Clone, Default)]
pub struct Inherited {
    pub(crate) request_id: Option<HeaderValue>,
    pub(crate) traceparent: Option<HeaderValue>,
    pub(crate) authorization: Option<HeaderValue>,
    pub(crate) deadline: Option<Instant>,
}

tokio::task_local! {
    static CURRENT: Inherited;
}

impl Inherited {
    /// Of a call with these headers that must be answered by `deadline`.
    pub(crate) fn new(headers: &HeaderMap, request_id: &str, deadline: Instant) -> Self {
        let traceparent = crate::telemetry::trace_id(headers)
            .and_then(|_| headers.get("traceparent"))
            .cloned();
        let mut authorization = headers.get(AUTHORIZATION).cloned();
        if let Some(value) = &mut authorization {
            value.set_sensitive(true);
        }
        Self {
            request_id: HeaderValue::from_str(request_id).ok(),
            traceparent,
            authorization,
            deadline: Some(deadline),
        }
    }

    /// What the call that this task answers hands on; nothing outside of one. A
    /// handler that spawns a task takes it along with [`Self::scope`].
    pub fn current() -> Self {
        CURRENT.try_with(Self::clone).unwrap_or_default()
    }

    /// Answers a call: all calls made in `answering` inherit from it.
    pub async fn scope<F: Future>(self, answering: F) -> F::Output {
        CURRENT.scope(self, answering).await
    }
}

/// The time a caller gives.
pub(crate) fn given(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(GRPC_TIMEOUT)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let plain = digits.bytes().all(|b| b.is_ascii_digit());
    if !plain || !(1..=DIGITS_MAX).contains(&digits.len()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

/// The value that gives this time: rounded down, in the finest unit that fits.
pub(crate) fn give(time: Duration) -> HeaderValue {
    const NUMBER_MAX: u128 = 99_999_999;
    let text = if time.as_micros() <= NUMBER_MAX {
        format!("{}u", time.as_micros())
    } else if time.as_millis() <= NUMBER_MAX {
        format!("{}m", time.as_millis())
    } else {
        format!("{}S", u128::from(time.as_secs()).min(NUMBER_MAX))
    };
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("0u"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_strictly() {
        let check = |text: &str, expected: Option<Duration>| {
            let mut headers = HeaderMap::new();
            headers.insert(GRPC_TIMEOUT, text.parse().unwrap());
            assert_eq!(given(&headers), expected, "{text}");
        };
        check("1H", Some(Duration::from_secs(3600)));
        check("2M", Some(Duration::from_secs(120)));
        check("3S", Some(Duration::from_secs(3)));
        check("250m", Some(Duration::from_millis(250)));
        check("99999999u", Some(Duration::from_micros(99_999_999)));
        check("0n", Some(Duration::ZERO));
        for wrong in [
            "",
            "1",
            "S",
            "1s",
            "-1S",
            "+1S",
            "1.5S",
            "123456789S",
            "1 S",
            "é",
        ] {
            if let Ok(value) = HeaderValue::from_str(wrong) {
                let mut headers = HeaderMap::new();
                headers.insert(GRPC_TIMEOUT, value);
                assert_eq!(given(&headers), None, "{wrong}");
            }
        }
        assert_eq!(given(&HeaderMap::new()), None);
    }

    proptest::proptest! {
        #[test]
        fn what_is_given_is_never_more(micros in 0_u64..u64::MAX / 2) {
            let time = Duration::from_micros(micros);
            let mut headers = HeaderMap::new();
            headers.insert(GRPC_TIMEOUT, give(time));
            let read = given(&headers).unwrap();
            proptest::prop_assert!(read <= time);
            if micros > 0 && micros < 99_999_999_000 {
                proptest::prop_assert!(time - read < Duration::from_millis(1));
            }
        }
    }
}
