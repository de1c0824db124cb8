//! One failure looks the same in every dialect, whoever failed.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use bytes::Bytes;
use http::Response;
use palisade_translate::{Codec, Dialect, FailedCall, failed_call};
use serde_json::{Value, json};
use tonic::Code;
use tonic_types::StatusExt;

use super::connect_streams::read;
use super::{Client, frame, post};

const TYPES: [&str; 6] = [
    "application/grpc-web+proto",
    "application/grpc-web-text+proto",
    "application/json",
    "application/proto",
    "application/connect+json",
    "application/connect+proto",
];

/// What is common to all: code, message, details.
#[derive(Debug, PartialEq)]
struct Told {
    code: Code,
    message: String,
    reason: String,
    domain: String,
    fields: Vec<String>,
    retry_after: Option<Duration>,
}

fn told(response: &Response<Bytes>) -> Told {
    let (code, message, encoded) = match response.headers().get("grpc-status") {
        Some(code) => {
            let text = |name| response.headers().get(name).unwrap().to_str().unwrap();
            let encoded = BASE64_STANDARD_NO_PAD.decode(text("grpc-status-details-bin"));
            let code: i32 = code.to_str().unwrap().parse().unwrap();
            let message = text("grpc-message").replace("%25", "%");
            (Code::from_i32(code), message, encoded.unwrap())
        }
        None => connect(response),
    };
    let details = tonic::Status::with_details(code, "", encoded.into()).get_error_details();
    let info = details
        .error_info()
        .cloned()
        .unwrap_or_else(|| tonic_types::ErrorInfo::new("", "", []));
    let fields = details.bad_request().map(|bad| {
        bad.field_violations
            .iter()
            .map(|v| v.field.clone())
            .collect()
    });
    Told {
        code,
        message,
        reason: info.reason,
        domain: info.domain,
        fields: fields.unwrap_or_default(),
        retry_after: details.retry_info().and_then(|info| info.retry_delay),
    }
}

/// The same of a Connect error; its details are put into a status.
fn connect(response: &Response<Bytes>) -> (Code, String, Vec<u8>) {
    use prost::Message;
    let content_type = response.headers()["content-type"].to_str().unwrap();
    let error = if content_type == "application/json" {
        serde_json::from_slice(response.body()).unwrap()
    } else {
        read(response.body()).1["error"].take()
    };
    let code = (1..17)
        .map(Code::from_i32)
        .find(|code| connect_name(*code) == error["code"])
        .unwrap();
    let details = error["details"].as_array().into_iter().flatten();
    let encoded = details.flat_map(|detail| {
        assert!(detail["debug"].is_object(), "{detail}");
        let value = detail["value"].as_str().unwrap();
        let any = prost_types::Any {
            type_url: format!("type.googleapis.com/{}", detail["type"].as_str().unwrap()),
            value: BASE64_STANDARD_NO_PAD.decode(value).unwrap(),
        };
        // Field 3 of google.rpc.Status.
        let mut field = vec![0x1a];
        prost::encoding::encode_varint(any.encoded_len() as u64, &mut field);
        field.extend(any.encode_to_vec());
        field
    });
    let message = error["message"].as_str().unwrap_or_default().to_owned();
    (code, message, encoded.collect())
}

