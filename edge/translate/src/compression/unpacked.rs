//! A body that is compressed as a whole, unpacked while it is read.
//!
//! Invariant: pulled, never pushed: nothing is read of the body before all that came is given out.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame};
use tonic::codegen::StdError;

use super::decoder::Decoder;
use super::{Coding, Refused, STEP_BYTES};

/// Its errors are [`Refused`], or the body's own.
pub(crate) struct Unpacked<B> {
    body: B,
    decoder: Option<Decoder>,
}

impl<B> Unpacked<B> {
    /// As it comes, until it is said to be compressed.
    pub(crate) fn new(body: B) -> Self {
        Self {
            body,
            decoder: None,
        }
    }

    /// How it is compressed. How much comes out is for who reads it to bound.
    pub(crate) fn unpack(&mut self, coding: Coding) -> Result<(), Refused> {
        self.decoder = Some(Decoder::new(coding, usize::MAX)?);
        Ok(())
    }

    /// The body as it was sent.
    pub(crate) fn sent(&mut self) -> &mut B {
        &mut self.body
    }
}

impl<B> Body for Unpacked<B>
where
    B: Body<Data = Bytes, Error: Into<StdError>> + Unpin,
{
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StdError>>> {
        let this = self.get_mut();
        let mut sent = Pin::new(&mut this.body);
        let Some(decoder) = &mut this.decoder else {
            return sent
                .poll_frame(cx)
                .map(|next| next.map(|frame| frame.map_err(Into::into)));
        };
        let mut step = [0; STEP_BYTES];
        loop {
            match decoder.read(&mut step) {
                Ok(Some(0)) => return Poll::Ready(None),
                Ok(Some(read)) => {
                    let data = step.get(..read).unwrap_or_default();
                    let data = Bytes::copy_from_slice(data);
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Ok(None) => {}
                Err(refused) => return Poll::Ready(Some(Err(refused.into()))),
            }
            match ready!(sent.as_mut().poll_frame(cx)) {
                Some(Ok(frame)) => {
                    // Trailers of a request say nothing here.
                    if let Ok(data) = frame.into_data() {
                        decoder.push(data);
                    }
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                None => decoder.end(),
            }
        }
    }
}
