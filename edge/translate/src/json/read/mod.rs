//! ProtoJSON to messages (protobuf.dev, "ProtoJSON Format").
//!
//! Invariant: JSON goes straight from its bytes into the message, without a tree in between, and
//! whatever is refused is refused with its place. Stricter than a ProtoJSON reader has to be where
//! two readers could take one document for two messages: no name, map key or oneof twice, no
//! number that would be rounded to another one.

mod any;
mod message;
mod value;

use std::fmt;

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor};
use serde::de::DeserializeSeed;

use self::value::{Shape, ValueSeed};
use crate::options::JsonOptions;

/// Most objects and arrays inside each other: what protobuf's own readers take.
const DEPTH_MAX: usize = 100;

/// Longest path in an error, in bytes: keys of maps may be megabytes, and the reason stands behind.
const PATH_BYTES_MAX: usize = 512;

/// Why a document is not a message.
#[derive(Debug)]
pub(crate) struct JsonError {
    /// Where in the message, for instance `addresses[0].postalCode`; empty for the document itself.
    pub(crate) path: String,
    /// What is wrong, and where in the text.
    pub(crate) reason: String,
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "`{}`: ", self.path)?;
        }
        f.write_str(&self.reason)
    }
}

/// Reads a document as a message of this type.
pub(crate) fn message(
    desc: &MessageDescriptor,
    json: &[u8],
    options: &JsonOptions,
) -> Result<DynamicMessage, JsonError> {
    let mut reader = Reader::new(options);
    let shape = Shape::One(Kind::Message(desc.clone()));
    let mut json = serde_json::Deserializer::from_slice(json);
    let read = reader
        .seed(&shape)
        .deserialize(&mut json)
        .and_then(|value| json.end().map(|()| value));
    match read {
        Ok(Some(prost_reflect::Value::Message(message))) => Ok(message),
        // Only enums can be ignored, and only members can be `null`.
        Ok(_) => Ok(DynamicMessage::new(desc.clone())),
        Err(error) => Err(reader.error(&error)),
    }
}

/// Reads a document as the value of one field of a new message of this type.
pub(crate) fn field(
    desc: &MessageDescriptor,
    field: &FieldDescriptor,
    json: &[u8],
    options: &JsonOptions,
) -> Result<DynamicMessage, JsonError> {
    let mut reader = Reader::new(options);
    let mut message = DynamicMessage::new(desc.clone());
    let shape = Shape::of(field);
    let mut json = serde_json::Deserializer::from_slice(json);
    match reader.seed(&shape).or_null().deserialize(&mut json) {
        Ok(Some(value)) => *message.get_field_mut(field) = value,
        Ok(None) => {}
        Err(error) => {
            reader.inside(|| client_name(options, field).to_owned());
            return Err(reader.error(&error));
        }
    }
    json.end().map_err(|error| reader.error(&error))?;
    Ok(message)
}

/// The name clients know a field by.
fn client_name<'f>(options: &JsonOptions, field: &'f FieldDescriptor) -> &'f str {
    if options.proto_names {
        field.name()
    } else {
        field.json_name()
    }
}

/// What is known while one document is read.
struct Reader<'o> {
    options: &'o JsonOptions,
    /// Open objects and arrays.
    depth: usize,
    /// Open messages of type `Any`.
    anys: usize,
    /// The way to what failed, the innermost step first. Nothing is recorded before.
    steps: Vec<String>,
}

impl<'o> Reader<'o> {
    fn new(options: &'o JsonOptions) -> Self {
        Self {
            options,
            depth: 0,
            anys: 0,
            steps: Vec::new(),
        }
    }

    fn seed<'r>(&'r mut self, shape: &'r Shape) -> ValueSeed<'r, 'o> {
        ValueSeed::new(self, shape)
    }

    /// Opens an object or an array.
    fn open<E: serde::de::Error>(&mut self) -> Result<(), E> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(E::custom(format_args!(
                "is more than `{DEPTH_MAX}` levels deep"
            )));
        }
        Ok(())
    }

    fn close(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

    /// Records that what failed is inside of this step.
    fn inside(&mut self, step: impl FnOnce() -> String) {
        self.steps.push(step());
    }

    fn error(&self, error: &serde_json::Error) -> JsonError {
        let mut path = String::new();
        for step in self.steps.iter().rev() {
            if !path.is_empty() && !step.starts_with('[') {
                path.push('.');
            }
            path.push_str(step);
        }
        if path.len() > PATH_BYTES_MAX {
            path.truncate(path.floor_char_boundary(PATH_BYTES_MAX));
            path.push('…');
        }
        JsonError {
            path,
            reason: error.to_string(),
        }
    }
}

/// The place of an error in a part of the document would be read as one in the document.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&place).unwrap_or(&text).to_owned()
}
