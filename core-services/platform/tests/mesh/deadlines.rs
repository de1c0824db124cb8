//! Deadlines, cancellation, and what else a call hands on.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use core_platform::clients::{Channel, Route};
use core_testing::eventually;
use http::HeaderMap;
use tonic::{Code, Request};

use crate::{
    node::{Handler, Node, call, fine, with},
    world::{World, network, reason},
};

/// A handler that calls `rpc` in turn.
fn relaying(channel: Channel, rpc: &'static str) -> Handler {
    Arc::new(move |_| {
        let channel = channel.clone();
        Box::pin(async move { call(channel, rpc, Request::new(())).await })
    })
}

/// A handler that never ends, and how many of it are running.
fn endless() -> (Handler, Arc<AtomicUsize>) {
    struct Running(Arc<AtomicUsize>);
    impl Drop for Running {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
    let running = Arc::new(AtomicUsize::new(0));
    let count = running.clone();
    let handler: Handler = Arc::new(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        let running = Running(count.clone());
        Box::pin(async move {
            std::future::pending::<()>().await;
            drop(running);
            Ok(())
        })
    });
    (handler, running)
}

/// The `grpc-timeout` of a call, in microseconds.
fn given(headers: &HeaderMap) -> u64 {
    let text = headers["grpc-timeout"].to_str().unwrap();
    let micros = match text.strip_suffix('u') {
        Some(micros) => micros.parse().unwrap(),
        None => text.strip_suffix('m').unwrap().parse::<u64>().unwrap() * 1000,
    };
    assert!(micros > 0);
    micros
}

#[tokio::test]
async fn a_deadline_shrinks_over_two_hops_and_facts_travel_along() {
    let world = World::new();
    let second = Node::start(&world, "second", &[("first", "Own")], fine()).await;
    for route in [network(&second), Route::Memory(second.dialer.clone())] {
        let channel = world.clients("first", "second", route);
        let channel = channel.channel("second").unwrap();
        let first = Node::start(&world, "first", &[], relaying(channel, "Own")).await;
        let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let user = world.user(0);
        let mut request = with("authorization", &user);
        request.set_timeout(Duration::from_secs(8));
        request
            .metadata_mut()
            .insert("x-request-id", "abc-1".parse().unwrap());
        request
            .metadata_mut()
            .insert("traceparent", trace.parse().unwrap());
        let answer = call(world.plain(&first, "edge"), "Own", request).await;
        assert_eq!(reason(&answer), "ok");

        let at_first = first.seen().last().unwrap().headers.clone();
        let at_second = second.seen().last().unwrap().headers.clone();
        assert!(given(&at_first) <= 8_000_000);
        assert!(given(&at_second) < given(&at_first));
        assert_eq!(at_second["x-request-id"], "abc-1");
        assert_eq!(at_second["traceparent"], trace);
        assert_eq!(at_second["authorization"], user);
        assert!(at_second.contains_key("x-service-token"));
        assert!(second.seen().last().unwrap().has_caller);
    }
}

#[tokio::test]
async fn without_a_deadline_of_its_caller_a_call_still_has_one() {
    let world = World::new();
    let second = Node::start(&world, "second", &[("first", "Read")], fine()).await;
    let clients = world.clients("first", "second", network(&second));
    let channel = clients.channel("second").unwrap();
    assert_eq!(reason(&call(channel, "Read", Request::new(())).await), "ok");
    assert!(given(&second.seen()[0].headers) <= 10_000_000);
}

#[tokio::test]
async fn what_cannot_be_answered_in_time_is_not_sent() {
    let world = World::new();
    let second = Node::start(&world, "second", &[("first", "Read")], fine()).await;
    let clients = world.clients("first", "second", network(&second));
    let mut request = Request::new(());
    request.set_timeout(Duration::from_millis(1));
    let answer = call(clients.channel("second").unwrap(), "Read", request).await;
    assert_eq!(reason(&answer), "DEADLINE_EXCEEDED");
    assert!(second.seen().is_empty());
}

#[tokio::test]
async fn the_callers_time_bounds_the_handlers_of_all_hops() {
    let world = World::new();
    let (handler, running) = endless();
    let second = Node::start(&world, "second", &[("first", "Write")], handler).await;
    let clients = world.clients("first", "second", network(&second));
    let relay = relaying(clients.channel("second").unwrap(), "Write");
    let first = Node::start(&world, "first", &[], relay).await;
    let mut request = Request::new(());
    request.set_timeout(Duration::from_millis(500));
    let answer = call(world.plain(&first, "edge"), "Write", request).await;
    // Whose timer was first is a matter of milliseconds; tonic's says CANCELLED.
    let code = answer.unwrap_err().code();
    assert!(
        matches!(code, Code::DeadlineExceeded | Code::Cancelled),
        "{code}"
    );
    eventually("the end of all handlers", async || {
        let ended = |node: &Node| node.metrics.in_flight.get() == 0;
        let all = ended(&first) && ended(&second) && running.load(Ordering::SeqCst) == 0;
        all.then_some(())
    })
    .await;
    assert_eq!((first.seen().len(), second.seen().len()), (1, 1));
}

#[tokio::test]
async fn a_caller_that_leaves_ends_the_handlers_of_all_hops() {
    let world = World::new();
    let (handler, running) = endless();
    let second = Node::start(&world, "second", &[("first", "Write")], handler).await;
    for route in [network(&second), Route::Memory(second.dialer.clone())] {
        let clients = world.clients("first", "second", route);
        let relay = relaying(clients.channel("second").unwrap(), "Write");
        let first = Node::start(&world, "first", &[], relay).await;
        let channel = world.plain(&first, "edge");
        let calling = tokio::spawn(async move { call(channel, "Write", Request::new(())).await });
        let is = |expected| {
            let running = running.clone();
            async move || (running.load(Ordering::SeqCst) == expected).then_some(())
        };
        eventually("the handler", is(1)).await;
        calling.abort();
        eventually("its end", is(0)).await;
    }
}
