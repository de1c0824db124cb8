//! Questions to the admin listener of a running edge.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::{Client, Method, StatusCode};
use serde_json::Value;

/// Explaining and rolling back compile policies.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The history of 16 policies of 4,096 files each is about 16 MiB.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

#[derive(Debug, Clone, clap::Args)]
pub(super) struct AdminArgs {
    /// The edge's admin listener.
    #[arg(
        long,
        env = "PALISADE_ADMIN",
        value_name = "ADDR",
        default_value = "127.0.0.1:9901"
    )]
    pub(super) admin: SocketAddr,
}

impl AdminArgs {
    pub(super) fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.ask(Method::GET, path, None)
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.ask(Method::POST, path, Some(body))
    }

    fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().build()?;
        let (status, answer) = runtime
            .block_on(self.exchange(method, path, body))
            .with_context(|| format!("no answer from the admin listener at {}", self.admin))?;
        if status.is_success() {
            return Ok(answer);
        }
        match answer.get("error").and_then(Value::as_str) {
            Some(error) => bail!("{error}"),
            None => bail!("the admin listener at {} answered {status}", self.admin),
        }
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<(StatusCode, Value)> {
        // An address of this machine is never behind a proxy.
        let client = Client::builder().no_proxy().timeout(TIMEOUT).build()?;
        let mut request = client.request(method, format!("http://{}{path}", self.admin));
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body.to_string());
        }
        let mut response = request.send().await?;
        let mut text = Vec::new();
        while let Some(piece) = response.chunk().await? {
            text.extend_from_slice(&piece);
            if text.len() > ANSWER_BYTES_MAX {
                bail!("an answer of more than {ANSWER_BYTES_MAX} bytes");
            }
        }
        // A refusal may be plain text.
        let answer = serde_json::from_slice(&text).unwrap_or_default();
        Ok((response.status(), answer))
    }
}
