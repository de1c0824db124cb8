//! gRPC statuses to HTTP, in trailers-only answers and in trailers.

use bytes::Bytes;
use palisade_translate::Options;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::client::{Answer, Client, request};
use crate::upstream::{Script, Upstream, headers};

async fn get(script: Script) -> Answer {
    let upstream = Upstream::start(script).await;
    let mut client = Client::connect(&upstream, Options::default());
    let mut request = request("GET", "/v1/things/7", "");
    request
        .headers_mut()
        .insert("x-request-id", "req-1".parse().unwrap());
    client.send(request).await
}

#[tokio::test]
async fn every_code() {
    const HIDDEN: &str = "The service failed to answer this request.";
    let rows = [
        (1, "499 cancelled: why"),
        (2, "500 unknown: -"),
        (3, "400 invalid_argument: why"),
        (4, "504 deadline_exceeded: why"),
        (5, "404 not_found: why"),
        (6, "409 already_exists: why"),
        (7, "403 permission_denied: why"),
        (8, "429 resource_exhausted: why"),
        (9, "400 failed_precondition: why"),
        (10, "409 aborted: why"),
        (11, "400 out_of_range: why"),
        (12, "501 unimplemented: why"),
        (13, "500 internal: -"),
        (14, "503 unavailable: why"),
        (15, "500 data_loss: -"),
        (16, "401 unauthenticated: why"),
        (99, "500 unknown: -"),
    ];
    for (code, expected) in rows {
        let code = code.to_string();
        let all = headers(&[
            ("grpc-status", &code),
            ("grpc-message", "why"),
            ("x-service-tag", "t"),
        ]);
        let in_trailers = Script::Raw(headers(&[("x-service-tag", "t")]), None, Some(all.clone()));
        let no_message = Script::Raw(
            headers(&[("x-service-tag", "t")]),
            Some(Bytes::new()),
            Some(all.clone()),
        );
        for script in [Script::TrailersOnly(all), in_trailers, no_message] {
            let answer = get(script).await;
            assert_eq!(answer.summary(), expected.replace('-', HIDDEN), "{code}");
            assert_eq!(answer.json()["request_id"], "req-1");
            assert_eq!(answer.header("x-service-tag"), Some("t"));
            let challenge = (code == "16").then_some("Bearer");
            assert_eq!(answer.header("www-authenticate"), challenge);
        }
    }
}

async fn get_with_details(code: Code, details: ErrorDetails) -> Answer {
    let status = Status::with_error_details(code, "é: why", details);
    let mut all = http::HeaderMap::new();
    status.add_header(&mut all).unwrap();
    get(Script::TrailersOnly(all)).await
}

#[tokio::test]
async fn error_details() {
    let mut details = ErrorDetails::new();
    details
        .add_bad_request_violation("user.email", "is not an address")
        .add_bad_request_violation("name", "is too long")
        .set_error_info("EMAIL", "users.test", std::collections::HashMap::new())
        .set_retry_info(Some(std::time::Duration::from_millis(1500)));
    let answer = get_with_details(Code::InvalidArgument, details.clone()).await;
    assert_eq!(
        answer.json(),
        serde_json::json!({
            "type": "about:blank",
            "title": "Bad Request",
            "status": 400,
            "detail": "é: why",
            "code": "invalid_argument",
            "request_id": "req-1",
            "errors": [
                {"field": "user.email", "description": "is not an address"},
                {"field": "name", "description": "is too long"},
            ],
            "reason": "EMAIL",
            "domain": "users.test",
            "retry_delay": "1.500s",
        })
    );
    assert_eq!(answer.header("retry-after"), Some("2"));

    let hidden = get_with_details(Code::Internal, details).await;
    assert_eq!(
        hidden.json(),
        serde_json::json!({
            "type": "about:blank",
            "title": "Internal Server Error",
            "status": 500,
            "detail": "The service failed to answer this request.",
            "code": "internal",
            "request_id": "req-1",
        })
    );
}

