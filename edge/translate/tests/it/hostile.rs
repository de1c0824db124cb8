//! JSON that is made to hurt: deep, wide, long. Each of it is refused, in bounded memory.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Request;
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};
use palisade_echo::mirror::DESCRIPTORS;
use palisade_translate::{JsonOptions, Options, Translator, translate};
use tonic::transport::Endpoint;

const DEPTH: usize = 10_000;

fn translator(ignore_unknown_fields: bool) -> Arc<Translator> {
    let options = Options {
        json: JsonOptions {
            ignore_unknown_fields,
            ..JsonOptions::default()
        },
        ..Options::default()
    };
    Arc::new(Translator::from_descriptor_set(DESCRIPTORS, options).unwrap())
}

/// Status and detail. Nothing listens behind the channel: what is understood becomes 503.
async fn post<B>(translator: &Arc<Translator>, body: B) -> (u16, String)
where
    B: Body<Data = Bytes, Error = Infallible> + Send + 'static,
{
    let channel = Endpoint::from_static("http://127.0.0.1:0").connect_lazy();
    let request = Request::post("/v1/all").header("content-type", "application/json");
    let answer = translate(translator, channel, request.body(body).unwrap()).await;
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
    (status, problem["detail"].as_str().unwrap().to_owned())
}

fn full(text: String) -> Full<Bytes> {
    Full::new(Bytes::from(text))
}

#[tokio::test]
async fn ten_thousand_levels() {
    let any = r#"{"@type":"type.googleapis.com/google.protobuf.Any","value":"#;
    let behind = r#","@type":"type.googleapis.com/google.protobuf.Any"}"#;
    let cases = [
        ("inner", r#"{"next":"#, "{}", "}", "levels deep"),
        ("value", "[", "", "]", "levels deep"),
        ("value", r#"{"a":"#, "1", "}", "levels deep"),
        ("value", r#"[{"a":"#, "1", "}]", "levels deep"),
        ("object", r#"{"a":"#, "1", "}", "levels deep"),
        ("list", "[", "", "]", "levels deep"),
        ("any", any, "{}", "}", "more than `8` messages"),
        (
            "any",
            r#"{"value":"#,
            "{}",
            behind,
            "more than `8` messages",
        ),
        ("inner", r#"{"next":"#, "", "", "levels deep"),
    ];
    let translator = translator(false);
    for (field, open, middle, close, expected) in cases {
        let (open, close) = (open.repeat(DEPTH), close.repeat(DEPTH));
        let body = format!(r#"{{"{field}":{open}{middle}{close}}}"#);
        let (status, detail) = post(&translator, full(body)).await;
        assert_eq!(status, 400, "{field} {detail}");
        assert!(detail.contains(expected), "{field}: {detail}");
    }
}

#[tokio::test]
async fn what_is_ignored_may_be_deep() {
    let nested = format!("{}{}", "[".repeat(DEPTH), "]".repeat(DEPTH));
    let body = format!(r#"{{"nope":{nested}}}"#);
    let (status, detail) = post(&translator(true), full(body)).await;
    assert_eq!(status, 503, "{detail}");
}

#[tokio::test]
async fn levels_up_to_the_bound_are_read() {
    for (levels, expected) in [(99, 503), (100, 400)] {
        let nested = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        let body = format!(r#"{{"value":{nested}}}"#);
        let (status, detail) = post(&translator(false), full(body)).await;
        assert_eq!(status, expected, "{levels}: {detail}");
    }
}

#[tokio::test]
async fn wide_documents_cost_no_more_than_their_length() {
    let members: String = (0..40_000).map(|at| format!("\"k{at}\":1,")).collect();
    let body = format!(r#"{{"object":{{{members}"k0":1}}}}"#);
    let (status, detail) = post(&translator(false), full(body)).await;
    assert_eq!(status, 400);
    assert!(
        detail.contains(r#"`object["k0"]`: is given twice"#),
        "{detail}"
    );

    let digits = "9".repeat(500_000);
    for number in [
        digits.clone(),
        format!("1e{digits}"),
        format!("\"{digits}\""),
    ] {
        let (status, detail) =
            post(&translator(false), full(format!(r#"{{"i64":{number}}}"#))).await;
        assert_eq!(status, 400);
        assert!(
            detail.contains("`i64`: is not a 64-bit integer"),
            "{detail}"
        );
    }
}

/// Spaces without end, as fast as they are taken.
struct Spaces {
    left: usize,
    taken: Arc<AtomicUsize>,
}

impl Body for Spaces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        const PIECE: &[u8] = &[b' '; 16 * 1024];
        let Some(left) = self.left.checked_sub(PIECE.len()) else {
            return Poll::Ready(None);
        };
        self.left = left;
        self.taken.fetch_add(PIECE.len(), Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(PIECE)))))
    }
}

#[tokio::test]
async fn a_hundred_megabytes_of_nothing() {
    let taken = Arc::new(AtomicUsize::new(0));
    let body = Spaces {
        left: 100 * 1024 * 1024,
        taken: taken.clone(),
    };
    let (status, _) = post(&translator(false), body).await;
    assert_eq!(status, 413);
    // As much as a message may have, and as much as is read to answer at all.
    let taken = taken.load(Ordering::Relaxed);
    assert!(taken <= 2 * 1024 * 1024 + 64 * 1024, "{taken}");
}
