//! Claims of every wrong type and value, all well signed.

use crate::attacks::{outcome, trusting, verify};
use crate::signer::{EC, NOW, claims, header, issuer, spec};
use palisade_token::{Algorithm, IssuerSpec};
use serde_json::json;

/// The outcome for good claims with `changes`, under changed rules.
fn check_claims(changes: &str, rules: impl FnOnce(&mut IssuerSpec), expected: &str) {
    let mut spec = spec();
    rules(&mut spec);
    let issuer = issuer(spec, &[EC.jwk("ec")]);
    let token = EC.token(&header(Algorithm::Es256, "ec"), &claims(changes));
    assert_eq!(outcome(&issuer, &token), expected, "{changes}");
}

#[test]
fn claim_types_and_values() {
    for (changes, expected) in [
        (r#"{"iss":null}"#, "token_claim_missing"),
        (r#"{"iss":"https://id.example/"}"#, "token_issuer_mismatch"),
        (r#"{"iss":"HTTPS://id.example"}"#, "token_issuer_mismatch"),
        (r#"{"iss":["https://id.example"]}"#, "token_claim_invalid"),
        (r#"{"aud":null}"#, "token_claim_missing"),
        (r#"{"aud":"other"}"#, "token_audience_mismatch"),
        (r#"{"aud":""}"#, "token_audience_mismatch"),
        (r#"{"aud":[]}"#, "token_audience_mismatch"),
        (r#"{"aud":["other","admin"]}"#, "ok"),
        (r#"{"aud":["other"]}"#, "token_audience_mismatch"),
        (r#"{"aud":["api",7]}"#, "token_claim_invalid"),
        (r#"{"aud":{"api":true}}"#, "token_claim_invalid"),
        (r#"{"exp":null}"#, "token_claim_missing"),
        (r#"{"exp":"9999999999"}"#, "token_claim_invalid"),
        (r#"{"exp":-1}"#, "token_claim_invalid"),
        (r#"{"exp":1800000600.5}"#, "token_claim_invalid"),
        (r#"{"exp":1800000600.0}"#, "ok"),
        (r#"{"exp":1e300}"#, "token_claim_invalid"),
        (r#"{"exp":18446744073709551615}"#, "ok"),
        (r#"{"exp":[1800000600]}"#, "token_claim_invalid"),
        (r#"{"nbf":"9999999999"}"#, "token_claim_invalid"),
        (r#"{"nbf":"1"}"#, "token_claim_invalid"),
        (r#"{"nbf":-5}"#, "token_claim_invalid"),
        (r#"{"nbf":1.5}"#, "token_claim_invalid"),
        (r#"{"nbf":18446744073709551615}"#, "token_not_yet_valid"),
        (r#"{"iat":"1"}"#, "token_claim_invalid"),
        (r#"{"iat":1}"#, "ok"),
        (r#"{"sub":7}"#, "token_claim_invalid"),
        (r#"{"sub":null}"#, "ok"),
        (r#"{"scope":7}"#, "token_claim_invalid"),
        (r#"{"roles":{"a":1}}"#, "token_claim_invalid"),
        (r#"{"roles":["a",1]}"#, "token_claim_invalid"),
    ] {
        check_claims(changes, |_| {}, expected);
    }
    check_claims("{}", |spec| spec.require_nbf = true, "token_claim_missing");
    check_claims(r#"{"nbf":1}"#, |spec| spec.require_nbf = true, "ok");
}

#[test]
fn time_borders_with_leeway() {
    let now = NOW.as_secs();
    for (claim, at, leeway, expected) in [
        ("exp", now, 0, "token_expired"),
        ("exp", now + 1, 0, "ok"),
        ("exp", now - 30, 30, "token_expired"),
        ("exp", now - 29, 30, "ok"),
        ("exp", 0, 300, "token_expired"),
        ("nbf", now, 0, "ok"),
        ("nbf", now + 1, 0, "token_not_yet_valid"),
        ("nbf", now + 30, 30, "ok"),
        ("nbf", now + 31, 30, "token_not_yet_valid"),
    ] {
        let changes = json!({ claim: at }).to_string();
        let leeway = std::time::Duration::from_secs(leeway);
        check_claims(&changes, |spec| spec.leeway = leeway, expected);
    }
}

#[test]
fn claims_are_read_strictly() {
    let issuer = trusting();
    let good = claims("{}");
    let open = &good[..good.len() - 1];
    let deep = format!(r#"{open},"x":{}{}}}"#, "[".repeat(1000), "]".repeat(1000));
    for payload in [
        format!(r#"{open},"aud":"api"}}"#),
        format!(r#"{open},"x":{{"a":1,"a":2}}}}"#),
        deep,
        format!("{good}{good}"),
        "[]".to_owned(),
        "\"text\"".to_owned(),
        String::new(),
        "\u{feff}{}".to_owned(),
    ] {
        let token = EC.token(&header(Algorithm::Es256, "ec"), &payload);
        assert_eq!(outcome(&issuer, &token), "token_malformed", "{payload}");
    }
}

#[test]
fn scopes_and_roles() {
    let issuer = trusting();
    let read = |changes: &str| {
        let token = EC.token(&header(Algorithm::Es256, "ec"), &claims(changes));
        let claims = verify(&issuer, &token, NOW).unwrap();
        (claims.scopes.join(","), claims.roles.join(","))
    };
    let check = |changes, scopes: &str, roles: &str| {
        assert_eq!(
            read(changes),
            (scopes.to_owned(), roles.to_owned()),
            "{changes}"
        );
    };
    check(r#"{"scp":"a b"}"#, "read,write", "");
    check(r#"{"scope":null,"scp":"a b"}"#, "a,b", "");
    check(r#"{"scope":null,"scp":["a","b c"]}"#, "a,b c", "");
    check(r#"{"scope":"","scp":["a"]}"#, "", "");
    check(r#"{"scope":null,"roles":["x","y"]}"#, "", "x,y");
    check(r#"{"scope":null,"roles":"x y"}"#, "", "x y");
}
