//! What every pairing of bus and database keeps.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use core_platform::{
    clock,
    db::query,
    events::{Consumer, Failure, NewEvent, Outgoing, Settings, dead_letters, publish},
};
use core_testing::eventually;
use tokio::sync::Semaphore;

use crate::world::{Pairing, World, effect, settings, writer};

macro_rules! on_every_pairing {
    ($($case:ident with $settings:expr;)+) => {
        on_every_pairing!(@ embedded_on_sqlite EmbeddedOnSqlite $($case $settings;)+);
        on_every_pairing!(@ embedded_on_postgresql EmbeddedOnPostgresql $($case $settings;)+);
        on_every_pairing!(@ nats_with_sqlite NatsWithSqlite $($case $settings;)+);
        on_every_pairing!(@ nats_with_postgresql NatsWithPostgresql $($case $settings;)+);
    };
    (@ $module:ident $pairing:ident $($case:ident $settings:expr;)+) => {
        mod $module {
            use super::*;

            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(World::new(Pairing::$pairing, $settings).await).await;
            })+
        }
    };
}

on_every_pairing! {
    events_arrive_in_order_and_once with settings();
    what_was_rolled_back_is_not_published with settings();
    what_is_published_twice_takes_effect_once with settings();
    a_lost_delivery_comes_again with settings();
    what_was_handled_is_not_handled_again with settings();
    a_transient_failure_is_tried_again with settings();
    a_permanent_failure_is_a_dead_letter_and_can_be_replayed with settings();
    tries_are_bounded_and_letters_can_be_purged with settings();
    a_new_consumer_sees_what_is_kept_and_only_its_types with settings();
    replicas_share_the_work with settings();
    // So long that only what was given back comes again within the test.
    a_stop_gives_back with Settings { lease: Duration::from_secs(600), ..settings() };
}

