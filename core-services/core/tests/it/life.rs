//! Starts, ends, and what is left after a bad end.

use core_testing::eventually;
use futures::StreamExt;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::harness::{EDGE, EMAIL, PASSWORD, World, hold};

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    let world = World::new();
    let mut core = world.start().await;
    let edge = world.edge(&core);
    let emails: Vec<_> = (0..6).map(|n| format!("user{n}@example.org")).collect();
    let mut registering = tokio::task::JoinSet::new();
    for email in emails.clone() {
        let edge = edge.clone();
        registering.spawn(async move { edge.register(&email).await.map(|_| ()) });
    }
    for done in registering.join_all().await {
        done.unwrap();
    }
    core.signal("KILL");
    assert!(!core.ended().await.success());

    let core = world.start().await;
    let edge = world.edge(&core);
    for email in emails {
        assert!(edge.login(&email, PASSWORD).await.is_ok(), "{email}");
    }
}

#[tokio::test]
async fn sessions_survive_a_restart() {
    let world = World::new();
    let mut core = world.start().await;
    let edge = world.edge(&core);
    edge.register(EMAIL).await.unwrap();
    let tokens = edge.login(EMAIL, PASSWORD).await.unwrap();
    core.signal("TERM");
    assert!(core.ended().await.success());

    let core = world.start().await;
    let edge = world.edge(&core);
    assert!(
        edge.profile(&tokens.access_token).await.is_ok(),
        "same signing key"
    );
    assert!(edge.refresh(&tokens.refresh_token).await.is_ok());
}

#[tokio::test]
async fn a_stop_lets_calls_in_flight_finish() {
    let world = World::new();
    let mut core = world.start().await;
    let held = hold(world.channel(&core, &[EDGE]));
    core.metric("rpc_in_flight 1").await;
    core.signal("TERM");
    eventually("unready", async || {
        (core.get("/ready").0 == 503).then_some(())
    })
    .await;
    assert_eq!(core.json("/health")["status"], "degraded");

    held.send.send(()).unwrap();
    assert!(held.answer.await.unwrap().is_ok());
    assert_eq!(core.ended().await.code(), Some(0));
    let last = core.output().last().unwrap().clone();
    assert!(last.contains("\"stopped\""), "{last}");

    let core = world.start().await;
    assert!(
        world.edge(&core).login(EMAIL, PASSWORD).await.is_ok(),
        "and it was done"
    );
}

#[tokio::test]
async fn new_connections_are_refused_while_draining() {
    let world = World::new();
    let core = world.start().await;
    let _held = hold(world.channel(&core, &[EDGE]));
    core.metric("rpc_in_flight 1").await;
    core.signal("INT");
    eventually("a closed listener", async || {
        tokio::net::TcpStream::connect(core.grpc)
            .await
            .is_err()
            .then_some(())
    })
    .await;
    assert_eq!(core.get("/ready").0, 503);
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let world = World::new();
    let mut core = world.start().await;
    let _held = hold(world.channel(&core, &[EDGE]));
    core.metric("rpc_in_flight 1").await;
    core.signal("TERM");
    eventually("unready", async || {
        (core.get("/ready").0 == 503).then_some(())
    })
    .await;
    core.signal("TERM");
    assert_eq!(core.ended().await.code(), Some(1));
}

#[tokio::test]
async fn the_deadline_ends_what_does_not_finish() {
    let world = World::new();
    let mut core = world.start_with(&["--drain-deadline", "1s"]).await;
    let _held = hold(world.channel(&core, &[EDGE]));
    core.metric("rpc_in_flight 1").await;
    core.signal("TERM");
    assert_eq!(core.ended().await.code(), Some(1));
    eventually("the reason", async || {
        core.errors()
            .iter()
            .any(|line| line.contains("drain deadline"))
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn health_watchers_hear_of_the_stop_and_do_not_delay_it() {
    let world = World::new();
    let mut core = world.start().await;
    let mut health = HealthClient::new(world.channel(&core, &[EDGE]));
    let request = HealthCheckRequest {
        service: "auth.v1.AuthService".to_owned(),
    };
    let mut watch = health.watch(request).await.unwrap().into_inner();
    assert_eq!(watch.next().await.unwrap().unwrap().status, 1);
    core.signal("TERM");
    assert_eq!(watch.next().await.unwrap().unwrap().status, 2);
    assert_eq!(core.ended().await.code(), Some(0));
}

#[tokio::test]
async fn chosen_services_are_served() {
    let world = World::new();
    let mut command = world.command("serve");
    command.arg("identity");
    let core = World::start_command(command).await;
    assert!(world.edge(&core).register(EMAIL).await.is_ok());
}

#[tokio::test]
async fn calls_are_answered_during_the_drain_delay() {
    let world = World::new();
    let mut core = world.start_with(&["--drain-delay", "10min"]).await;
    let mut health = HealthClient::new(world.channel(&core, &[EDGE]));
    let request = HealthCheckRequest {
        service: "auth.v1.AuthService".to_owned(),
    };
    let mut watch = health.watch(request).await.unwrap().into_inner();
    assert_eq!(watch.next().await.unwrap().unwrap().status, 1);
    core.signal("TERM");
    assert_eq!(
        watch.next().await.unwrap().unwrap().status,
        2,
        "first it says so"
    );
    assert_eq!(core.get("/ready").0, 503);
    assert!(
        world.edge(&core).register(EMAIL).await.is_ok(),
        "a new connection is served"
    );
    core.signal("TERM");
    assert_eq!(
        core.ended().await.code(),
        Some(1),
        "told twice, it waits no more"
    );
}
