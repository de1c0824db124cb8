//! Questions of the command line to the admin listener of a running edge.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::{Client, Method};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Whole, from the connection to the last byte. A rollback compiles a policy.
const TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, clap::Args)]
pub(super) struct AdminArgs {
    /// The admin listener of the running edge.
    #[arg(
        long,
        env = "PALISADE_ADMIN",
        value_name = "ADDR",
        default_value = "127.0.0.1:9901"
    )]
    pub(super) admin: SocketAddr,
}

/// Read a page in JSON.
pub(super) fn get<A: DeserializeOwned>(admin: SocketAddr, path: &str) -> anyhow::Result<A> {
    ask(admin, Method::GET, path, Vec::new())
}

/// Ask in JSON, and read the answer in JSON.
pub(super) fn post<A: DeserializeOwned>(
    admin: SocketAddr,
    path: &str,
    question: &impl Serialize,
) -> anyhow::Result<A> {
    ask(admin, Method::POST, path, serde_json::to_vec(question)?)
}

fn ask<A: DeserializeOwned>(
    admin: SocketAddr,
    method: Method,
    path: &str,
    question: Vec<u8>,
) -> anyhow::Result<A> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        // Never by a proxy: the listener is this machine's.
        let client = Client::builder().no_proxy().timeout(TIMEOUT).build()?;
        let request = client
            .request(method, format!("http://{admin}{path}"))
            .header("content-type", "application/json")
            .body(question);
        let answer = request.send().await.with_context(|| {
            format!("no edge answers at `{admin}`\nhint: name its admin listener by --admin")
        })?;
        let status = answer.status();
        let body = answer.bytes().await?;
        if !status.is_success() {
            bail!("the edge says {status}: {}", complaint(&body));
        }
        serde_json::from_slice(&body).context("the edge gave an answer of another version")
    })
}

/// The `error` member, or all of it.
fn complaint(body: &[u8]) -> String {
    let json: Value = serde_json::from_slice(body).unwrap_or_default();
    match json["error"].as_str() {
        Some(error) => error.to_owned(),
        None => String::from_utf8_lossy(body).trim().to_owned(),
    }
}
