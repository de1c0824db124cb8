//! HTTP/3 as an independent implementation understands it: our own client shares its library with
//! the edge, so the two could be wrong together. This one is aioquic.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::harness::files::certificate_file;
use crate::matrix::World;

/// Two uploads and a download of 50 MiB in Python.
const PATIENCE: Duration = Duration::from_secs(170);
const LARGE: u64 = 50 * 1024 * 1024;

/// The Python that has aioquic.
pub(crate) fn python() -> PathBuf {
    if let Some(python) = env::var_os("PALISADE_TEST_PYTHON") {
        return python.into();
    }
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the edge is in a workspace");
    workspace.join(".palisade/venv/bin/python")
}

pub(crate) async fn assert_installed(python: &Path) {
    let probe = Command::new(python)
        .args(["-c", "import aioquic"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .await;
    assert!(
        probe.is_ok_and(|status| status.success()),
        "no aioquic in `{}`: run `make setup-tests` or set PALISADE_TEST_PYTHON",
        python.display()
    );
}

async fn talk(world: &World) -> Value {
    let python = python();
    assert_installed(&python).await;
    let token = world
        .signer
        .token(json!({ "scope": "read", "roles": ["user"] }));
    let talking = Command::new(python)
        .kill_on_drop(true)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/aioquic_client.py"))
        .arg(world.edge.https.port().to_string())
        .arg(certificate_file("ca.pem"))
        .arg(token)
        .output();
    let output = tokio::time::timeout(PATIENCE, talking)
        .await
        .expect("aioquic ends")
        .expect("python starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "aioquic failed: {errors}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("not JSON, and: {errors}"))
}

fn counted(result: &Value) -> Value {
    serde_json::from_str(result["body"].as_str().expect("a body")).expect("JSON")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aioquic_agrees() {
    let world = World::start().await;
    let results = talk(&world).await;
    assert_statuses(&results);
    assert_answers(&results);
    assert_bodies(&results);
    assert_eq!(world.origin.record().count("/fresh/aioquic"), 1);
    world
        .origin
        .wait("the abort", |record| record.responses_aborted >= 1)
        .await;
    assert!(results["terminated"].is_null(), "{}", results["terminated"]);
}

fn assert_statuses(results: &Value) {
    let status = |name: &str| results[name]["status"].as_u64().unwrap_or(0);
    for (name, expected) in [
        ("get", 200),
        ("post", 200),
        ("head", 200),
        ("unauthorized", 401),
        ("forbidden", 403),
        ("authorized", 200),
        ("not_found", 404),
        ("not_allowed", 405),
        ("grpc", 200),
        ("grpc_error", 200),
        ("download", 200),
        ("upload_declared", 200),
        ("upload_streamed", 200),
        ("after_abort", 200),
    ] {
        assert_eq!(status(name), expected, "{name}: {}", results[name]);
        assert!(
            results[name]["reset"].is_null(),
            "{name}: {}",
            results[name]
        );
    }
}

fn assert_answers(results: &Value) {
    assert_eq!(
        (
            &results["head"]["headers"]["content-length"],
            &results["head"]["bytes"]
        ),
        (&json!("1024"), &json!(0))
    );
    assert_eq!(
        results["unauthorized"]["headers"]["www-authenticate"],
        "Bearer"
    );
    assert_eq!(results["not_allowed"]["headers"]["allow"], "GET, HEAD");
    let limited = results["limited"]
        .as_array()
        .expect("three")
        .iter()
        .map(|one| one["status"].as_u64().unwrap_or(0));
    assert_eq!(limited.collect::<Vec<_>>(), [200, 200, 429]);
    let hit = results["cached"][1]["headers"]["cache-status"]
        .as_str()
        .expect("cache-status");
    assert!(hit.starts_with("palisade; hit"), "{hit}");
    assert_eq!(
        results["grpc"]["trailers"]["grpc-status"], "0",
        "{}",
        results["grpc"]
    );
    let fields =
        ["headers", "trailers"].map(|part| results["grpc_error"][part]["grpc-status"].clone());
    assert!(fields.contains(&json!("5")), "{}", results["grpc_error"]);
}

fn assert_bodies(results: &Value) {
    assert_eq!(
        counted(&results["post"]),
        json!({ "bytes": 1024 * 1024, "intact": true })
    );
    let sizes: Vec<u64> = (1000..1020).collect();
    assert_eq!(
        results["parallel"],
        json!({ "sizes": sizes, "intact": true })
    );
    assert_eq!(
        (
            &results["download"]["bytes"],
            &results["download"]["intact"]
        ),
        (&json!(LARGE), &json!(true))
    );
    for name in ["upload_declared", "upload_streamed"] {
        assert_eq!(
            counted(&results[name]),
            json!({ "bytes": LARGE, "intact": true }),
            "{name}"
        );
    }
    assert!(
        results["cut"]["reset"].is_u64(),
        "a cut answer must be reset: {}",
        results["cut"]
    );
}
