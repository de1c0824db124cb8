//! Requests made up from the document by schemathesis, sent to the running edge: what comes back is
//! what the document says, and never a 5xx.

use std::path::Path;
use std::time::Duration;

use tokio::process::Command;

use super::World;
use crate::aioquic::python;
use crate::harness::files::certificate_file;

/// Some hundred requests in Python, on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(280);

/// `Hang` never answers, and `Fail` fails as it is told: with 5xx, too.
const ROUTES: &str = r#"
defaults: { request_timeout: 20s }
routes:
  - name: echo
    matches:
      - { path: { prefix: /v1/echo } }
      - { path: { prefix: /v1/look } }
      - { path: /v1/people }
      - { path: { prefix: /v1/thumbnails } }
    cluster: echo
    translate: true
  - { name: openapi, matches: [{ path: /openapi.json }], openapi: { title: Echo } }
  - { name: old, matches: [{ path: /v30.json }], openapi: { version: 3.0, title: Echo } }
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_what_the_document_says() {
    let world = World::start(ROUTES).await;
    // The older document says the same in other words; what the first has tried need not be tried again.
    for (document, phases, examples) in [
        ("openapi.json", "examples,fuzzing", "40"),
        ("v30.json", "examples,fuzzing", "10"),
    ] {
        let scratch = tempfile::tempdir().expect("a folder");
        let url = format!("https://localhost:{}/{document}", world.edge.https.port());
        let running = Command::new(python().with_file_name("schemathesis"))
            .kill_on_drop(true)
            .current_dir(scratch.path())
            .env("SCHEMATHESIS_HOOKS", "schemathesis_formats")
            .env(
                "PYTHONPATH",
                Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/openapi"),
            )
            .args(["run", &url, "--no-color", "--seed", "1", "--workers", "1"])
            .args(["--max-examples", examples, "--phases", phases])
            .args(["--checks", "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,response_headers_conformance"])
            .args(["--suppress-health-check", "all", "--request-timeout", "20"])
            .arg("--tls-verify")
            .arg(certificate_file("ca.pem"))
            .output();
        let output = tokio::time::timeout(PATIENCE, running)
            .await
            .expect("schemathesis ends")
            .expect("schemathesis is there: `make setup-tests`, or set PALISADE_TEST_PYTHON");
        let told = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{document}: {told}\n{errors}");
        // It did something.
        assert!(
            told.contains("Operations:") && told.contains(" passed") && !told.contains('❌'),
            "{told}"
        );
    }
}
