//! Client configurations that trust the development CA only.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::harness::Edge;
use crate::harness::files::authority;

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// TLS 1.2 and 1.3 with this ALPN.
pub(crate) fn config(alpn: &[&str]) -> ClientConfig {
    config_for(alpn, rustls::ALL_VERSIONS)
}

pub(crate) fn config_for(
    alpn: &[&str],
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConfig {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .expect("versions")
        .with_root_certificates(roots())
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}

pub(crate) fn roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(authority()).expect("the CA can be trusted");
    roots
}

/// A socket for HTTP/1.1 by hand.
pub(crate) async fn socket(edge: &Edge) -> TlsStream<TcpStream> {
    connect_to(edge.https, &Arc::new(config(&["http/1.1"])), "localhost").await
}

/// A connection for a server name.
pub(crate) async fn connect_to(
    address: SocketAddr,
    config: &Arc<ClientConfig>,
    server_name: &str,
) -> TlsStream<TcpStream> {
    let socket = TcpStream::connect(address).await.expect("a connection");
    let name = ServerName::try_from(server_name.to_owned()).expect("a name");
    let connector = TlsConnector::from(config.clone());
    connector.connect(name, socket).await.expect("a handshake")
}
