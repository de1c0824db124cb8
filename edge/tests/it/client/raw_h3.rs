//! HTTP/3 by hand over QUIC streams: requests that no HTTP library would send.
//!
//! Writes QPACK with literals only (RFC 9204, 4.5.6), and reads no more of an answer than its
//! status.

use std::net::SocketAddr;

use bytes::{BufMut, Bytes, BytesMut};
use quinn::{Endpoint, ReadToEndError, RecvStream, SendStream, VarInt};

use super::Broken;
use super::h3::quic;
use crate::harness::waiting::within;

const DATA: u64 = 0x0;
const HEADERS: u64 = 0x1;
const SETTINGS: u64 = 0x4;
/// Type of the control stream (RFC 9114, 6.2.1).
const CONTROL: u64 = 0x0;
const ANSWER_BYTES_MAX: usize = 1 << 20;

pub(crate) struct RawH3 {
    connection: quinn::Connection,
    authority: String,
    _control: SendStream,
    _endpoint: Endpoint,
}

/// How a request ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Headers came; the status where it is one of the static table.
    Answered(Option<u16>),
    /// RESET_STREAM with this code.
    Reset(u64),
    /// The connection was closed.
    Closed,
}

impl Outcome {
    /// Neither a success nor a broken connection.
    pub(crate) fn is_refusal(&self) -> bool {
        match self {
            Self::Answered(Some(status)) => (400..500).contains(status),
            Self::Answered(None) | Self::Closed => false,
            Self::Reset(_) => true,
        }
    }
}

impl RawH3 {
    pub(crate) async fn connect(address: SocketAddr) -> Result<Self, Broken> {
        Self::connect_with(address, None).await
    }

    /// With a bound on what the edge may send ahead on each stream.
    pub(crate) async fn connect_with(
        address: SocketAddr,
        window: Option<u32>,
    ) -> Result<Self, Broken> {
        let (endpoint, connection) = within("a connection", quic(address, window)).await?;
        let mut control = connection.open_uni().await.map_err(Broken::from)?;
        let mut settings = BytesMut::new();
        put_varint(&mut settings, CONTROL);
        put_frame(&mut settings, SETTINGS, b"");
        control.write_all(&settings).await.map_err(Broken::from)?;
        Ok(Self {
            connection,
            authority: format!("localhost:{}", address.port()),
            _control: control,
            _endpoint: endpoint,
        })
    }

    /// `:method` GET or POST, `:scheme`, `:path` and this connection's `:authority`.
    pub(crate) fn head(&self, method: &str, path: &str) -> Vec<(String, String)> {
        let pairs = [
            (":method", method),
            (":scheme", "https"),
            (":authority", &self.authority),
            (":path", path),
        ];
        pairs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec()
    }

    /// A new request stream with these frames written; not finished.
    pub(crate) async fn begin(&self, frames: Bytes) -> Result<RawRequest, Broken> {
        let (mut send, recv) = self.connection.open_bi().await.map_err(Broken::from)?;
        // Refusing may come before the last byte: then the answer is what counts.
        let _ = send.write_all(&frames).await;
        Ok(RawRequest { send, recv })
    }

    /// A whole request with its end, to the end of its answer.
    pub(crate) async fn request(&self, frames: Bytes) -> Result<Outcome, Broken> {
        let mut request = self.begin(frames).await?;
        let _ = request.send.finish();
        Ok(request.outcome().await)
    }

    /// The code with which the edge closes the connection; none where that was not its doing.
    pub(crate) async fn closed(&self) -> Option<u64> {
        match within("the connection to be closed", self.connection.closed()).await {
            quinn::ConnectionError::ApplicationClosed(close) => Some(close.error_code.into_inner()),
            _ => None,
        }
    }

    /// A unidirectional stream that begins with these bytes.
    pub(crate) async fn unidirectional(&self, bytes: &[u8]) -> Result<SendStream, Broken> {
        let mut send = self.connection.open_uni().await.map_err(Broken::from)?;
        send.write_all(bytes).await.map_err(Broken::from)?;
        Ok(send)
    }

