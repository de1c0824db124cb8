//! Where requests go: backends, and what is done on the way.

use super::routes::{Defined, Names, is_on};
use super::{Compiler, quoted};
use crate::codes;
use crate::diagnostic::Fault;
use crate::document::{ClusterDoc, RouteDoc};
use crate::field::{At, Field};
use crate::model::{Action, Backend, ClusterId, Forward};

impl Compiler<'_> {
    /// What is done with the requests of a route.
    pub(super) fn action(
        &mut self,
        at: &At<RouteDoc>,
        (names, defined): (&Names<'_>, &Defined<'_>),
        owner: &str,
    ) -> Action {
        let doc = &at.value;
        if let Some(action) = self.own_answer(at) {
            return action;
        }
        let cluster = self.required(&doc.cluster, at.mark, "route", "cluster");
        let cluster = cluster.and_then(|cluster| self.find(cluster, &names.clusters, owner));
        let backend = Backend {
            cluster: ClusterId(cluster.unwrap_or_default()),
            weight: 1,
        };
        let cluster = cluster.and_then(|position| defined.clusters.get(position).copied());
        Action::Forward(Forward {
            backends: vec![backend],
            translate: self.translate(&doc.translate, cluster),
            rewrite: self.rewrite(doc),
            retries: None,
            mirror: None,
        })
    }

    fn translate(&mut self, field: &Field<bool>, cluster: Option<&At<ClusterDoc>>) -> bool {
        let (Some(translate), Some(cluster)) = (field.given(), cluster) else {
            return is_on(field);
        };
        if translate.value && cluster.value.descriptors.is_absent() {
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
                fault.hint("name a protobuf FileDescriptorSet in the cluster's `descriptors`"),
            );
        }
        translate.value
    }
}
