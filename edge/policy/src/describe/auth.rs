//! Who may use a route, in words.

use super::matches::certificate;
use super::{Definition, issuers, joined, mode, shortened};
use crate::model::{ApiKey, ApiKeys, Auth, Credential, Policy};

pub(super) const API_KEYS: &str = "set of API keys";

pub(super) fn auth(it: &mut Definition, auth: Option<&Auth>, policy: &Policy) {
    let Some(Auth {
        any_of,
        mode: enforcement,
        optional,
        scopes,
        roles,
        claim_headers,
        forward_token,
    }) = auth
    else {
        return it.set("auth", "none");
    };
    let credentials = any_of.iter().map(|one| credential(it, one, policy));
    let credentials: Vec<String> = credentials.collect();
    it.list("auth", credentials);
    it.set("auth.mode", mode(*enforcement));
    it.set("auth.optional", optional);
    it.list("auth.scopes", scopes);
    it.list("auth.roles", roles);
    let headers = claim_headers.iter();
    it.each(
        "auth.claim_headers",
        headers.map(|(claim, header)| format!("{claim}: {header}")),
    );
    it.set("auth.forward_token", forward_token);
}

fn credential(it: &mut Definition, credential: &Credential, policy: &Policy) -> String {
    match credential {
        Credential::Jwt(id) => {
            let name = policy.issuers.get(id.0).map_or("", |issuer| &issuer.name);
            it.uses.push((issuers::KIND, name.to_owned()));
            format!("issuer {name}")
        }
        Credential::ApiKey(id) => {
            let name = policy.api_keys.get(id.0).map_or("", |keys| &*keys.name);
            it.uses.push((API_KEYS, name.to_owned()));
            format!("api_keys {name}")
        }
        Credential::ClientCertificate(wanted) => {
            format!("client_certificate {}", certificate(wanted))
        }
    }
}

pub(super) fn api_keys(keys: &ApiKeys) -> Definition {
    let ApiKeys {
        name,
        origin,
        header,
        keys,
    } = keys;
    let mut it = Definition::new(API_KEYS, name, Some(origin));
    it.set("header", header);
    let mut texts: Vec<String> = keys
        .iter()
        .map(|(digest, key)| {
            let ApiKey {
                name,
                scopes,
                roles,
            } = &**key;
            let mut text = format!("{name}, {}", shortened(*digest));
            for (what, items) in [("scopes", scopes), ("roles", roles)] {
                if !items.is_empty() {
                    text = format!("{text}, {what} {}", joined(items, " "));
                }
            }
            text
        })
        .collect();
    // A hash map has no order.
    texts.sort();
    it.each("keys", texts);
    it
}
