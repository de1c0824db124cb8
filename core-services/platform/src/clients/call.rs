//! One call to another service, from its headers to its answer.
//! Invariant: the order of a try is deadline, breaker, address, send; a try that
//! is settled is counted once. What comes back is always a gRPC status.
//! Refuses to open the breaker because of a caller that was in a hurry.

use std::{
    convert::Infallible,
    error::Error as _,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header::AUTHORIZATION, request::Parts};
use http_body_util::{BodyExt, Full, Limited};
use tokio::time::{Instant, timeout_at};
use tonic::{Code, Status, TimeoutExpired, body::Body, transport};
use tower::{Service, ServiceExt};

use super::{
    Shared,
    addresses::{Addresses, Member},
    breaker::{Breaker, Outcome, Pass},
    budget::Budget,
    methods::Method,
};
use crate::{
    backoff::Backoff,
    clock::{self, UnixMicros},
    deadline::{self, Inherited},
    errors,
    serve::MESSAGE_BYTES_MAX,
    service_token,
};

/// The first try and two more.
const TRIES_MAX: u32 = 3;
/// Between the tries.
const PAUSES: Backoff = Backoff {
    first: Duration::from_millis(50),
    longest: Duration::from_millis(100),
};
/// Of a call that nobody gave a deadline; streams have none.
const TIMEOUT: Duration = Duration::from_secs(10);
/// For the answer's way back: the called must give up before its caller does.
const HOP_MARGIN: Duration = Duration::from_millis(5);
/// A target had its chance when it did not answer for as long as this. With less,
/// anyone who may send `grpc-timeout: 1m` could cut it off for all.
const CHANCE: Duration = Duration::from_secs(1);
/// A service token is renewed when it has less than half of its life left.
const RENEW: Duration = Duration::from_secs(service_token::LIFETIME.as_secs() / 2);

/// A channel to a service; generated clients take it as theirs.
#[derive(Clone)]
pub struct Channel(Arc<Upstream>);

impl Channel {
    pub(super) fn new(upstream: Upstream) -> Self {
        Self(Arc::new(upstream))
    }
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let upstream = self.0.clone();
        // Here and not in the future, which may run in another task.
        let inherited = Inherited::current();
        Box::pin(async move {
            let answer = upstream.call(request, inherited).await;
            Ok(answer.unwrap_or_else(Status::into_http))
        })
    }
}

/// How a service is reached.
pub(super) enum Link {
    One(transport::Channel),
    Many(Addresses),
}

pub(super) struct Upstream {
    service: String,
    link: Link,
    // Std locks: held for a few assignments, never across an await.
    breaker: Mutex<Breaker>,
    budget: Mutex<Budget>,
    token: Mutex<Option<(HeaderValue, UnixMicros)>>,
    shared: Arc<Shared>,
}

/// A request that can be sent as often as its RPC allows.
enum Message {
    Whole(Bytes),
    Once(Option<Body>),
}

impl Message {
    fn next(&mut self) -> Option<Body> {
        match self {
            Self::Whole(bytes) => Some(Body::new(Full::new(bytes.clone()))),
            Self::Once(body) => body.take(),
        }
    }
}

impl Upstream {
    pub(super) fn new(
        service: &str,
        link: Link,
        breaker_pause: Duration,
        shared: &Arc<Shared>,
    ) -> Self {
        Self {
            service: service.to_owned(),
            link,
            breaker: Mutex::new(Breaker::new(breaker_pause)),
            budget: Mutex::new(Budget::full()),
            token: Mutex::new(None),
            shared: shared.clone(),
        }
    }

