//! The addresses of a name, looked up again and again, called in turn.
//! Invariant: the last addresses that were found stay until others are: a name
//! server that is away takes no service away.
//! Refuses to grow: a name with more addresses than the bound uses the first.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::future::BoxFuture;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::Channel;

/// Replicas of one service.
const ADDRESSES_MAX: usize = 64;

/// Looks names up; tests bring their own.
pub trait Resolve: Send + Sync {
    /// # Errors
    /// The name is unknown, or nobody could be asked.
    fn resolve<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>>;
}

/// As the operating system does.
pub struct System;

impl Resolve for System {
    fn resolve<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            Ok(tokio::net::lookup_host((host, port)).await?.collect())
        })
    }
}

/// One address and its connection.
pub(super) struct Member {
    address: SocketAddr,
    pub(super) channel: Channel,
    /// How long it is passed over after a call that found nobody there.
    pause: Duration,
    down_until: Mutex<Option<Instant>>,
}

impl Member {
    pub(super) fn set_down(&self, down: bool) {
        let until = down.then(|| Instant::now() + self.pause);
        *self
            .down_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = until;
    }

    fn is_down(&self, now: Instant) -> bool {
        let until = self
            .down_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| now < until)
    }
}

type Members = Arc<Vec<Arc<Member>>>;

pub(super) struct Addresses {
    members: watch::Receiver<Members>,
    next: AtomicUsize,
    /// Looks up at once.
    pub(super) nudge: Arc<Notify>,
    _task: AbortOnDropHandle<()>,
}

/// What is looked up, and how a connection is made of what is found.
pub(super) struct Lookup {
    pub(super) resolver: Arc<dyn Resolve>,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) every: Duration,
    pub(super) connect: Box<dyn Fn(SocketAddr) -> Option<Channel> + Send + Sync>,
}

impl Addresses {
    /// Starts looking up on the current runtime.
    pub(super) fn follow(lookup: Lookup) -> Self {
        let (sender, members) = watch::channel(Members::default());
        let nudge = Arc::new(Notify::new());
        let task = tokio::spawn(run(lookup, sender, nudge.clone()));
        Self {
            members,
            next: AtomicUsize::new(0),
            nudge,
            _task: AbortOnDropHandle::new(task),
        }
    }

    /// The next address in turn, of those that answered last if there are any;
    /// waits for the first lookup to find one.
    pub(super) async fn pick(&self) -> Option<Arc<Member>> {
        let mut members = self.members.clone();
        let found = members.wait_for(|found| !found.is_empty()).await.ok()?;
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let in_turn = (0..found.len()).map(|step| turn.wrapping_add(step) % found.len());
        let mut in_turn = in_turn.filter_map(|at| found.get(at));
        let first = in_turn.next()?;
        let now = Instant::now();
        let up = std::iter::once(first)
            .chain(in_turn)
            .find(|member| !member.is_down(now));
        Some(up.unwrap_or(first).clone())
    }
}

async fn run(lookup: Lookup, sender: watch::Sender<Members>, nudge: Arc<Notify>) {
    loop {
        match lookup.resolver.resolve(&lookup.host, lookup.port).await {
            Ok(found) => {
                let members = renewed(&lookup, &sender.borrow(), found);
                if !members.is_empty() {
                    sender.send_replace(members);
                }
            }
            Err(error) => {
                tracing::warn!(host = lookup.host, %error, "lookup failed; the last addresses stay");
            }
        }
        // Spread, so that replicas don't ask in step; never more often than this.
        let pause = lookup.every.mul_f64(0.1);
        tokio::time::sleep(pause).await;
        let rest = lookup.every.mul_f64(0.8 + 0.2 * fastrand::f64());
        // Either is a reason to look.
        let _ = tokio::time::timeout(rest, nudge.notified()).await;
    }
}

/// Addresses that stay keep their connection.
fn renewed(lookup: &Lookup, before: &Members, mut found: Vec<SocketAddr>) -> Members {
    found.sort_unstable();
    found.dedup();
    found.truncate(ADDRESSES_MAX);
    let member = |address: SocketAddr| {
        if let Some(known) = before.iter().find(|known| known.address == address) {
            return Some(known.clone());
        }
        let channel = (lookup.connect)(address)?;
        Some(Arc::new(Member {
            address,
            channel,
            pause: lookup.every,
            down_until: Mutex::new(None),
        }))
    };
    Arc::new(found.into_iter().filter_map(member).collect())
}
