//! An origin that writes down every byte it is sent, for tests of what may pass.
//!
//! It reads requests by their framing alone and answers each with its own line and body, so that
//! an answer says to which request it belongs. The first segment of the path says how:
//! `/switch` agrees to an upgrade and echoes, `/refuse` answers before it has read the body,
//! `/hints` sends an interim answer first, `/pieces` one in chunks, `/fresh` one that may be stored.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

/// A whole request, as it stood on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WireRequest {
    /// `METHOD target`.
    pub(crate) line: String,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl WireRequest {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.fields.iter();
        fields
            .find(|(found, _)| found == name)
            .map(|(_, value)| &**value)
    }
}

#[derive(Debug, Clone, Default)]
pub(crate) struct WireLog {
    /// Of all connections, as they came.
    pub(crate) bytes: Vec<u8>,
    pub(crate) requests: Vec<WireRequest>,
    /// Connections that ended in the middle of a request.
    pub(crate) broken: usize,
}

impl WireLog {
    pub(crate) fn contains(&self, text: &str) -> bool {
        self.bytes
            .windows(text.len())
            .any(|window| window == text.as_bytes())
    }
}

pub(crate) struct WireOrigin {
    pub(crate) address: SocketAddr,
    log: Arc<watch::Sender<WireLog>>,
    _stop: DropGuard,
}

impl WireOrigin {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let log = Arc::new(watch::channel(WireLog::default()).0);
        let stop = CancellationToken::new();
        let accept = {
            let (log, stop) = (log.clone(), stop.clone());
            async move {
                while let Ok((socket, _)) = listener.accept().await {
                    let log = log.clone();
                    let connection = async move {
                        let mut wire = Wire {
                            socket,
                            held: Vec::new(),
                            log,
                        };
                        if wire.serve().await.is_err() {
                            wire.log.send_modify(|log| log.broken += 1);
                        }
                    };
                    tokio::spawn(stop.clone().run_until_cancelled_owned(connection));
                }
            }
        };
        tokio::spawn(stop.clone().run_until_cancelled_owned(accept));
        Self {
            address,
            log,
            _stop: stop.drop_guard(),
        }
    }

    pub(crate) fn log(&self) -> WireLog {
        self.log.borrow().clone()
    }
}

struct Wire {
    socket: TcpStream,
    held: Vec<u8>,
    log: Arc<watch::Sender<WireLog>>,
}

impl Wire {
    async fn serve(&mut self) -> io::Result<()> {
        loop {
            if self.held.is_empty() && self.fill().await? == 0 {
                return Ok(());
            }
            let head = self.head().await?;
            let mut lines = head.split("\r\n");
            let start = lines.next().unwrap_or("");
            let line = start.rsplit_once(' ').map_or(start, |(line, _)| line);
            let fields: Vec<(String, String)> = lines
                .filter_map(|line| line.split_once(':'))
                .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
                .collect();
            let mut request = WireRequest {
                line: line.to_owned(),
                fields,
                body: Vec::new(),
            };
            let target = line.split_once(' ').map_or("", |(_, target)| target);
            let behaviour = target.split(['/', '?']).nth(1).unwrap_or("").to_owned();
            if behaviour == "refuse" {
                self.record(request);
                let answer = b"HTTP/1.1 417 Expectation Failed\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                self.socket.write_all(answer).await?;
                return self.socket.shutdown().await;
            }
            if request.field("expect").is_some() {
                self.socket
                    .write_all(b"HTTP/1.1 100 Continue\r\n\r\n")
                    .await?;
            }
            request.body = self.body(&request).await?;
            let switches = behaviour == "switch" && request.field("upgrade").is_some();
            let answer = answer(&behaviour, &request);
            self.record(request);
            self.socket.write_all(&answer).await?;
            if switches {
                return self.echo().await;
            }
        }
    }

    fn record(&self, request: WireRequest) {
        self.log.send_modify(|log| log.requests.push(request));
    }

    async fn fill(&mut self) -> io::Result<usize> {
        let before = self.held.len();
        let read = self.socket.read_buf(&mut self.held).await?;
        let new = self.held[before..].to_vec();
        self.log.send_modify(|log| log.bytes.extend(new));
        Ok(read)
    }

    async fn more(&mut self) -> io::Result<()> {
        match self.fill().await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Up to the empty line, without it.
    async fn head(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = find(&self.held, b"\r\n\r\n") {
                let head = self.held.drain(..end + 4).collect::<Vec<_>>();
                return Ok(String::from_utf8_lossy(&head[..end]).into_owned());
            }
            self.more().await?;
        }
    }

    async fn take(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.held.len() < length {
            self.more().await?;
        }
        Ok(self.held.drain(..length).collect())
    }

    async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = find(&self.held, b"\r\n") {
                let line = self.take(end + 2).await?;
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            self.more().await?;
        }
    }

    async fn body(&mut self, request: &WireRequest) -> io::Result<Vec<u8>> {
        if request.field("transfer-encoding").is_none() {
            let length = request.field("content-length").unwrap_or("0");
            return self.take(length.parse().map_err(io::Error::other)?).await;
        }
        let mut body = Vec::new();
        loop {
            let size = self.line().await?;
            let size = usize::from_str_radix(&size, 16).map_err(io::Error::other)?;
            if size == 0 {
                while !self.line().await?.is_empty() {}
                return Ok(body);
            }
            body.extend(self.take(size).await?);
            self.take(2).await?;
        }
    }

    async fn echo(&mut self) -> io::Result<()> {
        loop {
            let held = std::mem::take(&mut self.held);
            self.socket.write_all(&held).await?;
            if self.fill().await? == 0 {
                return self.socket.shutdown().await;
            }
        }
    }
}

/// The request's line and body, as an answer of this kind.
fn answer(behaviour: &str, request: &WireRequest) -> Vec<u8> {
    let mut body = format!("{}|", request.line).into_bytes();
    body.extend(&request.body);
    let head = match behaviour {
        "switch" if request.field("upgrade").is_some() => {
            return b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
                .to_vec();
        }
        "pieces" => {
            let mut answer = format!(
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n",
                body.len()
            )
            .into_bytes();
            answer.extend(&body);
            answer.extend(b"\r\n0\r\n\r\n");
            return answer;
        }
        "hints" => "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\n",
        "fresh" => "HTTP/1.1 200 OK\r\ncache-control: max-age=600\r\n",
        _ => "HTTP/1.1 200 OK\r\n",
    };
    let mut answer = format!("{head}content-length: {}\r\n\r\n", body.len()).into_bytes();
    if !request.line.starts_with("HEAD ") {
        answer.extend(body);
    }
    answer
}

pub(crate) fn find(bytes: &[u8], text: &[u8]) -> Option<usize> {
    bytes.windows(text.len()).position(|window| window == text)
}
