//! JWK sets as issuers publish them, by accident or on purpose.

use crate::signer::{EC, NOW, RSA, Signer, encode, issuer, jwks, spec};
use palisade_token::{Algorithm, KEYS_MAX, KeySet, Verifier};
use serde_json::{Value, json};

fn with(mut jwk: Value, changes: Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        jwk[name] = value.clone();
    }
    jwk
}

fn rsa_of(bytes: usize, first: u8) -> Value {
    let mut n = vec![0xff; bytes];
    n[0] = first;
    json!({"kty":"RSA","alg":"RS256","n":encode(n),"e":"AQAB"})
}

/// Beside one good key, `jwk` is left out with a note that says `why`.
#[track_caller]
fn left_out(jwk: Value, why: &str) {
    let set = KeySet::parse(jwks(&[EC.jwk("good"), jwk]).as_bytes(), &Algorithm::ALL).unwrap();
    assert_eq!(set.len(), 1);
    assert!(set.notes()[0].contains(why), "{:?}", set.notes());
}

#[test]
fn entries_that_are_left_out() {
    left_out(json!("x"), "not an object");
    left_out(json!({}), "`kty` is missing");
    left_out(
        json!({"kty":"oct","kid":"h","k":"AAAA","alg":"HS256"}),
        "symmetric",
    );
    for member in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
        left_out(with(EC.jwk("p"), json!({member:"AAAA"})), "private");
    }
    left_out(with(EC.jwk("e"), json!({"use":"enc"})), "`use`");
    left_out(with(EC.jwk("e"), json!({"use":1})), "string");
    left_out(with(EC.jwk("e"), json!({"key_ops":["sign"]})), "`key_ops`");
    left_out(with(EC.jwk("e"), json!({"key_ops":"verify"})), "`key_ops`");
    left_out(
        with(EC.jwk("e"), json!({"alg":"ES384"})),
        "`alg` is not supported",
    );
    left_out(
        with(EC.jwk("e"), json!({"alg":"HS256"})),
        "`alg` is not supported",
    );
    left_out(with(EC.jwk("e"), json!({"alg":"RS256"})), "does not fit");
    left_out(with(RSA.jwk("e"), json!({"alg":"ES256"})), "does not fit");
    left_out(with(EC.jwk("e"), json!({"crv":"P-384"})), "curve");
    left_out(with(EC.jwk("e"), json!({"kid":7})), "`kid`");
    left_out(with(EC.jwk("e"), json!({"kid":"k".repeat(257)})), "`kid`");
    left_out(
        with(EC.jwk("e"), json!({"x":encode([1; 32])})),
        "not on P-256",
    );
    left_out(with(EC.jwk("e"), json!({"x":encode([1; 31])})), "32 bytes");
    left_out(with(EC.jwk("e"), json!({"x":"a=="})), "base64url");
    left_out(
        json!({"kty":"OKP","crv":"Ed448","x":encode([1; 57])}),
        "curve",
    );
    left_out(
        json!({"kty":"OKP","crv":"X25519","x":encode([1; 32])}),
        "curve",
    );
    left_out(json!({"kty":"OKP","crv":"Ed25519"}), "missing");
    left_out(rsa_of(256, 0x7f), "under 2048");
    left_out(rsa_of(255, 0xff), "under 2048");
    left_out(rsa_of(1025, 0x01), "over 8192");
    for exponent in ["", "AQ", "Ag", "AAEB", "AQAAAAE"] {
        // AAEB is 257 with a zero in front: good. The rest are empty, 1, 2 and 2^32 + 1.
        let jwk = with(RSA.jwk("e"), json!({"e":exponent}));
        if exponent != "AAEB" {
            left_out(jwk, "exponent");
        }
    }
    left_out(
        with(RSA.bare_jwk("e"), json!({})),
        "exactly one RSA algorithm",
    );
}

#[test]
fn sets_that_are_refused() {
    let ec = EC.jwk("a");
    let check = |document: &str, why: &str| {
        let error = KeySet::parse(document.as_bytes(), &Algorithm::ALL).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    };
    check("", "JSON");
    check("{", "JSON");
    check("[]", "JSON");
    check("{}", "`keys`");
    check(r#"{"keys":{}}"#, "`keys`");
    check(r#"{"keys":[],"keys":[]}"#, "repeated");
    check(r#"{"keys":[]}"#, "no usable key");
    check(&jwks(&[json!({"kty":"oct","k":"AAAA"})]), "symmetric");
    check(&jwks(&[ec.clone(), ec.clone()]), "kid `a` twice");
    check(&jwks(&vec![ec.clone(); KEYS_MAX + 1]), "at most");
    check(
        &format!("{}{}", jwks(&[ec]), " ".repeat(64 * 1024)),
        "larger than",
    );
}

#[test]
fn the_same_kid_for_encryption_is_no_duplicate() {
    let encryption = with(EC.jwk("a"), json!({"use":"enc"}));
    let set = KeySet::parse(jwks(&[EC.jwk("a"), encryption]).as_bytes(), &Algorithm::ALL).unwrap();
    assert_eq!(set.len(), 1);
}

#[test]
fn rsa_without_alg_is_bound_to_the_only_rsa_algorithm() {
    for (allowed, token_algorithm, expected) in [
        (
            vec![Algorithm::Rs256, Algorithm::Es256],
            Algorithm::Rs256,
            "ok",
        ),
        (vec![Algorithm::Ps256], Algorithm::Ps256, "ok"),
        (
            vec![Algorithm::Rs256, Algorithm::Es256],
            Algorithm::Es256,
            "token_algorithm_mismatch",
        ),
    ] {
        let mut spec = spec();
        spec.algorithms = allowed;
        let issuer = issuer(spec, &[RSA.bare_jwk("r")]);
        let header = crate::signer::header(token_algorithm, "r");
        let token = RSA.token_as(token_algorithm, &header, &crate::signer::claims("{}"));
        let outcome = Verifier::new(1 << 20).verify(&issuer, &token, NOW);
        assert_eq!(
            outcome.map_or_else(|refusal| refusal.code(), |_| "ok"),
            expected
        );
    }
}

#[test]
fn a_modulus_with_its_sign_byte_is_the_same_modulus() {
    use base64::Engine;
    let jwk = RSA.jwk("r");
    let mut n = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(jwk["n"].as_str().unwrap())
        .unwrap();
    n.insert(0, 0);
    let issuer = issuer(spec(), &[with(jwk, json!({"n":encode(n)}))]);
    assert!(
        Verifier::new(1 << 20)
            .verify(&issuer, &RSA.good("r"), NOW)
            .is_ok()
    );
}

#[test]
fn keys_of_rfc_9864_names_verify() {
    let signer = Signer::new(Algorithm::EdDsa);
    let issuer = issuer(spec(), &[with(signer.jwk("k"), json!({"alg":"Ed25519"}))]);
    let token = signer.token(
        r#"{"alg":"Ed25519","kid":"k"}"#,
        &crate::signer::claims("{}"),
    );
    assert!(Verifier::new(1 << 20).verify(&issuer, &token, NOW).is_ok());
}
