//! `google.protobuf.Any`: a message that says itself which one it is.

use std::vec;

use prost::Message;
use prost::bytes::Bytes;
use prost_reflect::{DynamicMessage, Kind, MessageDescriptor, Value};
use serde::de::{DeserializeSeed, Error, IntoDeserializer, MapAccess};
use serde_json::value::RawValue;

use super::value::Shape;
use super::{Reader, without_place};
use crate::json::well_known::{self, WellKnown};

/// Most messages of type `Any` inside each other. The type may stand behind the members, so each
/// level reads all inside of it once more, and encodes it once more.
const ANYS_MAX: usize = 8;

const TYPE: &str = "@type";

impl Reader<'_> {
    pub(super) fn any<'de, A: MapAccess<'de>>(
        &mut self,
        mut map: A,
        desc: &MessageDescriptor,
    ) -> Result<DynamicMessage, A::Error> {
        self.anys += 1;
        if self.anys > ANYS_MAX {
            let reason = format_args!("holds more than `{ANYS_MAX}` messages inside each other");
            return Err(A::Error::custom(reason));
        }
        let mut type_url = None;
        let mut members = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            if name != TYPE {
                members.push((name, map.next_value::<&RawValue>()?));
            } else if type_url.replace(map.next_value::<String>()?).is_some() {
                return Err(A::Error::custom("`@type` is given twice"));
            }
        }
        let Some(type_url) = type_url else {
            self.anys -= 1;
            return match members.is_empty() {
                true => Ok(DynamicMessage::new(desc.clone())),
                false => Err(A::Error::custom("has no `@type`")),
            };
        };
        let payload = type_url
            .rsplit_once('/')
            .and_then(|(_, name)| desc.parent_pool().get_message_by_name(name))
            .ok_or_else(|| {
                let reason = format_args!("`{type_url}` is no type of the descriptors");
                A::Error::custom(reason)
            })?;
        let bytes = self
            .payload(&payload, members)
            .map_err(|error| A::Error::custom(without_place(&error)))?;
        self.anys -= 1;
        let mut any =
            well_known::make(desc, 1, Value::String(type_url)).map_err(A::Error::custom)?;
        any.try_set_field_by_number(2, Value::Bytes(bytes))
            .map_err(|_| A::Error::custom(well_known::WellKnownError::Descriptors))?;
        Ok(any)
    }

    fn payload(
        &mut self,
        desc: &MessageDescriptor,
        members: Vec<(String, &RawValue)>,
    ) -> Result<Bytes, serde_json::Error> {
        if WellKnown::of(desc).is_none() {
            let mut message = DynamicMessage::new(desc.clone());
            self.fields(Members::new(members), &mut message, desc)?;
            return Ok(message.encode_to_vec().into());
        }
        let mut value = None;
        for (name, raw) in members {
            let known = name == "value" && value.is_none();
            if known {
                let shape = Shape::One(Kind::Message(desc.clone()));
                match self.seed(&shape).deserialize(raw) {
                    Ok(read) => value = read,
                    Err(error) => {
                        self.inside(|| name);
                        return Err(error);
                    }
                }
            } else if !self.options.ignore_unknown_fields || name == "value" {
                self.inside(|| name);
                return Err(Error::custom("a well-known type has one `value` here"));
            }
        }
        match value {
            Some(Value::Message(message)) => Ok(message.encode_to_vec().into()),
            _ => Err(Error::custom("has no `value`")),
        }
    }
}

/// Members that were kept until their message was known.
struct Members<'de> {
    left: vec::IntoIter<(String, &'de RawValue)>,
    value: Option<&'de RawValue>,
}

impl<'de> Members<'de> {
    fn new(members: Vec<(String, &'de RawValue)>) -> Self {
        Self {
            left: members.into_iter(),
            value: None,
        }
    }
}

impl<'de> MapAccess<'de> for Members<'de> {
    type Error = serde_json::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Self::Error> {
        let Some((name, value)) = self.left.next() else {
            return Ok(None);
        };
        self.value = Some(value);
        seed.deserialize(name.into_deserializer()).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, Self::Error> {
        let value = self.value.take();
        seed.deserialize(value.ok_or_else(|| Error::custom("no value"))?)
    }
}
