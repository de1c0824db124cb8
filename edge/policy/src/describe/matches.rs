//! What rules ask of requests, in words.

use std::fmt::Display;

use super::{digest_of, joined, shortened};
use crate::model::{AddressSet, CertificateMatch, Conditions, ValueMatch};
use crate::routing::{PathMatch, Segment};

/// Address ranges that are written out; of larger sets there is a digest.
const RANGES_SHOWN: usize = 8;

/// `GET HEAD prefix /v1, header x-beta any value, query v `2``.
pub(super) fn rule(path: &PathMatch, conditions: &Conditions) -> String {
    let mut text = joined(&conditions.methods, " ");
    if !text.is_empty() {
        text.push(' ');
    }
    text.push_str(&path_match(path));
    joined([text].into_iter().chain(others(conditions)), ", ")
}

/// Those below `all`, `any` and `not`.
fn nested(conditions: &Conditions) -> String {
    let methods = joined(&conditions.methods, " ");
    let methods = Some(methods).filter(|methods| !methods.is_empty());
    joined(methods.into_iter().chain(others(conditions)), ", ")
}

fn others(conditions: &Conditions) -> Vec<String> {
    let Conditions {
        methods: _,
        headers,
        query,
        client_addresses,
        client_certificate,
        claims,
        all,
        any,
        not,
    } = conditions;
    let mut parts = Vec::new();
    parts.extend(
        headers
            .iter()
            .map(|(name, value)| format!("header {}", named(name, value))),
    );
    parts.extend(
        query
            .iter()
            .map(|(name, value)| format!("query {}", named(name, value))),
    );
    if let Some(set) = client_addresses {
        parts.push(format!("client in {}", addresses(set)));
    }
    if let Some(wanted) = client_certificate {
        parts.push(format!("client certificate {}", certificate(wanted)));
    }
    parts.extend(
        claims
            .iter()
            .map(|(name, value)| format!("claim {}", named(name, value))),
    );
    for (word, of) in [("all", all), ("any", any)] {
        if !of.is_empty() {
            parts.push(format!(
                "{word} of ({})",
                joined(of.iter().map(nested), "; ")
            ));
        }
    }
    if let Some(not) = not {
        parts.push(format!("not ({})", nested(not)));
    }
    parts
}

pub(super) fn named(name: &impl Display, value: &ValueMatch) -> String {
    format!("{name} {value}")
}

fn addresses(AddressSet { ranges }: &AddressSet) -> String {
    let shown = joined(ranges.iter().take(RANGES_SHOWN), " ");
    match ranges.len().checked_sub(RANGES_SHOWN) {
        None | Some(0) => shown,
        Some(more) => format!(
            "{shown} and {more} more, {}",
            digest_of(joined(ranges, " ").as_bytes())
        ),
    }
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
        PathMatch::Regex(regex) => format!("regex {}", regex.as_str()),
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
        Some(format!("{name} {wanted}"))
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
