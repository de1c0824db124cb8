//! Key sets that rotate, vanish, lie and come back, over real sockets and files.

use crate::issuer_server::{Behaviour, IssuerServer, until};
use crate::signer::{EC, ISSUER, NOW, Signer, jwks};
use palisade_token::{Algorithm, IssuerSpec, Issuers, JwksSource, Origin, Refusal, Verifier};
use std::path::Path;
use std::time::Duration;

pub(crate) const HOUR: Duration = Duration::from_secs(3600);

pub(crate) fn install_provider() {
    // The second test to come here finds it installed.
    let _already = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// An issuer read from `url`, refreshed and cooled down by the hour: what happens is asked for.
pub(crate) fn url_spec(url: &str) -> IssuerSpec {
    let source = JwksSource::Url(reqwest::Url::parse(url).unwrap());
    let mut spec = IssuerSpec::new("main", ISSUER, &["api"], source);
    spec.refresh = HOUR;
    spec.cooldown = HOUR;
    spec
}

fn server_spec(server: &IssuerServer) -> IssuerSpec {
    url_spec(&format!("http://127.0.0.1:{}/jwks", server.port))
}

pub(crate) async fn started(spec: IssuerSpec, state_dir: Option<&Path>) -> Issuers {
    install_provider();
    let issuers = Issuers::new(state_dir.map(Path::to_owned));
    issuers.reconcile(&[spec]).await.unwrap();
    issuers.first_attempts().await;
    issuers
}

pub(crate) fn outcome(verifier: &Verifier, issuers: &Issuers, token: &str) -> &'static str {
    let issuer = issuers.get("main").unwrap();
    let outcome = verifier.verify(&issuer, token, NOW);
    outcome.map_or_else(|refusal| refusal.code(), |_| "ok")
}

#[tokio::test]
async fn an_unknown_kid_is_found_by_one_more_fetch() {
    let server = IssuerServer::start(Behaviour::Document(jwks(&[EC.jwk("old")]))).await;
    let issuers = started(server_spec(&server), None).await;
    let verifier = Verifier::new(1 << 20);
    assert_eq!(outcome(&verifier, &issuers, &EC.good("old")), "ok");
    let new = Signer::new(Algorithm::EdDsa);
    let token = new.good("new");
    assert_eq!(outcome(&verifier, &issuers, &token), "token_key_unknown");
    server.set(Behaviour::Document(jwks(&[EC.jwk("old"), new.jwk("new")])));
    assert!(issuers.refetch("main").await);
    assert_eq!(outcome(&verifier, &issuers, &token), "ok");
    assert_eq!(outcome(&verifier, &issuers, &EC.good("old")), "ok");
    assert!(!issuers.refetch("nobody").await);
}

#[tokio::test]
async fn a_remembered_token_dies_with_its_key() {
    let other = Signer::new(Algorithm::EdDsa);
    let both = jwks(&[EC.jwk("a"), other.jwk("b")]);
    let server = IssuerServer::start(Behaviour::Document(both)).await;
    let issuers = started(server_spec(&server), None).await;
    let verifier = Verifier::new(1 << 20);
    let token = EC.good("a");
    assert_eq!(outcome(&verifier, &issuers, &token), "ok");
    assert_eq!(outcome(&verifier, &issuers, &token), "ok");
    assert_eq!(verifier.stats().hits, 1);
    server.set(Behaviour::Document(jwks(&[other.jwk("b")])));
    assert!(issuers.refetch("main").await);
    assert_eq!(outcome(&verifier, &issuers, &token), "token_key_unknown");
    assert_eq!(outcome(&verifier, &issuers, &other.good("b")), "ok");
}

/// A key is withdrawn while its source, or what lies between, still publishes it.
#[tokio::test]
async fn a_withdrawn_key_is_gone_at_once_and_for_good() {
    let state = tempfile::tempdir().unwrap();
    let new = Signer::new(Algorithm::EdDsa);
    let server = IssuerServer::start(Behaviour::Document(jwks(&[EC.jwk("leaked")]))).await;
    let issuers = started(server_spec(&server), Some(state.path())).await;
    let saved = || std::fs::read_dir(state.path()).unwrap().count();
    assert_eq!(saved(), 1);
    let verifier = Verifier::new(1 << 20);
    let (leaked, token) = (EC.good("leaked"), new.good("new"));
    assert_eq!(outcome(&verifier, &issuers, &leaked), "ok");
    let issuer = issuers.get("main").unwrap();
    issuer.withdraw("leaked");
    assert_eq!(outcome(&verifier, &issuers, &leaked), "token_key_unknown");
    until("a look at the source, which is behind", || {
        let error = issuer.status().last_error;
        error.is_some_and(|error| error == "a key that was withdrawn is still published")
    })
    .await;
    assert_eq!(saved(), 0, "no restart brings it back");
    server.set(Behaviour::Document(jwks(&[new.jwk("new")])));
    until("the new key, which nobody asked for", || {
        outcome(&verifier, &issuers, &token) == "ok" && saved() == 1
    })
    .await;
    server.set(Behaviour::Document(jwks(&[
        EC.jwk("leaked"),
        new.jwk("new"),
    ])));
    issuers.refetch("main").await;
    assert_eq!(outcome(&verifier, &issuers, &leaked), "token_key_unknown");
    assert_eq!(outcome(&verifier, &issuers, &token), "ok");
}

