//! Requests counted by what would be otherwise; every table has a bound.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Place;
use std::hash::Hash;
use std::sync::Arc;

use palisade_policy::diff::Change;
use serde::Serialize;

use super::comparison::{Comparison, Reached, Verdict};
use super::entry::Entry;

/// Groups of requests; what would be one more is counted together with others like it.
const GROUPS_MAX: usize = 10_000;
/// Groups of requests that the old policy does not explain.
const UNLIKE_MAX: usize = 1_000;
/// Lines that cannot be used of which the number is kept.
const COMPLAINTS_MAX: usize = 5;
/// Characters kept of a text of the log.
const SHOWN_CHARS_MAX: usize = 256;

/// What one worker counted.
#[derive(Default)]
pub(super) struct Tally {
    lines: u64,
    judged: u64,
    others: u64,
    unusable: u64,
    complaints: Vec<Complaint>,
    groups: Groups<Key>,
    unlike: Groups<(Logged, Reached)>,
}

type Key = (Reached, Reached, Option<(Arc<str>, Arc<str>)>);

/// The route that the log names; none where there was none.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Logged {
    pub route: Option<String>,
    pub reason: Option<String>,
}

/// What came of a replay.
#[derive(Debug, Serialize)]
pub struct Report {
    pub lines: u64,
    /// Decided by both policies.
    pub judged: u64,
    /// Of these, decided otherwise by the new one.
    pub otherwise: u64,
    /// The largest first.
    pub groups: Vec<Group>,
    /// Decided otherwise, in groups beyond the bound.
    pub in_further_groups: u64,
    /// Not judged, because the old policy does not decide what the log says.
    pub unlike: u64,
    pub unlike_groups: Vec<Unlike>,
    /// Lines that tell of something else than a request.
    pub others: u64,
    pub unusable: u64,
    /// The first lines that cannot be used, and why.
    pub complaints: Vec<Complaint>,
}

/// Requests for which the same is otherwise.
#[derive(Debug, Serialize)]
pub struct Group {
    pub requests: u64,
    pub old: Reached,
    pub new: Reached,
    /// Of the route, of what it uses, and of the host.
    pub changes: Vec<Change>,
    pub example: Example,
}

/// Requests that came to another place than the old policy lets them.
#[derive(Debug, Serialize)]
pub struct Unlike {
    pub requests: u64,
    pub logged: Logged,
    pub old: Reached,
    pub example: Example,
}

/// The first request of a group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Example {
    pub line: u64,
    pub method: String,
    pub host: String,
    pub path: String,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Complaint {
    pub line: u64,
    pub reason: String,
}

impl Tally {
    pub(super) fn count(&mut self, line: u64, entry: &Entry, comparison: &Comparison) {
        let verdict = match comparison.judge(&entry.question) {
            Ok(verdict) => verdict,
            Err(reason) => {
                let reason = reason.to_string();
                // The hint is for those who wrote the question.
                return self.complain(line, shown(reason.lines().next().unwrap_or("")));
            }
        };
        self.lines += 1;
        if !entry.is_explained_by(&verdict) {
            let logged = Logged {
                route: entry.route.as_deref().map(shown),
                reason: entry.reason.as_deref().map(shown),
            };
            let key = (logged, verdict.old);
            return self.unlike.add(key, UNLIKE_MAX, || entry.example(line));
        }
        self.judged += 1;
        if !verdict.is_same {
            let key = (verdict.old, verdict.new, verdict.hosts);
            self.groups.add(key, GROUPS_MAX, || entry.example(line));
        }
    }

    /// A line about something else than a request.
    pub(super) fn other(&mut self) {
        self.lines += 1;
        self.others += 1;
    }

    /// A line that cannot be used.
    pub(super) fn complain(&mut self, line: u64, reason: String) {
        self.lines += 1;
        self.unusable += 1;
        if self.complaints.len() < COMPLAINTS_MAX {
            self.complaints.push(Complaint { line, reason });
        }
    }

    pub(super) fn merge(&mut self, other: Self) {
        let Self {
            lines,
            judged,
            others,
            unusable,
            complaints,
            groups,
            unlike,
        } = other;
        self.lines += lines;
        self.judged += judged;
        self.others += others;
        self.unusable += unusable;
        self.complaints.extend(complaints);
        self.complaints.sort();
        self.complaints.truncate(COMPLAINTS_MAX);
        self.groups.merge(groups, GROUPS_MAX);
        self.unlike.merge(unlike, UNLIKE_MAX);
    }

