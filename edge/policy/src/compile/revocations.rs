//! Where issuers tell which of their tokens are dead.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::{Compiler, Index, quoted};
use crate::codes;
use crate::diagnostic::Fault;
use crate::document::{IssuerDoc, OnStaleDoc, RevocationsDoc};
use crate::field::At;
use crate::model::{Cluster, ClusterId, IssuerId, OnStale, Revocations, UpstreamProtocol};

const STALE_AFTER: Duration = Duration::from_secs(30);
/// Shorter is less than two signs of life of a stream.
const STALE_AFTER_BOUNDS: RangeInclusive<Duration> =
    Duration::from_secs(10)..=Duration::from_secs(3_600);

impl Compiler<'_> {
    pub(super) fn revocations(
        &mut self,
        issuers: &[&At<IssuerDoc>],
        names: &Index<'_>,
        clusters: &[Cluster],
    ) -> HashMap<IssuerId, Revocations> {
        let mut all = HashMap::new();
        for (position, issuer) in issuers.iter().enumerate() {
            let Some(at) = issuer.value.revocations.given() else {
                continue;
            };
            let name = issuer.value.name.given().map_or("", |name| &name.value);
            let owner = format!("issuer {}", quoted(name));
            if let Some(rule) = self.revocations_of(at, &owner, names, clusters) {
                all.insert(IssuerId(position), rule);
            }
        }
        all
    }

    fn revocations_of(
        &mut self,
        at: &At<RevocationsDoc>,
        owner: &str,
        names: &Index<'_>,
        clusters: &[Cluster],
    ) -> Option<Revocations> {
        let doc = &at.value;
        let stale_after = self.duration(&doc.stale_after, STALE_AFTER, STALE_AFTER_BOUNDS);
        let cluster = self.required(&doc.cluster, at.mark, "rule of revocations", "cluster")?;
        Some(Revocations {
            cluster: self.asked_cluster(cluster, owner, names, clusters)?,
            on_stale: match doc.on_stale.given().map(|at| at.value) {
                Some(OnStaleDoc::Deny) => OnStale::Deny,
                Some(OnStaleDoc::Allow) | None => OnStale::Allow,
            },
            stale_after,
        })
    }

    /// A cluster that the edge itself calls.
    pub(super) fn asked_cluster(
        &mut self,
        name: &At<String>,
        owner: &str,
        names: &Index<'_>,
        clusters: &[Cluster],
    ) -> Option<ClusterId> {
        let id = ClusterId(self.find(name, names, owner)?);
        let speaks_grpc = |cluster: &Cluster| matches!(cluster.protocol, UpstreamProtocol::Grpc);
        if !clusters.get(id.0).is_some_and(speaks_grpc) {
            let message = format!("cluster {} is asked in gRPC", quoted(&name.value));
            let fault = Fault::new(codes::CONTRADICTION, message);
            self.report
                .push(name.mark, fault.hint("give it `protocol: grpc`"));
            return None;
        }
        Some(id)
    }
}
