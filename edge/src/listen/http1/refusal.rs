//! Why bytes of a client are not passed on, in words that tell the client how to mend it.

use std::io;

/// Breaks of RFC 9112; each ends the connection, because nobody knows where the next request begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("{0}")]
    Malformed(&'static str),
    #[error("the request target is too long")]
    TargetTooLong,
    #[error("the request head is too large")]
    FieldsTooLarge,
    #[error("{0}")]
    NotImplemented(&'static str),
    #[error("only HTTP/1.1 and HTTP/1.0 are spoken here")]
    UnknownVersion,
    #[error("the request head took too long")]
    TooSlow,
}

impl Refusal {
    /// For the reader of a body: Pingora passes it on as the cause of its own error.
    pub(super) fn into_io(self) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, self)
    }

    /// The refusal behind a reader's error.
    pub fn of(error: &(dyn std::error::Error + 'static)) -> Option<Self> {
        let error = error.downcast_ref::<io::Error>()?;
        error.get_ref()?.downcast_ref::<Self>().copied()
    }
}
