//! The h3 crate's transport traits over quinn.
//!
//! Ours instead of the published adapter for three reasons: that one panics when reading is
//! stopped while a read is pending; a half-written frame makes its next write a connection
//! error, so no write could ever be cancelled; and it gives no way to learn that the client
//! stopped reading. Here writes queue in order, and `Streams` hands out the stop signals.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures::Stream;
use futures::stream;
use h3::error::Code;
use h3::quic::{self, ConnectionErrorIncoming, StreamErrorIncoming, StreamId, WriteBuf};
use quinn::VarInt;

use super::conduct::Conduct;
use super::frame_filter::{FrameFilter, Violation};
use super::frame_rules::Rules;
use super::quinn_errors::{connection_error, ended, lost, read_error, write_error};
use super::uni_streams::control_streams;

/// Type of a control stream, which the h3 crate wants to read by itself (RFC 9114, 6.2.1).
const CONTROL_STREAM: &[u8] = &[0];

/// Type 0, length 0 (RFC 9114, 7.2.1).
const EMPTY_DATA_FRAME: [u8; 2] = [0, 0];

/// Pieces in a row of which nothing is left before other tasks get a turn.
const EMPTY_READS_MAX: usize = 32;

type BoxStream<T> = Pin<Box<dyn Stream<Item = T> + Send + Sync>>;
type BidiPair = (quinn::SendStream, quinn::RecvStream);
/// Resolves when the client stops reading the response, has acknowledged all of it, or is gone.
pub(super) type Stopped =
    Pin<Box<dyn Future<Output = Result<Option<VarInt>, quinn::StoppedError>> + Send + Sync>>;

/// What the session needs to know of a request stream besides its frames.
pub(super) struct StreamSignals {
    /// For the session: the client no longer wants the response.
    pub(super) stopped: Stopped,
    /// For the drain: the last byte was acknowledged.
    pub(super) acknowledged: Stopped,
    ending: Arc<Ending>,
}

impl StreamSignals {
    /// The head is complete: from here on the session ends the stream.
    pub(super) fn head_complete(&self) {
        self.ending.head_complete.store(true, Ordering::Relaxed);
    }
}

/// How the sending direction of a request ends when nobody finishes it.
#[derive(Default)]
struct Ending {
    /// Until then only the h3 crate writes: a whole answer to a head that is too large.
    head_complete: AtomicBool,
    /// What the client violated; 0 for nothing.
    code: AtomicU64,
}

impl Ending {
    fn violated(&self) -> Option<u64> {
        Some(self.code.load(Ordering::Relaxed)).filter(|code| *code != 0)
    }
}

/// Signals of accepted streams until the session takes them.
#[derive(Clone, Default)]
pub(super) struct Streams(Arc<Mutex<HashMap<StreamId, StreamSignals>>>);

impl Streams {
    pub(super) fn take(&self, id: StreamId) -> Option<StreamSignals> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&id)
    }

    fn put(&self, id: StreamId, signals: StreamSignals) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id, signals);
    }
}

/// One QUIC connection.
pub(super) struct QuicConnection {
    incoming_bi: BoxStream<Result<BidiPair, quinn::ConnectionError>>,
    incoming_uni: BoxStream<Result<quinn::RecvStream, quinn::ConnectionError>>,
    opener: Opener,
    streams: Streams,
    conduct: Arc<Conduct>,
    field_section_bytes_max: u32,
}

impl QuicConnection {
    /// The bound is that of an encoded field section, and of a decoded one.
    pub(super) fn new(
        connection: quinn::Connection,
        conduct: Arc<Conduct>,
        field_section_bytes_max: u32,
    ) -> (Self, Streams) {
        let streams = Streams::default();
        let bi = connection.clone();
        let uni = connection.clone();
        let this = Self {
            incoming_bi: Box::pin(stream::unfold(bi, |connection| async {
                Some((connection.accept_bi().await, connection))
            })),
            incoming_uni: Box::pin(control_streams(uni, conduct.clone())),
            opener: Opener {
                connection,
                opening: None,
            },
            streams: streams.clone(),
            conduct,
            field_section_bytes_max,
        };
        (this, streams)
    }
}

