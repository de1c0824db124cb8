//! Clients that others wrote, against one proto definition: Connect's for Node and for browsers, the
//! official gRPC-Web, gRPC's C core by Python, curl. Each runs its cases and says what failed.

mod chromium;
mod curl;
mod tools;

use std::path::{Path, PathBuf};

use serde_json::json;
use tokio::process::Command;

use crate::calls::{SERVICE, World};
use crate::harness::files::{Files, certificate_file};
use crate::harness::waiting::until;
use tools::{assert_all_passed, bundle, finished, tool};

/// `x-...` fields choose a route with another rule.
const ROUTES: &str = "
limits:
  - { name: one, key: { header: x-limited }, rate: 1/h }
defaults:
  cors: { origins: [\"*\"], expose_headers: [x-told] }
routes:
  - { name: private, matches: [{ path: { prefix: SERVICE }, headers: { x-private: \"1\" } }], auth: { issuer: main }, translate: true, cluster: echo }
  - { name: limited, matches: [{ path: { prefix: SERVICE }, headers: { x-limited: \"1\" } }], limits: [one], translate: true, cluster: echo }
  - { name: hasty, matches: [{ path: { prefix: SERVICE }, headers: { x-hasty: \"1\" } }], request_timeout: 500ms, translate: true, cluster: echo }
  - { name: service, matches: [{ path: { prefix: SERVICE } }], translate: true, cluster: echo }
  - { name: rest, matches: [{ path: { prefix: /v1 } }], translate: true, cluster: echo }
  - { name: reports, matches: [{ path: { prefix: /echo } }], cluster: origin }
";

async fn world() -> World {
    World::start(&ROUTES.replace("SERVICE", SERVICE)).await
}

fn script(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/clients");
    folder.join(name)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpcio_is_served() {
    let world = world().await;
    let talking = Command::new(crate::aioquic::python())
        .arg(script("grpcio_client.py"))
        .arg(world.edge.https.port().to_string())
        .arg(certificate_file("ca.pem"))
        .arg(world.edge.files.root().join("echo.pb"))
        .arg(world.token(json!({})))
        .kill_on_drop(true)
        .output();
    let output = finished("grpcio", talking).await;
    assert_all_passed(&output, 13);
    world.upstream.idle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connect_for_node_is_served() {
    let world = world().await;
    let bundled = bundle(&world, "connect_node.mjs", &["--platform=node"]).await;
    let talking = Command::new(tool("node"))
        .arg(bundled)
        .arg(format!("https://localhost:{}", world.edge.https.port()))
        .arg(certificate_file("ca.pem"))
        .kill_on_drop(true)
        .output();
    let output = finished("node", talking).await;
    assert_all_passed(&output, 100);
    let by_get = |line: &serde_json::Value| line["method"] == "GET" && line["dialect"] == "connect";
    // Two formats over two versions of HTTP; the log may lag behind.
    until("the access lines of GETs", || async {
        (world.edge.log_lines(by_get).len() == 4).then_some(())
    })
    .await;
    world.upstream.idle().await;
}

/// A world whose edge serves the page, too.
async fn world_with_page() -> World {
    let files = Files::new();
    let page = "<!doctype html><meta charset=utf-8><script type=module src=/page.js></script>";
    std::fs::write(files.root().join("page.html"), page).expect("a file");
    let descriptors = files.root().join("echo.pb");
    std::fs::write(descriptors, palisade_echo::DESCRIPTORS).expect("a file");
    tools::bundle_in(files.root(), "browser.mjs", &["--platform=browser"]).await;
    let pages = "
  - { name: page, matches: [{ path: /page }], respond: { file: ../page.html, content_type: text/html } }
  - { name: script, matches: [{ path: /page.js }], respond: { file: ../browser.mjs.js, content_type: text/javascript } }
";
    let routes = format!("{}{pages}", ROUTES.replace("SERVICE", SERVICE));
    World::start_with(files, &routes, &[]).await
}
