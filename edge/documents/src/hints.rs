//! Guesses at what was meant, for the hint under a fault: words of other programs, slips of YAML.

use crate::yaml::{Node, Value};

/// What other programs, and people, call a key of ours. Used only where the key is known at the place.
const SYNONYMS: [(&str, &str); 34] = [
    ("acl", "access"),
    ("address", "endpoints"),
    ("addresses", "endpoints"),
    ("authentication", "auth"),
    ("authorization", "access"),
    ("backend", "cluster"),
    ("backendRefs", "backends"),
    ("body_limit", "request_body_max"),
    ("client_max_body_size", "request_body_max"),
    ("domains", "hosts"),
    ("hostnames", "hosts"),
    ("http", "routes"),
    ("ip", "client_addresses"),
    ("jwks_uri", "url"),
    ("jwt", "auth"),
    ("location", "matches"),
    ("max_body_size", "request_body_max"),
    ("nodes", "endpoints"),
    ("path", "matches"),
    ("paths", "matches"),
    ("rate_limit", "limits"),
    ("rate_limits", "limits"),
    ("rule", "matches"),
    ("rules", "matches"),
    ("server", "cluster"),
    ("servers", "endpoints"),
    ("service", "cluster"),
    ("services", "clusters"),
    ("target", "cluster"),
    ("targets", "endpoints"),
    ("timeout", "request_timeout"),
    ("ttl", "default_ttl"),
    ("upstream", "cluster"),
    ("upstreams", "clusters"),
];

/// `did you mean "cluster"?` for a word that others use.
pub(crate) fn synonym(written: &str, known: &[&str]) -> Option<String> {
    let mut synonyms = SYNONYMS.iter();
    let (_, key) =
        synonyms.find(|(other, key)| written.eq_ignore_ascii_case(other) && known.contains(key))?;
    Some(format!("did you mean \"{key}\"?"))
}

/// For a syntax error on a line: what such errors mostly come from.
pub(crate) fn syntax(problem: &str, line: &str) -> Option<&'static str> {
    if problem.contains("unknown anchor") {
        return Some(
            "a value that begins with a star needs quotes; an alias stands after its anchor",
        );
    }
    if line.contains("${") {
        return Some("in braces and brackets `${NAME}` stands in quotes");
    }
    if problem.contains("',' or '}'") && line.matches('{').count() > 1 {
        return Some("inside of braces, a value with braces of its own needs quotes");
    }
    if problem.contains("mapping values are not allowed") {
        return Some("a colon needs a space after it, here or on the line before");
    }
    if problem.contains("expected '-' indicator") || problem.contains("block mapping") {
        return Some("keys of one map begin in the same column");
    }
    if problem.contains("tabs") {
        return Some("indent with spaces");
    }
    None
}

/// For a value of another type than expected.
pub(crate) fn value(expected: &str, found: &Node) -> Option<String> {
    let Value::Scalar { text, plain } = &found.value else {
        return None;
    };
    match expected {
        "`true` or `false`" if !plain => Some("leave the quotes out".to_owned()),
        "`true` or `false`" => match text.to_ascii_lowercase().as_str() {
            "yes" | "on" | "1" | "true" => Some("write `true`".to_owned()),
            "no" | "off" | "0" | "false" => Some("write `false`".to_owned()),
            _ => None,
        },
        "a whole number" if !plain => Some("leave the quotes out".to_owned()),
        "a whole number" => {
            let whole = text.strip_suffix(".0")?;
            Some(format!("write `{whole}`"))
        }
        "a list" if text.len() <= 60 && *plain => Some(format!("write `[{text}]`")),
        "a list" if text.len() <= 60 => Some(format!("write `[\"{text}\"]`")),
        _ => None,
    }
}
