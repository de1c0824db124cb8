//! The h3 crate's transport traits over quinn.
//!
//! Ours instead of the published adapter for three reasons: that one panics when reading is
//! stopped while a read is pending; a half-written frame makes its next write a connection
//! error, so no write could ever be cancelled; and it gives no way to learn that the client
//! stopped reading. Here writes queue in order, and `Streams` hands out the stop signals.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures::Stream;
use futures::stream;
use h3::error::Code;
use h3::quic::{self, ConnectionErrorIncoming, StreamErrorIncoming, StreamId, WriteBuf};
use quinn::VarInt;

use super::frame_filter::FrameFilter;
use super::protocol_field::ProtocolField;
use super::quinn_errors::{connection_error, ended, lost, read_error, write_error};

/// Frames the h3 layer reads whole (everything but DATA) before it checks a size: the request
/// head must fit in this many bytes from the start of the stream (RFC 9114, 7.1 and 10.5.1).
const HEAD_BYTES_MAX: usize = 128 * 1024;

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
    head_bytes: Arc<AtomicUsize>,
}

impl StreamSignals {
    /// The head is complete: from here on flow control bounds what is buffered.
    pub(super) fn head_complete(&self) {
        self.head_bytes.store(usize::MAX, Ordering::Relaxed);
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
}

impl QuicConnection {
    pub(super) fn new(connection: quinn::Connection) -> (Self, Streams) {
        let streams = Streams::default();
        let bi = connection.clone();
        let uni = connection.clone();
        let this = Self {
            incoming_bi: Box::pin(stream::unfold(bi, |connection| async {
                Some((connection.accept_bi().await, connection))
            })),
            incoming_uni: Box::pin(stream::unfold(uni, |connection| async {
                Some((connection.accept_uni().await, connection))
            })),
            opener: Opener {
                connection,
                opening: None,
            },
            streams: streams.clone(),
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
                .map(|stream| RecvStream::new(stream, usize::MAX))
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
        let send = SendStream::new(send);
        let mut recv = RecvStream::new(recv, 0);
        recv.frames = Some(Default::default());
        let head_bytes = recv.head_bytes.clone();
        let signals = StreamSignals {
            stopped,
            acknowledged,
            head_bytes,
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
    head_bytes: Arc<AtomicUsize>,
    /// Only for request streams: unidirectional ones begin with their type.
    frames: Option<(FrameFilter, ProtocolField)>,
}

impl RecvStream {
    fn new(stream: quinn::RecvStream, head_bytes: usize) -> Self {
        Self {
            stream,
            head_bytes: Arc::new(AtomicUsize::new(head_bytes)),
            frames: None,
        }
    }

    fn count_head(&self, read: usize) -> Result<(), StreamErrorIncoming> {
        let before = self.head_bytes.load(Ordering::Relaxed);
        if before == usize::MAX {
            return Ok(());
        }
        let total = before.saturating_add(read);
        self.head_bytes.store(total, Ordering::Relaxed);
        if total > HEAD_BYTES_MAX {
            return Err(StreamErrorIncoming::StreamTerminated {
                error_code: Code::H3_EXCESSIVE_LOAD.value(),
            });
        }
        Ok(())
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
            let chunk = ready!(pin!(self.stream.read_chunk(usize::MAX, true)).poll(cx));
            let chunk = chunk.map_err(read_error)?;
            let bytes = chunk.map(|chunk| chunk.bytes);
            self.count_head(bytes.as_ref().map_or(0, Bytes::len))?;
            let Some((frames, protocol)) = &mut self.frames else {
                return Poll::Ready(Ok(bytes));
            };
            match bytes {
                None if frames.is_between() => return Poll::Ready(Ok(None)),
                // RFC 9114, 7.1: the end may only come between two frames.
                None => {
                    return Poll::Ready(Err(StreamErrorIncoming::StreamTerminated {
                        error_code: Code::H3_FRAME_ERROR.value(),
                    }));
                }
                Some(bytes) => {
                    let kept = protocol.pass(frames.pass(bytes));
                    // Nothing left of it: read on, an empty piece would look like progress.
                    if !kept.is_empty() {
                        return Poll::Ready(Ok(Some(kept)));
                    }
                }
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
}

impl SendStream {
    fn new(stream: quinn::SendStream) -> Self {
        Self {
            stream,
            queue: VecDeque::new(),
            ended: false,
        }
    }
}

impl Drop for SendStream {
    /// quinn ends a dropped stream with FIN: a response cut short would look complete.
    fn drop(&mut self) {
        if !self.ended {
            quic::SendStream::<Bytes>::reset(self, Code::H3_INTERNAL_ERROR.value());
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
        let code = VarInt::from_u64(reset_code).unwrap_or(VarInt::MAX);
        let _ = self.stream.reset(code);
    }

    fn send_id(&self) -> StreamId {
        stream_id(self.stream.id())
    }
}

fn stream_id(id: quinn::StreamId) -> StreamId {
    StreamId::try_from(u64::from(id)).expect("quinn's stream ids are variable-length integers")
}
