//! The messages of `google.protobuf` that ProtoJSON writes in a form of their own, and their texts.
//!
//! Invariant: what is read here is in the range the type documents, and what is written can be
//! read back: a value outside it is an error, never a text that means something else.

use std::fmt::Write;

use prost_reflect::{DynamicMessage, MessageDescriptor, ReflectMessage, Value};
use prost_types::Timestamp;

/// Seconds of 0001-01-01T00:00:00Z and of 9999-12-31T23:59:59Z.
const TIMESTAMP_SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// Seconds of ten thousand years of 365.25 days, as `duration.proto` counts them.
const DURATION_SECONDS_MAX: u64 = 315_576_000_000;

const NANOS_PER_SECOND: i32 = 1_000_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WellKnown {
    Any,
    Timestamp,
    Duration,
    FieldMask,
    Struct,
    Value,
    ListValue,
    Empty,
    /// `Int64Value` and its like: JSON shows what is inside.
    Wrapper,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WellKnownError {
    #[error("is not a timestamp such as `2026-01-02T03:04:05.678Z`")]
    Timestamp,
    #[error("is not a duration such as `1.5s`")]
    Duration,
    #[error("is not a field mask such as `name,address.postalCode`")]
    FieldMask,
    #[error("the descriptors give a well-known type other fields than protobuf does")]
    Descriptors,
}

impl WellKnown {
    pub(crate) fn of(message: &MessageDescriptor) -> Option<Self> {
        Some(
            match message.full_name().strip_prefix("google.protobuf.")? {
                "Any" => Self::Any,
                "Timestamp" => Self::Timestamp,
                "Duration" => Self::Duration,
                "FieldMask" => Self::FieldMask,
                "Struct" => Self::Struct,
                "Value" => Self::Value,
                "ListValue" => Self::ListValue,
                "Empty" => Self::Empty,
                "DoubleValue" | "FloatValue" | "Int32Value" | "Int64Value" | "UInt32Value"
                | "UInt64Value" | "BoolValue" | "StringValue" | "BytesValue" => Self::Wrapper,
                _ => return None,
            },
        )
    }
}

/// A message of `desc` with its field `number` set.
pub(crate) fn make(
    desc: &MessageDescriptor,
    number: u32,
    value: Value,
) -> Result<DynamicMessage, WellKnownError> {
    let mut message = DynamicMessage::new(desc.clone());
    put(&mut message, number, value)?;
    Ok(message)
}

fn put(message: &mut DynamicMessage, number: u32, value: Value) -> Result<(), WellKnownError> {
    message
        .try_set_field_by_number(number, value)
        .map_err(|_| WellKnownError::Descriptors)
}

fn seconds_and_nanos(message: &DynamicMessage) -> Result<(i64, i32), WellKnownError> {
    let field = |number| {
        let value = message.get_field_by_number(number)?;
        value.as_i64().or_else(|| value.as_i32().map(i64::from))
    };
    let seconds = field(1).ok_or(WellKnownError::Descriptors)?;
    let nanos = field(2).and_then(|nanos| i32::try_from(nanos).ok());
    Ok((seconds, nanos.ok_or(WellKnownError::Descriptors)?))
}

/// `Timestamp`, `Duration` or `FieldMask` from its text.
pub(crate) fn parse(
    kind: WellKnown,
    desc: &MessageDescriptor,
    text: &str,
) -> Result<DynamicMessage, WellKnownError> {
    let (seconds, nanos) = match kind {
        WellKnown::Timestamp => timestamp(text).ok_or(WellKnownError::Timestamp)?,
        WellKnown::Duration => duration(text).ok_or(WellKnownError::Duration)?,
        _ => {
            let paths = snake_case_paths(text).ok_or(WellKnownError::FieldMask)?;
            return make(desc, 1, Value::List(paths));
        }
    };
    let mut message = make(desc, 1, Value::I64(seconds))?;
    put(&mut message, 2, Value::I32(nanos))?;
    Ok(message)
}

/// The text of a `Timestamp`, `Duration` or `FieldMask`.
pub(crate) fn text(kind: WellKnown, message: &DynamicMessage) -> Result<String, WellKnownError> {
    match kind {
        WellKnown::Timestamp => {
            let (seconds, nanos) = seconds_and_nanos(message)?;
            if !TIMESTAMP_SECONDS.contains(&seconds) || !(0..NANOS_PER_SECOND).contains(&nanos) {
                return Err(WellKnownError::Timestamp);
            }
            Ok(Timestamp { seconds, nanos }.to_string())
        }
        WellKnown::Duration => {
            let (seconds, nanos) = seconds_and_nanos(message)?;
            duration_text(seconds, nanos).ok_or(WellKnownError::Duration)
        }
        _ => {
            let paths = message
                .get_field_by_number(1)
                .ok_or(WellKnownError::Descriptors)?;
            let paths = paths.as_list().ok_or(WellKnownError::Descriptors)?;
            camel_case_paths(paths).ok_or(WellKnownError::FieldMask)
        }
    }
}

/// RFC 3339, with a `T`, a zone and at most nine digits of a fraction. No leap second: a
/// `Timestamp` has no place for it.
fn timestamp(text: &str) -> Option<(i64, i32)> {
    let (time, rest) = text.split_at_checked(19)?;
    let shaped = has_shape(time, "dddd-dd-ddTdd:dd:dd") && !time.ends_with(":60");
    let (fraction, zone) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?),
        None => ("0", rest),
    };
    let zoned = zone == "Z" || has_shape(zone, "+dd:dd") || has_shape(zone, "-dd:dd");
    if !shaped || !zoned || !(1..=9).contains(&fraction.len()) {
        return None;
    }
    let Timestamp { seconds, nanos } = text.parse().ok()?;
    TIMESTAMP_SECONDS
        .contains(&seconds)
        .then_some((seconds, nanos))
}

