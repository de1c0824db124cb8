//! A JSON object to the fields of a message, or to a map.

use std::collections::HashMap;
use std::fmt;

use prost_reflect::{
    DynamicMessage, ExtensionDescriptor, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value,
};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use super::value::Shape;
use super::{Reader, client_name};
use crate::json::number;

/// What a member's name stands for.
enum Member {
    Field(FieldDescriptor),
    Extension(ExtensionDescriptor),
    Unknown(String),
}

impl Reader<'_> {
    /// Reads the members of an object into `message`.
    pub(super) fn fields<'de, A: MapAccess<'de>>(
        &mut self,
        mut map: A,
        message: &mut DynamicMessage,
        desc: &MessageDescriptor,
    ) -> Result<(), A::Error> {
        let mut seen = Vec::new();
        while let Some(member) = map.next_key_seed(Name(desc))? {
            let read = match &member {
                Member::Field(field) => self.field(&mut map, message, field, &mut seen),
                Member::Extension(extension) => {
                    self.extension(&mut map, message, extension, &mut seen)
                }
                Member::Unknown(_) if self.options.ignore_unknown_fields => {
                    map.next_value::<IgnoredAny>().map(drop)
                }
                Member::Unknown(_) => Err(A::Error::custom(format_args!(
                    "message `{}` has no such field",
                    desc.full_name()
                ))),
            };
            if let Err(error) = read {
                self.inside(|| match member {
                    Member::Field(field) => client_name(self.options, &field).to_owned(),
                    Member::Extension(extension) => extension.json_name().to_owned(),
                    Member::Unknown(name) => name,
                });
                return Err(error);
            }
        }
        Ok(())
    }

    fn field<'de, A: MapAccess<'de>>(
        &mut self,
        map: &mut A,
        message: &mut DynamicMessage,
        field: &FieldDescriptor,
        seen: &mut Vec<u32>,
    ) -> Result<(), A::Error> {
        once(seen, field.number())?;
        let shape = Shape::of(field);
        let Some(value) = map.next_value_seed(self.seed(&shape).or_null())? else {
            return Ok(());
        };
        if let Some(oneof) = field.containing_oneof()
            && oneof.fields().any(|other| message.has_field(&other))
        {
            return Err(A::Error::custom(format_args!(
                "another field of `{}` is set already",
                oneof.name()
            )));
        }
        *message.get_field_mut(field) = value;
        Ok(())
    }

    fn extension<'de, A: MapAccess<'de>>(
        &mut self,
        map: &mut A,
        message: &mut DynamicMessage,
        extension: &ExtensionDescriptor,
        seen: &mut Vec<u32>,
    ) -> Result<(), A::Error> {
        once(seen, extension.number())?;
        let shape = if extension.is_list() {
            Shape::List(extension.kind())
        } else {
            Shape::One(extension.kind())
        };
        if let Some(value) = map.next_value_seed(self.seed(&shape).or_null())? {
            *message.get_extension_mut(extension) = value;
        }
        Ok(())
    }

    /// Reads the members of an object as entries of a map.
    pub(super) fn entries<'de, A: MapAccess<'de>>(
        &mut self,
        mut map: A,
        entry: &MessageDescriptor,
    ) -> Result<HashMap<MapKey, Value>, A::Error> {
        let key_kind = entry.map_entry_key_field().kind();
        let shape = Shape::One(entry.map_entry_value_field().kind());
        let mut entries = HashMap::new();
        while let Some(name) = map.next_key::<String>()? {
            let read = match map_key(&key_kind, &name) {
                Err(what) => Err(A::Error::custom(format_args!("the key is not {what}"))),
                Ok(key) if entries.contains_key(&key) => Err(A::Error::custom(TWICE)),
                Ok(key) => map.next_value_seed(self.seed(&shape)).map(|value| {
                    value.map(|value| entries.insert(key, value));
                }),
            };
            if let Err(error) = read {
                self.inside(|| format!("[{name:?}]"));
                return Err(error);
            }
        }
        Ok(entries)
    }
}

const TWICE: &str = "is given twice";

fn once<E: Error>(seen: &mut Vec<u32>, number: u32) -> Result<(), E> {
    if seen.contains(&number) {
        return Err(E::custom(TWICE));
    }
    seen.push(number);
    Ok(())
}

fn map_key(kind: &Kind, text: &str) -> Result<MapKey, &'static str> {
    let integer = |what| number::integer(text).ok_or(what);
    match kind {
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
            let what = "a 32-bit integer";
            Ok(MapKey::I32(integer(what)?.try_into().map_err(|_| what)?))
        }
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
            let what = "a 64-bit integer";
            Ok(MapKey::I64(integer(what)?.try_into().map_err(|_| what)?))
        }
        Kind::Uint32 | Kind::Fixed32 => {
            let what = "an unsigned 32-bit integer";
            Ok(MapKey::U32(integer(what)?.try_into().map_err(|_| what)?))
        }
        Kind::Uint64 | Kind::Fixed64 => {
            let what = "an unsigned 64-bit integer";
            Ok(MapKey::U64(integer(what)?.try_into().map_err(|_| what)?))
        }
        Kind::Bool => text
            .parse()
            .map(MapKey::Bool)
            .map_err(|_| "`true` or `false`"),
        _ => Ok(MapKey::String(text.to_owned())),
    }
}

/// Looks a member up while its name is still a slice of the document.
struct Name<'d>(&'d MessageDescriptor);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Member;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Member, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Member;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Member, E> {
        let Self(desc) = self;
        let field = desc
            .get_field_by_json_name(name)
            .or_else(|| desc.get_field_by_name(name));
        Ok(match field {
            Some(field) => Member::Field(field),
            None => desc
                .get_extension_by_json_name(name)
                .map_or_else(|| Member::Unknown(name.to_owned()), Member::Extension),
        })
    }
}
