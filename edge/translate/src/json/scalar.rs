//! Text from a path or a query string to one protobuf value.
//!
//! Accepts scalars, enums by name or number, bytes in both base64 alphabets, wrappers, Timestamp,
//! Duration and FieldMask in their ProtoJSON form. Refuses every other message.

use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use prost_reflect::{DynamicMessage, Kind, MessageDescriptor, Value};
use serde::de::IntoDeserializer;
use serde::de::value::{Error as TextError, StrDeserializer};

const PADDING_OPTIONAL: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
/// The alphabet of RFC 4648 section 4, as metadata values use it too.
pub(crate) const BASE64: GeneralPurpose = GeneralPurpose::new(&STANDARD, PADDING_OPTIONAL);
/// RFC 4648 section 5.
pub(crate) const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, PADDING_OPTIONAL);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ScalarError {
    #[error("is not {0}")]
    NotA(&'static str),
    #[error("`{0}` is not a value of enum `{1}`")]
    Enum(String, String),
    #[error("{0}")]
    WellKnown(String),
    #[error("message `{0}` cannot be written as text")]
    Message(String),
}

/// How a message type is written as one string.
enum Form {
    Wrapper,
    Text,
}

fn form(message: &MessageDescriptor) -> Option<Form> {
    match message.full_name().strip_prefix("google.protobuf.")? {
        "Timestamp" | "Duration" | "FieldMask" => Some(Form::Text),
        "DoubleValue" | "FloatValue" | "Int32Value" | "Int64Value" | "UInt32Value"
        | "UInt64Value" | "BoolValue" | "StringValue" | "BytesValue" => Some(Form::Wrapper),
        _ => None,
    }
}

/// Whether [`parse`] knows this kind at all; for use when a policy is loaded.
pub(crate) fn check(kind: &Kind) -> Result<(), ScalarError> {
    match kind {
        Kind::Message(desc) if form(desc).is_none() => {
            Err(ScalarError::Message(desc.full_name().to_owned()))
        }
        _ => Ok(()),
    }
}

pub(crate) fn parse(kind: &Kind, text: &str) -> Result<Value, ScalarError> {
    let not = ScalarError::NotA;
    Ok(match kind {
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
            Value::I32(text.parse().map_err(|_| not("a 32-bit integer"))?)
        }
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
            Value::I64(text.parse().map_err(|_| not("a 64-bit integer"))?)
        }
        Kind::Uint32 | Kind::Fixed32 => Value::U32(
            text.parse()
                .map_err(|_| not("an unsigned 32-bit integer"))?,
        ),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(
            text.parse()
                .map_err(|_| not("an unsigned 64-bit integer"))?,
        ),
        Kind::Double => Value::F64(text.parse().map_err(|_| not("a number"))?),
        Kind::Float => Value::F32(text.parse().map_err(|_| not("a number"))?),
        Kind::Bool => Value::Bool(text.parse().map_err(|_| not("`true` or `false`"))?),
        Kind::String => Value::String(text.to_owned()),
        Kind::Bytes => {
            let decoded = BASE64.decode(text).or_else(|_| BASE64_URL.decode(text));
            Value::Bytes(decoded.map_err(|_| not("base64"))?.into())
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
    })
}

fn message(desc: &MessageDescriptor, text: &str) -> Result<DynamicMessage, ScalarError> {
    let unsupported = || ScalarError::Message(desc.full_name().to_owned());
    match form(desc).ok_or_else(unsupported)? {
        Form::Text => {
            let text: StrDeserializer<'_, TextError> = text.into_deserializer();
            DynamicMessage::deserialize(desc.clone(), text)
                .map_err(|error| ScalarError::WellKnown(error.to_string()))
        }
        Form::Wrapper => {
            let field = desc.get_field_by_name("value").ok_or_else(unsupported)?;
            let value = parse(&field.kind(), text)?;
            let mut message = DynamicMessage::new(desc.clone());
            message
                .try_set_field(&field, value)
                .map_err(|_| unsupported())?;
            Ok(message)
        }
    }
}
