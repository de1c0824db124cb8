//! Text from a path or a query string to one protobuf value.
//!
//! Accepts scalars, enums by name or number, bytes in both base64 alphabets, wrappers, Timestamp,
//! Duration and FieldMask in their ProtoJSON form. Refuses every other message.

use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use prost_reflect::{DynamicMessage, Kind, MessageDescriptor, Value};

use crate::json::number;
use crate::json::well_known::{self, WellKnown, WellKnownError};

const PADDING_OPTIONAL: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
/// The alphabet of RFC 4648 section 4, as metadata values use it too.
pub(crate) const BASE64: GeneralPurpose = GeneralPurpose::new(&STANDARD, PADDING_OPTIONAL);
/// RFC 4648 section 5.
pub(crate) const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, PADDING_OPTIONAL);

/// The enum whose one value JSON writes as `null`.
pub(crate) const NULL_VALUE: &str = "google.protobuf.NullValue";

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ScalarError {
    #[error("is not {0}")]
    NotA(&'static str),
    #[error("`{0}` is not a value of enum `{1}`")]
    Enum(String, String),
    #[error(transparent)]
    WellKnown(#[from] WellKnownError),
    #[error("message `{0}` cannot be written as text")]
    Message(String),
}

/// What a value of this kind is called.
pub(crate) fn what(kind: &Kind) -> &'static str {
    match kind {
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => "a 32-bit integer",
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => "a 64-bit integer",
        Kind::Uint32 | Kind::Fixed32 => "an unsigned 32-bit integer",
        Kind::Uint64 | Kind::Fixed64 => "an unsigned 64-bit integer",
        Kind::Double => "a number",
        Kind::Float => "a 32-bit number",
        Kind::Bool => "`true` or `false`",
        Kind::String => "a string",
        Kind::Bytes => "base64",
        Kind::Enum(_) => "the name or the number of an enum value",
        Kind::Message(desc) => match WellKnown::of(desc) {
            Some(WellKnown::Timestamp) => "a timestamp such as `2026-01-02T03:04:05.678Z`",
            Some(WellKnown::Duration) => "a duration such as `1.5s`",
            Some(WellKnown::FieldMask) => "a field mask such as `name,address.postalCode`",
            Some(WellKnown::ListValue) => "an array",
            Some(WellKnown::Wrapper) => match desc.get_field(1).map(|field| field.kind()) {
                Some(Kind::Message(_)) | None => "an object",
                Some(kind) => what(&kind),
            },
            _ => "an object",
        },
    }
}

/// An integer or an enum value, if the kind is one and has a place for it.
pub(crate) fn of_integer(kind: &Kind, number: i128) -> Option<Value> {
    Some(match kind {
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(number.try_into().ok()?),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(number.try_into().ok()?),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(number.try_into().ok()?),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(number.try_into().ok()?),
        Kind::Enum(_) => Value::EnumNumber(number.try_into().ok()?),
        _ => return None,
    })
}

/// Whether [`parse`] knows this kind at all; for use when a policy is loaded.
pub(crate) fn check(kind: &Kind) -> Result<(), ScalarError> {
    match kind {
        Kind::Message(desc) if !has_text(desc) => {
            Err(ScalarError::Message(desc.full_name().to_owned()))
        }
        _ => Ok(()),
    }
}

fn has_text(desc: &MessageDescriptor) -> bool {
    use WellKnown::{Duration, FieldMask, Timestamp, Wrapper};
    matches!(
        WellKnown::of(desc),
        Some(Timestamp | Duration | FieldMask | Wrapper)
    )
}

pub(crate) fn parse(kind: &Kind, text: &str) -> Result<Value, ScalarError> {
    let not = || ScalarError::NotA(what(kind));
    Ok(match kind {
        Kind::Double => Value::F64(number::double(text).ok_or_else(not)?),
        Kind::Float => Value::F32(number::float(text).ok_or_else(not)?),
        Kind::Bool => Value::Bool(text.parse().map_err(|_| not())?),
        Kind::String => Value::String(text.to_owned()),
        Kind::Bytes => {
            let decoded = BASE64.decode(text).or_else(|_| BASE64_URL.decode(text));
            Value::Bytes(decoded.map_err(|_| not())?.into())
        }
        Kind::Enum(desc) => {
            let number = desc
                .get_value_by_name(text)
                .map(|value| value.number())
                .or_else(|| text.parse().ok());
            Value::EnumNumber(
                number.ok_or_else(|| {
                    ScalarError::Enum(text.to_owned(), desc.full_name().to_owned())
                })?,
            )
        }
        Kind::Message(desc) => Value::Message(message(desc, text)?),
        _ => number::integer(text)
            .and_then(|number| of_integer(kind, number))
            .ok_or_else(not)?,
    })
}

fn message(desc: &MessageDescriptor, text: &str) -> Result<DynamicMessage, ScalarError> {
    let unsupported = || ScalarError::Message(desc.full_name().to_owned());
    match WellKnown::of(desc).ok_or_else(unsupported)? {
        known @ (WellKnown::Timestamp | WellKnown::Duration | WellKnown::FieldMask) => {
            Ok(well_known::parse(known, desc, text)?)
        }
        WellKnown::Wrapper => {
            let inner = desc.get_field(1).map(|field| field.kind());
            let value = match inner {
                None | Some(Kind::Message(_)) => return Err(unsupported()),
                Some(kind) => parse(&kind, text)?,
            };
            Ok(well_known::make(desc, 1, value)?)
        }
        _ => Err(unsupported()),
    }
}
