//! A page in Chromium that calls another origin of the edge; over HTTP/1.1, HTTP/2 and HTTP/3.

use std::process::Stdio;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use percent_encoding::percent_decode_str;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::tools::assert_passed;
use super::world_with_page;
use crate::calls::World;
use crate::upstream::Record;

/// Cases that a page reports.
const CASES_MIN: usize = 40;

/// The key that the browser is to trust, without a change of the machine's own trust.
fn pin(world: &World) -> String {
    let leaf = world.edge.files.certs().join("localhost.pem");
    let der = CertificateDer::from_pem_file(leaf).expect("a certificate");
    let (_, certificate) = X509Certificate::from_der(&der).expect("X.509");
    let key = certificate.public_key().raw;
    BASE64_STANDARD.encode(digest(&SHA256, key))
}

fn browse(world: &World, flags: &[String]) -> Child {
    let port = world.edge.https.port();
    let profile = world.edge.files.root().join("profile");
    Command::new("chromium")
        .args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-extensions",
            "--no-first-run",
            "--no-proxy-server",
            "--enable-logging=stderr",
            // QUIC tries one address only, and the edge is not at `::1`.
            "--host-resolver-rules=MAP localhost 127.0.0.1",
        ])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!(
            "--ignore-certificate-errors-spki-list={}",
            pin(world)
        ))
        .args(flags)
        .arg(format!(
            "https://localhost:{port}/page?api=https://127.0.0.1:{port}"
        ))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("no chromium; run `make setup-tests`")
}

/// Name of each case with why it failed.
fn reports(world: &World) -> Vec<(String, String)> {
    let record = world.origin().record();
    let targets = record.requests.iter().map(|seen| seen.target.clone());
    let queries = targets.filter_map(|target| {
        let query = target.strip_prefix("/echo/report?")?.replace('+', " ");
        let (name, why) = query.strip_prefix("name=")?.split_once("&why=")?;
        let text = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
        Some((text(name), text(why)))
    });
    queries.collect()
}

/// Wait until the page has reported all; from each case to the next there is a bound.
async fn reported(world: &World) {
    let is_over = |record: &Record| record.count("/echo/reported?") == 1;
    while !is_over(&world.origin().record()) {
        let seen = reports(world);
        let last = seen.last().map(|(name, _)| name.as_str());
        let what = format!("a case after {last:?}");
        let has_more =
            |record: &Record| is_over(record) || record.count("/echo/report?") > seen.len();
        world.origin().wait(&what, has_more).await;
    }
}

/// What keeps Chromium to one protocol.
fn only(protocol: &str, port: u16) -> Vec<String> {
    match protocol {
        "1.1" => vec!["--disable-quic".to_owned(), "--disable-http2".to_owned()],
        "2" => vec!["--disable-quic".to_owned()],
        _ => vec![
            "--enable-quic".to_owned(),
            format!("--origin-to-force-quic-on=localhost:{port},127.0.0.1:{port}"),
        ],
    }
}

async fn run(protocol: &str) {
    let world = world_with_page().await;
    let flags = only(protocol, world.edge.https.port());
    let mut browser = browse(&world, &flags);
    let mut said = browser.stderr.take().expect("stderr is piped");
    let mut complaints = Vec::new();
    tokio::select! {
        () = reported(&world) => {}
        _ = said.read_to_end(&mut complaints) => {
            panic!("chromium ended: {}", String::from_utf8_lossy(&complaints));
        }
    }
    assert_passed(&reports(&world), CASES_MIN);
    let calls = world.edge.log_lines(|line| line["route"] == "service");
    assert!(!calls.is_empty());
    for call in calls {
        assert_eq!(call["protocol"], protocol, "{call}");
    }
    browser.kill().await.expect("chromium ends");
    world.upstream.idle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_are_served_over_http2() {
    run("2").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_are_served_over_http3() {
    run("3").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_are_served_over_http1() {
    run("1.1").await;
}
