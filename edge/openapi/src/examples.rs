//! An example for each JSON body, made of its schema: one that the schema accepts, or none.

use serde_json::{Map, Value, json};

/// Objects within objects; what lies deeper is left out where it may be.
const DEPTH_MAX: usize = 3;
/// Texts that patterns often ask for.
const TEXTS: [&str; 8] = [
    "text",
    "Ada Lovelace",
    "12345",
    "+442079460000",
    "1",
    "1.5s",
    "a-long-enough-text",
    "A1",
];

/// Puts one into each operation with a JSON body.
pub(crate) fn put(paths: &mut Map<String, Value>, components: &Map<String, Value>) {
    let items = paths.values_mut().filter_map(Value::as_object_mut);
    for operation in items.flat_map(|item| item.values_mut()) {
        let pointer = "/requestBody/content/application~1json";
        let Some(body) = operation
            .pointer_mut(pointer)
            .and_then(Value::as_object_mut)
        else {
            continue;
        };
        let made = body
            .get("schema")
            .and_then(|schema| example(schema, components, 0));
        if let Some(made) = made {
            body.insert("example".to_owned(), made);
        }
    }
}

fn example(schema: &Value, components: &Map<String, Value>, depth: usize) -> Option<Value> {
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        let name = reference.rsplit('/').next()?;
        return example(components.get(name)?, components, depth);
    }
    if let Some(whole) = schema
        .pointer("/allOf/0")
        .or_else(|| schema.pointer("/anyOf/0"))
    {
        return example(whole, components, depth);
    }
    if let Some(value) = schema.get("const") {
        return Some(value.clone());
    }
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        // The first value of an enum is by custom the one that says nothing.
        return values.get(1).or_else(|| values.first()).cloned();
    }
    match schema.get("type")?.as_str()? {
        "string" => text(schema).map(Value::from),
        "integer" | "number" => Some(number(schema)),
        "boolean" => Some(json!(true)),
        "array" => {
            let item = example(schema.get("items")?, components, depth + 1)?;
            let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or(1);
            (least <= 1).then(|| json!([item]))
        }
        "object" => object(schema, components, depth),
        _ => None,
    }
}

fn object(schema: &Value, components: &Map<String, Value>, depth: usize) -> Option<Value> {
    let required = schema.get("required").and_then(Value::as_array);
    let required = required.map_or(&[][..], Vec::as_slice);
    let mut made = Map::new();
    for (name, property) in schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        let is_required = required.iter().any(|it| it == name);
        if depth >= DEPTH_MAX && !is_required {
            continue;
        }
        // A message that contains itself in every instance has none.
        if depth > 2 * DEPTH_MAX {
            return None;
        }
        // Of what may be left out, only what is flat: examples are there to be read.
        let value = match example(property, components, depth + 1) {
            Some(Value::Object(_)) if !is_required => None,
            Some(Value::Array(items)) if !is_required && items.iter().any(Value::is_object) => None,
            value => value,
        };
        match value {
            Some(value) => {
                made.insert(name.clone(), value);
            }
            None if is_required => return None,
            None => {}
        }
    }
    Some(Value::Object(made))
}

fn number(schema: &Value) -> Value {
    let bound = |name: &str| schema.get(name).filter(|value| value.is_number());
    match (bound("minimum"), bound("maximum")) {
        (Some(least), _) => match (least.as_i64(), schema.get("exclusiveMinimum")) {
            (Some(least), Some(Value::Bool(true))) => json!(least + 1),
            (Some(0), _) => json!(1),
            _ => least.clone(),
        },
        (None, Some(most)) => most.clone(),
        (None, None) => {
            let above = bound("exclusiveMinimum").and_then(Value::as_i64);
            json!(above.map_or(1, |least| least.saturating_add(1)))
        }
    }
}

fn text(schema: &Value) -> Option<String> {
    let word = |name: &str| schema.get(name).and_then(Value::as_str);
    let length = |name: &str| schema.get(name).and_then(Value::as_u64);
    if word("contentEncoding").is_some() {
        return Some("aGVsbG8=".to_owned());
    }
    let known = match word("format") {
        Some("email") => Some("ada@example.com"),
        Some("date-time") => Some("2026-01-31T12:00:00Z"),
        Some("uuid") => Some("0197d2a0-7c1f-7a3e-9d4b-5f6a7b8c9d0e"),
        Some("uri" | "uri-reference") => Some("https://example.com/"),
        Some("hostname") => Some("example.com"),
        Some("ipv4") => Some("192.0.2.1"),
        Some("ipv6") => Some("2001:db8::1"),
        Some("byte") => Some("aGVsbG8="),
        _ => None,
    };
    let (least, most) = (length("minLength").unwrap_or(0), length("maxLength"));
    let pattern = word("pattern").map(regex::Regex::new);
    let mut candidates = known.into_iter().chain(TEXTS);
    let fits = candidates.find(|text| {
        let characters = text.chars().count() as u64;
        let matches = match &pattern {
            None => true,
            Some(pattern) => pattern.as_ref().is_ok_and(|it| it.is_match(text)),
        };
        characters >= least && most.is_none_or(|most| characters <= most) && matches
    });
    fits.map(str::to_owned)
}
