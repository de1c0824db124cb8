//! HTTP/2 frame by frame: whatever no HTTP library would send, and what comes back for it.
//!
//! Header blocks are written as literals without indexing or Huffman code (RFC 7541, 6.2.2); of those
//! that come back only the status is read, which is always first.

use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::tls;
use crate::harness::Edge;
use crate::harness::waiting::within;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

/// Also acknowledges SETTINGS and PING.
pub(crate) const END_STREAM: u8 = 0x1;
pub(crate) const ACK: u8 = 0x1;
pub(crate) const END_HEADERS: u8 = 0x4;
pub(crate) const PADDED: u8 = 0x8;
pub(crate) const WITH_PRIORITY: u8 = 0x20;
/// A whole request without a body.
pub(crate) const WHOLE: u8 = END_STREAM | END_HEADERS;

pub(crate) const PROTOCOL_ERROR: u32 = 0x1;
pub(crate) const FLOW_CONTROL_ERROR: u32 = 0x3;
pub(crate) const SETTINGS_TIMEOUT: u32 = 0x4;
pub(crate) const STREAM_CLOSED: u32 = 0x5;
pub(crate) const FRAME_SIZE_ERROR: u32 = 0x6;
pub(crate) const REFUSED_STREAM: u32 = 0x7;
pub(crate) const CANCEL: u32 = 0x8;
pub(crate) const COMPRESSION_ERROR: u32 = 0x9;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 0xb;

pub(crate) const INITIAL_WINDOW_SIZE: u16 = 0x4;

/// A frame that came.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Bytes,
}

impl Frame {
    pub(crate) fn is(&self, kind: u8, flag: u8) -> bool {
        self.kind == kind && self.flags & flag == flag
    }

    /// The error code of RST_STREAM and GOAWAY.
    pub(crate) fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        let mut code = self.payload.slice(at..);
        code.get_u32()
    }

    /// The status of a response head.
    pub(crate) fn status(&self) -> u16 {
        let mut block = self.payload.clone();
        // Changes of the dynamic table's size (RFC 7541, 6.3).
        while block.first().is_some_and(|byte| byte >> 5 == 0b001) {
            block.advance(1);
        }
        const INDEXED: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
        let first = block.get_u8();
        if first & 0x80 != 0 {
            return INDEXED[usize::from(first & 0x7f) - 8];
        }
        assert!(
            matches!(first, 0x48 | 0x08 | 0x18),
            "not a status: {self:?}"
        );
        let length = block.get_u8();
        let is_huffman = length & 0x80 != 0;
        let text = block.split_to(usize::from(length & 0x7f));
        if is_huffman {
            digits(&text)
        } else {
            std::str::from_utf8(&text)
                .ok()
                .and_then(|text| text.parse().ok())
                .expect("a status")
        }
    }
}

/// Three digits in Huffman code (RFC 7541, appendix B): five bits for 0 to 2, six for the others.
fn digits(code: &[u8]) -> u16 {
    let bits = code
        .iter()
        .fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
    let mut left = code.len() * 8;
    let mut number = 0;
    for _ in 0..3 {
        let five = (bits >> (left - 5)) & 0x1f;
        let digit = if five < 3 {
            left -= 5;
            five
        } else {
            left -= 6;
            ((bits >> left) & 0x3f) - 0x19 + 3
        };
        number = number * 10 + u16::try_from(digit).expect("it is small");
    }
    number
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(payload.len())
        .expect("it is small")
        .to_be_bytes()[1..]
        .to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A string of the header block (RFC 7541, 5.2).
fn string(text: &[u8], out: &mut Vec<u8>) {
    if text.len() < 0x7f {
        out.push(u8::try_from(text.len()).expect("it is small"));
    } else {
        out.push(0x7f);
        let mut rest = text.len() - 0x7f;
        while rest >= 0x80 {
            out.push(u8::try_from(rest & 0x7f).expect("it is small") | 0x80);
            rest >>= 7;
        }
        out.push(u8::try_from(rest).expect("it is small"));
    }
    out.extend(text);
}

/// A header block of literals.
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        string(name.as_bytes(), &mut out);
        string(value.as_bytes(), &mut out);
    }
    out
}

/// Pseudo-header fields of a request that is all right, then these.
pub(crate) fn request(method: &str, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let mut fields = vec![
        (":method", method),
        (":scheme", "https"),
        (":authority", "localhost"),
        (":path", path),
    ];
    fields.extend(more);
    block(&fields)
}

pub(crate) fn get(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, WHOLE, stream, &request("GET", path, &[]))
}

pub(crate) fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &code.to_be_bytes())
}

pub(crate) fn window_update(stream: u32, increment: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &increment.to_be_bytes())
}

