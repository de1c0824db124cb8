//! Tests of policies stand before the policies: at the start, and at each reload.

use std::ffi::OsStr;

use crate::client::{Client, Protocol};
use crate::harness::files::Files;
use crate::harness::waiting::until;
use crate::harness::{Edge, palisade, run_to_end};
use crate::upstream::Origin;

const TESTS: &str = r#"version: 1
tests:
  - name: echo-is-open
    request: { url: "https://localhost/echo" }
    expect: { route: echo, cluster: web }
"#;

fn policy(origin: &Origin, path: &str) -> String {
    format!(
        "version: 1\nclusters: [{{ name: web, endpoints: [\"{}\"] }}]\nroutes: [{{ name: echo, matches: [{{ path: {path} }}], cluster: web }}]\n",
        origin.address
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_that_fails_its_tests_is_refused() {
    let origin = Origin::h1().await;
    let good = policy(&origin, "/echo");
    let edge = Edge::start(&[("policy.yaml", &good), ("tests/echo.yaml", TESTS)]).await;
    let mut client = Client::connect(Protocol::H1, &edge).await;
    edge.files
        .write_policy("policy.yaml", &policy(&origin, "/moved"));
    let status = until("the refusal", async || {
        let (_, page) = edge.admin("/policy").await;
        let page: serde_json::Value = serde_json::from_str(&page).expect("JSON");
        let error = page["status"]["last_error"]["text"].as_str()?.to_owned();
        Some(error)
    })
    .await;
    for part in [
        "tests/echo.yaml:3: test \"echo-is-open\" failed",
        "expected echo",
        "actual   none",
        "GET https://localhost/echo is answered 404 route_not_found",
    ] {
        assert!(status.contains(part), "{part} is not in\n{status}");
    }
    assert_eq!(client.get("/echo").await.status, 200);
    // The test follows the route: both come into force.
    edge.files.write_policy(
        "tests/echo.yaml",
        &TESTS.replace("localhost/echo", "localhost/moved"),
    );
    until("the moved route", async || {
        let (_, page) = edge.admin("/policy").await;
        let page: serde_json::Value = serde_json::from_str(&page).expect("JSON");
        page["status"]["last_error"].is_null().then_some(())
    })
    .await;
    assert_eq!(client.get("/echo").await.status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_whose_policies_fail_their_tests_does_not_start() {
    let origin = Origin::h1().await;
    let files = Files::with_policies(&[
        ("policy.yaml", &policy(&origin, "/moved")),
        ("tests/echo.yaml", TESTS),
    ]);
    let ended = run_to_end(&files, &[]).await;
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("test \"echo-is-open\" failed"),
        "{}",
        ended.stderr
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_tells_what_failed_and_what_is_untested() {
    let origin = Origin::h1().await;
    let files = Files::with_policies(&[
        ("policy.yaml", &policy(&origin, "/echo")),
        ("tests/echo.yaml", TESTS),
    ]);
    let folder = files.policies();
    let test = async |flags: &[&str]| {
        let mut arguments = vec![OsStr::new("test"), folder.as_os_str()];
        arguments.extend(flags.iter().map(OsStr::new));
        palisade(&arguments).await
    };
    let ended = test(&["--coverage"]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(
        ended
            .stdout
            .contains("policy.yaml:3: 1 test for /echo of route echo"),
        "{}",
        ended.stdout
    );
    assert!(
        ended
            .stdout
            .contains("1 passed, 0 failed; 1 of 1 rules reached"),
        "{}",
        ended.stdout
    );
    let ended = test(&["--filter", "nothing", "--min-coverage", "1"]).await;
    assert_eq!(ended.code, Some(1), "{}", ended.stdout);
    assert!(
        ended.stdout.contains("no test for /echo of route echo"),
        "{}",
        ended.stdout
    );
    files.write_policy("policy.yaml", &policy(&origin, "/moved"));
    let ended = test(&[]).await;
    assert_eq!(ended.code, Some(1), "{}", ended.stdout);
    assert!(
        ended.stdout.contains("test \"echo-is-open\" failed"),
        "{}",
        ended.stdout
    );
    let ended = test(&["--format", "json"]).await;
    assert_eq!(ended.code, Some(1));
    let report: serde_json::Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!(
        report["failed"][0]["differences"][0]["key"], "route",
        "{report}"
    );
}
