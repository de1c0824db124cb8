//! A compiled policy in the operator's words: each definition with all that holds for it.
//!
//! Written as the language writes it, defaults included, so that two policies which mean the same
//! are described alike whatever their files look like. Every type of the model is taken apart
//! whole: a new field does not compile until it is described. Secrets are never in it, and
//! neither are positions, but for `Definition::origin`.

mod actions;
mod auth;
mod clusters;
mod hosts;
mod issuers;
mod limits;
mod listeners;
mod matches;
mod routes;

use std::fmt::{Display, Write};
use std::path::Path;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::model::{IssuerId, Mode, Origin, Policy, Route};

/// Hexadecimal digits of a digest: enough to see that it is another one.
const DIGEST_DIGITS: usize = 12;

/// One thing that a policy defines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Definition {
    /// As messages call it: `route`.
    pub kind: &'static str,
    /// Unique within the kind; empty where there is only one.
    pub name: String,
    #[serde(serialize_with = "place")]
    pub origin: Option<Origin>,
    pub settings: Vec<Setting>,
    /// Kind and name of other definitions that take part in what this one does.
    #[serde(skip)]
    pub uses: Vec<(&'static str, String)>,
}

/// A key and what holds for it. A key with several values stands once for each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// As the language reference lists it: `timeouts.connect`.
    pub key: &'static str,
    pub value: String,
}

impl Definition {
    fn new(kind: &'static str, name: &str, origin: Option<&Origin>) -> Self {
        Self {
            kind,
            name: name.to_owned(),
            origin: origin.cloned(),
            settings: Vec::new(),
            uses: Vec::new(),
        }
    }

    /// The values of a key.
    pub fn values(&self, key: &str) -> impl Iterator<Item = &str> {
        let wanted = self.settings.iter().filter(move |set| set.key == key);
        wanted.map(|setting| setting.value.as_str())
    }

    fn set(&mut self, key: &'static str, value: impl Display) {
        let value = value.to_string();
        self.settings.push(Setting { key, value });
    }

    fn set_if(&mut self, key: &'static str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.set(key, value);
        }
    }

    /// Items in an order that matters, or that are few: one value.
    fn list<T: Display>(&mut self, key: &'static str, items: impl IntoIterator<Item = T>) {
        let text = joined(items, ", ");
        if !text.is_empty() {
            self.set(key, text);
        }
    }

    /// Items that come and go by themselves: a value for each.
    fn each<T: Display>(&mut self, key: &'static str, items: impl IntoIterator<Item = T>) {
        for item in items {
            self.set(key, item);
        }
    }
}

/// Every definition of a policy, as loaded from `folder`; kinds in the order of a request's way.
pub fn describe(policy: &Policy, folder: &Path) -> Vec<Definition> {
    let Policy {
        listeners,
        routes: _,
        clusters,
        issuers,
        // Told with their issuers.
        revocations: _,
        api_keys,
        access,
        limits,
        hosts,
        // They decide nothing about requests.
        tests: _,
    } = policy;
    let mut all = vec![listeners::listeners(listeners)];
    let named = hosts.hosts().iter().filter(|host| !host.name.is_empty());
    all.extend(named.map(|host| hosts::host(host)));
    all.extend(routes::routes(policy));
    let told = (0..issuers.len()).filter_map(|at| issuers::issuer(policy, IssuerId(at), folder));
    all.extend(told);
    all.extend(api_keys.iter().map(|set| auth::api_keys(set, policy)));
    all.extend(access.iter().map(auth::access_rule));
    all.extend(limits.iter().map(limits::limit));
    all.extend(clusters.iter().map(|it| clusters::cluster(it, folder)));
    all
}

/// `routes/orders.yaml:3`.
pub(crate) fn place<S: Serializer>(
    origin: &Option<Origin>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match origin {
        Some(Origin { file, line }) => serializer.collect_str(&format_args!("{file}:{line}")),
        None => serializer.serialize_none(),
    }
}

/// Every route by the name that its definition has, and what it is under hosts with `defaults`.
pub fn named_routes(policy: &Policy) -> impl Iterator<Item = (String, &Arc<Route>)> {
    let hosts = policy.hosts.hosts();
    policy.routes.routes().flat_map(move |route| {
        let variants = route.variants.iter().map(move |(host, variant)| {
            let host = hosts.get(host.0).map_or("", |host| &host.name);
            (format!("{} under {host}", route.name), variant)
        });
        std::iter::once((route.name.to_string(), route)).chain(variants)
    })
}

fn joined<T: Display>(items: impl IntoIterator<Item = T>, between: &str) -> String {
    let mut text = String::new();
    for (position, item) in items.into_iter().enumerate() {
        let between = if position == 0 { "" } else { between };
        // Writing to a string cannot fail.
        let _ = write!(text, "{between}{item}");
    }
    text
}

fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Enforce => "enforce",
        Mode::Shadow => "shadow",
    }
}

/// A reference that may only watch.
fn with_mode(name: &str, enforcement: Mode) -> String {
    match enforcement {
        Mode::Enforce => name.to_owned(),
        Mode::Shadow => format!("{name} ({})", mode(enforcement)),
    }
}

/// The beginning of what a policy also writes as `sha256`.
fn shortened(digest: [u8; 32]) -> String {
    let mut text = String::from("sha256 ");
    for byte in digest.iter().take(DIGEST_DIGITS / 2) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn digest_of(bytes: &[u8]) -> String {
    shortened(Sha256::digest(bytes).into())
}

/// A path as the policy writes it.
fn written_path<'p>(path: &'p Path, folder: &Path) -> std::path::Display<'p> {
    path.strip_prefix(folder).unwrap_or(path).display()
}
