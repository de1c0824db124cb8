//! One request in both logs: the ids that a client is told lead to the line of each process.

use http::Method;
use serde_json::Value;

use crate::accounts::{Account, Api};
use crate::client::Protocol;
use crate::grpc::{EMPTY, GET_PROFILE};
use crate::harness::System;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn request_and_trace_ids_are_the_same_in_both_logs() {
    let system = System::start().await;
    let account = Account::new("traced");
    let mut api = Api::new(system.client(Protocol::H2).await, &system.secrets);
    api.register(&account).await;
    let bearer = format!("Bearer {}", api.login(&account).await.access);
    for (number, protocol) in Protocol::ALL.into_iter().enumerate() {
        let trace_id = format!("4bf92f3577b34da6a3ce929d0e0e473{number}");
        let parent = format!("00-{trace_id}-00f067aa0ba902b7-01");
        let fields = [("authorization", &*bearer), ("traceparent", &*parent)];
        let response = system
            .client(protocol)
            .await
            .get_with("/profile", &fields)
            .await;
        assert_eq!(response.status, 200, "{response:?}");
        assert_logged(&system, response.header("x-request-id"), &trace_id).await;
    }
    let trace_id = "4bf92f3577b34da6a3ce929d0e0e4739";
    let parent = format!("00-{trace_id}-00f067aa0ba902b7-01");
    let fields = [
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("authorization", &bearer),
        ("traceparent", &parent),
    ];
    let mut client = system.client(Protocol::H2).await;
    let sent = client.send(Method::POST, GET_PROFILE, &fields, EMPTY).await;
    let response = sent.expect("an answer");
    assert_logged(&system, response.header("x-request-id"), trace_id).await;
    system.end().await;
}

async fn assert_logged(system: &System, request_id: Option<&str>, trace_id: &str) {
    let request_id = request_id.expect("x-request-id");
    let edge = system.edge.process.output();
    let access = edge.entry(0, "the access line", |line: &Value| {
        line["request_id"] == request_id
    });
    let access = access.await;
    assert_eq!(
        (&access["trace_id"], &access["status"]),
        (&trace_id.into(), &200.into())
    );
    let core = system.cores.first.process.output();
    let call = core.entry(0, "the call", |line: &Value| {
        line["message"] == "answered" && line["span"]["request_id"] == request_id
    });
    let call = call.await;
    assert_eq!(call["span"]["trace_id"], trace_id);
    assert_eq!(
        (&call["rpc"], &call["code"]),
        (&GET_PROFILE.into(), &0.into())
    );
}