pub(crate) fn settings(pairs: &[(u16, u32)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (identifier, value) in pairs {
        payload.extend(identifier.to_be_bytes());
        payload.extend(value.to_be_bytes());
    }
    frame(SETTINGS, 0, 0, &payload)
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// One connection.
pub(crate) struct RawH2 {
    io: Box<dyn Io>,
    inbox: BytesMut,
}

impl RawH2 {
    /// Over TLS, nothing sent yet.
    pub(crate) async fn bare(edge: &Edge) -> Self {
        let socket = TcpStream::connect(edge.https).await.expect("a connection");
        let name = ServerName::try_from("localhost").expect("a name");
        let connector = TlsConnector::from(Arc::new(tls::config(&["h2"])));
        let io = connector.connect(name, socket).await.expect("a handshake");
        Self::over(io)
    }

    /// Over the plain listener, nothing sent yet.
    pub(crate) async fn plain(edge: &Edge) -> Self {
        Self::over(TcpStream::connect(edge.http).await.expect("a connection"))
    }

    fn over(io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        Self {
            io: Box::new(io),
            inbox: BytesMut::new(),
        }
    }

    /// With the preface and these settings exchanged, and both acknowledged.
    pub(crate) async fn connect(edge: &Edge, pairs: &[(u16, u32)]) -> Self {
        let mut this = Self::bare(edge).await;
        this.greet(pairs).await;
        this
    }

    pub(crate) async fn greet(&mut self, pairs: &[(u16, u32)]) {
        self.send(PREFACE).await;
        self.send(&settings(pairs)).await;
        self.wait("the edge's SETTINGS", |frame| frame.is(SETTINGS, 0))
            .await;
        self.send(&frame(SETTINGS, ACK, 0, &[])).await;
        self.wait("its acknowledgement", |frame| frame.is(SETTINGS, ACK))
            .await;
    }

    /// The edge may have closed already; what it said before that can still be read.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> bool {
        let written = within("the edge to take bytes", async {
            self.io.write_all(bytes).await?;
            self.io.flush().await
        });
        written.await.is_ok()
    }

    /// The next frame; none when the connection is over, however it ended.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        within("a frame", self.next_at_last()).await
    }

    /// However long it takes.
    pub(crate) async fn next_at_last(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.take() {
                return Some(frame);
            }
            if self.io.read_buf(&mut self.inbox).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    fn take(&mut self) -> Option<Frame> {
        let head = self.inbox.get(..9)?;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let (kind, flags) = (head[3], head[4]);
        let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
        if self.inbox.len() < 9 + length {
            return None;
        }
        self.inbox.advance(9);
        Some(Frame {
            kind,
            flags,
            stream,
            payload: self.inbox.split_to(length).freeze(),
        })
    }

    /// The first frame for which `wanted` holds; others are skipped.
    pub(crate) async fn wait(&mut self, what: &str, wanted: impl Fn(&Frame) -> bool) -> Frame {
        while let Some(frame) = self.next().await {
            if wanted(&frame) {
                return frame;
            }
        }
        panic!("the connection ended before {what}");
    }

    /// Read to the end: the code of the last GOAWAY, if there was one.
    pub(crate) async fn ended(&mut self) -> Option<u32> {
        within("the end of the connection", self.ended_at_last()).await
    }

    /// However long it takes.
    pub(crate) async fn ended_at_last(&mut self) -> Option<u32> {
        let mut code = None;
        while let Some(frame) = self.next_at_last().await {
            if frame.kind == GOAWAY {
                code = Some(frame.code());
            }
        }
        code
    }

    /// Whether a PING still comes back.
    pub(crate) async fn is_alive(&mut self) -> bool {
        let payload = b"areuthr?";
        self.send(&frame(PING, 0, 0, payload)).await;
        while let Some(frame) = self.next().await {
            if frame.is(PING, ACK) && frame.payload.as_ref() == payload {
                return true;
            }
        }
        false
    }

    /// Writing and reading at once, for floods: nobody waits for the answers.
    pub(crate) fn split(
        self,
    ) -> (
        impl AsyncRead + Send + Unpin,
        impl AsyncWrite + Send + Unpin,
    ) {
        let (reading, writing) = tokio::io::split(self.io);
        let ahead = std::io::Cursor::new(self.inbox.freeze());
        (AsyncReadExt::chain(ahead, reading), writing)
    }
}

/// Read frames from one half to the end: the code of the last GOAWAY.
pub(crate) async fn drain(reading: impl AsyncRead + Send + Unpin + 'static) -> Option<u32> {
    RawH2::over(tokio::io::join(reading, tokio::io::sink()))
        .ended()
        .await
}
