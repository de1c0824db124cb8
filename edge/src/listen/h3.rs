//! One HTTP/3 request stream as Pingora's custom session.
//!
//! It presents the request as
//! HTTP/2 with a `host` field, because Pingora synthesises neither for HTTP/3 and would
//! refuse to write it upstream. Invariant: a response that was not finished is reset, never
//! ended, so a client can always tell a cut answer from a whole one.

pub(super) mod conduct;
mod field_section;
mod frame_filter;
mod frame_rules;
mod head;
mod protocol_field;
pub(super) mod quinn_adapter;
pub(super) mod quinn_errors;
mod session;
pub(super) mod stream_signals;
mod uni_streams;

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use h3::error::Code;
use http::{HeaderMap, Method, Request};
use pingora_core::protocols::Digest;
use pingora_core::protocols::http::HttpTask;
use pingora_core::protocols::http::body_buffer::FixedBuffer;
use pingora_core::protocols::http::date::get_cached_date;
use pingora_error::{Error, ErrorType, OrErr, Result};
use pingora_http::{RequestHeader, ResponseHeader};

use self::head::{digest, well_formed};
use self::quinn_adapter::BidiStream;
use self::stream_signals::Stopped;
use super::connection::Connection;
use super::extended_connect::is_extended_connect;

/// Request bytes kept for another try at another endpoint; as Pingora does for h1 and h2.
const RETRY_BUFFER_BYTES: usize = 64 * 1024;
/// How long to wait for the FIN of a request without a body: HEADERS do not say whether one
/// follows, and without it every GET would go upstream as `transfer-encoding: chunked`.
const FIN_LOOKAHEAD: Duration = Duration::from_millis(200);

type RequestStream = h3::server::RequestStream<BidiStream, Bytes>;

/// A request and the stream it came on.
pub(super) struct H3Session {
    request: RequestHeader,
    stream: RequestStream,
    client_gone: ClientGone,
    body: RequestBody,
    response: Response,
    digest: Digest,
    timeouts: Timeouts,
    tasks: Tasks,
}

/// Resolves once, then stays resolved.
struct ClientGone {
    stopped: Stopped,
    cause: Option<&'static str>,
}

struct RequestBody {
    /// From `content-length`.
    expected: Option<u64>,
    read: u64,
    done: bool,
    /// Read while looking whether there is a body at all.
    ahead: Option<Bytes>,
    retry_buffer: Option<FixedBuffer>,
}

#[derive(Default)]
struct Response {
    written: Option<Box<ResponseHeader>>,
    body_sent: usize,
    ended: bool,
}

#[derive(Default)]
struct Timeouts {
    read: Option<Duration>,
    write: Option<Duration>,
    drain: Option<Duration>,
}

/// Pingora's cancel-safe way of writing: a slow client must not hold up a cache fill.
#[derive(Default)]
struct Tasks {
    enabled: bool,
    queue: VecDeque<HttpTask>,
    /// A write was cancelled: its bytes wait in the transport's queue.
    unflushed: bool,
}

impl H3Session {
    /// Check and convert the head; look ahead for the end of a request without a body.
    pub(super) async fn new(
        request: Request<()>,
        mut stream: RequestStream,
        stopped: Stopped,
        connection: Arc<Connection>,
    ) -> Result<Self> {
        let (request, expected) = match well_formed(request) {
            Ok(checked) => checked,
            Err(error) => {
                // RFC 9114, 4.1.2.
                stream.stop_stream(Code::H3_MESSAGE_ERROR);
                stream.stop_sending(Code::H3_MESSAGE_ERROR);
                return Err(error);
            }
        };
        let mut this = Self {
            body: RequestBody {
                expected,
                read: 0,
                done: false,
                ahead: None,
                retry_buffer: None,
            },
            request,
            stream,
            client_gone: ClientGone {
                stopped,
                cause: None,
            },
            response: Response::default(),
            digest: digest(&connection),
            timeouts: Timeouts::default(),
            tasks: Tasks::default(),
        };
        this.look_ahead().await?;
        Ok(this)
    }

    async fn look_ahead(&mut self) -> Result<()> {
        // What an extended CONNECT sends belongs to the tunnel, and may well be sent at once.
        if is_extended_connect(&self.request) {
            return Ok(());
        }
        let method = &self.request.method;
        let usually_bodyless = [
            Method::GET,
            Method::HEAD,
            Method::OPTIONS,
            Method::DELETE,
            Method::TRACE,
        ];
        let bodyless = match self.body.expected {
            Some(length) => length == 0,
            // Never for a POST: a gRPC client streams its requests after it has read our answer.
            None => usually_bodyless.contains(method),
        };
        if !bodyless {
            return Ok(());
        }
        if let Ok(first) = tokio::time::timeout(FIN_LOOKAHEAD, self.receive()).await {
            self.body.ahead = first?;
        }
        Ok(())
    }

