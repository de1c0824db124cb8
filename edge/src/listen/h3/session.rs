//! The session as Pingora's hidden trait wants it: the only user of that trait.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{BufMut, Bytes, BytesMut};
use futures::Stream;
use h3::error::Code;
use http::HeaderMap;
use http::header::HOST;
use pingora_core::protocols::Digest;
use pingora_core::protocols::http::HttpTask;
use pingora_core::protocols::http::body_buffer::FixedBuffer;
use pingora_core::protocols::http::custom::CustomMessageWrite;
use pingora_core::protocols::http::custom::server::Session;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_error::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};

use super::{H3Session, RETRY_BUFFER_BYTES, with_timeout};

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
            ended |= self.send_task(task).await?;
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
            let timeout = self.timeouts.write;
            with_timeout(timeout, self.stream.send_data(Bytes::new())).await?;
            self.tasks.unflushed = false;
        }
        let mut ended = false;
        while let Some(task) = self.tasks.queue.pop_front() {
            self.tasks.unflushed = true;
            ended |= self.send_task(task).await?;
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
