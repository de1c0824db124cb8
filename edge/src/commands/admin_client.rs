//! Questions of the command line to the admin listener of a running edge.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Whole, from the connection to the last byte.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Ask in JSON, and read the answer in JSON.
pub(super) fn post<A: DeserializeOwned>(
    admin: SocketAddr,
    path: &str,
    question: &impl Serialize,
) -> anyhow::Result<A> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        // Never by a proxy: the listener is this machine's.
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(TIMEOUT)
            .build()?;
        let body = serde_json::to_vec(question)?;
        let request = client
            .post(format!("http://{admin}{path}"))
            .header("content-type", "application/json")
            .body(body);
        let answer = request.send().await.with_context(|| {
            format!("no edge answers at `{admin}`\nhint: name its admin listener by --admin")
        })?;
        let status = answer.status();
        let body = answer.bytes().await?;
        if !status.is_success() {
            bail!(
                "the edge says {status}: {}",
                String::from_utf8_lossy(&body).trim()
            );
        }
        serde_json::from_slice(&body).context("the edge gave an answer of another version")
    })
}
