//! Messages as server-sent events (the HTML standard, 9.2).
//!
//! A stream that went well ends with the event `end`, one that failed with `error`, whose data is
//! the problem. Without either it was cut off, and a browser that connects again is right.

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value};

use crate::options::SseOptions;

/// Nothing but a sign of life.
pub(super) const COMMENT: &[u8] = b":\n\n";

/// Not empty, so that browsers tell it.
pub(super) const END: &[u8] = b"event: end\ndata: {}\n\n";

/// How the messages of one stream become events.
#[derive(Debug)]
pub(super) struct Events {
    id: Option<FieldDescriptor>,
    name: Option<FieldDescriptor>,
}

impl Events {
    pub(super) fn new(output: &MessageDescriptor, options: &SseOptions) -> Self {
        let field = |name: &Option<Box<str>>| output.get_field_by_name(name.as_deref()?);
        Self {
            id: field(&options.id_field),
            name: field(&options.event_field),
        }
    }

    pub(super) fn message(&self, message: &DynamicMessage, json: &[u8]) -> Vec<u8> {
        let mut event = String::new();
        for (name, field) in [("id", &self.id), ("event", &self.name)] {
            if let Some(value) = field.as_ref().and_then(|field| text(message, field)) {
                event.push_str(name);
                event.push_str(": ");
                event.push_str(&value);
                event.push('\n');
            }
        }
        data(event, json)
    }
}

/// What comes before the first event.
pub(super) fn opening(options: &SseOptions) -> Vec<u8> {
    let retry = options.retry.map(|retry| retry.as_millis());
    retry.map_or_else(Vec::new, |ms| format!("retry: {ms}\n\n").into())
}

pub(super) fn error(problem: &[u8]) -> Vec<u8> {
    data("event: error\n".to_owned(), problem)
}

/// JSON has its line breaks escaped, so that it is one line of data.
fn data(event: String, json: &[u8]) -> Vec<u8> {
    let mut event = event.into_bytes();
    event.reserve(json.len() + "data: \n\n".len());
    event.extend_from_slice(b"data: ");
    event.extend_from_slice(json);
    event.extend_from_slice(b"\n\n");
    event
}

/// A field as one line. Left out where it is not set, where it would end the line, and where it
/// could not come back in `last-event-id`: metadata is printable ASCII.
fn text(message: &DynamicMessage, field: &FieldDescriptor) -> Option<String> {
    if field.is_list() || field.is_map() || (field.supports_presence() && !message.has_field(field))
    {
        return None;
    }
    let text = match &*message.get_field(field) {
        Value::String(text) => text.clone(),
        Value::Bool(value) => value.to_string(),
        Value::I32(value) => value.to_string(),
        Value::U32(value) => value.to_string(),
        Value::I64(value) => value.to_string(),
        Value::U64(value) => value.to_string(),
        Value::EnumNumber(number) => match field.kind() {
            Kind::Enum(kind) => match kind.get_value(*number) {
                Some(value) => value.name().to_owned(),
                None => number.to_string(),
            },
            _ => return None,
        },
        _ => return None,
    };
    let is_printable = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    Some(text).filter(|text| is_printable && !text.is_empty())
}
