use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

use super::*;

const ISSUER: &str = "https://identity.palisade.internal";
const NOW: UnixMicros = UnixMicros(1_800_000_000_000_000);

struct Signer {
    pkcs8: Vec<u8>,
    public: [u8; 32],
}

fn signer() -> Signer {
    let pair = Ed25519KeyPair::generate().unwrap();
    let public = pair.public_key().as_ref().try_into().unwrap();
    Signer {
        pkcs8: pair.to_pkcs8v1().unwrap().as_ref().to_vec(),
        public,
    }
}

fn header() -> Value {
    json!({"alg": "EdDSA", "typ": TYPE, "kid": "k1"})
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": "palisade",
        "sub": "0190a1b2-c3d4-7000-8000-000000000001",
        "sid": "0190a1b2-c3d4-7000-8000-000000000002",
        "jti": "0190a1b2-c3d4-7000-8000-000000000003",
        "iat": 1_800_000_000_i64, "nbf": 1_800_000_000_i64, "exp": 1_800_000_600_i64,
        "scope": "profile:read profile:write", "roles": ["user"],
    })
}

fn with(mut base: Value, name: &str, value: Value) -> Value {
    base[name] = value;
    base
}

/// Signs whatever it is given, so that a test can say what no encoder would.
fn sign(signer: &Signer, header: &Value, claims: &str) -> String {
    let signed = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header.to_string()),
        URL_SAFE_NO_PAD.encode(claims)
    );
    let pair = Ed25519KeyPair::from_pkcs8(&signer.pkcs8).unwrap();
    format!(
        "{signed}.{}",
        URL_SAFE_NO_PAD.encode(pair.sign(signed.as_bytes()))
    )
}

#[test]
fn claims_and_times() {
    let signer = signer();
    let verifier = Verifier::new(ISSUER, "palisade", [("k1".to_owned(), signer.public)]);
    let check = |claims: Value, expected: Result<(), Refusal>| {
        let token = sign(&signer, &header(), &claims.to_string());
        assert_eq!(
            verifier.verify(&token, NOW).map(|_| ()),
            expected,
            "{claims}"
        );
    };
    let now = NOW.seconds();
    check(claims(), Ok(()));
    check(with(claims(), "exp", json!(now - 29)), Ok(()));
    check(
        with(claims(), "exp", json!(now - 30)),
        Err(Refusal::Expired),
    );
    check(with(claims(), "nbf", json!(now + 30)), Ok(()));
    check(
        with(claims(), "nbf", json!(now + 31)),
        Err(Refusal::Invalid),
    );
    check(
        with(claims(), "iss", json!("https://evil")),
        Err(Refusal::Invalid),
    );
    check(with(claims(), "aud", json!("other")), Err(Refusal::Invalid));
    check(
        with(claims(), "sub", json!("1 OR 1=1")),
        Err(Refusal::Invalid),
    );
    // A string or a fraction where RFC 7519 wants a number (CVE-2026-25537 read "no time").
    check(
        with(claims(), "exp", json!("1800000600")),
        Err(Refusal::Invalid),
    );
    check(with(claims(), "nbf", json!("never")), Err(Refusal::Invalid));
    check(with(claims(), "exp", json!(1e300)), Err(Refusal::Invalid));
    check(with(claims(), "exp", json!(-1)), Err(Refusal::Invalid));
    for name in ["iss", "aud", "sub", "sid", "exp", "nbf", "scope"] {
        let mut without = claims();
        without.as_object_mut().unwrap().remove(name);
        check(without, Err(Refusal::Invalid));
    }
}

