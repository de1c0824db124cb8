//! A program under test: started, listened to, signalled, waited for.
//!
//! Invariant: the program dies with its handle, and every line it prints is kept, whatever it is.

use std::fs;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::waiting::{until, within};

/// What a program has printed so far.
#[derive(Default)]
pub(crate) struct Printed {
    pub(crate) stdout: Vec<String>,
    pub(crate) stderr: Vec<String>,
}

pub(crate) struct Process {
    name: &'static str,
    child: Child,
    output: Output,
}

/// The output of a program, of which it may be asked after its end, too.
#[derive(Clone)]
pub(crate) struct Output {
    name: &'static str,
    printed: watch::Receiver<Printed>,
}

impl Process {
    pub(crate) fn spawn(name: &'static str, mut command: Command) -> Self {
        let mut child = command
            .kill_on_drop(true)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name} starts: {error}"));
        let (sender, printed) = watch::channel(Printed::default());
        let stdout = child.stdout.take().expect("stdout is piped");
        let stderr = child.stderr.take().expect("stderr is piped");
        collect(stdout, sender.clone(), |printed| &mut printed.stdout);
        collect(stderr, sender, |printed| &mut printed.stderr);
        Self {
            name,
            child,
            output: Output { name, printed },
        }
    }

    pub(crate) fn output(&self) -> &Output {
        &self.output
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let id = self.child.id().expect("it still runs");
        let id = Pid::from_raw(i32::try_from(id).expect("a process id")).expect("a process id");
        kill_process(id, signal)
            .unwrap_or_else(|error| panic!("{} takes {signal:?}: {error}", self.name));
    }

    /// SIGSTOP, and wait until it has come to every thread.
    pub(crate) async fn freeze(&self) {
        self.signal(Signal::STOP);
        let id = self.child.id().expect("it still runs");
        until(format!("{} to stand still", self.name), || async {
            let mut threads = fs::read_dir(format!("/proc/{id}/task")).ok()?;
            let frozen = threads.all(|thread| {
                let stat = thread.and_then(|thread| fs::read_to_string(thread.path().join("stat")));
                // `pid (name) state ...`; T is stopped, see proc_pid_stat(5).
                stat.is_ok_and(|stat| stat.contains(") T "))
            });
            frozen.then_some(())
        })
        .await;
    }

    /// The exit code, or none after a signal; by then all output has been read.
    pub(crate) async fn ended(&mut self) -> Option<i32> {
        let name = self.name;
        let status = within(format!("{name} to end"), self.child.wait()).await;
        let mut printed = self.output.printed.clone();
        let closed = async { while printed.changed().await.is_ok() {} };
        within(format!("the last output of {name}"), closed).await;
        status.expect("a status").code()
    }
}

fn collect(
    stream: impl AsyncRead + Send + Unpin + 'static,
    sender: watch::Sender<Printed>,
    list: fn(&mut Printed) -> &mut Vec<String>,
) {
    tokio::spawn(async move {
        let mut lines = BufReader::new(stream).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            sender.send_modify(|printed| list(printed).push(line));
        }
    });
}

impl Output {
    /// Lines so far: what is looked for later can begin behind them.
    pub(crate) fn mark(&self) -> usize {
        self.printed.borrow().stdout.len()
    }

    /// Both streams, a line each.
    pub(crate) fn text(&self) -> String {
        let printed = self.printed.borrow();
        [printed.stdout.join("\n"), printed.stderr.join("\n")].join("\n")
    }

    pub(crate) fn complaints(&self) -> String {
        self.printed.borrow().stderr.join("\n")
    }

    /// The log from `mark` on.
    pub(crate) fn entries(&self, mark: usize) -> Vec<Value> {
        let printed = self.printed.borrow();
        let lines = printed.stdout.iter().skip(mark);
        lines
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// The first log line behind `mark`, past or to come, for which `wanted` holds.
    pub(crate) async fn entry(
        &self,
        mark: usize,
        what: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        let mut printed = self.printed.clone();
        let mut next = mark;
        let looking = async {
            loop {
                let fresh = {
                    let printed = printed.borrow_and_update();
                    let fresh = printed.stdout.get(next..).unwrap_or_default().to_vec();
                    next += fresh.len();
                    fresh
                };
                let mut parsed = fresh
                    .iter()
                    .filter_map(|line| serde_json::from_str(line).ok());
                if let Some(found) = parsed.find(&wanted) {
                    return Some(found);
                }
                if printed.changed().await.is_err() {
                    return None;
                }
            }
        };
        let found = within(format!("{}: {what}", self.name), looking).await;
        found.unwrap_or_else(|| panic!("{} ended before {what}: {}", self.name, self.complaints()))
    }
}
