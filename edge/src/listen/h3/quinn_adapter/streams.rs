//! The two directions of a stream: what is read passes the frame filter, what is written queues in
//! order and is reset, not ended, where nobody finished it.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h3::error::Code;
use h3::quic::{self, StreamErrorIncoming, StreamId, WriteBuf};

use crate::listen::h3::conduct::Conduct;
use crate::listen::h3::frame_filter::{FrameFilter, Violation};
use crate::listen::h3::frame_rules::Rules;
use crate::listen::h3::quinn_errors::{code, connection_error, lost, read_error, write_error};
use crate::listen::h3::stream_signals::Ending;

/// Type of a control stream, which the h3 crate wants to read by itself (RFC 9114, 6.2.1).
const CONTROL_STREAM: &[u8] = &[0];

/// Type 0, length 0 (RFC 9114, 7.2.1).
const EMPTY_DATA_FRAME: [u8; 2] = [0, 0];

/// Pieces in a row of which nothing is left before other tasks get a turn.
const EMPTY_READS_MAX: usize = 32;

/// The receiving direction.
pub(in crate::listen) struct RecvStream {
    stream: quinn::RecvStream,
    frames: FrameFilter,
    conduct: Arc<Conduct>,
    /// Of a frame that is not whole, as `conduct` knows it.
    held_bytes: u64,
    /// Of a request stream.
    ending: Option<Arc<Ending>>,
}

impl RecvStream {
    /// Of a request; the bound is that of an encoded field section.
    pub(in crate::listen) fn request(
        stream: quinn::RecvStream,
        field_section_bytes_max: u32,
        ending: Arc<Ending>,
        conduct: Arc<Conduct>,
    ) -> Self {
        Self {
            stream,
            frames: FrameFilter::new(Rules::request(field_section_bytes_max)),
            conduct,
            held_bytes: 0,
            ending: Some(ending),
        }
    }

    /// After its type.
    pub(in crate::listen) fn control(stream: quinn::RecvStream, conduct: Arc<Conduct>) -> Self {
        let mut frames = FrameFilter::new(Rules::control());
        frames.put_first(Bytes::from_static(CONTROL_STREAM));
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
                    ending.violate(code);
                }
                let error_code = code.value();
                quic::RecvStream::stop_sending(self, error_code);
                StreamErrorIncoming::StreamTerminated { error_code }
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
        // An error means that the stream has ended already.
        let _ = self.stream.stop(code(error_code));
    }

    fn recv_id(&self) -> StreamId {
        stream_id(self.stream.id())
    }
}

/// The sending direction.
pub(in crate::listen) struct SendStream {
    stream: quinn::SendStream,
    /// Written in order by `poll_ready`; a cancelled write stays here and goes out with the next.
    queue: VecDeque<WriteBuf<Bytes>>,
    /// Ended by us, by FIN or by reset.
    ended: bool,
    wrote: bool,
    request: Option<(Arc<Ending>, Arc<Conduct>)>,
}

impl SendStream {
    /// One of our control and QPACK streams, which end with the connection.
    pub(in crate::listen) fn new(stream: quinn::SendStream) -> Self {
        Self {
            stream,
            queue: VecDeque::new(),
            ended: false,
            wrote: false,
            request: None,
        }
    }

    /// The answer to a request.
    pub(in crate::listen) fn response(
        stream: quinn::SendStream,
        ending: Arc<Ending>,
        conduct: Arc<Conduct>,
    ) -> Self {
        let mut this = Self::new(stream);
        this.request = Some((ending, conduct));
        this
    }
}

impl Drop for SendStream {
    /// quinn ends a dropped stream with FIN: a response cut short would look complete.
    fn drop(&mut self) {
        let Some((ending, conduct)) = &self.request else {
            return;
        };
        if !self.wrote {
            conduct.unanswered();
        }
        if self.ended {
            return;
        }
        let reset_code = match (ending.is_head_complete(), self.wrote) {
            (true, _) => Code::H3_INTERNAL_ERROR,
            (false, false) => Code::H3_REQUEST_INCOMPLETE,
            // The h3 crate has answered a head that is too large, and does not end what it writes.
            (false, true) => return drop(self.stream.finish()),
        };
        quic::SendStream::<Bytes>::reset(self, reset_code.value());
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
        if let Some((ending, _)) = &self.request {
            ending.finish();
        }
        Poll::Ready(Ok(()))
    }

    fn reset(&mut self, reset_code: u64) {
        self.queue.clear();
        self.ended = true;
        let request = self.request.as_ref();
        let violated = request.and_then(|(ending, _)| ending.violated());
        let _ = self.stream.reset(code(violated.unwrap_or(reset_code)));
    }

    fn send_id(&self) -> StreamId {
        stream_id(self.stream.id())
    }
}

fn stream_id(id: quinn::StreamId) -> StreamId {
    StreamId::try_from(u64::from(id)).expect("quinn's stream ids are variable-length integers")
}
