//! The response message as JSON.
//!
//! Invariant: JSON is written straight into one bounded buffer. A response body that is one field
//! (`response_body`) and has presence, but is not set, is `null`.

use std::borrow::Cow;
use std::io;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, SerializeOptions, Value,
};
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::options::Options;
use crate::rules::field_path;

/// Which part of the response message is the body.
#[derive(Debug)]
pub(crate) enum ResponseBody {
    Whole,
    Field(FieldDescriptor),
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplyError {
    #[error("the response is longer than `{0}` bytes as json")]
    TooLarge(usize),
    #[error("the response has no json form: {0}")]
    Json(serde_json::Error),
}

impl ResponseBody {
    pub(crate) fn new(output: &MessageDescriptor, name: &str) -> Result<Self, String> {
        if name.is_empty() {
            return Ok(Self::Whole);
        }
        field_path::field(output, name)
            .map(Self::Field)
            .map_err(|e| e.to_string())
    }

    pub(crate) fn to_json(
        &self,
        message: &DynamicMessage,
        size_hint: usize,
        options: &Options,
    ) -> Result<Vec<u8>, ReplyError> {
        let mut out = Bounded {
            bytes: Vec::with_capacity(size_hint.min(options.json_response_bytes_max)),
            max: options.json_response_bytes_max,
        };
        let json = options.json.serialize();
        let mut serializer = serde_json::Serializer::new(&mut out);
        let written = match self {
            Self::Whole => message.serialize_with_options(&mut serializer, &json),
            Self::Field(field) if field.supports_presence() && !message.has_field(field) => {
                serializer.serialize_unit()
            }
            Self::Field(field) => FieldValue {
                value: message.get_field(field),
                kind: &field.kind(),
                options: &json,
            }
            .serialize(&mut serializer),
        };
        match written {
            Ok(()) => Ok(out.bytes),
            Err(error) if error.is_io() => Err(ReplyError::TooLarge(out.max)),
            Err(error) => Err(ReplyError::Json(error)),
        }
    }
}

/// A buffer that refuses to grow past `max`.
struct Bounded {
    bytes: Vec<u8>,
    max: usize,
}

impl io::Write for Bounded {
    fn write(&mut self, chunk: &[u8]) -> io::Result<usize> {
        if chunk.len() > self.max - self.bytes.len().min(self.max) {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(chunk);
        Ok(chunk.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One field's value in ProtoJSON. The library serializes messages only, and a message cannot be
/// made to show one field when default values are emitted.
struct FieldValue<'a> {
    value: Cow<'a, Value>,
    kind: &'a Kind,
    options: &'a SerializeOptions,
}

impl FieldValue<'_> {
    fn inner<'b>(&'b self, value: &'b Value, kind: &'b Kind) -> FieldValue<'b> {
        FieldValue {
            value: Cow::Borrowed(value),
            kind,
            options: self.options,
        }
    }

    fn float<S: Serializer>(value: f64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if value.is_nan() {
            "NaN"
        } else if value > 0.0 {
            "Infinity"
        } else {
            "-Infinity"
        })
    }

    fn number<S: Serializer>(&self, number: i32, serializer: S) -> Result<S::Ok, S::Error> {
        match self.kind {
            Kind::Enum(desc) if desc.full_name() == "google.protobuf.NullValue" => {
                serializer.serialize_unit()
            }
            Kind::Enum(desc) => match desc.get_value(number) {
                Some(value) => serializer.serialize_str(value.name()),
                None => serializer.serialize_i32(number),
            },
            _ => serializer.serialize_i32(number),
        }
    }

    fn map_value_kind(&self) -> Option<Kind> {
        match self.kind {
            Kind::Message(entry) if entry.is_map_entry() => {
                Some(entry.map_entry_value_field().kind())
            }
            _ => None,
        }
    }
}

impl Serialize for FieldValue<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &*self.value {
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::I32(value) => serializer.serialize_i32(*value),
            Value::U32(value) => serializer.serialize_u32(*value),
            // ProtoJSON: a JSON number does not hold 64 bits everywhere.
            Value::I64(value) => serializer.collect_str(value),
            Value::U64(value) => serializer.collect_str(value),
            Value::F32(value) if value.is_finite() => serializer.serialize_f32(*value),
            Value::F32(value) => Self::float(f64::from(*value), serializer),
            Value::F64(value) if value.is_finite() => serializer.serialize_f64(*value),
            Value::F64(value) => Self::float(*value, serializer),
            Value::String(value) => serializer.serialize_str(value),
            Value::Bytes(value) => serializer.serialize_str(&BASE64_STANDARD.encode(value)),
            Value::EnumNumber(number) => self.number(*number, serializer),
            Value::Message(message) => message.serialize_with_options(serializer, self.options),
            Value::List(values) => {
                serializer.collect_seq(values.iter().map(|value| self.inner(value, self.kind)))
            }
            Value::Map(values) => {
                let kind = self.map_value_kind();
                let kind = kind.as_ref().unwrap_or(self.kind);
                let mut map = serializer.serialize_map(Some(values.len()))?;
                for (key, value) in values {
                    map.serialize_entry(&key_text(key), &self.inner(value, kind))?;
                }
                map.end()
            }
        }
    }
}

fn key_text(key: &MapKey) -> Cow<'_, str> {
    match key {
        MapKey::Bool(value) => value.to_string().into(),
        MapKey::I32(value) => value.to_string().into(),
        MapKey::I64(value) => value.to_string().into(),
        MapKey::U32(value) => value.to_string().into(),
        MapKey::U64(value) => value.to_string().into(),
        MapKey::String(value) => value.as_str().into(),
    }
}
