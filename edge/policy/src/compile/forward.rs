//! Where requests go: backends, and what is done on the way.

use super::routes::{Defined, Names, body_size, is_on};
use super::{Compiler, quoted};
use crate::codes;
use crate::diagnostic::{Fault, shown};
use crate::document::{ClusterDoc, PriorityDoc, RouteDoc, Settings};
use crate::field::{At, Field, items};
use crate::model::{Action, Backend, ClusterId, Forward, Priority};

/// Looked through for each request.
const BACKENDS_MAX: usize = 16;
/// The sum over all backends stays far below what a multiplication could overflow.
const WEIGHT_MAX: u32 = 1_000_000;

impl Compiler<'_> {
    /// What is done with the requests of a route.
    pub(super) fn action(
        &mut self,
        at: &At<RouteDoc>,
        settings: &Settings<'_>,
        (names, defined): (&Names<'_>, &Defined<'_>),
        owner: &str,
    ) -> Action {
        let doc = &at.value;
        if let Some(action) = self.own_answer(at) {
            return action;
        }
        let backends = self.backends(at, names, owner);
        let mut clusters = clusters(doc, names, defined);
        let mirror = self.mirror(doc, &backends, names, owner);
        let mirrored = mirror.as_ref();
        clusters.extend(mirrored.and_then(|mirror| defined.clusters.get(mirror.cluster.0)));
        Action::Forward(Forward {
            backends,
            translate: self.translate(&doc.translate, &clusters),
            rewrite: self.rewrite(doc),
            retries: self.retries(settings),
            mirror,
        })
    }

    /// Never empty: something stands in for what is at fault.
    fn backends(&mut self, at: &At<RouteDoc>, names: &Names<'_>, owner: &str) -> Vec<Backend> {
        let doc = &at.value;
        let Some(list) = doc.backends.given() else {
            let cluster = doc.cluster.given();
            let cluster = cluster.and_then(|cluster| self.find(cluster, &names.clusters, owner));
            return vec![backend(cluster.unwrap_or_default(), 1)];
        };
        self.required_list(&doc.backends, at.mark, "route", "backends");
        let mut backends: Vec<Backend> = Vec::new();
        for item in items(&doc.backends) {
            let weight = self.number(&item.value.weight, 1, 0..=WEIGHT_MAX);
            let cluster = self.required(&item.value.cluster, item.mark, "backend", "cluster");
            let Some(cluster) = cluster else { continue };
            let Some(position) = self.find(cluster, &names.clusters, owner) else {
                continue;
            };
            let id = ClusterId(position);
            if backends.iter().any(|backend| backend.cluster == id) {
                let message = format!("{} is listed twice", shown(&cluster.value));
                self.report
                    .push(cluster.mark, Fault::new(codes::REPEATED, message));
            } else if backends.len() >= BACKENDS_MAX {
                let message = format!("more than {BACKENDS_MAX} backends");
                self.report
                    .push(item.mark, Fault::new(codes::TOO_MUCH, message));
                break;
            } else {
                backends.push(backend(position, weight));
            }
        }
        if backends.is_empty() {
            return vec![backend(0, 1)];
        }
        if backends.iter().all(|backend| backend.weight == 0) {
            let message = format!("the backends of {owner} have no weight: no request can go out");
            let fault = Fault::new(codes::WEIGHTS, message);
            self.report
                .push(list.mark, fault.hint("leave `weight` out for a share of 1"));
        }
        backends
    }

    /// Each cluster must be able to.
    fn translate(&mut self, field: &Field<bool>, clusters: &[&At<ClusterDoc>]) -> bool {
        let Some(translate) = field.given().filter(|translate| translate.value) else {
            return is_on(field);
        };
        for cluster in clusters {
            if !cluster.value.descriptors.is_absent() || !cluster.value.reflection.is_absent() {
                continue;
            }
            let name = cluster.value.name.given().map_or("", |name| &name.value);
            let fault = Fault::new(
                codes::NO_DESCRIPTORS,
                format!(
                    "cluster {} has no `descriptors` to translate by",
                    quoted(name)
                ),
            );
            self.report.push(
                translate.mark,
                fault.hint(
                    "name a protobuf FileDescriptorSet in the cluster's `descriptors`, or ask the endpoints with `reflection: {}`",
                ),
            );
        }
        true
    }

    pub(super) fn response_body_max(&mut self, settings: &Settings<'_>) -> Option<u64> {
        let written = settings.response_body_max.given()?;
        self.report.check(written.mark, body_size(&written.value))
    }
}

fn backend(position: usize, weight: u32) -> Backend {
    Backend {
        cluster: ClusterId(position),
        weight,
    }
}

/// The definitions of the clusters that a route names, as far as there are any.
pub(super) fn clusters<'d>(
    doc: &RouteDoc,
    names: &Names<'_>,
    defined: &Defined<'d>,
) -> Vec<&'d At<ClusterDoc>> {
    let several = items(&doc.backends).filter_map(|backend| backend.value.cluster.given());
    let written = doc.cluster.given().into_iter().chain(several);
    let positions = written.filter_map(|name| names.clusters.positions.get(name.value.as_str()));
    positions
        .filter_map(|position| defined.clusters.get(*position).copied())
        .collect()
}

pub(super) fn priority(settings: &Settings<'_>) -> Priority {
    match settings.priority.given().map(|at| at.value) {
        Some(PriorityDoc::Critical) => Priority::Critical,
        Some(PriorityDoc::High) => Priority::High,
        None | Some(PriorityDoc::Normal) => Priority::Normal,
        Some(PriorityDoc::Low) => Priority::Low,
    }
}
