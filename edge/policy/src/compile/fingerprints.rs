//! What a route comes to with everything that it refers to, as a number: another one where
//! anything about it is.
//!
//! Positions and places in files are left out, so that an unrelated edit changes nothing.

use std::collections::HashMap;
use std::sync::Arc;

use palisade_token::IssuerSpec;

use super::Fingerprint;
use crate::model::{
    AccessRule, Action, ApiKeys, Auth, Cluster, Conditions, Credential, EditValue, Forward,
    HeaderEdits, IssuerId, Limit, Revocations, Route,
};
use crate::routing::{HostMatch, PathMatch};

/// One of a route's matches.
type Match = (PathMatch, Conditions);

/// Digests of what routes refer to, by position.
pub(super) struct Referents {
    clusters: Vec<u64>,
    issuers: Vec<u64>,
    api_keys: Vec<KeySet>,
    limits: Vec<u64>,
    access: Vec<u64>,
}

/// A caller's own key is looked for when it matters; those of others come and go.
#[derive(Debug)]
struct KeySet {
    itself: u64,
    keys: u64,
}

impl Referents {
    pub(super) fn of(
        clusters: &[Cluster],
        (issuers, revocations): (&[IssuerSpec], &HashMap<IssuerId, Revocations>),
        api_keys: &[ApiKeys],
        (limits, access): (&[Limit], &[AccessRule]),
    ) -> Self {
        let issuers = issuers.iter().enumerate().map(|(position, issuer)| {
            let mut digest = Fingerprint::new("issuer", &issuer.name);
            digest.debug(issuer);
            if let Some(rule) = revocations.get(&IssuerId(position)) {
                let cluster = clusters.get(rule.cluster.0);
                digest
                    .debug(&cluster.map(|cluster| cluster.fingerprint))
                    .debug(&(rule.on_stale, rule.stale_after));
            }
            digest.finish()
        });
        let issuers: Vec<u64> = issuers.collect();
        let api_keys = api_keys.iter().map(|set| {
            let mut digest = Fingerprint::new("api keys", &set.name);
            digest.debug(&set.header);
            if let Some(asked) = &set.introspect {
                let cluster = clusters.get(asked.cluster.0);
                digest.debug(&(
                    cluster.map(|cluster| cluster.fingerprint),
                    issuers.get(asked.issuer.0),
                ));
            }
            let mut keys: Vec<_> = set.keys.iter().collect();
            keys.sort_by_key(|(sha256, _)| **sha256);
            let mut all = Fingerprint::new("api keys", &set.name);
            all.debug(&keys);
            KeySet {
                itself: digest.finish(),
                keys: all.finish(),
            }
        });
        let access = access.iter().map(|rule| {
            let AccessRule {
                name,
                origin: _,
                mode,
                scopes,
                roles,
                claims,
                client_addresses,
                client_certificate,
                expression,
            } = rule;
            let mut digest = Fingerprint::new("access", name);
            digest.debug(&(mode, scopes, roles, claims)).debug(&(
                client_addresses,
                client_certificate,
                expression,
            ));
            digest.finish()
        });
        let api_keys = api_keys.collect();
        let clusters = clusters.iter().map(|cluster| cluster.fingerprint);
        let limits = limits.iter().map(|limit| {
            let mut digest = Fingerprint::new("limit", &limit.name);
            digest.debug(&(limit.fingerprint, limit.mode));
            digest.finish()
        });
        Self {
            clusters: clusters.collect(),
            issuers,
            api_keys,
            limits: limits.collect(),
            access: access.collect(),
        }
    }

    fn auth(&self, digest: &mut Fingerprint, auth: &Auth) {
        let Auth {
            any_of,
            mode,
            optional,
            scopes,
            roles,
            claim_headers,
            forward_token,
            key_headers: _,
            trades_keys: _,
        } = auth;
        for credential in any_of {
            match credential {
                Credential::Jwt(id) => digest.debug(&("jwt", self.issuers.get(id.0))),
                Credential::ApiKey(id) => {
                    let set = self.api_keys.get(id.0);
                    digest.debug(&("api key", set.map(|set| set.itself)))
                }
                Credential::ClientCertificate(wanted) => digest.debug(wanted),
            };
        }
        digest
            .debug(&(mode, optional, scopes, roles))
            .debug(&(claim_headers, forward_token));
    }

