//! Endpoint to Pingora's peer: protocol, TLS, every timeout.
//!
//! Built once at reload, because Pingora's certificate types panic on bad input and parse
//! their content; a request only copies a template.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, bail};
use palisade_policy::model::{ClientIdentity, Cluster, UpstreamProtocol, UpstreamTls};
use pingora_core::protocols::ALPN;
use pingora_core::upstreams::peer::{HttpPeer, PeerOptions};
use pingora_core::utils::tls::{CertKey, WrappedX509, parse_x509};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::connections::Connections;
use super::descriptors::Descriptors;
use super::translation::Translation;

/// Requests at once on one h2 connection. Pingora's default is one connection for each.
const H2_STREAMS_MAX: usize = 100;
/// Without these a 64 KiB window would cap a stream at a few MB/s over a slow link.
const H2_STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
const H2_CONNECTION_WINDOW_BYTES: u32 = 8 * 1024 * 1024;

/// What all peers of a cluster have in common.
pub(super) struct Templates<'a> {
    cluster: &'a Cluster,
    options: PeerOptions,
    server_name: String,
    client_cert_key: Option<Arc<CertKey>>,
}

impl<'a> Templates<'a> {
    pub(super) fn new(cluster: &'a Cluster) -> anyhow::Result<Self> {
        let mut options = timeouts(cluster);
        options.alpn = match cluster.protocol {
            UpstreamProtocol::Http1 => ALPN::H1,
            UpstreamProtocol::Http2 | UpstreamProtocol::Grpc => ALPN::H2,
        };
        options.max_h2_streams = H2_STREAMS_MAX;
        options.h2_stream_window_size = Some(H2_STREAM_WINDOW_BYTES);
        options.h2_connection_window_size = Some(H2_CONNECTION_WINDOW_BYTES);
        let mut templates = Self {
            cluster,
            options,
            server_name: String::new(),
            client_cert_key: None,
        };
        if let Some(tls) = &cluster.tls {
            templates
                .use_tls(tls)
                .with_context(|| format!("cluster `{}`", cluster.name))?;
        }
        Ok(templates)
    }

    fn use_tls(&mut self, tls: &UpstreamTls) -> anyhow::Result<()> {
        // Pingora does not verify at all without a name to send.
        if tls.server_name.is_empty() {
            bail!("tls without server_name");
        }
        let authorities: Vec<WrappedX509> = certificates(&tls.ca_pem)
            .context("ca")?
            .into_iter()
            .map(|der| WrappedX509::new(der, parse_x509))
            .collect();
        self.options.ca = Some(authorities.into());
        self.server_name.clone_from(&tls.server_name);
        self.client_cert_key = tls.identity.as_ref().map(cert_key).transpose()?;
        Ok(())
    }

    /// Straight to the endpoint.
    pub(super) fn direct(&self, address: SocketAddr) -> HttpPeer {
        let mut peer = HttpPeer::new(
            address,
            self.cluster.tls.is_some(),
            self.server_name.clone(),
        );
        peer.options = self.options.clone();
        peer.client_cert_key = self.client_cert_key.clone();
        // Pingora's pool does not look at the CA or the ALPN of a peer: without this, two
        // clusters with one address would share connections verified for the other.
        peer.group_key = self.cluster.fingerprint;
        peer
    }

    /// Through the translation, which looks like an HTTP/1.1 origin.
    pub(super) fn translating(
        &self,
        descriptors: Descriptors,
        connections: Connections,
        index: usize,
    ) -> HttpPeer {
        let translation = Translation::new(descriptors, connections);
        // Nothing listens there: it is the pipe that is connected to.
        let mut peer = HttpPeer::new((std::net::Ipv4Addr::UNSPECIFIED, 0), false, String::new());
        peer.options = timeouts(self.cluster);
        peer.options.custom_l4 = Some(Arc::new(translation));
        // Distinct from the direct peers, and for each endpoint.
        peer.group_key = self
            .cluster
            .fingerprint
            .rotate_left(1)
            .wrapping_add(index as u64);
        peer
    }
}

fn timeouts(cluster: &Cluster) -> PeerOptions {
    let timeouts = &cluster.timeouts;
    let mut options = PeerOptions::new();
    options.connection_timeout = Some(timeouts.connect);
    options.total_connection_timeout = Some(timeouts.connect);
    options.read_timeout = Some(timeouts.read);
    options.write_timeout = Some(timeouts.write);
    options.idle_timeout = Some(timeouts.idle);
    options
}

/// The DER of each certificate, proved to parse.
fn certificates(pem: &[u8]) -> anyhow::Result<Vec<Vec<u8>>> {
    let mut found = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let der = certificate.context("not a certificate in PEM")?.to_vec();
        X509Certificate::from_der(&der).context("not X.509")?;
        found.push(der);
    }
    if found.is_empty() {
        bail!("no certificate");
    }
    Ok(found)
}

fn cert_key(identity: &ClientIdentity) -> anyhow::Result<Arc<CertKey>> {
    let chain = certificates(&identity.certificates_pem).context("client certificate")?;
    let key = PrivateKeyDer::from_pem_slice(&identity.key_pem).context("client key")?;
    Ok(Arc::new(CertKey::new(chain, key.secret_der().to_vec())))
}
