//! The documentation page in a real browser, and the document held against the core services.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;

use crate::accounts::{Account, Api};
use crate::client::Protocol;
use crate::harness::System;

/// A browser's start and some hundred requests in Python, on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(280);

/// The Python that has playwright and schemathesis.
fn python() -> PathBuf {
    if let Some(python) = std::env::var_os("PALISADE_TEST_PYTHON") {
        return python.into();
    }
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../.palisade/venv/bin/python")
}

/// Standard output of a command that ends well.
async fn told(command: &mut Command) -> String {
    let running = command.kill_on_drop(true).output();
    let output = tokio::time::timeout(PATIENCE, running)
        .await
        .expect("it ends")
        .expect("it starts: `make setup-tests`, or set PALISADE_TEST_PYTHON");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}\n{errors}");
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_signs_in_and_calls() {
    let system = System::start_unlimited().await;
    let mut api = Api::new(system.client(Protocol::H2).await, &system.secrets);
    let account = Account::new("reader");
    api.register(&account).await;
    let tokens = api.login(&account).await;
    let scratch = tempfile::tempdir().expect("a folder");
    let screenshot = scratch.path().join("docs.png");
    let text = told(
        Command::new(python())
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/system/docs_browser.py"))
            .arg(format!("https://localhost:{}", system.edge.https.port()))
            .arg(&tokens.access)
            .arg(&screenshot),
    )
    .await;
    let seen: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(seen["title"], "Palisade");
    assert_eq!(seen["status"], "200", "{seen}");
    let body = seen["body"].as_str().expect("a body");
    assert!(body.contains(&account.email), "{body}");
    // The tab that was loaded anew is still signed in.
    assert_eq!(seen["status_after_reload"], "200", "{seen}");
    assert_eq!(seen["elsewhere"], serde_json::json!([]), "asked elsewhere");
    assert_eq!(
        seen["complaints"],
        serde_json::json!([]),
        "by the content policy, or of a script"
    );
    let operations = seen["operations"].as_u64().expect("a number");
    assert!(operations >= 14, "{seen}");
    // A picture of something: many colours, and not one.
    let colours = seen["colours"].as_u64().expect("a number");
    assert!(colours > 100, "{seen}");
    assert!(screenshot.metadata().expect("a picture").len() > 10_000);
    system.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_what_the_document_says() {
    let system = System::start_unlimited().await;
    let mut api = Api::new(system.client(Protocol::H2).await, &system.secrets);
    let account = Account::new("tester");
    api.register(&account).await;
    let tokens = api.login(&account).await;
    let scratch = tempfile::tempdir().expect("a folder");
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let url = format!(
        "https://localhost:{}/openapi.json",
        system.edge.https.port()
    );
    let text = told(
        Command::new(python().with_file_name("schemathesis"))
            .current_dir(scratch.path())
            .env("SCHEMATHESIS_HOOKS", "schemathesis_formats")
            .env("PYTHONPATH", tests.join("it/openapi"))
            .args(["run", &url, "--no-color", "--seed", "1", "--workers", "1"])
            .args(["--max-examples", "15", "--phases", "examples,coverage,fuzzing"])
            .args(["--checks", "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,response_headers_conformance"])
            .args(["--suppress-health-check", "all", "--request-timeout", "20"])
            // It would end the session that it uses.
            .args(["--exclude-path-regex", "logout|change-password"])
            .args(["-H", &format!("Authorization: Bearer {}", tokens.access)])
            .arg("--tls-verify")
            .arg(system.files.certs().join("ca.pem")),
    )
    .await;
    assert!(text.contains(" passed") && !text.contains('❌'), "{text}");
    system.end().await;
}
