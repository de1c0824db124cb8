//! Arbitrary requests: every one of them gets an answer, and none ends the connection's task.

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use std::sync::Arc;

use palisade_translate::{Options, Translator, translate};
use proptest::prelude::*;
use tonic::transport::Endpoint;

use crate::descriptors;

/// JSON made of the message's own names, so that most of it gets past the first member.
fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        any::<i64>().prop_map(|n| n.to_string()),
        any::<f64>().prop_map(|n| format!("{n:e}")),
        "[0-9TZ:.s,+-]{0,24}".prop_map(|text| format!("\"{text}\"")),
        "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{1,12})?Z".prop_map(quoted),
        "-?[0-9]{1,20}(\\.[0-9]{1,12})?s".prop_map(quoted),
        "[A-Za-z0-9_+/=-]{0,12}".prop_map(quoted),
        Just("\"RED\"".to_owned()),
        Just("\"type.googleapis.com/test.v1.Thing\"".to_owned()),
    ];
    leaf.prop_recursive(4, 24, 6, |inner| {
        let name = prop_oneof![
            Just("id"),
            Just("i32"),
            Just("i64"),
            Just("u64"),
            Just("f32"),
            Just("flag"),
            Just("data"),
            Just("colour"),
            Just("colours"),
            Just("inner"),
            Just("next"),
            Just("inners"),
            Just("counts"),
            Just("byNumber"),
            Just("maybe"),
            Just("left"),
            Just("at"),
            Just("wait"),
            Just("mask"),
            Just("text"),
            Just("big"),
            Just("yes"),
            Just("blob"),
            Just("extra"),
            Just("value"),
            Just("any"),
            Just("@type"),
            Just("times"),
            Just("1"),
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|v| format!("[{}]", v.join(","))),
            prop::collection::vec((name, inner), 0..6).prop_map(|v| {
                let members: Vec<_> = v.iter().map(|(k, v)| format!("\"{k}\":{v}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

fn quoted(text: String) -> String {
    format!("\"{text}\"")
}

fn check(method: &str, uri: &str, body: String, expected: &[u16]) {
    // Nothing listens there: a request that is understood becomes 503 and needs no server.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let status = runtime.block_on(async {
        let channel = Endpoint::from_static("http://127.0.0.1:0").connect_lazy();
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        translate(translator(), channel, request).await.status()
    });
    assert!(expected.contains(&status.as_u16()), "{status}");
}

fn translator() -> &'static Arc<Translator> {
    static TRANSLATOR: std::sync::OnceLock<Arc<Translator>> = std::sync::OnceLock::new();
    TRANSLATOR.get_or_init(|| {
        let set = descriptors::things();
        Arc::new(Translator::from_descriptor_set(&set, Options::default()).unwrap())
    })
}

proptest! {
    #[test]
    fn bodies(body in prop_oneof![json(), "\\PC{0,40}"], uri in prop_oneof![
        Just("/v1/things"), Just("/v1/f/value"), Just("/v1/f/at"), Just("/v1/f/by"), Just("/v1/f/inner"),
    ]) {
        let method = if uri == "/v1/things" { "POST" } else { "PUT" };
        check(method, uri, body, &[400, 503]);
    }

    #[test]
    fn queries(query in "((id|i64|flag|data|at|wait|mask|inner\\.next\\.count|times|big)=[A-Za-z0-9:.%+-]{0,24}&){0,4}") {
        check("GET", &format!("/v1/things?{query}"), String::new(), &[400, 503]);
    }

    #[test]
    fn paths(path in "(/(v1|things|files|inner|[a-z0-9%:.]{0,6})){1,6}") {
        check("GET", &path, String::new(), &[400, 404, 405, 503]);
    }
}
