//! JSON as `google.protobuf.Struct`, and back.
//! Invariant: what `to_struct` wrote `from_struct` reads; a number without a fraction
//! comes back as one without.

use prost_types::{ListValue, Struct, Value as Wire, value::Kind};
use serde_json::{Map, Number, Value};

/// 2^53: up to there every whole number has a place of its own among doubles.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

pub(crate) fn to_struct(members: &Map<String, Value>) -> Struct {
    Struct {
        fields: members
            .iter()
            .map(|(name, value)| (name.clone(), to_wire(value)))
            .collect(),
    }
}

fn to_wire(value: &Value) -> Wire {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(value) => Kind::BoolValue(*value),
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(items) => Kind::ListValue(ListValue {
            values: items.iter().map(to_wire).collect(),
        }),
        Value::Object(members) => Kind::StructValue(to_struct(members)),
    };
    Wire { kind: Some(kind) }
}

/// `None` for a number that JSON can't write.
pub(crate) fn from_struct(members: Struct) -> Option<Map<String, Value>> {
    let members = members.fields.into_iter();
    members
        .map(|(name, value)| Some((name, from_wire(value)?)))
        .collect()
}

fn from_wire(value: Wire) -> Option<Value> {
    Some(match value.kind.unwrap_or(Kind::NullValue(0)) {
        Kind::NullValue(_) => Value::Null,
        Kind::BoolValue(value) => Value::Bool(value),
        Kind::NumberValue(number) => Value::Number(to_number(number)?),
        Kind::StringValue(text) => Value::String(text),
        Kind::ListValue(list) => {
            let items = list.values.into_iter().map(from_wire);
            Value::Array(items.collect::<Option<_>>()?)
        }
        Kind::StructValue(members) => Value::Object(from_struct(members)?),
    })
}

fn to_number(number: f64) -> Option<Number> {
    if number.fract() == 0.0 && number.abs() < EXACT_MAX {
        #[allow(clippy::cast_possible_truncation, reason = "whole and below 2^53")]
        return Some(Number::from(number as i64));
    }
    Number::from_f64(number)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn round_trips() {
        let Value::Object(members) = json!({
            "a": null, "b": true, "c": 3, "d": -1.5, "e": "x", "f": [1, {"g": []}], "h": {}
        }) else {
            panic!("an object");
        };
        assert_eq!(from_struct(to_struct(&members)), Some(members));
    }

    #[test]
    fn what_is_no_number_is_nothing() {
        let wire = |number| Wire {
            kind: Some(Kind::NumberValue(number)),
        };
        assert_eq!(from_wire(wire(f64::NAN)), None);
        assert_eq!(from_wire(wire(f64::INFINITY)), None);
        assert_eq!(from_wire(wire(1e300)), Some(json!(1e300)));
    }
}
