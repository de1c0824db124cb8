//! One JSON value to one protobuf value.

use std::fmt;

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value};
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{Reader, without_place};
use crate::json::number;
use crate::json::scalar::{self, ScalarError, what};
use crate::json::well_known::{self, WellKnown, WellKnownError};

/// What a descriptor says a value has to be.
pub(super) enum Shape {
    One(Kind),
    List(Kind),
    /// By the message of its entries.
    Map(MessageDescriptor),
}

impl Shape {
    pub(super) fn of(field: &FieldDescriptor) -> Self {
        match field.kind() {
            Kind::Message(entry) if field.is_map() => Self::Map(entry),
            kind if field.is_list() => Self::List(kind),
            kind => Self::One(kind),
        }
    }
}

/// Reads a value; gives `None` for a `null` that means absence, and for the name of an enum value
/// that is unknown and to be ignored.
pub(super) struct ValueSeed<'r, 'o> {
    reader: &'r mut Reader<'o>,
    shape: &'r Shape,
    takes_null: bool,
}

impl<'r, 'o> ValueSeed<'r, 'o> {
    pub(super) fn new(reader: &'r mut Reader<'o>, shape: &'r Shape) -> Self {
        Self {
            reader,
            shape,
            takes_null: false,
        }
    }

    /// Members may be `null`, elements of lists and maps may not.
    pub(super) fn or_null(mut self) -> Self {
        self.takes_null = true;
        self
    }

    fn refuse<E: Error>(&self) -> E {
        E::custom(match self.shape {
            Shape::One(kind) => ScalarError::NotA(what(kind)),
            Shape::List(_) => ScalarError::NotA("an array"),
            Shape::Map(_) => ScalarError::NotA("an object"),
        })
    }

