//! TLS as sslyze sees it, an independent scanner: held against Mozilla's profiles.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::aioquic::python;
use crate::harness::Edge;
use crate::harness::files::{Files, certificate_file, issue_for, replace};
use crate::harness::waiting::until;
use crate::visit::{visit, visitor};

/// A scan takes a few seconds; a loaded machine takes more.
const PATIENCE: Duration = Duration::from_secs(170);
/// The modern profile takes 90 at most.
const CERTIFICATE_DAYS: i64 = 60;

async fn scan(edge: &Edge) -> Value {
    let scanning = Command::new(python())
        .kill_on_drop(true)
        // The scanner's own trust stores hold certificates that its parser warns about.
        .args(["-W", "ignore"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/sslyze_client.py"))
        .args([&edge.https.port().to_string(), "localhost"])
        .arg(certificate_file("ca.pem"))
        .output();
    let output = tokio::time::timeout(PATIENCE, scanning)
        .await
        .expect("the scan ends")
        .expect("python starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "no scan: run `make setup-tests` or set PALISADE_TEST_PYTHON; {errors}"
    );
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("not JSON, and: {errors}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn intermediate_by_default_and_modern_by_one_line() {
    let files = Files::with_policies(&[("policy.yaml", "version: 1\n")]);
    let (pem, key) = issue_for(&["localhost"], CERTIFICATE_DAYS);
    replace(&files.certs().join("localhost.key"), key.as_bytes());
    replace(&files.certs().join("localhost.pem"), pem.as_bytes());
    let edge = Edge::start_with(files, &[]).await;
    let found = scan(&edge).await;
    assert_eq!(found["intermediate"], json!({}));
    // It was TLS 1.2 that was looked at, too.
    let issues = found["modern"].as_object().expect("issues");
    let issues: Vec<&str> = issues.keys().map(String::as_str).collect();
    assert_eq!(issues, ["ciphers", "tls_versions"], "{found}");

    let modern = "version: 1\nhosts: [{ name: all, tls: { min_version: 1.3 } }]\n";
    edge.files.write_policy("policy.yaml", modern);
    let old = visitor(None, &[&rustls::version::TLS12]);
    until("the line to hold", || async {
        visit(edge.https, &old, "localhost", "localhost")
            .await
            .err()
    })
    .await;
    let found = scan(&edge).await;
    assert_eq!(found["modern"], json!({}));
}
