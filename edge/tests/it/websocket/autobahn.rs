//! The Autobahn suite's fuzzing client against a WebSocket upstream, and against the same through
//! the edge: the verdicts must be the same, case by case.
//!
//! The suite is Python 2.7, which systems no longer ship: `make setup-tests` installs it where it
//! finds one. Without one the comparison is left out, and says so.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command as Probe, Stdio};
use std::time::Duration;
use std::{env, fs};

use serde_json::{Value, json};
use tokio::process::Command;

use super::World;

/// The whole suite twice, of which the large messages take most.
const PATIENCE: Duration = Duration::from_secs(900);
/// Of release 25.10.1.
const CASES: usize = 517;

fn wstest() -> Option<PathBuf> {
    if let Some(wstest) = env::var_os("PALISADE_TEST_WSTEST") {
        return Some(wstest.into());
    }
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the edge is in a workspace");
    let installed = workspace.join(".palisade/autobahn/bin/wstest");
    if installed.exists() {
        return Some(installed);
    }
    let python = Probe::new("python2.7")
        .args(["-c", ""])
        .stderr(Stdio::null())
        .status();
    assert!(
        !python.is_ok_and(|status| status.success()),
        "no wstest, and a Python 2.7 for it: run `make setup-tests` or set PALISADE_TEST_WSTEST"
    );
    None
}

/// Case to verdicts, of one agent.
fn verdicts(report: &Value, agent: &str) -> BTreeMap<String, (Value, Value)> {
    let cases = report[agent].as_object().expect("a report");
    cases
        .iter()
        .map(|(case, result)| {
            let verdict = (result["behavior"].clone(), result["behaviorClose"].clone());
            (case.clone(), verdict)
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn autobahn_finds_no_difference() {
    let Some(wstest) = wstest() else {
        println!("left out: there is no Python 2.7 to run Autobahn by");
        return;
    };
    let world = World::start().await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = |agent: &str, address| json!({ "agent": agent, "url": format!("ws://{address}/open/echo") });
    let spec = json!({
        "outdir": folder.path().join("reports"),
        "servers": [server("bare", world.origin.address), server("edge", world.edge.http)],
        "cases": ["*"],
        "exclude-cases": [],
        "exclude-agent-cases": {},
    });
    let spec_file = folder.path().join("spec.json");
    fs::write(&spec_file, spec.to_string()).expect("a file");
    let running = Command::new(wstest)
        .kill_on_drop(true)
        .current_dir(folder.path())
        .args(["--mode", "fuzzingclient", "--spec"])
        .arg(&spec_file)
        .output();
    let output = tokio::time::timeout(PATIENCE, running)
        .await
        .expect("autobahn ends")
        .expect("wstest starts");
    let report = fs::read_to_string(folder.path().join("reports/index.json"));
    let report =
        report.unwrap_or_else(|_| panic!("no report: {}", String::from_utf8_lossy(&output.stderr)));
    let report: Value = serde_json::from_str(&report).expect("JSON");
    let (bare, edge) = (verdicts(&report, "bare"), verdicts(&report, "edge"));
    assert_eq!(bare.len(), CASES);
    let differing: Vec<_> = bare
        .iter()
        .filter(|(case, verdict)| edge.get(*case) != Some(*verdict))
        .map(|(case, verdict)| format!("{case}: bare {verdict:?}, edge {:?}", edge.get(case)))
        .collect();
    assert!(differing.is_empty(), "{}", differing.join("\n"));
    let failed = bare.values().filter(|(verdict, _)| verdict == "FAILED");
    assert_eq!(failed.count(), 0, "the upstream itself is sound");
}
