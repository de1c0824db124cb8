//! The access tokens of this project, as the core services check them as well.

use std::time::Duration;

use palisade_token::{Algorithm, IssuerSpec, JwksSource, UnixTime};
use serde_json::{Value, json};

use crate::{attacks::verify, signer, vectors::Vectors};

#[test]
fn every_vector_comes_to_what_it_must() {
    let vectors = Vectors::read();
    let nowhere = JwksSource::File("unused".into());
    let audience = vectors.text("audience");
    let mut spec = IssuerSpec::new("identity", vectors.text("issuer"), &[audience], nowhere);
    spec.algorithms = vec![Algorithm::EdDsa];
    spec.require_nbf = true;
    spec.token_types = vec![vectors.text("type").to_owned()];
    spec.leeway = Duration::from_secs(vectors.number("leeway_seconds"));
    let keys: Vec<Value> = vectors
        .trusted()
        .iter()
        .map(|(kid, key)| json!({"kty":"OKP","crv":"Ed25519","kid":kid,"x":signer::encode(key)}))
        .collect();
    let issuer = signer::issuer(spec, &keys);
    let now = UnixTime::from_secs(vectors.number("now"));
    let cases = vectors.cases();
    assert!(cases.len() > 60);
    for case in cases {
        let got = verify(&issuer, &case.token, now);
        let got = got.map_or_else(|refusal| refusal.code(), |_| "ok");
        assert_eq!(got, case.expect, "{}", case.name);
    }
}
