use std::{fs, time::Duration};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use vectors::Vectors;

use super::*;

#[path = "../../../../edge/token/tests/vectors/mod.rs"]
mod vectors;

const ISSUER: &str = "https://identity.palisade.internal";
const NOW: UnixMicros = UnixMicros(1_800_000_000_000_000);

struct Signer(Ed25519KeyPair);

impl Signer {
    fn new() -> Self {
        Self(Ed25519KeyPair::generate().unwrap())
    }

    fn key(&self, kid: &str) -> (String, [u8; 32]) {
        let public = self.0.public_key().as_ref();
        (kid.to_owned(), public.try_into().unwrap())
    }

    /// Signs whatever it is given, so that a test can say what no encoder would.
    fn sign(&self, kid: &str, claims: &str) -> String {
        let header = json!({"alg": "EdDSA", "typ": TYPE, "kid": kid}).to_string();
        let signed = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(claims)
        );
        let signature = self.0.sign(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": "palisade",
        "sub": "0190a1b2-c3d4-7000-8000-000000000001",
        "sid": "0190a1b2-c3d4-7000-8000-000000000002",
        "nbf": 1_800_000_000_i64, "exp": 1_800_000_600_i64,
    })
}

fn verifier(signer: &Signer) -> Verifier {
    Verifier::new(ISSUER, "palisade", [signer.key("k1")]).unwrap()
}

#[test]
fn every_vector_of_the_edge_comes_to_the_same() {
    let vectors = Vectors::read();
    let (issuer, audience) = (vectors.text("issuer"), vectors.text("audience"));
    let verifier = Verifier::new(issuer, audience, vectors.trusted()).unwrap();
    let seconds = i64::try_from(vectors.number("now")).unwrap();
    let now = UnixMicros(seconds * 1_000_000);
    assert_eq!(
        (TYPE, LEEWAY.as_secs()),
        (vectors.text("type"), vectors.number("leeway_seconds"))
    );
    for case in vectors.cases() {
        let expected = match case.services.as_str() {
            "ok" => Ok(()),
            "token_missing" => Err(Refusal::Missing),
            "token_expired" => Err(Refusal::Expired),
            _ => Err(Refusal::Invalid),
        };
        // Twice: what is remembered must not be judged otherwise.
        for _ in 0..2 {
            let got = verifier.verify(&case.token, now).map(|_| ());
            assert_eq!(got, expected, "{}", case.name);
        }
    }
}

#[test]
fn the_callers_facts_come_out() {
    let signer = Signer::new();
    let read = |changes: Value| {
        let mut all = claims();
        for (name, value) in changes.as_object().unwrap() {
            all[name] = value.clone();
        }
        let token = signer.sign("k1", &all.to_string());
        verifier(&signer).verify(&token, NOW).unwrap()
    };
    let bare = read(json!({}));
    let id = |last: u128| Uuid::from_u128(0x0190_a1b2_c3d4_7000_8000_0000_0000_0000 + last);
    let expected = Caller {
        user: id(1),
        session: id(2),
        scopes: Vec::new(),
        roles: Vec::new(),
        auth_time: None,
        amr: Vec::new(),
        acr: None,
        kind: Kind::User,
    };
    assert_eq!(bare, expected);
    let full = read(json!({
        "scope": "profile:read profile:write", "roles": ["user"], "auth_time": 1_799_999_990,
        "amr": ["pwd", "otp"], "acr": "2", "kind": "api_key",
    }));
    let own = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    assert_eq!(
        full,
        Caller {
            scopes: own(&["profile:read", "profile:write"]),
            roles: own(&["user"]),
            auth_time: Some(1_799_999_990),
            amr: own(&["pwd", "otp"]),
            acr: Some("2".to_owned()),
            kind: Kind::ApiKey,
            ..expected
        }
    );
}

#[test]
fn replaced_keys_count_at_once_and_in_all_clones() {
    let (old, new) = (Signer::new(), Signer::new());
    let verifier = verifier(&old);
    let clone = verifier.clone();
    let of = |signer: &Signer, kid: &str| signer.sign(kid, &claims().to_string());
    let (before, after) = (of(&old, "k1"), of(&new, "k2"));
    assert!(clone.verify(&before, NOW).is_ok());
    verifier.replace([old.key("k1"), new.key("k2")]).unwrap();
    assert!(clone.verify(&before, NOW).is_ok());
    assert!(clone.verify(&after, NOW).is_ok());
    verifier.replace([new.key("k2")]).unwrap();
    assert_eq!(clone.verify(&before, NOW), Err(Refusal::Invalid));
    assert!(verifier.replace([]).is_err());
    assert!(clone.verify(&after, NOW).is_ok(), "the last good set stays");
}

#[tokio::test]
async fn followed_keys_are_read_again_for_a_key_not_known_yet() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("jwks.json");
    let (first, second) = (Signer::new(), Signer::new());
    let write = |keys: Vec<(String, [u8; 32])>| fs::write(&file, document(keys)).unwrap();
    let follow = async || {
        let source = JwksSource::File(file.clone());
        Verifier::followed(ISSUER, "palisade", source, None)
            .await
            .unwrap()
    };
    let (before, after) = (
        first.sign("k1", &claims().to_string()),
        second.sign("k2", &claims().to_string()),
    );
    let without = follow().await;
    let unavailable = without.admit(&before, NOW).await;
    assert_eq!(unavailable, Err(Refusal::KeysUnavailable));

    write(vec![first.key("k1")]);
    let verifier = follow().await;
    assert!(verifier.admit(&before, NOW).await.is_ok());
    write(vec![first.key("k1"), second.key("k2")]);
    assert!(verifier.admit(&after, NOW).await.is_ok());
    // The source is gone, the keys stay.
    fs::remove_file(&file).unwrap();
    assert_eq!(verifier.verify(&after, NOW).map(|_| ()), Ok(()));
    assert_eq!(
        verifier
            .admit(&second.sign("k3", &claims().to_string()), NOW)
            .await,
        Err(Refusal::Invalid)
    );
    assert!(
        verifier
            .admit(&before, NOW + Duration::from_secs(1))
            .await
            .is_ok()
    );
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
        let signer = Signer::new();
        let verifier = verifier(&signer);
        proptest::prop_assert!(verifier.verify(&text, NOW).is_err());
        // Well-formed three parts with arbitrary content, rightly signed or not.
        let encoded = format!("{}.{}.x", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(&claims));
        proptest::prop_assert!(verifier.verify(&encoded, NOW).is_err());
        let signed = signer.sign("k1", &claims);
        proptest::prop_assert!(verifier.verify(&signed, NOW).is_err());
    }
}
