//! Policy reloads: what changed is new, what did not survives. And TLS trust, which is policy too.

use crate::issuer_server::{Behaviour, IssuerServer, until};
use crate::refresh::{install_provider, outcome, started, url_spec};
use crate::signer::{EC, NOW, jwks};
use palisade_token::{Algorithm, Issuers, Verifier};
use std::sync::Arc;

#[tokio::test]
async fn unchanged_issuers_survive_and_changed_rules_keep_the_keys() {
    let server = IssuerServer::start(Behaviour::Document(jwks(&[EC.jwk("a")]))).await;
    let spec = url_spec(&format!("http://127.0.0.1:{}/", server.port));
    let issuers = started(spec.clone(), None).await;
    let verifier = Verifier::new(1 << 20);
    let first = issuers.get("main").unwrap();
    let token = EC.good("a");
    // The same token throughout: what is remembered of it must not leak from rules to rules.
    assert_eq!(outcome(&verifier, &issuers, &token), "ok");

    issuers
        .reconcile(std::slice::from_ref(&spec))
        .await
        .unwrap();
    assert!(Arc::ptr_eq(&first, &issuers.get("main").unwrap()));

    let mut rules = spec.clone();
    rules.audiences = vec!["admin".to_owned()];
    issuers.reconcile(&[rules]).await.unwrap();
    assert_eq!(
        outcome(&verifier, &issuers, &token),
        "token_audience_mismatch"
    );
    assert_eq!(server.hits(), 1);
    // A request that still holds the old snapshot is judged by the old rules.
    assert!(verifier.verify(&first, &token, NOW).is_ok());

    // Other algorithms bind keys anew: another store, which starts with the old one's document.
    server.set(Behaviour::Status(500));
    let mut algorithms = spec.clone();
    algorithms.algorithms = vec![Algorithm::Es256];
    issuers.reconcile(&[algorithms]).await.unwrap();
    assert_eq!(outcome(&verifier, &issuers, &EC.good("a")), "ok");
    until("the new store fetched", || server.hits() >= 2).await;

    // Another address starts with nothing: keys are not carried to a source that never confirmed them.
    let mut moved = spec.clone();
    moved.source = url_spec(&format!("http://127.0.0.1:{}/moved", server.port)).source;
    issuers.reconcile(&[moved]).await.unwrap();
    assert_eq!(
        outcome(&verifier, &issuers, &EC.good("a")),
        "issuer_keys_unavailable"
    );

    let removed = issuers.get("main").unwrap();
    issuers.reconcile(&[]).await.unwrap();
    assert!(issuers.get("main").is_none() && issuers.status().is_empty());
    assert!(
        !removed.refetch().await,
        "the task is gone, and nobody waits for it"
    );
}

#[tokio::test]
async fn a_bad_specification_changes_nothing() {
    let server = IssuerServer::start(Behaviour::Document(jwks(&[EC.jwk("a")]))).await;
    let spec = url_spec(&format!("http://127.0.0.1:{}/", server.port));
    let issuers = started(spec.clone(), None).await;
    let mut bad = spec.clone();
    bad.name = "bad".to_owned();
    bad.audiences.clear();
    assert!(issuers.reconcile(&[bad]).await.is_err());
    let twice = issuers.reconcile(&[spec.clone(), spec]).await.unwrap_err();
    assert_eq!(twice.to_string(), "issuer `main`: the name is used twice");
    assert_eq!(
        outcome(&Verifier::new(1 << 20), &issuers, &EC.good("a")),
        "ok"
    );
}

#[tokio::test]
async fn https_needs_a_trusted_certificate() {
    install_provider();
    let authority = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root = parameters.self_signed(&authority).unwrap();
    let ca = rcgen::Issuer::from_params(&parameters, &authority);
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec!["localhost".to_owned()])
        .unwrap()
        .signed_by(&key, &ca)
        .unwrap();
    let private = rustls::pki_types::PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], private)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let document = Behaviour::Document(jwks(&[EC.jwk("a")]));
    let server = IssuerServer::start_with(document, Some(acceptor)).await;
    let directory = tempfile::tempdir().unwrap();
    let bundle = directory.path().join("ca.pem");
    std::fs::write(&bundle, root.pem()).unwrap();

    let mut spec = url_spec(&format!("https://localhost:{}/", server.port));
    let error = started(spec.clone(), None).await.status()[0]
        .last_error
        .clone();
    assert!(error.is_some(), "an unknown authority must not be trusted");
    spec.ca = Some(bundle.clone());
    assert_eq!(started(spec.clone(), None).await.status()[0].keys, 1);
    assert_eq!(server.hits(), 1);

    let wrong_name = url_spec(&format!("https://127.0.0.1:{}/", server.port));
    let mut wrong_name = wrong_name;
    wrong_name.ca = Some(bundle.clone());
    assert_eq!(started(wrong_name, None).await.status()[0].keys, 0);

    for (content, why) in [
        ("", "no certificate"),
        (
            "-----BEGIN CERTIFICATE-----\nAA\n",
            "certificate authorities",
        ),
    ] {
        std::fs::write(&bundle, content).unwrap();
        let issuers = Issuers::new(None);
        issuers.reconcile(&[spec.clone()]).await.unwrap();
        issuers.first_attempts().await;
        let error = issuers.status()[0].last_error.clone().unwrap();
        assert!(error.contains(why), "{error}");
    }
}
