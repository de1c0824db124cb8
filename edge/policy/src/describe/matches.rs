//! What rules ask of requests, in words.

use super::{joined, shortened};
use crate::model::{CertificateMatch, Conditions, ValueMatch};
use crate::routing::{PathMatch, Segment};

/// `GET HEAD prefix /v1, header x-beta, query v=2`.
pub(super) fn rule(path: &PathMatch, conditions: &Conditions) -> String {
    let Conditions {
        methods,
        headers,
        query,
    } = conditions;
    let mut text = joined(methods, " ");
    if !text.is_empty() {
        text.push(' ');
    }
    text.push_str(&path_match(path));
    for (name, wanted) in headers {
        text = format!("{text}, header {name}{}", value(wanted));
    }
    for (name, wanted) in query {
        text = format!("{text}, query {name}{}", value(wanted));
    }
    text
}

pub(super) fn path_match(path: &PathMatch) -> String {
    match path {
        PathMatch::Exact(path) => path.clone(),
        PathMatch::Prefix(path) => format!("prefix {path}"),
        PathMatch::Template(segments) => {
            let parts = segments.iter().map(|segment| match segment {
                Segment::Literal(literal) => format!("/{literal}"),
                Segment::Capture(name) => format!("/{{{name}}}"),
            });
            parts.collect()
        }
    }
}

pub(super) fn value(wanted: &ValueMatch) -> String {
    match wanted {
        ValueMatch::Exact(text) => format!("={text}"),
        ValueMatch::Present => String::new(),
    }
}

pub(super) fn certificate(wanted: &CertificateMatch) -> String {
    let CertificateMatch {
        subject,
        san,
        sha256,
    } = wanted;
    let named = |name: &str, wanted: &Option<ValueMatch>| {
        let wanted = wanted.as_ref()?;
        Some(format!("{name}{}", value(wanted)))
    };
    let parts = [
        named("subject", subject),
        named("san", san),
        sha256.map(shortened),
    ];
    let text = joined(parts.into_iter().flatten(), " ");
    if text.is_empty() {
        "any".to_owned()
    } else {
        text
    }
}
