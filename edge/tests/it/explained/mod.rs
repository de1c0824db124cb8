//! What `explain` says against what the edge does: the same, request by request.

mod agreement;
mod gate;
mod live;
mod requests;
mod traffic;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use palisade_edge::request_ctx::Now;
use palisade_edge::snapshot::Snapshot;

use crate::harness::files::{Files, replace};
use crate::harness::tokens::{Signer, issuer_from_file};

const POLICY: &str = include_str!("policy.yaml");

/// A policy that decides by everything, and who signs its tokens.
struct Rich {
    files: Files,
    signer: Signer,
}

impl Rich {
    fn new(web: SocketAddr, api: SocketAddr) -> Self {
        palisade_edge::crypto::install();
        let files = Files::new();
        let signer = Signer::new("k1");
        let keys = files.root().join("jwks.json");
        replace(&keys, signer.jwks().as_bytes());
        let text = POLICY
            .replace("WEB", &web.to_string())
            .replace("API", &api.to_string());
        files.write_policy("policy.yaml", &text);
        files.write_policy(
            "issuers.yaml",
            &format!("version: 1\n{}", issuer_from_file(&keys)),
        );
        Self { files, signer }
    }
}

/// The folder without an edge.
fn offline(policies: &Path) -> Snapshot {
    let loaded = palisade_policy::load(policies);
    let loaded = loaded.unwrap_or_else(|diagnostics| panic!("{diagnostics}"));
    Snapshot::offline(Arc::new(loaded.policy), None, Now::monotonic()).expect("a snapshot")
}
