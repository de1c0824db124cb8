//! The core dies by SIGKILL while people register and read: the edge says so, comes back by
//! itself, and nothing that was acknowledged is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::Method;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::Code;

use crate::accounts::{Account, Api};
use crate::client::{Protocol, Response};
use crate::connection::Connection;
use crate::grpc::{self, EMPTY, GET_PROFILE};
use crate::harness::System;
use crate::harness::waiting::within;

/// Times that the core dies.
const ROUNDS: usize = 3;
/// Answers of each kind that every worker must have seen before the test goes on.
const ENOUGH: usize = 8;
/// After a refusal, so that the loops do not spin while there is nobody to answer.
const PAUSE: Duration = Duration::from_millis(5);
const JSON: (&str, &str) = ("content-type", "application/json");

#[derive(Clone, Copy)]
enum Work {
    Register,
    Read,
    ReadByGrpc,
}

#[derive(Clone, Copy, Default)]
struct Counts {
    served: usize,
    unavailable: usize,
}

/// One loop over one connection.
struct Worker {
    counts: watch::Receiver<Counts>,
    task: JoinHandle<Vec<Account>>,
}

struct Job {
    work: Work,
    name: String,
    connection: Connection,
    bearer: String,
    stop: Arc<AtomicBool>,
}

impl Job {
    /// The accounts that were acknowledged.
    async fn run(mut self, counts: watch::Sender<Counts>) -> Vec<Account> {
        let mut acknowledged = Vec::new();
        let mut number = 0;
        while !self.stop.load(Ordering::Relaxed) {
            let account = Account::new(&format!("{}-{number}", self.name));
            number += 1;
            if self.ask(&account).await {
                if matches!(self.work, Work::Register) {
                    acknowledged.push(account);
                }
                counts.send_modify(|counts| counts.served += 1);
            } else {
                counts.send_modify(|counts| counts.unavailable += 1);
                tokio::time::sleep(PAUSE).await;
            }
        }
        acknowledged
    }

    /// Whether the core served it; all but served and unavailable fails the test.
    async fn ask(&mut self, account: &Account) -> bool {
        let authorization = ("authorization", &*self.bearer);
        match self.work {
            Work::Register => {
                let body = account.registration().to_string();
                let sent = self
                    .connection
                    .send(Method::POST, "/register", &[JSON], body);
                served(&sent.await, 201)
            }
            Work::Read => {
                let fields = [authorization];
                let sent = self.connection.send(Method::GET, "/profile", &fields, "");
                served(&sent.await, 200)
            }
            Work::ReadByGrpc => {
                let kind = ("content-type", "application/grpc");
                let fields = [kind, ("te", "trailers"), authorization];
                let sent = self
                    .connection
                    .send(Method::POST, GET_PROFILE, &fields, EMPTY);
                let response = sent.await;
                match grpc::code(&response) {
                    Code::Ok => true,
                    Code::Unavailable | Code::DeadlineExceeded => false,
                    other => panic!("{other:?}: {response:?}"),
                }
            }
        }
    }
}

fn served(response: &Response, expected: u16) -> bool {
    match response.status {
        status @ 502..=504 => {
            let code = response.json()["code"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            response.assert_problem(status, &code);
            false
        }
        status => {
            assert_eq!(status, expected, "{response:?}");
            true
        }
    }
}

impl Worker {
    fn start(job: Job) -> Self {
        let (sender, counts) = watch::channel(Counts::default());
        let task = tokio::spawn(job.run(sender));
        Self { counts, task }
    }

    fn counts(&self) -> Counts {
        *self.counts.borrow()
    }
}

/// Wait until every worker counts `ENOUGH` more than now, by `count`.
async fn all_see(what: &str, workers: &mut [Worker], count: fn(&Counts) -> usize) {
    let goals: Vec<_> = workers
        .iter()
        .map(|worker| count(&worker.counts()) + ENOUGH)
        .collect();
    for (worker, goal) in workers.iter_mut().zip(goals) {
        let counted = worker.counts.wait_for(|counts| count(counts) >= goal);
        if within(what, counted).await.is_err() {
            let ended = (&mut worker.task).await;
            panic!("a worker ended before {what}: {:?}", ended.err());
        }
    }
}

async fn workers(system: &System, stop: &Arc<AtomicBool>, bearer: &str) -> Vec<Worker> {
    let mut all = Vec::new();
    for protocol in Protocol::ALL {
        let mut works = vec![Work::Register, Work::Read];
        if protocol != Protocol::H1 {
            works.push(Work::ReadByGrpc);
        }
        for work in works {
            all.push(Worker::start(Job {
                work,
                name: format!("crash-{protocol:?}"),
                connection: Connection::new(protocol, system.edge.https),
                bearer: bearer.to_owned(),
                stop: stop.clone(),
            }));
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_core_loses_nothing_and_the_edge_recovers() {
    let mut system = System::start_unlimited().await;
    let reader = Account::new("reader");
    let mut api = Api::new(system.client(Protocol::H2).await, &system.secrets);
    api.register(&reader).await;
    let bearer = format!("Bearer {}", api.login(&reader).await.access);
    let stop = Arc::new(AtomicBool::new(false));
    let mut workers = workers(&system, &stop, &bearer).await;

    for _ in 0..ROUNDS {
        all_see("answers of the core", &mut workers, |counts| counts.served).await;
        system.kill_core().await;
        all_see("the outage", &mut workers, |counts| counts.unavailable).await;
        system.restart_core().await;
    }
    all_see("the recovery", &mut workers, |counts| counts.served).await;

    stop.store(true, Ordering::Relaxed);
    let mut acknowledged = Vec::new();
    for worker in workers {
        acknowledged.extend(worker.task.await.expect("no worker met anything else"));
    }
    assert!(acknowledged.len() >= Protocol::ALL.len() * ENOUGH * (ROUNDS + 1));
    for account in acknowledged {
        api.login(&account).await;
    }
    system.end().await;
}
