//! What is done with requests, as text.

use std::fmt::Write;

use palisade_policy::model::{
    Action, CacheRule, Cors, DirectResponse, EditValue, Forward, HeaderEdits, OriginMatch,
    PathRewrite, Pattern, Piece, Policy, Redirect, Rewrite, Route,
};

/// Where requests go, or what they are answered.
pub(super) fn target(policy: &Policy, route: &Route) -> String {
    match &route.action {
        Action::Forward(forward) => {
            let cluster = forward.backends[0].cluster;
            policy.clusters[cluster.0].name.to_string()
        }
        Action::Redirect(Redirect {
            status,
            scheme,
            host,
            port,
            path,
        }) => {
            let path = path.as_ref().map(path_rewrite);
            format!("{status}, scheme {scheme:?}, host {host:?}, port {port:?}, path {path:?}")
        }
        Action::Respond(DirectResponse {
            status,
            content_type,
            body,
        }) => format!("{status}, type {content_type:?}, {body:?}"),
        Action::OpenApi(about) => format!("openapi {about:?}"),
        Action::Docs(docs) => format!("{docs:?}"),
        Action::Tombstone => "nowhere".to_owned(),
    }
}

pub(super) fn describe(out: &mut String, route: &Route) {
    if let Some(Cors {
        origins,
        methods,
        headers,
        expose_headers,
        credentials,
        max_age,
    }) = &route.cors
    {
        let origins: Vec<String> = origins.iter().map(origin).collect();
        writeln!(
            out,
            "  cors from {origins:?}, credentials {credentials}, for {max_age:?}"
        )
        .unwrap();
        writeln!(
            out,
            "  cors methods {methods:?}, headers {headers:?}, exposes {expose_headers:?}"
        )
        .unwrap();
    }
    if let Some(CacheRule { name, default_ttl }) = &route.cache {
        let name = name
            .as_deref()
            .map_or(String::new(), |name| format!(" {name}"));
        writeln!(out, "  cache{name}, default ttl {default_ttl:?}").unwrap();
    }
    if let Some(Forward {
        rewrite: Some(Rewrite { path, host }),
        ..
    }) = route.forward()
    {
        let path = path.as_ref().map(path_rewrite);
        writeln!(out, "  rewrite path {path:?}, host {host:?}").unwrap();
    }
}

pub(super) fn describe_edits(out: &mut String, route: &Route) {
    for (side, HeaderEdits { remove, set, add }) in [
        ("request", &route.request_headers),
        ("response", &route.response_headers),
    ] {
        let values = |edits: &[(http::HeaderName, EditValue)]| {
            let pairs = edits.iter().map(|(name, value)| match value {
                EditValue::Text(value) => format!("(\"{name}\", {value:?})"),
                EditValue::Pattern(value) => format!("(\"{name}\", {})", pattern(value)),
            });
            format!("[{}]", pairs.collect::<Vec<_>>().join(", "))
        };
        if !(remove.is_empty() && set.is_empty() && add.is_empty()) {
            let (set, add) = (values(set), values(add));
            writeln!(
                out,
                "  {side} headers: remove {remove:?}, set {set}, add {add}"
            )
            .unwrap();
        }
    }
}

fn origin(origin: &OriginMatch) -> String {
    match origin {
        OriginMatch::Exact(origin) => origin.clone(),
        OriginMatch::Subdomains { scheme, suffix } => format!("{scheme}*{suffix}"),
    }
}

fn path_rewrite(path: &PathRewrite) -> String {
    match path {
        PathRewrite::Full(path) => format!("all {}", pattern(path)),
        PathRewrite::Prefix(path) => format!("prefix {}", pattern(path)),
    }
}

fn pattern(pattern: &Pattern) -> String {
    let pieces = pattern.0.iter().map(|piece| match piece {
        Piece::Text(text) => text.clone(),
        Piece::Capture(name) => format!("<{name}>"),
    });
    pieces.collect()
}
