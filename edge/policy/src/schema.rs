//! The language as a JSON Schema, for editors: made from the types of `document`.
//!
//! The comment of a key is its description; the last paragraph of it, `type; default`, narrows what
//! its type says. So there is one place where a key is explained, and none where it is again.
//! Invariant: what compiles is valid, values of the environment and all. The reverse does not hold.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::document::Document;

const TITLE: &str = "Policies of Palisade";
/// `1h30m`.
const DURATION: &str = "(?=[0-9])([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?";
/// `64KiB`.
const SIZE: &str = "0|[0-9]+([KMG]iB|[kMG]?B)";
/// `100/10s`.
const RATE: &str = "[0-9]+/[0-9]*(ms|s|m|h|d)([0-9]+(ms|s|m|h))*";
const NAME: &str = "[a-z0-9][a-z0-9._-]{0,62}";
const DIGEST: &str = "[0-9A-Fa-f]{64}";
/// A value with a variable of the environment in it can be anything.
const VARIABLE: &str = "\\$\\{";

/// JSON Schema (draft 7, which editors know best) of a policy file.
pub fn schema() -> Value {
    let generator = SchemaSettings::draft07().into_generator();
    let mut root = generator.into_root_schema_for::<Document>().to_value();
    let Value::Object(root_map) = &mut root else {
        return root;
    };
    root_map.insert("title".to_owned(), json!(TITLE));
    let definitions = root_map.remove("definitions");
    let mut finished = Map::new();
    if let Some(Value::Object(definitions)) = definitions {
        for (name, mut definition) in definitions {
            finish(&mut definition);
            finished.insert(in_public(&name).to_owned(), definition);
        }
    }
    finish(&mut root);
    root["definitions"] = Value::Object(finished);
    // One order, whichever kind of map `serde_json` was built with.
    root.sort_all_objects();
    root
}

/// The types are documents in the code, and what they stand for to the outside.
fn in_public(name: &str) -> &str {
    name.strip_suffix("Doc").unwrap_or(name)
}

/// A definition: its description in one line, its keys narrowed.
fn finish(definition: &mut Value) {
    if let Some(description) = definition["description"].as_str() {
        definition["description"] = json!(description.replace('\n', " "));
    }
    if let Some(words) = definition["enum"].as_array() {
        let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
        let mut finished = choice(&words);
        finished["description"] = definition["description"].clone();
        *definition = finished;
    }
    let mut required = Vec::new();
    let properties = definition["properties"].as_object_mut();
    for (key, property) in properties.into_iter().flatten() {
        let description = property["description"].as_str().unwrap_or_default();
        let paragraphs: Vec<String> = description
            .split("\n\n")
            .map(|paragraph| paragraph.replace('\n', " "))
            .collect();
        let (kind, default) = paragraphs
            .last()
            .and_then(|last| last.split_once("; "))
            .unwrap_or_default();
        let meaning = paragraphs.split_last().map_or(&[][..], |(_, first)| first);
        let narrowed = narrow(property, kind);
        let written = match default {
            "required" => {
                required.push(json!(key));
                format!("{kind}; required")
            }
            default => format!("{kind}; default: {default}"),
        };
        let meaning = [meaning, &[written]].concat();
        *property = narrowed;
        property["description"] = json!(meaning.join("\n\n"));
        if let Some(value) = default_value(default, kind) {
            property["default"] = value;
        }
    }
    if !required.is_empty() {
        definition["required"] = Value::Array(required);
    }
    // Nulls that looking made.
    if let Some(map) = definition.as_object_mut() {
        map.retain(|_, value| !value.is_null());
    }
}

