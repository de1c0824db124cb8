//! The bus is away, and comes back.

use core_platform::{clock, events::NewEvent};
use core_testing::{Nats, eventually};

use crate::world::{Pairing, World, open_bus, settings, writer};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_outbox_keeps_events_while_nats_is_away() {
    let mut world = World::new(Pairing::NatsWithSqlite, settings()).await;
    let nats = tokio::task::spawn_blocking(Nats::start).await.unwrap();
    let nats = std::sync::Arc::new(nats);
    world.bus = open_bus(&nats.url(), &settings()).await;
    world.events.bus = world.bus.clone();
    let running = world.run(vec![writer("outage", world.kinds("made"))]);
    world.publish(world.kind("made"), 0..10).await;
    world.wait_for("outage", 0..10).await;
    world.bus.ping().await.unwrap();

    nats.kill();
    assert!(world.bus.ping().await.is_err());
    for start in (10..50).step_by(10) {
        world.publish(world.kind("made"), start..start + 10).await;
    }
    world
        .wait_for_metric(r#"outbox_pending{service="probe"} 40"#)
        .await;
    assert_eq!(world.effects("outage").await.len(), 10);

    let server = nats.clone();
    tokio::task::spawn_blocking(move || server.restart())
        .await
        .unwrap();
    world.wait_for("outage", 0..50).await;
    eventually("an answer", || async { world.bus.ping().await.ok() }).await;
    world
        .wait_for_metric(r#"outbox_pending{service="probe"} 0"#)
        .await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_and_rubbish_are_refused() {
    let world = World::new(Pairing::EmbeddedOnSqlite, settings()).await;
    for bad in ["", "a b", "a.b", "a/b", "a>", &"n".repeat(65)] {
        assert!(
            world.bus.subscribe(bad, "t", &["t.made"]).await.is_err(),
            "{bad}"
        );
    }
    let event = NewEvent::new("probe", world.kind("made"), "1", clock::now());
    let mut rubbish = core_platform::events::Outgoing::from(event);
    rubbish.body = b"\xff\xff".to_vec();
    world.bus.publish(&[rubbish], clock::now()).await.unwrap();
    world.publish(world.kind("made"), 2..3).await;
    let running = world.run(vec![writer("rubbish", world.kinds("made"))]);
    world.wait_for("rubbish", 2..3).await;
    world
        .wait_for_metric(r#"events_consumed_total{consumer="rubbish",result="malformed"} 1"#)
        .await;
    running.stop().await;
}
