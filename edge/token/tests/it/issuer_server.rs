//! An issuer on a real socket, with switches for every way one can fail.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

#[derive(Clone)]
pub(crate) enum Behaviour {
    Document(String),
    Status(u16),
    /// Accepts, reads the request, never answers.
    Stalls,
    /// Says 100 MB, and means it.
    Huge,
    /// The same without saying so.
    HugeChunked,
    Redirect(String),
    /// Ends in the middle of the body it announced.
    Truncates,
}

/// Serves until it is dropped.
pub(crate) struct IssuerServer {
    pub(crate) port: u16,
    behaviour: Arc<Mutex<Behaviour>>,
    hits: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for IssuerServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl IssuerServer {
    pub(crate) async fn start(behaviour: Behaviour) -> Self {
        Self::start_with(behaviour, None).await
    }

    pub(crate) async fn start_with(
        behaviour: Behaviour,
        tls: Option<tokio_rustls::TlsAcceptor>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let behaviour = Arc::new(Mutex::new(behaviour));
        let hits = Arc::new(AtomicUsize::new(0));
        let (shared, counted) = (Arc::clone(&behaviour), Arc::clone(&hits));
        let task = tokio::spawn(async move {
            loop {
                let Ok((socket, _)) = listener.accept().await else {
                    continue;
                };
                let (shared, counted, tls) =
                    (Arc::clone(&shared), Arc::clone(&counted), tls.clone());
                tokio::spawn(async move {
                    // A client that goes away is part of several tests.
                    let _gone = match tls {
                        None => answer(socket, &shared, &counted).await,
                        Some(tls) => match tls.accept(socket).await {
                            Ok(stream) => answer(stream, &shared, &counted).await,
                            Err(error) => Err(error),
                        },
                    };
                });
            }
        });
        Self {
            port,
            behaviour,
            hits,
            task,
        }
    }

    pub(crate) fn set(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap() = behaviour;
    }

    /// Requests received so far.
    pub(crate) fn hits(&self) -> usize {
        self.hits.load(Ordering::SeqCst)
    }
}

async fn answer(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    behaviour: &Mutex<Behaviour>,
    hits: &AtomicUsize,
) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        if stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    hits.fetch_add(1, Ordering::SeqCst);
    let behaviour = behaviour.lock().unwrap().clone();
    let head = |status: &str, fields: &str| {
        format!("HTTP/1.1 {status}\r\nconnection: close\r\n{fields}\r\n")
    };
    match behaviour {
        Behaviour::Document(body) => {
            let fields = format!("content-length: {}\r\n", body.len());
            stream
                .write_all((head("200 OK", &fields) + &body).as_bytes())
                .await?;
        }
        Behaviour::Status(status) => {
            let body = r#"{"keys":[]}"#;
            let fields = format!("content-length: {}\r\n", body.len());
            stream
                .write_all((head(&format!("{status} X"), &fields) + body).as_bytes())
                .await?;
        }
        Behaviour::Redirect(to) => {
            let fields = format!("content-length: 0\r\nlocation: {to}\r\n");
            stream
                .write_all(head("302 Found", &fields).as_bytes())
                .await?;
        }
        Behaviour::Stalls => std::future::pending().await,
        Behaviour::Truncates => {
            stream
                .write_all((head("200 OK", "content-length: 500\r\n") + "{\"keys\":[").as_bytes())
                .await?;
        }
        Behaviour::Huge => {
            stream
                .write_all(head("200 OK", "content-length: 100000000\r\n").as_bytes())
                .await?;
            loop {
                stream.write_all(&[b' '; 16 * 1024]).await?;
            }
        }
        Behaviour::HugeChunked => {
            stream
                .write_all(head("200 OK", "transfer-encoding: chunked\r\n").as_bytes())
                .await?;
            loop {
                stream
                    .write_all(format!("4000\r\n{}\r\n", " ".repeat(0x4000)).as_bytes())
                    .await?;
            }
        }
    }
    stream.shutdown().await
}

/// Waits until `condition` holds; fails the test if it does not in 20 s.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let waiting = async {
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        while !condition() {
            tick.tick().await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(20), waiting).await;
    waited.unwrap_or_else(|_| panic!("never: {what}"));
}
