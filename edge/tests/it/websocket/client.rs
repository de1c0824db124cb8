//! A WebSocket client over HTTP/1.1, HTTP/2 and HTTP/3: one frame codec, three handshakes.

use std::net::SocketAddr;
use std::sync::Arc;

use ::http::{Method, Request, Uri};
use bytes::{Buf, Bytes, BytesMut};
use futures::{SinkExt, StreamExt};
use h2::ext::Protocol as Extended;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::client::raw_h3::{self, RawH3};
use crate::client::{Protocol, tls};
use crate::harness::waiting::within;

/// Bytes under way between the codec and the stream of h2 or h3, in each direction.
const PIPE_BYTES: usize = 64 * 1024;
/// Larger than any message of the tests.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

pub(crate) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// An open connection.
pub(crate) struct Client {
    socket: WebSocketStream<Box<dyn Io>>,
}

/// The answer to a handshake that opened nothing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// None where the stream was reset, or where the status is not one of QPACK's table.
    pub(crate) status: Option<u16>,
    pub(crate) body: String,
}

impl Refused {
    /// The `code` member of the problem document.
    pub(crate) fn code(&self) -> String {
        let problem: serde_json::Value = serde_json::from_str(&self.body).unwrap_or_default();
        problem["code"].as_str().unwrap_or_default().to_owned()
    }
}

pub(crate) type Fields<'a> = &'a [(&'a str, &'a str)];

impl Client {
    /// Connect to `path` on the https port, with further request fields.
    pub(crate) async fn connect(
        protocol: Protocol,
        edge: SocketAddr,
        path: &str,
        fields: Fields<'_>,
    ) -> Result<Self, Refused> {
        let connecting = async {
            match protocol {
                Protocol::H1 => h1(edge, path, fields).await,
                Protocol::H2 => h2(edge, path, fields, "websocket").await,
                Protocol::H3 => h3(edge, path, fields, "websocket").await,
            }
        };
        within(format!("{protocol:?} handshake"), Box::pin(connecting)).await
    }

    async fn over(io: Box<dyn Io>) -> Self {
        let config = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        Self {
            socket: WebSocketStream::from_raw_socket(io, Role::Client, Some(config)).await,
        }
    }

    pub(crate) async fn send(&mut self, message: Message) {
        within("a message to be taken", self.socket.send(message))
            .await
            .expect("the connection is open");
    }

    /// False where the connection is gone.
    pub(crate) async fn try_send(&mut self, message: Message) -> bool {
        within("a message to be taken", self.socket.send(message))
            .await
            .is_ok()
    }

    /// The next message; `None` at the end, whether or not a Close frame came before.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        match within("a message", self.socket.next()).await {
            Some(Ok(message)) => Some(message),
            Some(Err(
                Error::ConnectionClosed | Error::Protocol(_) | Error::Io(_) | Error::AlreadyClosed,
            ))
            | None => None,
            Some(Err(error)) => panic!("{error:?}"),
        }
    }

    /// Send and have it back.
    pub(crate) async fn echo(&mut self, message: Message) {
        self.send(message.clone()).await;
        assert_eq!(self.next().await, Some(message));
    }

    /// Code and reason of the Close frame that comes next, pings aside.
    pub(crate) async fn closed(&mut self) -> Option<(u16, String)> {
        loop {
            match self.next().await? {
                Message::Close(frame) => {
                    return frame.map(|frame| (frame.code.into(), frame.reason.to_string()));
                }
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("expected the end, got {} bytes", other.len()),
            }
        }
    }

    /// Close from our side, and end it.
    pub(crate) async fn close_and_end(&mut self) {
        within("a close to be taken", self.socket.close(None))
            .await
            .expect("the connection is open");
        let io = self.socket.get_mut();
        within("the end", io.shutdown()).await.expect("a stream");
    }

    /// Close from our side and wait for the answer.
    pub(crate) async fn close(mut self) -> Option<(u16, String)> {
        within("a close to be taken", self.socket.close(None))
            .await
            .expect("the connection is open");
        self.closed().await
    }
}

async fn tls_stream(edge: SocketAddr, alpn: &str) -> impl Io + use<> {
    let socket = TcpStream::connect(edge).await.expect("a connection");
    let connector = TlsConnector::from(Arc::new(tls::config(&[alpn])));
    let name = ServerName::try_from("localhost").expect("a name");
    connector.connect(name, socket).await.expect("a handshake")
}

async fn h1(edge: SocketAddr, path: &str, fields: Fields<'_>) -> Result<Client, Refused> {
    let stream: Box<dyn Io> = Box::new(tls_stream(edge, "http/1.1").await);
    let uri: Uri = format!("ws://localhost:{}{path}", edge.port())
        .parse()
        .expect("a target");
    let mut request = uri.into_client_request().expect("a request");
    for (name, value) in fields {
        let name: ::http::HeaderName = name.parse().expect("a name");
        request
            .headers_mut()
            .append(name, value.parse().expect("a value"));
    }
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    match tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await {
        Ok((socket, _)) => Ok(Client { socket }),
        Err(Error::Http(response)) => Err(Refused {
            status: Some(response.status().as_u16()),
            body: String::from_utf8_lossy(response.body().as_deref().unwrap_or(&[])).into_owned(),
        }),
        Err(error) => panic!("{error:?}"),
    }
}

