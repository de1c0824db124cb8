//! HTTP/3 and QPACK case by case, as an independent implementation sends them: the table is in
//! `h3_cases.py`, with the section of the RFC that decides each.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;

use crate::aioquic::{assert_installed, python};
use crate::harness::files::certificate_file;
use crate::matrix::World;

/// A hundred connections, one after the other, from Python on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(170);
const CASES_MIN: usize = 100;

/// The JSON that a script beside this file prints.
pub(crate) async fn script(world: &World, name: &str) -> Value {
    let python = python();
    assert_installed(&python).await;
    let talking = Command::new(python)
        .kill_on_drop(true)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .arg(
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("tests/it")
                .join(name),
        )
        .arg(world.edge.https.port().to_string())
        .arg(certificate_file("ca.pem"))
        .output();
    let output = tokio::time::timeout(PATIENCE, talking)
        .await
        .expect("the script ends")
        .expect("python starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} failed: {errors}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("not JSON, and: {errors}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_case_gets_its_verdict() {
    let world = World::start().await;
    let results = script(&world, "h3_cases.py").await;
    let results = results.as_array().expect("a list");
    let mut wrong = Vec::new();
    let mut names = HashSet::new();
    let mut good = 0;
    for case in results {
        let name = case["name"].as_str().expect("a name");
        assert!(names.insert(name), "the name {name} is used twice");
        let expected = case["expected"].as_array().expect("verdicts");
        if !expected.contains(&case["got"]) {
            wrong.push(case.to_string());
        }
        let seen = world.origin.record().count(&format!("/echo/{name}"));
        let is = |verdicts: &[&str]| {
            expected
                .iter()
                .any(|verdict| verdicts.contains(&verdict.as_str().unwrap_or("")))
        };
        let is_good = is(&["200"]);
        good += usize::from(is_good);
        // A head that is wrong goes nowhere; a body that is wrong may be known only later.
        let may_be_seen = !is(&["400", "431", "reset:0x10d", "reset:0x10e", "close:0x200"]);
        if (is_good && seen != 1) || (!may_be_seen && seen != 0) {
            wrong.push(format!("{name}: the origin saw it {seen} times"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(results.len() >= CASES_MIN, "only {} cases", results.len());
    assert_eq!(
        world.origin.record().uploads_complete,
        good,
        "a body that is wrong got through whole"
    );
}
