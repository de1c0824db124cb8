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
        let (mut all, bound) = inherited();
        let elsewhere = SocketAddr::from(([127, 0, 0, 2], bound.port()));
        assert!(all.tcp("https", bound).expect("a socket").is_none());
        assert!(all.tcp("http", bound).expect("a socket").is_some());
        assert!(all.tcp("http", bound).expect("a socket").is_none(), "twice");
        let (mut all, bound) = inherited();
        let any_port = SocketAddr::new(bound.ip(), 0);
        assert!(all.tcp("http", any_port).expect("a socket").is_some());
        let (mut all, _) = inherited();
        assert!(all.tcp("http", elsewhere).expect("a socket").is_none());
        assert!(
            TcpListener::bind(free).is_ok(),
            "what nobody took is closed"
        );
    }
}
