//! Two policies: where each lets a request come to, and in what the rules there differ.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use palisade_policy::describe::{Definition, describe, named_routes};
use palisade_policy::diff::{self, Change, What};
use palisade_policy::model::{Policy, Route};
use serde::{Serialize, Serializer};

use crate::explain::{Answer, Decision, Question, Unaskable, decide};
use crate::snapshot::Snapshot;

/// Keys that say which requests a definition is for, and nothing about what happens to them.
const WHICH: [&str; 2] = ["hosts", "matches"];

/// A policy that can be asked.
pub struct Side {
    snapshot: Snapshot,
    definitions: HashMap<(&'static str, String), Definition>,
    /// By the address of a route: the name that its definition has.
    routes: HashMap<usize, Arc<str>>,
}

/// Where a request comes to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reached {
    Route(#[serde(serialize_with = "text")] Arc<str>),
    /// An answer of the edge's own before there was a route.
    Answer {
        status: u16,
        code: &'static str,
    },
}

/// What two policies say of one request.
pub(super) struct Verdict {
    pub(super) old: Reached,
    pub(super) new: Reached,
    /// As the log names it.
    pub(super) old_route: Option<Arc<str>>,
    /// Names of the rules of its host, where they are not the same.
    pub(super) hosts: Option<(Arc<str>, Arc<str>)>,
    pub(super) is_same: bool,
}

/// The old policy and the new one.
pub struct Comparison {
    old: Side,
    new: Side,
    /// Routes and hosts that both have, and for whose requests something changed.
    touched_routes: HashSet<String>,
    touched_hosts: HashSet<String>,
}

impl Side {
    /// As loaded from `folder`.
    ///
    /// # Errors
    /// What the policy refers to cannot be used.
    pub fn new(policy: Policy, folder: &Path, now: Instant) -> anyhow::Result<Self> {
        let definitions = describe(&policy, folder).into_iter();
        let definitions = definitions.map(|it| ((it.kind, it.name.clone()), it));
        let routes = named_routes(&policy).map(|(name, route)| (address(route), name.into()));
        Ok(Self {
            definitions: definitions.collect(),
            routes: routes.collect(),
            snapshot: Snapshot::offline(Arc::new(policy), None, now)?,
        })
    }

    fn decide(&self, question: &Question) -> Result<Place, Unaskable> {
        let Decision {
            route,
            answer,
            host_rules,
            ..
        } = decide(&self.snapshot, question)?;
        let reached = match (&route, answer) {
            // What comes after the route rests on what the log does not have.
            (Some(route), _) => {
                let name = self.routes.get(&address(route));
                Reached::Route(name.unwrap_or(&route.name).clone())
            }
            (None, Some(Answer { status, code })) => Reached::Answer { status, code },
            (None, None) => Reached::Answer {
                status: 0,
                code: "",
            },
        };
        Ok(Place {
            reached,
            route: route.map(|route| route.name.clone()),
            host: host_rules.map(|host| host.name.clone()),
        })
    }

    fn definition(&self, kind: &'static str, name: &str) -> Option<&Definition> {
        self.definitions.get(&(kind, name.to_owned()))
    }
}

/// Where one policy lets a request come to.
struct Place {
    reached: Reached,
    route: Option<Arc<str>>,
    host: Option<Arc<str>>,
}

impl Comparison {
    pub fn new(old: Side, new: Side) -> Self {
        let mut comparison = Self {
            old,
            new,
            touched_routes: HashSet::new(),
            touched_hosts: HashSet::new(),
        };
        let touched = |wanted| {
            let names = comparison.new.definitions.keys();
            names
                .filter(|(kind, name)| {
                    *kind == wanted && !comparison.changes(kind, name, name).is_empty()
                })
                .map(|(_, name)| name.clone())
                .collect()
        };
        (comparison.touched_routes, comparison.touched_hosts) = (touched("route"), touched("host"));
        comparison
    }

    /// # Errors
    /// The question is not about a request that could be sent.
    pub(super) fn judge(&self, question: &Question) -> Result<Verdict, Unaskable> {
        let (old, new) = (self.old.decide(question)?, self.new.decide(question)?);
        let hosts = old.host.zip(new.host);
        let hosts = hosts.filter(|(old, new)| self.differ("host", &self.touched_hosts, old, new));
        let is_same = hosts.is_none()
            && match (&old.reached, &new.reached) {
                (Reached::Route(old), Reached::Route(new)) => {
                    old == new && !self.differ("route", &self.touched_routes, old, new)
                }
                (old, new) => old == new,
            };
        Ok(Verdict {
            old: old.reached,
            new: new.reached,
            old_route: old.route,
            hosts,
            is_same,
        })
    }

    fn differ(&self, kind: &'static str, touched: &HashSet<String>, old: &str, new: &str) -> bool {
        if old == new {
            return touched.contains(new);
        }
        !self.changes(kind, old, new).is_empty()
    }

    /// What changed for requests that came to the one and come to the other: what they say, and
    /// what the definitions say that they use.
    pub(super) fn changes(&self, kind: &'static str, old: &str, new: &str) -> Vec<Change> {
        let before = self.old.definition(kind, old);
        let after = self.new.definition(kind, new);
        let mut changes: Vec<Change> = diff::change(before, after).into_iter().collect();
        for change in &mut changes {
            change
                .settings
                .retain(|change| !WHICH.contains(&change.key));
        }
        let mut seen = HashSet::new();
        let uses = before.into_iter().chain(after).flat_map(|it| &it.uses);
        for (kind, name) in uses {
            if seen.insert((kind, name)) {
                let (before, after) = (
                    self.old.definition(kind, name),
                    self.new.definition(kind, name),
                );
                // One that came or went is in the settings of who uses it.
                let change = diff::change(before, after);
                changes.extend(change.filter(|change| change.what == What::Changed));
            }
        }
        changes.retain(|change| !change.settings.is_empty());
        changes
    }
}

/// While the policy lives, no two routes have the same.
fn address(route: &Arc<Route>) -> usize {
    Arc::as_ptr(route).addr()
}

fn text<S: Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

impl std::fmt::Display for Reached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Route(name) => write!(f, "route {name}"),
            Self::Answer { status, code } => write!(f, "{status} {code}"),
        }
    }
}
