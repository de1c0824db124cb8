//! What is done with a request, in words.

use http::{HeaderName, HeaderValue};
use palisade_openapi::{Contact, Info};

use super::{Definition, clusters, digest_of};
use crate::compile::values::{written, written_size};
use crate::model::{
    Action, Backend, ClusterId, Compression, Cors, DirectResponse, Docs, EditValue, Forward,
    HeaderEdits, Mirror, OriginMatch, PathRewrite, Pattern, Piece, Policy, Redirect, Retries,
    RetryOn, Rewrite,
};

pub(super) fn action(it: &mut Definition, action: &Action, policy: &Policy) {
    match action {
        Action::Forward(to) => forward(it, to, policy),
        Action::Redirect(to) => redirect(it, to),
        Action::Respond(DirectResponse {
            status,
            content_type,
            body,
        }) => {
            it.set("respond.status", status.as_u16());
            it.set_if("respond.content_type", content_type.as_ref().map(shown));
            let size = written_size(body.len() as u64);
            it.set("respond.body", format!("{size}, {}", digest_of(body)));
        }
        Action::OpenApi(about) => openapi(it, about),
        Action::Docs(Docs { openapi, title }) => {
            it.set("docs.openapi", openapi);
            it.set("docs.title", title);
        }
        Action::Tombstone => it.set("respond.status", "503, because the route is at fault"),
    }
}

fn openapi(it: &mut Definition, about: &Info) {
    let Info {
        version,
        title,
        description,
        api_version,
        contact: Contact { name, url, email },
    } = about;
    it.set("openapi.version", version.as_str());
    it.set("openapi.title", title);
    it.set_if("openapi.description", description.as_ref());
    it.set("openapi.api_version", api_version);
    it.set_if("openapi.contact.name", name.as_ref());
    it.set_if("openapi.contact.url", url.as_ref());
    it.set_if("openapi.contact.email", email.as_ref());
}

fn forward(it: &mut Definition, forward: &Forward, policy: &Policy) {
    let Forward {
        backends,
        translate,
        rewrite,
        retries: again,
        mirror,
    } = forward;
    match backends.as_slice() {
        [Backend { cluster, weight: _ }] => {
            let name = used(it, *cluster, policy);
            it.set("cluster", name);
        }
        several => {
            for Backend { cluster, weight } in several {
                let name = used(it, *cluster, policy);
                it.set("backends", format!("{name}, weight {weight}"));
            }
        }
    }
    it.set("translate", translate);
    if let Some(Rewrite { path, host }) = rewrite {
        path_rewrite(it, ("rewrite.path", "rewrite.prefix"), path.as_ref());
        it.set_if("rewrite.host", host.as_ref().map(shown));
    }
    if let Some(again) = again {
        retries(it, again);
    }
    if let Some(Mirror {
        cluster,
        percent,
        body_max,
    }) = mirror
    {
        let name = used(it, *cluster, policy);
        it.set("mirror.cluster", name);
        it.set("mirror.percent", percent);
        it.set("mirror.body_max", written_size(*body_max));
    }
}

fn used(it: &mut Definition, id: ClusterId, policy: &Policy) -> String {
    let cluster = policy.clusters.get(id.0);
    let name = cluster.map_or("", |cluster| &cluster.name).to_owned();
    it.uses.push((clusters::KIND, name.clone()));
    name
}

fn retries(it: &mut Definition, retries: &Retries) {
    let Retries {
        attempts,
        on,
        methods,
        per_try_timeout,
        backoff,
        budget_percent,
    } = retries;
    it.set("retries.attempts", attempts);
    it.list("retries.on", on.iter().map(|on| retry_on(*on)));
    it.list("retries.methods", methods);
    it.set_if("retries.per_try_timeout", per_try_timeout.map(written));
    it.set("retries.backoff", written(*backoff));
    it.set_if("retries.budget_percent", budget_percent.as_ref());
}

fn retry_on(on: RetryOn) -> &'static str {
    match on {
        RetryOn::ConnectFailure => "connect_failure",
        RetryOn::Reset => "reset",
        RetryOn::Timeout => "timeout",
        RetryOn::BadGateway => "502",
        RetryOn::Unavailable => "503",
        RetryOn::GatewayTimeout => "504",
    }
}

