//! A line of the access log as a question about the request that it tells of.

use std::borrow::Cow;

use serde::Deserialize;

use super::batches::LINE_BYTES_MAX;
use crate::explain::{Certificate, Question};

/// What was asked, and what became of it.
pub(super) struct Entry {
    pub(super) question: Question,
    pub(super) host: String,
    pub(super) path: String,
    pub(super) route: Option<String>,
    pub(super) reason: Option<String>,
}

/// `observe::access_log::Line`, as far as it is needed.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Line<'l> {
    #[serde(borrow)]
    message: Cow<'l, str>,
    ts: f64,
    #[serde(borrow)]
    request_id: Cow<'l, str>,
    #[serde(borrow)]
    client: Cow<'l, str>,
    scheme: Option<&'l str>,
    tls_version: Option<&'l str>,
    #[serde(borrow)]
    method: Cow<'l, str>,
    #[serde(borrow)]
    host: Cow<'l, str>,
    #[serde(borrow)]
    path: Cow<'l, str>,
    route: Option<String>,
    reason: Option<String>,
}

impl Entry {
    /// None for lines of the log that tell of something else than a request.
    pub(super) fn read(line: &[u8]) -> Result<Option<Self>, &'static str> {
        if line.len() > LINE_BYTES_MAX {
            return Err("longer than 64 KiB");
        }
        let line: Line<'_> = serde_json::from_slice(line).map_err(|error| {
            if error.is_data() {
                "not a line of the access log"
            } else {
                "not JSON, or cut off"
            }
        })?;
        if line.message != "request" {
            return Ok(None);
        }
        let scheme = line.scheme();
        let question = Question {
            method: line.method.into_owned(),
            url: format!("{scheme}://{}{}", line.host, line.path),
            client: line.client.parse().ok(),
            // The caller is taken to have shown what the host asks for.
            certificate: (scheme == "https").then(Certificate::default),
            at: at(line.ts),
            request_id: Some(line.request_id.into_owned()).filter(|id| id.len() == 32),
            ..Question::default()
        };
        Ok(Some(Self {
            question,
            host: line.host.into_owned(),
            path: line.path.into_owned(),
            route: line.route,
            reason: line.reason,
        }))
    }
}

impl Line<'_> {
    /// Of what the client speaks; lines without it were written before the field was.
    fn scheme(&self) -> &'static str {
        match (self.scheme, self.tls_version) {
            (Some("http"), _) | (None, None) => "http",
            _ => "https",
        }
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "whole seconds of a time since 1970; `as` saturates"
)]
fn at(ts: f64) -> Option<u64> {
    (ts >= 1.0).then_some(ts as u64)
}
