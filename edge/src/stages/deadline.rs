//! When a request must have ended: the earlier of what its client says and what its route allows.
//!
//! gRPC says it in `grpc-timeout` (PROTOCOL-HTTP2, "Requests"), Connect in `connect-timeout-ms`
//! ("Timeouts"). What is no such value is refused, as by Connect's own servers: a call that was to
//! end in a second must not run for ever because of a letter.

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use palisade_policy::model::Route;
use palisade_translate::Dialect;
use pingora_http::RequestHeader;

use crate::rejection::Rejection;

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const CONNECT_TIMEOUT: HeaderName = HeaderName::from_static("connect-timeout-ms");

/// Digits of a value, by the two specifications.
const GRPC_DIGITS_MAX: usize = 8;
const CONNECT_DIGITS_MAX: usize = 10;

/// The largest value of eight digits.
const GRPC_VALUE_MAX: u128 = 99_999_999;

/// How long a request may take, from the end of its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    pub length: Duration,
    /// It is the client's own: whoever is too slow for it has not failed.
    pub by_client: bool,
}

/// Of a request on this route; none where neither has a bound.
pub fn of(head: &RequestHeader, route: &Route) -> Result<Option<Deadline>, Rejection> {
    let asked = match is_call(head, route) {
        true => asked(head)?,
        false => None,
    };
    let deadline = |length, by_client| Deadline { length, by_client };
    Ok(match (asked, route.request_timeout) {
        (Some(asked), Some(allowed)) if allowed <= asked => Some(deadline(allowed, false)),
        (Some(asked), _) => Some(deadline(asked, true)),
        (None, allowed) => allowed.map(|allowed| deadline(allowed, false)),
    })
}

/// Whether it becomes a gRPC call: to other requests the fields mean nothing.
fn is_call(head: &RequestHeader, route: &Route) -> bool {
    if route.forward().is_some_and(|to| to.translate) {
        return true;
    }
    Dialect::of(&head.method, head.uri.query(), &head.headers) != Dialect::Http
}

fn asked(head: &RequestHeader) -> Result<Option<Duration>, Rejection> {
    let mut least: Option<Duration> = None;
    let mut take = |name: &HeaderName, parse: fn(&[u8]) -> Option<Duration>, fault| {
        for value in head.headers.get_all(name) {
            let length = parse(value.as_bytes()).ok_or(Rejection::Malformed(fault))?;
            least = Some(least.map_or(length, |least| least.min(length)));
        }
        Ok::<(), Rejection>(())
    };
    take(&GRPC_TIMEOUT, grpc, "the grpc-timeout field is malformed")?;
    let fault = "the connect-timeout-ms field is malformed";
    take(&CONNECT_TIMEOUT, connect, fault)?;
    Ok(least)
}

/// `10S`: at most eight digits and a unit.
fn grpc(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    let count = number(digits, GRPC_DIGITS_MAX)?;
    Some(match unit {
        b'H' => Duration::from_secs(count * 3_600),
        b'M' => Duration::from_secs(count * 60),
        b'S' => Duration::from_secs(count),
        b'm' => Duration::from_millis(count),
        b'u' => Duration::from_micros(count),
        b'n' => Duration::from_nanos(count),
        _ => return None,
    })
}

fn connect(value: &[u8]) -> Option<Duration> {
    number(value, CONNECT_DIGITS_MAX).map(Duration::from_millis)
}

fn number(digits: &[u8], most: usize) -> Option<u64> {
    let is_number = (1..=most).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits.get(..digits.len().min(most))?)
        .ok()
        .filter(|_| is_number)?
        .parse()
        .ok()
}

/// Tell a service how long its call may still take. Connect's field has been read: from here on
/// there is one.
pub fn tell(
    head: &mut RequestHeader,
    route: &Route,
    left: Option<Duration>,
) -> pingora_error::Result<()> {
    if !is_call(head, route) {
        return Ok(());
    }
    head.remove_header(&CONNECT_TIMEOUT);
    match left {
        Some(left) => head.insert_header(GRPC_TIMEOUT, field(left)),
        None => Ok(()),
    }
}

/// In the finest unit that it fits into, never more than there is.
fn field(left: Duration) -> HeaderValue {
    let nanos = left.as_nanos();
    let units = [
        (1, 'n'),
        (1_000, 'u'),
        (1_000_000, 'm'),
        (1_000_000_000, 'S'),
        (60_000_000_000, 'M'),
    ];
    let fits = units
        .iter()
        .find(|(length, _)| nanos / length <= GRPC_VALUE_MAX);
    let text = match fits {
        Some((length, unit)) => format!("{}{unit}", nanos / length),
        None => format!("{GRPC_VALUE_MAX}M"),
    };
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("0n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_digits_and_a_unit() {
        for (text, millis) in [
            ("1H", Some(3_600_000)),
            ("2M", Some(120_000)),
            ("3S", Some(3_000)),
            ("4m", Some(4)),
            ("5000u", Some(5)),
            ("6000000n", Some(6)),
            ("0n", Some(0)),
            ("99999999H", Some(99_999_999 * 3_600_000)),
            ("100000000S", None),
            ("", None),
            ("S", None),
            ("1", None),
            ("1s", None),
            ("-1S", None),
            ("+1S", None),
            ("1 S", None),
            ("1.5S", None),
        ] {
            let length = millis.map(Duration::from_millis);
            assert_eq!(grpc(text.as_bytes()), length, "{text}");
        }
        for (text, millis) in [
            ("0", Some(0)),
            ("1500", Some(1_500)),
            ("9999999999", Some(9_999_999_999)),
            ("10000000000", None),
            ("", None),
            ("1s", None),
            ("-1", None),
            ("1e3", None),
        ] {
            let length = millis.map(Duration::from_millis);
            assert_eq!(connect(text.as_bytes()), length, "{text}");
        }
    }

    #[test]
    fn what_is_told_is_what_is_left_in_eight_digits() {
        for (left, told) in [
            (Duration::ZERO, "0n"),
            (Duration::from_nanos(99_999_999), "99999999n"),
            (Duration::from_millis(100), "100000u"),
            (Duration::from_secs(30), "30000000u"),
            (Duration::from_micros(100_000_001), "100000m"),
            (Duration::from_secs(100_000), "100000S"),
            (Duration::from_secs(200_000_000), "3333333M"),
            (Duration::MAX, "99999999M"),
        ] {
            let value = field(left);
            assert_eq!(value, told, "{left:?}");
            let read = grpc(value.as_bytes()).unwrap();
            assert!(read <= left, "{left:?}");
        }
    }
}
