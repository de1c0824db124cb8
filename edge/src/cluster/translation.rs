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
use palisade_translate::{Translator, Translators};
use pingora_core::connectors::l4::Connect;
use pingora_core::protocols::l4::socket::SocketAddr as PingoraAddr;
use pingora_core::protocols::l4::stream::Stream;
use pingora_core::protocols::{GetSocketDigest, SocketDigest};
use pingora_error::{ErrorType, OkOrErr, OrErr, Result};
use std::os::fd::AsRawFd;
use tokio::net::UnixStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tracing::debug;

use super::reflection::Reflected;

/// Where a cluster's descriptors come from.
#[derive(Clone)]
pub(super) enum Descriptors {
    File(Arc<Translator>),
    Reflected(Arc<Reflected>),
}

impl Descriptors {
    pub(super) fn of(cluster: &Cluster) -> Option<Self> {
        let reflected = || cluster.reflection.as_ref().map(|_| Arc::default());
        let file = cluster.translator.clone().map(Self::File);
        file.or_else(|| reflected().map(Self::Reflected))
    }

    /// None as long as nobody has told any.
    pub(super) fn translator(&self) -> Option<Arc<Translator>> {
        match self {
            Self::File(translator) => Some(translator.clone()),
            Self::Reflected(reflected) => reflected.translator(),
        }
    }
}

/// Descriptors of a connection that was made when there were some.
#[derive(Clone)]
struct Known {
    descriptors: Descriptors,
    first: Arc<Translator>,
}

impl Translators for Known {
    fn current(&self) -> Arc<Translator> {
        let current = self.descriptors.translator();
        current.unwrap_or_else(|| self.first.clone())
    }
}

/// Makes connections that end in the translator.
pub(super) struct Translation {
    descriptors: Descriptors,
    channel: Channel,
}

impl Translation {
    pub(super) fn new(descriptors: Descriptors, channel: Channel) -> Self {
        Self {
            descriptors,
            channel,
        }
    }
}

/// gRPC to one endpoint.
pub(super) fn channel(cluster: &Cluster, address: SocketAddr) -> anyhow::Result<Channel> {
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
    Ok(endpoint.connect_lazy())
}

#[async_trait]
impl Connect for Translation {
    async fn connect(&self, _address: &PingoraAddr) -> Result<Stream> {
        let first = self.descriptors.translator();
        let first = first.or_err(ErrorType::SocketError, "no descriptors yet")?;
        let descriptors = self.descriptors.clone();
        let (near, far) =
            UnixStream::pair().or_err(ErrorType::SocketError, "socket pair for translation")?;
        let known = Known { descriptors, first };
        let serving = palisade_translate::serve_connection(far, known, self.channel.clone());
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
