//! A WebSocket connection through the edge, over whichever protocol its client came by.
//!
//! Wraps the session of a request that asks for an upgrade and is itself one more custom session
//! of Pingora's. HTTP/1.1 gets the upstream's 101; HTTP/2 and HTTP/3 get 200 and the same bytes as
//! DATA. What ends a tunnel that both its ends leave open is enforced here, on one path: silence,
//! a deadline, the drain. The client is then sent a Close frame at the next frame boundary.

mod frames;
mod session;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, UPGRADE};
use pingora_core::protocols::http::{HttpTask, ServerSession};
use pingora_error::{Error, ErrorType, Result};
use pingora_http::ResponseHeader;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use frames::Frames;

/// How long a tunnel that is being ended may take to come to the end of a frame, and a peer to
/// answer a Close frame.
const CLOSE_GRACE: Duration = Duration::from_secs(5);

/// What ends a tunnel.
#[derive(Debug, Clone)]
pub struct Limits {
    /// For the upstream's answer.
    pub handshake_timeout: Duration,
    /// Silence in both directions together.
    pub idle: (Duration, Ending),
    /// From now on.
    pub deadline: (Duration, Ending),
    pub drain: (CancellationToken, Ending),
    pub recall: Option<(CancellationToken, Ending)>,
}

/// Why the edge ended a tunnel, as the Close frame says it (RFC 6455, 7.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending {
    pub code: u16,
    pub reason: &'static str,
}

/// Put the tunnel's session in the place of `session`, before anything was answered. What is
/// returned tells at the end why the edge ended the tunnel; it stays empty where one of its ends did.
pub fn wrap(session: &mut ServerSession, limits: Limits) -> Arc<OnceLock<&'static str>> {
    let ended_by = Arc::new(OnceLock::new());
    // Stands in for an instant; nothing of it is ever called.
    let placeholder = ServerSession::new_custom(Box::new(()));
    let mut inner = std::mem::replace(session, placeholder);
    // Silence is judged here, for both directions at once.
    inner.set_read_timeout(None);
    // What follows a refused upgrade could be anything but a request.
    inner.set_keepalive(None);
    let tunnel = Tunnel {
        is_http1: inner.as_http1().is_some(),
        inner,
        handshake_ends: Instant::now() + limits.handshake_timeout,
        deadline: Instant::now() + limits.deadline.0,
        limits,
        ended_by: ended_by.clone(),
        phase: Phase::Handshake,
        toward_client: Frames::default(),
        toward_upstream: Frames::default(),
        head_sent: false,
        upgraded: false,
    };
    *session = ServerSession::new_custom(Box::new(tunnel));
    ended_by
}

struct Tunnel {
    inner: ServerSession,
    is_http1: bool,
    limits: Limits,
    handshake_ends: Instant,
    deadline: Instant,
    ended_by: Arc<OnceLock<&'static str>>,
    phase: Phase,
    toward_client: Frames,
    toward_upstream: Frames,
    head_sent: bool,
    upgraded: bool,
}

#[derive(Clone, Copy)]
enum Phase {
    /// The upstream has not answered yet.
    Handshake,
    /// It answered with something else than 101, which is passed on.
    Refused,
    Open,
    /// The client said Close and ended its side: until then the upstream may answer.
    HalfClosed(Instant),
    /// We end it: until then what is under way toward the client may come to the end of a frame.
    Ending(Ending, Instant),
    /// Nothing more goes in either direction.
    Ended,
}

/// What the client or the clock came up with.
enum Event {
    Read(Option<Bytes>),
    Ending(Ending),
}

impl Tunnel {
    /// Cancel safe: nothing is kept across its one await but the inner session's own state.
    async fn read(&mut self) -> Result<Option<Bytes>> {
        match self.phase {
            Phase::Handshake => tokio::select! {
                // The bytes of an eager client wait until the upstream has agreed.
                read = self.inner.read_body_or_idle(true) => read,
                () = sleep_until(self.handshake_ends) => {
                    Error::e_explain(ErrorType::HTTPStatus(504), "no answer to an upgrade")
                }
            },
            Phase::Refused | Phase::Ended => self.inner.read_body_or_idle(true).await,
            Phase::Open => match self.event().await? {
                Event::Read(Some(data)) => {
                    self.toward_upstream.pass(&data);
                    Ok(Some(data))
                }
                Event::Read(None) if self.upstream_owes_close() => {
                    self.phase = Phase::HalfClosed(Instant::now() + CLOSE_GRACE);
                    Box::pin(self.read()).await
                }
                Event::Read(None) => {
                    self.phase = Phase::Ended;
                    Ok(None)
                }
                Event::Ending(ending) => {
                    self.begin_ending(ending);
                    self.tell_upstream(ending).await
                }
            },
            Phase::HalfClosed(until) => {
                sleep_until(until).await;
                self.phase = Phase::Ended;
                Ok(None)
            }
            Phase::Ending(_, until) => {
                if !self.toward_client.is_between() {
                    sleep_until(until).await;
                }
                Ok(None)
            }
        }
    }