/// Whether `text` is `shape`, in which `d` stands for a digit.
fn has_shape(text: &str, shape: &str) -> bool {
    let same = |(byte, wanted): (u8, u8)| match wanted {
        b'd' => byte.is_ascii_digit(),
        other => byte == other,
    };
    text.len() == shape.len() && text.bytes().zip(shape.bytes()).all(same)
}

fn duration(text: &str) -> Option<(i64, i32)> {
    let text = text.strip_suffix('s')?;
    let (sign, text) = match text.strip_prefix('-') {
        Some(text) => (-1, text),
        None => (1, text),
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let seconds: i64 = whole.parse().ok()?;
    let nanos = format!("{fraction:0<9}").parse::<i32>().ok()?;
    in_range(seconds, nanos).then_some((sign * seconds, (sign as i32) * nanos))
}

fn in_range(seconds: i64, nanos: i32) -> bool {
    let seconds = seconds.unsigned_abs();
    seconds < DURATION_SECONDS_MAX || (seconds == DURATION_SECONDS_MAX && nanos == 0)
}

/// `1.500s`; `None` outside the range of a `Duration`.
pub(crate) fn duration_text(seconds: i64, nanos: i32) -> Option<String> {
    let opposed = (seconds > 0 && nanos < 0) || (seconds < 0 && nanos > 0);
    if opposed || nanos.abs() >= NANOS_PER_SECOND || !in_range(seconds, nanos) {
        return None;
    }
    let sign = if seconds < 0 || nanos < 0 { "-" } else { "" };
    let mut text = format!("{sign}{}", seconds.unsigned_abs());
    // Writing to a `String` does not fail.
    let _ = match nanos.unsigned_abs() {
        0 => Ok(()),
        n if n % 1_000_000 == 0 => write!(text, ".{:03}", n / 1_000_000),
        n if n % 1_000 == 0 => write!(text, ".{:06}", n / 1_000),
        n => write!(text, ".{n:09}"),
    };
    text.push('s');
    Some(text)
}

fn snake_case_paths(text: &str) -> Option<Vec<Value>> {
    let snake = |path: &str| {
        let mut out = String::with_capacity(path.len() + 4);
        for c in path.chars() {
            match c {
                '_' => return None,
                c if c.is_ascii_uppercase() => out.extend(['_', c.to_ascii_lowercase()]),
                c => out.push(c),
            }
        }
        (!path.is_empty()).then_some(Value::String(out))
    };
    if text.is_empty() {
        return Some(Vec::new());
    }
    text.split(',').map(snake).collect()
}

/// `None` where reading it again would give another path.
fn camel_case_paths(paths: &[Value]) -> Option<String> {
    let mut out = String::new();
    for (at, path) in paths.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        let mut chars = path.as_str()?.chars();
        while let Some(c) = chars.next() {
            match c {
                '_' => {
                    let next = chars.next().filter(char::is_ascii_lowercase)?;
                    out.push(next.to_ascii_uppercase());
                }
                c if c.is_ascii_uppercase() || c == ',' => return None,
                c => out.push(c),
            }
        }
    }
    Some(out)
}

/// Field 1 of a wrapper: what it wraps.
pub(crate) fn wrapped(message: &DynamicMessage) -> Option<prost_reflect::FieldDescriptor> {
    message.descriptor().get_field(1)
}
