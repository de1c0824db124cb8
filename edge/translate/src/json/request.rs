//! Path, query and JSON body to one request message.
//!
//! Invariant: the path has the last word. It is what the edge's route and its access rules looked
//! at, so a body must not be able to name another resource.

use prost_reflect::DynamicMessage;

use super::{body, percent, query, scalar};
use crate::options::Options;
use crate::rules::binding::{Binding, Capture};
use crate::status::problem::Rejection;

/// Builds the message. `path` is percent-encoded and matched `binding`'s template.
pub(crate) fn message(
    binding: &Binding,
    options: &Options,
    path: &str,
    query: Option<&str>,
    json: &[u8],
) -> Result<DynamicMessage, Rejection> {
    let mut message = body::parse(binding, json, options)?;
    variables(binding, options, path, query, &mut message)?;
    Ok(message)
}

/// Sets what path and query say.
pub(crate) fn variables(
    binding: &Binding,
    options: &Options,
    path: &str,
    query: Option<&str>,
    message: &mut DynamicMessage,
) -> Result<(), Rejection> {
    if let Some(query) = query {
        query::apply(binding, query, options.json.ignore_unknown_fields, message)?;
    }
    let end = path.len().saturating_sub(binding.verb_bytes);
    let path = path.get(..end).unwrap_or_default();
    for capture in &binding.captures {
        set(capture, path, message).map_err(|reason| {
            Rejection::field("invalid_path", "path variable", &capture.name, &reason)
        })?;
    }
    Ok(())
}

fn set(capture: &Capture, path: &str, message: &mut DynamicMessage) -> Result<(), String> {
    let raw = capture.span.of(path);
    let text = if capture.keeps_slash {
        percent::decode_keeping_slash(raw)
    } else {
        percent::decode(raw)
    }
    .map_err(|e| e.to_string())?;
    let leaf = capture.field.leaf().ok_or("names no field")?;
    let value = scalar::parse(&leaf.kind(), &text).map_err(|e| e.to_string())?;
    capture.field.put(message, value).map_err(|e| e.to_string())
}