/// What a type of the code allows, as far as `kind` leaves it.
fn narrow(schema: &Value, kind: &str) -> Value {
    if let Some(target) = schema["$ref"].as_str() {
        return json!({ "$ref": in_public(target) });
    }
    // How draft 7 gives a reference a description.
    if let Some(target) = schema["allOf"].get(0) {
        return json!({ "allOf": [narrow(target, kind)] });
    }
    if let Some(either) = schema["anyOf"].as_array() {
        let full = either.last().map(|full| narrow(full, "map"));
        return json!({ "anyOf": [text(kind), full] });
    }
    match schema["type"].as_str() {
        Some("array") => {
            let kind = kind.strip_prefix("list of ").unwrap_or("text");
            json!({ "type": "array", "items": narrow(&schema["items"], kind) })
        }
        // Anything may be in it.
        Some("object") if schema["additionalProperties"].is_null() => json!({ "type": "object" }),
        Some("object") => {
            let kind = kind.strip_prefix("map of ").unwrap_or("text");
            let values = narrow(&schema["additionalProperties"], kind);
            json!({ "type": "object", "additionalProperties": values })
        }
        Some("integer") => number(kind),
        Some("boolean") => json!({ "type": ["boolean", "string"], "pattern": VARIABLE }),
        _ => text(kind),
    }
}

/// `1 to 10,000,000`, `` `1` ``, or `301, 302 or 303`.
fn number(kind: &str) -> Value {
    let numbers: Vec<u64> = kind
        .replace(',', if kind.contains(", ") { " " } else { "" })
        .split_whitespace()
        .filter_map(|word| word.trim_matches('`').parse().ok())
        .collect();
    match numbers.as_slice() {
        [least, most] if kind.contains(" to ") => json!({
            "type": ["integer", "string"],
            "minimum": least,
            "maximum": most,
            "pattern": VARIABLE,
        }),
        [] => json!({ "type": ["integer", "string"], "minimum": 0, "pattern": VARIABLE }),
        some => json!({ "anyOf": [{ "enum": some }, { "type": "string", "pattern": VARIABLE }] }),
    }
}

/// Text without quotes may look like a number or a boolean.
fn text(kind: &str) -> Value {
    let words: Vec<&str> = kind.split('`').skip(1).step_by(2).collect();
    let matching = |pattern: &str, types: Value| {
        let words: String = words.iter().map(|word| format!("|{word}")).collect();
        json!({ "type": types, "pattern": format!("^({pattern}{words})$|{VARIABLE}") })
    };
    let is_name = kind.starts_with("name") || kind.contains("name or map");
    match kind {
        _ if kind.starts_with("duration") => matching(DURATION, json!("string")),
        _ if kind.starts_with("size") => {
            let mut size = matching(SIZE, json!(["string", "integer"]));
            size["minimum"] = json!(0);
            size["maximum"] = json!(0);
            size
        }
        _ if kind.starts_with("rate") => matching(RATE, json!("string")),
        _ if is_name => matching(NAME, json!(["string", "number"])),
        "64 hex digits" => matching(DIGEST, json!(["string", "number"])),
        _ if kind.starts_with('`') => choice(&words),
        _ => json!({ "type": ["string", "number", "boolean"] }),
    }
}

/// One of some words; `1.2` and `503` are numbers to YAML.
fn choice(words: &[&str]) -> Value {
    let mut all: Vec<Value> = words.iter().map(|word| json!(word)).collect();
    let numbers = words.iter().filter_map(|word| word.parse().ok());
    all.extend(numbers.filter(Value::is_number));
    json!({ "anyOf": [{ "enum": all }, { "type": "string", "pattern": VARIABLE }] })
}

/// Of a default in backticks, as YAML reads it.
fn default_value(default: &str, kind: &str) -> Option<Value> {
    let inner = default.strip_prefix('`')?.strip_suffix('`')?;
    if inner.contains('`') {
        return None;
    }
    let is_text = kind.starts_with('`');
    let value = inner.parse().ok().filter(|_| !is_text);
    Some(value.unwrap_or_else(|| json!(inner)))
}

#[cfg(test)]
mod tests;
