//! What an idle connection costs a server.
//!
//! Opens connections, makes one request on each, keeps them, and prints the server's resident
//! memory before and after. One request each, because a server may close a connection on which
//! none came; all of them are then as idle as those of a browser between two pages.

mod quic;
mod tls;

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::{Parser, ValueEnum};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::task::JoinSet;

/// Handshakes at once: enough to keep a core busy, too few to look like an attack.
const HANDSHAKES: usize = 64;

#[derive(Debug, Parser)]
#[command(about = "Open many connections, leave them idle, print the server's memory")]
struct Args {
    /// The server's address.
    #[arg(long)]
    server: SocketAddr,
    /// Name for SNI and Host; the certificate must carry it.
    #[arg(long, default_value = "localhost")]
    name: String,
    /// PEM file with the CA that signed the server's certificate.
    #[arg(long)]
    ca: PathBuf,
    #[arg(long)]
    protocol: Protocol,
    #[arg(long, default_value_t = 10_000)]
    count: usize,
    /// Process whose memory is read.
    #[arg(long)]
    pid: u32,
    /// Printed in the first column.
    #[arg(long)]
    label: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Protocol {
    /// HTTP/1.1 over TLS over TCP.
    Tls,
    /// HTTP/3.
    Quic,
}

/// One open connection; ends when it is dropped.
enum Held {
    Tls { _connection: Box<tls::Connection> },
    Quic { _connection: Box<quic::Connection> },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Arc::new(Args::parse());
    let client = Arc::new(client_config(&args)?);
    let endpoint = quic::endpoint(&client)?;
    let before = resident_kib(args.pid)?;
    let mut opening = JoinSet::new();
    let mut held = Vec::with_capacity(args.count);
    for _ in 0..args.count {
        if opening.len() >= HANDSHAKES {
            held.push(opened(&mut opening).await?);
        }
        let (args, client, endpoint) = (args.clone(), client.clone(), endpoint.clone());
        opening.spawn(async move {
            Ok(match args.protocol {
                Protocol::Tls => Held::Tls {
                    _connection: Box::new(tls::open(args.server, &args.name, client).await?),
                },
                Protocol::Quic => Held::Quic {
                    _connection: Box::new(quic::open(&endpoint, args.server, &args.name).await?),
                },
            })
        });
    }
    while !opening.is_empty() {
        held.push(opened(&mut opening).await?);
    }
    let after = resident_kib(args.pid)?;
    let each = (after.saturating_sub(before) as f64) / held.len().max(1) as f64;
    writeln!(
        std::io::stdout(),
        "{:<16} {:>7} connections  {:>8} KiB before  {:>8} KiB after  {each:>7.1} KiB each",
        args.label,
        held.len(),
        before,
        after,
    )?;
    Ok(())
}

async fn opened(opening: &mut JoinSet<anyhow::Result<Held>>) -> anyhow::Result<Held> {
    let joined = opening
        .join_next()
        .await
        .context("nothing is being opened")?;
    joined?.context("the server did not take the connection; look at its caps and at `ulimit -n`")
}

fn client_config(args: &Args) -> anyhow::Result<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(&args.ca)
        .with_context(|| format!("cannot read `{}`", args.ca.display()))?
    {
        roots.add(certificate?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = match args.protocol {
        Protocol::Tls => vec![b"http/1.1".to_vec()],
        Protocol::Quic => vec![b"h3".to_vec()],
    };
    // Every connection is a stranger's.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

/// `VmRSS` of a process.
fn resident_kib(pid: u32) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))
        .with_context(|| format!("no process {pid}"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .context("no VmRSS in the process status")?;
    let kib = line.trim().trim_end_matches("kB").trim();
    kib.parse().context("VmRSS is not a number")
}