    fn number<E: Error>(&self, number: Number) -> Result<Option<Value>, E> {
        match self.shape {
            Shape::One(kind) => of_number(kind, number).map(Some).map_err(E::custom),
            _ => Err(self.refuse()),
        }
    }
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_, '_> {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let Shape::One(kind) = self.shape else {
            return deserializer.deserialize_any(self);
        };
        if !has_64_bits(kind) {
            return deserializer.deserialize_any(self);
        }
        // The parser makes a double of `1e18` or `9007199254740993.0`, which is not exact.
        let raw = <&RawValue>::deserialize(deserializer)?;
        if raw
            .get()
            .starts_with(|c: char| c == '-' || c.is_ascii_digit())
        {
            let number = number::integer(raw.get()).map(Number::Integer);
            return self.number(number.ok_or_else(|| self.refuse())?);
        }
        raw.deserialize_any(self)
            .map_err(|error| D::Error::custom(without_place(&error)))
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_, '_> {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("json")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        match self.shape {
            Shape::One(Kind::Enum(desc)) if desc.full_name() == scalar::NULL_VALUE => {
                Ok(Some(Value::EnumNumber(0)))
            }
            Shape::One(Kind::Message(desc)) if WellKnown::of(desc) == Some(WellKnown::Value) => {
                wrap(desc, 1, Value::EnumNumber(0))
            }
            _ if self.takes_null => Ok(None),
            _ => Err(self.refuse()),
        }
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        let value = Value::Bool(value);
        match self.shape {
            Shape::One(Kind::Bool) => Ok(Some(value)),
            Shape::One(Kind::Message(desc)) => match WellKnown::of(desc) {
                Some(WellKnown::Value) => wrap(desc, 4, value),
                Some(WellKnown::Wrapper) if inner(desc) == Some(Kind::Bool) => wrap(desc, 1, value),
                _ => Err(self.refuse()),
            },
            _ => Err(self.refuse()),
        }
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        self.number(Number::Integer(number.into()))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        self.number(Number::Integer(number.into()))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
        self.number(Number::Double(number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        match self.shape {
            Shape::One(kind) => {
                let ignores_unknown = self.reader.options.ignore_unknown_fields;
                of_text(kind, text, ignores_unknown).map_err(E::custom)
            }
            _ => Err(self.refuse()),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let kind = match self.shape {
            Shape::List(kind) => kind,
            Shape::One(Kind::Message(desc)) => {
                let number = match WellKnown::of(desc) {
                    Some(WellKnown::ListValue) => 1,
                    Some(WellKnown::Value) => 6,
                    _ => return Err(self.refuse()),
                };
                let shape = shape_of(desc, number)?;
                let list = ValueSeed::new(self.reader, &shape).visit_seq(seq)?;
                return wrap_option(desc, number, list);
            }
            _ => return Err(self.refuse()),
        };
        let reader = self.reader;
        reader.open()?;
        let shape = Shape::One(kind.clone());
        let mut values = Vec::new();
        for at in 0_usize.. {
            match seq.next_element_seed(reader.seed(&shape)) {
                Ok(Some(value)) => values.extend(value),
                Ok(None) => break,
                Err(error) => {
                    reader.inside(|| format!("[{at}]"));
                    return Err(error);
                }
            }
        }
        reader.close();
        Ok(Some(Value::List(values)))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        let reader = self.reader;
        let desc = match self.shape {
            Shape::Map(entry) => {
                reader.open()?;
                let entries = reader.entries(map, entry)?;
                reader.close();
                return Ok(Some(Value::Map(entries)));
            }
            Shape::One(Kind::Message(desc)) => desc,
            _ => return Err(ValueSeed::new(reader, self.shape).refuse()),
        };
        let number = match WellKnown::of(desc) {
            Some(WellKnown::Struct) => 1,
            Some(WellKnown::Value) => 5,
            Some(WellKnown::Any) => {
                reader.open()?;
                let any = reader.any(map, desc)?;
                reader.close();
                return Ok(Some(Value::Message(any)));
            }
            None | Some(WellKnown::Empty) => {
                reader.open()?;
                let mut message = DynamicMessage::new(desc.clone());
                reader.fields(map, &mut message, desc)?;
                reader.close();
                return Ok(Some(Value::Message(message)));
            }
            Some(_) => return Err(ValueSeed::new(reader, self.shape).refuse()),
        };
        let shape = shape_of(desc, number)?;
        let object = ValueSeed::new(reader, &shape).visit_map(map)?;
        wrap_option(desc, number, object)
    }
}

/// The shape of a well-known type's own field.
fn shape_of<E: Error>(desc: &MessageDescriptor, number: u32) -> Result<Shape, E> {
    let is = |desc: &MessageDescriptor, known| WellKnown::of(desc) == Some(known);
    desc.get_field(number)
        .map(|field| Shape::of(&field))
        // A descriptor set can call anything `Value`, also what would lead back to itself.
        .filter(|shape| match (number, shape) {
            (5, Shape::One(Kind::Message(inner))) => is(inner, WellKnown::Struct),
            (6, Shape::One(Kind::Message(inner))) => is(inner, WellKnown::ListValue),
            (_, shape) => !matches!(shape, Shape::One(_)),
        })
        .ok_or_else(|| E::custom(WellKnownError::Descriptors))
}

/// What a wrapper wraps.
fn inner(desc: &MessageDescriptor) -> Option<Kind> {
    desc.get_field(1).map(|field| field.kind())
}

fn wrap<E: Error>(desc: &MessageDescriptor, number: u32, value: Value) -> Result<Option<Value>, E> {
    well_known::make(desc, number, value)
        .map(|message| Some(Value::Message(message)))
        .map_err(E::custom)
}

fn wrap_option<E: Error>(
    desc: &MessageDescriptor,
    number: u32,
    value: Option<Value>,
) -> Result<Option<Value>, E> {
    value.map_or(Ok(None), |value| wrap(desc, number, value))
}

/// A JSON number, as far as the parser tells.
#[derive(Clone, Copy)]
enum Number {
    Integer(i128),
    Double(f64),
}

impl Number {
    fn integer(self) -> Option<i128> {
        match self {
            Self::Integer(number) => Some(number),
            Self::Double(number) => number::integer_of(number),
        }
    }

    fn double(self) -> f64 {
        match self {
            Self::Integer(number) => number as f64,
            Self::Double(number) => number,
        }
    }
}

fn of_number(kind: &Kind, number: Number) -> Result<Value, ScalarError> {
    let not = || ScalarError::NotA(what(kind));
    match kind {
        Kind::Double => Ok(Value::F64(number.double())),
        Kind::Float => number::float_of(number.double())
            .map(Value::F32)
            .ok_or_else(not),
        Kind::Message(desc) => match WellKnown::of(desc) {
            Some(WellKnown::Value) => Ok(Value::Message(well_known::make(
                desc,
                2,
                Value::F64(number.double()),
            )?)),
            Some(WellKnown::Wrapper) => {
                let inner = inner(desc).filter(is_scalar).ok_or_else(not)?;
                Ok(Value::Message(well_known::make(
                    desc,
                    1,
                    of_number(&inner, number)?,
                )?))
            }
            _ => Err(not()),
        },
        _ => number
            .integer()
            .and_then(|number| scalar::of_integer(kind, number))
            .ok_or_else(not),
    }
}

fn of_text(kind: &Kind, text: &str, ignores_unknown: bool) -> Result<Option<Value>, ScalarError> {
    let not = || ScalarError::NotA(what(kind));
    match kind {
        Kind::Bool => Err(not()),
        Kind::Enum(desc) => match desc.get_value_by_name(text) {
            Some(value) => Ok(Some(Value::EnumNumber(value.number()))),
            None if ignores_unknown => Ok(None),
            None => Err(ScalarError::Enum(
                text.to_owned(),
                desc.full_name().to_owned(),
            )),
        },
        Kind::Message(desc) => match WellKnown::of(desc) {
            Some(WellKnown::Value) => {
                let text = Value::String(text.to_owned());
                Ok(Some(Value::Message(well_known::make(desc, 3, text)?)))
            }
            Some(WellKnown::Wrapper) => {
                let inner = inner(desc).filter(is_scalar).ok_or_else(not)?;
                let value = of_text(&inner, text, ignores_unknown)?.ok_or_else(not)?;
                Ok(Some(Value::Message(well_known::make(desc, 1, value)?)))
            }
            Some(WellKnown::Timestamp | WellKnown::Duration | WellKnown::FieldMask) => {
                scalar::parse(kind, text).map(Some)
            }
            _ => Err(not()),
        },
        _ => scalar::parse(kind, text).map(Some),
    }
}

fn has_64_bits(kind: &Kind) -> bool {
    match kind {
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 | Kind::Uint64 | Kind::Fixed64 => true,
        Kind::Message(desc) if WellKnown::of(desc) == Some(WellKnown::Wrapper) => inner(desc)
            .filter(is_scalar)
            .is_some_and(|kind| has_64_bits(&kind)),
        _ => false,
    }
}

fn is_scalar(kind: &Kind) -> bool {
    !matches!(kind, Kind::Message(_))
}