#[tokio::test]
async fn a_thousand_unknown_kids_cost_one_fetch() {
    let server = IssuerServer::start(Behaviour::Document(jwks(&[EC.jwk("a")]))).await;
    let issuers = std::sync::Arc::new(started(server_spec(&server), None).await);
    let verifier = Verifier::new(1 << 20);
    assert_eq!(server.hits(), 1);
    let mut asking = tokio::task::JoinSet::new();
    for number in 0..1000 {
        let token = EC.good(&format!("random-{number}"));
        assert_eq!(outcome(&verifier, &issuers, &token), "token_key_unknown");
        let issuers = std::sync::Arc::clone(&issuers);
        asking.spawn(async move { issuers.refetch("main").await });
    }
    asking.join_all().await;
    assert_eq!(server.hits(), 2);
    // Neither the generation nor the remembered tokens were lost to the refetch of the same set.
    let issuer = issuers.get("main").unwrap();
    until("the cooldown answers false", || {
        let mut asking = std::pin::pin!(issuer.refetch());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        // Ready at the first poll: nobody waits during the cooldown.
        asking.as_mut().poll(&mut context) == std::task::Poll::Ready(false)
    })
    .await;
    assert_eq!(server.hits(), 2);
}

#[tokio::test]
async fn callers_share_one_fetch_and_its_result() {
    // No set was in force before, so no caller can be told of an earlier change.
    let server = IssuerServer::start(Behaviour::Status(503)).await;
    let issuers = std::sync::Arc::new(started(server_spec(&server), None).await);
    server.set(Behaviour::Document(jwks(&[EC.jwk("a")])));
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let issuers = std::sync::Arc::clone(&issuers);
        asking.spawn(async move { issuers.refetch("main").await });
    }
    assert_eq!(asking.join_all().await, [true; 50]);
    assert_eq!(server.hits(), 2);
}

#[tokio::test]
async fn a_caller_that_hangs_up_does_not_stop_the_fetch() {
    let server = IssuerServer::start(Behaviour::Document(jwks(&[EC.jwk("a")]))).await;
    let issuers = started(server_spec(&server), None).await;
    let verifier = Verifier::new(1 << 20);
    let new = Signer::new(Algorithm::Es256);
    server.set(Behaviour::Document(jwks(&[new.jwk("b")])));
    {
        let mut asking = std::pin::pin!(issuers.refetch("main"));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(asking.as_mut().poll(&mut context).is_pending());
    }
    let token = new.good("b");
    until("the new key is in force", || {
        outcome(&verifier, &issuers, &token) == "ok"
    })
    .await;
}