fn connect_name(code: Code) -> String {
    if code == Code::Cancelled {
        return "canceled".to_owned();
    }
    let mut name = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

#[test]
fn what_the_edge_refuses() {
    let call = FailedCall {
        code: Code::ResourceExhausted,
        message: "100% full",
        reason: "rate_limited",
        retry_after: Some(Duration::from_secs(3)),
    };
    let expected = Told {
        code: Code::ResourceExhausted,
        message: "100% full".to_owned(),
        reason: "rate_limited".to_owned(),
        domain: "palisade".to_owned(),
        fields: Vec::new(),
        retry_after: Some(Duration::from_secs(3)),
    };
    for (dialect, status, content_type) in [
        (Dialect::Grpc, 200, "application/grpc"),
        (Dialect::GrpcWeb { is_text: false }, 200, TYPES[0]),
        (Dialect::GrpcWeb { is_text: true }, 200, TYPES[1]),
        (Dialect::ConnectUnary(Codec::Json), 429, TYPES[2]),
        (Dialect::ConnectUnary(Codec::Proto), 429, TYPES[2]),
        (Dialect::ConnectStream(Codec::Json), 200, TYPES[4]),
        (Dialect::ConnectStream(Codec::Proto), 200, TYPES[5]),
    ] {
        let response = failed_call(dialect, &call).unwrap();
        assert_eq!(response.status(), status, "{dialect:?}");
        assert_eq!(response.headers()["content-type"], content_type);
        assert_eq!(told(&response), expected, "{dialect:?}");
    }
    assert!(failed_call(Dialect::Http, &call).is_none());
}

/// A message in the form that a content type has.
fn body(content_type: &str, json: &Value, proto: &[u8]) -> Vec<u8> {
    let message = match content_type.contains("json") {
        true => json.to_string().into_bytes(),
        false => proto.to_vec(),
    };
    match content_type {
        "application/json" | "application/proto" => message,
        "application/grpc-web-text+proto" => base64::prelude::BASE64_STANDARD
            .encode(frame(0, &message))
            .into_bytes(),
        _ => frame(0, &message),
    }
}

/// RPC, its message in both forms; code, reason and fields of what each dialect that takes it is told.
type Row<'a> = (&'a str, &'a Value, &'a [u8], Code, &'a str, &'a [&'a str]);

#[tokio::test]
async fn what_the_translator_refuses() {
    let mut client = Client::of_echo().await;
    let no_name = json!({"name": "", "email": "a@example.test", "age": 20});
    let no_name_proto = b"\x12\x0ea@example.test\x18\x14".as_slice();
    let rows: [Row<'_>; 2] = [
        (
            "Nope",
            &json!({}),
            b"",
            Code::Unimplemented,
            "rpc_not_found",
            &[],
        ),
        (
            "Register",
            &no_name,
            no_name_proto,
            Code::InvalidArgument,
            "invalid_argument",
            &["name"],
        ),
    ];
    for (rpc, json, proto, code, reason, fields) in rows {
        for content_type in TYPES {
            if content_type.contains("connect") && rpc == "Register" {
                continue; // is not a stream
            }
            let mut request = post(rpc, content_type, body(content_type, json, proto));
            let version = http::HeaderValue::from_static("1");
            request
                .headers_mut()
                .insert("connect-protocol-version", version);
            let answer = client.send(request).await;
            let mut response = Response::new(answer.body);
            *response.headers_mut() = answer.headers;
            let told = told(&response);
            assert_eq!(told.code, code, "{rpc} {content_type}");
            assert_eq!(
                (told.reason.as_str(), told.domain.as_str()),
                (reason, "palisade")
            );
            assert_eq!(told.fields, fields, "{rpc} {content_type}");
        }
    }
    assert_eq!(client.echo.begun(), 0);
}

#[tokio::test]
async fn what_a_service_refuses() {
    let mut client = Client::of_echo().await;
    let rows = [
        (1, 499),
        (2, 500),
        (3, 400),
        (4, 504),
        (5, 404),
        (6, 409),
        (7, 403),
        (8, 429),
        (9, 400),
        (10, 409),
        (11, 400),
        (12, 501),
        (13, 500),
        (14, 503),
        (15, 500),
        (16, 401),
    ];
    for (number, status) in rows {
        let code = Code::from_i32(number);
        let json = json!({"code": number, "message": "why", "reason": "R", "domain": "d.test"});
        let proto = [
            b"\x08",
            [u8::try_from(number).unwrap()].as_slice(),
            b"\x12\x03why\x2a\x01R\x32\x06d.test",
        ]
        .concat();
        for content_type in &TYPES[..4] {
            let mut request = post("Fail", content_type, body(content_type, &json, &proto));
            let version = http::HeaderValue::from_static("1");
            request
                .headers_mut()
                .insert("connect-protocol-version", version);
            let answer = client.send(request).await;
            let is_web = content_type.contains("web");
            assert_eq!(answer.status, if is_web { 200 } else { status }, "{code:?}");
            // What is about the inside of a service stays there.
            if matches!(code, Code::Unknown | Code::Internal | Code::DataLoss) {
                assert!(!format!("{:?}", answer.headers).contains("why"));
                assert!(!String::from_utf8_lossy(&answer.body).contains("why"));
                continue;
            }
            let mut response = Response::new(answer.body);
            *response.headers_mut() = answer.headers;
            let told = told(&response);
            assert_eq!(
                (told.code, told.message.as_str()),
                (code, "why"),
                "{content_type}"
            );
            assert_eq!(
                (told.reason.as_str(), told.domain.as_str()),
                ("R", "d.test")
            );
        }
    }
}
