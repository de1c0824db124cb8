//! A kept HTTP/3 connection.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use quinn::crypto::rustls::QuicClientConfig;

/// The requests' half, which keeps the connection open, and the task that reads its control streams.
pub(crate) struct Connection {
    _requests: h3::client::SendRequest<h3_quinn::OpenStreams, Bytes>,
    driver: tokio::task::JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// One socket for all connections: QUIC tells them apart by their ids.
pub(crate) fn endpoint(tls: &rustls::ClientConfig) -> anyhow::Result<quinn::Endpoint> {
    let mut endpoint = quinn::Endpoint::client((Ipv4Addr::LOCALHOST, 0).into())?;
    let mut config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls.clone())?));
    let mut transport = quinn::TransportConfig::default();
    // Longer than any server's: it is the server that decides how long idle may last.
    transport.max_idle_timeout(Some(Duration::from_secs(600).try_into()?));
    config.transport_config(Arc::new(transport));
    endpoint.set_default_client_config(config);
    Ok(endpoint)
}

/// Connect, make one request, read its answer whole.
pub(crate) async fn open(
    endpoint: &quinn::Endpoint,
    server: SocketAddr,
    name: &str,
) -> anyhow::Result<Connection> {
    let connection = endpoint.connect(server, name)?.await?;
    let (mut driver, mut requests) = h3::client::new(h3_quinn::Connection::new(connection)).await?;
    let driver = tokio::spawn(async move {
        // Ends with the connection, for whatever reason it ends.
        let _ = std::future::poll_fn(|cx| driver.poll_close(cx)).await;
    });
    let request = http::Request::get(format!("https://{name}/")).body(())?;
    let mut stream = requests.send_request(request).await?;
    stream.finish().await?;
    stream.recv_response().await.context("no answer")?;
    while stream.recv_data().await?.is_some() {}
    Ok(Connection {
        _requests: requests,
        driver,
    })
}