async fn events_arrive_in_order_and_once(world: World) {
    let running = world.run(vec![writer("order", world.kinds("made"))]);
    for start in (0..200).step_by(20) {
        world.publish(world.kind("made"), start..start + 20).await;
    }
    world.wait_for("order", 0..200).await;
    let in_order: Vec<String> = (0..200).map(|n: u32| n.to_string()).collect();
    assert_eq!(world.effects("order").await, in_order);
    eventually("an empty outbox", || async {
        (world.count("SELECT COUNT(*) FROM outbox").await == 0).then_some(())
    })
    .await;
    world
        .wait_for_metric(r#"events_consumed_total{consumer="order",result="applied"} 200"#)
        .await;
    world
        .wait_for_metric(r#"events_published_total{result="ok",service="probe"} 200"#)
        .await;
    running.stop().await;
}

async fn what_was_rolled_back_is_not_published(world: World) {
    let kind = world.kind("made");
    let mut tx = world.db.begin().await.unwrap();
    let event = NewEvent::new("probe", kind, "7", clock::now());
    publish(&mut tx, event).await.unwrap();
    drop(tx);
    world.publish(kind, 1..2).await;
    let running = world.run(vec![writer("rollback", world.kinds("made"))]);
    world.wait_for("rollback", 1..2).await;
    running.stop().await;

    let mut tx = world.db.begin().await.unwrap();
    for (kind, data) in [("nodots", 1), (kind, 200_000)] {
        let data = "x".repeat(data);
        let event = NewEvent::new("probe", kind, "7", clock::now()).data(&data);
        let refused = publish(&mut tx, event).await.unwrap_err().to_string();
        assert!(refused.contains("an event"), "{refused}");
    }
}

async fn what_is_published_twice_takes_effect_once(world: World) {
    let kind = world.kind("made");
    let running = world.run(vec![writer("twice", world.kinds("made"))]);
    let new = |subject: &str| NewEvent::new("probe", kind, subject, clock::now());
    let first = [Outgoing::from(new("1"))];
    for _ in 0..3 {
        world.bus.publish(&first, clock::now()).await.unwrap();
    }
    let last = [Outgoing::from(new("2"))];
    world.bus.publish(&last, clock::now()).await.unwrap();
    world.wait_for("twice", 1..3).await;
    running.stop().await;
}

async fn a_lost_delivery_comes_again(world: World) {
    let (kind, domain) = (world.kind("made"), world.kind("made").split('.').next());
    world.publish(kind, 0..3).await;
    let running = world.run(Vec::new());
    let subscribed = world.bus.subscribe("lost", domain.unwrap(), &[kind]).await;
    let mut subscription = subscribed.unwrap();
    let mut taken = Vec::new();
    while taken.len() < 3 {
        taken.extend(subscription.next(3).await.unwrap());
    }
    assert!(taken.iter().all(|delivery| delivery.deliveries == 1));
    assert_eq!(subscription.pending().await.unwrap(), 3);
    // Whoever had them is gone.
    drop((taken, subscription, running));
    let running = world.run(vec![writer("lost", world.kinds("made"))]);
    world.wait_for("lost", 0..3).await;
    running.stop().await;
}

async fn what_was_handled_is_not_handled_again(world: World) {
    let event = Outgoing::from(NewEvent::new(
        "probe",
        world.kind("made"),
        "1",
        clock::now(),
    ));
    // As if the process had died between its commit and telling the bus.
    let mut tx = world.db.begin().await.unwrap();
    query(
        "INSERT INTO inbox (consumer, event_id, tries, handled_at, seen_at)
         VALUES ('again', $1, 0, $2, $2)",
    )
    .bind(event.id)
    .bind(clock::now())
    .execute(&mut tx)
    .await
    .unwrap();
    tx.commit().await.unwrap();
    world.bus.publish(&[event], clock::now()).await.unwrap();
    world.publish(world.kind("made"), 2..3).await;
    let running = world.run(vec![writer("again", world.kinds("made"))]);
    world.wait_for("again", 2..3).await;
    world
        .wait_for_metric(r#"events_consumed_total{consumer="again",result="duplicate"} 1"#)
        .await;
    running.stop().await;
}

/// Fails with `failure` for event 1 as long as `broken` says, which counts the calls.
fn failing(
    name: &'static str,
    types: &'static [&'static str],
    broken: impl Fn() -> Option<Failure> + Send + Sync + 'static,
) -> Consumer {
    Consumer::new(name, types, move |tx, event| {
        let failure = (event.subject == "1").then(&broken).flatten();
        Box::pin(async move {
            // The effect comes first: a failure must take it back.
            effect(name, tx, event).await?;
            failure.map_or(Ok(()), Err)
        })
    })
}

async fn a_transient_failure_is_tried_again(world: World) {
    let calls = AtomicU32::new(0);
    let broken = move || match calls.fetch_add(1, Ordering::Relaxed) {
        0 => Some(Failure::Transient("not yet".to_owned())),
        1 => panic!("not yet, either"),
        _ => None,
    };
    let running = world.run(vec![failing("transient", world.kinds("made"), broken)]);
    world.publish(world.kind("made"), 0..5).await;
    world.wait_for("transient", 0..5).await;
    world
        .wait_for_metric(r#"events_consumed_total{consumer="transient",result="retried"} 2"#)
        .await;
    assert_eq!(world.count("SELECT COUNT(*) FROM dead_letters").await, 0);
    running.stop().await;
}

async fn a_permanent_failure_is_a_dead_letter_and_can_be_replayed(world: World) {
    let is_broken = Arc::new(AtomicBool::new(true));
    let broken = is_broken.clone();
    let broken = move || {
        let is_broken = broken.load(Ordering::Relaxed);
        is_broken.then(|| Failure::Permanent("never".to_owned()))
    };
    let running = world.run(vec![
        failing("permanent", world.kinds("made"), broken),
        writer("bystander", world.kinds("made")),
    ]);
    world.publish(world.kind("made"), 0..3).await;
    world.wait_for("permanent", [0, 2].into_iter()).await;
    let letters = eventually("a dead letter", || async {
        let letters = dead_letters::list(&world.db, Some("permanent"), 0, 10).await;
        Some(letters.unwrap()).filter(|letters| !letters.is_empty())
    })
    .await;
    let [letter] = letters.as_slice() else {
        panic!("{letters:?}");
    };
    assert_eq!((letter.tries, letter.reason.as_str()), (1, "permanent"));
    assert_eq!(
        (letter.error.as_str(), letter.is_replaying),
        ("never", false)
    );
    let page = dead_letters::list(&world.db, None, letter.seq, 10).await;
    assert_eq!(page.unwrap(), [], "nothing behind the last one");
    world.wait_for("bystander", 0..3).await;

    // A replay that fails again leaves the letter.
    let replay = async |consumer| {
        let mut tx = world.db.begin().await.unwrap();
        let which = dead_letters::Which::Events(vec![letter.event_id]);
        let count = dead_letters::replay(&mut tx, consumer, which, clock::now()).await;
        tx.commit().await.unwrap();
        count.unwrap()
    };
    assert_eq!(replay("bystander").await, 0, "it has none");
    assert_eq!(replay("permanent").await, 1);
    eventually("the replay's failure", || async {
        let letters = dead_letters::list(&world.db, None, 0, 10).await.unwrap();
        (!letters[0].is_replaying).then_some(())
    })
    .await;
    is_broken.store(false, Ordering::Relaxed);
    assert_eq!(replay("permanent").await, 1);
    world.wait_for("permanent", 0..3).await;
    assert_eq!(world.count("SELECT COUNT(*) FROM dead_letters").await, 0);
    world.wait_for("bystander", 0..3).await;
    running.stop().await;
}

async fn tries_are_bounded_and_letters_can_be_purged(world: World) {
    let calls = Arc::new(AtomicU32::new(0));
    let counted = calls.clone();
    let broken = move || {
        counted.fetch_add(1, Ordering::Relaxed);
        Some(Failure::Transient("still not".to_owned()))
    };
    let running = world.run(vec![failing("bounded", world.kinds("made"), broken)]);
    world.publish(world.kind("made"), 0..3).await;
    let letter = eventually("a dead letter", || async {
        let letters = dead_letters::list(&world.db, None, 0, 10).await.unwrap();
        letters.into_iter().next()
    })
    .await;
    assert_eq!((letter.tries, letter.reason.as_str()), (4, "exhausted"));
    assert_eq!(calls.load(Ordering::Relaxed), 4);
    world.wait_for("bounded", [0, 2].into_iter()).await;

    let mut tx = world.db.begin().await.unwrap();
    let purged = dead_letters::purge(&mut tx, "other", dead_letters::Which::All).await;
    assert_eq!(purged.unwrap(), 0);
    let purged = dead_letters::purge(&mut tx, "bounded", dead_letters::Which::All).await;
    assert_eq!(purged.unwrap(), 1);
    tx.commit().await.unwrap();
    assert_eq!(world.count("SELECT COUNT(*) FROM dead_letters").await, 0);
    running.stop().await;
}

async fn a_new_consumer_sees_what_is_kept_and_only_its_types(world: World) {
    let running = world.run(vec![writer("old", world.kinds("made"))]);
    world.publish(world.kind("made"), 0..40).await;
    world.publish(world.kind("broken"), 40..50).await;
    world.publish(world.kind("sold"), 50..60).await;
    world.wait_for("old", 0..40).await;
    running.stop().await;

    let two = vec![world.kind("broken"), world.kind("sold")].leak();
    let running = world.run(vec![writer("new", world.kinds("made")), writer("two", two)]);
    world.wait_for("new", 0..40).await;
    world.wait_for("two", 40..60).await;
    world.publish(world.kind("made"), 60..62).await;
    world.wait_for("new", (0..40).chain(60..62)).await;
    world.wait_for("two", 40..60).await;
    running.stop().await;
    // Its place is kept while it is away.
    world.publish(world.kind("made"), 62..64).await;
    let running = world.run(vec![writer("old", world.kinds("made"))]);
    world.wait_for("old", (0..40).chain(60..64)).await;
    running.stop().await;
}

async fn replicas_share_the_work(world: World) {
    let running = [
        world.run(vec![writer("replica", world.kinds("made"))]),
        world.run(vec![writer("replica", world.kinds("made"))]),
    ];
    for start in (0..300).step_by(10) {
        world.publish(world.kind("made"), start..start + 10).await;
    }
    world.wait_for("replica", 0..300).await;
    for replica in running {
        replica.stop().await;
    }
    assert_eq!(world.effects("replica").await.len(), 300);
}

async fn a_stop_gives_back(world: World) {
    let (started, gate) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (starts, opens) = (started.clone(), gate.clone());
    let slow = Consumer::new("stopped", world.kinds("made"), move |tx, event| {
        let (started, gate) = (starts.clone(), opens.clone());
        Box::pin(async move {
            started.add_permits(1);
            gate.acquire().await.unwrap().forget();
            effect("stopped", tx, event).await
        })
    });
    world.publish(world.kind("made"), 0..20).await;
    let running = world.run(vec![slow]);
    started.acquire().await.unwrap().forget();
    let stopping = tokio::spawn(running.stop());
    // The one at work ends well, the others go back untouched.
    gate.add_permits(1);
    stopping.await.unwrap();
    let handled = world.effects("stopped").await.len();
    assert!(handled <= 1, "{handled}");
    let running = world.run(vec![writer("stopped", world.kinds("made"))]);
    world.wait_for("stopped", 0..20).await;
    running.stop().await;
}
