//! The edge under test: its files, its process, its log.
//!
//! Invariant: the process dies with its handle. Waiting is always for a condition, and a
//! condition that never comes fails the test by name.

pub(crate) mod clients;
pub(crate) mod files;
pub(crate) mod ocsp;
pub(crate) mod process;
pub(crate) mod tokens;
pub(crate) mod usage;
pub(crate) mod waiting;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use files::Files;
use waiting::within;

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_palisade");

/// A running `palisade run`.
pub(crate) struct Edge {
    pub(crate) http: SocketAddr,
    pub(crate) https: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) files: Arc<Files>,
    child: Child,
    log: watch::Receiver<Vec<Value>>,
    stderr: JoinHandle<String>,
}

/// How an edge that ended did so.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Edge {
    /// With these policy files (name, text) and default flags.
    pub(crate) async fn start(policies: &[(&str, &str)]) -> Self {
        Self::start_with(Files::with_policies(policies), &[]).await
    }

    /// With these files and further flags.
    pub(crate) async fn start_with(files: Files, flags: &[&str]) -> Self {
        Self::start_as(Path::new(BINARY), Arc::new(files), flags).await
    }

    /// Another process with the same files, which replaces this one.
    pub(crate) async fn successor(&self, flags: &[&str]) -> Self {
        let flags = [&["--upgrade"], flags].concat();
        Self::start_as(Path::new(BINARY), self.files.clone(), &flags).await
    }

    /// By this name of the binary.
    pub(crate) async fn start_as(program: &Path, files: Arc<Files>, flags: &[&str]) -> Self {
        let mut child = run_command(program, &files, flags)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the edge binary starts");
        let stdout = child.stdout.take().expect("stdout is piped");
        let mut complaints = child.stderr.take().expect("stderr is piped");
        let stderr = tokio::spawn(async move {
            let mut text = String::new();
            let _ = complaints.read_to_string(&mut text).await;
            text
        });
        let mut log = follow(stdout);
        let listening = first_line(&mut log, |line| line["message"] == "listening").await;
        let Some(line) = listening else {
            panic!(
                "the edge ended without listening: {}",
                stderr.await.unwrap_or_default()
            );
        };
        let address = |field: &str| {
            line[field]
                .as_str()
                .expect("an address")
                .parse()
                .expect("an address")
        };
        Self {
            http: address("http"),
            https: address("https"),
            admin: address("admin"),
            files,
            child,
            log,
            stderr,
        }
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.child.id().expect("the edge still runs")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let id = self.process_id();
        let id = Pid::from_raw(i32::try_from(id).expect("a process id")).expect("a process id");
        kill_process(id, signal).expect("the edge takes signals");
    }

    /// Wait for the process to end; its output may be held open by others.
    pub(crate) async fn exit_code(&mut self) -> Option<i32> {
        let status = within("the edge to end", self.child.wait()).await;
        status.expect("a status").code()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child
            .try_wait()
            .expect("the edge can be asked")
            .is_none()
    }

    /// Wait for the process to end by itself.
    pub(crate) async fn ended(mut self) -> Ended {
        let status = within("the edge to end", self.child.wait())
            .await
            .expect("a status");
        let stderr = self.stderr.await.unwrap_or_default();
        let stdout = self
            .log
            .borrow()
            .iter()
            .map(|line| format!("{line}\n"))
            .collect();
        Ended {
            code: status.code(),
            stdout,
            stderr,
        }
    }

    /// Stop it and keep its files, for the one that takes over.
    pub(crate) async fn stop(self) -> Files {
        self.signal(Signal::TERM);
        let Self {
            files, mut child, ..
        } = self;
        let status = within("the edge to end", child.wait()).await;
        assert!(status.is_ok_and(|status| status.success()));
        Arc::into_inner(files).expect("files of nobody else")
    }

    /// The first log line, past or to come, for which `wanted` holds.
    pub(crate) async fn log_line(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut log = self.log.clone();
        let line = within(what, first_line(&mut log, wanted)).await;
        line.unwrap_or_else(|| panic!("the edge ended before it logged {what}"))
    }

    /// The log lines so far for which `wanted` holds.
    pub(crate) fn log_lines(&self, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        let log = self.log.borrow();
        log.iter().filter(|line| wanted(line)).cloned().collect()
    }

    /// Body and status of a page of the admin listener.
    pub(crate) async fn admin(&self, path: &str) -> (u16, String) {
        get_plain(self.admin, path).await
    }

    /// A sample of `/metrics`; `series` is name with labels as Prometheus prints them.
    pub(crate) async fn metric(&self, series: &str) -> Option<f64> {
        let (_, text) = self.admin("/metrics").await;
        let mut lines = text.lines();
        lines.find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
    }
}

