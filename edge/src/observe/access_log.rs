//! One JSON line for each request, without query strings and without tokens.
//!
//! Lines go through a bounded queue to a thread of their own: a slow disk or a full pipe loses
//! lines, counted, and never holds up a request.

use std::io::{self, BufWriter, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, SystemTime};

use prometheus::IntCounter;
use serde::Serialize;

/// Lines in the queue: a second at the rate one core can serve.
const QUEUE_LINES_MAX: usize = 32 * 1024;

/// What is known of a finished request.
#[derive(Default, Serialize)]
pub struct Line<'a> {
    /// Unix time in seconds, with milliseconds.
    pub ts: f64,
    pub message: &'static str,
    pub request_id: &'a str,
    pub trace_id: String,
    pub client: String,
    pub protocol: &'static str,
    /// What the client speaks, which a trusted proxy may know better than the connection.
    pub scheme: &'static str,
    pub tls_version: Option<&'static str>,
    pub tls_server_name: Option<&'a str>,
    pub method: &'a str,
    pub host: &'a str,
    pub path: &'a str,
    pub route: Option<&'a str>,
    /// `http`, `grpc`, `grpc-web` or `connect`.
    pub dialect: &'static str,
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
    /// What rules in shadow would have refused: reasons, with the names of limits and access rules.
    pub shadow: Option<String>,
    /// The cause behind it; never shown to the client.
    pub detail: Option<&'a str>,
}

/// What the thread is sent.
enum Message {
    Line(Vec<u8>),
    /// Answered when every line before it has been written.
    Flush(SyncSender<()>),
}

/// The sending end.
pub struct AccessLog {
    messages: Option<SyncSender<Message>>,
    dropped: IntCounter,
}

impl AccessLog {
    /// Write to standard output, or nowhere.
    pub fn new(enabled: bool, dropped: IntCounter) -> io::Result<Self> {
        if !enabled {
            return Ok(Self {
                messages: None,
                dropped,
            });
        }
        let (sender, receiver) = sync_channel(QUEUE_LINES_MAX);
        std::thread::Builder::new()
            .name("access-log".into())
            .spawn(move || write(&receiver))?;
        Ok(Self {
            messages: Some(sender),
            dropped,
        })
    }

    pub fn is_enabled(&self) -> bool {
        self.messages.is_some()
    }

    pub fn write(&self, line: &Line<'_>) {
        let Some(messages) = &self.messages else {
            return;
        };
        let mut bytes = Vec::with_capacity(768);
        if serde_json::to_writer(&mut bytes, line).is_err() {
            return;
        }
        bytes.push(b'\n');
        if messages.try_send(Message::Line(bytes)).is_err() {
            self.dropped.inc();
        }
    }

    /// Wait until what was queued is written, at the end of the process. Blocks; a reader that
    /// has stopped reading is given up after `timeout`.
    pub fn flush(&self, timeout: Duration) {
        let Some(messages) = &self.messages else {
            return;
        };
        let (done, written) = sync_channel(1);
        if messages.try_send(Message::Flush(done)).is_ok() {
            let _ = written.recv_timeout(timeout);
        }
    }
}

fn write(messages: &Receiver<Message>) {
    let mut out = BufWriter::with_capacity(64 * 1024, io::stdout());
    // Nobody to report to when standard output is gone; the process goes on serving.
    let mut handle = |message| match message {
        Message::Line(line) => drop(out.write_all(&line)),
        Message::Flush(done) => {
            let _ = out.flush();
            let _ = done.try_send(());
        }
    };
    while let Ok(message) = messages.recv() {
        handle(message);
        while let Ok(message) = messages.try_recv() {
            handle(message);
        }
        handle(Message::Flush(sync_channel(1).0));
    }
}

/// Seconds with milliseconds.
pub fn unix_time(at: SystemTime) -> f64 {
    let since = at
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    (since.as_secs_f64() * 1000.0).round() / 1000.0
}
