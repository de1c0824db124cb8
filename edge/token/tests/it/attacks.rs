//! Tokens as attackers and careless issuers make them. Every case is signed with a key the issuer trusts
//! unless the case is about the signature, so nothing but the tested rule can refuse it.

use crate::signer::{EC, NOW, RSA, Signer, claims, encode, header, issuer, jwks, spec};
use palisade_token::{Algorithm, Claims, Issuer, Refusal, UnixTime, Verifier};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::{Arc, LazyLock};

const CACHE_BYTES: u64 = 1024 * 1024;

pub(crate) fn verify(issuer: &Issuer, token: &str, now: UnixTime) -> Result<Arc<Claims>, Refusal> {
    Verifier::new(CACHE_BYTES).verify(issuer, token, now)
}

/// The code of the refusal, or `ok`.
pub(crate) fn outcome(issuer: &Issuer, token: &str) -> &'static str {
    verify(issuer, token, NOW).map_or_else(|refusal| refusal.code(), |_| "ok")
}

/// An issuer with the EC key `ec` and the RSA key `rsa`.
pub(crate) fn trusting() -> Arc<Issuer> {
    issuer(spec(), &[EC.jwk("ec"), RSA.jwk("rsa")])
}

#[test]
fn every_algorithm_verifies_and_rejects_a_changed_signature() {
    for algorithm in Algorithm::ALL {
        let signer = Signer::new(algorithm);
        let issuer = issuer(spec(), &[signer.jwk("k")]);
        let token = signer.good("k");
        let claims = verify(&issuer, &token, NOW).unwrap();
        assert_eq!(claims.subject.as_deref(), Some("u1"));
        assert_eq!(claims.scopes, ["read", "write"]);
        let other = Signer::new(algorithm).good("k");
        assert_eq!(outcome(&issuer, &other), "token_signature_invalid");
        let (signed, _) = token.rsplit_once('.').unwrap();
        let (_, foreign) = other.rsplit_once('.').unwrap();
        for signature in [foreign, "", "AAAA", &encode([0; 64])] {
            assert_eq!(
                outcome(&issuer, &format!("{signed}.{signature}")),
                "token_signature_invalid"
            );
        }
    }
}

#[test]
fn tokens_of_another_library_verify() {
    let payload: Value = serde_json::from_str(&claims("{}")).unwrap();
    for algorithm in [
        Algorithm::Rs256,
        Algorithm::Ps256,
        Algorithm::Es256,
        Algorithm::EdDsa,
    ] {
        let signer = Signer::new(algorithm);
        let der = signer.pkcs8();
        let (name, key) = match algorithm {
            // jsonwebtoken reads PKCS #1: what follows the 26 byte PKCS #8 header of a 2048 bit key.
            Algorithm::Rs256 => (
                jsonwebtoken::Algorithm::RS256,
                jsonwebtoken::EncodingKey::from_rsa_der(&der[26..]),
            ),
            Algorithm::Ps256 => (
                jsonwebtoken::Algorithm::PS256,
                jsonwebtoken::EncodingKey::from_rsa_der(&der[26..]),
            ),
            Algorithm::Es256 => (
                jsonwebtoken::Algorithm::ES256,
                jsonwebtoken::EncodingKey::from_ec_der(&der),
            ),
            Algorithm::EdDsa => (
                jsonwebtoken::Algorithm::EdDSA,
                jsonwebtoken::EncodingKey::from_ed_der(&der),
            ),
        };
        let mut head = jsonwebtoken::Header::new(name);
        head.kid = Some("k".to_owned());
        let token = jsonwebtoken::encode(&head, &payload, &key).unwrap();
        assert_eq!(
            outcome(&issuer(spec(), &[signer.jwk("k")]), &token),
            "ok",
            "{algorithm:?}"
        );
    }
}

