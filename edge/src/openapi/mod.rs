//! Descriptions of the API, and the page that shows them.
//!
//! A document is made once for a snapshot, a route and a class of hosts, when it is first asked
//! for. Invariant: it lists an operation where a request for it would be translated, and by the
//! stages that judge requests.

mod operations;
mod terms;

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, StatusCode};
use palisade_openapi::{Document, Info, document, viewer};
use palisade_policy::model::{Action, Docs, Route};
use palisade_policy::routing::PathMatch;
use pingora_error::Result;
use pingora_http::{RequestHeader, ResponseHeader};

use crate::respond;
use crate::snapshot::Snapshot;
use crate::stages::Admitted;

pub use operations::operations;

/// Asked for again each time: another policy is another document.
const CHECKED: &str = "no-cache";
/// As that, and not for others: who may read it is the route's to say.
const PRIVATE: &str = "private, no-cache";
/// A year: a file with another content has another name.
const IMMUTABLE: &str = "public, max-age=31536000, immutable";

/// The answer of a route whose requests are answered here; none where they go upstream.
pub fn by_route(
    snapshot: &Snapshot,
    admitted: &Admitted,
    request: &RequestHeader,
) -> Result<Option<(ResponseHeader, Bytes)>> {
    let route = &admitted.route;
    match &route.action {
        Action::OpenApi(info) => described(snapshot, admitted, info, request).map(Some),
        Action::Docs(docs) => page(admitted, docs, request).map(Some),
        action => respond::by_route(action, admitted.target.location.as_ref(), request),
    }
}

fn described(
    snapshot: &Snapshot,
    admitted: &Admitted,
    info: &Info,
    request: &RequestHeader,
) -> Result<(ResponseHeader, Bytes)> {
    let document = of_host(snapshot, admitted, info);
    let fields = [
        (CONTENT_TYPE, "application/json"),
        (CACHE_CONTROL, freshness(&admitted.route)),
        (ETAG, document.etag.as_str()),
    ];
    if is_known(&request.headers, &document.etag) {
        return respond::content(
            request,
            StatusCode::NOT_MODIFIED,
            &fields[1..],
            Bytes::new(),
        );
    }
    respond::content(request, StatusCode::OK, &fields, document.json.clone())
}

fn of_host(snapshot: &Snapshot, admitted: &Admitted, info: &Info) -> Arc<Document> {
    let class = snapshot.policy.routes.class_of(&admitted.host);
    let key = (
        admitted.route.name.clone(),
        admitted.host_rules.id,
        class.to_owned(),
    );
    snapshot.documents.get(key, || {
        document(info, &operations(snapshot, &admitted.host))
    })
}

/// The page itself at the route's prefix, and its files below.
fn page(
    admitted: &Admitted,
    docs: &Docs,
    request: &RequestHeader,
) -> Result<(ResponseHeader, Bytes)> {
    let base = match &admitted.rule.path {
        PathMatch::Prefix(prefix) => prefix.trim_end_matches('/'),
        // Other matches are refused when the policy is loaded.
        _ => "",
    };
    let below = request.uri.path().strip_prefix(base).unwrap_or("");
    let name = below.trim_start_matches('/');
    if name.is_empty() {
        let fields = [
            (CONTENT_TYPE, "text/html; charset=utf-8"),
            (CACHE_CONTROL, freshness(&admitted.route)),
            (CONTENT_SECURITY_POLICY, viewer::CONTENT_SECURITY_POLICY),
            (http::header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (http::header::REFERRER_POLICY, "no-referrer"),
        ];
        let page = viewer::page(base, &docs.openapi, &docs.title);
        return respond::content(request, StatusCode::OK, &fields, page.into());
    }
    let Some(file) = viewer::asset(name) else {
        return respond::content(request, StatusCode::NOT_FOUND, &[], Bytes::new());
    };
    let fields = [
        (CONTENT_TYPE, file.content_type),
        (CACHE_CONTROL, IMMUTABLE),
        (http::header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    respond::content(request, StatusCode::OK, &fields, file.content.clone())
}

fn freshness(route: &Route) -> &'static str {
    if route.auth.is_some() {
        PRIVATE
    } else {
        CHECKED
    }
}

/// Whether the client has this one already (RFC 9110, 13.1.2).
fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    let listed = headers.get_all(IF_NONE_MATCH).iter();
    let listed = listed.filter_map(|value| value.to_str().ok());
    let mut tags = listed.flat_map(|value| value.split(',')).map(str::trim);
    tags.any(|tag| tag == "*" || tag.trim_start_matches("W/") == etag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_compared_weakly() {
        for (sent, known) in [
            ("\"a\"", true),
            ("W/\"a\"", true),
            ("\"b\", \"a\"", true),
            ("*", true),
            ("\"b\"", false),
            ("a", false),
        ] {
            let headers = [(IF_NONE_MATCH, sent.parse().unwrap())];
            let headers: HeaderMap = headers.into_iter().collect();
            assert_eq!(is_known(&headers, "\"a\""), known, "{sent}");
        }
    }
}
