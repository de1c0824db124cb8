//! Who may call: certificate, service token, matrix, user. The same rules on a
//! socket and within the process.

use core_platform::{clients::Route, service_token};
use core_testing::eventually;
use tonic::{Code, Request};

use crate::{
    node::{Node, call, fine, with},
    world::{World, network, reason},
};

#[tokio::test]
async fn the_matrix_decides_on_sockets_and_in_memory() {
    let world = World::new();
    let listed = [("first", "Read"), ("first", "Internal"), ("first", "Own")];
    let node = Node::start(&world, "second", &listed, fine()).await;
    for route in [network(&node), Route::Memory(node.dialer.clone())] {
        let channel = |caller| {
            let clients = world.clients(caller, "second", route.clone());
            clients.channel("second").unwrap()
        };
        let check = async |caller, rpc, expected: &str| {
            let answer = call(channel(caller), rpc, Request::new(())).await;
            assert_eq!(reason(&answer), expected, "{caller} {rpc}");
        };
        check("first", "Read", "ok").await;
        check("first", "Internal", "ok").await;
        // Public is for users: a service needs an entry even so.
        check("first", "Write", "CALLER_NOT_ALLOWED").await;
        check("third", "Read", "CALLER_NOT_ALLOWED").await;
        check("third", "Internal", "CALLER_NOT_ALLOWED").await;
        // The service's word does not stand in for a user's.
        check("first", "Own", "TOKEN_MISSING").await;
        let user = with("authorization", &world.user(0));
        assert_eq!(reason(&call(channel("first"), "Own", user).await), "ok");
        assert!(node.seen().last().unwrap().has_caller);

        node.allow(&[("third", "Read")]);
        check("third", "Read", "ok").await;
        check("first", "Read", "CALLER_NOT_ALLOWED").await;
        node.allow(&listed);
    }
}

#[tokio::test]
async fn a_certificate_alone_is_not_enough_for_a_service() {
    let world = World::new();
    let node = Node::start(&world, "second", &[("first", "Read")], fine()).await;
    let answer = call(world.plain(&node, "first"), "Read", Request::new(())).await;
    assert_eq!(reason(&answer), "SERVICE_TOKEN_MISSING");
    assert_eq!(answer.unwrap_err().code(), Code::Unauthenticated);
    let unknown = call(world.plain(&node, "first"), "Nope", Request::new(())).await;
    assert_eq!(reason(&unknown), "UNKNOWN_RPC");
    assert!(node.seen().is_empty());
}

#[tokio::test]
async fn tokens_swapped_between_services_are_refused() {
    let world = World::new();
    let all = [("first", "Read"), ("third", "Read")];
    let node = Node::start(&world, "second", &all, fine()).await;
    let now = core_platform::clock::now();
    let check = async |certificate, token: &str, expected: &str| {
        let request = with(service_token::HEADER, token);
        let answer = call(world.plain(&node, certificate), "Read", request).await;
        assert_eq!(reason(&answer), expected, "{certificate}");
        answer.err().map(|status| status.code())
    };
    let first = world.signer("first").sign("second", now);
    let third = world.signer("third").sign("second", now);
    let invalid = "SERVICE_TOKEN_INVALID";
    assert_eq!(check("first", &first, "ok").await, None);
    let denied = Some(Code::PermissionDenied);
    assert_eq!(check("first", &third, invalid).await, denied);
    assert_eq!(check("third", &first, invalid).await, denied);
    // What was caught on its way to another service opens no door here.
    let elsewhere = world.signer("first").sign("third", now);
    assert_eq!(check("first", &elsewhere, invalid).await, denied);
    // Nor does a user's token.
    let user = world.user(0);
    assert_eq!(
        check("first", user.strip_prefix("Bearer ").unwrap(), invalid).await,
        denied
    );
    let stranger = service_token::Signer::generate(crate::world::DOMAIN, "first").unwrap();
    assert_eq!(
        check("first", &stranger.sign("second", now), invalid).await,
        denied
    );
    assert_eq!(node.seen().len(), 1);
}

#[tokio::test]
async fn the_edge_needs_its_certificate_and_the_users_token() {
    let world = World::new();
    let node = Node::start(&world, "second", &[], fine()).await;
    let edge = || world.plain(&node, "edge");
    let check = async |rpc, request, expected: &str| {
        assert_eq!(reason(&call(edge(), rpc, request).await), expected, "{rpc}");
    };
    check("Read", Request::new(()), "ok").await;
    check("Own", Request::new(()), "TOKEN_MISSING").await;
    check("Own", with("authorization", &world.user(9999)), "ok").await;
    check(
        "Internal",
        with("authorization", &world.user(0)),
        "SERVICE_ONLY",
    )
    .await;
    check("Fresh", with("authorization", &world.user(0)), "ok").await;
    check(
        "Fresh",
        with("authorization", &world.user(301)),
        "STEP_UP_REQUIRED",
    )
    .await;
    // Where the matrix names it, the edge is a service like others.
    node.allow(&[("edge", "Internal")]);
    check("Internal", Request::new(()), "ok").await;
}

#[tokio::test]
async fn refusals_are_counted_by_kind() {
    let world = World::new();
    let node = Node::start(&world, "second", &[], fine()).await;
    let clients = world.clients("first", "second", network(&node));
    let channel = clients.channel("second").unwrap();
    assert!(call(channel, "Read", Request::new(())).await.is_err());
    let plain = world.plain(&node, "first");
    assert!(call(plain, "Read", Request::new(())).await.is_err());
    for line in [
        r#"rpc_refused_total{reason="access_matrix"} 1"#,
        r#"rpc_refused_total{reason="service_token"} 1"#,
    ] {
        eventually(line, async || {
            let text = String::from_utf8(node.metrics.render().unwrap()).unwrap();
            text.lines().any(|found| found == line).then_some(())
        })
        .await;
    }
}
