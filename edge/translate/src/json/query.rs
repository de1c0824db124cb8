//! Query parameters to fields of the request message.
//!
//! Invariant: a parameter sets a field that neither path nor body set, and only once: with
//! `id=1&id=2` one reader takes the first and the next one the last. Maps and messages that have
//! no text form are refused.

use prost_reflect::DynamicMessage;

use crate::json::percent;
use crate::json::scalar;
use crate::rules::binding::{Binding, RequestBody};
use crate::rules::field_path::{FieldPath, FieldPathError};
use crate::status::problem::Rejection;

/// Most parameters of one request; each may allocate messages, and looking for a repeated one
/// compares it with all before it.
const PARAMETERS_MAX: usize = 128;

pub(crate) fn apply(
    binding: &Binding,
    query: &str,
    ignore_unknown: bool,
    message: &mut DynamicMessage,
) -> Result<(), Rejection> {
    let mut seen = Vec::new();
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    for (at, pair) in pairs.enumerate() {
        if at == PARAMETERS_MAX {
            let detail = format!("more than `{PARAMETERS_MAX}` query parameters");
            return Err(Rejection::bad_request("invalid_query", detail));
        }
        let (name, text) = pair.split_once('=').unwrap_or((pair, ""));
        let name = percent::decode_form(name).map_err(|e| reject(name, e))?;
        let text = percent::decode_form(text).map_err(|e| reject(&name, e))?;
        let target = target(binding, &name, ignore_unknown).map_err(|e| reject(&name, e))?;
        let Some(path) = target else {
            continue;
        };
        set(&path, &text, &mut seen, message).map_err(|reason| reject(&name, reason))?;
        seen.push(path);
    }
    Ok(())
}

/// The field a parameter sets; `None` when it is to be ignored.
pub(crate) fn target(
    binding: &Binding,
    name: &str,
    ignore_unknown: bool,
) -> Result<Option<FieldPath>, String> {
    let refused = match FieldPath::resolve(&binding.rpc.input, name) {
        Err(error @ FieldPathError::TooDeep) => return Err(error.to_string()),
        Err(error) => error.to_string(),
        Ok(path) if in_path(binding, &path) => "the path sets this field".to_owned(),
        Ok(path) => match &binding.body {
            RequestBody::Whole => "the body sets this field".to_owned(),
            RequestBody::Field(field) if path.begins_with(field) => {
                "the body sets this field".to_owned()
            }
            _ => return Ok(Some(path)),
        },
    };
    if ignore_unknown {
        Ok(None)
    } else {
        Err(refused)
    }
}

fn in_path(binding: &Binding, path: &FieldPath) -> bool {
    let overlaps = |other: &FieldPath| path.is_within(other) || other.is_within(path);
    binding.captures.iter().any(|c| overlaps(&c.field))
}

/// Sets the field to what the text means; `seen` are those that were set before.
pub(crate) fn set(
    path: &FieldPath,
    text: &str,
    seen: &mut [FieldPath],
    message: &mut DynamicMessage,
) -> Result<(), String> {
    let leaf = path.leaf().ok_or("names no field")?;
    if leaf.is_map() {
        return Err("a map has no text form".to_owned());
    }
    if !leaf.is_list() && seen.contains(path) {
        return Err("is given twice".to_owned());
    }
    let value = scalar::parse(&leaf.kind(), text).map_err(|e| e.to_string())?;
    path.put(message, value).map_err(|e| e.to_string())
}

fn reject(name: &str, reason: impl ToString) -> Rejection {
    Rejection::field(
        "invalid_query",
        "query parameter",
        name,
        &reason.to_string(),
    )
}