#[tokio::test]
async fn every_kind_of_detail_becomes_members() {
    let mut details = ErrorDetails::new();
    let metadata = [("service".to_owned(), "users".to_owned())];
    details
        .set_error_info(
            "STALE",
            "users.test",
            std::collections::HashMap::from(metadata),
        )
        .set_debug_info(vec!["at main.rs:1".to_owned()], "secret of the database")
        .set_request_info("inner-7", "secret")
        .add_quota_failure_violation("clientip:192.0.2.1", "too many")
        .add_precondition_failure_violation("TOS", "users.test", "not accepted")
        .set_resource_info("user", "users/7", "ada", "is locked")
        .add_help_link("how to unlock", "https://users.test/help")
        .set_localized_message("de", "gesperrt");
    let answer = get_with_details(Code::FailedPrecondition, details).await;
    assert_eq!(
        answer.json(),
        serde_json::json!({
            "type": "about:blank",
            "title": "Bad Request",
            "status": 400,
            "detail": "é: why",
            "code": "failed_precondition",
            "request_id": "req-1",
            "reason": "STALE",
            "domain": "users.test",
            "metadata": {"service": "users"},
            "quota_violations": [{"subject": "clientip:192.0.2.1", "description": "too many"}],
            "precondition_violations": [
                {"type": "TOS", "subject": "users.test", "description": "not accepted"},
            ],
            "resource": {
                "type": "user", "name": "users/7", "owner": "ada", "description": "is locked",
            },
            "links": [{"description": "how to unlock", "url": "https://users.test/help"}],
            "localized_message": {"locale": "de", "message": "gesperrt"},
        })
    );
}

#[tokio::test]
async fn violations_name_fields_as_clients_do() {
    let cases = [
        ("snake_case_name", "snakeCaseName"),
        ("inners[0].next.name", "inners[0].next.name"),
        ("by_number[3].count", "byNumber[3].count"),
        (r#"counts["a.b\"]"]"#, r#"counts["a.b\"]"]"#),
        ("by_number[3].nope", "by_number[3].nope"),
        ("snake_case_name.nope", "snake_case_name.nope"),
        ("snake_case_name[", "snake_case_name["),
        ("by_number[\"", "by_number[\""),
        ("snake_case_name]", "snake_case_name]"),
        ("choice", "choice"),
        ("", ""),
    ];
    let mut details = ErrorDetails::new();
    for (field, _) in cases {
        details.add_bad_request_violation(field, "no");
    }
    let answer = get_with_details(Code::InvalidArgument, details)
        .await
        .json();
    let told = answer["errors"].as_array().unwrap();
    let told: Vec<_> = told.iter().map(|e| e["field"].as_str().unwrap()).collect();
    assert_eq!(told, cases.map(|(_, expected)| expected));
}

#[tokio::test]
async fn details_are_bounded() {
    let mut details = ErrorDetails::new();
    for at in 0..100 {
        details.add_bad_request_violation(format!("f{at}"), "no");
    }
    let answer = get_with_details(Code::InvalidArgument, details).await;
    assert_eq!(answer.json()["errors"].as_array().unwrap().len(), 64);
}

#[tokio::test]
async fn a_services_own_challenge_stays() {
    let all = headers(&[
        ("grpc-status", "16"),
        ("www-authenticate", "Bearer error=\"invalid_token\""),
    ]);
    let answer = get(Script::TrailersOnly(all)).await;
    let challenge = answer.header("www-authenticate");
    assert_eq!(challenge, Some("Bearer error=\"invalid_token\""));
}

#[tokio::test]
async fn broken_status_fields_do_no_harm() {
    for (fields, expected) in [
        // tonic's own reader panics on this one.
        (
            headers(&[("grpc-status", "5"), ("grpc-status-details-bin", "!!")]),
            "404 not_found: ",
        ),
        (
            headers(&[("grpc-status", "5"), ("grpc-status-details-bin", "/////w")]),
            "404 not_found: ",
        ),
        (
            headers(&[("grpc-status", "x")]),
            "500 unknown: The service failed to answer this request.",
        ),
        (
            headers(&[("grpc-status", "5"), ("grpc-message", "%ff%zz")]),
            "404 not_found: \u{fffd}%zz",
        ),
    ] {
        assert_eq!(get(Script::TrailersOnly(fields)).await.summary(), expected);
    }
}
