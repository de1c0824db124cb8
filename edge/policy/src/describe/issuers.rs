//! Token issuers, in words.

use std::path::Path;

use palisade_token::{Algorithm, IssuerSpec, JwksSource};

use super::{Definition, clusters, written_path};
use crate::compile::values::written;
use crate::model::{IssuerId, OnStale, Policy, Revocations};

pub(super) const KIND: &str = "issuer";

pub(super) fn issuer(policy: &Policy, id: IssuerId, folder: &Path) -> Option<Definition> {
    let mut it = rules(policy.issuers.get(id.0)?, folder);
    if let Some(told) = policy.revocations.get(&id) {
        revocations(&mut it, told, policy);
    }
    Some(it)
}

fn revocations(it: &mut Definition, told: &Revocations, policy: &Policy) {
    let Revocations {
        cluster,
        on_stale,
        stale_after,
    } = told;
    let cluster = policy.clusters.get(cluster.0);
    let cluster = cluster.map_or("", |cluster| &*cluster.name);
    it.uses.push((clusters::KIND, cluster.to_owned()));
    it.set("revocations.cluster", cluster);
    let on_stale = match on_stale {
        OnStale::Allow => "allow",
        OnStale::Deny => "deny",
    };
    it.set("revocations.on_stale", on_stale);
    it.set("revocations.stale_after", written(*stale_after));
}

fn rules(spec: &IssuerSpec, folder: &Path) -> Definition {
    let IssuerSpec {
        name,
        issuer,
        audiences,
        algorithms,
        leeway,
        require_nbf,
        token_types,
        source,
        ca,
        refresh,
        cooldown,
    } = spec;
    let mut it = Definition::new(KIND, name, None);
    it.set("issuer", issuer);
    it.each("audiences", audiences);
    it.list(
        "algorithms",
        algorithms.iter().copied().map(Algorithm::as_jose),
    );
    it.set("leeway", written(*leeway));
    it.set("require_nbf", require_nbf);
    it.list("token_types", token_types);
    match source {
        JwksSource::File(path) => it.set("jwks.file", written_path(path, folder)),
        JwksSource::Url(url) => it.set("jwks.url", url),
    }
    it.set_if("jwks.ca", ca.as_ref().map(|ca| written_path(ca, folder)));
    it.set("jwks.refresh", written(*refresh));
    it.set("jwks.cooldown", written(*cooldown));
    it
}
