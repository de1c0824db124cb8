//! `echo`: serves the service until it is told to stop.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use palisade_echo::{DESCRIPTORS, Echo, EchoServiceServer};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;

/// A gRPC service that does as its requests say.
#[derive(Parser)]
struct Args {
    /// Address to listen on; port 0 takes a free one, which is printed.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Write the descriptor set here first, for `descriptors` of a cluster.
    #[arg(long, value_name = "FILE")]
    descriptors: Option<PathBuf>,
}

#[tokio::main]
#[allow(clippy::print_stdout, reason = "where it listens is its output")]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if let Some(file) = &args.descriptors {
        std::fs::write(file, DESCRIPTORS)
            .with_context(|| format!("cannot write `{}`", file.display()))?;
    }
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("cannot listen on {}", args.listen))?;
    println!("listening on {}", listener.local_addr()?);
    Server::builder()
        .initial_stream_window_size(1024 * 1024)
        .initial_connection_window_size(8 * 1024 * 1024)
        .add_service(EchoServiceServer::new(Echo::default()))
        .add_service(palisade_echo::reflection()?)
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), async {
            let _ = tokio::signal::ctrl_c().await;
        })
        .await?;
    Ok(())
}
