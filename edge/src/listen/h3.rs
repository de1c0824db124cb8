//! One HTTP/3 request stream as Pingora's custom session.
//!
//! The only user of Pingora's hidden custom-session trait. It presents the request as
//! HTTP/2 with a `host` field, because Pingora synthesises neither for HTTP/3 and would
//! refuse to write it upstream. Invariant: a response that was not finished is reset, never
//! ended, so a client can always tell a cut answer from a whole one.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::Stream;
use h3::error::Code;
use http::header::{CONTENT_LENGTH, HOST};
use http::{HeaderMap, HeaderValue, Method, Request, Version};
use pingora_core::protocols::Digest;
use pingora_core::protocols::http::HttpTask;
use pingora_core::protocols::http::body_buffer::FixedBuffer;
use pingora_core::protocols::http::custom::CustomMessageWrite;
use pingora_core::protocols::http::custom::server::Session;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::protocols::tls::SslDigest;
use pingora_core::protocols::{SocketDigest, http::date::get_cached_date};
use pingora_error::{Error, ErrorType, OrErr, Result};
use pingora_http::{RequestHeader, ResponseHeader};

use super::connection::Connection;
use super::quinn_adapter::{BidiStream, Stopped};

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
        stream: RequestStream,
        stopped: Stopped,
        connection: Arc<Connection>,
    ) -> Result<Self> {
        let mut this = Self {
            body: RequestBody {
                expected: content_length(request.headers())?,
                read: 0,
                done: false,
                ahead: None,
                retry_buffer: None,
            },
            request: request_header(request)?,
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

fn content_length(headers: &HeaderMap) -> Result<Option<u64>> {
    let mut length = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        // Digits only: `parse` alone would take a sign (RFC 9110, 8.6).
        let text = value.to_str().unwrap_or("");
        let number = text
            .bytes()
            .all(|b| b.is_ascii_digit())
            .then(|| text.parse::<u64>().ok())
            .flatten();
        match (number, length) {
            (Some(number), None) => length = Some(number),
            (Some(number), Some(other)) if number == other => {}
            _ => return Error::e_explain(ErrorType::InvalidHTTPHeader, "bad content-length"),
        }
    }
    Ok(length)
}

/// As Pingora wants to see it: version 2, and `host` from `:authority`.
fn request_header(request: Request<()>) -> Result<RequestHeader> {
    let (mut parts, ()) = request.into_parts();
    parts.version = Version::HTTP_2;
    let authority = parts
        .uri
        .authority()
        .map(|authority| authority.as_str().to_owned());
    if parts.headers.get_all(HOST).iter().count() > 1 {
        return Error::e_explain(ErrorType::InvalidHTTPHeader, "more than one host field");
    }
    match (authority, parts.headers.get(HOST)) {
        (Some(authority), Some(host)) if host.as_bytes() != authority.as_bytes() => {
            return Error::e_explain(ErrorType::InvalidHTTPHeader, "host differs from :authority");
        }
        (Some(authority), None) => {
            let host = HeaderValue::from_str(&authority)
                .or_err(ErrorType::InvalidHTTPHeader, "bad :authority")?;
            parts.headers.insert(HOST, host);
        }
        (None, None) => return Error::e_explain(ErrorType::InvalidHTTPHeader, "no :authority"),
        _ => {}
    }
    Ok(parts.into())
}

fn digest(connection: &Arc<Connection>) -> Digest {
    // There is no socket of this connection alone: the addresses are set, the descriptor is none.
    let socket = SocketDigest::from_raw_fd(-1);
    let _ = socket
        .peer_addr
        .set(Some(SocketAddr::Inet(connection.client)));
    let _ = socket
        .local_addr
        .set(Some(SocketAddr::Inet(connection.local)));
    Digest {
        ssl_digest: Some(Arc::new(SslDigest::new(
            "quic",
            "TLSv1.3",
            None,
            None,
            Vec::new(),
        ))),
        timing_digest: Vec::new(),
        proxy_digest: Some(connection.clone().into_digest()),
        socket_digest: Some(Arc::new(socket)),
    }
}

#[async_trait]
impl Session for H3Session {
    fn req_header(&self) -> &RequestHeader {
        &self.request
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        &mut self.request
    }

    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        if let Some(ahead) = self.body.ahead.take() {
            return Ok(Some(ahead));
        }
        let timeout = self.timeouts.read;
        match timeout {
            None => self.receive().await,
            Some(limit) => match tokio::time::timeout(limit, self.receive()).await {
                Ok(read) => read,
                Err(_) => Err(Error::explain(
                    ErrorType::ReadTimedout,
                    "h3 client sends too slowly",
                )
                .into_down()),
            },
        }
    }

    async fn drain_request_body(&mut self) -> Result<()> {
        // A stream of its own: nothing after this body could be mistaken for a request.
        if !self.fully_read() {
            self.stream.stop_sending(Code::H3_NO_ERROR);
            self.body.done = true;
            self.body.ahead = None;
        }
        Ok(())
    }

    async fn write_response_header(&mut self, resp: Box<ResponseHeader>, end: bool) -> Result<()> {
        self.send_header(resp, end).await
    }

    async fn write_response_header_ref(&mut self, resp: &ResponseHeader, end: bool) -> Result<()> {
        self.send_header(Box::new(resp.clone()), end).await
    }

    async fn write_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        self.send_body(data, end).await
    }

    async fn write_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        self.send_trailers(trailers).await
    }

    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        let mut ended = false;
        for task in tasks {
            ended |= self
                .send_task(task)
                .await
                .map_err(|error| error.into_down())?;
        }
        if ended {
            self.end().await?;
        }
        Ok(ended)
    }

    fn proxy_tasks_enabled(&self) -> bool {
        self.tasks.enabled
    }

    fn set_proxy_tasks_enabled(&mut self, enabled: bool) {
        self.tasks.enabled = enabled;
    }

    fn send_proxy_task(&mut self, task: HttpTask) {
        self.tasks.queue.push_back(task);
    }

    fn has_pending_proxy_tasks(&self) -> bool {
        self.tasks.unflushed || !self.tasks.queue.is_empty()
    }

    async fn write_proxy_tasks(&mut self) -> Result<bool> {
        if self.tasks.unflushed {
            // The transport's queue goes out ahead of this empty DATA frame.
            self.stream
                .send_data(Bytes::new())
                .await
                .or_err(ErrorType::WriteError, "while writing h3 response")
                .map_err(|error| error.into_down())?;
            self.tasks.unflushed = false;
        }
        let mut ended = false;
        while let Some(task) = self.tasks.queue.pop_front() {
            self.tasks.unflushed = true;
            ended |= self
                .send_task(task)
                .await
                .map_err(|error| error.into_down())?;
            self.tasks.unflushed = false;
        }
        if ended {
            self.end().await?;
        }
        Ok(ended)
    }

    fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        self.timeouts.read = timeout;
    }

    fn get_read_timeout(&self) -> Option<Duration> {
        self.timeouts.read
    }

    fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        self.timeouts.write = timeout;
    }

    fn get_write_timeout(&self) -> Option<Duration> {
        self.timeouts.write
    }

    fn set_total_drain_timeout(&mut self, timeout: Option<Duration>) {
        self.timeouts.drain = timeout;
    }

    fn get_total_drain_timeout(&self) -> Option<Duration> {
        self.timeouts.drain
    }

    fn request_summary(&self) -> String {
        let host = self
            .request
            .headers
            .get(HOST)
            .map(|host| String::from_utf8_lossy(host.as_bytes()));
        format!(
            "{} {}, Host: {}",
            self.request.method,
            self.request.uri.path(),
            host.unwrap_or_default()
        )
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        self.response.written.as_deref()
    }

    async fn shutdown(&mut self, _code: u32, ctx: &str) {
        self.abandon(ctx).await;
    }

    async fn abandon(&mut self, _ctx: &str) {
        if !self.response.ended {
            self.reset(Code::H3_INTERNAL_ERROR);
        }
    }

    fn is_body_done(&mut self) -> bool {
        self.fully_read()
    }

    async fn finish(&mut self) -> Result<()> {
        // Nothing was answered: dropping the session resets the stream.
        if self.response.written.is_none() {
            return Ok(());
        }
        self.end().await
    }

    fn is_body_empty(&mut self) -> bool {
        self.fully_read() && self.body.read == 0
    }

    async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        if let Some(ahead) = self.body.ahead.take() {
            return Ok(Some(ahead));
        }
        let idle = no_body_expected || self.fully_read();
        poll_fn(|cx| {
            if let Poll::Ready(error) = self.poll_client_gone(cx) {
                return Poll::Ready(Err(error));
            }
            if idle {
                Poll::Pending
            } else {
                self.poll_receive(cx)
            }
        })
        .await
    }

    fn body_bytes_sent(&self) -> usize {
        self.response.body_sent
    }

    fn body_bytes_read(&self) -> usize {
        usize::try_from(self.body.read).unwrap_or(usize::MAX)
    }

    fn digest(&self) -> Option<&Digest> {
        Some(&self.digest)
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        Some(&mut self.digest)
    }

    fn client_addr(&self) -> Option<&SocketAddr> {
        self.digest
            .socket_digest
            .as_ref()
            .and_then(|digest| digest.peer_addr())
    }

    fn server_addr(&self) -> Option<&SocketAddr> {
        self.digest
            .socket_digest
            .as_ref()
            .and_then(|digest| digest.local_addr())
    }

    fn pseudo_raw_h1_request_header(&self) -> Bytes {
        // Pingora parses this again for its own background requests, as HTTP/1.1 only.
        let target = self
            .request
            .uri
            .path_and_query()
            .map_or("/", |target| target.as_str());
        let mut raw = BytesMut::with_capacity(512);
        raw.put_slice(self.request.method.as_str().as_bytes());
        raw.put_u8(b' ');
        raw.put_slice(target.as_bytes());
        raw.put_slice(b" HTTP/1.1\r\n");
        for (name, value) in &self.request.headers {
            raw.put_slice(name.as_str().as_bytes());
            raw.put_slice(b": ");
            raw.put_slice(value.as_bytes());
            raw.put_slice(b"\r\n");
        }
        raw.put_slice(b"\r\n");
        raw.freeze()
    }

    fn enable_retry_buffering(&mut self) {
        let buffer = self
            .body
            .retry_buffer
            .get_or_insert_with(|| FixedBuffer::new(RETRY_BUFFER_BYTES));
        if let Some(ahead) = &self.body.ahead {
            buffer.write_to_buffer(ahead);
        }
    }

    fn retry_buffer_truncated(&self) -> bool {
        self.body
            .retry_buffer
            .as_ref()
            .is_some_and(FixedBuffer::is_truncated)
    }

    fn get_retry_buffer(&self) -> Option<Bytes> {
        let buffer = self
            .body
            .retry_buffer
            .as_ref()
            .filter(|buffer| !buffer.is_truncated())?;
        buffer.get_buffer()
    }

    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_reader(
        &mut self,
    ) -> Option<Box<dyn Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>> {
        None
    }

    fn restore_custom_message_reader(
        &mut self,
        _reader: Box<dyn Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>,
    ) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        None
    }

    fn restore_custom_message_writer(
        &mut self,
        _writer: Box<dyn CustomMessageWrite>,
    ) -> Result<()> {
        Ok(())
    }
}