fn redirect(it: &mut Definition, redirect: &Redirect) {
    let Redirect {
        status,
        scheme,
        host,
        port,
        path,
    } = redirect;
    it.set("redirect.status", status.as_u16());
    it.set_if("redirect.scheme", scheme.as_ref());
    it.set_if("redirect.host", host.as_ref());
    it.set_if("redirect.port", port.as_ref());
    path_rewrite(it, ("redirect.path", "redirect.prefix"), path.as_ref());
}

fn path_rewrite(
    it: &mut Definition,
    (full, prefix): (&'static str, &'static str),
    path: Option<&PathRewrite>,
) {
    match path {
        Some(PathRewrite::Full(to)) => it.set(full, pattern(to)),
        Some(PathRewrite::Prefix(to)) => it.set(prefix, pattern(to)),
        None => {}
    }
}

fn pattern(Pattern(pieces): &Pattern) -> String {
    let parts = pieces.iter().map(|piece| match piece {
        Piece::Text(text) => text.clone(),
        Piece::Capture(name) => format!("{{{name}}}"),
    });
    parts.collect()
}

pub(super) fn cors(it: &mut Definition, cors: Option<&Cors>) {
    let Some(Cors {
        origins,
        methods,
        headers,
        expose_headers,
        credentials,
        max_age,
    }) = cors
    else {
        return it.set("cors", "off");
    };
    if origins.is_empty() {
        it.set("cors.origins", "any");
    }
    it.each("cors.origins", origins.iter().map(origin));
    it.set_if("cors.methods", methods.as_ref().map(shown));
    it.set_if("cors.headers", headers.as_ref().map(shown));
    it.set_if("cors.expose_headers", expose_headers.as_ref().map(shown));
    it.set("cors.credentials", credentials);
    it.set("cors.max_age", written(*max_age));
}

pub(super) fn compression(it: &mut Definition, compression: Option<&Compression>) {
    let Some(Compression {
        codings,
        min_bytes,
        media_types,
    }) = compression
    else {
        return it.set("compression", "off");
    };
    it.each(
        "compression.codings",
        codings.iter().map(|coding| coding.name()),
    );
    it.set("compression.min_size", written_size(*min_bytes));
    it.each("compression.content_types", media_types);
}

fn origin(origin: &OriginMatch) -> String {
    match origin {
        OriginMatch::Exact(text) => text.clone(),
        OriginMatch::Subdomains { scheme, suffix } => format!("{scheme}*{suffix}"),
    }
}

pub(super) fn request_headers(it: &mut Definition, edits: &HeaderEdits) {
    let HeaderEdits { remove, set, add } = edits;
    it.each("request_headers.remove", remove);
    it.each("request_headers.set", set.iter().map(field));
    it.each("request_headers.add", add.iter().map(field));
}

pub(super) fn response_headers(it: &mut Definition, edits: &HeaderEdits) {
    let HeaderEdits { remove, set, add } = edits;
    it.each("response_headers.remove", remove);
    it.each("response_headers.set", set.iter().map(field));
    it.each("response_headers.add", add.iter().map(field));
}

fn field((name, value): &(HeaderName, EditValue)) -> String {
    match value {
        EditValue::Text(value) => format!("{name}: {}", shown(value)),
        EditValue::Pattern(to) => format!("{name}: {}", pattern(to)),
    }
}

/// A secret by its digest: that it changed may be known.
fn shown(value: &HeaderValue) -> String {
    if value.is_sensitive() {
        return format!("(hidden, {})", digest_of(value.as_bytes()));
    }
    value.as_bytes().escape_ascii().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_digests() {
        let mut secret = HeaderValue::from_static("Bearer hunter2");
        secret.set_sensitive(true);
        let mut other = HeaderValue::from_static("Bearer hunter3");
        other.set_sensitive(true);
        let mut it = Definition::new("route", "r", None);
        let edits = |value: &HeaderValue| HeaderEdits {
            remove: Vec::new(),
            set: vec![(http::header::AUTHORIZATION, EditValue::Text(value.clone()))],
            add: Vec::new(),
        };
        request_headers(&mut it, &edits(&secret));
        response_headers(&mut it, &edits(&other));
        let values: Vec<&str> = it.settings.iter().map(|set| set.value.as_str()).collect();
        assert_eq!(
            values,
            [
                "authorization: (hidden, sha256 c13e77fb8a8c)",
                "authorization: (hidden, sha256 d6e144fc50b2)"
            ]
        );
    }
}
