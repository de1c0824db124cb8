//! Handshakes: what each server name demands, and what was proved when one is done.
//!
//! Over TCP the whole ClientHello is read, in however many pieces it comes, before the name in it
//! chooses the configuration. QUIC has one configuration, which refuses names that ask for client
//! certificates. What names demand is told by the wiring; nothing here knows policies.

mod certificates;
mod client;
mod staple;
mod tickets;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::UnixTime;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{HandshakeKind, ProtocolVersion, ServerConfig, SupportedProtocolVersion};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

pub use self::certificates::{CertificateFacts, CertificateStore};
pub use self::client::ClientCertificate;
use self::tickets::{TicketKeys, Ticketer};
use super::connection::{TLS13, TlsFacts};
use super::socket::Socket;
use super::tls_alpn::{self, ChallengeCertificates};

/// How often the folder is looked at: cheap, and immune to every way of replacing files.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// Why something of the certificates folder is not in force.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read certificates folder `{}`: {source}", path.display())]
    Folder { path: PathBuf, source: io::Error },
    #[error("no certificate in `{}`, hint: put NAME.pem and NAME.key there, or run `palisade certs {}`", .0.display(), .0.display())]
    Empty(PathBuf),
    #[error("certificate `{}`: {reason}", path.display())]
    Pair { path: PathBuf, reason: String },
    #[error("ticket key `{}`: {reason}", path.display())]
    TicketKey { path: PathBuf, reason: String },
    #[error("tls configuration: {0}")]
    Rustls(#[from] rustls::Error),
}

/// What a server name demands of its handshake.
pub struct Demands {
    /// TLS 1.2 is refused.
    pub tls13_only: bool,
    /// Protocols over TCP, the preferred one first.
    pub alpn: Vec<&'static str>,
    pub clients: Option<ClientTrust>,
}

/// Which client certificates are accepted.
#[derive(Clone)]
pub struct ClientTrust {
    pub verifier: Arc<dyn ClientCertVerifier>,
    /// Differs wherever trust does; tickets and coalesced requests never cross it.
    pub domain: [u8; 32],
}

/// A configuration that holds to its demands, with tickets that no other accepts.
pub struct Handshake {
    config: Arc<ServerConfig>,
    clients: Option<ClientTrust>,
}

/// What handshakes are made of: the certificates folder, watched.
#[derive(Clone)]
pub struct Handshakes {
    pub certificates: Arc<CertificateStore>,
    tickets: Arc<TicketKeys>,
}

impl Handshakes {
    /// Load the folder; fails when not one pair is usable and there is no `temporary` certificate
    /// to begin with.
    pub fn load(folder: &Path, temporary: Option<Arc<CertifiedKey>>) -> Result<Self, Error> {
        Ok(Self {
            certificates: Arc::new(CertificateStore::load(folder, temporary, now())?),
            tickets: Arc::new(TicketKeys::load(&folder.join("tickets"), now())),
        })
    }

    /// The handshake that holds to `demands`; made at reload, not for each connection.
    pub fn build(&self, demands: Demands) -> Result<Handshake, Error> {
        let versions: &[&'static SupportedProtocolVersion] = if demands.tls13_only {
            &[&rustls::version::TLS13]
        } else {
            &[&rustls::version::TLS13, &rustls::version::TLS12]
        };
        let mut label = vec![u8::from(demands.tls13_only)];
        label.extend(demands.clients.iter().flat_map(|clients| clients.domain));
        let config = self.config(
            versions,
            demands.clients.as_ref(),
            self.certificates.clone(),
            label,
        )?;
        Ok(Handshake {
            config: Arc::new(with_alpn(config, &demands.alpn)),
            clients: demands.clients,
        })
    }

    fn config(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        clients: Option<&ClientTrust>,
        certificates: Arc<dyn ResolvesServerCert>,
        ticket_label: Vec<u8>,
    ) -> Result<ServerConfig, Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder =
            ServerConfig::builder_with_provider(provider).with_protocol_versions(versions)?;
        let mut config = match clients {
            Some(clients) => builder.with_client_cert_verifier(clients.verifier.clone()),
            None => builder.with_no_client_auth(),
        }
        .with_cert_resolver(certificates);
        // A session without it can be spliced onto another client's certificate (RFC 7627, 1).
        config.require_ems = clients.is_some();
        // Tickets alone: a store would be one process's, and could be shared by mistake.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = Arc::new(Ticketer::new(self.tickets.clone(), ticket_label));
        // Early data stays off: it can be replayed.
        config.max_early_data_size = 0;
        Ok(config)
    }

    /// Follow the folder. Never returns.
    pub async fn watch(self, on_error: impl Fn(&Error) + Send) {
        let mut seen = self.certificates.fingerprint();
        let mut ticks = tokio::time::interval(WATCH_INTERVAL);
        loop {
            ticks.tick().await;
            self.certificates.look(&mut seen, now(), &on_error);
            self.tickets.look(now(), &on_error);
        }
    }
}

