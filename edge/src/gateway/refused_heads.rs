//! Answers to heads that never became a request: as every other refusal in words, log and metrics.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;
use pingora_core::protocols::http::date::get_cached_date;
use pingora_error::Result;

use super::Gateway;
use crate::listen::{Answers, Connection, Listener, Refusal};
use crate::observe::access_log::{AccessLog, Line, unix_time};
use crate::observe::metrics::Metrics;
use crate::rejection::Rejection;
use crate::request_ctx::Now;
use crate::request_id::RequestId;
use crate::respond;

/// What an answer takes from the gateway.
pub struct RefusedHeads {
    metrics: Arc<Metrics>,
    access_log: Arc<AccessLog>,
    alt_svc: HeaderValue,
}

impl RefusedHeads {
    pub fn of(gateway: &Gateway) -> Self {
        Self {
            metrics: gateway.metrics.clone(),
            access_log: gateway.access_log.clone(),
            alt_svc: gateway.alt_svc.clone(),
        }
    }

    /// Nothing of such a head is worth believing, so nothing of it is logged but why.
    fn record(&self, connection: &Connection, rejection: &Rejection, id: &RequestId) {
        let counter = &self.metrics.rejections;
        counter.with_label_values(&["", rejection.code()]).inc();
        if !self.access_log.is_enabled() {
            return;
        }
        let tls = connection.tls.as_ref();
        self.access_log.write(&Line {
            ts: unix_time(Now::read().wall),
            message: "request",
            request_id: id.as_str(),
            client: connection.client.ip().to_string(),
            protocol: "1.1",
            tls_version: tls.map(|tls| tls.version),
            tls_server_name: tls.and_then(|tls| tls.server_name.as_deref()),
            status: rejection.status().as_u16(),
            answered_by: "edge",
            reason: Some(rejection.code()),
            detail: Some(rejection.public_message()),
            ..Line::default()
        });
    }

    fn answer(
        &self,
        connection: &Connection,
        rejection: &Rejection,
        id: &RequestId,
    ) -> Result<Vec<u8>> {
        let (mut header, body) = respond::http_response(rejection, id.as_str())?;
        header.insert_header("x-request-id", id.header())?;
        if connection.listener == Listener::Https {
            header.insert_header("alt-svc", self.alt_svc.clone())?;
        }
        header.insert_header("date", get_cached_date())?;
        header.insert_header("connection", "close")?;
        Ok(serialize(&header, &body))
    }
}

impl Answers for RefusedHeads {
    fn head_refused(&self, connection: &Connection, refusal: Refusal) -> Vec<u8> {
        let rejection = Rejection::from(refusal);
        let id = RequestId::random();
        self.record(connection, &rejection, &id);
        // Built of constants only: without an answer the client still sees its connection close.
        self.answer(connection, &rejection, &id).unwrap_or_default()
    }
}

fn serialize(header: &pingora_http::ResponseHeader, body: &Bytes) -> Vec<u8> {
    let status = header.status;
    let reason = status.canonical_reason().unwrap_or("");
    let mut bytes = format!("HTTP/1.1 {} {reason}\r\n", status.as_str()).into_bytes();
    header.header_to_h1_wire(&mut bytes);
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    bytes
}

impl From<Refusal> for Rejection {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Malformed(what) => Self::Malformed(what),
            Refusal::TargetTooLong => Self::UriTooLong,
            Refusal::FieldsTooLarge => Self::HeadersTooLarge,
            Refusal::NotImplemented(what) => Self::NotImplemented(what),
            Refusal::UnknownVersion => {
                Self::VersionNotSupported("only HTTP/1.1 and HTTP/1.0 are spoken here")
            }
            Refusal::TooSlow => Self::RequestTimeout,
        }
    }
}
