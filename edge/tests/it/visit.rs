//! One HTTP/1.1 request over a TLS connection of its own, and how its handshake went.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, HandshakeKind, ProtocolVersion, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::client::tls;
use crate::harness::clients::Identity;
use crate::harness::waiting::within;

/// What came of it.
#[derive(Debug)]
pub(crate) struct Visit {
    pub(crate) status: u16,
    pub(crate) resumed: bool,
    pub(crate) version: ProtocolVersion,
    /// Head and body.
    pub(crate) text: String,
}

impl Visit {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.text.lines().take_while(|line| !line.is_empty());
        lines.find_map(|line| {
            line.to_ascii_lowercase()
                .starts_with(&format!("{name}: "))
                .then(|| &line[name.len() + 2..])
        })
    }
}

/// A client that keeps the tickets it is given; with an identity it shows where asked.
pub(crate) fn visitor(
    identity: Option<&Identity>,
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(tls::provider())
        .with_protocol_versions(versions)
        .expect("versions")
        .with_root_certificates(tls::roots());
    let mut config = match identity {
        Some(identity) => builder
            .with_client_auth_cert(
                [vec![identity.certificate.clone()], identity.above.clone()].concat(),
                identity.key(),
            )
            .expect("an identity"),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

/// GET `/echo` of `authority` over a connection for `server_name`; an error where no answer came.
pub(crate) async fn visit(
    address: SocketAddr,
    config: &Arc<ClientConfig>,
    server_name: &str,
    authority: &str,
) -> io::Result<Visit> {
    fetch(address, config, (server_name, authority), "/echo").await
}

/// The same for any target.
pub(crate) async fn fetch(
    address: SocketAddr,
    config: &Arc<ClientConfig>,
    (server_name, authority): (&str, &str),
    target: &str,
) -> io::Result<Visit> {
    let request = format!(
        "GET {target} HTTP/1.1\r\nhost: {authority}\r\nclient-cert: :forged:\r\nclient-cert-chain: :forged:\r\nconnection: close\r\n\r\n"
    );
    let visiting = async {
        let socket = TcpStream::connect(address).await?;
        let name = ServerName::try_from(server_name.to_owned()).expect("a name");
        let connector = TlsConnector::from(config.clone());
        let mut stream = connector.connect(name, socket).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut text = Vec::new();
        stream.read_to_end(&mut text).await?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let session = stream.get_ref().1;
        let status = text
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        Ok(Visit {
            status: status.ok_or(io::ErrorKind::UnexpectedEof)?,
            resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
            version: session.protocol_version().expect("a version"),
            text,
        })
    };
    within("a visit", visiting).await
}
