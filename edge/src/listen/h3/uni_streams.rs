//! The client's unidirectional streams (RFC 9114, 6.2): only the control stream goes to the h3
//! crate. It ignores what comes on QPACK's streams and on push streams, and both can be wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::{Stream, StreamExt, stream};
use h3::error::Code;
use quinn::ConnectionError;

use super::conduct::Conduct;
use super::frame_filter::varint;
use super::quinn_errors::code;
use crate::listen::quic::settings::UNI_STREAMS_MAX;

const CONTROL: u64 = 0x00;
const PUSH: u64 = 0x01;
const QPACK_ENCODER: u64 = 0x02;
const QPACK_DECODER: u64 = 0x03;

/// `Set Dynamic Table Capacity` to zero, the only capacity that we allow (RFC 9204, 4.3.1).
const CAPACITY_ZERO: u8 = 0x20;
/// Bytes of instructions read at once.
const INSTRUCTION_BYTES: usize = 256;

/// The client's control streams, each after its type; a second one is for the reader to refuse.
pub(super) fn control_streams(
    connection: quinn::Connection,
    conduct: Arc<Conduct>,
) -> impl Stream<Item = Result<quinn::RecvStream, ConnectionError>> + Send + Sync {
    let qpack = Arc::new(Qpack::default());
    stream::unfold(connection, |connection| async {
        Some((connection.accept_uni().await, connection))
    })
    .map(move |accepted| {
        let (conduct, qpack) = (conduct.clone(), qpack.clone());
        async move {
            match accepted {
                Ok(stream) => sort(stream, &conduct, &qpack).await.map(Ok),
                Err(error) => Some(Err(error)),
            }
        }
    })
    // No more can be open at once, so none waits for another.
    .buffer_unordered(UNI_STREAMS_MAX as usize)
    .filter_map(std::future::ready)
}

/// Which of QPACK's streams have come.
#[derive(Default)]
struct Qpack {
    encoder: AtomicBool,
    decoder: AtomicBool,
}

async fn sort(
    mut stream: quinn::RecvStream,
    conduct: &Conduct,
    qpack: &Qpack,
) -> Option<quinn::RecvStream> {
    // One that ends before its type says nothing (RFC 9114, 6.2).
    let Some(kind) = read_varint(&mut stream).await else {
        conduct.noise(1);
        return None;
    };
    match kind {
        CONTROL => return Some(stream),
        PUSH => conduct.close(Code::H3_STREAM_CREATION_ERROR, "a client does not push"),
        QPACK_ENCODER if !qpack.encoder.swap(true, Ordering::Relaxed) => {
            instructions(stream, conduct, encoder_instruction).await;
        }
        QPACK_DECODER if !qpack.decoder.swap(true, Ordering::Relaxed) => {
            instructions(stream, conduct, decoder_instruction).await;
        }
        QPACK_ENCODER | QPACK_DECODER => {
            conduct.close(Code::H3_STREAM_CREATION_ERROR, "a second QPACK stream");
        }
        _ => {
            conduct.noise(1);
            // An error means that the stream has ended already.
            let _ = stream.stop(code(Code::H3_STREAM_CREATION_ERROR.value()));
        }
    }
    None
}

async fn read_varint(stream: &mut quinn::RecvStream) -> Option<u64> {
    let mut bytes = [0; 8];
    let (first, rest) = bytes.split_first_mut()?;
    stream.read_exact(std::slice::from_mut(first)).await.ok()?;
    let length = 1_usize << (*first >> 6);
    stream.read_exact(rest.get_mut(..length - 1)?).await.ok()?;
    varint(&bytes).map(|(value, _)| value)
}

/// Whether an instruction goes on after this byte; or what is wrong with it.
type Instruction = fn(byte: u8, begins: bool) -> Result<bool, Code>;

async fn instructions(mut stream: quinn::RecvStream, conduct: &Conduct, judge: Instruction) {
    let mut bytes = [0; INSTRUCTION_BYTES];
    let mut begins = true;
    loop {
        let read = match stream.read(&mut bytes).await {
            Ok(Some(read)) => bytes.get(..read).unwrap_or(&[]),
            Err(quinn::ReadError::ConnectionLost(_)) => return,
            // RFC 9204, 4.2.
            Ok(None) | Err(_) => {
                return conduct.close(Code::H3_CLOSED_CRITICAL_STREAM, "a QPACK stream was closed");
            }
        };
        conduct.noise(read.len() as u64);
        for byte in read {
            match judge(*byte, begins) {
                Ok(goes_on) => begins = !goes_on,
                Err(code) => return conduct.close(code, "a QPACK instruction out of place"),
            }
        }
    }
}

/// Without a table there is nothing to insert, to name or to enlarge (RFC 9204, 3.2.3 and 4.3).
fn encoder_instruction(byte: u8, _begins: bool) -> Result<bool, Code> {
    match byte {
        CAPACITY_ZERO => Ok(false),
        _ => Err(Code::QPACK_ENCODER_STREAM_ERROR),
    }
}

/// We insert nothing, so nothing can be acknowledged; streams may be cancelled (RFC 9204, 4.4).
fn decoder_instruction(byte: u8, begins: bool) -> Result<bool, Code> {
    match (byte, begins) {
        (0x40..=0x7f, true) => Ok(byte & 0x3f == 0x3f),
        (_, true) => Err(Code::QPACK_DECODER_STREAM_ERROR),
        (_, false) => Ok(byte & 0x80 != 0),
    }
}