    /// The next piece of the body from the wire, with its length checked against the head.
    async fn receive(&mut self) -> Result<Option<Bytes>> {
        poll_fn(|cx| self.poll_receive(cx)).await
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        if self.body.done {
            return Poll::Ready(Ok(None));
        }
        let data = match self.stream.poll_recv_data(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(error)) => {
                self.body.done = true;
                return Poll::Ready(read_error("while reading h3 request body", error));
            }
            Poll::Ready(Ok(data)) => data.map(|mut data| data.copy_to_bytes(data.remaining())),
        };
        let body = &mut self.body;
        body.read += data.as_ref().map_or(0, |data| data.len() as u64);
        body.done = data.is_none();
        // RFC 9114, 4.1.2: a length that does not match makes the request malformed.
        let wrong = match body.expected {
            Some(expected) => body.read > expected || (body.done && body.read < expected),
            None => false,
        };
        if wrong {
            body.done = true;
            self.reset(Code::H3_MESSAGE_ERROR);
            return Poll::Ready(Err(Error::explain(
                ErrorType::InvalidHTTPHeader,
                "h3 request body differs from its content-length",
            )
            .into_down()));
        }
        if let (Some(buffer), Some(data)) = (body.retry_buffer.as_mut(), data.as_ref()) {
            buffer.write_to_buffer(data);
        }
        Poll::Ready(Ok(data))
    }

    /// Ends only when the client stops reading or goes away.
    fn poll_client_gone(&mut self, cx: &mut Context<'_>) -> Poll<Box<Error>> {
        let gone = &mut self.client_gone;
        if gone.cause.is_none() {
            gone.cause = match gone.stopped.as_mut().poll(cx) {
                Poll::Pending => return Poll::Pending,
                // All of the response was acknowledged: the client is still with us.
                Poll::Ready(Ok(None)) => None,
                Poll::Ready(Ok(Some(_))) => Some("client stopped the h3 stream"),
                Poll::Ready(Err(_)) => Some("h3 connection lost"),
            };
        }
        match gone.cause {
            Some(cause) => {
                Poll::Ready(Error::explain(ErrorType::ConnectionClosed, cause).into_down())
            }
            None => Poll::Pending,
        }
    }

    fn reset(&mut self, code: Code) {
        self.response.ended = true;
        self.stream.stop_stream(code);
        self.stream.stop_sending(code);
    }

    async fn send_header(&mut self, mut header: Box<ResponseHeader>, end: bool) -> Result<()> {
        if self.response.ended || self.response.written.is_some() {
            return Ok(());
        }
        let informational = header.status.is_informational();
        // Connection-specific fields have no place in HTTP/3 (RFC 9114, 4.2).
        for name in [
            "transfer-encoding",
            "connection",
            "upgrade",
            "keep-alive",
            "proxy-connection",
        ] {
            header.remove_header(name);
        }
        if !informational {
            header.insert_header(http::header::DATE, get_cached_date())?;
        }
        let response = http::Response::from_parts(header.as_owned_parts(), ());
        let timeout = self.timeouts.write;
        with_timeout(timeout, self.stream.send_response(response)).await?;
        if !informational {
            self.response.written = Some(header);
        }
        if end && !informational {
            self.end().await?;
        }
        Ok(())
    }

    async fn send_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        if self.response.ended {
            return Ok(());
        }
        if !data.is_empty() {
            let length = data.len();
            let timeout = self.timeouts.write;
            with_timeout(timeout, self.stream.send_data(data)).await?;
            self.response.body_sent += length;
        }
        if end { self.end().await } else { Ok(()) }
    }

    async fn send_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        if self.response.ended {
            return Ok(());
        }
        let timeout = self.timeouts.write;
        with_timeout(timeout, self.stream.send_trailers(trailers)).await?;
        self.end().await
    }

    async fn end(&mut self) -> Result<()> {
        if self.response.ended {
            return Ok(());
        }
        let timeout = self.timeouts.write;
        with_timeout(timeout, self.stream.finish()).await?;
        self.response.ended = true;
        Ok(())
    }

    /// Write one task; true when it was the last.
    async fn send_task(&mut self, task: HttpTask) -> Result<bool> {
        let end = match task {
            HttpTask::Header(header, end) => {
                let end = end && !header.status.is_informational();
                self.send_header(header, end).await?;
                end
            }
            HttpTask::Body(data, end) => {
                self.send_body(data.unwrap_or_default(), end).await?;
                end
            }
            HttpTask::Trailer(Some(trailers)) => {
                self.send_trailers(*trailers).await?;
                true
            }
            HttpTask::Trailer(None) | HttpTask::Done => true,
            HttpTask::UpgradedBody(..) => {
                return Error::e_explain(
                    ErrorType::InternalError,
                    "upgraded body on an h3 session",
                );
            }
            HttpTask::Failed(error) => return Err(error),
        };
        Ok(end)
    }

    fn fully_read(&self) -> bool {
        self.body.done && self.body.ahead.is_none()
    }
}

impl Drop for H3Session {
    fn drop(&mut self) {
        if !self.response.ended {
            self.stream.stop_stream(Code::H3_INTERNAL_ERROR);
        }
        if !self.body.done {
            // The answer did not need the rest of the request (RFC 9114, 4.1).
            self.stream.stop_sending(Code::H3_NO_ERROR);
        }
    }
}

async fn with_timeout<E>(
    timeout: Option<Duration>,
    write: impl Future<Output = std::result::Result<(), E>>,
) -> Result<()>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let written = match timeout {
        None => write.await,
        Some(limit) => match tokio::time::timeout(limit, write).await {
            Ok(written) => written,
            Err(_) => {
                return Err(
                    Error::explain(ErrorType::WriteTimedout, "h3 client reads too slowly")
                        .into_down(),
                );
            }
        },
    };
    written
        .or_err(ErrorType::WriteError, "while writing h3 response")
        .map_err(|e| e.into_down())
}

fn read_error<T, E>(what: &'static str, error: E) -> Result<T>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    Err(Error::because(ErrorType::ReadError, what, error).into_down())
}
