//! The well-known types, in their own JSON forms.

use prost_reflect::{DynamicMessage, ReflectMessage, Value};
use serde::ser::{Error, Serialize, SerializeMap, Serializer};

use super::MessageJson;
use crate::json::well_known::{self, WellKnown, WellKnownError};

impl MessageJson<'_> {
    pub(super) fn well_known<S: Serializer>(
        &self,
        known: WellKnown,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match known {
            WellKnown::Timestamp | WellKnown::Duration | WellKnown::FieldMask => {
                let text = well_known::text(known, self.message).map_err(S::Error::custom)?;
                serializer.serialize_str(&text)
            }
            WellKnown::Any => self.any(serializer),
            WellKnown::Value => self.dynamic(serializer),
            WellKnown::Struct | WellKnown::ListValue | WellKnown::Wrapper | WellKnown::Empty => {
                let field = well_known::wrapped(self.message)
                    .ok_or_else(|| S::Error::custom(WellKnownError::Descriptors))?;
                self.value(&self.message.get_field(&field), &field.kind())
                    .serialize(serializer)
            }
        }
    }

    /// `google.protobuf.Value`. One that nothing is set in is `null`, as there is no other way to
    /// write it.
    fn dynamic<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.message.fields().next() {
            None => serializer.serialize_unit(),
            Some((_, Value::F64(number))) if !number.is_finite() => Err(S::Error::custom(
                "a `Value` holds a number that json cannot",
            )),
            Some((field, value)) => self.value(value, &field.kind()).serialize(serializer),
        }
    }

    /// One without a type is empty.
    fn any<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let field = |number| self.message.get_field_by_number(number);
        let (Some(url), Some(bytes)) = (field(1), field(2)) else {
            return Err(S::Error::custom(WellKnownError::Descriptors));
        };
        let (Some(url), Some(bytes)) = (url.as_str(), bytes.as_bytes()) else {
            return Err(S::Error::custom(WellKnownError::Descriptors));
        };
        let mut map = serializer.serialize_map(None)?;
        if url.is_empty() && bytes.is_empty() {
            return map.end();
        }
        let desc = url
            .rsplit_once('/')
            .and_then(|(_, name)| {
                let pool = self.message.descriptor().parent_pool().clone();
                pool.get_message_by_name(name)
            })
            .ok_or_else(|| {
                S::Error::custom(format_args!("`{url}` is no type of the descriptors"))
            })?;
        let message = DynamicMessage::decode(desc.clone(), bytes.clone())
            .map_err(|error| S::Error::custom(format_args!("`{url}`: {error}")))?;
        let payload = MessageJson {
            message: &message,
            options: self.options,
        };
        map.serialize_entry("@type", url)?;
        match WellKnown::of(&desc) {
            Some(_) => map.serialize_entry("value", &payload)?,
            None => payload.members(&desc, &mut map)?,
        }
        map.end()
    }
}
