//! The parsers without a service around them, for fuzz targets and benches.

use http::Method;
use prost_reflect::{DynamicMessage, MessageDescriptor};
use serde::Serialize;

use crate::json::read;
use crate::json::write::MessageJson;
use crate::options::JsonOptions;
use crate::rules::binding::BoundMethod;
use crate::rules::index::Index;
use crate::rules::template;

/// The variables of a template and what they are in `path`; `None` where it does not match.
///
/// # Errors
/// What is wrong with the template.
pub fn captures(template: &str, path: &str) -> Result<Option<Vec<(String, String)>>, String> {
    let template = template::parse(template).map_err(|error| error.to_string())?;
    let mut index = Index::new();
    let inserted = index.insert(&template, &BoundMethod::Any, 0);
    inserted.map_err(|_| "an empty index has a conflict".to_owned())?;
    if index.find(&Method::GET, path, &mut Vec::new()).is_none() {
        return Ok(None);
    }
    let verb_bytes = template.verb.as_ref().map_or(0, |verb| verb.len() + 1);
    let path = path
        .len()
        .checked_sub(verb_bytes)
        .and_then(|end| path.get(..end));
    let path = path.unwrap_or_default();
    let variables = template.variables.iter();
    Ok(Some(
        variables
            .map(|variable| {
                (
                    variable.field.to_string(),
                    variable.span.of(path).to_owned(),
                )
            })
            .collect(),
    ))
}

/// A document as a message.
///
/// # Errors
/// What is wrong with it, and where.
pub fn message(
    desc: &MessageDescriptor,
    json: &[u8],
    options: &JsonOptions,
) -> Result<DynamicMessage, String> {
    read::message(desc, json, options).map_err(|error| error.to_string())
}

/// A message as a document, after what is in `out` already.
///
/// # Errors
/// The message has no JSON form.
pub fn json(
    message: &DynamicMessage,
    options: &JsonOptions,
    out: &mut Vec<u8>,
) -> Result<(), String> {
    let json = MessageJson { message, options };
    let mut serializer = serde_json::Serializer::new(out);
    json.serialize(&mut serializer)
        .map_err(|error| error.to_string())
}
