//! quinn's errors as the h3 crate wants them: whose end it was, and with which code.

use std::sync::Arc;

use h3::quic::{ConnectionErrorIncoming, StreamErrorIncoming};
use quinn::VarInt;

pub(in crate::listen) fn ended() -> ConnectionErrorIncoming {
    ConnectionErrorIncoming::InternalError("the stream of streams ended".into())
}

/// A code of HTTP/3, which all fit.
pub(in crate::listen) fn code(code: u64) -> VarInt {
    VarInt::from_u64(code).unwrap_or(VarInt::MAX)
}

/// A server opens no bidirectional streams (RFC 9114, 6.1).
pub(in crate::listen) fn no_bidirectional() -> StreamErrorIncoming {
    lost(ConnectionErrorIncoming::InternalError(
        "a server opens no bidirectional streams".into(),
    ))
}

pub(in crate::listen) fn lost(connection_error: ConnectionErrorIncoming) -> StreamErrorIncoming {
    StreamErrorIncoming::ConnectionErrorIncoming { connection_error }
}

pub(in crate::listen) fn connection_error(
    error: quinn::ConnectionError,
) -> ConnectionErrorIncoming {
    match error {
        quinn::ConnectionError::ApplicationClosed(close) => {
            ConnectionErrorIncoming::ApplicationClose {
                error_code: close.error_code.into(),
            }
        }
        quinn::ConnectionError::TimedOut => ConnectionErrorIncoming::Timeout,
        other => ConnectionErrorIncoming::Undefined(Arc::new(other)),
    }
}

pub(in crate::listen) fn read_error(error: quinn::ReadError) -> StreamErrorIncoming {
    match error {
        quinn::ReadError::Reset(code) => StreamErrorIncoming::StreamTerminated {
            error_code: code.into_inner(),
        },
        quinn::ReadError::ConnectionLost(error) => lost(connection_error(error)),
        other => StreamErrorIncoming::Unknown(Box::new(other)),
    }
}

pub(in crate::listen) fn write_error(error: quinn::WriteError) -> StreamErrorIncoming {
    match error {
        quinn::WriteError::Stopped(code) => StreamErrorIncoming::StreamTerminated {
            error_code: code.into_inner(),
        },
        quinn::WriteError::ConnectionLost(error) => lost(connection_error(error)),
        other => StreamErrorIncoming::Unknown(Box::new(other)),
    }
}
