//! What operators see of a dependency that goes away, and that it is back.

use core_testing::{Postgres, Redis, eventually};
use tonic::Code;

use crate::harness::{Core, EMAIL, PASSWORD, World, reason};

const DATABASE: &str = r#"dependency_up{dependency="database",service="identity"}"#;
const REDIS: &str = r#"dependency_up{dependency="redis",service="identity"}"#;
const GAUGES: [&str; 5] = [
    "outbox_pending",
    "outbox_oldest_seconds",
    "dead_letters",
    "background_jobs_queued",
    "background_jobs_oldest_seconds",
];

/// How often the log says so of the dependency.
fn said(core: &Core, what: &str, dependency: &str) -> usize {
    let dependency = format!(r#""dependency":"{dependency}""#);
    let lines = core.output().into_iter();
    lines
        .filter(|line| line.contains(what) && line.contains(&dependency))
        .count()
}

/// The gauges that are told, of those that only the database can tell.
fn told(core: &Core) -> Vec<&'static str> {
    let metrics = core.get("/metrics").2;
    let told = |name: &&str| metrics.contains(&format!("\n{name}{{service=\"identity\"}}"));
    GAUGES.into_iter().filter(told).collect()
}

#[tokio::test]
async fn a_database_that_refuses_is_away_at_once_and_back_again() {
    let (server, world) = (Postgres::start(), World::new());
    let mut command = world.command("all");
    command.env("DATABASE_URL__IDENTITY", server.fresh());
    let core = World::start_command(command).await;
    let edge = world.edge(&core);
    edge.register(EMAIL).await.unwrap();
    core.metric(&format!("{DATABASE} 1")).await;
    eventually("all numbers", async || {
        (told(&core) == GAUGES).then_some(())
    })
    .await;

    server.kill();
    core.metric(&format!("{DATABASE} 0")).await;
    let cause = format!("`127.0.0.1:{}` refuses connections", server.port());
    eventually("the cause", async || {
        let health = core.json("/health");
        assert_eq!(health["status"], "unhealthy");
        let told = health["checks"]["database"]["cause"].as_str()?.to_owned();
        told.contains(&cause).then_some(())
    })
    .await;
    eventually("that nothing is known", async || {
        told(&core).is_empty().then_some(())
    })
    .await;
    let refused = edge.login(EMAIL, PASSWORD).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::Unavailable, "DATABASE_AWAY")
    );
    assert_eq!(refused.message(), "the database is away, try again shortly");

    server.restart();
    core.metric(&format!("{DATABASE} 1")).await;
    assert!(edge.login(EMAIL, PASSWORD).await.is_ok());
    eventually("all numbers again", async || {
        (told(&core) == GAUGES).then_some(())
    })
    .await;
    for what in ["a dependency is away", "a dependency is back"] {
        assert_eq!(said(&core, what, "database"), 1, "{what}");
    }
    let notices = core.output().into_iter();
    assert!(
        !notices
            .into_iter()
            .any(|line| line.contains("no transaction in progress"))
    );
}

#[tokio::test]
async fn redis_is_told_like_any_other() {
    let (server, world) = (Redis::start(), World::new());
    let mut command = world.command("all");
    command.env("REDIS_URL", server.url());
    let core = World::start_command(command).await;
    core.metric(&format!("{REDIS} 1")).await;
    server.kill();
    core.metric(&format!("{REDIS} 0")).await;
    assert_eq!(core.json("/health")["status"], "degraded");
    assert!(world.edge(&core).register(EMAIL).await.is_ok());
    server.restart();
    core.metric(&format!("{REDIS} 1")).await;
    for what in ["a dependency is away", "a dependency is back"] {
        assert_eq!(said(&core, what, "redis"), 1, "{what}");
    }
}
