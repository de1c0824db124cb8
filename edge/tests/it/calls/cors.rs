//! Pages that call by gRPC-Web and Connect: a route that translates takes what their libraries send.

use http::Method;
use palisade_echo::proto::EchoRequest;

use super::dialect::Dialect;
use super::{SERVICE, World};
use crate::client::Protocol;

const ROUTES: &str = "
routes:
  - name: listed
    matches: [{ path: { prefix: /listed }, methods: [GET, POST] }]
    cors: { origins: [\"https://app.test\"], headers: [authorization], expose_headers: [x-request-id] }
    translate: true
    cluster: echo
  - name: open
    matches: [{ path: { prefix: /palisade.echo.v1.EchoService }, methods: [GET, POST] }]
    cors: { origins: [\"https://app.test\"] }
    auth: { issuer: main }
    translate: true
    cluster: echo
  - name: plain
    matches: [{ path: { prefix: /echo } }]
    cors: { origins: [\"https://app.test\"], headers: [authorization] }
    cluster: origin
";

const ASKED: &str = "authorization,connect-protocol-version,connect-timeout-ms,content-type,grpc-timeout,x-grpc-web,x-user-agent";

fn names(list: Option<&str>) -> Vec<String> {
    let list = list.unwrap_or("").split(',');
    list.map(|name| name.trim().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_may_send_what_their_libraries_do() {
    let world = World::start(ROUTES).await;
    for protocol in Protocol::ALL {
        let mut client = world.client(protocol).await;
        for (path, passes) in [("/listed", true), (SERVICE, true), ("/echo", false)] {
            let fields = [
                ("origin", "https://app.test"),
                ("access-control-request-method", "POST"),
                ("access-control-request-headers", ASKED),
            ];
            let target = format!("{path}/Echo");
            let sent = client.send(Method::OPTIONS, &target, &fields, "").await;
            let answer = sent.expect("an answer");
            assert_eq!(answer.status, 204, "{protocol:?} {path}: {answer:?}");
            let allowed = names(answer.header("access-control-allow-headers"));
            let all = ASKED
                .split(',')
                .all(|name| allowed.contains(&name.to_owned()));
            assert_eq!(all, passes, "{protocol:?} {path}: {allowed:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_may_read_why_a_call_failed() {
    let world = World::start(ROUTES).await;
    let origin = [("origin", "https://app.test")];
    for protocol in Protocol::ALL {
        for (path, more) in [(SERVICE, None), ("/listed", Some("x-request-id"))] {
            let path = format!("{path}/Echo");
            let mut client = world.client(protocol).await;
            let message = EchoRequest::default();
            let answer = Dialect::GrpcWeb
                .call(&mut client, &path, &origin, &message)
                .await
                .expect("an answer");
            assert!(answer.headers.contains_key("grpc-status"), "{answer:?}");
            let exposed = names(answer.header("access-control-expose-headers"));
            let wanted = ["grpc-status", "grpc-message", "grpc-status-details-bin"];
            for name in wanted.into_iter().chain(more) {
                let is_exposed = exposed.contains(&name.to_owned());
                assert!(is_exposed, "{protocol:?} {path} {name}: {exposed:?}");
            }
            let readable = answer.header("access-control-allow-origin");
            assert_eq!(readable, Some("https://app.test"), "{protocol:?} {path}");
        }
    }
}
