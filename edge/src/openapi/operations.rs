//! What clients of a host can do: every binding, asked for once by the stages themselves.
//!
//! A binding is listed where a request for it, with something simple for each variable, is taken
//! by a route that translates it to the same binding. What a request needs besides its path (a
//! field, a parameter) nobody can guess: such routes are not seen.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use http::Method;
use http::header::HOST;
use palisade_openapi::{Mount, Operation, sample};
use palisade_policy::hosts::{Host, TlsVersion};
use palisade_policy::model::{PathRewrite, Piece, Route};
use palisade_policy::routing::{PathMatch, Rule};
use palisade_translate::{Binding, BoundMethod, Find, Translator};
use pingora_http::RequestHeader;

use super::terms;
use crate::identity::Introspected;
use crate::request_ctx::Now;
use crate::snapshot::Snapshot;
use crate::stages::host::Proof;
use crate::stages::{self, Downstream, Rehearsal};

/// What variables stand for, one after the other until a route takes it: many are asked to be
/// numbers, or identifiers.
const SAMPLES: [&str; 3] = ["1", "a", "0197d2a0-7c1f-7a3e-9d4b-5f6a7b8c9d0e"];
/// Of a rule for any method.
const ANY: [Method; 5] = [
    Method::GET,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
];

/// The operations that requests for `host` can reach, in the order of routes and descriptors.
pub fn operations(snapshot: &Snapshot, host: &str) -> Vec<Operation> {
    let rules = snapshot.policy.hosts.find(host);
    let mut operations = Vec::new();
    for (translator, mount) in translated(snapshot, rules) {
        for binding in translator.bound() {
            let methods = match binding.method() {
                BoundMethod::Exact(method) => std::slice::from_ref(method),
                BoundMethod::Any => &ANY,
            };
            let taken = methods.iter().filter_map(|method| {
                let asked = Asked {
                    snapshot,
                    host: (host, rules),
                    translator: &translator,
                    binding,
                    mount: &mount,
                };
                let route = asked.route(method)?;
                Some(Operation {
                    translator: translator.clone(),
                    binding: binding.clone(),
                    method: method.to_string(),
                    mount: mount.clone(),
                    terms: terms::of(&snapshot.policy, &route),
                })
            });
            operations.extend(taken);
        }
    }
    operations
}

/// Each translator that routes lead to, and where its paths begin for clients.
fn translated(snapshot: &Snapshot, host: &Host) -> Vec<(Arc<Translator>, Mount)> {
    let mut seen = HashSet::new();
    let mut all = Vec::new();
    for rule in snapshot.policy.routes.rules() {
        let route = rule.route.under(host.id);
        let Some(mount) = mount(rule, route) else {
            continue;
        };
        for translator in translators(snapshot, route) {
            if seen.insert((Arc::as_ptr(&translator), mount.clone())) {
                all.push((translator, mount.clone()));
            }
        }
    }
    all
}

/// Of a route that translates; none where its paths are changed in a way that can't be undone.
fn mount(rule: &Rule, route: &Route) -> Option<Mount> {
    let forward = route.forward().filter(|forward| forward.translate)?;
    let rewrite = forward.rewrite.as_ref().and_then(|to| to.path.as_ref());
    match (rewrite, &rule.path) {
        (None, _) => Some(Mount::default()),
        (Some(PathRewrite::Prefix(to)), PathMatch::Prefix(prefix)) => {
            let is_literal = |piece: &Piece| matches!(piece, Piece::Text(_));
            let bare = |path: &str| path.trim_end_matches('/').to_owned();
            to.0.iter().all(is_literal).then(|| Mount {
                from: bare(&to.expand(|_| None)),
                to: bare(prefix),
            })
        }
        (Some(_), _) => None,
    }
}

fn translators(snapshot: &Snapshot, route: &Route) -> impl Iterator<Item = Arc<Translator>> {
    let backends = route.backends().iter().filter(|backend| backend.weight > 0);
    backends.filter_map(move |backend| snapshot.cluster(backend.cluster)?.translator())
}

/// A request that nobody sends.
struct Asked<'a> {
    snapshot: &'a Snapshot,
    host: (&'a str, &'a Host),
    translator: &'a Arc<Translator>,
    binding: &'a Arc<Binding>,
    mount: &'a Mount,
}

impl Asked<'_> {
    /// The route that takes it and leads to the binding.
    fn route(&self, method: &Method) -> Option<Arc<Route>> {
        SAMPLES.into_iter().find_map(|value| {
            let inside = sample(self.binding, value);
            match self.translator.find(method, &inside) {
                Find::Found(found) if Arc::ptr_eq(found, self.binding) => {}
                // Another template is closer to this path.
                _ => return None,
            }
            let outside = self.mount.outside(&inside)?;
            let (rule, route) = self.judged(method, &outside)?;
            let leads_here = translators(self.snapshot, &route)
                .any(|translator| Arc::ptr_eq(&translator, self.translator));
            (leads_here && mount(&rule, &route).as_ref() == Some(self.mount)).then_some(route)
        })
    }

    /// As far as the stages came: that nobody is signed in refuses no route.
    fn judged(&self, method: &Method, path: &str) -> Option<(Arc<Rule>, Arc<Route>)> {
        let (name, rules) = self.host;
        let mut head = RequestHeader::build(method.clone(), path.as_bytes(), Some(1)).ok()?;
        head.insert_header(HOST, name).ok()?;
        let clients = rules.client_certificates.as_ref();
        let rehearsal = Rehearsal::default();
        let downstream = Downstream {
            client: IpAddr::V4(Ipv4Addr::LOCALHOST),
            encrypted: true,
            proof: Some(Proof {
                version: TlsVersion::Tls13,
                trust_domain: clients.map(|clients| clients.trust_domain),
                client_until: clients.map(|_| i64::MAX),
            }),
            certificate: None,
            https_port: 443,
            is_extended_connect: false,
            keys_may_come: false,
            introspected: Some(&Introspected::Unavailable),
            request: 0,
            under_way: 0,
            rehearsal: Some(&rehearsal),
        };
        match stages::admit(self.snapshot, &mut head, downstream, Now::read()) {
            Ok(admitted) => Some((admitted.rule, admitted.route)),
            Err(refused) => refused.rule.zip(refused.route),
        }
    }
}
