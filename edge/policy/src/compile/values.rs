//! Durations, sizes, rates, names and other small values, from text.
//!
//! A number that means a time or a size carries its unit: `timeout: 30` was read as
//! milliseconds by one program and seconds by another once too often.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::codes;
use crate::diagnostic::{Fault, shown};

/// As long as a DNS label; it ends up in metric labels and log lines.
const NAME_BYTES_MAX: usize = 63;
/// Free text such as a scope, a claim name or a header value.
pub(super) const TEXT_BYTES_MAX: usize = 4_096;

/// `30s`, `1h30m`, `250ms`.
pub(super) fn duration(text: &str) -> Result<Duration, Fault> {
    let fault = || {
        Fault::new(
            codes::DURATION,
            format!("{} is not a duration", shown(text)),
        )
    };
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let hint = format!(
            "write {} for seconds, or another of the units ms, s, m, h, d",
            shown(&format!("{text}s"))
        );
        return Err(Fault::new(codes::DURATION, format!("{} has no unit", shown(text))).hint(hint));
    }
    let mut rest = text;
    let mut millis = 0_u64;
    let mut smallest = u64::MAX;
    while !rest.is_empty() {
        let (number, after) = leading_number(rest).ok_or_else(fault)?;
        let unit_end = after
            .find(|c: char| !c.is_ascii_lowercase())
            .unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_end);
        let unit = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(fault().hint("units are ms, s, m, h, d, as in `30s` or `1h30m`")),
        };
        // `1s1s` and `1s1h` are slips, not sums.
        if unit >= smallest {
            return Err(fault().hint("each unit once, the larger ones first, as in `1h30m`"));
        }
        smallest = unit;
        let part = number.checked_mul(unit).ok_or_else(fault)?;
        millis = millis.checked_add(part).ok_or_else(fault)?;
        rest = next;
    }
    if smallest == u64::MAX {
        return Err(fault().hint("write a number and a unit, as in `30s`"));
    }
    Ok(Duration::from_millis(millis))
}

/// A duration as a policy writes it, in its largest whole unit.
pub(crate) fn written(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let units = [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "m"),
        (1_000, "s"),
    ];
    match units
        .iter()
        .find(|(unit, _)| millis > 0 && millis.is_multiple_of(*unit))
    {
        Some((unit, name)) => format!("{}{name}", millis / unit),
        None => format!("{millis}ms"),
    }
}

/// A size as a policy writes it, in its largest whole unit.
pub(crate) fn written_size(bytes: u64) -> String {
    let units = [
        (1 << 30, "GiB"),
        (1_000_000_000, "GB"),
        (1 << 20, "MiB"),
        (1_000_000, "MB"),
        (1 << 10, "KiB"),
        (1_000, "kB"),
    ];
    match units
        .iter()
        .find(|(unit, _)| bytes > 0 && bytes.is_multiple_of(*unit))
    {
        Some((unit, name)) => format!("{}{name}", bytes / unit),
        None => format!("{bytes}B"),
    }
}

/// A rate as a policy writes it: `10/m`, `100/10s`.
pub(crate) fn written_rate(requests: u32, period: Duration) -> String {
    let period = written(period);
    let one = period
        .strip_prefix('1')
        .filter(|unit| unit.starts_with(char::is_alphabetic));
    format!("{requests}/{}", one.unwrap_or(&period))
}

/// A duration within bounds.
pub(super) fn duration_in(
    text: &str,
    bounds: &RangeInclusive<Duration>,
) -> Result<Duration, Fault> {
    let value = duration(text)?;
    if bounds.contains(&value) {
        return Ok(value);
    }
    let message = format!(
        "{} is not within `{}` and `{}`",
        shown(text),
        written(*bounds.start()),
        written(*bounds.end())
    );
    Err(Fault::new(codes::OUT_OF_RANGE, message))
}

/// `512B`, `64KiB`, `10MB`; `0` needs no unit.
pub(super) fn size(text: &str) -> Result<u64, Fault> {
    let fault = || Fault::new(codes::SIZE, format!("{} is not a size", shown(text)));
    let (number, unit) = leading_number(text)
        .ok_or_else(|| fault().hint("write a number and a unit, as in `64KiB`"))?;
    let unit = match unit {
        "" if number == 0 => 1,
        "" => {
            let hint = "units are B, KiB, MiB, GiB and kB, MB, GB, as in `64KiB`";
            return Err(Fault::new(codes::SIZE, format!("{} has no unit", shown(text))).hint(hint));
        }
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return Err(fault().hint("units are B, KiB, MiB, GiB and kB, MB, GB")),
    };
    number.checked_mul(unit).ok_or_else(fault)
}

/// `100/s`, `10/m`, `100/10s`: requests and the time they are for.
pub(super) fn rate(text: &str) -> Result<(u64, Duration), Fault> {
    let fault = || {
        Fault::new(codes::RATE, format!("{} is not a rate", shown(text)))
            .hint("write requests and time, as in `100/s`, `10/m` or `100/10s`")
    };
    let (number, period) = text.split_once('/').ok_or_else(fault)?;
    let Some((number, "")) = leading_number(number) else {
        return Err(fault());
    };
    let has_number = period.starts_with(|c: char| c.is_ascii_digit());
    let period = if has_number {
        period.to_owned()
    } else {
        format!("1{period}")
    };
    let period = duration(&period).map_err(|_| fault())?;
    Ok((number, period))
}

fn leading_number(text: &str) -> Option<(u64, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    Some((number.parse().ok()?, rest))
}