    pub(crate) fn is_open(&self) -> bool {
        self.connection.close_reason().is_none()
    }
}

pub(crate) struct RawRequest {
    pub(crate) send: SendStream,
    recv: RecvStream,
}

impl RawRequest {
    pub(crate) fn reset(&mut self) {
        let _ = self.send.reset(VarInt::from_u32(0x10c));
    }

    pub(crate) async fn outcome(&mut self) -> Outcome {
        let read = within(
            "the end of a raw request",
            self.recv.read_to_end(ANSWER_BYTES_MAX),
        )
        .await;
        match read {
            Ok(answer) => Outcome::Answered(status(&answer)),
            Err(ReadToEndError::Read(quinn::ReadError::Reset(code))) => {
                Outcome::Reset(code.into_inner())
            }
            Err(_) => Outcome::Closed,
        }
    }
}

impl RawRequest {
    /// To go on frame by frame.
    pub(crate) fn into_tunnel(self) -> RawTunnel {
        RawTunnel {
            send: self.send,
            recv: RawFrames {
                recv: self.recv,
                buffer: BytesMut::new(),
            },
        }
    }
}

/// A request of which both directions stay open.
pub(crate) struct RawTunnel {
    send: SendStream,
    recv: RawFrames,
}

impl RawTunnel {
    /// The status of the answer, where it is one of the static table; none where there is no answer.
    pub(crate) async fn head(&mut self) -> Option<(Option<u16>, Bytes)> {
        let (_, block) = self.recv.frame(HEADERS).await?;
        Some((status_of_block(&block), block))
    }

    pub(crate) async fn data(&mut self) -> Option<Bytes> {
        self.recv.data().await
    }

    pub(crate) fn split(self) -> (SendStream, RawFrames) {
        (self.send, self.recv)
    }
}

/// The frames of an answer.
pub(crate) struct RawFrames {
    recv: RecvStream,
    buffer: BytesMut,
}

impl RawFrames {
    /// The payload of the next DATA frame; none at the end.
    pub(crate) async fn data(&mut self) -> Option<Bytes> {
        self.frame(DATA).await.map(|(_, payload)| payload)
    }

    /// The next frame of this type, others left out.
    async fn frame(&mut self, wanted: u64) -> Option<(u64, Bytes)> {
        loop {
            if let Some((kind, payload)) = take_frame(&mut self.buffer) {
                if kind == wanted {
                    return Some((kind, payload));
                }
                continue;
            }
            let chunk = self.recv.read_chunk(64 * 1024, true).await.ok()??;
            self.buffer.extend_from_slice(&chunk.bytes);
        }
    }
}

/// A whole frame off the front.
fn take_frame(buffer: &mut BytesMut) -> Option<(u64, Bytes)> {
    let (kind, kind_bytes) = varint(buffer)?;
    let (length, length_bytes) = varint(&buffer[kind_bytes..])?;
    let head = kind_bytes + length_bytes;
    let end = head + usize::try_from(length).expect("a length");
    if buffer.len() < end {
        return None;
    }
    let frame = buffer.split_to(end).freeze();
    Some((kind, frame.slice(head..)))
}

fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    let length = 1_usize << (first >> 6);
    let number = bytes.get(..length)?;
    let rest = number[1..].iter();
    let value = rest.fold(u64::from(first & 0x3f), |value, byte| {
        value << 8 | u64::from(*byte)
    });
    Some((value, length))
}

/// A HEADERS frame with these fields.
pub(crate) fn headers(fields: &[(String, String)]) -> Bytes {
    let mut block = BytesMut::new();
    // No dynamic table: required insert count 0, base 0.
    block.put_slice(&[0, 0]);
    for (name, value) in fields {
        put_prefixed(&mut block, 0x20, 3, name.len() as u64);
        block.put_slice(name.as_bytes());
        put_prefixed(&mut block, 0x00, 7, value.len() as u64);
        block.put_slice(value.as_bytes());
    }
    let mut frame = BytesMut::new();
    put_frame(&mut frame, HEADERS, &block);
    frame.freeze()
}

