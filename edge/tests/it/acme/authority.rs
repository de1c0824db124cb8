//! A real ACME authority: Caddy's `acme_server`, with names that resolve where the test says.
//!
//! Authorities check names on ports 80 and 443, so each test takes a loopback address of its own:
//! the edge has those two ports of it, Caddy another. Names are given to Caddy alone, by nss_wrapper.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::process::{Child, Command};
use tokio_rustls::TlsConnector;

use crate::harness::Edge;
use crate::harness::files::Files;
use crate::harness::waiting::until;

use super::config;

/// Of the authority's own listener.
const PORT: u16 = 8443;

pub(super) struct Authority {
    /// Where names resolve to, unless said otherwise.
    address: Ipv4Addr,
    folder: TempDir,
    caddy: Child,
}

impl Authority {
    /// `elsewhere` are names that resolve to an address where nobody listens.
    pub(super) async fn start(names: &[&str], elsewhere: &[&str]) -> Self {
        let address = free_address().await;
        let [a, b, c, _] = address.octets();
        let dead = Ipv4Addr::new(a, b, c, 254);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let resolve = |address: Ipv4Addr, names: &[&str]| -> String {
            let lines = names.iter().map(|name| format!("{address} {name}\n"));
            lines.collect()
        };
        let hosts = resolve(address, names) + &resolve(dead, elsewhere);
        fs::write(folder.path().join("hosts"), hosts).expect("the folder can be written");
        let site = format!("https://{address}:{PORT}");
        let caddyfile = format!(
            "{{\n\tadmin off\n\tskip_install_trust\n\tauto_https disable_redirects\n}}\n\
             {site} {{\n\tbind {address}\n\ttls internal\n\tacme_server\n}}\n"
        );
        fs::write(folder.path().join("Caddyfile"), caddyfile).expect("the folder can be written");
        let authority = Self {
            address,
            caddy: caddy(folder.path()),
            folder,
        };
        until("caddy to serve its directory", || authority.answers()).await;
        authority
    }

    /// Begin anew with another root, and without the accounts there were.
    pub(super) async fn forget(&mut self) {
        self.caddy.kill().await.expect("caddy runs");
        fs::remove_dir_all(self.folder.path().join("caddy")).expect("what caddy kept");
        self.caddy = caddy(self.folder.path());
        until("caddy to serve its directory", || self.answers()).await;
    }

    async fn answers(&self) -> Option<()> {
        let root = CertificateDer::from_pem_file(self.root_file()).ok()?;
        let mut roots = RootCertStore::empty();
        roots.add(root).ok()?;
        let socket = TcpStream::connect((self.address, PORT)).await.ok()?;
        let name = ServerName::IpAddress(std::net::IpAddr::V4(self.address).into());
        let connector = TlsConnector::from(Arc::new(config(roots, &["http/1.1"])));
        connector.connect(name, socket).await.ok().map(drop)
    }

    /// Caddy's root, which signed the certificate of its directory as well.
    pub(super) fn root_file(&self) -> PathBuf {
        let authorities = self.folder.path().join("caddy/pki/authorities/local");
        authorities.join("root.crt")
    }

    pub(super) fn root(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.root_file()).expect("the root is PEM")
    }

    /// An edge where the names lead to, which orders certificates for them.
    pub(super) async fn edge(&self, files: Files, challenge: &str, names: &[&str]) -> Edge {
        let names = names.join(",");
        let flags = [
            ("--http", format!("{}:80", self.address)),
            ("--https", format!("{}:443", self.address)),
            ("--acme-domain", names),
            ("--acme-challenge", challenge.to_owned()),
            ("--acme-email", "admin@acme.test".to_owned()),
            (
                "--acme-directory",
                format!("https://{}:{PORT}/acme/local/directory", self.address),
            ),
            ("--acme-ca", self.root_file().display().to_string()),
        ];
        let mut arguments = vec!["--acme-agree-tos"];
        for (flag, value) in &flags {
            arguments.extend([*flag, value]);
        }
        Edge::start_with(files, &arguments).await
    }
}

/// Caddy on the `Caddyfile` of this folder, which keeps all its state there.
fn caddy(folder: &Path) -> Child {
    Command::new("caddy")
        .args(["run", "--config", "Caddyfile"])
        .current_dir(folder)
        .env("HOME", folder)
        .env("XDG_DATA_HOME", folder)
        .env("XDG_CONFIG_HOME", folder)
        .env("LD_PRELOAD", "libnss_wrapper.so")
        .env("NSS_WRAPPER_HOSTS", folder.join("hosts"))
        // Go asks the C library only when told to.
        .env("GODEBUG", "netdns=cgo")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(folder.join("log")).expect("a log"))
        .kill_on_drop(true)
        .spawn()
        .expect("caddy starts: `make setup-tests` installs it")
}

/// A loopback address of which ports 80 and 443 are free.
async fn free_address() -> Ipv4Addr {
    // Others may test at the same time, so the first one tried is anywhere.
    let mut refusal = None;
    for _ in 0..64 {
        let address = Ipv4Addr::new(127, fastrand::u8(64..255), fastrand::u8(..), 1);
        let bound = tokio::try_join!(
            TcpListener::bind((address, 80)),
            TcpListener::bind((address, 443)),
            TcpListener::bind((address, PORT)),
            UdpSocket::bind((address, 443)),
        );
        match bound {
            Ok(_) => return address,
            Err(error) => refusal = Some(error),
        }
    }
    panic!(
        "ports 80 and 443 of no loopback address can be had ({refusal:?}): run as root, or set \
         net.ipv4.ip_unprivileged_port_start to 80"
    );
}