impl quic::Connection<Bytes> for QuicConnection {
    type RecvStream = RecvStream;
    type OpenStreams = Opener;

    fn poll_accept_recv(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::RecvStream, ConnectionErrorIncoming>> {
        let accepted = ready!(self.incoming_uni.as_mut().poll_next(cx));
        Poll::Ready(match accepted {
            Some(result) => result
                .map(|stream| {
                    let mut frames = FrameFilter::new(Rules::control());
                    frames.put_first(Bytes::from_static(CONTROL_STREAM));
                    RecvStream::new(stream, frames, self.conduct.clone())
                })
                .map_err(connection_error),
            None => Err(ended()),
        })
    }

    fn poll_accept_bidi(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::BidiStream, ConnectionErrorIncoming>> {
        let accepted = ready!(self.incoming_bi.as_mut().poll_next(cx));
        let (send, recv) = match accepted {
            Some(result) => result.map_err(connection_error)?,
            None => return Poll::Ready(Err(ended())),
        };
        let stopped: Stopped = Box::pin(send.stopped());
        let acknowledged: Stopped = Box::pin(send.stopped());
        self.conduct.request();
        let ending = Arc::new(Ending::default());
        let mut send = SendStream::new(send);
        send.request = Some((ending.clone(), self.conduct.clone()));
        let frames = FrameFilter::new(Rules::request(self.field_section_bytes_max));
        let mut recv = RecvStream::new(recv, frames, self.conduct.clone());
        recv.ending = Some(ending.clone());
        let signals = StreamSignals {
            stopped,
            acknowledged,
            ending,
        };
        self.streams
            .put(quic::SendStream::<Bytes>::send_id(&send), signals);
        Poll::Ready(Ok(BidiStream { send, recv }))
    }

    fn opener(&self) -> Self::OpenStreams {
        self.opener.clone()
    }
}

impl quic::OpenStreams<Bytes> for QuicConnection {
    type BidiStream = BidiStream;
    type SendStream = SendStream;

    fn poll_open_bidi(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::BidiStream, StreamErrorIncoming>> {
        self.opener.poll_open_bidi(cx)
    }

    fn poll_open_send(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::SendStream, StreamErrorIncoming>> {
        self.opener.poll_open_send(cx)
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        self.opener.close(code, reason);
    }
}

/// Opens our own control and QPACK streams.
pub(super) struct Opener {
    connection: quinn::Connection,
    opening: Option<BoxStream<Result<quinn::SendStream, quinn::ConnectionError>>>,
}

impl Clone for Opener {
    fn clone(&self) -> Self {
        Self {
            connection: self.connection.clone(),
            opening: None,
        }
    }
}

impl quic::OpenStreams<Bytes> for Opener {
    type BidiStream = BidiStream;
    type SendStream = SendStream;

    /// A server opens no bidirectional streams (RFC 9114, 6.1).
    fn poll_open_bidi(
        &mut self,
        _cx: &mut Context<'_>,
    ) -> Poll<Result<Self::BidiStream, StreamErrorIncoming>> {
        Poll::Ready(Err(StreamErrorIncoming::ConnectionErrorIncoming {
            connection_error: ConnectionErrorIncoming::InternalError(
                "a server opens no bidirectional streams".into(),
            ),
        }))
    }

    fn poll_open_send(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::SendStream, StreamErrorIncoming>> {
        let connection = &self.connection;
        let opening = self.opening.get_or_insert_with(|| {
            Box::pin(stream::unfold(connection.clone(), |connection| async {
                Some((connection.open_uni().await, connection))
            }))
        });
        Poll::Ready(match ready!(opening.as_mut().poll_next(cx)) {
            Some(Ok(stream)) => Ok(SendStream::new(stream)),
            Some(Err(error)) => Err(lost(connection_error(error))),
            None => Err(lost(ended())),
        })
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        let code = VarInt::from_u64(code.value()).unwrap_or(VarInt::MAX);
        self.connection.close(code, reason);
    }
}

/// Both directions of a request.
pub(super) struct BidiStream {
    send: SendStream,
    recv: RecvStream,
}

impl quic::BidiStream<Bytes> for BidiStream {
    type SendStream = SendStream;
    type RecvStream = RecvStream;

    fn split(self) -> (Self::SendStream, Self::RecvStream) {
        (self.send, self.recv)
    }
}

impl quic::RecvStream for BidiStream {
    type Buf = Bytes;

    fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Self::Buf>, StreamErrorIncoming>> {
        self.recv.poll_data(cx)
    }

    fn stop_sending(&mut self, error_code: u64) {
        self.recv.stop_sending(error_code);
    }

    fn recv_id(&self) -> StreamId {
        self.recv.recv_id()
    }
}

impl quic::SendStream<Bytes> for BidiStream {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.send.poll_ready(cx)
    }

    fn send_data<T: Into<WriteBuf<Bytes>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        self.send.send_data(data)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.send.poll_finish(cx)
    }

    fn reset(&mut self, reset_code: u64) {
        self.send.reset(reset_code);
    }

    fn send_id(&self) -> StreamId {
        self.send.send_id()
    }
}

/// The receiving direction.
pub(super) struct RecvStream {
    stream: quinn::RecvStream,
    frames: FrameFilter,
    conduct: Arc<Conduct>,
    /// Of a frame that is not whole, as `conduct` knows it.
    held_bytes: u64,
    /// Of a request stream.
    ending: Option<Arc<Ending>>,
}

impl RecvStream {
    fn new(stream: quinn::RecvStream, frames: FrameFilter, conduct: Arc<Conduct>) -> Self {
        Self {
            stream,
            frames,
            conduct,
            held_bytes: 0,
            ending: None,
        }
    }

    /// Tell what the last piece of the stream cost.
    fn account(&mut self, held_bytes: u64) {
        let before = std::mem::replace(&mut self.held_bytes, held_bytes);
        self.conduct.hold(before, held_bytes);
        self.conduct.noise(self.frames.take_noise());
    }

    /// End what the client violated, and say so to the h3 crate.
    fn refuse(&mut self, violation: Violation) -> StreamErrorIncoming {
        match violation {
            Violation::Stream(code) => {
                if let Some(ending) = &self.ending {
                    ending.code.store(code.value(), Ordering::Relaxed);
                }
                quic::RecvStream::stop_sending(self, code.value());
                StreamErrorIncoming::StreamTerminated {
                    error_code: code.value(),
                }
            }
            Violation::Connection(code, reason) => {
                self.conduct.close(code, reason);
                lost(connection_error(quinn::ConnectionError::LocallyClosed))
            }
        }
    }
}

impl Drop for RecvStream {
    /// quinn would stop a stream that was not read to its end with code 0, which says nothing.
    fn drop(&mut self) {
        self.account(0);
        quic::RecvStream::stop_sending(self, Code::H3_NO_ERROR.value());
    }
}

impl quic::RecvStream for RecvStream {
    type Buf = Bytes;

    fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Self::Buf>, StreamErrorIncoming>> {
        // `read_chunk` keeps no state between polls: a fresh future each time loses nothing,
        // and leaves the stream in our hands for `stop_sending`.
        for _ in 0..EMPTY_READS_MAX {
            if let Some(piece) = self.frames.next_piece() {
                return Poll::Ready(Ok(Some(piece)));
            }
            if self.frames.has_ended() {
                return Poll::Ready(Ok(None));
            }
            let chunk = ready!(pin!(self.stream.read_chunk(usize::MAX, true)).poll(cx));
            let Some(chunk) = chunk.map_err(read_error)? else {
                if self.frames.is_between() {
                    return Poll::Ready(Ok(None));
                }
                // RFC 9114, 7.1: the end may only come between two frames.
                let cut = Violation::Connection(Code::H3_FRAME_ERROR, "a frame was cut short");
                return Poll::Ready(Err(self.refuse(cut)));
            };
            let taken = self.frames.take(chunk.bytes);
            self.account(self.frames.held_bytes());
            if let Err(violation) = taken {
                return Poll::Ready(Err(self.refuse(violation)));
            }
        }
        // A client that sends nothing but empty frames takes turns with everybody else.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn stop_sending(&mut self, error_code: u64) {
        let code = VarInt::from_u64(error_code).unwrap_or(VarInt::MAX);
        // An error means that the stream has ended already.
        let _ = self.stream.stop(code);
    }

    fn recv_id(&self) -> StreamId {
        stream_id(self.stream.id())
    }
}

/// The sending direction.
pub(super) struct SendStream {
    stream: quinn::SendStream,
    /// Written in order by `poll_ready`; a cancelled write stays here and goes out with the next.
    queue: VecDeque<WriteBuf<Bytes>>,
    /// Ended by us, by FIN or by reset.
    ended: bool,
    wrote: bool,
    request: Option<(Arc<Ending>, Arc<Conduct>)>,
}

impl SendStream {
    fn new(stream: quinn::SendStream) -> Self {
        Self {
            stream,
            queue: VecDeque::new(),
            ended: false,
            wrote: false,
            request: None,
        }
    }
}

impl Drop for SendStream {
    /// quinn ends a dropped stream with FIN: a response cut short would look complete.
    fn drop(&mut self) {
        let Some((ending, conduct)) = self.request.clone() else {
            return;
        };
        if !self.wrote {
            conduct.unanswered();
        }
        if self.ended {
            return;
        }
        let head_complete = ending.head_complete.load(Ordering::Relaxed);
        match (head_complete, self.wrote) {
            (true, _) => quic::SendStream::<Bytes>::reset(self, Code::H3_INTERNAL_ERROR.value()),
            (false, false) => {
                quic::SendStream::<Bytes>::reset(self, Code::H3_REQUEST_INCOMPLETE.value());
            }
            // The h3 crate has answered a head that is too large, and does not end what it writes.
            (false, true) => {
                let _ = self.stream.finish();
            }
        }
    }
}

impl quic::SendStream<Bytes> for SendStream {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        while let Some(front) = self.queue.front_mut() {
            while front.has_remaining() {
                let write = Pin::new(&mut self.stream).poll_write(cx, front.chunk());
                let written = ready!(write).map_err(write_error)?;
                front.advance(written);
            }
            self.queue.pop_front();
        }
        Poll::Ready(Ok(()))
    }

    fn send_data<T: Into<WriteBuf<Bytes>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        let data = data.into();
        self.wrote = true;
        // An empty DATA frame says nothing, and readers built on the h3 crate take it for the end.
        if data.chunk() != EMPTY_DATA_FRAME {
            self.queue.push_back(data);
        }
        Ok(())
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        ready!(self.poll_ready(cx))?;
        // An error means that the client stopped the stream: there is nothing left to finish.
        let _ = self.stream.finish();
        self.ended = true;
        Poll::Ready(Ok(()))
    }

    fn reset(&mut self, reset_code: u64) {
        self.queue.clear();
        self.ended = true;
        let violated = self.request.as_ref();
        let violated = violated.and_then(|(ending, _)| ending.violated());
        let code = VarInt::from_u64(violated.unwrap_or(reset_code)).unwrap_or(VarInt::MAX);
        let _ = self.stream.reset(code);
    }

    fn send_id(&self) -> StreamId {
        stream_id(self.stream.id())
    }
}

fn stream_id(id: quinn::StreamId) -> StreamId {
    StreamId::try_from(u64::from(id)).expect("quinn's stream ids are variable-length integers")
}