/// `palisade run` on free ports, killed with its handle; `flags` win over the defaults.
fn run_command(program: &Path, files: &Files, flags: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.kill_on_drop(true).stdin(Stdio::null()).arg("run");
    let defaults = [
        ("--http", "127.0.0.1:0".to_owned()),
        ("--https", "127.0.0.1:0".to_owned()),
        ("--admin", "127.0.0.1:0".to_owned()),
        ("--threads", "2".to_owned()),
        ("--policies", files.policies().display().to_string()),
        ("--certs", files.certs().display().to_string()),
        ("--state", files.state().display().to_string()),
    ];
    for (flag, value) in defaults {
        if !flags.contains(&flag) {
            command.arg(flag).arg(value);
        }
    }
    command.args(flags);
    command
}

/// Run the edge where it must refuse to; later flags win over the defaults.
pub(crate) async fn run_to_end(files: &Files, flags: &[(&str, &str)]) -> Ended {
    let flags: Vec<&str> = flags
        .iter()
        .flat_map(|(name, value)| [*name, *value])
        .collect();
    output(run_command(Path::new(BINARY), files, &flags)).await
}

/// Try to replace the edge of these files where that must fail; later flags win.
pub(crate) async fn upgrade_to_end(files: &Files, flags: &[&str]) -> Ended {
    let flags = [&["--upgrade"], flags].concat();
    output(run_command(Path::new(BINARY), files, &flags)).await
}

/// Any other command of the binary.
pub(crate) async fn palisade(arguments: &[&std::ffi::OsStr]) -> Ended {
    let mut command = Command::new(BINARY);
    command
        .kill_on_drop(true)
        .stdin(Stdio::null())
        .args(arguments);
    output(command).await
}

async fn output(mut command: Command) -> Ended {
    let output = within("the command to end", command.output())
        .await
        .expect("the edge binary starts");
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Every JSON line of the process so far; the channel closes with its output.
fn follow(stdout: tokio::process::ChildStdout) -> watch::Receiver<Vec<Value>> {
    let (sender, receiver) = watch::channel(Vec::new());
    tokio::spawn(async move {
        let mut lines = BufReader::new(stdout).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if let Ok(value) = serde_json::from_str::<Value>(&line) {
                sender.send_modify(|all| all.push(value));
            }
        }
    });
    receiver
}

async fn first_line(
    log: &mut watch::Receiver<Vec<Value>>,
    wanted: impl Fn(&Value) -> bool,
) -> Option<Value> {
    let found = within(
        "a log line",
        log.wait_for(|lines| lines.iter().any(&wanted)),
    )
    .await;
    let lines = found.ok()?;
    lines.iter().find(|line| wanted(line)).cloned()
}

/// One request in plain HTTP/1.1, for the admin listener only.
async fn get_plain(address: SocketAddr, path: &str) -> (u16, String) {
    let exchange = async {
        let mut socket = tokio::net::TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await?;
        let mut text = String::new();
        socket.read_to_string(&mut text).await?;
        std::io::Result::Ok(text)
    };
    let text = within("the admin listener", exchange)
        .await
        .expect("the admin listener answers");
    let (head, body) = text.split_once("\r\n\r\n").expect("a whole answer");
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .expect("a status");
    (status, body.to_owned())
}
