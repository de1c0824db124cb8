//! Remembered tokens: believed for the same rules, keys and times only.

use crate::signer::{EC, NOW, RSA, claims, header, issuer, spec};
use palisade_token::{Algorithm, Refusal, UnixTime, Verifier};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

fn at(seconds: u64) -> UnixTime {
    UnixTime::from_secs(seconds)
}

#[test]
fn a_second_look_is_a_hit_on_the_same_claims() {
    let verifier = Verifier::new(1 << 20);
    let issuer = issuer(spec(), &[EC.jwk("ec")]);
    let token = EC.good("ec");
    let first = verifier.verify(&issuer, &token, NOW).unwrap();
    let second = verifier.verify(&issuer, &token, NOW).unwrap();
    assert!(Arc::ptr_eq(&first, &second));
    let stats = verifier.stats();
    assert_eq!((stats.hits, stats.misses), (1, 1));
}

#[test]
fn a_hit_is_held_to_the_times() {
    let verifier = Verifier::new(1 << 20);
    let issuer = issuer(spec(), &[EC.jwk("ec")]);
    let now = NOW.as_secs();
    let token = EC.token(
        &header(Algorithm::Es256, "ec"),
        &claims(&json!({"nbf": now, "exp": now + 600}).to_string()),
    );
    verifier.verify(&issuer, &token, NOW).unwrap();
    for (when, expected) in [
        (now + 629, None),
        (now + 630, Some(Refusal::Expired)),
        (now - 30, None),
        (now - 31, Some(Refusal::NotYetValid)),
        (now, None),
    ] {
        assert_eq!(verifier.verify(&issuer, &token, at(when)).err(), expected);
    }
    assert_eq!(verifier.stats().misses, 1);
}

#[test]
fn other_rules_never_reuse_a_decision() {
    let verifier = Verifier::new(1 << 20);
    let keys = [EC.jwk("ec"), RSA.jwk("rsa")];
    let token = EC.good("ec");
    verifier
        .verify(&issuer(spec(), &keys), &token, NOW)
        .unwrap();
    let mut audience = spec();
    audience.audiences = vec!["admin".to_owned()];
    let mut algorithms = spec();
    algorithms.algorithms = vec![Algorithm::Rs256];
    let mut types = spec();
    types.token_types = vec!["at+jwt".to_owned()];
    for (changed, expected) in [
        (audience, Refusal::WrongAudience),
        (algorithms, Refusal::UnsupportedAlgorithm),
        (types, Refusal::WrongType),
    ] {
        let outcome = verifier.verify(&issuer(changed, &keys), &token, NOW);
        assert_eq!(outcome.unwrap_err(), expected);
    }
}

#[test]
fn refusals_are_not_remembered() {
    let verifier = Verifier::new(1 << 20);
    let issuer = issuer(spec(), &[EC.jwk("ec")]);
    let now = NOW.as_secs();
    let early = EC.token(
        &header(Algorithm::Es256, "ec"),
        &claims(&json!({"nbf": now + 100}).to_string()),
    );
    assert_eq!(
        verifier.verify(&issuer, &early, NOW).unwrap_err(),
        Refusal::NotYetValid
    );
    assert!(verifier.verify(&issuer, &early, at(now + 100)).is_ok());
    for _ in 0..100 {
        assert!(verifier.verify(&issuer, "a.b.c", NOW).is_err());
    }
    assert_eq!(verifier.stats().hits, 0);
}

#[test]
fn memory_is_bounded() {
    const ENTRIES_MAX: u64 = 8;
    let verifier = Verifier::new(ENTRIES_MAX * 1024);
    let mut spec = spec();
    spec.leeway = Duration::ZERO;
    let issuer = issuer(spec, &[EC.jwk("ec")]);
    for _ in 0..200 {
        // ECDSA signatures are random, so each is another token.
        verifier.verify(&issuer, &EC.good("ec"), NOW).unwrap();
    }
    let settled = (0..100).any(|_| {
        // Each round lets the cache do its pending evictions.
        let _outcome = verifier.verify(&issuer, &EC.good("ec"), NOW);
        verifier.stats().entries <= ENTRIES_MAX
    });
    assert!(settled, "{:?}", verifier.stats());
}