    pub(super) fn report(self, comparison: &Comparison) -> Report {
        let (otherwise, unlike) = (self.groups.total(), self.unlike.total());
        let in_further_groups = self.groups.further;
        let groups = self.groups.largest_first();
        let groups = groups.map(|((old, new, hosts), count)| {
            let mut changes = Vec::new();
            if let (Reached::Route(old), Reached::Route(new)) = (&old, &new) {
                changes = comparison.changes("route", old, new);
            }
            if let Some((old, new)) = hosts {
                changes.extend(comparison.changes("host", &old, &new));
            }
            Group {
                requests: count.requests,
                old,
                new,
                changes,
                example: count.example,
            }
        });
        let unlike_groups = self.unlike.largest_first();
        let unlike_groups = unlike_groups.map(|((logged, old), count)| Unlike {
            requests: count.requests,
            logged,
            old,
            example: count.example,
        });
        Report {
            lines: self.lines,
            judged: self.judged,
            otherwise,
            groups: groups.collect(),
            in_further_groups,
            unlike,
            unlike_groups: unlike_groups.collect(),
            others: self.others,
            unusable: self.unusable,
            complaints: self.complaints,
        }
    }
}

impl Entry {
    /// Whether the old policy decides what the log says was decided.
    fn is_explained_by(&self, verdict: &Verdict) -> bool {
        match verdict.old {
            Reached::Route(_) => self.route.as_deref() == verdict.old_route.as_deref(),
            Reached::Answer { code, .. } => {
                self.route.is_none() && self.reason.as_deref() == Some(code)
            }
        }
    }

    fn example(&self, line: u64) -> Example {
        Example {
            line,
            method: shown(&self.question.method),
            host: shown(&self.host),
            path: shown(&self.path),
        }
    }
}

fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or("")),
        None => text.to_owned(),
    }
}

/// Counts by key, with the first example of each.
struct Groups<K> {
    counts: HashMap<K, Count>,
    /// Beyond the bound.
    further: u64,
}

struct Count {
    requests: u64,
    example: Example,
}

impl<K> Default for Groups<K> {
    fn default() -> Self {
        Self {
            counts: HashMap::new(),
            further: 0,
        }
    }
}

impl<K: Eq + Hash + Ord> Groups<K> {
    fn add(&mut self, key: K, most: usize, example: impl FnOnce() -> Example) {
        let is_full = self.counts.len() >= most;
        match self.counts.entry(key) {
            Place::Occupied(mut count) => count.get_mut().requests += 1,
            Place::Vacant(_) if is_full => self.further += 1,
            Place::Vacant(place) => {
                place.insert(Count {
                    requests: 1,
                    example: example(),
                });
            }
        }
    }

    fn merge(&mut self, other: Self, most: usize) {
        self.further += other.further;
        for (key, count) in other.counts {
            let is_full = self.counts.len() >= most;
            match self.counts.entry(key) {
                Place::Occupied(mut ours) => {
                    let ours = ours.get_mut();
                    ours.requests += count.requests;
                    if count.example < ours.example {
                        ours.example = count.example;
                    }
                }
                Place::Vacant(_) if is_full => self.further += count.requests,
                Place::Vacant(place) => {
                    place.insert(count);
                }
            }
        }
    }

    fn total(&self) -> u64 {
        let counted: u64 = self.counts.values().map(|count| count.requests).sum();
        counted + self.further
    }

    fn largest_first(self) -> impl Iterator<Item = (K, Count)> {
        let mut groups: Vec<(K, Count)> = self.counts.into_iter().collect();
        groups.sort_by(|(key, count), (other_key, other)| {
            let by_size = other.requests.cmp(&count.requests);
            by_size.then_with(|| key.cmp(other_key))
        });
        groups.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(line: u64) -> Example {
        Example {
            line,
            method: "GET".to_owned(),
            host: String::new(),
            path: "/".to_owned(),
        }
    }

    #[test]
    fn groups_are_bounded_and_nothing_is_lost() {
        let mut one = Groups::default();
        for line in 0..100_u64 {
            one.add(line % 20, 10, || example(line));
        }
        assert_eq!((one.counts.len(), one.further, one.total()), (10, 50, 100));
        let mut other = Groups::default();
        for line in 100..200_u64 {
            other.add(line % 10 + 5, 10, || example(line));
        }
        one.merge(other, 10);
        assert_eq!((one.counts.len(), one.further, one.total()), (10, 100, 200));
        let largest: Vec<_> = one.largest_first().take(6).collect();
        assert_eq!(largest[0].0, 5);
        assert_eq!(largest[0].1.requests, 15);
        assert_eq!(largest[0].1.example.line, 5, "the first one stays");
        assert_eq!(largest[5].1.requests, 5);
    }
}
