//! A core that hangs without dying: every route answers for it in its own time, and all is well
//! again as soon as it moves.

use http::Method;
use rustix::process::Signal;
use serde_json::json;
use tonic::Code;

use crate::accounts::{Account, Api};
use crate::client::{Client, Protocol, Response};
use crate::grpc::{self, EMPTY, GET_PROFILE};
use crate::harness::System;
use crate::harness::files::{CLUSTERS, Files, ROUTES};
use crate::harness::waiting::until;

/// With a second instead of ten, and two of the thirty that gRPC calls may take: what is translated
/// ends by its route's time, never by a silence of the same length.
fn impatient() -> Files {
    let files = Files::new();
    files.rewrite(ROUTES, "request_timeout: 10s", "request_timeout: 1s");
    let descriptors = "    descriptors: descriptors/core.pb";
    let timeouts = format!("    timeouts: {{ read: 2s }}\n{descriptors}");
    files.rewrite(CLUSTERS, descriptors, &timeouts);
    files
}

async fn get_profile(client: &mut Client, bearer: &str) -> Response {
    let fields = [
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("authorization", bearer),
    ];
    let sent = client.send(Method::POST, GET_PROFILE, &fields, EMPTY).await;
    sent.expect("an answer")
}

/// The access line goes with it: it alone knows the cause.
async fn assert_timed_out(system: &System, response: &Response) {
    let request_id = response.header("x-request-id").expect("x-request-id");
    let log = system.edge.process.output();
    let line = log.entry(0, "the access line", |line| {
        line["request_id"] == request_id
    });
    let line = line.await;
    assert_eq!(response.status, 504, "{line}");
    response.assert_problem(504, "deadline_exceeded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_core_is_answered_for_in_time() {
    let system = System::start_with(impatient()).await;
    let account = Account::new("frozen");
    let mut api = Api::new(system.client(Protocol::H2).await, &system.secrets);
    api.register(&account).await;
    let token = api.login(&account).await.access;
    let bearer = format!("Bearer {token}");
    // A connection for what is not translated, so that the core is frozen behind it, too.
    let warm = get_profile(&mut system.client(Protocol::H2).await, &bearer).await;
    assert_eq!(grpc::code(&warm), Code::Ok, "{warm:?}");

    system.cores.first.process.freeze().await;
    for protocol in Protocol::ALL {
        let mut api = Api::new(system.client(protocol).await, &system.secrets);
        let read = api.get("/profile", Some(&token)).await;
        assert_timed_out(&system, &read).await;
        let mut api = Api::new(system.client(protocol).await, &system.secrets);
        let body = json!({"refresh_token": "none"});
        let written = api.post("/v1/auth/refresh", None, body).await;
        assert_timed_out(&system, &written).await;
    }
    // The call on the kept connection times out, and a new connection cannot be made.
    for protocol in [Protocol::H2, Protocol::H3] {
        let response = get_profile(&mut system.client(protocol).await, &bearer).await;
        let told = [Code::DeadlineExceeded, Code::Unavailable].contains(&grpc::code(&response));
        assert!(told, "{protocol:?}: {response:?}");
    }
    // What needs no core is served as ever.
    let refused = api.get("/profile", None).await;
    refused.assert_problem(401, "credential_missing");

    system.cores.first.process.signal(Signal::CONT);
    for protocol in Protocol::ALL {
        until("the core to be reached again", || async {
            let mut api = Api::new(system.client(protocol).await, &system.secrets);
            let answer = api.get("/profile", Some(&token)).await;
            (answer.status == 200).then_some(())
        })
        .await;
    }
    until("the core to be called again", || async {
        let mut client = system.client(Protocol::H2).await;
        let response = get_profile(&mut client, &bearer).await;
        (grpc::code(&response) == Code::Ok).then_some(())
    })
    .await;
    system.end().await;
}
