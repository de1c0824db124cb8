//! Streams of the echo service on a WebSocket over a pipe.

mod chat;
mod endings;
mod refusals;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use http::{HeaderName, Response};
use palisade_echo::{DESCRIPTORS, Echo, EchoServiceServer};
use palisade_translate::{Near, Options, Translator, pipe, serve_connection};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};
use tonic::transport::{Channel, Endpoint, Server};

use crate::client::Served;

const BOUND: Duration = Duration::from_secs(20);

/// The echo service and a way to it.
struct World {
    echo: Echo,
    address: SocketAddr,
    channel: Channel,
    translator: Arc<Translator>,
}

struct Socket {
    socket: WebSocketStream<Near>,
    answer: Response<Option<Vec<u8>>>,
    served: Served,
}

impl World {
    async fn start() -> Self {
        Self::with(Options::default()).await
    }

    async fn with(options: Options) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let echo = Echo::default();
        let translator = Translator::from_descriptor_set(DESCRIPTORS, options).unwrap();
        let serving = Server::builder()
            .add_service(EchoServiceServer::new(echo.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(serving);
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        Self {
            echo,
            address,
            channel: endpoint.connect_lazy(),
            translator: Arc::new(translator),
        }
    }

    async fn try_open(
        &self,
        path: &str,
        fields: &[(&str, &str)],
    ) -> Result<Socket, Response<Option<Vec<u8>>>> {
        let (near, far) = pipe();
        let serving = serve_connection(far, self.translator.clone(), self.channel.clone());
        let served = tokio::spawn(serving);
        let mut request = format!("ws://edge{path}").into_client_request().unwrap();
        for (name, value) in fields {
            let name: HeaderName = name.parse().unwrap();
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        match within("a handshake", client_async(request, near)).await {
            Ok((socket, answer)) => Ok(Socket {
                socket,
                answer,
                served,
            }),
            Err(Error::Http(answer)) => Err(*answer),
            Err(error) => panic!("{path}: {error}"),
        }
    }

    async fn open(&self, path: &str) -> Socket {
        self.try_open(path, &[]).await.unwrap()
    }

    async fn open_proto(&self, path: &str) -> Socket {
        let fields = [("sec-websocket-protocol", "palisade.v1.proto")];
        self.try_open(path, &fields).await.unwrap()
    }

    /// `400 code: detail`.
    async fn refused(&self, path: &str, fields: &[(&str, &str)]) -> String {
        let Err(answer) = self.try_open(path, fields).await else {
            panic!("{path}: opened");
        };
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        let body = answer.body().as_deref().unwrap_or_default();
        let problem: Value = serde_json::from_slice(body).unwrap();
        let text = |name: &str| problem[name].as_str().unwrap().to_owned();
        format!(
            "{} {}: {}",
            answer.status().as_u16(),
            text("code"),
            text("detail")
        )
    }

    /// Until no call is under way.
    async fn idle(&self) {
        within("the calls to end", async {
            while self.echo.under_way() > 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

impl Socket {
    async fn send(&mut self, message: Message) {
        within("a message to be taken", self.socket.send(message))
            .await
            .unwrap();
    }

    async fn say(&mut self, json: &str) {
        self.send(Message::text(json)).await;
    }

    async fn next(&mut self) -> Message {
        loop {
            let next = within("a message", self.socket.next()).await;
            match next.unwrap().unwrap() {
                Message::Ping(_) | Message::Pong(_) => {}
                other => return other,
            }
        }
    }

    async fn json(&mut self) -> Value {
        match self.next().await {
            Message::Text(text) => serde_json::from_str(&text).unwrap(),
            other => panic!("not text: {other:?}"),
        }
    }

    /// `1000` or `4005 why`, of the Close frame that comes next; the connection ends with it.
    async fn closed(mut self) -> String {
        let closed = match self.next().await {
            Message::Close(Some(frame)) => format!("{} {}", u16::from(frame.code), frame.reason),
            other => panic!("not closed: {other:?}"),
        };
        while let Some(Ok(_)) = within("the end", self.socket.next()).await {}
        drop(self.socket);
        within("the connection to end", self.served)
            .await
            .unwrap()
            .unwrap();
        closed.trim_end().to_owned()
    }
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(BOUND, future)
        .await
        .unwrap_or_else(|_| panic!("waited too long for {what}"))
}
