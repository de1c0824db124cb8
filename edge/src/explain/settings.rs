//! The settings of a route in words, each with the place where it was written.

use palisade_policy::model::{Auth, Credential, HeaderEdits, Mode, Policy, Route};

use super::compose::place;
use super::explanation::SettingSeen;
use crate::snapshot::Snapshot;

pub(super) fn settings(snapshot: &Snapshot, route: &Route) -> Vec<SettingSeen> {
    let settings = route.settings.iter();
    settings
        .map(|setting| SettingSeen {
            key: setting.key.to_owned(),
            value: value(&snapshot.policy, route, setting.key),
            at: place(&setting.origin),
        })
        .collect()
}

/// Short; empty where the place says it better.
fn value(policy: &Policy, route: &Route, key: &str) -> String {
    match key {
        "plain_http" => route.plain_http.to_string(),
        "auth" => route
            .auth
            .as_ref()
            .map_or_else(|| "none".to_owned(), |it| auth(policy, it)),
        "limits" => {
            let limits = route.limits.iter();
            let names = limits.filter_map(|used| policy.limits.get(used.id.0));
            listed(names.map(|limit| &*limit.name))
        }
        "cache" if route.cache.is_none() => "off".to_owned(),
        "cache" => "on".to_owned(),
        "priority" => format!("{:?}", route.priority).to_lowercase(),
        "on_reload" => format!("{:?}", route.on_reload).to_lowercase(),
        "request_timeout" => duration(route.request_timeout),
        "request_body_max" => format!("{} bytes", route.request_body_max),
        "response_body_max" => route
            .response_body_max
            .map_or_else(|| "none".to_owned(), |max| format!("{max} bytes")),
        "request_headers" => edits(&route.request_headers),
        "response_headers" => edits(&route.response_headers),
        "retries" => {
            let retries = route.forward().and_then(|forward| forward.retries.as_ref());
            retries.map_or_else(
                || "off".to_owned(),
                |retries| format!("{} more tries", retries.attempts),
            )
        }
        "cors" if route.cors.is_none() => "off".to_owned(),
        "cors" => "on".to_owned(),
        _ => String::new(),
    }
}

fn duration(duration: Option<std::time::Duration>) -> String {
    duration.map_or_else(|| "none".to_owned(), |duration| format!("{duration:?}"))
}

/// `palisade, scopes profile:read`.
pub(super) fn auth(policy: &Policy, auth: &Auth) -> String {
    let credentials = auth.any_of.iter().map(|credential| match credential {
        Credential::Jwt(id) => {
            let issuer = policy.issuers.get(id.0);
            issuer.map_or("token", |issuer| &issuer.name)
        }
        Credential::ApiKey(id) => {
            let keys = policy.api_keys.get(id.0);
            keys.map_or("API key", |keys| &keys.name)
        }
        Credential::ClientCertificate(_) => "client certificate",
    });
    let mut text = credentials.collect::<Vec<_>>().join(" or ");
    let parts = [("scopes", &auth.scopes), ("one of the roles", &auth.roles)];
    for (what, names) in parts.iter().filter(|(_, names)| !names.is_empty()) {
        text.push_str(&format!(", {what} {}", names.join(" ")));
    }
    if auth.optional {
        text.push_str(", optional");
    }
    if auth.mode == Mode::Shadow {
        text.push_str(", shadow");
    }
    text
}

fn edits(edits: &HeaderEdits) -> String {
    let remove = edits.remove.iter().map(|name| format!("-{name}"));
    let set = edits.set.iter().map(|(name, _)| format!("={name}"));
    let add = edits.add.iter().map(|(name, _)| format!("+{name}"));
    remove.chain(set).chain(add).collect::<Vec<_>>().join(" ")
}

fn listed<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let names: Vec<&str> = names.collect();
    match names.as_slice() {
        [] => "none".to_owned(),
        names => names.join(", "),
    }
}
