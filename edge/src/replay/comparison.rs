//! Two policies: where each lets a request come to, and in what the rules there differ.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use palisade_policy::describe::{Definition, describe};
use palisade_policy::diff::{self, Change, What};
use palisade_policy::model::Policy;
use serde::{Serialize, Serializer};

use crate::explain::{Answer, Decision, Question, Unaskable, decide};
use crate::snapshot::Snapshot;

/// Keys that say which requests a definition is for, and nothing about what happens to them.
const WHICH: [&str; 2] = ["hosts", "matches"];

/// A policy that can be asked.
pub struct Side {
    snapshot: Snapshot,
    definitions: HashMap<(&'static str, String), Definition>,
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
    /// Names of the rules of its host, where they are not the same.
    pub(super) hosts: Option<(Arc<str>, Arc<str>)>,
    pub(super) is_same: bool,
}

/// The old policy and the new one.
pub struct Comparison {
    old: Side,
    new: Side,
    /// Names of routes and hosts that both have, and for whose requests something changed.
    touched: HashSet<(&'static str, String)>,
}

impl Side {
    /// As loaded from `folder`.
    ///
    /// # Errors
    /// What the policy refers to cannot be used.
    pub fn new(policy: Policy, folder: &Path, now: Instant) -> anyhow::Result<Self> {
        let definitions = describe(&policy, folder).into_iter();
        let definitions = definitions.map(|it| ((it.kind, it.name.clone()), it));
        Ok(Self {
            definitions: definitions.collect(),
            snapshot: Snapshot::offline(Arc::new(policy), None, now)?,
        })
    }

    fn decide(&self, question: &Question) -> Result<(Reached, Option<Arc<str>>), Unaskable> {
        let Decision {
            route,
            answer,
            host_rules,
            ..
        } = decide(&self.snapshot, question)?;
        let reached = match (route, answer) {
            // What comes after the route rests on what the log does not have.
            (Some(route), _) => Reached::Route(route.name.clone()),
            (None, Some(Answer { status, code })) => Reached::Answer { status, code },
            (None, None) => Reached::Answer {
                status: 0,
                code: "",
            },
        };
        Ok((reached, host_rules.map(|host| host.name.clone())))
    }

    fn definition(&self, kind: &'static str, name: &str) -> Option<&Definition> {
        self.definitions.get(&(kind, name.to_owned()))
    }
}

impl Comparison {
    pub fn new(old: Side, new: Side) -> Self {
        let mut comparison = Self {
            old,
            new,
            touched: HashSet::new(),
        };
        let names = comparison.new.definitions.keys();
        let names = names.filter(|(kind, name)| {
            matches!(*kind, "route" | "host") && !comparison.changes(kind, name, name).is_empty()
        });
        comparison.touched = names.cloned().collect();
        comparison
    }

    /// # Errors
    /// The question is not about a request that could be sent.
    pub(super) fn judge(&self, question: &Question) -> Result<Verdict, Unaskable> {
        let (old, old_host) = self.old.decide(question)?;
        let (new, new_host) = self.new.decide(question)?;
        let hosts = old_host.zip(new_host);
        let hosts = hosts.filter(|(old, new)| self.differ("host", old, new));
        let is_same = hosts.is_none()
            && match (&old, &new) {
                (Reached::Route(old), Reached::Route(new)) => {
                    old == new && !self.differ("route", old, new)
                }
                _ => old == new,
            };
        Ok(Verdict {
            old,
            new,
            hosts,
            is_same,
        })
    }

    fn differ(&self, kind: &'static str, old: &Arc<str>, new: &Arc<str>) -> bool {
        if old == new {
            return !self.touched.is_empty() && self.touched.contains(&(kind, new.to_string()));
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
