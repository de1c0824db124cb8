//! Paths to fields as services write them (`addresses[0].postal_code`), in the names of JSON.

use prost_reflect::{Kind, MessageDescriptor};

/// The path in JSON's names; `None` where it is not one of this message's.
pub(crate) fn of_proto(root: &MessageDescriptor, path: &str) -> Option<String> {
    let mut out = String::with_capacity(path.len());
    let mut message = Some(root.clone());
    let mut rest = path;
    loop {
        let (name, tail) = rest.split_at(rest.find(['.', '[']).unwrap_or(rest.len()));
        let field = message.take()?.get_field_by_name(name)?;
        out.push_str(field.json_name());
        let (subscript, tail) = tail.split_at(subscript_bytes(tail)?);
        out.push_str(subscript);
        message = match field.kind() {
            Kind::Message(entry) if field.is_map() => {
                entry.map_entry_value_field().kind().as_message().cloned()
            }
            Kind::Message(inner) => Some(inner),
            _ => None,
        };
        if tail.is_empty() {
            return Some(out);
        }
        rest = tail.strip_prefix('.')?;
        out.push('.');
    }
}

/// Length of `[3]` or `["key"]` at the beginning of `text`, 0 without one.
fn subscript_bytes(text: &str) -> Option<usize> {
    let Some(inner) = text.strip_prefix('[') else {
        return Some(0);
    };
    let Some(key) = inner.strip_prefix('"') else {
        return inner.find(']').map(|at| at + 2);
    };
    let mut escaped = false;
    let end = key.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })?;
    key.get(end + 1..)?.starts_with(']').then_some(end + 4)
}
