//! The provider, met by a client as careless as an attacker's.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use core_fakes::{OidcFault, Provider};
use reqwest::{Client, header};
use serde_json::Value;

/// RFC 7636 appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
const BACK: &str = "https%3A%2F%2Flocalhost%2Fback";

fn page(provider: &Provider) -> String {
    format!(
        "{}/authorize?response_type=code&client_id={}&redirect_uri={BACK}&state=s&nonce=n\
         &code_challenge={CHALLENGE}&code_challenge_method=S256",
        provider.issuer(),
        provider.client_id()
    )
}

async fn trade(provider: &Provider, code: &str, verifier: &str) -> (u16, Value) {
    let form = format!(
        "grant_type=authorization_code&code={code}&redirect_uri={BACK}&code_verifier={verifier}\
         &client_id={}&client_secret=s3cret+%2B%2F%25",
        provider.client_id()
    );
    let request = Client::new()
        .post(format!("{}/token", provider.issuer()))
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    let answer = request.body(form).send().await.unwrap();
    let status = answer.status().as_u16();
    let body = answer.bytes().await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

#[tokio::test]
async fn a_code_works_once_and_for_its_verifier() {
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .unwrap();
    let provider = Provider::start().await;
    let (code, state) = provider.consent(&page(&provider));
    assert_eq!(state, "s");
    let (status, tokens) = trade(&provider, &code, VERIFIER).await;
    assert_eq!(status, 200);
    assert!(tokens["id_token"].is_string() && tokens["access_token"].is_string());
    assert_eq!(trade(&provider, &code, VERIFIER).await.0, 400);
    let (code, _) = provider.consent(&page(&provider));
    assert_eq!(trade(&provider, &code, CHALLENGE).await.0, 400);
    let (code, _) = provider.consent(&page(&provider));
    provider.set(OidcFault::Broken);
    assert_eq!(trade(&provider, &code, VERIFIER).await.0, 500);
    provider.set(OidcFault::None);
    assert_eq!(trade(&provider, &code, VERIFIER).await.0, 200);
}