    async fn call(
        &self,
        request: Request<Body>,
        inherited: Inherited,
    ) -> Result<Response<Body>, Status> {
        let (mut parts, body) = request.into_parts();
        let method = self.shared.methods.of(parts.uri.path());
        let deadline = deadline(&parts, &inherited, method);
        self.dress(&mut parts, inherited);
        let mut message = if method.repeatable {
            Message::Whole(whole(body).await?)
        } else {
            Message::Once(Some(body))
        };
        let mut tries = 0;
        loop {
            let Some(body) = message.next() else {
                return Err(errors::internal("a message was sent already"));
            };
            tries += 1;
            let request = timed(parts.clone(), body, deadline)?;
            let entered = Entered::new(self)?;
            let answer = self.attempt(entered, request, deadline).await;
            let code = code(&answer);
            self.count(code);
            if code != Code::Unavailable {
                // A refusal is an answer, too: the target is well.
                if code != Code::DeadlineExceeded {
                    lock(&self.budget).succeeded();
                }
                return answer;
            }
            let paid = lock(&self.budget).failed();
            if !method.repeatable || tries == TRIES_MAX {
                return answer;
            }
            if !paid {
                self.retry("no_budget");
                return answer;
            }
            let pause = PAUSES.after(tries);
            if deadline.is_some_and(|at| Instant::now() + pause >= at) {
                self.retry("no_time");
                return answer;
            }
            self.retry("sent");
            tokio::time::sleep(pause).await;
        }
    }

    async fn attempt(
        &self,
        mut entered: Entered<'_>,
        request: Request<Body>,
        deadline: Option<Instant>,
    ) -> Result<Response<Body>, Status> {
        let since = Instant::now();
        let sending = async {
            match &self.link {
                Link::One(channel) => send(channel.clone(), request).await,
                Link::Many(addresses) => send_to_one(addresses, request).await,
            }
        };
        let answer = match deadline {
            Some(at) => timeout_at(at, sending)
                .await
                .unwrap_or_else(|_| Err(too_late())),
            None => sending.await,
        };
        entered.outcome = match code(&answer) {
            Code::Unavailable => Outcome::Failed,
            Code::DeadlineExceeded if since.elapsed() >= CHANCE => Outcome::Failed,
            Code::DeadlineExceeded => Outcome::Unknown,
            _ => Outcome::Answered,
        };
        answer
    }

    /// What goes along with every call.
    fn dress(&self, parts: &mut Parts, inherited: Inherited) {
        let mut inherit = |name: http::HeaderName, value: Option<HeaderValue>| {
            if let Some(value) = value {
                parts.headers.entry(name).or_insert(value);
            }
        };
        inherit(AUTHORIZATION, inherited.authorization);
        inherit(
            http::HeaderName::from_static("traceparent"),
            inherited.traceparent,
        );
        inherit(
            http::HeaderName::from_static("x-request-id"),
            inherited.request_id,
        );
        if let Some(token) = self.token(clock::now()) {
            parts.headers.insert(service_token::HEADER, token);
        }
    }

    /// Our token for this service, signed anew in time.
    fn token(&self, now: UnixMicros) -> Option<HeaderValue> {
        let mut token = lock(&self.token);
        if let Some((value, renew_at)) = &*token
            && now < *renew_at
            // A clock that was set back would keep a token of the future.
            && *renew_at <= now + RENEW
        {
            return Some(value.clone());
        }
        let signed = self.shared.signer.sign(&self.service, now);
        let mut value = HeaderValue::from_str(&signed).ok()?;
        value.set_sensitive(true);
        *token = Some((value.clone(), now + RENEW));
        Some(value)
    }

    fn count(&self, code: Code) {
        let code = (code as i32).to_string();
        let calls = &self.shared.metrics.clients.calls;
        calls.with_label_values(&[&self.service, &code]).inc();
    }

    fn retry(&self, result: &str) {
        let retries = &self.shared.metrics.clients.retries;
        retries.with_label_values(&[&self.service, result]).inc();
    }

    fn show(&self, breaker: &Breaker) {
        let gauge = &self.shared.metrics.clients.breaker;
        gauge
            .with_label_values(&[&self.service])
            .set(breaker.level());
    }
}