fn with_alpn(mut config: ServerConfig, protocols: &[&str]) -> ServerConfig {
    config.alpn_protocols = protocols
        .iter()
        .map(|name| name.as_bytes().to_vec())
        .collect();
    config
}

/// Unix seconds.
fn now() -> u64 {
    UnixTime::now().as_secs()
}

/// Tells the handshake of a server name: lower case, no final dot, empty for none.
pub type Choose = Arc<dyn Fn(&str) -> Option<Arc<Handshake>> + Send + Sync>;

/// The two sides of the https port.
pub struct ServerTls {
    pub tcp: Acceptor,
    pub quic: Arc<ServerConfig>,
}

impl ServerTls {
    pub fn new(
        handshakes: &Handshakes,
        choose: Choose,
        challenges: Option<Arc<dyn ChallengeCertificates>>,
    ) -> Result<Self, Error> {
        let certificates = Arc::new(QuicCertificates {
            certificates: handshakes.certificates.clone(),
            choose: choose.clone(),
        });
        let versions = [&rustls::version::TLS13];
        let quic = handshakes.config(&versions, None, certificates, b"quic".to_vec())?;
        let challenges = challenges.map(tls_alpn::config).transpose()?;
        Ok(Self {
            tcp: Acceptor { choose, challenges },
            quic: Arc::new(with_alpn(quic, &["h3"])),
        })
    }
}

/// For QUIC, where the configuration is chosen before the name is known.
struct QuicCertificates {
    certificates: Arc<CertificateStore>,
    choose: Choose,
}

impl fmt::Debug for QuicCertificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("QuicCertificates(..)")
    }
}

impl ResolvesServerCert for QuicCertificates {
    /// Asked for resumed sessions as well, so a ticket is no way around it.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(canonical).unwrap_or_default();
        let handshake = (self.choose)(&name)?;
        if handshake.clients.is_some() {
            return None;
        }
        self.certificates.resolve(hello)
    }
}

/// TLS over TCP.
#[derive(Clone)]
pub struct Acceptor {
    choose: Choose,
    /// For certificate authorities that check a name; none where nobody answers them.
    challenges: Option<Arc<ServerConfig>>,
}

impl Acceptor {
    /// The whole handshake; none where it answered an ACME challenge, after which nothing may
    /// follow. The caller bounds its time.
    pub(super) async fn accept(
        &self,
        socket: Socket,
    ) -> io::Result<Option<(TlsStream<Socket>, TlsFacts)>> {
        let hello = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), socket).await?;
        if let Some(config) = &self.challenges
            && tls_alpn::is_challenge(&hello.client_hello())
        {
            hello.into_stream(config.clone()).await?;
            return Ok(None);
        }
        let name = hello.client_hello().server_name().map(canonical);
        let handshake = (self.choose)(name.as_deref().unwrap_or_default());
        let handshake = handshake.ok_or_else(|| io::Error::other("no handshake for the name"))?;
        let stream = hello.into_stream(handshake.config.clone()).await?;
        let session = stream.get_ref().1;
        let chain = session.peer_certificates().unwrap_or_default();
        if session.handshake_kind() == Some(HandshakeKind::Resumed) {
            handshake.check_again(chain)?;
        }
        let facts = TlsFacts {
            version: version_name(session.protocol_version()),
            server_name: name,
            trust_domain: handshake.clients.as_ref().map(|clients| clients.domain),
            client: ClientCertificate::of(chain)?.map(Arc::new),
        };
        Ok(Some((stream, facts)))
    }
}

impl Handshake {
    /// A ticket holds the certificate of its first handshake, which may have ended since.
    fn check_again(&self, chain: &[rustls::pki_types::CertificateDer<'static>]) -> io::Result<()> {
        let Some(clients) = &self.clients else {
            return Ok(());
        };
        match chain.split_first() {
            Some((leaf, rest)) => clients
                .verifier
                .verify_client_cert(leaf, rest, UnixTime::now())
                .map(drop)
                .map_err(io::Error::other),
            None if clients.verifier.client_auth_mandatory() => {
                Err(io::Error::other("resumed without a client certificate"))
            }
            None => Ok(()),
        }
    }
}

/// As hosts are compared: names come in any case, and with the final dot of DNS.
pub(super) fn canonical(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

/// As logs and digests print it.
pub(super) fn version_name(version: Option<ProtocolVersion>) -> &'static str {
    match version {
        Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
        Some(ProtocolVersion::TLSv1_3) => TLS13,
        _ => "unknown",
    }
}
