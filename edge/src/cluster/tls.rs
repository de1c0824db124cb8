//! TLS toward an endpoint of gRPC, where it is not Pingora that connects.
//!
//! Built once at reload. Trusts the cluster's own authorities and nobody else.

use std::io;
use std::sync::Arc;

use anyhow::Context;
use palisade_policy::model::UpstreamTls;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Its name in ALPN (RFC 9113, section 3.2).
pub(super) const HTTP2: &[u8] = b"h2";

pub(super) struct Tls {
    connector: TlsConnector,
    server_name: ServerName<'static>,
}

impl Tls {
    pub(super) fn new(tls: &UpstreamTls) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&tls.ca_pem) {
            roots.add(certificate.context("ca")?).context("ca")?;
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .context("tls versions")?
            .with_root_certificates(roots);
        let mut config = match &tls.identity {
            None => config.with_no_client_auth(),
            Some(identity) => {
                let chain = CertificateDer::pem_slice_iter(&identity.certificates_pem)
                    .collect::<Result<Vec<_>, _>>()
                    .context("client certificate")?;
                let key = PrivateKeyDer::from_pem_slice(&identity.key_pem).context("client key")?;
                let config = config.with_client_auth_cert(chain, key);
                config.context("client certificate")?
            }
        };
        config.alpn_protocols = vec![HTTP2.to_vec()];
        let server_name = tls.server_name.clone();
        Ok(Self {
            connector: TlsConnector::from(Arc::new(config)),
            server_name: server_name.try_into().context("server_name")?,
        })
    }

    pub(super) async fn connect(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = self.server_name.clone();
        self.connector.connect(name, stream).await
    }
}
