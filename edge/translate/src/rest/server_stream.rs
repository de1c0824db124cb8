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
    if unary::is_bare(status) {
        return Ok(unary::respond(status, headers, Bytes::new()));
    }
    describe(&mut headers, format);
    let opening = match format {
        Format::Events => events::opening(&options.sse),
        Format::Array | Format::Lines(_) => None,
    };
    let mut response = Response::new(
        Stream {
            call,
            first,
            writer: Writer::new(binding, format, options),
            opening,
            silence: None,
            request_id,
            broken: None,
            is_over: false,
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
    opening: Option<Bytes>,
    /// Since nothing came; there is none while messages do.
    silence: Option<Pin<Box<Sleep>>>,
    request_id: Option<HeaderValue>,
    /// What breaks the answer off, once all that was written before is on its way.
    broken: Option<StdError>,
    is_over: bool,
}

impl Stream {
    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Result<Step, Rejection>> {
        match self.first.take() {
            Some(step) => Poll::Ready(Ok(step)),
            None => self.call.poll_next(cx),
        }
    }

    /// `None` where the answer breaks off.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            let piece = match self.poll_step(cx) {
                Poll::Pending => return self.poll_heartbeat(cx).map(Some),
                Poll::Ready(Ok(Step::Head(_))) => continue,
                Poll::Ready(Ok(Step::Message(frame))) => {
                    self.silence = None;
                    self.writer.message(frame)
                }
                Poll::Ready(Ok(Step::End)) => {
                    self.is_over = true;
                    Ok(self.writer.end())
                }
                Poll::Ready(Err(rejection)) => Err(rejection),
            };
            return Poll::Ready(match piece {
                Ok(piece) => Some(piece),
                Err(rejection) => self.failed(&rejection),
            });
        }
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

    /// The last piece. An array has none: nothing but the broken connection can tell.
    fn failed(&mut self, rejection: &Rejection) -> Option<Bytes> {
        let request_id = self.request_id.as_ref();
        let problem = rejection.problem(request_id.and_then(|id| id.to_str().ok()));
        let told = self.writer.failure(&problem);
        self.is_over = told.is_some();
        if told.is_none() {
            self.broken = Some("the stream failed within its array".into());
        }
        told
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
        if this.is_over {
            return Poll::Ready(None);
        }
        if let Some(opening) = this.opening.take() {
            return Poll::Ready(Some(Ok(Frame::data(opening))));
        }
        if let Some(broken) = this.broken.take() {
            this.is_over = true;
            return Poll::Ready(Some(Err(broken)));
        }
        let piece = match this.poll_piece(cx) {
            Poll::Ready(Some(piece)) => piece,
            Poll::Ready(None) => {
                // With an error the server drops what it has not written yet, the head with it.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Pending => return Poll::Pending,
        };
        Poll::Ready(Some(Ok(Frame::data(piece))))
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

    fn message(&mut self, frame: framing::Frame) -> Result<Bytes, Rejection> {
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
                json.into()
            }
            Format::Events => self.events.message(&message, &json).into(),
            Format::Array => {
                let before: &[u8] = if self.is_empty { b"[" } else { b",\n" };
                self.is_empty = false;
                [before, &json].concat().into()
            }
        })
    }

    fn end(&self) -> Bytes {
        Bytes::from_static(match self.format {
            Format::Lines(_) => b"",
            Format::Events => events::END,
            Format::Array if self.is_empty => b"[]\n",
            Format::Array => b"]\n",
        })
    }

    /// What tells the client of a problem.
    fn failure(&self, problem: &[u8]) -> Option<Bytes> {
        match self.format {
            Format::Lines(_) => Some([b"{\"error\":", problem, b"}\n"].concat().into()),
            Format::Events => Some(events::error(problem).into()),
            Format::Array => None,
        }
    }
}
