//! Finding services: names with many addresses, that change, that are away.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use core_platform::clients::{Channel, Error, Resolve, Route, Target, Tuning};
use core_testing::eventually;
use futures::future::BoxFuture;
use tonic::Request;

use crate::{
    node::{Node, call, fine},
    world::{World, reason},
};

/// Answers what it is told to; `None` is a name server that is away.
#[derive(Clone, Default)]
struct Names(Arc<Mutex<(Option<Vec<SocketAddr>>, u32)>>);

impl Names {
    fn set(&self, addresses: Option<Vec<SocketAddr>>) {
        self.0.lock().unwrap().0 = addresses;
    }

    fn asked(&self) -> u32 {
        self.0.lock().unwrap().1
    }
}

impl Resolve for Names {
    fn resolve<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        assert_eq!((host, port), ("localhost", 50_051));
        let mut names = self.0.lock().unwrap();
        names.1 += 1;
        let found = names.0.clone().ok_or(io::ErrorKind::TimedOut.into());
        Box::pin(async move { found })
    }
}

/// Often enough for a test that waits for a lookup.
const OFTEN: Duration = Duration::from_millis(20);

fn channel(world: &World, names: &Names, lookup: Duration) -> Channel {
    let target = Target::parse("second", "https+dns://localhost:50051").unwrap();
    world
        .clients("first", "second", Route::Network(target))
        .resolver(Arc::new(names.clone()))
        .tuning(Tuning {
            lookup,
            ..Tuning::default()
        })
        .channel("second")
        .unwrap()
}

async fn read(channel: &Channel) -> String {
    reason(&call(channel.clone(), "Read", Request::new(())).await)
}

#[tokio::test]
async fn addresses_are_called_in_turn_and_looked_up_again() {
    let world = World::new();
    let allowed = [("first", "Read")];
    let here = Node::start(&world, "second", &allowed, fine()).await;
    let there = Node::start(&world, "second", &allowed, fine()).await;
    let names = Names::default();
    names.set(Some(vec![here.address, there.address]));
    let channel = channel(&world, &names, OFTEN);
    for _ in 0..10 {
        assert_eq!(read(&channel).await, "ok");
    }
    assert_eq!((here.seen().len(), there.seen().len()), (5, 5));

    let settled = async |names: &Names| {
        let asked = names.asked();
        // The one that was under way may have begun before the change.
        eventually("two lookups", async || {
            (names.asked() >= asked + 3).then_some(())
        })
        .await;
    };
    names.set(Some(vec![there.address]));
    settled(&names).await;
    for _ in 0..10 {
        assert_eq!(read(&channel).await, "ok");
    }
    assert_eq!((here.seen().len(), there.seen().len()), (5, 15));

    // A name server that is away, or that knows nothing, takes nothing away.
    for lost in [None, Some(Vec::new())] {
        names.set(lost);
        settled(&names).await;
        assert_eq!(read(&channel).await, "ok");
    }
    assert_eq!(there.seen().len(), 17);
}

#[tokio::test]
async fn a_call_waits_for_the_first_lookup() {
    let world = World::new();
    let node = Node::start(&world, "second", &[("first", "Read")], fine()).await;
    let names = Names::default();
    let channel = channel(&world, &names, OFTEN);
    let calling = tokio::spawn(async move { read(&channel).await });
    eventually("a lookup in vain", async || {
        (names.asked() > 0).then_some(())
    })
    .await;
    names.set(Some(vec![node.address]));
    assert_eq!(calling.await.unwrap(), "ok");
}

#[tokio::test]
async fn a_dead_address_is_passed_over() {
    let world = World::new();
    let node = Node::start(&world, "second", &[("first", "Read")], fine()).await;
    // Bound and closed again: nobody is there.
    let dead = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let names = Names::default();
    names.set(Some(vec![dead.local_addr().unwrap(), node.address]));
    drop(dead);
    let channel = channel(&world, &names, Duration::from_secs(3600));
    for _ in 0..20 {
        // A call that meets it is tried again at the other.
        assert_eq!(read(&channel).await, "ok");
    }
    assert_eq!(node.seen().len(), 20);
}

#[tokio::test]
async fn a_service_without_an_address_is_named() {
    let world = World::new();
    let target = Target::parse("second", "https://localhost:1").unwrap();
    let clients = world.clients("first", "second", Route::Network(target));
    let unknown = clients.channel("web-push").err().unwrap();
    assert!(matches!(unknown, Error::Unknown(_)));
    assert!(unknown.to_string().contains("WEB_PUSH_URL"), "{unknown}");
}
