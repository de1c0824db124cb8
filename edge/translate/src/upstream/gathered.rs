//! Small messages of a call that are there already, sent together.
//!
//! A service that counts tiny DATA frames, as h2's servers do, ends the whole connection where too many
//! come, with everybody's calls on it. Invariant: nothing waits for what has not come.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame};
use tonic::Status;
use tonic::body::Body;

/// Up to which messages are put together, in bytes: what fits in a frame of HTTP/2 (RFC 9113
/// section 6.5.2).
const GATHERED_BYTES_MAX: usize = 16 * 1024;

type Next = Option<Result<Frame<Bytes>, Status>>;

pub(super) struct Gathered {
    body: Body,
    /// What came behind that which was sent last.
    ahead: Option<Next>,
}

impl Gathered {
    pub(super) fn new(body: Body) -> Self {
        Self { body, ahead: None }
    }
}

impl HttpBody for Gathered {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Next> {
        let this = self.get_mut();
        let mut gathered = BytesMut::new();
        loop {
            let next = match this.ahead.take() {
                Some(next) => next,
                None => match Pin::new(&mut this.body).poll_frame(cx) {
                    Poll::Ready(next) => next,
                    Poll::Pending if gathered.is_empty() => return Poll::Pending,
                    Poll::Pending => break,
                },
            };
            let frame = next.as_ref().and_then(|frame| frame.as_ref().ok());
            match frame.and_then(Frame::data_ref) {
                Some(data) if gathered.len() + data.len() <= GATHERED_BYTES_MAX => {
                    gathered.extend_from_slice(data);
                }
                _ if gathered.is_empty() => return Poll::Ready(next),
                _ => {
                    this.ahead = Some(next);
                    break;
                }
            }
        }
        Poll::Ready(Some(Ok(Frame::data(gathered.freeze()))))
    }
}
