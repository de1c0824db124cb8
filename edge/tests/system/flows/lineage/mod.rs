//! Sixteen clients race for the refresh tokens of one session while the service dies by SIGKILL
//! again and again: there is at most one lineage, and every reuse is found.
//!
//! `PALISADE_RACE_ROUNDS` sets how often it dies; a minute is some thirty rounds.

mod history;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use self::history::{Outcome, Trade, judge};
use super::Stage;
use crate::accounts::{Account, Api};
use crate::client::Protocol;
use crate::harness::core::Layout;
use crate::harness::waiting::{until, within};

const CLIENTS: usize = 16;
/// Deaths of the service, unless more are asked for.
const ROUNDS: usize = 4;
/// Trades that must be in the history between two deaths.
const TRADES_PER_ROUND: usize = 150;
/// One in so many shows an old token on purpose, as a thief would.
const THEFT: usize = 12;
/// While nobody can answer, or another client signs in.
const PAUSE: Duration = Duration::from_millis(5);

/// What the clients share: the session they race for, and what they saw.
#[derive(Default)]
struct Shared {
    family: usize,
    /// The newest last; none while somebody signs in.
    tokens: Vec<String>,
    history: Vec<Trade>,
}

#[derive(Clone)]
struct Race {
    shared: Arc<Mutex<Shared>>,
    stop: Arc<AtomicBool>,
    account: Account,
}

impl Race {
    fn with<T>(&self, work: impl FnOnce(&mut Shared) -> T) -> T {
        work(&mut self.shared.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The token to show: mostly the newest that anybody has seen.
    fn choose(&self, turn: usize) -> Option<(usize, String)> {
        self.with(|shared| {
            let newest = shared.tokens.len().checked_sub(1)?;
            let back = if turn.is_multiple_of(THEFT) { 3 } else { 0 };
            let token = &shared.tokens[newest.saturating_sub(back)];
            Some((shared.family, token.clone()))
        })
    }

    /// Until told to stop. Connections come and go with the service.
    async fn run(self, mut api: Api, number: usize) {
        let mut turn = number;
        while !self.stop.load(Ordering::Relaxed) {
            turn += 1;
            let Some((family, token)) = self.choose(turn) else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let began = Instant::now();
            let outcome = trade(&mut api, &token).await;
            let trade = Trade {
                family,
                token,
                began,
                ended: Instant::now(),
                outcome,
            };
            match self.note(trade) {
                Next::Trade => {}
                Next::Wait => tokio::time::sleep(PAUSE).await,
                Next::SignIn => self.sign_in(&mut api).await,
            }
        }
    }

    fn note(&self, trade: Trade) -> Next {
        self.with(|shared| {
            let is_current = trade.family == shared.family;
            let next = match &trade.outcome {
                Outcome::Traded(successor) if is_current => {
                    if !shared.tokens.is_empty() && !shared.tokens.contains(successor) {
                        shared.tokens.push(successor.clone());
                    }
                    Next::Trade
                }
                Outcome::Refused if is_current && !shared.tokens.is_empty() => {
                    shared.tokens.clear();
                    Next::SignIn
                }
                Outcome::Unknown => Next::Wait,
                _ => Next::Trade,
            };
            shared.history.push(trade);
            next
        })
    }

    /// A new family, as soon as somebody answers.
    async fn sign_in(&self, api: &mut Api) {
        let tokens = within("a sign-in", async {
            loop {
                let credentials = self.account.credentials();
                let response = api.post("/login", None, credentials).await;
                if response.status == 200 {
                    break api.tokens(&response);
                }
                tokio::time::sleep(PAUSE).await;
            }
        })
        .await;
        self.with(|shared| {
            shared.family += 1;
            shared.tokens = vec![tokens.refresh];
        });
    }
}

enum Next {
    Trade,
    /// There was no answer.
    Wait,
    SignIn,
}

async fn trade(api: &mut Api, token: &str) -> Outcome {
    let body = json!({"refresh_token": token});
    let response = api.post("/v1/auth/refresh", None, body).await;
    match response.status {
        200 => Outcome::Traded(api.tokens(&response).refresh),
        401 => Outcome::Refused,
        502..=504 => Outcome::Unknown,
        status => panic!("{status}: {response:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_one_process() {
    race(Layout::Single).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_two_replicas() {
    race(Layout::Replicas).await;
}

async fn race(layout: Layout) {
    let mut stage = Stage::set(layout).await;
    let account = Account::new("race");
    let mut api = stage.api(Protocol::H2).await;
    api.register(&account).await;
    let race = Race {
        shared: Arc::default(),
        stop: Arc::default(),
        account,
    };
    race.sign_in(&mut api).await;
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let protocol = Protocol::ALL[number % Protocol::ALL.len()];
        let api = stage.api(protocol).await;
        clients.push(tokio::spawn(race.clone().run(api, number)));
    }
    let rounds = std::env::var("PALISADE_RACE_ROUNDS");
    let rounds = rounds.map_or(ROUNDS, |rounds| rounds.parse().expect("a number"));
    for round in 1..=rounds {
        until("the clients to have raced", || async {
            let seen = race.with(|shared| shared.history.len());
            let broken = clients.iter().any(tokio::task::JoinHandle::is_finished);
            (seen >= round * TRADES_PER_ROUND || broken).then_some(())
        })
        .await;
        stage.system.kill_core().await;
        stage.system.restart_core().await;
    }
    race.stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.expect("a client that could go on");
    }
    let history = race.with(|shared| std::mem::take(&mut shared.history));
    let findings = judge(&history).unwrap_or_else(|wrong| panic!("{wrong}"));
    assert!(findings.reuses_detected > 0, "{findings:?}");
    assert!(
        findings.families > 1 && findings.longest > 1,
        "{findings:?}"
    );
    stage.end().await;
}
