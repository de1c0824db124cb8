//! How the origin answers: the first segment of the path names the behaviour.

use std::io;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, VARY};
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use serde_json::json;

use super::pattern::{CHUNK, Checker, piece};
use super::{Seen, State};

pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Bytes sent before a gated, stalled or cut body stops.
pub(crate) const FIRST: u64 = CHUNK as u64;

/// Counts an answer that is dropped before its end.
struct Unfinished {
    state: Arc<State>,
    finished: bool,
}

impl Unfinished {
    fn new(state: &Arc<State>) -> Self {
        Self {
            state: state.clone(),
            finished: false,
        }
    }

    fn finish(&mut self) {
        self.finished = true;
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.finished {
            self.state.note(|record| record.responses_aborted += 1);
        }
    }
}

/// What comes after the first piece of a body.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    TheRest,
    /// The rest once the gate is open.
    Gate,
    Nothing,
    /// The connection breaks.
    Cut,
}

pub(crate) async fn answer(request: Request<Incoming>, state: Arc<State>) -> Response<Body> {
    let target = request
        .uri()
        .path_and_query()
        .map_or("", |target| target.as_str())
        .to_owned();
    state.note(|record| {
        record.requests.push(Seen {
            method: request.method().to_string(),
            target: target.clone(),
            authority: request.uri().authority().map(ToString::to_string),
            version: request.version(),
            headers: request.headers().clone(),
        });
    });
    let path = request.uri().path().to_owned();
    let mut words = path.split('/').skip(1);
    let (behaviour, argument) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let number = argument.parse::<u64>().unwrap_or(0);
    match behaviour {
        "count" => count(request, &state).await,
        "count-switch" => {
            let counted = count(request, &state).await;
            match *state.switch.lock().unwrap_or_else(PoisonError::into_inner) {
                200 => counted,
                code => status(code),
            }
        }
        "count-gated" => {
            state.gate_open().await;
            count(request, &state).await
        }
        "bytes" => patterned(&state, number, true, Then::TheRest),
        "chunked" => patterned(&state, number, false, Then::TheRest),
        "gated" => patterned(&state, number, true, Then::Gate),
        "gated-chunked" => patterned(&state, number, false, Then::Gate),
        "stall" => patterned(&state, 10 * FIRST, true, Then::Nothing),
        "cut" => patterned(&state, 10 * FIRST, argument == "length", Then::Cut),
        "hang" => {
            let _unfinished = Unfinished::new(&state);
            std::future::pending().await
        }
        "status" => status(argument.parse().unwrap_or(500)),
        "switch" => status(*state.switch.lock().unwrap_or_else(PoisonError::into_inner)),
        "fresh" => fresh(full(target.into_bytes())),
        "fresh-for-pages" => fresh(for_pages(target)),
        "fresh-for-client" => fresh_for_client(&request),
        "fresh-gated" => {
            state.gate_open().await;
            fresh(full(target.into_bytes()))
        }
        "fresh-bytes" => fresh(patterned(&state, number, true, Then::TheRest)),
        _ => echo(request, &state).await,
    }
}

fn full(body: impl Into<Bytes>) -> Response<Body> {
    Response::new(
        Full::new(body.into())
            .map_err(|never| match never {})
            .boxed_unsync(),
    )
}

fn status(code: u16) -> Response<Body> {
    let mut response = full("");
    *response.status_mut() = StatusCode::from_u16(code).expect("a status");
    response
}

fn fresh(mut response: Response<Body>) -> Response<Body> {
    response
        .headers_mut()
        .insert(CACHE_CONTROL, "max-age=600".parse().expect("a value"));
    response
}

/// For pages of an origin of its own choice.
fn for_pages(target: String) -> Response<Body> {
    let mut response = full(target.into_bytes());
    for (name, value) in [
        (
            "access-control-allow-origin",
            "https://chosen-by-upstream.test",
        ),
        ("access-control-allow-credentials", "true"),
        ("access-control-expose-headers", "x-secret"),
        ("vary", "accept-encoding"),
    ] {
        let value = value.parse().expect("a value");
        response.headers_mut().insert(name, value);
    }
    response
}

/// The client's certificate, as the edge told it.
fn fresh_for_client(request: &Request<Incoming>) -> Response<Body> {
    let certificate = request.headers().get("client-cert");
    let certificate = certificate.map_or(&b"nobody"[..], |value| value.as_bytes());
    let mut response = fresh(full(certificate.to_vec()));
    let vary = "client-cert".parse().expect("a value");
    response.headers_mut().insert(VARY, vary);
    response
}

/// Method, target, fields and body of the request, as JSON.
async fn echo(request: Request<Incoming>, state: &State) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => {
            state.note(|record| record.uploads_broken += 1);
            return status(400);
        }
    };
    state.note(|record| record.uploads_complete += 1);
    let headers: Vec<_> = parts
        .headers
        .iter()
        .map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]))
        .collect();
    let text = json!({
        "method": parts.method.as_str(),
        "target": parts.uri.path_and_query().map(|target| target.as_str()),
        "headers": headers,
        "body": String::from_utf8_lossy(&body),
    });
    let mut response = full(text.to_string());
    response
        .headers_mut()
        .insert(CONTENT_TYPE, "application/json".parse().expect("a value"));
    response
}

/// Reads the body and says how long it was, and whether it was the pattern.
async fn count(request: Request<Incoming>, state: &State) -> Response<Body> {
    let mut body = request.into_body();
    let mut checker = Checker::default();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            state.note(|record| record.uploads_broken += 1);
            return status(400);
        };
        if let Some(data) = frame.data_ref() {
            checker.feed(data);
            state.note(|record| record.upload_bytes += data.len() as u64);
        }
    }
    state.note(|record| record.uploads_complete += 1);
    full(json!({ "bytes": checker.bytes, "intact": checker.is_intact() }).to_string())
}

/// `length` bytes of the pattern; `declared` in content-length or not at all.
fn patterned(state: &Arc<State>, length: u64, declared: bool, then: Then) -> Response<Body> {
    let body = StreamBody::new(pieces(state.clone(), length, then));
    let mut response = Response::new(BodyExt::boxed_unsync(body));
    if declared {
        response.headers_mut().insert(CONTENT_LENGTH, length.into());
    }
    response
}

fn pieces(
    state: Arc<State>,
    length: u64,
    then: Then,
) -> BoxStream<'static, io::Result<Frame<Bytes>>> {
    let unfinished = Unfinished::new(&state);
    let start = (0_u64, unfinished, state);
    stream::unfold(start, move |(sent, mut unfinished, state)| async move {
        if sent >= FIRST {
            match then {
                Then::TheRest => {}
                Then::Gate => state.gate_open().await,
                Then::Nothing => std::future::pending().await,
                Then::Cut => {
                    unfinished.finish();
                    // hyper flushes between frames only when asked to wait.
                    tokio::task::yield_now().await;
                    return Some((
                        Err(io::Error::other("cut on purpose")),
                        (sent, unfinished, state),
                    ));
                }
            }
        }
        if sent >= length {
            unfinished.finish();
            return None;
        }
        let data = piece(
            sent,
            CHUNK.min(usize::try_from(length - sent).unwrap_or(CHUNK)),
        );
        let sent = sent + data.len() as u64;
        unfinished.finished = sent >= length;
        Some((Ok(Frame::data(data)), (sent, unfinished, state)))
    })
    .boxed()
}
