//! HTTP/3 by the h3 crate over quinn.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;

use ::h3::client::{RequestStream, SendRequest};
use ::h3::error::Code;
use ::http::HeaderMap;
use ::http::request::Builder;
use bytes::{Buf, Bytes};
use h3_quinn::{BidiStream, OpenStreams, RecvStream, SendStream};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Endpoint, TransportConfig, VarInt};

use super::{Broken, Head, Pending, Upload, tls};

#[derive(Clone)]
pub(crate) struct H3Client {
    authority: String,
    connection: quinn::Connection,
    send: SendRequest<OpenStreams, Bytes>,
    /// Lives as long as the connection.
    endpoint: Endpoint,
}

/// For clients that trust the development CA.
pub(crate) fn quic_config() -> ClientConfig {
    let crypto = QuicClientConfig::try_from(tls::config_for(&["h3"], &[&rustls::version::TLS13]));
    ClientConfig::new(Arc::new(crypto.expect("a configuration for QUIC")))
}

/// A QUIC connection that trusts the development CA; `window` bounds what the server may send ahead.
pub(crate) async fn quic(
    address: SocketAddr,
    window: Option<u32>,
) -> Result<(Endpoint, quinn::Connection), Broken> {
    let mut config = quic_config();
    if let Some(window) = window {
        let mut transport = TransportConfig::default();
        transport.stream_receive_window(window.into());
        config.transport_config(Arc::new(transport));
    }
    let mut endpoint = Endpoint::client(([127, 0, 0, 1], 0).into()).map_err(Broken::from)?;
    endpoint.set_default_client_config(config);
    let connecting = endpoint
        .connect(address, "localhost")
        .map_err(Broken::from)?;
    let connection = connecting.await.map_err(Broken::from)?;
    Ok((endpoint, connection))
}

impl H3Client {
    pub(crate) async fn connect(address: SocketAddr, window: Option<u32>) -> Result<Self, Broken> {
        let (endpoint, connection) = quic(address, window).await?;
        let transport = h3_quinn::Connection::new(connection.clone());
        let (mut driver, send) = ::h3::client::new(transport).await.map_err(Broken::from)?;
        tokio::spawn(async move { poll_fn(|cx| driver.poll_close(cx)).await });
        Ok(Self {
            authority: format!("localhost:{}", address.port()),
            connection,
            send,
            endpoint,
        })
    }

    /// The certificate chain the edge presented is what the handshake checked.
    pub(crate) fn connection(&self) -> &quinn::Connection {
        &self.connection
    }

    /// Go on from another address, as a phone does that changes networks.
    pub(crate) fn move_to(&self, address: [u8; 4]) {
        let socket = std::net::UdpSocket::bind(SocketAddr::from((address, 0)))
            .expect("an address of this machine");
        self.endpoint.rebind(socket).expect("another socket");
    }

    /// Go on from another port, as after a change of network.
    pub(crate) fn rebind(&self) {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
        self.endpoint.rebind(socket).expect("a socket");
    }

    pub(super) async fn open(
        &mut self,
        request: Builder,
        target: &str,
        has_body: bool,
    ) -> Result<(Upload, Pending), Broken> {
        let request = request
            .uri(format!("https://{}{target}", self.authority))
            .body(())
            .map_err(Broken::from)?;
        let stream = self
            .send
            .send_request(request)
            .await
            .map_err(Broken::from)?;
        let (mut upload, download) = stream.split();
        let upload = if has_body {
            Upload::H3(Box::new(H3Upload { stream: upload }))
        } else {
            upload.finish().await.map_err(Broken::from)?;
            Upload::Done
        };
        Ok((upload, Pending::H3(H3Download { stream: download })))
    }

    pub(super) fn disconnect(self) {
        self.connection.close(VarInt::from_u32(0x100), b"leaving");
    }
}

type Sending = RequestStream<SendStream<Bytes>, Bytes>;
type Receiving = RequestStream<RecvStream, Bytes>;
const _: fn(RequestStream<BidiStream<Bytes>, Bytes>) -> (Sending, Receiving) =
    |stream| stream.split();

pub(crate) struct H3Upload {
    stream: Sending,
}

impl H3Upload {
    pub(super) async fn send(&mut self, data: Bytes) -> Result<(), Broken> {
        self.stream.send_data(data).await.map_err(Broken::from)
    }

    pub(super) async fn finish(mut self) -> Result<(), Broken> {
        self.stream.finish().await.map_err(Broken::from)
    }

    pub(super) fn abort(mut self) {
        self.stream.stop_stream(Code::H3_REQUEST_CANCELLED);
    }
}

pub(crate) struct H3Download {
    stream: Receiving,
}

impl H3Download {
    pub(super) async fn head(&mut self) -> Result<Head, Broken> {
        let mut informational = Vec::new();
        loop {
            let response = self.stream.recv_response().await.map_err(Broken::from)?;
            let (parts, ()) = response.into_parts();
            if !parts.status.is_informational() {
                return Ok(Head {
                    status: parts.status.as_u16(),
                    headers: parts.headers,
                    informational,
                });
            }
            informational.push(parts.status.as_u16());
        }
    }

    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, Broken> {
        let data = self.stream.recv_data().await.map_err(Broken::from)?;
        Ok(data.map(|mut data| data.copy_to_bytes(data.remaining())))
    }

    pub(super) async fn trailers(&mut self) -> Result<Option<HeaderMap>, Broken> {
        self.stream.recv_trailers().await.map_err(Broken::from)
    }

    pub(super) fn abort(self) {
        // quinn says STOP_SENDING when its half is dropped. h3-quinn's own call panics where a read
        // was left pending.
        drop(self.stream);
    }
}