#[test]
fn the_key_decides_on_the_algorithm() {
    let issuer = trusting();
    let good = claims("{}");
    let check = |token: String, expected| assert_eq!(outcome(&issuer, &token), expected);
    let unsigned = |header: &str| format!("{}.{}.", encode(header), encode(&good));
    check(unsigned(r#"{"alg":"none"}"#), "token_algorithm_unsupported");
    check(
        unsigned(r#"{"alg":"nOnE","kid":"rsa"}"#),
        "token_algorithm_unsupported",
    );
    // APISIX CVE-2026-39999: the RSA public key as the HMAC secret.
    for secret in [jwks(&[RSA.jwk("rsa")]).into_bytes(), public_pem()] {
        let head = jsonwebtoken::Header {
            kid: Some("rsa".to_owned()),
            ..Default::default()
        };
        let payload: Value = serde_json::from_str(&good).unwrap();
        let key = jsonwebtoken::EncodingKey::from_secret(&secret);
        check(
            jsonwebtoken::encode(&head, &payload, &key).unwrap(),
            "token_algorithm_unsupported",
        );
    }
    check(
        RSA.token_as(Algorithm::Ps256, &header(Algorithm::Ps256, "rsa"), &good),
        "token_algorithm_mismatch",
    );
    check(
        RSA.token_as(Algorithm::Ps256, &header(Algorithm::Rs256, "rsa"), &good),
        "token_signature_invalid",
    );
    check(
        RSA.token(&header(Algorithm::Es256, "rsa"), &good),
        "token_algorithm_mismatch",
    );
    check(
        EC.token(&header(Algorithm::Rs256, "ec"), &good),
        "token_algorithm_mismatch",
    );
    check(
        EC.token(&header(Algorithm::Es256, "rsa"), &good),
        "token_algorithm_mismatch",
    );
    check(EC.good("ec"), "ok");
    check(RSA.good("rsa"), "ok");

    let mut only_ec = spec();
    only_ec.algorithms = vec![Algorithm::Es256];
    let issuer = crate::signer::issuer(only_ec, &[EC.jwk("ec"), RSA.jwk("rsa")]);
    assert_eq!(
        outcome(&issuer, &RSA.good("rsa")),
        "token_algorithm_unsupported"
    );
}

/// The classic secret of algorithm confusion: the text of the public key file.
fn public_pem() -> Vec<u8> {
    use base64::Engine;
    let der = base64::engine::general_purpose::STANDARD.encode(RSA.public_der());
    let lines: Vec<&str> = (0..der.len())
        .step_by(64)
        .map(|at| &der[at..der.len().min(at + 64)])
        .collect();
    let body = lines.join("\n");
    format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n").into_bytes()
}

#[test]
fn keys_inside_the_token_are_ignored() {
    let issuer = trusting();
    let mallory = Signer::new(Algorithm::Es256);
    let evil = mallory.jwk("evil");
    for member in ["jwk", "jku", "x5u", "x5c"] {
        let value = match member {
            "jwk" => evil.clone(),
            "x5c" => json!(["MIIB"]),
            _ => json!("https://evil.example/keys"),
        };
        let with = |kid: &str| json!({"alg":"ES256","kid":kid,member:value}).to_string();
        assert_eq!(
            outcome(&issuer, &mallory.token(&with("ec"), &claims("{}"))),
            "token_signature_invalid"
        );
        assert_eq!(
            outcome(&issuer, &mallory.token(&with("evil"), &claims("{}"))),
            "token_key_unknown"
        );
        assert_eq!(
            outcome(&issuer, &EC.token(&with("ec"), &claims("{}"))),
            "ok",
            "{member}"
        );
    }
}

#[test]
fn key_ids() {
    let issuer = trusting();
    for kid in [
        "",
        "nope",
        "../../../dev/null",
        "' OR '1'='1",
        "ec\0",
        "EC",
        &"k".repeat(256),
    ] {
        let refusal = verify(&issuer, &EC.good(kid), NOW).unwrap_err();
        assert_eq!(refusal.code(), "token_key_unknown", "{kid}");
        assert!(refusal.wants_refetch());
        assert!(!refusal.challenge().unwrap().contains(&kid[kid.len() / 2..]) || kid.is_empty());
    }
    let bare = r#"{"alg":"ES256"}"#;
    let token = EC.token(bare, &claims("{}"));
    assert_eq!(outcome(&issuer, &token), "ok", "one key of the algorithm");
    let two = crate::signer::issuer(
        spec(),
        &[EC.jwk("a"), Signer::new(Algorithm::Es256).jwk("b")],
    );
    let refusal = verify(&two, &token, NOW).unwrap_err();
    assert_eq!(refusal, Refusal::UnknownKey { kid: None });
    assert!(!refusal.wants_refetch());
}

#[test]
fn shapes() {
    let issuer = trusting();
    let good = EC.good("ec");
    let parts: Vec<&str> = good.split('.').collect();
    let deep = format!(
        r#"{{"alg":"ES256","kid":"ec","x":{}{}}}"#,
        "[".repeat(900),
        "]".repeat(900)
    );
    let long = "a".repeat(8 * 1024);
    let table = [
        (String::new(), "token_missing"),
        (".".to_owned(), "token_malformed"),
        ("..".to_owned(), "token_malformed"),
        (parts[..2].join("."), "token_malformed"),
        (format!("{good}."), "token_malformed"),
        (format!("{good}.a.b"), "token_malformed"),
        (format!("{good}="), "token_malformed"),
        (format!(" {good}"), "token_malformed"),
        (format!("{good}\n"), "token_malformed"),
        (
            format!("{}=.{}.{}", parts[0], parts[1], parts[2]),
            "token_malformed",
        ),
        (format!("é.{}.{}", parts[1], parts[2]), "token_malformed"),
        ("a".repeat(1024 * 1024), "token_too_large"),
        (format!("{long}a"), "token_too_large"),
        (long, "token_malformed"),
        (EC.token(&deep, &claims("{}")), "token_malformed"),
        (
            EC.token(r#"["alg","ES256"]"#, &claims("{}")),
            "token_malformed",
        ),
        (
            EC.token(r#"{"alg":"ES256","kid":"ec","kid":"ec"}"#, &claims("{}")),
            "token_malformed",
        ),
        (
            EC.token(r#"{"alg":"none","alg":"ES256","kid":"ec"}"#, &claims("{}")),
            "token_malformed",
        ),
        (
            EC.token(
                r#"{"alg":"ES256","kid":"ec","crit":["exp"]}"#,
                &claims("{}"),
            ),
            "token_critical_header",
        ),
        (
            EC.token(
                r#"{"alg":"ES256","kid":"ec","typ":"id+jwt"}"#,
                &claims("{}"),
            ),
            "token_type_unsupported",
        ),
    ];
    for (token, expected) in table {
        assert_eq!(
            outcome(&issuer, &token),
            expected,
            "{}",
            token.get(..60).unwrap_or(&token)
        );
    }
    // The last character of a segment carries unused bits: a second spelling of the same signature.
    let (head, last) = good.split_at(good.len() - 1);
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let at = alphabet.find(last).unwrap();
    let respelled = format!("{head}{}", &alphabet[at + 1..at + 2]);
    assert_eq!(outcome(&issuer, &respelled), "token_malformed");
}

#[test]
fn nothing_of_a_token_is_in_what_is_printed() {
    let issuer = trusting();
    let token = EC.token(
        &header(Algorithm::Es256, "ec"),
        &claims(r#"{"email":"secret@example"}"#),
    );
    let claims = verify(&issuer, &token, NOW).unwrap();
    assert!(!format!("{claims:?}").contains("secret"));
    for bad in [
        format!("{token}x"),
        EC.good("secret/kid"),
        token.replace('.', "-"),
    ] {
        let refusal = verify(&issuer, &bad, NOW).unwrap_err();
        let printed = format!("{refusal} {refusal:?} {:?}", refusal.challenge());
        for part in bad.split('.') {
            assert!(
                !printed.contains(part) && !printed.contains("secret"),
                "{printed}"
            );
        }
    }
}

static SHARED: LazyLock<(Verifier, Arc<Issuer>)> =
    LazyLock::new(|| (Verifier::new(CACHE_BYTES), trusting()));

proptest! {
    #[test]
    fn any_text_is_refused_without_panic(token in "\\PC{0,300}") {
        let (verifier, issuer) = &*SHARED;
        prop_assert!(verifier.verify(issuer, &token, NOW).is_err());
    }

    #[test]
    fn any_signed_bytes_are_judged_without_panic(header in "\\PC{0,80}", payload in "\\PC{0,200}") {
        let (verifier, issuer) = &*SHARED;
        let good = crate::signer::header(Algorithm::Es256, "ec");
        for header in [header.as_str(), &good] {
            prop_assert!(verifier.verify(issuer, &EC.token(header, &payload), NOW).is_err());
        }
    }

    #[test]
    fn a_token_with_one_changed_byte_is_refused(at in 0usize..400, byte in 0u8..128) {
        let (verifier, issuer) = &*SHARED;
        let good = EC.good("ec");
        let mut bytes = good.clone().into_bytes();
        let at = at % bytes.len();
        bytes[at] = byte;
        let token = String::from_utf8(bytes).unwrap();
        prop_assert_eq!(verifier.verify(issuer, &token, NOW).is_ok(), token == good);
    }
}
