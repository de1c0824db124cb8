//! Second tries, their budget, and the breaker.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use core_platform::{
    clients::{Channel, Tuning},
    errors,
    metrics::Metrics,
};
use core_testing::eventually;
use tonic::{Code, Request, Status};

use crate::{
    node::{Handler, Node, call},
    world::{World, network, reason},
};

/// Long enough that no test waits for it by accident.
const NEVER: Duration = Duration::from_secs(3600);

/// A handler that refuses as often as it is told to.
fn failing(left: &Arc<AtomicU32>, refusal: fn() -> Status) -> Handler {
    let left = left.clone();
    Arc::new(move |_| {
        let take = |left: u32| left.checked_sub(1);
        let fails = left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, take)
            .is_ok();
        Box::pin(async move { if fails { Err(refusal()) } else { Ok(()) } })
    })
}

fn busy() -> Status {
    errors::busy("OVERLOADED")
}

struct Setup {
    node: Node,
    channel: Channel,
    metrics: Arc<Metrics>,
}

impl Setup {
    async fn new(handler: Handler, breaker_pause: Duration) -> Self {
        let world = World::new();
        let all = [("first", "Read"), ("first", "Write")];
        let node = Node::start(&world, "second", &all, handler).await;
        let metrics = Arc::new(Metrics::new().unwrap());
        let clients = world.measured("first", "second", network(&node), &metrics);
        let clients = clients.tuning(Tuning {
            breaker_pause,
            ..Tuning::default()
        });
        Self {
            channel: clients.channel("second").unwrap(),
            node,
            metrics,
        }
    }

    async fn call(&self, rpc: &str) -> String {
        reason(&call(self.channel.clone(), rpc, Request::new(())).await)
    }

    /// How many calls reached the handler since the last look.
    fn tries(&self, before: &mut usize) -> usize {
        let all = self.node.seen().len();
        all - std::mem::replace(before, all)
    }

    fn retries(&self, result: &str) -> u64 {
        let retries = &self.metrics.clients.retries;
        retries.with_label_values(&["second", result]).get()
    }

    fn level(&self) -> i64 {
        self.metrics
            .clients
            .breaker
            .with_label_values(&["second"])
            .get()
    }
}

#[tokio::test]
async fn only_what_may_be_repeated_is() {
    let left = Arc::new(AtomicU32::new(2));
    let setup = Setup::new(failing(&left, busy), NEVER).await;
    let mut before = 0;
    assert_eq!(setup.call("Read").await, "ok");
    assert_eq!(setup.tries(&mut before), 3);
    left.store(1, Ordering::SeqCst);
    assert_eq!(setup.call("Write").await, "OVERLOADED");
    assert_eq!(setup.tries(&mut before), 1);
    left.store(4, Ordering::SeqCst);
    assert_eq!(setup.call("Read").await, "OVERLOADED");
    assert_eq!(setup.tries(&mut before), 3);
    assert_eq!(setup.retries("sent"), 4);
}

#[tokio::test]
async fn only_safe_codes_are_tried_again() {
    let left = Arc::new(AtomicU32::new(1));
    let refusal = || errors::refused(Code::Aborted, "TAKEN", "taken");
    let setup = Setup::new(failing(&left, refusal), NEVER).await;
    assert_eq!(setup.call("Read").await, "TAKEN");
    assert_eq!(setup.tries(&mut 0), 1);
}

#[tokio::test]
async fn a_spent_budget_ends_second_tries() {
    let left = Arc::new(AtomicU32::new(0));
    let setup = Setup::new(failing(&left, busy), NEVER).await;
    let mut before = 0;
    for expected in [3, 3, 1, 1] {
        left.store(3, Ordering::SeqCst);
        assert_eq!(setup.call("Read").await, "OVERLOADED");
        assert_eq!(setup.tries(&mut before), expected);
        // An answer in between keeps the breaker closed and pays a tenth.
        left.store(0, Ordering::SeqCst);
        assert_eq!(setup.call("Write").await, "ok");
        before += 1;
    }
    assert_eq!((setup.retries("sent"), setup.retries("no_budget")), (4, 2));
    // Calls that go well fill it again.
    for _ in 0..60 {
        assert_eq!(setup.call("Write").await, "ok");
    }
    left.store(1, Ordering::SeqCst);
    assert_eq!(setup.call("Read").await, "ok");
    assert_eq!(setup.retries("sent"), 5);
}

#[tokio::test]
async fn the_breaker_opens_and_recovers() {
    let left = Arc::new(AtomicU32::new(u32::MAX));
    let setup = Setup::new(failing(&left, busy), Duration::from_millis(50)).await;
    eventually("the breaker to open", async || {
        let refused = setup.call("Write").await;
        (refused == "CIRCUIT_OPEN").then_some(())
    })
    .await;
    assert!(setup.node.seen().len() >= 5);
    assert_eq!(setup.level(), 2);
    left.store(0, Ordering::SeqCst);
    eventually("the breaker to close", async || {
        (setup.call("Write").await == "ok").then_some(())
    })
    .await;
    assert_eq!(setup.level(), 0);
    let mut before = setup.node.seen().len();
    assert_eq!(setup.call("Write").await, "ok");
    assert_eq!(setup.tries(&mut before), 1);
}

#[tokio::test]
async fn an_open_breaker_sends_nothing() {
    let left = Arc::new(AtomicU32::new(u32::MAX));
    let setup = Setup::new(failing(&left, busy), NEVER).await;
    for _ in 0..5 {
        assert_eq!(setup.call("Write").await, "OVERLOADED");
    }
    for rpc in ["Write", "Read"] {
        let refused = call(setup.channel.clone(), rpc, Request::new(())).await;
        assert_eq!(reason(&refused), "CIRCUIT_OPEN");
        assert_eq!(refused.unwrap_err().code(), Code::Unavailable);
    }
    assert_eq!(setup.tries(&mut 0), 5);
    // What is not sent is not tried again either: it fails at once.
    assert_eq!((setup.retries("sent"), setup.retries("no_budget")), (0, 0));
}

#[tokio::test]
async fn callers_in_a_hurry_do_not_open_the_breaker() {
    let well = Arc::new(AtomicBool::new(false));
    let handler: Handler = Arc::new({
        let well = well.clone();
        move |_| {
            let well = well.load(Ordering::SeqCst);
            Box::pin(async move {
                if !well {
                    std::future::pending::<()>().await;
                }
                Ok(())
            })
        }
    });
    let setup = Setup::new(handler, NEVER).await;
    for _ in 0..10 {
        let mut request = Request::new(());
        request.set_timeout(Duration::from_millis(30));
        let answer = call(setup.channel.clone(), "Write", request).await;
        assert_eq!(answer.unwrap_err().code(), Code::DeadlineExceeded);
    }
    well.store(true, Ordering::SeqCst);
    assert_eq!(setup.call("Write").await, "ok");
}
