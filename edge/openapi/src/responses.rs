//! What is answered: the success, and the problems that edge and services tell alike.

use serde_json::{Map, Value, json};

use crate::document::Version;
use crate::terms::Terms;

/// Of an operation. Services that choose their status say so in comments only: their success is
/// any of 2xx.
pub(crate) fn of(
    (description, content): (String, Value),
    terms: &Terms,
    (chooses_status, is_empty): (bool, bool),
) -> Value {
    let mut all = Map::new();
    let mut add = |status: &str, response: Value| {
        all.insert(status.to_owned(), response);
    };
    let success = json!({ "description": description, "content": content });
    if chooses_status {
        add("2XX", success);
        if is_empty {
            add(
                "204",
                json!({ "description": "Success, and nothing to say." }),
            );
        }
    } else {
        add("200", success);
    }
    if terms.asks() {
        add("401", referred("Unauthorized"));
        add("403", referred("Forbidden"));
    }
    if !terms.quotas.is_empty() {
        add("429", referred("TooManyRequests"));
    }
    add("default", referred("Problem"));
    Value::Object(all)
}

fn referred(name: &str) -> Value {
    json!({ "$ref": format!("#/components/responses/{name}") })
}

/// `components.responses`.
pub(crate) fn components() -> Value {
    let problem = json!({ "application/problem+json": {
        "schema": { "$ref": "#/components/schemas/Problem" },
    } });
    json!({
        "Problem": { "description": "It failed; `code` says why.", "content": problem },
        "Unauthorized": {
            "description": "Nobody is signed in, or not in a way that is taken here.",
            "headers": { "WWW-Authenticate": { "schema": { "type": "string" } } },
            "content": problem,
        },
        "Forbidden": {
            "description": "Whoever is signed in may not do this.",
            "content": problem,
        },
        "TooManyRequests": {
            "description": "A rate limit is used up.",
            "headers": {
                "Retry-After": {
                    "description": "Seconds.",
                    "schema": { "type": "integer", "minimum": 0 },
                },
                "RateLimit": { "schema": { "type": "string" } },
                "RateLimit-Policy": { "schema": { "type": "string" } },
            },
            "content": problem,
        },
    })
}

/// RFC 9457, and the members that are ours.
pub(crate) fn problem(version: Version) -> Value {
    let status = match version {
        Version::V3_1 => {
            json!({ "type": "integer", "minimum": 400, "maximum": 599, "examples": [404] })
        }
        Version::V3_0 => {
            json!({ "type": "integer", "minimum": 400, "maximum": 599, "example": 404 })
        }
    };
    json!({
        "type": "object",
        "description": "What went wrong (RFC 9457).",
        "required": ["type", "title", "status", "code"],
        "properties": {
            "type": { "type": "string", "format": "uri-reference" },
            "title": { "type": "string" },
            "status": status,
            "detail": { "type": "string", "description": "For people." },
            "code": { "type": "string", "description": "For programs: it does not change." },
            "request_id": { "type": "string", "description": "Finds the line in the log." },
            "errors": {
                "type": "array",
                "description": "What is wrong with which field.",
                "items": {
                    "type": "object",
                    "properties": {
                        "field": { "type": "string" },
                        "description": { "type": "string" },
                        "rule": { "type": "string", "description": "Of `buf.validate`." },
                    },
                },
            },
            "reason": { "type": "string" },
            "domain": { "type": "string" },
        },
    })
}
