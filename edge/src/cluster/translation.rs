//! REST to gRPC as an upstream inside the process.
//!
//! Pingora connects to a socket pair and sees an HTTP/1.1 origin, so caching, retries, limits
//! and timeouts hold for REST calls as for any other; the far end is served by the translator,
//! which calls the endpoint over one gRPC channel.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;
use palisade_policy::model::Cluster;
use palisade_translate::Translator;
use pingora_core::connectors::l4::Connect;
use pingora_core::protocols::l4::socket::SocketAddr as PingoraAddr;
use pingora_core::protocols::l4::stream::Stream;
use pingora_core::protocols::{GetSocketDigest, SocketDigest};
use pingora_error::{ErrorType, OrErr, Result};
use std::os::fd::AsRawFd;
use tokio::net::UnixStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tracing::debug;

/// Makes connections that end in the translator.
pub(super) struct Translation {
    translator: Arc<Translator>,
    channel: Channel,
}

impl Translation {
    pub(super) fn new(
        cluster: &Cluster,
        address: SocketAddr,
        translator: Arc<Translator>,
    ) -> anyhow::Result<Self> {
        let scheme = if cluster.tls.is_some() {
            "https"
        } else {
            "http"
        };
        let timeouts = &cluster.timeouts;
        let mut endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))
            .context("endpoint address")?
            .connect_timeout(timeouts.connect)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(timeouts.idle)
            .initial_stream_window_size(1024 * 1024)
            .initial_connection_window_size(8 * 1024 * 1024);
        if let Some(tls) = &cluster.tls {
            let mut config = ClientTlsConfig::new()
                .domain_name(&tls.server_name)
                .ca_certificate(Certificate::from_pem(&tls.ca_pem));
            if let Some(identity) = &tls.identity {
                config = config.identity(Identity::from_pem(
                    &identity.certificates_pem,
                    &identity.key_pem,
                ));
            }
            endpoint = endpoint
                .tls_config(config)
                .context("tls toward the endpoint")?;
        }
        Ok(Self {
            translator,
            channel: endpoint.connect_lazy(),
        })
    }
}

#[async_trait]
impl Connect for Translation {
    async fn connect(&self, _address: &PingoraAddr) -> Result<Stream> {
        let (near, far) =
            UnixStream::pair().or_err(ErrorType::SocketError, "socket pair for translation")?;
        let serving = palisade_translate::serve_connection(
            far,
            self.translator.clone(),
            self.channel.clone(),
        );
        tokio::spawn(async move {
            if let Err(error) = serving.await {
                debug!(%error, "translation connection ended");
            }
        });
        let digest = SocketDigest::from_raw_fd(near.as_raw_fd());
        let mut stream = Stream::from(near);
        stream.set_socket_digest(digest);
        Ok(stream)
    }
}

impl std::fmt::Debug for Translation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Translation")
    }
}
