//! Clients that ask for a large answer and hardly take it, one kind for each protocol.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::client::h3::H3Client;
use crate::client::{Client, Download, Protocol, tls};
use crate::harness::Edge;
use crate::harness::waiting::within;

/// Receive buffers and windows: the kernel and the protocol shall not take much for us.
const WINDOW: u32 = 4_096;
/// RFC 9113, 6.9.1.
const WINDOW_MAX: u32 = (1 << 31) - 1;

pub(super) enum SlowReader {
    H1(Box<TlsStream<TcpStream>>),
    H2(h2::RecvStream),
    H3 {
        download: Box<Download>,
        /// Without it the connection ends.
        _client: Box<Client>,
    },
}

async fn socket(edge: &Edge, alpn: &str) -> TlsStream<TcpStream> {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(WINDOW).expect("a socket");
    let socket = socket.connect(edge.https).await.expect("a connection");
    let name = ServerName::try_from("localhost").expect("a name");
    let connector = TlsConnector::from(Arc::new(tls::config(&[alpn])));
    connector.connect(name, socket).await.expect("a handshake")
}

/// An h2 connection of which nothing is read once the answer has begun.
pub(super) struct UnreadSocket {
    _connection: h2::client::Connection<TlsStream<TcpStream>, Bytes>,
    _answer: h2::RecvStream,
}

impl UnreadSocket {
    pub(super) async fn open(edge: &Edge, path: &str) -> Self {
        let mut builder = h2::client::Builder::new();
        builder
            .initial_window_size(WINDOW_MAX)
            .initial_connection_window_size(WINDOW_MAX);
        let opening = async {
            let socket = socket(edge, "h2").await;
            let (mut sender, mut connection) = builder
                .handshake::<_, Bytes>(socket)
                .await
                .expect("a connection");
            let (answer, _) = sender
                .send_request(request(edge, path), true)
                .expect("a stream");
            let answer = tokio::select! {
                answer = answer => answer.expect("an answer"),
                _ = &mut connection => panic!("the edge closed the connection"),
            };
            Self {
                _connection: connection,
                _answer: answer.into_body(),
            }
        };
        within("an answer to begin", Box::pin(opening)).await
    }
}

fn request(edge: &Edge, path: &str) -> Request<()> {
    let target = format!("https://localhost:{}{path}", edge.https.port());
    Request::get(target).body(()).expect("a request")
}

impl SlowReader {
    pub(super) async fn open(protocol: Protocol, edge: &Edge, path: &str) -> Self {
        let opening = async {
            match protocol {
                Protocol::H1 => {
                    let mut socket = socket(edge, "http/1.1").await;
                    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
                    socket.write_all(request.as_bytes()).await.expect("sent");
                    Self::H1(Box::new(socket))
                }
                Protocol::H2 => Self::h2(edge, path).await,
                Protocol::H3 => Self::h3(edge, path).await,
            }
        };
        within("a slow reader to begin", Box::pin(opening)).await
    }

    async fn h2(edge: &Edge, path: &str) -> Self {
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(WINDOW);
        let socket = socket(edge, "h2").await;
        let (mut sender, connection) = builder
            .handshake::<_, Bytes>(socket)
            .await
            .expect("a connection");
        tokio::spawn(connection);
        let (answer, _) = sender
            .send_request(request(edge, path), true)
            .expect("a stream");
        let answer = answer.await.expect("an answer");
        assert_eq!(answer.status(), 200);
        Self::H2(answer.into_body())
    }

    async fn h3(edge: &Edge, path: &str) -> Self {
        let client = H3Client::connect(edge.https, Some(WINDOW)).await;
        let mut client = Client::H3(client.expect("a connection"));
        let (_, pending) = client
            .open(Method::GET, path, &[], false)
            .await
            .expect("a stream");
        let (head, download) = pending.head().await.expect("an answer");
        assert_eq!(head.status, 200);
        Self::H3 {
            download: Box::new(download),
            _client: Box::new(client),
        }
    }

    /// Take a little; false when the edge has broken off.
    async fn take(&mut self) -> bool {
        match self {
            Self::H1(socket) => matches!(socket.read(&mut [0; 64]).await, Ok(1..)),
            Self::H2(body) => match body.data().await {
                Some(Ok(data)) => {
                    let flow = body.flow_control();
                    flow.release_capacity(data.len()).is_ok()
                }
                Some(Err(_)) | None => false,
            },
            Self::H3 { download, .. } => matches!(download.chunk().await, Ok(Some(_))),
        }
    }

    /// Take a little after each pause. On HTTP/1.1 the sockets' buffers outlast the edge's patience.
    pub(super) async fn until_cut(mut self, pause: Duration) {
        while self.take().await {
            tokio::time::sleep(pause).await;
        }
    }
}
