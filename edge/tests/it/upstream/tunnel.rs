//! A WebSocket echo by hand, and its client: one small text message at a time.

use std::io;
use std::net::SocketAddr;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::client::tls;
use crate::harness::waiting::within;

/// The pair of the RFC's own example (RFC 6455, 1.3).
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// FIN and opcode 1 (RFC 6455, 5.2).
const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;
const MASKED: u8 = 0x80;
/// Beyond it a length takes more bytes.
const SHORT_MAX: u8 = 125;
const MASK: [u8; 4] = [1, 2, 3, 4];

/// Echoes the messages of every connection; stops when dropped.
pub(crate) struct EchoTunnel {
    pub(crate) address: SocketAddr,
    _stop: DropGuard,
}

impl EchoTunnel {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let stop = CancellationToken::new();
        tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                tokio::spawn(async move {
                    // An error is a client that left.
                    let _ = echo(&mut socket).await;
                });
            }
        }));
        Self {
            address,
            _stop: stop.drop_guard(),
        }
    }
}

async fn echo(socket: &mut TcpStream) -> io::Result<()> {
    head(socket).await?;
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: {ACCEPT}\r\n\r\n"
    );
    socket.write_all(answer.as_bytes()).await?;
    loop {
        let text = message(socket).await?;
        let length = u8::try_from(text.len()).map_err(io::Error::other)?;
        socket
            .write_all(&[&[TEXT, length], text.as_slice()].concat())
            .await?;
    }
}

/// Everything up to the empty line.
async fn head(io: &mut (impl AsyncRead + Unpin)) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(io.read_u8().await?);
    }
    String::from_utf8(head).map_err(io::Error::other)
}

async fn message(io: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let (kind, length) = (io.read_u8().await?, io.read_u8().await?);
    if kind != TEXT || length & !MASKED > SHORT_MAX {
        return Err(io::Error::other("not a short text message"));
    }
    let mut mask = [0; 4];
    if length & MASKED != 0 {
        io.read_exact(&mut mask).await?;
    }
    let mut text = vec![0; usize::from(length & !MASKED)];
    io.read_exact(&mut text).await?;
    for (byte, mask) in text.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
    Ok(text)
}

/// A tunnel through the edge, over TLS and HTTP/1.1.
pub(crate) struct Tunnel(TlsStream<TcpStream>);

impl Tunnel {
    pub(crate) async fn open(https: SocketAddr, path: &str) -> Self {
        let opened = async {
            let socket = TcpStream::connect(https).await?;
            let connector = TlsConnector::from(std::sync::Arc::new(tls::config(&["http/1.1"])));
            let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
            let mut stream = connector.connect(name, socket).await?;
            let request = format!(
                "GET {path} HTTP/1.1\r\nhost: localhost:{}\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: {KEY}\r\n\r\n",
                https.port()
            );
            stream.write_all(request.as_bytes()).await?;
            let head = head(&mut stream).await?;
            assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
            io::Result::Ok(Self(stream))
        };
        within("a tunnel", opened).await.expect("a tunnel")
    }

    /// Code and reason of the Close frame that comes next (RFC 6455, 5.5.1).
    pub(crate) async fn closed(&mut self) -> io::Result<(u16, String)> {
        let frame = async {
            let (kind, length) = (self.0.read_u8().await?, self.0.read_u8().await?);
            if kind != CLOSE || length < 2 {
                return Err(io::Error::other("not a Close frame"));
            }
            let code = self.0.read_u16().await?;
            let mut reason = vec![0; usize::from(length) - 2];
            self.0.read_exact(&mut reason).await?;
            let reason = String::from_utf8(reason).map_err(io::Error::other)?;
            Ok((code, reason))
        };
        within("a Close frame", frame).await
    }

    /// Send a message of at most 125 bytes and read it back.
    pub(crate) async fn echo(&mut self, text: &str) -> io::Result<()> {
        let exchange = async {
            let length = u8::try_from(text.len()).map_err(io::Error::other)?;
            let masked = text.bytes().zip(MASK.iter().cycle());
            let masked: Vec<u8> = masked.map(|(byte, mask)| byte ^ mask).collect();
            let frame = [&[TEXT, MASKED | length], &MASK[..], &masked].concat();
            self.0.write_all(&frame).await?;
            let received = message(&mut self.0).await?;
            assert_eq!(received, text.as_bytes());
            io::Result::Ok(())
        };
        within("an echo", exchange).await
    }
}
