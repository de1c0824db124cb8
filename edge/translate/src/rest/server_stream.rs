//! Many messages back: lines, events or an array, written as they come.
//!
//! Invariant: what was cut off never looks whole. A failure behind the first byte is the last line
//! or event; an array is broken off without its bracket. Messages are read when there is room to
//! write them.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, VARY};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response};
use http_body::{Body as HttpBody, Frame};
use http_body_util::BodyExt;
use tokio::time::{Sleep, sleep};
use tonic::body::Body;
use tonic::codegen::StdError;

use super::accept::Format;
use super::call::{Call, Step};
use super::client_stream::Verdict;
use super::events::{self, Events};
use super::unary;
use crate::framing;
use crate::metadata;
use crate::options::Options;
use crate::rules::binding::Binding;
use crate::server::{self, ResponseBody};
use crate::status::failure::reject;
use crate::status::problem::Rejection;
use crate::translator::Translator;
use crate::upstream::{self, Upstream};

/// How long a client waits for its head once the service has sent its own: a service that refuses
/// does so at once, and then the status is that of the refusal.
const QUIET_MAX: Duration = Duration::from_secs(1);

/// Messages that are there are written together until they are this long, in bytes: a piece costs
/// the edge as much as a message, and both directions of a conversation get a piece in turn.
const PIECE_BYTES: usize = 64 * 1024;

/// Calls the RPC and answers with its first message, its failure, or, where the service is quiet,
/// with the promise of a stream.
pub(super) async fn answer<S: Upstream>(
    translator: &Translator,
    binding: Arc<Binding>,
    service: S,
    head: Parts,
    (sent, verdict): (Body, Verdict),
) -> Result<Response<ResponseBody>, Rejection> {
    let format = Format::chosen(&head.headers)?;
    let mut options = translator.options().clone();
    // A line is a message, and data is one line.
    options.json.is_indented = false;
    let request_id = server::request_id(&head.headers);
    let metadata = metadata::request(head.headers);
    let bytes_max = options.response_message_bytes_max;
    let rpc = Arc::clone(&binding.rpc);
    let mut call = Call::begin(service, rpc, metadata, sent, verdict, bytes_max);
    let (initial, first) = begin(&mut call, format, options.sse.heartbeat).await?;
    let (status, mut headers) = metadata::response(initial);
    if unary::is_bodiless(status) {
        return Ok(unary::respond(status, headers, Bytes::new()));
    }
    describe(&mut headers, format);
    let opening = match format {
        Format::Events => events::opening(&options.sse),
        Format::Array | Format::Lines(_) => Vec::new(),
    };
    let mut response = Response::new(
        Stream {
            call,
            first,
            writer: Writer::new(binding, format, options),
            opening,
            silence: None,
            request_id,
            state: State::Open,
        }
        .boxed_unsync(),
    );
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(response)
}

/// Waits for what decides the status. Nobody waits for an array's first byte but for its first
/// message; the others are told that the stream is open when nothing is said in it: a browser
/// gives up a stream of events without a head.
async fn begin(
    call: &mut Call,
    format: Format,
    heartbeat: Duration,
) -> Result<(HeaderMap, Option<Step>), Rejection> {
    let mut initial = HeaderMap::new();
    let mut patience = std::pin::pin!(sleep(heartbeat));
    loop {
        tokio::select! {
            biased;
            step = call.next() => match step? {
                Step::Head(metadata) => {
                    initial = metadata;
                    patience.set(sleep(QUIET_MAX.min(heartbeat)));
                }
                first => return Ok((initial, Some(first))),
            },
            () = &mut patience, if format != Format::Array => return Ok((initial, None)),
        }
    }
}

fn describe(headers: &mut HeaderMap, format: Format) {
    headers.insert(CONTENT_TYPE, format.into());
    headers.append(VARY, HeaderValue::from_static("accept"));
    // A stream may have no end; only the service knows of one that may be kept.
    let no_store = HeaderValue::from_static("no-store");
    if format == Format::Events {
        headers.insert(CACHE_CONTROL, no_store);
        // nginx and those like it would hold events back until a buffer is full.
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    } else if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, no_store);
    }
}

/// The body of the answer.
struct Stream {
    call: Call,
    first: Option<Step>,
    writer: Writer,
    /// There until it was written.
    opening: Vec<u8>,
    /// Since nothing came; there is none while messages do.
    silence: Option<Pin<Box<Sleep>>>,
    request_id: Option<HeaderValue>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// What was written is to be on its way first: with an error the server drops what it holds,
    /// the head with it.
    Breaking,
    Broken,
    Over,
}

