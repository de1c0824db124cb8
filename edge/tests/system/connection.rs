//! A client that asks again and again: it connects anew where the edge ended a connection cleanly,
//! and nowhere else.

use std::net::SocketAddr;
use std::time::Duration;

use http::Method;

use crate::client::{Broken, Client, Protocol, Response};

/// The shipped routes answer within `request_timeout: 10s`; the rest is for a loaded machine.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

pub(crate) struct Connection {
    protocol: Protocol,
    edge: SocketAddr,
    client: Option<Client>,
}

impl Connection {
    pub(crate) fn new(protocol: Protocol, edge: SocketAddr) -> Self {
        Self {
            protocol,
            edge,
            client: None,
        }
    }

    /// Over a connection that is there already, perhaps with others on it.
    pub(crate) fn over(client: Client, protocol: Protocol, edge: SocketAddr) -> Self {
        Self {
            client: Some(client),
            ..Self::new(protocol, edge)
        }
    }

    /// Connects first if there is no connection.
    pub(crate) async fn client(&mut self) -> Result<&mut Client, Broken> {
        let client = match self.client.take() {
            Some(client) => client,
            None => Client::connect_to(self.protocol, self.edge).await?,
        };
        Ok(self.client.insert(client))
    }

    /// The edge said `connection: close`, which only HTTP/1.1 can.
    pub(crate) fn heed(&mut self, headers: &http::HeaderMap) {
        if headers
            .get("connection")
            .is_some_and(|value| value == "close")
        {
            self.client = None;
        }
    }

    /// An answer, whole and in time, or a failed test.
    pub(crate) async fn send(
        &mut self,
        method: Method,
        target: &str,
        headers: &[(&str, &str)],
        body: impl Into<bytes::Bytes>,
    ) -> Response {
        let protocol = self.protocol;
        let exchange = async {
            let client = self.client().await?;
            client.send(method, target, headers, body).await
        };
        let Ok(answer) = tokio::time::timeout(ANSWER_TIMEOUT, Box::pin(exchange)).await else {
            panic!("{protocol:?} {target}: no answer within the timeout of the route");
        };
        let response = answer.unwrap_or_else(|broken| panic!("{protocol:?} {target}: {broken:?}"));
        self.heed(&response.headers);
        response
    }
}
