//! The PROXY protocol, versions 1 and 2: who the client of a proxy in front of us is.
//!
//! By the specification of HAProxy, 2020/03/05. The header is read before TLS, and never a byte
//! more: what follows belongs to the handshake. Checksums (PP2_TYPE_CRC32C) are not verified:
//! TCP has its own, and only trusted proxies are heard.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// First bytes of version 2 (2.2).
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// First bytes of version 1 (2.1).
const WORD: &[u8] = b"PROXY ";
/// The longest line of version 1 with its end (2.1).
const LINE_BYTES_MAX: usize = 107;
/// Signature, version and command, family and transport, length (2.2).
const FIXED_BYTES: usize = 16;
/// Addresses and type-length-values of version 2; TLS facts of a proxy take a few hundred bytes.
const REST_BYTES_MAX: usize = 4_096;
/// Type and length in front of each value (2.2).
const TLV_HEAD_BYTES: usize = 3;

/// What the bytes so far are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// All of them belong to a header that is not whole.
    Incomplete,
    Whole {
        /// Bytes of the header; those behind belong to whoever comes next.
        length: usize,
        /// None where the proxy speaks for itself, or knows no address.
        source: Option<SocketAddr>,
    },
}

/// Why bytes are not a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("neither version of the PROXY protocol")]
    Signature,
    #[error("PROXY line is not as it must be")]
    Line,
    #[error("unknown version, command, family or transport")]
    Kind,
    #[error("PROXY header is too long, or shorter than its addresses")]
    Length,
    #[error("PROXY header has broken values behind its addresses")]
    Values,
}

/// Look at the first bytes of a connection.
pub fn parse(bytes: &[u8]) -> Result<Progress, Malformed> {
    let begins = |with: &[u8]| {
        let common = bytes.len().min(with.len());
        bytes.get(..common) == with.get(..common)
    };
    if begins(WORD) {
        line(bytes)
    } else if begins(SIGNATURE) {
        binary(bytes)
    } else {
        Err(Malformed::Signature)
    }
}

/// Version 1: `PROXY TCP4 192.0.2.1 192.0.2.2 56324 443`, and CR LF.
fn line(bytes: &[u8]) -> Result<Progress, Malformed> {
    let window = bytes.get(..LINE_BYTES_MAX).unwrap_or(bytes);
    let Some(end) = window.iter().position(|byte| *byte == b'\n') else {
        return match bytes.len() < LINE_BYTES_MAX {
            true => Ok(Progress::Incomplete),
            false => Err(Malformed::Line),
        };
    };
    let line = window.get(..end).and_then(|line| line.strip_suffix(b"\r"));
    let text = line.and_then(|line| std::str::from_utf8(line).ok());
    let source = words(text.ok_or(Malformed::Line)?).ok_or(Malformed::Line)?;
    Ok(Progress::Whole {
        length: end + 1,
        source,
    })
}

fn words(line: &str) -> Option<Option<SocketAddr>> {
    let mut words = line.split(' ').skip(1);
    let family = words.next()?;
    // Whatever follows is to be ignored (2.1).
    if family == "UNKNOWN" {
        return Some(None);
    }
    let (source, target) = (words.next()?, words.next()?);
    let source_port = port(words.next()?)?;
    port(words.next()?)?;
    let source: IpAddr = match family {
        "TCP4" => {
            target.parse::<Ipv4Addr>().ok()?;
            source.parse::<Ipv4Addr>().ok()?.into()
        }
        "TCP6" => {
            target.parse::<Ipv6Addr>().ok()?;
            source.parse::<Ipv6Addr>().ok()?.into()
        }
        _ => return None,
    };
    match words.next() {
        None => Some(Some(SocketAddr::new(source.to_canonical(), source_port))),
        Some(_) => None,
    }
}

/// Digits without a sign or leading zeros.
fn port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let canonical = text == "0" || !text.starts_with('0');
    text.parse().ok().filter(|_| digits && canonical)
}

/// Version 2.
fn binary(bytes: &[u8]) -> Result<Progress, Malformed> {
    let Some((fixed, rest)) = bytes.split_first_chunk::<FIXED_BYTES>() else {
        return Ok(Progress::Incomplete);
    };
    let [.., command, kind, high, low] = *fixed;
    let is_local = match command {
        0x20 => true,
        0x21 => false,
        _ => return Err(Malformed::Kind),
    };
    // Family in the upper half, transport in the lower; a TCP listener has streams only.
    let addresses = match kind {
        0x00 => 0,
        0x11 => 12,
        0x21 => 36,
        0x31 => 216,
        // A receiver skips what a LOCAL header holds (2.2).
        _ if is_local => 0,
        _ => return Err(Malformed::Kind),
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > REST_BYTES_MAX || (!is_local && length < addresses) {
        return Err(Malformed::Length);
    }
    let Some(rest) = rest.get(..length) else {
        return Ok(Progress::Incomplete);
    };
    let source = if is_local {
        None
    } else {
        // Without a family nothing is known of what follows either.
        if kind != 0x00 {
            check_values(rest.get(addresses..).unwrap_or_default())?;
        }
        source(kind, rest)
    };
    Ok(Progress::Whole {
        length: FIXED_BYTES + length,
        source,
    })
}

fn source(kind: u8, addresses: &[u8]) -> Option<SocketAddr> {
    match kind {
        0x11 => {
            let (source, rest) = addresses.split_first_chunk::<4>()?;
            Some(SocketAddr::new((*source).into(), port_at(rest, 4)?))
        }
        0x21 => {
            let (source, rest) = addresses.split_first_chunk::<16>()?;
            let source = IpAddr::from(*source).to_canonical();
            Some(SocketAddr::new(source, port_at(rest, 16)?))
        }
        // A path of a Unix socket is nobody's address.
        _ => None,
    }
}

fn port_at(bytes: &[u8], at: usize) -> Option<u16> {
    let port = bytes.get(at..)?.first_chunk::<2>()?;
    Some(u16::from_be_bytes(*port))
}

/// Type, length and value, to the end without a rest.
fn check_values(mut values: &[u8]) -> Result<(), Malformed> {
    while !values.is_empty() {
        let head = values.first_chunk::<TLV_HEAD_BYTES>();
        let [_, high, low] = *head.ok_or(Malformed::Values)?;
        let length = usize::from(u16::from_be_bytes([high, low]));
        values = values
            .get(TLV_HEAD_BYTES + length..)
            .ok_or(Malformed::Values)?;
    }
    Ok(())
}

#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("connection ended before its PROXY header did")]
    Ended,
    #[error("socket failed: {0}")]
    Socket(#[from] io::Error),
}

/// Read one header off a connection. Has no deadline of its own.
pub(super) async fn read(tcp: &mut TcpStream) -> Result<Option<SocketAddr>, ReadError> {
    let mut bytes = Vec::with_capacity(LINE_BYTES_MAX);
    let mut window = [0; 512];
    loop {
        let seen = tcp.peek(&mut window).await?;
        if seen == 0 {
            return Err(ReadError::Ended);
        }
        let before = bytes.len();
        bytes.extend_from_slice(window.get(..seen).unwrap_or_default());
        // What was only seen is now taken, but for what is behind the header.
        let (taken, source) = match parse(&bytes)? {
            Progress::Incomplete => (seen, None),
            Progress::Whole { length, source } => (length.saturating_sub(before), Some(source)),
        };
        tcp.read_exact(window.get_mut(..taken).unwrap_or_default())
            .await?;
        if let Some(source) = source {
            return Ok(source);
        }
    }
}

#[cfg(test)]
mod tests;