    /// The silence is measured from the last event in either direction: Pingora drops and makes
    /// this future anew whenever the other direction moved.
    async fn event(&mut self) -> Result<Event> {
        let limits = &self.limits;
        // An h2 session that saw the end of the stream while nobody read would not say so.
        if self.inner.is_body_done() {
            return Ok(Event::Read(None));
        }
        tokio::select! {
            biased;
            () = limits.drain.0.cancelled() => Ok(Event::Ending(limits.drain.1)),
            ending = recalled(limits) => Ok(Event::Ending(ending)),
            () = sleep_until(self.deadline) => Ok(Event::Ending(limits.deadline.1)),
            read = self.inner.read_body_or_idle(false) => Ok(Event::Read(read?)),
            () = sleep(limits.idle.0) => Ok(Event::Ending(limits.idle.1)),
        }
    }

    fn upstream_owes_close(&self) -> bool {
        self.toward_upstream.has_closed() && !self.toward_client.has_closed()
    }

    fn begin_ending(&mut self, ending: Ending) {
        let _ = self.ended_by.set(ending.reason);
        self.phase = Phase::Ending(ending, Instant::now() + CLOSE_GRACE);
    }

    /// A Close frame where one fits, else the end alone, which the upstream reads as a lost client.
    async fn tell_upstream(&mut self, ending: Ending) -> Result<Option<Bytes>> {
        if self.toward_upstream.is_between() && !self.toward_upstream.has_closed() {
            let mask = fastrand::u32(..).to_be_bytes();
            return Ok(Some(frames::masked_close(ending.code, ending.reason, mask)));
        }
        Box::pin(self.read()).await
    }

    /// Tasks toward the client; true when the last of them ends the exchange.
    async fn write(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        let mut ready = Vec::with_capacity(tasks.len());
        for task in tasks {
            match task {
                HttpTask::Header(header, end) => ready.push(self.answer(header, end)?),
                HttpTask::UpgradedBody(data, end) => {
                    ready.push(self.frames(data, end));
                    if matches!(self.phase, Phase::Ended) {
                        break;
                    }
                }
                task => ready.push(task),
            }
        }
        let ended = tokio::select! {
            written = self.inner.response_duplex_vec(ready) => written?,
            ending = stop(&self.limits, self.deadline), if self.upgraded => {
                let _ = self.ended_by.set(ending.reason);
                let slow = Error::explain(ErrorType::WriteTimedout, "the tunnel's client reads too slowly");
                return Err(slow.into_down());
            }
        };
        if ended {
            self.phase = Phase::Ended;
        }
        Ok(ended)
    }

    /// The upstream's answer as this protocol has it.
    fn answer(&mut self, mut header: Box<ResponseHeader>, end: bool) -> Result<HttpTask> {
        if header.status != StatusCode::SWITCHING_PROTOCOLS {
            if !header.status.is_informational() {
                self.phase = Phase::Refused;
            }
            return Ok(HttpTask::Header(header, end));
        }
        self.phase = Phase::Open;
        self.upgraded = true;
        if !self.is_http1 {
            header.set_status(StatusCode::OK)?;
            for name in [CONNECTION, UPGRADE, SEC_WEBSOCKET_ACCEPT] {
                header.remove_header(&name);
            }
        }
        Ok(HttpTask::Header(header, false))
    }

    /// Bytes from the upstream; while we are ending, up to the end of the frame they are in.
    fn frames(&mut self, data: Option<Bytes>, end: bool) -> HttpTask {
        let Phase::Ending(..) = self.phase else {
            self.toward_client.pass(data.as_deref().unwrap_or(&[]));
            return self.body(data, end);
        };
        let mut data = data.unwrap_or_default();
        if self.toward_client.is_between() {
            data.clear();
        }
        let rest_of_frame = self.toward_client.pass_frame(&data);
        data.truncate(rest_of_frame);
        let frame_ends = self.toward_client.is_between();
        let close = self.close_frame();
        if frame_ends || end {
            self.phase = Phase::Ended;
        }
        let data = match close {
            Some(close) => [data, close].concat().into(),
            None => data,
        };
        self.body(Some(data), frame_ends || end)
    }

    /// Ours to the client, where it fits and none went before.
    fn close_frame(&self) -> Option<Bytes> {
        let Phase::Ending(ending, _) = self.phase else {
            return None;
        };
        let fits = self.toward_client.is_between() && !self.toward_client.has_closed();
        fits.then(|| frames::close(ending.code, ending.reason))
    }

    fn body(&self, data: Option<Bytes>, end: bool) -> HttpTask {
        if self.is_http1 {
            HttpTask::UpgradedBody(data, end)
        } else {
            HttpTask::Body(data, end)
        }
    }

    /// End what was answered; with a Close frame where we are the ones who end it.
    async fn end(&mut self) -> Result<()> {
        if let Some(close) = self.close_frame() {
            let close = self.body(Some(close), false);
            self.inner.response_duplex_vec(vec![close]).await?;
        }
        self.phase = Phase::Ended;
        self.inner.finish_body().await?;
        if self.is_http1 {
            self.inner.shutdown().await;
        }
        Ok(())
    }
}

/// When a client that does not read is given up, so that a write cannot outlast the limits.
async fn stop(limits: &Limits, deadline: Instant) -> Ending {
    let ending = tokio::select! {
        () = limits.drain.0.cancelled() => limits.drain.1,
        ending = recalled(limits) => ending,
        () = sleep_until(deadline) => limits.deadline.1,
    };
    sleep(CLOSE_GRACE).await;
    ending
}

async fn recalled(limits: &Limits) -> Ending {
    match &limits.recall {
        Some((recall, ending)) => {
            recall.cancelled().await;
            *ending
        }
        None => std::future::pending().await,
    }
}