#[tokio::test]
async fn faults_keep_the_last_good_set() {
    let good = jwks(&[EC.jwk("a")]);
    let elsewhere =
        IssuerServer::start(Behaviour::Document(jwks(&[
            Signer::new(Algorithm::Es256).jwk("a")
        ])))
        .await;
    let redirect = format!("http://127.0.0.1:{}/jwks", elsewhere.port);
    for (fault, why) in [
        (Behaviour::Status(500), "status 500"),
        (Behaviour::Status(201), "status 201"),
        (Behaviour::Status(404), "status 404"),
        (Behaviour::Redirect(redirect), "status 302"),
        (
            Behaviour::Redirect("http://169.254.169.254/".to_owned()),
            "status 302",
        ),
        (Behaviour::Huge, "body is larger"),
        (Behaviour::HugeChunked, "body is larger"),
        (Behaviour::Truncates, "request failed"),
        (Behaviour::Stalls, "no answer within"),
        (Behaviour::Document("<html>".to_owned()), "not valid JSON"),
        (
            Behaviour::Document(r#"{"keys":[]}"#.to_owned()),
            "no usable key",
        ),
    ] {
        let server = IssuerServer::start(Behaviour::Document(good.clone())).await;
        let issuers = started(server_spec(&server), None).await;
        server.set(fault);
        assert!(!issuers.refetch("main").await, "{why}");
        let status = issuers.status().remove(0);
        let error = status.last_error.unwrap();
        assert!(error.contains(why), "{error}");
        assert_eq!(
            (status.keys, status.failures, status.origin),
            (1, 1, Some(Origin::Source))
        );
        assert_eq!(
            outcome(&Verifier::new(1 << 20), &issuers, &EC.good("a")),
            "ok",
            "{why}"
        );
    }
    assert_eq!(elsewhere.hits(), 0);
}

#[tokio::test]
async fn an_issuer_that_is_down_at_start_is_tried_again() {
    let server = IssuerServer::start(Behaviour::Status(503)).await;
    let issuers = started(server_spec(&server), None).await;
    let verifier = Verifier::new(1 << 20);
    let issuer = issuers.get("main").unwrap();
    assert_eq!(
        verifier.verify(&issuer, &EC.good("a"), NOW).unwrap_err(),
        Refusal::NoKeys
    );
    server.set(Behaviour::Document(jwks(&[EC.jwk("a")])));
    until("the retry succeeds", || {
        outcome(&verifier, &issuers, &EC.good("a")) == "ok"
    })
    .await;
    assert_eq!(issuers.status()[0].last_error, None);
}

#[tokio::test]
async fn a_restart_during_an_outage_still_verifies() {
    use std::os::unix::fs::PermissionsExt;
    let state = tempfile::tempdir().unwrap();
    let state = state.path().join("keys");
    let server = IssuerServer::start(Behaviour::Document(jwks(&[EC.jwk("a")]))).await;
    let spec = server_spec(&server);
    drop(started(spec.clone(), Some(&state)).await);
    let files: Vec<_> = std::fs::read_dir(&state)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    assert_eq!(files.len(), 1, "{files:?}");
    assert_eq!(
        files[0].metadata().unwrap().permissions().mode() & 0o777,
        0o600
    );

    server.set(Behaviour::Status(500));
    let issuers = started(spec.clone(), Some(&state)).await;
    assert_eq!(
        outcome(&Verifier::new(1 << 20), &issuers, &EC.good("a")),
        "ok"
    );
    let status = issuers.status().remove(0);
    assert_eq!((status.origin, status.keys), (Some(Origin::Saved), 1));
    assert!(status.last_error.unwrap().contains("500"));

    // Another issuer identifier is another file, and a damaged file is not believed.
    let mut other = spec.clone();
    other.issuer = "https://other.example".to_owned();
    assert_eq!(started(other, Some(&state)).await.status()[0].keys, 0);
    std::fs::write(&files[0], "{").unwrap();
    assert_eq!(
        started(spec.clone(), Some(&state)).await.status()[0].keys,
        0
    );

    std::fs::write(&files[0], jwks(&[EC.jwk("a")])).unwrap();
    let aged = std::fs::File::options()
        .write(true)
        .open(&files[0])
        .unwrap();
    aged.set_modified(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(
        started(spec, Some(&state)).await.status()[0].keys,
        0,
        "too old"
    );
}

#[tokio::test]
async fn a_key_file_is_followed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jwks.json");
    std::fs::write(&path, jwks(&[EC.jwk("a")])).unwrap();
    let mut spec = IssuerSpec::new("main", ISSUER, &["api"], JwksSource::File(path.clone()));
    spec.refresh = Duration::from_millis(100);
    let issuers = Issuers::new(None);
    issuers.reconcile(&[spec.clone()]).await.unwrap();
    let verifier = Verifier::new(1 << 20);
    assert_eq!(
        outcome(&verifier, &issuers, &EC.good("a")),
        "ok",
        "loaded on return"
    );
    let new = Signer::new(Algorithm::Es256);
    let token = new.good("b");
    std::fs::write(&path, jwks(&[new.jwk("b")])).unwrap();
    until("the new file is read", || {
        outcome(&verifier, &issuers, &token) == "ok"
    })
    .await;
    std::fs::remove_file(&path).unwrap();
    until("the loss is noticed", || {
        issuers.status()[0].last_error.is_some()
    })
    .await;
    assert_eq!(outcome(&verifier, &issuers, &token), "ok");

    for (what, why) in [
        (directory.path().to_owned(), "regular file"),
        (path, "cannot read"),
    ] {
        spec.source = JwksSource::File(what);
        let issuers = Issuers::new(None);
        issuers.reconcile(&[spec.clone()]).await.unwrap();
        let error = issuers.status()[0].last_error.clone().unwrap();
        assert!(error.contains(why), "{error}");
    }
}
