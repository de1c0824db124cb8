//! An SMS gateway: `POST /messages {"to","text"}` with a bearer token.
//! Invariant: a request that repeats an idempotency key is answered as the first was,
//! and recorded once, as gateways promise.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    routing::post,
};
use serde::Deserialize;
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{Fault, record::Record};

/// What the gateway's customers present.
const TOKEN: &str = "gateway-token";

/// A message as it came.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct ShortMessage {
    pub to: String,
    pub text: String,
}

/// The gateway; it ends when dropped.
pub struct Gateway {
    address: SocketAddr,
    desk: Arc<Desk>,
    task: JoinHandle<()>,
}

struct Desk {
    record: Record<ShortMessage>,
    keys: Mutex<BTreeSet<String>>,
}

impl Gateway {
    /// # Panics
    /// Without a free port.
    pub async fn start() -> Self {
        let bound = TcpListener::bind(("127.0.0.1", 0)).await;
        let listener = bound.expect("a free port");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let desk = Arc::new(Desk {
            record: Record::new(),
            keys: Mutex::default(),
        });
        let router = Router::new()
            .route("/messages", post(take))
            .with_state(desk.clone());
        let task = tokio::spawn(async move {
            // It only ends with the test.
            let _ = axum::serve(listener, router).await;
        });
        Self {
            address,
            desk,
            task,
        }
    }

    /// As a setting has it.
    pub fn url(&self) -> String {
        format!("http://{}/messages", self.address)
    }

    pub fn token(&self) -> &'static str {
        TOKEN
    }

    /// [`Fault::Refuse`] and [`Fault::Cut`] are 500 here: a request is always answered.
    pub fn set(&self, fault: Fault) {
        self.desk.record.set_fault(fault);
    }

    /// All messages so far, oldest first.
    pub fn messages(&self) -> Vec<ShortMessage> {
        self.desk.record.all()
    }

    /// The newest message to this number, as soon as there is one.
    ///
    /// # Panics
    /// After a minute without one.
    pub async fn message_to(&self, number: &str) -> ShortMessage {
        let to = |message: &ShortMessage| message.to == number;
        self.desk.record.wait("a short message", to).await
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn take(State(desk): State<Arc<Desk>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let fault = desk.record.fault();
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if text(header::AUTHORIZATION.as_str()) != Some(&format!("Bearer {TOKEN}")) {
        return StatusCode::UNAUTHORIZED;
    }
    match fault {
        Fault::Stall => std::future::pending().await,
        Fault::Temporary => return StatusCode::SERVICE_UNAVAILABLE,
        Fault::Permanent => return StatusCode::BAD_REQUEST,
        Fault::Refuse => return StatusCode::INTERNAL_SERVER_ERROR,
        Fault::None | Fault::Cut => {}
    }
    let Ok(message) = serde_json::from_slice(&body) else {
        return StatusCode::BAD_REQUEST;
    };
    let key = text("idempotency-key").unwrap_or_default().to_owned();
    let is_new = {
        let mut keys = desk.keys.lock().unwrap_or_else(PoisonError::into_inner);
        key.is_empty() || keys.insert(key)
    };
    if is_new {
        desk.record.add(message);
    }
    match fault {
        Fault::Cut => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::ACCEPTED,
    }
}
