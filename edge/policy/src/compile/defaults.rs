//! What routes inherit: from the `defaults` of the request's host, then from the `defaults` of all.
//!
//! A route is compiled once for all hosts, and once more for each host that has `defaults` of its
//! own and that requests of the route can be for; the request path only picks.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::Compiler;
use crate::codes;
use crate::diagnostic::{Fault, Mark};
use crate::document::{DefaultsDoc, Document, HostDoc};
use crate::field::{At, Field};
use crate::hosts::{HostId, HostTable};
use crate::routing::HostMatch;

/// Routes compiled anew for a host, over all routes: as many as there may be routes.
const VARIANTS_MAX: usize = 100_000;

/// Layers of defaults, the nearest first.
pub(super) struct Inheritance<'d> {
    everywhere: Vec<&'d DefaultsDoc>,
    /// Hosts with `defaults` of their own.
    hosts: BTreeMap<HostId, &'d DefaultsDoc>,
    /// Patterns of all hosts, reversed: those below a wildcard stand together.
    patterns: BTreeMap<String, HostId>,
    table: &'d HostTable,
}

/// What holds for one route.
pub(super) struct Layers<'d> {
    /// Wherever no variant does.
    pub(super) base: Vec<&'d DefaultsDoc>,
    /// Hosts with `defaults` of their own that its requests can be for, sorted.
    pub(super) variants: Vec<(HostId, Vec<&'d DefaultsDoc>)>,
}

impl<'d> Inheritance<'d> {
    /// Under hosts without `defaults` of their own.
    pub(super) fn everywhere(&self) -> &[&'d DefaultsDoc] {
        &self.everywhere
    }

    /// For a route with these hosts; none is every host.
    pub(super) fn of(&self, hosts: &[HostMatch]) -> Layers<'d> {
        let everywhere = || self.everywhere.clone();
        if self.hosts.is_empty() {
            return Layers {
                base: everywhere(),
                variants: Vec::new(),
            };
        }
        let any = [HostMatch::Any];
        let hosts = if hosts.is_empty() { &any } else { hosts };
        let ids: BTreeSet<HostId> = hosts.iter().flat_map(|host| self.reached(host)).collect();
        let own = |id| self.hosts.get(id).copied();
        let variants = ids.iter().filter_map(|id| {
            let layers = own(id).into_iter().chain(everywhere());
            own(id).map(|_| (*id, layers.collect()))
        });
        let mut variants: Vec<(HostId, Vec<_>)> = variants.collect();
        let base = if ids.iter().any(|id| own(id).is_none()) || variants.is_empty() {
            everywhere()
        } else {
            // No request is for another host: what holds there must not be judged.
            variants.remove(0).1
        };
        Layers { base, variants }
    }

    fn reached(&self, host: &HostMatch) -> Vec<HostId> {
        match host {
            HostMatch::Exact(name) => vec![self.table.find(name).id],
            HostMatch::Wildcard(suffix) => {
                let reversed = reversed(suffix);
                let below = self
                    .patterns
                    .range(reversed.clone()..)
                    .take_while(|(pattern, _)| pattern.starts_with(&reversed))
                    .map(|(_, id)| *id);
                // And the entry of those hosts below that no other entry names.
                let covering = self.table.find(&format!("*{suffix}")).id;
                below.chain([covering]).collect()
            }
            HostMatch::Any => self.table.hosts().iter().map(|host| host.id).collect(),
        }
    }
}

fn reversed(text: &str) -> String {
    text.chars().rev().collect()
}

impl Compiler<'_> {
    pub(super) fn inheritance<'d>(
        &mut self,
        documents: &'d [Document],
        hosts: &[&'d At<HostDoc>],
        table: &'d HostTable,
    ) -> Inheritance<'d> {
        let mut inheritance = Inheritance {
            everywhere: Vec::new(),
            hosts: BTreeMap::new(),
            patterns: BTreeMap::new(),
            table,
        };
        // As its other keys, those of the entry for every host hold where an entry is silent.
        let of_any = hosts.iter().find(|at| at.value.hosts.is_absent());
        let of_any = of_any.and_then(|at| at.value.defaults.given());
        inheritance.everywhere.extend(of_any.map(|at| &at.value));
        inheritance.everywhere.extend(self.global(documents));
        // In the order in which `host_rules` numbers them.
        let named = hosts.iter().filter(|at| !at.value.hosts.is_absent());
        for (at, host) in named.zip(table.hosts().iter().skip(1)) {
            if let Some(defaults) = at.value.defaults.given() {
                inheritance.hosts.insert(host.id, &defaults.value);
            }
            for pattern in &host.patterns {
                if let HostMatch::Exact(text) | HostMatch::Wildcard(text) = pattern {
                    inheritance.patterns.insert(reversed(text), host.id);
                }
            }
        }
        inheritance
    }

    /// Two maps of `defaults` would be merged in an order that nobody sees.
    fn global<'d>(&mut self, documents: &'d [Document]) -> Option<&'d DefaultsDoc> {
        let mut given = documents.iter().filter_map(|doc| doc.defaults.given());
        let first = given.next()?;
        for another in given {
            let message = format!(
                "`defaults` are defined twice, first at {}",
                self.place(first.mark)
            );
            let mark = Mark {
                length: 1,
                ..another.mark
            };
            self.report
                .push(mark, Fault::new(codes::DEFINED_TWICE, message));
        }
        Some(&first.value)
    }

    /// A duration that `off` undoes where it is inherited.
    pub(super) fn duration_or_off(
        &mut self,
        field: &Field<String>,
        bounds: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        match field.given() {
            Some(at) if at.value == "off" => None,
            _ => self.optional_duration(field, bounds),
        }
    }

    pub(super) fn too_many_variants(&mut self, mark: Mark, variants: usize) -> bool {
        if variants <= VARIANTS_MAX {
            return false;
        }
        let message = format!(
            "more than {VARIANTS_MAX} combinations of routes and hosts with `defaults` of their own"
        );
        self.report.push(
            Mark { length: 1, ..mark },
            Fault::new(codes::TOO_MUCH, message)
                .hint("give the routes `hosts`, or write the defaults for all hosts"),
        );
        true
    }
}