impl Stream {
    /// Of the messages that are there as many as a piece takes.
    fn poll_messages(&mut self, cx: &mut Context<'_>) -> Vec<u8> {
        let mut written = std::mem::take(&mut self.opening);
        while self.state == State::Open && written.len() < PIECE_BYTES {
            let Poll::Ready(step) = self.poll_step(cx) else {
                break;
            };
            self.silence = None;
            let piece = match step {
                Ok(Step::Head(_)) => continue,
                Ok(Step::Message(frame)) => self.writer.message(frame),
                Ok(Step::End) => {
                    self.state = State::Over;
                    Ok(self.writer.end().to_vec())
                }
                Err(rejection) => Err(rejection),
            };
            let piece = piece.unwrap_or_else(|rejection| self.failed(&rejection));
            if written.is_empty() {
                written = piece;
            } else {
                written.extend_from_slice(&piece);
            }
        }
        written
    }

    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Result<Step, Rejection>> {
        match self.first.take() {
            Some(step) => Poll::Ready(Ok(step)),
            None => self.call.poll_next(cx),
        }
    }

    /// The last piece. An array has none: nothing but the broken connection can tell.
    fn failed(&mut self, rejection: &Rejection) -> Vec<u8> {
        let request_id = self.request_id.as_ref();
        let problem = rejection.problem(request_id.and_then(|id| id.to_str().ok()));
        let told = self.writer.failure(&problem);
        self.state = match told {
            Some(_) => State::Over,
            None => State::Breaking,
        };
        told.unwrap_or_default()
    }

    fn poll_heartbeat(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        if self.writer.format != Format::Events {
            return Poll::Pending;
        }
        let heartbeat = self.writer.options.sse.heartbeat;
        let silence = self
            .silence
            .get_or_insert_with(|| Box::pin(sleep(heartbeat)));
        ready!(silence.as_mut().poll(cx));
        self.silence = None;
        Poll::Ready(Bytes::from_static(events::COMMENT))
    }
}

impl HttpBody for Stream {
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StdError>>> {
        let this = self.get_mut();
        let written = this.poll_messages(cx);
        if !written.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(written.into()))));
        }
        match this.state {
            State::Open => this
                .poll_heartbeat(cx)
                .map(|comment| Some(Ok(Frame::data(comment)))),
            State::Breaking => {
                this.state = State::Broken;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            State::Broken => {
                this.state = State::Over;
                Poll::Ready(Some(Err("the stream failed within its array".into())))
            }
            State::Over => Poll::Ready(None),
        }
    }
}

/// Messages in the format that the client has chosen.
struct Writer {
    binding: Arc<Binding>,
    format: Format,
    options: Options,
    events: Events,
    /// Elements of the array so far are none.
    is_empty: bool,
}

impl Writer {
    fn new(binding: Arc<Binding>, format: Format, options: Options) -> Self {
        Self {
            events: Events::new(&binding.rpc.output, &options.sse),
            binding,
            format,
            options,
            is_empty: true,
        }
    }

    fn message(&mut self, frame: framing::Frame) -> Result<Vec<u8>, Rejection> {
        let rpc = &*self.binding.rpc;
        // JSON with its names is about twice its message.
        let size_hint = frame.bytes.len().saturating_mul(2);
        let message =
            upstream::decode(&rpc.output, frame).map_err(|failure| reject(rpc, failure))?;
        let mut json = self
            .binding
            .response
            .to_json(&message, size_hint, &self.options)
            .map_err(|error| unary::unusable(rpc, &error))?;
        Ok(match self.format {
            Format::Lines(_) => {
                json.push(b'\n');
                json
            }
            Format::Events => self.events.message(&message, &json),
            Format::Array => {
                let before: &[u8] = if self.is_empty { b"[" } else { b",\n" };
                self.is_empty = false;
                [before, &json].concat()
            }
        })
    }

    fn end(&self) -> &'static [u8] {
        match self.format {
            Format::Lines(_) => b"",
            Format::Events => events::END,
            Format::Array if self.is_empty => b"[]\n",
            Format::Array => b"]\n",
        }
    }

    /// What tells the client of a problem.
    fn failure(&self, problem: &[u8]) -> Option<Vec<u8>> {
        match self.format {
            Format::Lines(_) => Some([b"{\"error\":", problem, b"}\n"].concat()),
            Format::Events => Some(events::error(problem)),
            Format::Array => None,
        }
    }
}
