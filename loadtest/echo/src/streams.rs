//! The streams: numbers, sums, conversations, files.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status, Streaming};

use crate::google::api::HttpBody;
use crate::proto::{
    ChatRequest, ChatResponse, CountRequest, CountResponse, FileRequest, SumRequest, SumResponse,
    UploadRequest, UploadResponse,
};
use crate::service::{Answers, failure, length};

/// Messages that wait for a client; what it does not take is not made.
const WAITING_MAX: usize = 4;

const PIECE_BYTES: usize = 64 * 1024;

/// Of a file that is answered whole.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// A call under way.
#[derive(Debug)]
pub(crate) struct Counted(Arc<AtomicUsize>);

impl Counted {
    pub(crate) fn new(under_way: Arc<AtomicUsize>) -> Self {
        under_way.fetch_add(1, Ordering::SeqCst);
        Self(under_way)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

pub(crate) fn count(
    asked: CountRequest,
    counted: Counted,
    so_far: Arc<AtomicUsize>,
) -> Result<Answers<CountResponse>, Status> {
    let pause = asked.pause.as_ref().map(length).transpose()?;
    let padding = Bytes::from(vec![b'.'; asked.padding_bytes as usize]);
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    tokio::spawn(async move {
        let _counted = counted;
        let last = if asked.to == 0 { u64::MAX } else { asked.to };
        for (sent, number) in (0..).zip(asked.from..=last) {
            if asked.fail_after > 0 && sent == asked.fail_after {
                let failed = failure(&asked.fail.clone().unwrap_or_default());
                let _ = sender.send(failed.map(|()| CountResponse::default())).await;
                return;
            }
            if !pause_or_gone(pause, &sender).await {
                return;
            }
            let kind = if number % 2 == 0 { "even" } else { "odd" };
            let message = CountResponse {
                number,
                kind: kind.to_owned(),
                padding: padding.clone(),
            };
            if sender.send(Ok(message)).await.is_err() {
                return;
            }
            so_far.fetch_add(1, Ordering::SeqCst);
        }
    });
    Ok(Box::pin(ReceiverStream::new(receiver)))
}

/// False where nobody listens any more.
async fn pause_or_gone<T>(pause: Option<Duration>, sender: &mpsc::Sender<T>) -> bool {
    let Some(pause) = pause else {
        return true;
    };
    tokio::select! {
        () = tokio::time::sleep(pause) => true,
        () = sender.closed() => false,
    }
}

pub(crate) async fn sum(mut numbers: Streaming<SumRequest>) -> Result<SumResponse, Status> {
    let mut total = SumResponse::default();
    while let Some(message) = numbers.next().await {
        total.sum = total.sum.wrapping_add(message?.number);
        total.messages += 1;
    }
    Ok(total)
}

pub(crate) fn chat(mut said: Streaming<ChatRequest>, counted: Counted) -> Answers<ChatResponse> {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    tokio::spawn(async move {
        let _counted = counted;
        let mut seq = 0;
        loop {
            let message = tokio::select! {
                message = said.next() => message,
                () = sender.closed() => return,
            };
            let answer = match message {
                None => return,
                Some(Ok(ChatRequest { room, text })) => {
                    seq += 1;
                    Ok(ChatResponse { room, text, seq })
                }
                Some(Err(status)) => Err(status),
            };
            let ends = answer.is_err();
            if sender.send(answer).await.is_err() || ends {
                return;
            }
        }
    });
    Box::pin(ReceiverStream::new(receiver))
}

/// Of no meaning, but hardly ever the same in two places: 251 is prime.
fn byte_at(at: u64) -> u8 {
    u8::try_from(at % 251).unwrap_or(0)
}

/// What a file holds from one place to another.
#[must_use]
pub fn piece(from: u64, to: u64) -> Bytes {
    (from..to).map(byte_at).collect()
}

/// FNV-1a, 64 bits: enough to see that no byte is another or elsewhere.
#[derive(Debug, Clone, Copy)]
pub struct Checksum(u64);

impl Default for Checksum {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Checksum {
    /// Goes on with these bytes.
    pub fn update(&mut self, data: &[u8]) {
        for byte in data {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

impl std::fmt::Display for Checksum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

fn content_type(asked: &FileRequest) -> String {
    match asked.content_type.as_str() {
        "" => "application/octet-stream".to_owned(),
        other => other.to_owned(),
    }
}

pub(crate) fn whole_file(asked: &FileRequest) -> Result<HttpBody, Status> {
    if asked.bytes > FILE_BYTES_MAX {
        return Err(Status::out_of_range("the file is too long for one message"));
    }
    Ok(HttpBody {
        content_type: content_type(asked),
        data: piece(0, asked.bytes),
        extensions: Vec::new(),
    })
}

/// Metadata of the answer and its pieces.
pub(crate) fn download(
    asked: &FileRequest,
    metadata: &MetadataMap,
    counted: Counted,
) -> Result<(MetadataMap, Answers<HttpBody>), Status> {
    let mut head = MetadataMap::new();
    let etag = format!("\"{}-{}\"", asked.name, asked.bytes);
    let tag = MetadataValue::try_from(&etag)
        .map_err(|_| Status::invalid_argument("the name cannot be a tag"))?;
    head.insert("etag", tag);
    if metadata
        .get("if-none-match")
        .is_some_and(|seen| *seen == *etag)
    {
        head.insert("x-http-status", MetadataValue::from_static("304"));
        return Ok((head, Box::pin(tokio_stream::empty())));
    }
    let (mut from, mut to) = (0, asked.bytes);
    if let Some((first, last)) = metadata
        .get("range")
        .and_then(|range| span(range.to_str().ok()?))
    {
        if first >= asked.bytes {
            let mut status = Status::new(Code::OutOfRange, "the range is past the end");
            let metadata = status.metadata_mut();
            metadata.insert("x-http-status", MetadataValue::from_static("416"));
            if let Ok(value) = MetadataValue::try_from(format!("bytes */{}", asked.bytes)) {
                metadata.insert("x-http-header-content-range", value);
            }
            return Err(status);
        }
        (from, to) = (first, last.saturating_add(1).min(asked.bytes));
        let range = format!("bytes {from}-{}/{}", to - 1, asked.bytes);
        head.insert("x-http-status", MetadataValue::from_static("206"));
        if let Ok(value) = MetadataValue::try_from(&range) {
            head.insert("x-http-header-content-range", value);
        }
    }
    let announced = match asked.announced_bytes {
        0 => to - from,
        bytes => bytes,
    };
    if let Ok(value) = MetadataValue::try_from(announced.to_string()) {
        head.insert("x-http-header-content-length", value);
    }
    Ok((head, pieces(asked, from, to, counted)))
}

/// From one place of the file to another.
fn pieces(asked: &FileRequest, from: u64, to: u64, counted: Counted) -> Answers<HttpBody> {
    let step = match asked.piece_bytes {
        0 => PIECE_BYTES as u64,
        bytes => u64::from(bytes),
    };
    let content_type = content_type(asked);
    let fails_at = Some(asked.fails_at).filter(|at| *at > 0);
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    tokio::spawn(async move {
        let _counted = counted;
        let mut at = from;
        // An empty file has a type, too.
        let mut is_first = true;
        while at < to || is_first {
            if fails_at.is_some_and(|fails_at| at >= fails_at) {
                let _ = sender.send(Err(Status::data_loss("as it was told"))).await;
                return;
            }
            let end = at.saturating_add(step).min(to);
            let body = HttpBody {
                content_type: if is_first {
                    content_type.clone()
                } else {
                    String::new()
                },
                data: piece(at, end),
                extensions: Vec::new(),
            };
            if sender.send(Ok(body)).await.is_err() {
                return;
            }
            (at, is_first) = (end, false);
        }
    });
    Box::pin(ReceiverStream::new(receiver))
}

/// `bytes=first-last`, or `bytes=first-`.
fn span(range: &str) -> Option<(u64, u64)> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let last = match last {
        "" => u64::MAX,
        last => last.parse().ok()?,
    };
    Some((first.parse().ok()?, last)).filter(|(first, last)| first <= last)
}

pub(crate) async fn upload(mut pieces: Streaming<UploadRequest>) -> Result<UploadResponse, Status> {
    let mut seen = UploadResponse::default();
    let mut sum = Checksum::default();
    while let Some(message) = pieces.next().await {
        let UploadRequest { name, file, title } = message?;
        seen.messages += 1;
        keep(&mut seen.name, name);
        keep(&mut seen.title, title);
        let file = file.unwrap_or_default();
        keep(&mut seen.content_type, file.content_type);
        sum.update(&file.data);
        seen.bytes += file.data.len() as u64;
    }
    seen.checksum = sum.to_string();
    Ok(seen)
}

fn keep(kept: &mut String, new: String) {
    if !new.is_empty() {
        *kept = new;
    }
}
