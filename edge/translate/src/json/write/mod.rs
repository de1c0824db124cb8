//! Messages to ProtoJSON (protobuf.dev, "ProtoJSON Format").
//!
//! Invariant: deterministic. Members stand in the order of their numbers and entries of maps in the
//! order of their keys, so that one message is one text: for caches, for `ETag`s and for people.

mod well_known;

use std::borrow::Cow;

use base64::display::Base64Display;
use base64::prelude::BASE64_STANDARD;
use prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage, Value,
};
use serde::ser::{Error, Serialize, SerializeMap, Serializer};

use crate::json::scalar::NULL_VALUE;
use crate::json::well_known::WellKnown;
use crate::options::JsonOptions;

/// A message in ProtoJSON.
pub(crate) struct MessageJson<'a> {
    pub(crate) message: &'a DynamicMessage,
    pub(crate) options: &'a JsonOptions,
}

impl Serialize for MessageJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let desc = self.message.descriptor();
        match WellKnown::of(&desc) {
            None | Some(WellKnown::Empty) => {
                let mut map = serializer.serialize_map(None)?;
                self.members(&desc, &mut map)?;
                map.end()
            }
            Some(known) => self.well_known(known, serializer),
        }
    }
}

impl MessageJson<'_> {
    fn members<M: SerializeMap>(
        &self,
        desc: &MessageDescriptor,
        map: &mut M,
    ) -> Result<(), M::Error> {
        if self.options.write_defaults {
            for field in desc.fields() {
                if self.message.has_field(&field) || !field.supports_presence() {
                    self.member(&field, &self.message.get_field(&field), map)?;
                }
            }
        } else {
            for (field, value) in self.message.fields() {
                self.member(&field, value, map)?;
            }
        }
        for (extension, value) in self.message.extensions() {
            let kind = &extension.kind();
            map.serialize_entry(extension.json_name(), &self.value(value, kind))?;
        }
        Ok(())
    }

    fn member<M: SerializeMap>(
        &self,
        field: &FieldDescriptor,
        value: &Value,
        map: &mut M,
    ) -> Result<(), M::Error> {
        let name = if self.options.proto_names {
            field.name()
        } else {
            field.json_name()
        };
        map.serialize_entry(name, &self.value(value, &field.kind()))
    }

    fn value<'b>(&'b self, value: &'b Value, kind: &'b Kind) -> ValueJson<'b> {
        ValueJson {
            value,
            kind,
            options: self.options,
        }
    }
}

/// One value of this kind in ProtoJSON; of a list the kind of its elements, of a map its entries.
pub(crate) struct ValueJson<'a> {
    pub(crate) value: &'a Value,
    pub(crate) kind: &'a Kind,
    pub(crate) options: &'a JsonOptions,
}

impl Serialize for ValueJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.value {
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::I32(value) => serializer.serialize_i32(*value),
            Value::U32(value) => serializer.serialize_u32(*value),
            // A JSON number does not hold 64 bits everywhere.
            Value::I64(value) => serializer.collect_str(value),
            Value::U64(value) => serializer.collect_str(value),
            Value::F32(value) if value.is_finite() => serializer.serialize_f32(*value),
            Value::F32(value) => serializer.serialize_str(infinite(f64::from(*value))),
            Value::F64(value) if value.is_finite() => serializer.serialize_f64(*value),
            Value::F64(value) => serializer.serialize_str(infinite(*value)),
            Value::String(value) => serializer.serialize_str(value),
            Value::Bytes(value) => {
                serializer.collect_str(&Base64Display::new(value, &BASE64_STANDARD))
            }
            Value::EnumNumber(number) => self.enumeration(*number, serializer),
            Value::Message(message) => MessageJson {
                message,
                options: self.options,
            }
            .serialize(serializer),
            Value::List(values) => {
                serializer.collect_seq(values.iter().map(|value| Self { value, ..*self }))
            }
            Value::Map(entries) => {
                let Kind::Message(entry) = self.kind else {
                    return Err(S::Error::custom("a map is not described as one"));
                };
                let kind = &entry.map_entry_value_field().kind();
                let mut sorted: Vec<_> = entries.iter().collect();
                sorted.sort_unstable_by_key(|(key, _)| *key);
                serializer.collect_map(sorted.into_iter().map(|(key, value)| {
                    let value = ValueJson {
                        value,
                        kind,
                        options: self.options,
                    };
                    (key_text(key), value)
                }))
            }
        }
    }
}

impl ValueJson<'_> {
    fn enumeration<S: Serializer>(&self, number: i32, serializer: S) -> Result<S::Ok, S::Error> {
        let Kind::Enum(desc) = self.kind else {
            return serializer.serialize_i32(number);
        };
        if desc.full_name() == NULL_VALUE {
            return serializer.serialize_unit();
        }
        match desc.get_value(number) {
            Some(value) if !self.options.enum_numbers => serializer.serialize_str(value.name()),
            _ => serializer.serialize_i32(number),
        }
    }
}

fn infinite(value: f64) -> &'static str {
    if value.is_nan() {
        "NaN"
    } else if value > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
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