/// RFC 8441.
pub(crate) async fn h2(
    edge: SocketAddr,
    path: &str,
    fields: Fields<'_>,
    protocol: &str,
) -> Result<Client, Refused> {
    let stream = tls_stream(edge, "h2").await;
    let mut builder = h2::client::Builder::new();
    builder
        .initial_window_size(PIPE_BYTES as u32)
        .initial_connection_window_size(1 << 20);
    let (send, connection) = builder.handshake(stream).await.expect("an h2 connection");
    tokio::spawn(connection);
    let mut send = send.ready().await.expect("an h2 connection");
    crate::harness::waiting::until("the setting of RFC 8441", || async {
        send.is_extended_connect_protocol_enabled().then_some(())
    })
    .await;
    let mut request = Request::builder()
        .method(Method::CONNECT)
        .uri(format!("https://localhost:{}{path}", edge.port()))
        .header("sec-websocket-version", "13");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let mut request = request.body(()).expect("a request");
    request.extensions_mut().insert(Extended::from(protocol));
    let (response, up) = send.send_request(request, false).expect("a stream");
    let response = response.await.expect("an answer");
    let status = response.status().as_u16();
    for name in ["connection", "upgrade", "sec-websocket-accept"] {
        assert!(!response.headers().contains_key(name), "{name} on h2");
    }
    let mut down = response.into_body();
    if status != 200 {
        let mut body = BytesMut::new();
        while let Some(Ok(data)) = down.data().await {
            body.extend_from_slice(&data);
        }
        return Err(Refused {
            status: Some(status),
            body: String::from_utf8_lossy(&body).into_owned(),
        });
    }
    let (near, far) = tokio::io::duplex(PIPE_BYTES);
    pump_h2(far, up, down);
    Ok(Client::over(Box::new(near)).await)
}

fn pump_h2(far: DuplexStream, mut up: h2::SendStream<Bytes>, mut down: h2::RecvStream) {
    let (mut read, mut write) = tokio::io::split(far);
    tokio::spawn(async move {
        let mut buffer = vec![0; PIPE_BYTES];
        while let Ok(count @ 1..) = read.read(&mut buffer).await {
            let mut data = Bytes::copy_from_slice(&buffer[..count]);
            while data.has_remaining() {
                up.reserve_capacity(data.len());
                let Some(Ok(room)) = std::future::poll_fn(|cx| up.poll_capacity(cx)).await else {
                    return;
                };
                let piece = data.split_to(room.min(data.len()));
                if up.send_data(piece, false).is_err() {
                    return;
                }
            }
        }
        let _ = up.send_data(Bytes::new(), true);
    });
    tokio::spawn(async move {
        while let Some(Ok(data)) = down.data().await {
            if write.write_all(&data).await.is_err() {
                return;
            }
            let _ = down.flow_control().release_capacity(data.len());
        }
        let _ = write.shutdown().await;
    });
}

/// RFC 9220, by hand: the h3 crate's client cannot ask for this protocol.
pub(crate) async fn h3(
    edge: SocketAddr,
    path: &str,
    fields: Fields<'_>,
    protocol: &str,
) -> Result<Client, Refused> {
    let connection = RawH3::connect(edge).await.expect("a connection");
    let mut head = connection.head("CONNECT", path);
    head.push((":protocol".to_owned(), protocol.to_owned()));
    head.push(("sec-websocket-version".to_owned(), "13".to_owned()));
    head.extend(
        fields
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    );
    let request = connection
        .begin(raw_h3::headers(&head))
        .await
        .expect("a stream");
    let mut tunnel = request.into_tunnel();
    let Some((status, _)) = tunnel.head().await else {
        return Err(Refused {
            status: None,
            body: String::new(),
        });
    };
    if status != Some(200) {
        let mut body = Vec::new();
        while let Some(data) = tunnel.data().await {
            body.extend_from_slice(&data);
        }
        return Err(Refused {
            status,
            body: String::from_utf8_lossy(&body).into_owned(),
        });
    }
    let (near, far) = tokio::io::duplex(PIPE_BYTES);
    let (mut read, mut write) = tokio::io::split(far);
    let (mut send, mut recv) = tunnel.split();
    tokio::spawn(async move {
        let mut buffer = vec![0; PIPE_BYTES];
        while let Ok(count @ 1..) = read.read(&mut buffer).await {
            if send
                .write_all(&raw_h3::data(&buffer[..count]))
                .await
                .is_err()
            {
                return;
            }
        }
        let _ = send.finish();
    });
    tokio::spawn(async move {
        // The connection ends with its last handle.
        let _connection = connection;
        while let Some(data) = recv.data().await {
            if write.write_all(&data).await.is_err() {
                return;
            }
        }
        let _ = write.shutdown().await;
    });
    Ok(Client::over(Box::new(near)).await)
}
