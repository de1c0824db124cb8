//! Token issuers, in words.

use std::path::Path;

use palisade_token::{Algorithm, IssuerSpec, JwksSource};

use super::{Definition, written_path};
use crate::compile::values::written;

pub(super) const KIND: &str = "issuer";

pub(super) fn issuer(spec: &IssuerSpec, folder: &Path) -> Definition {
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
