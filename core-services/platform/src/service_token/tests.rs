use super::*;

const DOMAIN: &str = "palisade.internal";
const NOW: UnixMicros = UnixMicros(1_800_000_000_000_000);

fn signer(service: &str) -> Signer {
    Signer::generate(DOMAIN, service).unwrap()
}

fn document(signers: &[&Signer]) -> Vec<u8> {
    let keys: Vec<Value> = signers.iter().map(|signer| signer.jwk()).collect();
    json!({ "keys": keys }).to_string().into_bytes()
}

fn headers(tokens: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for token in tokens {
        headers.append(HEADER, token.parse().unwrap());
    }
    headers
}

/// Signs whatever it is given.
fn sign(signer: &Signer, header: &Value, claims: &Value) -> String {
    let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let signed = format!("{}.{}", encode(header), encode(claims));
    let signature = signer.pair.sign(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn refused(refusal: &'static str) -> Result<(), Refusal> {
    Err(Refusal::Invalid(refusal))
}

#[tokio::test]
async fn a_token_counts_from_its_service_and_for_its_service() {
    let (order, media) = (signer("order"), signer("media"));
    let services = ["identity", "catalog"];
    let verifier = Verifier::fixed(DOMAIN, &services, &document(&[&order, &media])).unwrap();
    let check = async |tokens: &[&str], peer: &str, service: &str, expected| {
        let got = verifier.verify(&headers(tokens), peer, service, NOW).await;
        assert_eq!(got, expected, "{peer} {service}");
    };
    let token = order.sign("identity", NOW);
    check(&[&token], "order", "identity", Ok(())).await;
    let other = "the certificate names another service";
    check(&[&token], "media", "identity", refused(other)).await;
    let elsewhere = "meant for another service";
    check(&[&token], "order", "catalog", refused(elsewhere)).await;
    // What the process answers for all its services takes a token for any of those.
    check(&[&token], "order", PROCESS, Ok(())).await;
    let outside = order.sign("media", NOW);
    let not_here = "the token audience is not accepted";
    check(&[&outside], "order", PROCESS, refused(not_here)).await;
    check(&[], "order", "identity", Err(Refusal::Missing)).await;
    check(&[""], "order", "identity", Err(Refusal::Missing)).await;
    check(
        &[&token, &token],
        "order",
        "identity",
        refused("two service tokens"),
    )
    .await;

    // Neither another service's key nor a stranger's signs for `order`.
    let posing = Signer::of(DOMAIN, "order", media.pair);
    let kid = json!({"alg": "EdDSA", "typ": TYPE, "kid": signer_kid(&posing, "media")});
    let claims = json!({
        "iss": issuer(DOMAIN), "service": "order", "type": "service", "aud": "identity",
        "iat": NOW.seconds(), "exp": NOW.seconds() + 60,
    });
    let stolen = sign(&posing, &kid, &claims);
    check(
        &[&stolen],
        "order",
        "identity",
        refused("signed by another service's key"),
    )
    .await;
    let stranger = signer("order").sign("identity", NOW);
    check(
        &[&stranger],
        "order",
        "identity",
        refused("the token key is unknown"),
    )
    .await;
}

/// The key id under which the set knows a key that signs for `service`.
fn signer_kid(signer: &Signer, service: &str) -> String {
    let (_, print) = signer.kid.split_once('.').unwrap();
    format!("{service}.{print}")
}

#[tokio::test]
async fn claims_and_times() {
    let order = signer("order");
    let verifier = Verifier::fixed(DOMAIN, &["identity"], &document(&[&order])).unwrap();
    let now = NOW.seconds();
    let good = json!({
        "iss": issuer(DOMAIN), "service": "order", "type": "service", "aud": "identity",
        "iat": now, "exp": now + LIFETIME_SECONDS_MAX,
    });
    let check = async |name: &str, value: Value, accepted: bool| {
        let mut claims = good.clone();
        claims[name] = value.clone();
        let header = json!({"alg": "EdDSA", "typ": TYPE, "kid": order.kid});
        let token = sign(&order, &header, &claims);
        let got = verifier
            .verify(&headers(&[&token]), "order", "identity", NOW)
            .await;
        assert_eq!(got.is_ok(), accepted, "{name} {value} {got:?}");
    };
    check("exp", json!(now + LIFETIME_SECONDS_MAX), true).await;
    check("exp", json!(now + LIFETIME_SECONDS_MAX + 1), false).await;
    check("exp", json!(now - 30), false).await;
    check("exp", json!(u64::MAX), false).await;
    check("iat", json!(now + 30), true).await;
    check("iat", json!(now + 31), false).await;
    check("iat", json!(null), false).await;
    check("type", json!("user"), false).await;
    check("service", json!("edge"), false).await;
    check("service", json!(["order"]), false).await;
    check("aud", json!(["identity"]), false).await;
    check("iss", json!("spiffe://example.org"), false).await;
    let user = json!({"alg": "EdDSA", "typ": token::TYPE, "kid": order.kid});
    let token = sign(&order, &user, &good);
    let got = verifier
        .verify(&headers(&[&token]), "order", "identity", NOW)
        .await;
    assert_eq!(got, refused("the token type is not accepted"));
}

#[tokio::test]
async fn keys_are_followed_in_their_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("services.json");
    let (order, media) = (signer("order"), signer("media"));
    std::fs::write(&file, document(&[&order])).unwrap();
    let verifier = Verifier::followed(DOMAIN, &["identity"], file.clone())
        .await
        .unwrap();
    let call = async |signer: &Signer| {
        let headers = headers(&[&signer.sign("identity", NOW)]);
        verifier
            .verify(&headers, signer.service(), "identity", NOW)
            .await
    };
    assert_eq!(call(&order).await, Ok(()));
    std::fs::write(&file, document(&[&order, &media])).unwrap();
    assert_eq!(call(&media).await, Ok(()));
}

#[test]
fn keys_come_from_pem() {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let read = Signer::from_pem(DOMAIN, "order", key.serialize_pem().as_bytes()).unwrap();
    assert_eq!(read.pair.public_key().as_ref(), key.public_key_raw());
    let wrong = rcgen::KeyPair::generate().unwrap();
    for pem in [
        wrong.serialize_pem().as_str(),
        "",
        "-----BEGIN PRIVATE KEY-----\n",
    ] {
        assert!(Signer::from_pem(DOMAIN, "order", pem.as_bytes()).is_err());
    }
}