    fn action(&self, digest: &mut Fingerprint, action: &Action) {
        let Action::Forward(forward) = action else {
            digest.debug(action);
            return;
        };
        let Forward {
            backends,
            translate,
            rewrite,
            retries,
            mirror,
        } = forward;
        for backend in backends {
            digest.debug(&(self.clusters.get(backend.cluster.0), backend.weight));
        }
        digest.debug(&(translate, rewrite, retries));
        if let Some(mirror) = mirror {
            let cluster = self.clusters.get(mirror.cluster.0);
            digest.debug(&(cluster, mirror.percent, mirror.body_max));
        }
    }

    /// Who may have a stream on a route, and where it leads.
    fn admission(&self, route: &Route, hosts: &[HostMatch], matches: &[Match]) -> u64 {
        let mut digest = Fingerprint::new("admission", &route.name);
        digest.debug(&(route.plain_http, hosts, matches));
        if let Some(auth) = &route.auth {
            self.auth(&mut digest, auth);
        }
        for access in &route.access {
            digest.debug(&(self.access.get(access.id.0), access.mode));
        }
        for backend in route.backends() {
            digest.debug(&self.clusters.get(backend.cluster.0));
        }
        let is_tombstone = matches!(route.action, Action::Tombstone);
        let websocket = route.websocket.as_ref();
        digest
            .debug(&is_tombstone)
            .debug(&websocket.map(|websocket| &websocket.origins));
        digest.finish()
    }

    /// Everything about it.
    fn whole(&self, route: &Route) -> u64 {
        let Route {
            name,
            origin: _,
            settings: _,
            fingerprint: _,
            admission: _,
            plain_http,
            priority,
            on_reload,
            auth,
            access: _,
            limits,
            cors,
            compression,
            cache,
            request_headers,
            response_headers,
            request_timeout,
            request_body_max,
            response_body_max,
            action,
            websocket,
            variants: _,
        } = route;
        let mut digest = Fingerprint::new("route", name);
        digest
            .debug(&(plain_http, priority, on_reload))
            .debug(&(cors, compression, cache, websocket))
            .debug(&(request_timeout, request_body_max, response_body_max));
        for credential in auth.iter().flat_map(|auth| &auth.any_of) {
            if let Credential::ApiKey(id) = credential {
                let set = self.api_keys.get(id.0);
                digest.debug(&set.map(|set| set.keys));
            }
        }
        for limit in limits {
            digest.debug(&(self.limits.get(limit.id.0), limit.mode));
        }
        header_edits(&mut digest, request_headers);
        header_edits(&mut digest, response_headers);
        self.action(&mut digest, action);
        digest.finish()
    }

    /// Of a route with its matches, under all hosts; nobody has it yet.
    pub(super) fn seal(&self, route: &mut Arc<Route>, hosts: &[HostMatch], matches: &[Match]) {
        let mut admission = Fingerprint::new("admissions", &route.name);
        let mut whole = Fingerprint::new("routes", &route.name);
        for variant in route.all() {
            admission.debug(&self.admission(variant, hosts, matches));
            whole.debug(&self.whole(variant));
        }
        let admission = admission.finish();
        whole.debug(&admission);
        put(route, whole.finish(), admission);
    }
}

fn put(route: &mut Arc<Route>, whole: u64, admission: u64) {
    let Some(route) = Arc::get_mut(route) else {
        return;
    };
    (route.fingerprint, route.admission) = (whole, admission);
    for (_, variant) in &mut route.variants {
        put(variant, whole, admission);
    }
}

/// Not by `Debug`, which hides what is marked as sensitive.
fn header_edits(digest: &mut Fingerprint, edits: &HeaderEdits) {
    let HeaderEdits { remove, set, add } = edits;
    digest.debug(remove);
    for list in [set, add] {
        digest.debug(&list.len());
        for (name, value) in list {
            digest.debug(name);
            match value {
                EditValue::Text(text) => digest.add(text.as_bytes()),
                EditValue::Pattern(pattern) => digest.debug(pattern),
            };
        }
    }
}
