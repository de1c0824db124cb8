//! 10,000 events while publisher, consumer and broker are killed at random: each takes
//! effect exactly once.
//! The publisher and the consumer are this binary, started again as `process`.

use std::{
    env,
    io::Read,
    process::{Child, Command, Stdio, exit},
    sync::Arc,
    thread,
};

use core_platform::{
    clock,
    db::{Db, Error, query},
    events::{Consumer, EventMetrics, Events, NewEvent, publish},
    metrics::Metrics,
};
use core_testing::{Nats, Postgres, eventually};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::world::{Pairing, TABLES, effect, open, open_bus, settings, try_bus};

const EVENTS: i64 = 10_000;
/// Events of one business transaction.
const BATCH: i64 = 20;
/// How far the publisher runs ahead, so that its deaths spread over the whole run.
const AHEAD_MAX: i64 = 1_000;
/// Of each part, at random moments.
const KILLS: usize = 4;
const CONSUMER: &str = "ledger";
const KIND: &str = "entry.made";

/// Where everything is; passed on by the environment.
#[derive(Clone)]
struct Places {
    source: String,
    sink: String,
    bus: String,
}

const VARIABLES: [&str; 4] = ["CRASH_ROLE", "CRASH_SOURCE", "CRASH_SINK", "CRASH_BUS"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_on_sqlite() {
    survives(Pairing::EmbeddedOnSqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_on_postgresql() {
    survives(Pairing::EmbeddedOnPostgresql).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_with_sqlite() {
    survives(Pairing::NatsWithSqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_with_postgresql() {
    survives(Pairing::NatsWithPostgresql).await;
}

/// What a test kills.
#[derive(Clone, Copy, Debug)]
enum Victim {
    Publisher,
    Consumer,
    Nats,
    Postgresql,
}

/// The servers of one test, its folder, and the two processes.
struct Stage {
    nats: Option<Nats>,
    postgres: Option<Postgres>,
    places: Places,
    publisher: Process,
    consumer: Process,
    _folder: TempDir,
}

async fn survives(pairing: Pairing) {
    let stage = tokio::task::spawn_blocking(move || Stage::set(pairing));
    let mut stage = stage.await.unwrap();
    // The tables are made once, before anyone dies.
    let source = open(&stage.places.source, "source").await;
    let sink = open(&stage.places.sink, "sink").await;
    for db in [&source, &sink] {
        db.migrate(&TABLES, None).await.unwrap();
    }
    open_bus(&stage.places.bus, &settings()).await;
    stage.publisher.start(&stage.places);
    stage.consumer.start(&stage.places);

    let mut victims = stage.victims();
    fastrand::shuffle(&mut victims);
    let step = EVENTS / i64::try_from(victims.len() + 1).unwrap();
    for (nth, victim) in (0..).zip(victims) {
        let due = nth * step + fastrand::i64(1..step);
        wait_until(&sink, "SELECT COUNT(*) FROM effects", due).await;
        stage = tokio::task::spawn_blocking(move || {
            stage.kill(victim);
            stage
        })
        .await
        .unwrap();
    }
    wait_until(&sink, "SELECT COUNT(*) FROM effects", EVENTS).await;
    eventually("an empty outbox", || async {
        let left = count(&source, "SELECT COUNT(*) FROM outbox").await.ok()?;
        (left == 0).then_some(())
    })
    .await;
    for (db, sql, expected) in [
        (&source, "SELECT COUNT(*) FROM causes", EVENTS),
        (&sink, "SELECT COUNT(*) FROM effects", EVENTS),
        (&sink, "SELECT COUNT(DISTINCT subject) FROM effects", EVENTS),
        (
            &sink,
            "SELECT COUNT(*) FROM inbox WHERE handled_at IS NOT NULL",
            EVENTS,
        ),
        (&sink, "SELECT COUNT(*) FROM dead_letters", 0),
    ] {
        assert_eq!(
            count(db, sql).await.unwrap(),
            expected,
            "{pairing:?}: {sql}"
        );
    }
}

async fn count(db: &Db, sql: &'static str) -> Result<i64, Error> {
    query(sql).fetch_one(db).await?.get(0)
}

/// In steps: as long as there is progress, it may take its time.
async fn wait_until(db: &Db, sql: &'static str, target: i64) {
    let mut reached = 0;
    while reached < target {
        reached = eventually(&format!("more than {reached} of {target}"), || async {
            count(db, sql).await.ok().filter(|now| *now > reached)
        })
        .await;
    }
}

impl Stage {
    fn set(pairing: Pairing) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let on_postgresql = matches!(
            pairing,
            Pairing::EmbeddedOnPostgresql | Pairing::NatsWithPostgresql
        );
        let on_nats = matches!(
            pairing,
            Pairing::NatsWithSqlite | Pairing::NatsWithPostgresql
        );
        let (nats, postgres) = (
            on_nats.then(Nats::start),
            on_postgresql.then(Postgres::start),
        );
        let database = || match &postgres {
            Some(server) => server.fresh(),
            None => folder.path().join("data").display().to_string(),
        };
        Self {
            places: Places {
                source: database(),
                sink: database(),
                bus: nats.as_ref().map_or_else(database, Nats::url),
            },
            nats,
            publisher: Process::new("publisher"),
            consumer: Process::new("consumer"),
            _folder: folder,
            postgres,
        }
    }

    fn victims(&self) -> Vec<Victim> {
        let mut parts = vec![Victim::Publisher, Victim::Consumer];
        parts.extend(self.nats.as_ref().map(|_| Victim::Nats));
        parts.extend(self.postgres.as_ref().map(|_| Victim::Postgresql));
        parts.repeat(KILLS)
    }

    fn kill(&mut self, victim: Victim) {
        match victim {
            Victim::Publisher => self.publisher.start(&self.places),
            Victim::Consumer => self.consumer.start(&self.places),
            Victim::Nats => self.nats.iter().for_each(|server| server.restart()),
            Victim::Postgresql => self.postgres.iter().for_each(|server| server.restart()),
        }
    }
}

/// A process that dies by SIGKILL, at the latest with this value.
struct Process {
    role: &'static str,
    child: Option<Child>,
}

impl Process {
    fn new(role: &'static str) -> Self {
        Self { role, child: None }
    }

    /// Kills it if it runs, and starts it again.
    fn start(&mut self, places: &Places) {
        self.kill();
        let Places { source, sink, bus } = places;
        let child = Command::new(env::current_exe().unwrap())
            .args([
                "--exact",
                "crash::process",
                "--ignored",
                "--nocapture",
                "--test-threads=1",
            ])
            .envs(VARIABLES.into_iter().zip([self.role, source, sink, bus]))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn();
        self.child = Some(child.unwrap());
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a process of the tests above"]
async fn process() {
    // Ends with the test that started it, however that ends.
    thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        exit(1);
    });
    let [role, source, sink, bus] = VARIABLES.map(|name| env::var(name).unwrap());
    let (source, sink) = (
        open_soon(&source, "source").await,
        open_soon(&sink, "sink").await,
    );
    let mut events = Events {
        db: source.clone(),
        bus: eventually("a bus", || async { try_bus(&bus, &settings()).await.ok() }).await,
        metrics: Arc::new(EventMetrics::new(&Metrics::new().unwrap()).unwrap()),
        service: "source",
        settings: settings(),
    };
    let never = CancellationToken::new();
    if role == "publisher" {
        tokio::spawn(events.run(Vec::new(), never));
        return publisher(&source, &sink).await;
    }
    events.db = sink;
    events.service = "sink";
    let handler = Consumer::new(CONSUMER, &[KIND], |tx, event| effect(CONSUMER, tx, event));
    events.run(vec![handler], never).await;
}

/// The server may be starting again.
async fn open_soon(setting: &str, name: &str) -> Db {
    let location = core_platform::db::Location::from_setting(setting).unwrap();
    eventually("a database", || async {
        Db::open(&location, name).await.ok()
    })
    .await
}

/// Goes on where the last one died; a failure is only a reason to try again.
async fn publisher(source: &Db, sink: &Db) {
    loop {
        let made = eventually("room to go on", || async {
            let made = count(source, "SELECT COALESCE(MAX(n) + 1, 0) FROM causes")
                .await
                .ok()?;
            let handled = count(sink, "SELECT COUNT(*) FROM effects").await.ok()?;
            (made < handled + AHEAD_MAX || made == EVENTS).then_some(made)
        })
        .await;
        if made == EVENTS {
            // The relay has work left.
            return std::future::pending().await;
        }
        if let Err(error) = publish_from(source, made).await {
            tracing::debug!(%error, "trying again");
        }
    }
}

/// Causes and their events, in one transaction.
async fn publish_from(source: &Db, first: i64) -> Result<(), Error> {
    let mut tx = source.begin().await?;
    for n in first..(first + BATCH).min(EVENTS) {
        query("INSERT INTO causes (n) VALUES ($1)")
            .bind(n)
            .execute(&mut tx)
            .await?;
        let event = NewEvent::new("source", KIND, n.to_string(), clock::now());
        publish(&mut tx, event).await?;
    }
    tx.commit().await
}
