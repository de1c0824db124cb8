//! Getting to a server: addresses, roles, TLS.

use core_testing::{Postgres, postgres};
use rcgen::{CertificateParams, KeyPair};

use super::*;

async fn refusal(url: &str) -> String {
    let location = Location::from_setting(url).unwrap();
    let error = Db::open(&location, "t").await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
    error.to_string()
}

#[tokio::test]
async fn a_server_that_cannot_be_opened_is_named_with_a_hint() {
    let port = postgres().port();
    let gone = Postgres::start();
    gone.kill();
    for (url, expected) in [
        (
            format!("postgres://ada:s3cret@127.0.0.1:{}/none", gone.port()),
            [
                format!("postgres://ada@127.0.0.1:{}/none", gone.port()),
                "is PostgreSQL running".to_owned(),
            ],
        ),
        (
            format!("postgres://ada:s3cret@127.0.0.1:{port}/postgres"),
            [
                "`postgres://ada@".to_owned(),
                "role and password".to_owned(),
            ],
        ),
        (
            format!("postgres://tester@127.0.0.1:{port}/none"),
            ["/none`".to_owned(), "--create-with".to_owned()],
        ),
        (
            format!("postgres://tester@127.0.0.1:{port}/postgres?sslmode=require"),
            ["/postgres`".to_owned(), "sslmode".to_owned()],
        ),
    ] {
        let text = refusal(&url).await;
        assert!(text.contains("hint: "), "{text}");
        for part in expected {
            assert!(text.contains(&part), "{text}");
        }
    }
}

#[tokio::test]
async fn tls_is_as_strict_as_the_url_says() {
    // What `main` does first; another test may have done it.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let key = KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned()];
    let certificate = CertificateParams::new(names)
        .unwrap()
        .self_signed(&key)
        .unwrap();
    let server = Postgres::start_with_tls(&certificate.pem(), &key.serialize_pem());
    let dir = tempfile::tempdir().unwrap();
    let (right, wrong) = (dir.path().join("right.pem"), dir.path().join("wrong.pem"));
    std::fs::write(&right, certificate.pem()).unwrap();
    let other = KeyPair::generate().unwrap();
    let other = CertificateParams::new(Vec::new())
        .unwrap()
        .self_signed(&other)
        .unwrap();
    std::fs::write(&wrong, other.pem()).unwrap();
    let url = |host: &str, parameters: String| {
        format!(
            "postgres://tester@{host}:{}/postgres?{parameters}",
            server.port()
        )
    };
    let with = |mode: &str, root: &std::path::Path| {
        format!("sslmode={mode}&sslrootcert={}", root.display())
    };
    for (host, parameters, works) in [
        ("localhost", with("verify-full", &right), true),
        ("localhost", with("verify-full", &wrong), false),
        // The certificate names `localhost` only.
        ("127.0.0.1", with("verify-full", &right), false),
        ("127.0.0.1", with("verify-ca", &right), true),
        ("127.0.0.1", "sslmode=require".to_owned(), true),
    ] {
        let url = url(host, parameters);
        let location = Location::from_setting(&url).unwrap();
        let opened = Db::open(&location, "t").await;
        assert_eq!(opened.is_ok(), works, "{url}: {opened:?}");
        if let Ok(db) = opened {
            let own = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
            let row = query(own).fetch_one(&db).await.unwrap();
            assert!(row.get::<bool>(0).unwrap(), "{url}");
        }
    }
}
