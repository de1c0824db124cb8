//! An identity service that says what the test tells it to.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use core_proto::auth::v1 as wire;
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};
use wire::key_service_server::{KeyService, KeyServiceServer};

use crate::harness::files::{certificate_file, issue};
use crate::harness::waiting::until;

/// As a service does that has nothing to tell.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// The name in its certificate.
pub(super) const NAME: &str = "identity.test";

/// What it knows; outlives its process, as a database does.
#[derive(Clone)]
pub(super) struct Knowledge(Arc<Known>);

struct Known {
    revoked: watch::Sender<Vec<wire::Revocation>>,
    /// The `after` of each stream so far.
    watched: Mutex<Vec<i64>>,
    is_mute: AtomicBool,
    /// By API key.
    keys: Mutex<HashMap<String, wire::IntrospectResponse>>,
    /// The keys that were asked about.
    asked: Mutex<Vec<String>>,
    /// Answers about keys wait while it is closed.
    gate: watch::Sender<bool>,
}

impl Knowledge {
    pub(super) fn new() -> Self {
        Self(Arc::new(Known {
            revoked: watch::Sender::new(Vec::new()),
            watched: Mutex::default(),
            is_mute: AtomicBool::new(false),
            keys: Mutex::default(),
            asked: Mutex::default(),
            gate: watch::Sender::new(true),
        }))
    }

    /// Ends a session, an API key, a user.
    pub(super) fn revoke(&self, kind: &str, id: &str) {
        let (now, hour) = (now(), Duration::from_secs(3_600));
        let revocation = wire::Revocation {
            kind: kind.to_owned(),
            id: id.to_owned(),
            at: Some(now.into()),
            until: Some((now + hour).into()),
        };
        self.0.revoked.send_modify(|all| all.push(revocation));
    }

    /// No signs of life from now on.
    pub(super) fn mute(&self) {
        self.0.is_mute.store(true, Ordering::Relaxed);
    }

    /// From now on the key stands for this token.
    pub(super) fn trade(&self, key: &str, token: &str) {
        let answer = wire::IntrospectResponse {
            active: true,
            kind: "api_key".to_owned(),
            access_token: token.to_owned(),
            access_token_expires_at: Some((now() + Duration::from_secs(600)).into()),
            ..wire::IntrospectResponse::default()
        };
        let mut keys = self.0.keys.lock().expect("the keys");
        keys.insert(key.to_owned(), answer);
    }

    /// The key is nobody's from now on.
    pub(super) fn forget(&self, key: &str) {
        self.0.keys.lock().expect("the keys").remove(key);
    }

    /// How often it was asked about the key.
    pub(super) fn asked(&self, key: &str) -> usize {
        let asked = self.0.asked.lock().expect("the list");
        asked.iter().filter(|other| *other == key).count()
    }

    pub(super) fn gate(&self, is_open: bool) {
        self.0.gate.send_replace(is_open);
    }

    pub(super) fn watched(&self) -> Vec<i64> {
        self.0.watched.lock().expect("the list").clone()
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "tokens are judged by the edge's real clock"
)]
fn now() -> SystemTime {
    SystemTime::now()
}

/// A process of it; stops when dropped.
pub(super) struct Service {
    ended: JoinHandle<()>,
    stop: DropGuard,
}

struct Answers {
    knowledge: Knowledge,
    stop: CancellationToken,
}

impl Service {
    pub(super) async fn start(address: SocketAddr, knowledge: &Knowledge) -> Self {
        Self::serve(Server::builder(), address, knowledge).await
    }

    /// Behind mutual TLS by the development CA.
    pub(super) async fn start_mutual(address: SocketAddr, knowledge: &Knowledge) -> Self {
        let (certificate, key) = issue(&[NAME]);
        let ca = std::fs::read(certificate_file("ca.pem")).expect("the CA is there");
        let tls = ServerTlsConfig::new()
            .identity(Identity::from_pem(certificate, key))
            .client_ca_root(Certificate::from_pem(ca));
        palisade_edge::crypto::install();
        let server = Server::builder().tls_config(tls).expect("tls");
        Self::serve(server, address, knowledge).await
    }