/// A try that the breaker let through; settled when dropped, also by a caller
/// that gives up.
struct Entered<'a> {
    upstream: &'a Upstream,
    pass: Pass,
    outcome: Outcome,
}

impl<'a> Entered<'a> {
    fn new(upstream: &'a Upstream) -> Result<Self, Status> {
        let mut breaker = lock(&upstream.breaker);
        let pass = breaker.enter(Instant::now());
        upstream.show(&breaker);
        let pass = pass.ok_or_else(|| errors::busy("CIRCUIT_OPEN"))?;
        Ok(Self {
            upstream,
            pass,
            outcome: Outcome::Unknown,
        })
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        let mut breaker = lock(&self.upstream.breaker);
        breaker.settle(self.pass, self.outcome, Instant::now());
        self.upstream.show(&breaker);
    }
}

/// The earliest of what the caller set, what its own caller left, and our own.
fn deadline(parts: &Parts, inherited: &Inherited, method: Method) -> Option<Instant> {
    let now = Instant::now();
    let set = deadline::given(&parts.headers).map(|time| now + time);
    let own = (!method.streams).then(|| now + TIMEOUT);
    // A stream outlives the call that it was opened in.
    let left = inherited.deadline.filter(|_| !method.streams);
    [set, left, own].into_iter().flatten().min()
}

/// A try that says how much time is left; what can't be answered in time isn't sent.
fn timed(mut parts: Parts, body: Body, deadline: Option<Instant>) -> Result<Request<Body>, Status> {
    if let Some(deadline) = deadline {
        let left = deadline.saturating_duration_since(Instant::now());
        let given = left.checked_sub(HOP_MARGIN).filter(|left| !left.is_zero());
        let value = deadline::give(given.ok_or_else(too_late)?);
        parts.headers.insert(deadline::GRPC_TIMEOUT, value);
    }
    Ok(Request::from_parts(parts, body))
}

async fn whole(body: Body) -> Result<Bytes, Status> {
    let limited = Limited::new(body, MESSAGE_BYTES_MAX);
    match limited.collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(cause) => Err(errors::internal(&cause)),
    }
}

async fn send_to_one(
    addresses: &Addresses,
    request: Request<Body>,
) -> Result<Response<Body>, Status> {
    let member: Arc<Member> = addresses
        .pick()
        .await
        .ok_or_else(|| errors::busy("NO_ADDRESS"))?;
    let answer = send(member.channel.clone(), request).await;
    // Only nobody being there says so; a refusal of the service comes as an answer.
    let down = matches!(&answer, Err(status) if status.code() == Code::Unavailable);
    member.set_down(down);
    if down {
        addresses.nudge.notify_one();
    }
    answer
}

/// The answer, or what kept it from coming.
async fn send(
    channel: transport::Channel,
    request: Request<Body>,
) -> Result<Response<Body>, Status> {
    match channel.oneshot(request).await {
        Ok(response) => Ok(response),
        Err(error) if is_timeout(&error) => Err(too_late()),
        Err(error) => {
            tracing::warn!(%error, cause = error.source().map(tracing::field::display), "call failed");
            Err(errors::busy("SERVICE_AWAY"))
        }
    }
}

/// tonic runs a timer on the header that we set.
fn is_timeout(error: &transport::Error) -> bool {
    let mut source = error.source();
    while let Some(cause) = source {
        if cause.is::<TimeoutExpired>() {
            return true;
        }
        source = cause.source();
    }
    false
}

fn too_late() -> Status {
    errors::refused(
        Code::DeadlineExceeded,
        "DEADLINE_EXCEEDED",
        "there was no time left for the call",
    )
}

/// What the headers say: `OK` also for an answer whose trailers say otherwise, as
/// its message has been sent by then and can't be asked for again.
fn code(answer: &Result<Response<Body>, Status>) -> Code {
    match answer {
        Ok(response) => {
            Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code())
        }
        Err(status) => status.code(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
