//! A kept HTTP/1.1 connection over TLS.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, bail};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub(crate) type Connection = TlsStream<TcpStream>;

/// An answer larger than this was not meant for us.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Connect, make one request, read its answer whole.
pub(crate) async fn open(
    server: SocketAddr,
    name: &str,
    config: Arc<rustls::ClientConfig>,
) -> anyhow::Result<Connection> {
    let socket = TcpStream::connect(server).await?;
    let mut stream = TlsConnector::from(config)
        .connect(ServerName::try_from(name.to_owned())?, socket)
        .await?;
    let request = format!("GET / HTTP/1.1\r\nHost: {name}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    while !is_whole(&answer)? {
        if stream.read_buf(&mut answer).await? == 0 {
            bail!("closed before its answer was complete");
        }
        if answer.len() > ANSWER_BYTES_MAX {
            bail!("answer over {ANSWER_BYTES_MAX} bytes");
        }
    }
    Ok(stream)
}

/// Whether the head and as many bytes as it announces are there.
fn is_whole(answer: &[u8]) -> anyhow::Result<bool> {
    let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(false);
    };
    let head = std::str::from_utf8(&answer[..end]).context("answer head is not text")?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<usize>())
    });
    let length = length.transpose()?.unwrap_or(0);
    Ok(answer.len() >= end + 4 + length)
}
