//! Sockets that another process has bound and handed over.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;

use tracing::info;

/// Sockets by name. What is not taken is closed with this.
#[derive(Debug, Default)]
pub struct Inherited(Vec<(String, OwnedFd)>);

impl Inherited {
    pub fn new(sockets: Vec<(String, OwnedFd)>) -> Self {
        Self(sockets)
    }

    fn take(&mut self, name: &str) -> Option<OwnedFd> {
        let at = self.0.iter().position(|(found, _)| found == name)?;
        Some(self.0.swap_remove(at).1)
    }

    /// The TCP listener of this name, if it listens where it is `wanted`.
    ///
    /// Errors: the descriptor is no such socket.
    pub fn tcp(&mut self, name: &str, wanted: SocketAddr) -> io::Result<Option<TcpListener>> {
        let Some(socket) = self.take(name).map(TcpListener::from) else {
            return Ok(None);
        };
        socket.set_nonblocking(true)?;
        let bound = socket.local_addr()?;
        Ok(matches(name, bound, wanted).then_some(socket))
    }

    /// As `tcp`, for UDP.
    pub fn udp(&mut self, name: &str, wanted: SocketAddr) -> io::Result<Option<UdpSocket>> {
        let Some(socket) = self.take(name).map(UdpSocket::from) else {
            return Ok(None);
        };
        socket.set_nonblocking(true)?;
        let bound = socket.local_addr()?;
        Ok(matches(name, bound, wanted).then_some(socket))
    }

    /// The unix listener of this name.
    ///
    /// Errors: the descriptor is no such socket.
    pub fn unix(&mut self, name: &str) -> io::Result<Option<UnixListener>> {
        let Some(socket) = self.take(name).map(UnixListener::from) else {
            return Ok(None);
        };
        socket.set_nonblocking(true)?;
        Ok(Some(socket))
    }
}

/// Port 0 asks for any port, and the one in use is as good.
fn matches(name: &str, bound: SocketAddr, wanted: SocketAddr) -> bool {
    let same = bound.ip() == wanted.ip() && [0, bound.port()].contains(&wanted.port());
    if !same {
        info!(name, %bound, %wanted, "another address is wanted, the socket handed over is closed");
    }
    same
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inherited() -> (Inherited, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let bound = listener.local_addr().expect("an address");
        (
            Inherited::new(vec![("http".to_owned(), listener.into())]),
            bound,
        )
    }

    #[test]
    fn a_socket_is_taken_where_it_is_wanted() {
        let (_, free) = inherited();
        let cases: [(&str, fn(SocketAddr) -> SocketAddr, bool); 4] = [
            ("http", |bound| bound, true),
            ("http", |bound| SocketAddr::new(bound.ip(), 0), true),
            ("http", |bound| ([127, 0, 0, 2], bound.port()).into(), false),
            ("https", |bound| bound, false),
        ];
        for (name, wanted, expected) in cases {
            let (mut inherited, bound) = inherited();
            let taken = inherited.tcp(name, wanted(bound)).expect("a socket");
            assert_eq!(taken.is_some(), expected, "{name} {}", wanted(bound));
            let again = inherited.tcp(name, wanted(bound)).expect("a socket");
            assert!(again.is_none(), "taken twice");
        }
        assert!(
            TcpListener::bind(free).is_ok(),
            "what nobody took is closed"
        );
    }
}