/// Type and length of a frame, without what they promise.
pub(crate) fn begun(kind: u64, length: usize) -> Bytes {
    let mut head = BytesMut::new();
    put_varint(&mut head, kind);
    put_varint(&mut head, length as u64);
    head.freeze()
}

/// A DATA frame.
pub(crate) fn data(payload: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    put_frame(&mut frame, DATA, payload);
    frame.freeze()
}

fn put_frame(out: &mut BytesMut, kind: u64, payload: &[u8]) {
    put_varint(out, kind);
    put_varint(out, payload.len() as u64);
    out.put_slice(payload);
}

/// RFC 9000, 16: here always four bytes where one does not do.
fn put_varint(out: &mut BytesMut, value: u64) {
    if value < 64 {
        out.put_u8(value as u8);
    } else {
        out.put_u32(0x8000_0000 | u32::try_from(value).expect("a small frame"));
    }
}

/// RFC 7541, 5.1: an integer behind `bits` free bits.
fn put_prefixed(out: &mut BytesMut, pattern: u8, bits: u32, value: u64) {
    let most = (1_u64 << bits) - 1;
    if value < most {
        return out.put_u8(pattern | value as u8);
    }
    out.put_u8(pattern | most as u8);
    let mut rest = value - most;
    while rest >= 128 {
        out.put_u8((rest % 128) as u8 | 0x80);
        rest /= 128;
    }
    out.put_u8(rest as u8);
}

/// The first field of the first frame, if it is a `:status` of the static table (RFC 9204, appendix A).
fn status(answer: &[u8]) -> Option<u16> {
    let length_bytes = 1_usize << (answer.get(1)? >> 6);
    status_of_block(answer.get(1 + length_bytes..)?)
}

fn status_of_block(block: &[u8]) -> Option<u16> {
    let block = block.get(2..)?;
    let index = match block.first()? {
        byte @ 0xc0..0xff => u16::from(byte & 0x3f),
        0xff => 63 + u16::from(*block.get(1)?),
        // The name from the static table, and a value of three digits.
        0x5f => return digits(block.get(2..)?),
        _ => return None,
    };
    let known = [
        (24, 103),
        (25, 200),
        (26, 304),
        (27, 404),
        (28, 503),
        (63, 100),
        (64, 204),
        (65, 206),
        (66, 302),
        (67, 400),
        (68, 403),
        (69, 421),
        (70, 425),
        (71, 500),
    ];
    known
        .iter()
        .find(|(at, _)| *at == index)
        .map(|(_, status)| *status)
}

/// A string literal of decimal digits, plain or in the Huffman code of RFC 7541, appendix B.
fn digits(text: &[u8]) -> Option<u16> {
    let (first, rest) = text.split_first()?;
    let bytes = rest.get(..usize::from(first & 0x7f))?;
    if first & 0x80 == 0 {
        return std::str::from_utf8(bytes).ok()?.parse().ok();
    }
    let bits: Vec<u16> = bytes
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |at| u16::from(byte >> at & 1)))
        .collect();
    let number = |bits: &[u16]| bits.iter().fold(0, |number, bit| number << 1 | bit);
    let (mut at, mut value) = (0, 0);
    // 0 to 2 have five bits, 3 to 9 six; the rest is padding.
    while let Some(short) = bits.get(at..at + 5) {
        let digit = match number(short) {
            digit @ 0..=2 => digit,
            _ => {
                at += 1;
                match number(bits.get(at - 1..at + 5)?) {
                    code @ 0x19..=0x1f => code - 0x19 + 3,
                    _ => return Some(value),
                }
            }
        };
        value = value * 10 + digit;
        at += 5;
    }
    Some(value)
}