/// What clusters, issuers, limits and routes are called.
pub(super) fn name(text: &str) -> Result<(), Fault> {
    let first = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let later = |c: char| first(c) || matches!(c, '.' | '_' | '-');
    if text.len() <= NAME_BYTES_MAX && text.starts_with(first) && text.chars().all(later) {
        return Ok(());
    }
    let message = format!("{} is not a name", shown(text));
    let hint = format!(
        "lower-case letters, digits, `.`, `_` and `-`, a letter or digit first, at most {NAME_BYTES_MAX}"
    );
    Err(Fault::new(codes::BAD_NAME, message).hint(hint))
}

/// Text without control characters, not empty and not endless.
pub(super) fn plain_text(text: &str, what: &str) -> Result<(), Fault> {
    let problem = if text.is_empty() {
        "is empty"
    } else if text.len() > TEXT_BYTES_MAX {
        "is too long"
    } else if text.chars().any(char::is_control) {
        "has a control character"
    } else {
        return Ok(());
    };
    Err(Fault::new(
        codes::TEXT,
        format!("{what} {} {problem}", shown(text)),
    ))
}

/// A scope as tokens carry it (RFC 6749, 3.3): several stand in one string, with spaces between.
pub(super) fn scope(text: &str) -> Result<(), Fault> {
    plain_text(text, "scope")?;
    let allowed = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    if text.bytes().all(allowed) {
        return Ok(());
    }
    let fault = Fault::new(
        codes::TEXT,
        format!(
            "scope {} has a character that scopes cannot have",
            shown(text)
        ),
    );
    Err(if text.contains(' ') {
        fault.hint("write each scope as its own list item")
    } else {
        fault
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check<V: PartialEq + std::fmt::Debug>(parsed: Result<V, Fault>, expected: Result<V, &str>) {
        let text = parsed.map_err(|fault| format!("{} {}", fault.code, fault.message));
        assert_eq!(text, expected.map_err(str::to_owned));
    }

    #[test]
    fn durations() {
        check(duration("30s"), Ok(Duration::from_secs(30)));
        check(duration("1h30m"), Ok(Duration::from_secs(5_400)));
        check(
            duration("1d2h3m4s5ms"),
            Ok(Duration::from_millis(93_784_005)),
        );
        check(duration("250ms"), Ok(Duration::from_millis(250)));
        check(duration("0s"), Ok(Duration::ZERO));
        check(duration("30"), Err("P030 `30` has no unit"));
        check(duration(""), Err("P030 `` is not a duration"));
        check(duration("s"), Err("P030 `s` is not a duration"));
        check(duration("1.5s"), Err("P030 `1.5s` is not a duration"));
        check(duration("-1s"), Err("P030 `-1s` is not a duration"));
        check(duration("1 s"), Err("P030 `1 s` is not a duration"));
        check(duration("1s1s"), Err("P030 `1s1s` is not a duration"));
        check(duration("1s1h"), Err("P030 `1s1h` is not a duration"));
        check(duration("1S"), Err("P030 `1S` is not a duration"));
        check(
            duration("99999999999999999999s"),
            Err("P030 `99999999999999999999s` is not a duration"),
        );
        check(
            duration("9999999999999999d"),
            Err("P030 `9999999999999999d` is not a duration"),
        );
    }

    #[test]
    fn sizes() {
        check(size("64KiB"), Ok(65_536));
        check(size("10MB"), Ok(10_000_000));
        check(size("3B"), Ok(3));
        check(size("2GiB"), Ok(2_147_483_648));
        check(size("0"), Ok(0));
        check(size("64"), Err("P031 `64` has no unit"));
        check(size("64K"), Err("P031 `64K` is not a size"));
        check(size("KiB"), Err("P031 `KiB` is not a size"));
        check(
            size("99999999999999GiB"),
            Err("P031 `99999999999999GiB` is not a size"),
        );
    }

    #[test]
    fn what_is_written_is_what_was_read() {
        for text in ["1d", "90m", "10s", "1500ms", "0ms"] {
            assert_eq!(written(duration(text).unwrap()), text);
        }
        for text in ["16MiB", "64KiB", "10MB", "3B", "0B", "1500kB"] {
            assert_eq!(written_size(size(text).unwrap()), text);
        }
        for text in ["100/s", "10/m", "100/10s", "5/d", "1/1500ms"] {
            let (requests, period) = rate(text).unwrap();
            let requests = u32::try_from(requests).unwrap();
            assert_eq!(written_rate(requests, period), text);
        }
    }

    #[test]
    fn rates() {
        check(rate("100/s"), Ok((100, Duration::from_secs(1))));
        check(rate("10/m"), Ok((10, Duration::from_secs(60))));
        check(rate("100/10s"), Ok((100, Duration::from_secs(10))));
        check(rate("5/d"), Ok((5, Duration::from_secs(86_400))));
        for wrong in [
            "100", "100/", "/s", "100/x", "a/s", "1.5/s", "100 / s", "100/s/s",
        ] {
            let parsed = rate(wrong);
            assert!(parsed.is_err(), "{wrong}: {parsed:?}");
        }
    }

    #[test]
    fn names() {
        for (text, good) in [
            ("orders", true),
            ("v1.orders_eu-west", true),
            ("0", true),
            ("", false),
            ("-a", false),
            ("Orders", false),
            ("a b", false),
            ("ä", false),
            (&"a".repeat(63), true),
            (&"a".repeat(64), false),
        ] {
            assert_eq!(name(text).is_ok(), good, "{text}");
        }
    }
}