#[test]
fn headers_and_keys() {
    let (signer, stranger) = (signer(), signer());
    let verifier = Verifier::new(ISSUER, "palisade", [("k1".to_owned(), signer.public)]);
    let text = claims().to_string();
    let check = |token: String, expected: Result<(), Refusal>| {
        assert_eq!(
            verifier.verify(&token, NOW).map(|_| ()),
            expected,
            "{token}"
        );
    };
    check(sign(&signer, &header(), &text), Ok(()));
    check(
        sign(&signer, &with(header(), "typ", json!("AT+JWT")), &text),
        Ok(()),
    );
    check(sign(&stranger, &header(), &text), Err(Refusal::Invalid));
    for (name, value) in [
        ("typ", json!("JWT")),
        ("typ", json!(null)),
        ("kid", json!("k2")),
        ("kid", json!(null)),
        ("alg", json!("none")),
        ("alg", json!("HS256")),
        ("crit", json!(["b64"])),
    ] {
        check(
            sign(&signer, &with(header(), name, value), &text),
            Err(Refusal::Invalid),
        );
    }
    // A stranger's own key in the header proves nothing.
    let x = URL_SAFE_NO_PAD.encode(stranger.public);
    let jwk = with(
        header(),
        "jwk",
        json!({"kty": "OKP", "crv": "Ed25519", "x": x}),
    );
    check(sign(&stranger, &jwk, &text), Err(Refusal::Invalid));
    // The public key taken for an HMAC secret.
    let mut hs = Header::new(Algorithm::HS256);
    (hs.typ, hs.kid) = (Some(TYPE.to_owned()), Some("k1".to_owned()));
    let forged =
        jsonwebtoken::encode(&hs, &claims(), &EncodingKey::from_secret(&signer.public)).unwrap();
    check(forged, Err(Refusal::Invalid));
    let good = sign(&signer, &header(), &text);
    check(good.replacen('.', "..", 1), Err(Refusal::Invalid));
    check(format!("{good}A"), Err(Refusal::Invalid));
    check(format!("{good}.{good}"), Err(Refusal::Invalid));
    check("a".repeat(TOKEN_BYTES_MAX + 1), Err(Refusal::Invalid));
    check(String::new(), Err(Refusal::Invalid));
}

#[test]
fn the_callers_facts_come_out() {
    let signer = signer();
    let verifier = Verifier::new(ISSUER, "palisade", [("k1".to_owned(), signer.public)]);
    let caller = verifier
        .verify(&sign(&signer, &header(), &claims().to_string()), NOW)
        .unwrap();
    assert_eq!(
        caller.user.to_string(),
        "0190a1b2-c3d4-7000-8000-000000000001"
    );
    assert_eq!(
        caller.session.to_string(),
        "0190a1b2-c3d4-7000-8000-000000000002"
    );
    assert_eq!(caller.scopes, ["profile:read", "profile:write"]);
    assert_eq!(caller.roles, ["user"]);
}

#[test]
fn bearer_values() {
    let check = |values: &[&str], expected: Result<&str, Refusal>| {
        let mut headers = http::HeaderMap::new();
        for value in values {
            headers.append("authorization", value.parse().unwrap());
        }
        assert_eq!(bearer(&headers), expected, "{values:?}");
    };
    check(&["Bearer abc"], Ok("abc"));
    check(&["bearer abc"], Ok("abc"));
    check(&[], Err(Refusal::Missing));
    check(&["Basic abc"], Err(Refusal::Invalid));
    check(&["abc"], Err(Refusal::Invalid));
    check(&["Bearer abc", "Bearer abc"], Err(Refusal::Invalid));
}

proptest::proptest! {
    #[test]
    fn no_text_panics_or_passes(text in "\\PC{0,200}", header in "\\PC{0,60}", claims in "\\PC{0,200}") {
        let signer = signer();
        let verifier = Verifier::new(ISSUER, "palisade", [("k1".to_owned(), signer.public)]);
        proptest::prop_assert!(verifier.verify(&text, NOW).is_err());
        // Well-formed three parts with arbitrary content, rightly signed or not.
        let encoded = format!("{}.{}.x", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(&claims));
        proptest::prop_assert!(verifier.verify(&encoded, NOW).is_err());
        let signed = sign(&signer, &self::header(), &claims);
        proptest::prop_assert!(verifier.verify(&signed, NOW).is_err());
    }
}
