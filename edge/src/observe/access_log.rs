//! One JSON line for each request, without query strings and without tokens.
//!
//! Lines go through a bounded queue to a thread of their own: a slow disk or a full pipe loses
//! lines, counted, and never holds up a request.

use std::io::{self, BufWriter, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::SystemTime;

use prometheus::IntCounter;
use serde::Serialize;

/// Lines in the queue: a second at the rate one core can serve.
const QUEUE_LINES_MAX: usize = 32 * 1024;

/// What is known of a finished request.
#[derive(Serialize)]
pub struct Line<'a> {
    /// Unix time in seconds, with milliseconds.
    pub ts: f64,
    pub message: &'static str,
    pub request_id: &'a str,
    pub trace_id: String,
    pub client: String,
    pub protocol: &'static str,
    pub tls_version: Option<&'static str>,
    pub tls_server_name: Option<&'a str>,
    pub method: &'a str,
    pub host: &'a str,
    pub path: &'a str,
    pub route: Option<&'a str>,
    pub status: u16,
    pub grpc_status: Option<u8>,
    pub bytes_in: usize,
    pub bytes_out: usize,
    pub duration_ms: f64,
    pub cluster: Option<&'a str>,
    pub upstream: Option<String>,
    pub upstream_ms: Option<f64>,
    pub attempts: u32,
    pub cache: Option<&'static str>,
    pub subject: Option<&'a str>,
    /// `edge` or `upstream`: who made the answer.
    pub answered_by: &'static str,
    /// Stable name of the reason, where the edge made the answer.
    pub reason: Option<&'static str>,
    /// The cause behind it; never shown to the client.
    pub detail: Option<&'a str>,
}

/// The sending end; cheap to share.
pub struct AccessLog {
    lines: Option<SyncSender<Vec<u8>>>,
    dropped: IntCounter,
}

impl AccessLog {
    /// Write to standard output, or nowhere.
    pub fn new(enabled: bool, dropped: IntCounter) -> io::Result<Self> {
        if !enabled {
            return Ok(Self {
                lines: None,
                dropped,
            });
        }
        let (sender, receiver) = sync_channel(QUEUE_LINES_MAX);
        std::thread::Builder::new()
            .name("access-log".into())
            .spawn(move || write_lines(&receiver))?;
        Ok(Self {
            lines: Some(sender),
            dropped,
        })
    }

    pub fn is_enabled(&self) -> bool {
        self.lines.is_some()
    }

    pub fn write(&self, line: &Line<'_>) {
        let Some(lines) = &self.lines else { return };
        let mut bytes = Vec::with_capacity(768);
        if serde_json::to_writer(&mut bytes, line).is_err() {
            return;
        }
        bytes.push(b'\n');
        if lines.try_send(bytes).is_err() {
            self.dropped.inc();
        }
    }
}

fn write_lines(lines: &Receiver<Vec<u8>>) {
    let mut out = BufWriter::with_capacity(64 * 1024, io::stdout());
    while let Ok(line) = lines.recv() {
        // Nobody to report to when standard output is gone; the process goes on serving.
        let _ = out.write_all(&line);
        while let Ok(line) = lines.try_recv() {
            let _ = out.write_all(&line);
        }
        let _ = out.flush();
    }
}

/// Seconds with milliseconds.
pub fn unix_time(at: SystemTime) -> f64 {
    let since = at
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    (since.as_secs_f64() * 1000.0).round() / 1000.0
}
