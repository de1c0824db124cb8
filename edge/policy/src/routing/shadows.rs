//! Rules that no request can reach, because those before them take all that they match.
//!
//! Only what is certain: rules are compared with those of the same host and path, and regular
//! expressions with the prefixes in front of them. A rule that several others cover together is
//! found where each of its methods is covered by one of them.

use std::collections::HashMap;
use std::sync::Arc;

use http::Method;

use super::paths::PathTable;
use super::{RouteTable, Rule};
use crate::model::{Conditions, Regex, ValueMatch};

/// Rules before it that a rule is compared with: a list of thousands must not cost their square.
const COMPARED_MAX: usize = 64;

/// A rule in the shadow of others, by position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Shadow {
    pub(crate) rule: usize,
    /// The first of those that take its requests.
    pub(crate) by: usize,
}

impl RouteTable {
    /// In the order of the files.
    pub(crate) fn shadows(&self) -> Vec<Shadow> {
        // How many of its hosts each rule has lost, and to whom first.
        let mut lost: HashMap<usize, (usize, usize)> = HashMap::new();
        for table in self.tables() {
            for (rule, by) in self.shadows_in(table) {
                lost.entry(rule).or_insert((0, by)).0 += 1;
            }
        }
        let everywhere = lost.into_iter().filter_map(|(rule, (hosts, by))| {
            let all = self.rules.get(rule)?.hosts().len();
            (hosts >= all).then_some(Shadow { rule, by })
        });
        let mut shadows: Vec<Shadow> = everywhere.collect();
        shadows.sort();
        shadows
    }

    fn shadows_in(&self, table: &PathTable) -> Vec<(usize, usize)> {
        let mut found: Vec<(usize, usize)> = Vec::new();
        for list in table.lists() {
            for (at, rule) in list.iter().enumerate() {
                let start = at.saturating_sub(COMPARED_MAX);
                let before = list.get(start..at).unwrap_or_default();
                let by = self.covered(*rule, before);
                found.extend(by.map(|by| (*rule, by)));
            }
        }
        for (regex, list) in table.regexes() {
            let before = prefixes_of(table, regex);
            for rule in list.iter().filter(|_| !before.is_empty()) {
                let is_known = found.iter().any(|(known, _)| known == rule);
                let by = self.covered(*rule, &before).filter(|_| !is_known);
                found.extend(by.map(|by| (*rule, by)));
            }
        }
        found
    }

    /// The first of the rules, where each method of `rule` is taken by one of them.
    fn covered(&self, rule: usize, before: &[usize]) -> Option<usize> {
        let rule = self.rules.get(rule)?;
        let by = |method: Option<&Method>| {
            let mut before = before.iter().copied();
            before.find(|at| {
                let other = self.rules.get(*at);
                other.is_some_and(|other| covers(other, rule, method))
            })
        };
        let methods = &rule.conditions.methods;
        if methods.is_empty() {
            return by(None);
        }
        let each: Option<Vec<usize>> = methods.iter().map(|method| by(Some(method))).collect();
        each?.into_iter().min()
    }
}

/// Rules of the longest prefixes under which all paths of the expression are.
fn prefixes_of(table: &PathTable, regex: &Regex) -> Vec<usize> {
    let Some(beginnings) = regex.beginnings() else {
        return table.prefixes_above("/").concat();
    };
    let mut common: Option<Vec<&[usize]>> = None;
    for text in &beginnings {
        // Of a beginning the last segment may go on.
        let text = String::from_utf8_lossy(text);
        let whole = text.rfind('/').and_then(|slash| text.get(..=slash));
        let above = table.prefixes_above(whole.unwrap_or("/"));
        common = Some(match common {
            None => above,
            Some(mut lists) => {
                lists.retain(|list| above.contains(list));
                lists
            }
        });
    }
    common.unwrap_or_default().concat()
}

/// Whether `first` takes every request with this method that `rule` would take.
fn covers(first: &Arc<Rule>, rule: &Arc<Rule>, method: Option<&Method>) -> bool {
    let takes = match method {
        None => first.conditions.methods.is_empty(),
        Some(method) => first.takes(method),
    };
    let (ours, theirs) = (&first.conditions, &rule.conditions);
    // Claims are those of the token that the route takes.
    let same_token = || {
        let credentials = |rule: &Rule| rule.route.auth.as_ref().map(|auth| auth.any_of.clone());
        credentials(first) == credentials(rule)
    };
    takes && ours.follow_from(theirs) && (!ours.ask_for_claims() || same_token())
}

impl Conditions {
    /// Whether these hold wherever the others do, methods aside.
    fn follow_from(&self, others: &Self) -> bool {
        let all_follow = self.all.iter().all(|one| others.all.contains(one));
        all_follow
            && follow(&self.headers, &others.headers)
            && follow(&self.query, &others.query)
            && follow(&self.claims, &others.claims)
            && match (&self.client_addresses, &others.client_addresses) {
                (None, _) => true,
                (Some(_), None) => false,
                (Some(ours), Some(theirs)) => ours.includes(theirs),
            }
            && (self.client_certificate.is_none()
                || self.client_certificate == others.client_certificate)
            && (self.any.is_empty() || self.any == others.any)
            && (self.not.is_none() || self.not == others.not)
    }
}

/// Each of ours is asked for by the others too, as much or more.
fn follow<N: PartialEq>(ours: &[(N, ValueMatch)], theirs: &[(N, ValueMatch)]) -> bool {
    let asked = |name: &N, wanted: &ValueMatch| {
        let mut same = theirs.iter().filter(|(other, _)| other == name);
        same.any(|(_, value)| wanted.includes(value))
    };
    ours.iter().all(|(name, wanted)| asked(name, wanted))
}