    async fn serve(mut server: Server, address: SocketAddr, knowledge: &Knowledge) -> Self {
        let listener = until("the port to be free", || async {
            TcpListener::bind(address).await.ok()
        })
        .await;
        let stop = CancellationToken::new();
        let answers = Answers {
            knowledge: knowledge.clone(),
            stop: stop.clone(),
        };
        let serving = server
            .add_service(KeyServiceServer::new(answers))
            .serve_with_incoming_shutdown(
                TcpListenerStream::new(listener),
                stop.clone().cancelled_owned(),
            );
        Self {
            ended: tokio::spawn(async move { serving.await.expect("it serves") }),
            stop: stop.drop_guard(),
        }
    }

    pub(super) async fn stop(self) {
        drop(self.stop);
        self.ended.await.expect("it ends");
    }
}

/// One stream of revocations.
struct Watcher {
    knowledge: Knowledge,
    revoked: watch::Receiver<Vec<wire::Revocation>>,
    stop: CancellationToken,
    after: usize,
    is_first: bool,
}

impl Watcher {
    async fn next(mut self) -> Option<(Result<wire::Revocations, Status>, Self)> {
        loop {
            let told = self.revoked.borrow_and_update().clone();
            let new = told.get(self.after..).unwrap_or_default().to_vec();
            if !new.is_empty() || std::mem::take(&mut self.is_first) {
                self.after = told.len();
                return Some((Ok(self.batch(new)), self));
            }
            let stop = self.stop.clone();
            tokio::select! {
                () = stop.cancelled() => return None,
                changed = self.revoked.changed() => changed.ok()?,
                () = tokio::time::sleep(HEARTBEAT) => {
                    if !self.knowledge.0.is_mute.load(Ordering::Relaxed) {
                        return Some((Ok(self.batch(Vec::new())), self));
                    }
                }
            }
        }
    }

    fn batch(&self, revocations: Vec<wire::Revocation>) -> wire::Revocations {
        wire::Revocations {
            cursor: i64::try_from(self.after).expect("a cursor"),
            revocations,
        }
    }
}

#[tonic::async_trait]
impl KeyService for Answers {
    type WatchRevocationsStream = BoxStream<'static, Result<wire::Revocations, Status>>;

    async fn watch_revocations(
        &self,
        request: Request<wire::WatchRevocationsRequest>,
    ) -> Result<Response<Self::WatchRevocationsStream>, Status> {
        let after = request.get_ref().after;
        self.knowledge
            .0
            .watched
            .lock()
            .expect("the list")
            .push(after);
        let watcher = Watcher {
            knowledge: self.knowledge.clone(),
            revoked: self.knowledge.0.revoked.subscribe(),
            stop: self.stop.clone(),
            after: usize::try_from(after).expect("a cursor"),
            is_first: true,
        };
        Ok(Response::new(
            stream::unfold(watcher, Watcher::next).boxed(),
        ))
    }

    async fn introspect(
        &self,
        request: Request<wire::IntrospectRequest>,
    ) -> Result<Response<wire::IntrospectResponse>, Status> {
        let (key, known) = (&request.get_ref().token, &self.knowledge.0);
        known.asked.lock().expect("the list").push(key.clone());
        let opened = known
            .gate
            .subscribe()
            .wait_for(|is_open| *is_open)
            .await
            .is_ok();
        assert!(opened, "the gate is there");
        let answer = known.keys.lock().expect("the keys").get(key).cloned();
        Ok(Response::new(answer.unwrap_or_default()))
    }

    async fn create_api_key(
        &self,
        _: Request<wire::CreateApiKeyRequest>,
    ) -> Result<Response<wire::CreateApiKeyResponse>, Status> {
        Err(Status::unimplemented("not asked for"))
    }

    async fn list_api_keys(
        &self,
        _: Request<wire::ListApiKeysRequest>,
    ) -> Result<Response<wire::ListApiKeysResponse>, Status> {
        Err(Status::unimplemented("not asked for"))
    }

    async fn revoke_api_key(
        &self,
        _: Request<wire::RevokeApiKeyRequest>,
    ) -> Result<Response<()>, Status> {
        Err(Status::unimplemented("not asked for"))
    }

    async fn rotate_signing_key(
        &self,
        _: Request<wire::RotateSigningKeyRequest>,
    ) -> Result<Response<wire::RotateSigningKeyResponse>, Status> {
        Err(Status::unimplemented("not asked for"))
    }
}
