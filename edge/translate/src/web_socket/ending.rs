//! Why a conversation ends, and how its client is told.
//!
//! A Close frame's code is 1000 where the call succeeded, 4000 and the gRPC code where it failed, and
//! one of RFC 6455, 7.4.1, where the WebSocket itself is what went wrong.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tonic::Code;

use crate::status::problem::Rejection;

/// RFC 6455, 5.5: a control frame holds 125 bytes, two of which are the code.
const REASON_BYTES_MAX: usize = 123;

/// Codes from 4000 on are for applications (RFC 6455, 7.4.2).
const GRPC_CODES: u16 = 4000;

/// How long a peer may take to answer a Close frame, or to read it.
const CLOSE_GRACE: Duration = Duration::from_secs(5);

/// Nothing more of what is thrown away is on its way after such a silence.
const DRAIN_SILENCE: Duration = Duration::from_millis(250);

/// At a time, of what is thrown away.
const DRAINED_BYTES: usize = 8 * 1024;

pub(super) type Socket = WebSocketStream<TokioIo<Upgraded>>;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The client closed, or is gone.
    Client,
    Close(CloseFrame),
}

impl Ending {
    pub(super) fn success() -> Self {
        Self::close(CloseCode::Normal, "")
    }

    pub(super) fn close(code: CloseCode, reason: &str) -> Self {
        let end = reason.floor_char_boundary(REASON_BYTES_MAX);
        Self::Close(CloseFrame {
            code,
            reason: reason.get(..end).unwrap_or_default().into(),
        })
    }

    /// The call failed, or was refused before the service saw it.
    pub(super) fn rejected(rejection: &Rejection) -> Self {
        let (code, detail) = rejection.grpc_status();
        Self::failed(code, detail)
    }

    pub(super) fn failed(code: Code, message: &str) -> Self {
        let code = GRPC_CODES + u16::from(code as u8);
        Self::close(CloseCode::from(code), message)
    }

    /// What the client sent is no frame that is taken.
    pub(super) fn unreadable(error: &Error) -> Self {
        match error {
            Error::Capacity(error) => Self::close(CloseCode::Size, &error.to_string()),
            Error::Utf8(_) => Self::close(CloseCode::Invalid, "the text is not utf-8"),
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Self::Client,
            Error::Protocol(error) => Self::close(CloseCode::Protocol, &error.to_string()),
            _ => Self::Client,
        }
    }

    /// Tells the client, and waits for it to have heard.
    pub(super) async fn tell(self, mut socket: Socket) {
        let mut has_closed = self == Self::Client;
        let _ = timeout(CLOSE_GRACE, async {
            if let Self::Close(frame) = self
                && socket.send(Message::Close(Some(frame))).await.is_err()
            {
                return;
            }
            // Its own Close frame is answered here, or it answers ours: then either may hang up.
            while let Some(Ok(frame)) = socket.next().await {
                has_closed |= frame.is_close();
            }
            // After a frame that could not be read there is no next one, and bytes that nobody reads
            // would make this side's end a reset, which could overtake the Close frame.
            let io = socket.get_mut();
            let mut thrown_away = [0; DRAINED_BYTES];
            while !has_closed
                && let Ok(Ok(1..)) = timeout(DRAIN_SILENCE, io.read(&mut thrown_away)).await
            {
            }
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_message_fits_a_close_frame(message: String, code in 0..17) {
            let Ending::Close(frame) = Ending::failed(Code::from_i32(code), &message) else {
                panic!("not told");
            };
            prop_assert!(frame.reason.len() <= REASON_BYTES_MAX);
            prop_assert!(message.starts_with(frame.reason.as_str()));
            prop_assert!(frame.reason.len() + 4 > message.len().min(REASON_BYTES_MAX));
            prop_assert_eq!(i32::from(u16::from(frame.code)), 4000 + code);
        }
    }
}
