//! Who may use a route, in words.

use super::matches::{certificate, named};
use super::{Definition, clusters, issuers, joined, mode, shortened, with_mode};
use crate::model::{AccessRule, AccessUse, ApiKey, ApiKeys, Auth, Credential, Introspect, Policy};

pub(super) const API_KEYS: &str = "set of API keys";
pub(super) const ACCESS: &str = "access rule";

pub(super) fn auth(it: &mut Definition, auth: Option<&Auth>, policy: &Policy) {
    let Some(Auth {
        any_of,
        mode: enforcement,
        optional,
        scopes,
        roles,
        claim_headers,
        forward_token,
        // Of the sets of API keys.
        key_headers: _,
        trades_keys: _,
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

pub(super) fn api_keys(keys: &ApiKeys, policy: &Policy) -> Definition {
    let ApiKeys {
        name,
        origin,
        header,
        keys,
        introspect,
    } = keys;
    let mut it = Definition::new(API_KEYS, name, Some(origin));
    it.set("header", header);
    if let Some(Introspect { cluster, issuer }) = introspect {
        let cluster = policy.clusters.get(cluster.0);
        let cluster = cluster.map_or("", |cluster| &*cluster.name);
        it.uses.push((clusters::KIND, cluster.to_owned()));
        it.set("introspect.cluster", cluster);
        let issuer = policy.issuers.get(issuer.0);
        let issuer = issuer.map_or("", |issuer| &*issuer.name);
        it.uses.push((issuers::KIND, issuer.to_owned()));
        it.set("introspect.issuer", issuer);
    }
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

pub(super) fn access(it: &mut Definition, used: &[AccessUse], policy: &Policy) {
    let mut names = Vec::with_capacity(used.len());
    for AccessUse {
        id,
        mode: enforcement,
    } in used
    {
        let rule = policy.access.get(id.0);
        let name = rule.map_or("", |rule| &rule.name);
        it.uses.push((ACCESS, name.to_owned()));
        names.push(with_mode(name, *enforcement));
    }
    it.list("access", names);
}

pub(super) fn access_rule(rule: &AccessRule) -> Definition {
    let AccessRule {
        name,
        origin,
        mode: enforcement,
        scopes,
        roles,
        claims,
        client_addresses,
        client_certificate,
        expression,
    } = rule;
    let mut it = Definition::new(ACCESS, name, Some(origin));
    it.set("mode", mode(*enforcement));
    it.list("scopes", scopes);
    it.list("roles", roles);
    it.each(
        "claims",
        claims.iter().map(|(name, value)| named(name, value)),
    );
    let ranges = client_addresses.iter().flat_map(|set| &set.ranges);
    it.each("client_addresses", ranges);
    it.set_if(
        "client_certificate",
        client_certificate.as_ref().map(certificate),
    );
    it.set_if("expression", expression.as_ref().map(|one| one.source()));
    it
}
