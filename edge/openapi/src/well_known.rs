//! Scalars and well-known types as ProtoJSON writes them.

use prost_reflect::{EnumDescriptor, Kind, MessageDescriptor};
use serde_json::{Value, json};

use crate::document::Version;

/// ProtoJSON writes 64 bits as text; at most as many digits as they have.
const INT64: &str = "^-?(0|[1-9][0-9]{0,18})$";
const UINT64: &str = "^(0|[1-9][0-9]{0,19})$";
const DURATION: &str = r"^-?[0-9]{1,12}(\.[0-9]{1,9})?s$";

/// Of a kind that is neither message nor enum.
pub(crate) fn scalar(kind: &Kind, version: Version) -> Option<Value> {
    Some(match kind {
        Kind::Double => float("double"),
        Kind::Float => float("float"),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
            json!({ "type": "integer", "format": "int32" })
        }
        Kind::Uint32 | Kind::Fixed32 => json!({
            "type": "integer", "format": "uint32", "minimum": 0, "maximum": u32::MAX,
        }),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
            json!({ "type": "string", "format": "int64", "pattern": INT64 })
        }
        Kind::Uint64 | Kind::Fixed64 => {
            json!({ "type": "string", "format": "uint64", "pattern": UINT64 })
        }
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::String => json!({ "type": "string" }),
        Kind::Bytes => match version {
            Version::V3_1 => json!({ "type": "string", "contentEncoding": "base64" }),
            Version::V3_0 => json!({ "type": "string", "format": "byte" }),
        },
        Kind::Message(_) | Kind::Enum(_) => return None,
    })
}

/// Not every number has a JSON form.
fn float(format: &str) -> Value {
    json!({ "anyOf": [
        { "type": "number", "format": format },
        { "type": "string", "enum": ["NaN", "Infinity", "-Infinity"] },
    ] })
}

/// Of the messages that ProtoJSON writes in a way of their own.
pub(crate) fn message(message: &MessageDescriptor, version: Version) -> Option<Value> {
    let name = message.full_name().strip_prefix("google.protobuf.")?;
    Some(match name {
        "Timestamp" => json!({ "type": "string", "format": "date-time" }),
        "Duration" => json!({ "type": "string", "pattern": DURATION }),
        "FieldMask" => json!({
            "type": "string", "description": "Names of fields, with commas between them.",
        }),
        "Struct" => json!({ "type": "object", "additionalProperties": true }),
        "Value" => json!({ "description": "Any JSON." }),
        "ListValue" => json!({ "type": "array", "items": {} }),
        "Empty" => json!({ "type": "object" }),
        "Any" => json!({
            "type": "object",
            "properties": { "@type": { "type": "string" } },
            "required": ["@type"],
            "additionalProperties": true,
        }),
        "DoubleValue" | "FloatValue" | "Int32Value" | "Int64Value" | "UInt32Value"
        | "UInt64Value" | "BoolValue" | "StringValue" | "BytesValue" => {
            scalar(&message.get_field_by_name("value")?.kind(), version)?
        }
        _ => return None,
    })
}

/// `NullValue` is JSON's null.
pub(crate) fn null(kind: &EnumDescriptor, version: Version) -> Option<Value> {
    (kind.full_name() == "google.protobuf.NullValue").then(|| match version {
        Version::V3_1 => json!({ "type": "null" }),
        Version::V3_0 => json!({ "nullable": true, "type": "object", "enum": [null] }),
    })
}

/// Whether a path or a query can hold it.
pub(crate) fn is_text(kind: &Kind) -> bool {
    let Kind::Message(message) = kind else {
        return true;
    };
    let name = message.full_name().strip_prefix("google.protobuf.");
    name.is_some_and(|name| {
        matches!(name, "Timestamp" | "Duration" | "FieldMask")
            || (name.ends_with("Value") && !matches!(name, "Value" | "ListValue"))
    })
}

/// A body of any type.
pub(crate) fn is_http_body(kind: &Kind) -> bool {
    matches!(kind, Kind::Message(message) if message.full_name() == "google.api.HttpBody")
}
