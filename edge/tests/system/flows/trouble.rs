//! Servers that go away under the services: what goes on, what is told, and that it comes back.

use std::time::Duration;

use serde_json::Value;

use super::Stage;
use crate::accounts::{Account, Api};
use crate::client::Protocol;
use crate::harness::core::{Layout, Servers};
use crate::harness::waiting::until;

/// Sign-ups while a server is away.
const MEANWHILE: usize = 3;

fn servers(stage: &Stage) -> &Servers {
    let servers = stage.system.cores.servers.as_ref();
    servers.expect("a layout with servers")
}

/// `status` of the whole, and of one dependency.
async fn health(stage: &Stage, dependency: &str) -> (String, String) {
    let (_, page) = stage.system.core_page("/health").await;
    let page: Value = serde_json::from_str(&page).expect("JSON");
    let status = |value: &Value| value["status"].as_str().unwrap_or_default().to_owned();
    (status(&page), status(&page["checks"][dependency]))
}

async fn until_health(stage: &Stage, dependency: &str, whole: &str) {
    until(format!("{dependency} to be told {whole}"), || async {
        (health(stage, dependency).await.0 == whole).then_some(())
    })
    .await;
}

/// Events in the outbox of any replica.
async fn waiting(stage: &Stage) -> f64 {
    let mut most = 0.0_f64;
    for core in stage.system.cores.all() {
        let (_, page) = crate::harness::get(core.admin, "/metrics").await;
        let found = page
            .lines()
            .filter(|line| line.starts_with("outbox_pending{"));
        for line in found {
            let value = line.rsplit(' ').next().and_then(|text| text.parse().ok());
            most = most.max(value.expect("a number"));
        }
    }
    most
}

/// People sign up, sign in and read as if nothing had happened.
async fn all_is_well(stage: &Stage, name: &str) {
    for protocol in Protocol::ALL {
        for number in 0..MEANWHILE {
            let mut api: Api = stage.api(protocol).await;
            let account = Account::new(&format!("{name}-{protocol:?}-{number}"));
            api.register(&account).await;
            let tokens = api.login(&account).await;
            let read = api.get("/profile", Some(&tokens.access)).await;
            assert_eq!(read.status, 200, "{read:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_wait_while_the_broker_is_away() {
    let stage = Stage::set(Layout::Replicas).await;
    all_is_well(&stage, "before").await;
    servers(&stage).nats.kill();
    all_is_well(&stage, "meanwhile").await;
    until_health(&stage, "nats", "degraded").await;
    until("the outbox to fill", || async {
        (waiting(&stage).await > 0.0).then_some(())
    })
    .await;
    servers(&stage).nats.restart();
    until("the outbox to drain", || async {
        (waiting(&stage).await == 0.0).then_some(())
    })
    .await;
    until_health(&stage, "nats", "healthy").await;
    // What the relay could not send while the broker was away is in the log as a warning.
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cache_may_be_away_stopped_or_empty() {
    let stage = Stage::set(Layout::Replicas).await;
    all_is_well(&stage, "before").await;
    servers(&stage).redis.pause();
    all_is_well(&stage, "paused").await;
    servers(&stage).redis.resume();
    servers(&stage).redis.kill();
    all_is_well(&stage, "killed").await;
    until_health(&stage, "redis", "degraded").await;
    servers(&stage).redis.restart();
    until_health(&stage, "redis", "healthy").await;
    all_is_well(&stage, "back").await;
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_database_answers_say_when_to_come_back() {
    let stage = Stage::set(Layout::Split).await;
    let mut api = stage.api(Protocol::H2).await;
    let account = Account::new("database");
    let tokens = stage.sign_up(&mut api, &account).await;
    servers(&stage).postgres.pause();
    let refused = until("a refusal", || async {
        let mut api = stage.api(Protocol::H2).await;
        let answer = api.get("/profile", Some(&tokens.access)).await;
        (answer.status != 200).then_some(answer)
    })
    .await;
    assert!([503, 504].contains(&refused.status), "{refused:?}");
    until("503 with Retry-After", || async {
        let mut api = stage.api(Protocol::H2).await;
        let answer = api.get("/profile", Some(&tokens.access)).await;
        let wait = answer
            .header("retry-after")
            .and_then(|text| text.parse().ok());
        let told = wait.is_some_and(|wait| Duration::from_secs(wait) >= Duration::from_secs(1));
        (answer.status == 503 && told).then_some(())
    })
    .await;
    until_health(&stage, "database", "unhealthy").await;
    servers(&stage).postgres.resume();
    until("the profile to be served again", || async {
        let mut api = stage.api(Protocol::H2).await;
        let answer = api.get("/profile", Some(&tokens.access)).await;
        (answer.status == 200).then_some(())
    })
    .await;
    until_health(&stage, "database", "healthy").await;
    stage.end().await;
}
