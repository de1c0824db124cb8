//! Handshakes that are answered in HTTP.

use super::World;

#[tokio::test]
async fn a_path_that_is_no_stream() {
    let world = World::start().await;
    let unary = "400 websocket_not_supported: what this path is bound to answers requests, not websocket connections";
    for (path, expected) in [
        (
            "/v1/nowhere",
            "404 binding_not_found: nothing is bound to this path",
        ),
        (
            "/palisade.echo.v1.EchoService/Nope",
            "404 binding_not_found: nothing is bound to this path",
        ),
        ("/v1/echo", unary),
        ("/v1/echo/x", unary),
        ("/palisade.echo.v1.EchoService/Echo", unary),
        (
            "/v1/count/x",
            "400 invalid_path: path variable `to`: is not an unsigned 64-bit integer",
        ),
        (
            "/v1/count/1?to=2",
            "400 invalid_query: query parameter `to`: the path sets this field",
        ),
        (
            "/v1/count/1?nope=2",
            "400 invalid_query: query parameter `nope`: message `palisade.echo.v1.CountRequest` has no field `nope`",
        ),
        (
            "/v1/rooms/a/chat?text=2",
            "400 invalid_query: query parameter `text`: the body sets this field",
        ),
    ] {
        assert_eq!(world.refused(path, &[]).await, expected, "{path}");
    }
    assert_eq!(world.echo.begun(), 0);
}

#[tokio::test]
async fn a_handshake_that_is_none() {
    let world = World::start().await;
    let path = "/v1/rooms/a/chat";
    let unknown = "400 unknown_subprotocol: `sec-websocket-protocol` must offer `palisade.v1.json` or `palisade.v1.proto`, or nothing";
    let version = "400 unsupported_websocket_version: `sec-websocket-version` must be `13`";
    for (field, expected) in [
        (("sec-websocket-protocol", "chat"), unknown),
        (
            ("sec-websocket-protocol", "chat, PALISADE.V1.JSON"),
            unknown,
        ),
        (("sec-websocket-version", "8"), version),
    ] {
        assert_eq!(world.refused(path, &[field]).await, expected);
    }
    let Err(answer) = world
        .try_open(path, &[("sec-websocket-version", "8")])
        .await
    else {
        panic!("opened");
    };
    assert_eq!(answer.headers()["sec-websocket-version"], "13");
}

#[tokio::test]
async fn what_the_rules_of_its_descriptors_refuse() {
    let world = World::start().await;
    let refused = world.refused("/v1/count/1?paddingBytes=2000000", &[]).await;
    assert_eq!(
        refused,
        "400 invalid_argument: field `paddingBytes`: value must be less than or equal to 1048576"
    );
    let mut count = world.open("/palisade.echo.v1.EchoService/Count").await;
    count.say(r#"{"paddingBytes":2000000}"#).await;
    assert_eq!(
        count.closed().await,
        "4003 field `paddingBytes`: value must be less than or equal to 1048576"
    );
    world.idle().await;
    assert_eq!(world.echo.begun(), 0);
}

/// A service that refuses at once is heard before the 101.
#[tokio::test]
async fn what_the_service_refuses_at_once() {
    let world = World::start().await;
    // The pause is no length of time, which the handler of Count says before its stream begins.
    let refused = world.refused("/v1/count/1?pause=-1s", &[]).await;
    assert!(refused.starts_with("400 invalid_argument: "), "{refused}");
    world.idle().await;
}

#[tokio::test]
async fn a_service_that_is_not_there() {
    let mut world = World::start().await;
    // Port 1 of this host: nobody listens there.
    world.channel = tonic::transport::Endpoint::from_static("http://127.0.0.1:1").connect_lazy();
    let refused = world.refused("/v1/rooms/a/chat", &[]).await;
    assert_eq!(refused, "503 unavailable: the service cannot be reached");
}
