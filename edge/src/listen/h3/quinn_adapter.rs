//! The h3 crate's transport traits over quinn.
//!
//! Ours instead of the published adapter for three reasons: that one panics when reading is
//! stopped while a read is pending; a half-written frame makes its next write a connection
//! error, so no write could ever be cancelled; and it gives no way to learn that the client
//! stopped reading. Here writes queue in order, and `Streams` hands out the stop signals.

mod streams;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::Stream;
use futures::stream;
use h3::error::Code;
use h3::quic::{self, ConnectionErrorIncoming, StreamErrorIncoming, StreamId, WriteBuf};

use self::streams::{RecvStream, SendStream};
use super::conduct::Conduct;
use super::quinn_errors::{code, connection_error, ended, lost, no_bidirectional};
use super::stream_signals::{Ending, Stopped, StreamSignals, Streams};
use super::uni_streams::control_streams;

type BoxStream<T> = Pin<Box<dyn Stream<Item = T> + Send + Sync>>;
type BidiPair = (quinn::SendStream, quinn::RecvStream);

/// One QUIC connection.
pub(in crate::listen) struct QuicConnection {
    incoming_bi: BoxStream<Result<BidiPair, quinn::ConnectionError>>,
    incoming_uni: BoxStream<Result<quinn::RecvStream, quinn::ConnectionError>>,
    opener: Opener,
    streams: Streams,
    conduct: Arc<Conduct>,
    field_section_bytes_max: u32,
}

impl QuicConnection {
    /// The bound is that of an encoded field section, and of a decoded one.
    pub(in crate::listen) fn new(
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
                .map(|stream| RecvStream::control(stream, self.conduct.clone()))
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
        let send = SendStream::response(send, ending.clone(), self.conduct.clone());
        let recv = RecvStream::request(
            recv,
            self.field_section_bytes_max,
            ending.clone(),
            self.conduct.clone(),
        );
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
pub(in crate::listen) struct Opener {
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

    fn poll_open_bidi(
        &mut self,
        _cx: &mut Context<'_>,
    ) -> Poll<Result<Self::BidiStream, StreamErrorIncoming>> {
        Poll::Ready(Err(no_bidirectional()))
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

    fn close(&mut self, reason: Code, text: &[u8]) {
        self.connection.close(code(reason.value()), text);
    }
}

/// Both directions of a request.
pub(in crate::listen) struct BidiStream {
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
