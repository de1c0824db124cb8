//! The building blocks of `document`: values that know their place and survive each other's faults.
//!
//! Each asks the decoder by a name of its own for what serde's model does not hold.

use std::borrow::Cow;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::diagnostic::Mark;

/// A value with its place.
#[derive(Debug, Clone)]
pub struct At<T> {
    pub value: T,
    pub mark: Mark,
}

/// A value that may be absent, or whose fault has been reported.
#[derive(Debug, Clone, Default)]
pub enum Field<T> {
    #[default]
    Absent,
    /// Reported; the policy will not be used.
    Bad,
    Given(At<T>),
}

impl<T> Field<T> {
    pub fn given(&self) -> Option<&At<T>> {
        match self {
            Self::Given(at) => Some(at),
            _ => None,
        }
    }

    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }
}

/// A list whose good items survive its bad ones.
pub type List<T> = Field<Vec<Field<T>>>;

/// The good items.
pub fn items<T>(list: &List<T>) -> impl Iterator<Item = &At<T>> {
    list.given()
        .into_iter()
        .flat_map(|list| &list.value)
        .filter_map(Field::given)
}

/// A short form in one word, or the long one.
#[derive(Debug, Clone)]
pub enum Either<T> {
    Plain(String),
    Full(T),
}

/// A map with free keys, in the order of the file.
#[derive(Debug, Clone)]
pub struct Entries<T>(pub Vec<(At<String>, Field<T>)>);

/// Anything, as JSON: what is plain keeps its type, what is quoted is text.
#[derive(Debug, Clone)]
pub struct Json(pub serde_json::Value);

// Names by which a type asks the decoder for more than serde's model holds.
pub const FIELD: &str = "palisade::Field";
pub const EITHER: &str = "palisade::Either";
pub const ENTRIES: &str = "palisade::Entries";
pub const JSON: &str = "palisade::Json";

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for FieldVisitor<T> {
            type Value = Field<T>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a value with its place")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Self::Value, A::Error> {
                let mark = mark(&mut parts)?;
                Ok(match parts.next_element()? {
                    Some(value) => Field::Given(At { value, mark }),
                    None => Field::Bad,
                })
            }
        }
        deserializer.deserialize_newtype_struct(FIELD, FieldVisitor(PhantomData))
    }
}

fn mark<'de, A: SeqAccess<'de>>(parts: &mut A) -> Result<Mark, A::Error> {
    let mut next = || parts.next_element::<u32>().map(Option::unwrap_or_default);
    Ok(Mark {
        file: next()?,
        line: next()?,
        column: next()?,
        length: next()?,
    })
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Either<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EitherVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for EitherVisitor<T> {
            type Value = Either<T>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("text or a map")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Either::Plain(text.to_owned()))
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(
                self,
                full: D,
            ) -> Result<Self::Value, D::Error> {
                T::deserialize(full).map(Either::Full)
            }
        }
        deserializer.deserialize_newtype_struct(EITHER, EitherVisitor(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for EntriesVisitor<T> {
            type Value = Entries<T>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(Field::Given(key)) = map.next_key::<Field<String>>()? {
                    entries.push((key, map.next_value()?));
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_newtype_struct(ENTRIES, EntriesVisitor(PhantomData))
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct JsonVisitor;
        impl<'de> Visitor<'de> for JsonVisitor {
            type Value = Json;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a value")
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(
                self,
                value: D,
            ) -> Result<Self::Value, D::Error> {
                serde_json::Value::deserialize(value).map(Json)
            }
        }
        deserializer.deserialize_newtype_struct(JSON, JsonVisitor)
    }
}

/// Whatever there is.
impl JsonSchema for Json {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Json".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object" })
    }
}

/// A place makes no difference to what may be written.
impl<T: JsonSchema> JsonSchema for Field<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

impl<T: JsonSchema> JsonSchema for Either<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Either{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let full = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [{ "type": "string" }, full] })
    }
}

impl<T: JsonSchema> JsonSchema for Entries<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Entries{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let value = generator.subschema_for::<T>();
        json_schema!({ "type": "object", "additionalProperties": value })
    }
}
