//! A client that writes bytes as they are and reads answers one by one.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::tls;
use crate::harness::Edge;
use crate::harness::waiting::within;
use crate::upstream::wire::find;

pub(super) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    Plain,
    Tls,
}

/// How the bytes are cut into writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    Whole,
    /// One write for each byte.
    Bytes,
    At(usize),
}

pub(super) struct Answer {
    pub(super) status: u16,
    /// In lower case, with line ends.
    pub(super) head: String,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        let mut lines = self
            .head
            .split("\r\n")
            .filter_map(|line| line.split_once(": "));
        lines
            .find(|(found, _)| *found == name)
            .map(|(_, value)| value)
    }
}

pub(super) struct Socket {
    io: Box<dyn Io>,
    held: Vec<u8>,
}

impl Socket {
    pub(super) async fn connect(edge: &Edge, over: Over) -> Self {
        let io: Box<dyn Io> = match over {
            Over::Plain => {
                let socket = TcpStream::connect(edge.http).await.expect("a connection");
                socket.set_nodelay(true).expect("a socket");
                Box::new(socket)
            }
            Over::Tls => Box::new(tls::socket(edge).await),
        };
        Self {
            io,
            held: Vec::new(),
        }
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) {
        self.write(bytes, Cut::Whole).await.expect("the edge reads");
    }

    /// An error means that the edge has closed.
    pub(super) async fn write(&mut self, bytes: &[u8], cut: Cut) -> io::Result<()> {
        let pieces: Vec<&[u8]> = match cut {
            Cut::Whole => vec![bytes],
            Cut::Bytes => bytes.chunks(1).collect(),
            Cut::At(place) => {
                let (before, after) = bytes.split_at(place);
                vec![before, after]
            }
        };
        for piece in pieces {
            self.io.write_all(piece).await?;
            self.io.flush().await?;
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// False at the end.
    async fn fill(&mut self) -> bool {
        matches!(self.io.read_buf(&mut self.held).await, Ok(1..))
    }

    /// Bytes that are not an answer.
    pub(super) async fn raw(&mut self, length: usize) -> Vec<u8> {
        within("bytes", async {
            while self.held.len() < length {
                assert!(self.fill().await, "closed after {:?}", self.held);
            }
        })
        .await;
        self.held.drain(..length).collect()
    }

    /// The next answer, interim ones included; none where the connection ended.
    pub(super) async fn answer(&mut self, to: &str) -> Option<Answer> {
        within(format_args!("an answer to {to}"), self.next(to)).await
    }

    async fn next(&mut self, to: &str) -> Option<Answer> {
        let end = loop {
            if let Some(end) = find(&self.held, b"\r\n\r\n") {
                break end;
            }
            if !self.fill().await {
                assert!(
                    self.held.is_empty(),
                    "a cut answer to {to}: {:?}",
                    self.held
                );
                return None;
            }
        };
        let head = self.held.drain(..end + 4).collect::<Vec<_>>();
        let head = String::from_utf8(head).expect("text").to_ascii_lowercase();
        let status = head.get(9..12).and_then(|status| status.parse().ok());
        let mut answer = Answer {
            status: status.unwrap_or_else(|| panic!("no status in {head}")),
            head,
            body: String::new(),
        };
        let bodyless = to.starts_with("HEAD") || matches!(answer.status, 100..=199 | 204 | 304);
        let body = match answer.field("content-length") {
            _ if bodyless => Vec::new(),
            Some(length) => {
                let length = length.parse().expect("a length");
                self.raw(length).await
            }
            None if answer.field("transfer-encoding").is_some() => self.chunks().await,
            None => {
                while self.fill().await {}
                std::mem::take(&mut self.held)
            }
        };
        answer.body = String::from_utf8_lossy(&body).into_owned();
        Some(answer)
    }

    async fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            while find(&self.held, b"\r\n").is_none() {
                assert!(self.fill().await, "cut in a chunk size");
            }
            let end = find(&self.held, b"\r\n").expect("a line");
            let size = self.held.drain(..end + 2).collect::<Vec<_>>();
            let size = std::str::from_utf8(&size[..end]).expect("text");
            let size = usize::from_str_radix(size, 16).expect("a size");
            let chunk = self.raw(size + 2).await;
            if size == 0 {
                return body;
            }
            body.extend(&chunk[..size]);
        }
    }

    /// Nothing more may come but the end.
    pub(super) async fn ended(&mut self, what: &str) {
        within(format_args!("the end of {what}"), async {
            while self.fill().await {}
        })
        .await;
        let rest = String::from_utf8_lossy(&self.held);
        assert!(rest.is_empty(), "{what}: {rest}");
    }
}

/// The status of the answer to these bytes, after which the connection ends.
pub(super) async fn last_status(edge: &Edge, bytes: &[u8]) -> u16 {
    let mut socket = Socket::connect(edge, Over::Plain).await;
    let _ = socket.write(bytes, Cut::Whole).await;
    let answer = socket.answer("the last request").await.expect("an answer");
    socket.ended("the refused connection").await;
    answer.status
}
