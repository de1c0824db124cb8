//! One service with its database, and a bus.

use std::{sync::Arc, time::Duration};

use core_platform::{
    backoff::Backoff,
    clock,
    db::{Db, Error, Location, Migration, Tx, query},
    events::{
        Bus, Consumer, Event, EventMetrics, Events, Failure, NewEvent, Settings,
        bus::{self, Embedded, Nats, NatsSettings},
        publish,
    },
    metrics::Metrics,
};
use core_testing::Database;
use futures::future::BoxFuture;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// What handlers do: one row for each time an event took effect. Nothing is unique.
pub(crate) const TABLES: [Migration; 1] = [Migration {
    version: 1,
    name: "effects",
    up: "CREATE TABLE effects (n {serial}, consumer TEXT NOT NULL, subject TEXT NOT NULL) {strict};
         CREATE TABLE causes (n {int} PRIMARY KEY NOT NULL) {strict}",
    down: "DROP TABLE effects; DROP TABLE causes",
}];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pairing {
    EmbeddedOnSqlite,
    EmbeddedOnPostgresql,
    NatsWithSqlite,
    NatsWithPostgresql,
}

pub(crate) struct World {
    pub(crate) db: Db,
    pub(crate) bus: Bus,
    pub(crate) metrics: Metrics,
    pub(crate) events: Events,
    /// Nobody else's: tests share a NATS server.
    domain: String,
    _databases: Vec<Database>,
}

pub(crate) fn settings() -> Settings {
    Settings {
        lease: Duration::from_secs(2),
        retry: Backoff {
            first: Duration::from_millis(20),
            longest: Duration::from_millis(100),
        },
        tries_max: 4,
        ..Settings::default()
    }
}

impl World {
    pub(crate) async fn new(pairing: Pairing, settings: Settings) -> Self {
        let database = || match pairing {
            Pairing::EmbeddedOnSqlite | Pairing::NatsWithSqlite => Database::sqlite(),
            Pairing::EmbeddedOnPostgresql | Pairing::NatsWithPostgresql => Database::postgresql(),
        };
        let mut databases = vec![database()];
        let bus = match pairing {
            Pairing::EmbeddedOnSqlite | Pairing::EmbeddedOnPostgresql => {
                databases.push(database());
                databases[1].setting()
            }
            Pairing::NatsWithSqlite | Pairing::NatsWithPostgresql => core_testing::nats().url(),
        };
        let bus = open_bus(&bus, &settings).await;
        let db = open(&databases[0].setting(), "probe").await;
        db.migrate(&TABLES, None).await.unwrap();
        let metrics = Metrics::new().unwrap();
        let events = Events {
            db: db.clone(),
            bus: bus.clone(),
            metrics: Arc::new(EventMetrics::new(&metrics).unwrap()),
            service: "probe",
            settings,
        };
        Self {
            db,
            bus,
            metrics,
            events,
            domain: format!("t{}", uuid::Uuid::now_v7().simple()),
            _databases: databases,
        }
    }

    /// `<domain>.<what>`; leaked, as types are named in code.
    pub(crate) fn kind(&self, what: &str) -> &'static str {
        format!("{}.{what}", self.domain).leak()
    }

    pub(crate) fn kinds(&self, what: &str) -> &'static [&'static str] {
        vec![self.kind(what)].leak()
    }

    pub(crate) async fn publish(&self, kind: &'static str, subjects: impl Iterator<Item = u32>) {
        let mut tx = self.db.begin().await.unwrap();
        for subject in subjects {
            let event = NewEvent::new("probe", kind, subject.to_string(), clock::now());
            publish(&mut tx, event).await.unwrap();
        }
        tx.commit().await.unwrap();
    }

    /// Runs relay and consumers until the guard is stopped or dropped.
    pub(crate) fn run(&self, consumers: Vec<Consumer>) -> Running {
        let stop = CancellationToken::new();
        let task = tokio::spawn(self.events.clone().run(consumers, stop.clone()));
        Running { stop, task }
    }

    /// The subjects whose events took effect, in order.
    pub(crate) async fn effects(&self, consumer: &str) -> Vec<String> {
        let rows = query("SELECT subject FROM effects WHERE consumer = $1 ORDER BY n")
            .bind(consumer)
            .fetch_all(&self.db)
            .await
            .unwrap();
        rows.iter().map(|row| row.get(0).unwrap()).collect()
    }

    /// Waits for these subjects, no matter in which order.
    pub(crate) async fn wait_for(&self, consumer: &str, subjects: impl Iterator<Item = u32>) {
        let mut expected: Vec<String> = subjects.map(|subject| subject.to_string()).collect();
        expected.sort_unstable();
        core_testing::eventually(&format!("{consumer} to handle its events"), || async {
            let mut effects = self.effects(consumer).await;
            effects.sort_unstable();
            (effects == expected).then_some(())
        })
        .await;
    }

    /// Waits until a line of `/metrics` is there.
    pub(crate) async fn wait_for_metric(&self, line: &str) {
        core_testing::eventually(line, || async {
            let text = String::from_utf8(self.metrics.render().unwrap()).unwrap();
            text.lines().any(|found| found == line).then_some(())
        })
        .await;
    }

    pub(crate) async fn count(&self, sql: &'static str) -> i64 {
        query(sql)
            .fetch_one(&self.db)
            .await
            .unwrap()
            .get(0)
            .unwrap()
    }
}

pub(crate) struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        (&mut self.task).await.unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) async fn open(setting: &str, name: &str) -> Db {
    let location = Location::from_setting(setting).unwrap();
    Db::open(&location, name).await.unwrap()
}

pub(crate) async fn open_bus(setting: &str, settings: &Settings) -> Bus {
    try_bus(setting, settings).await.unwrap()
}

pub(crate) async fn try_bus(setting: &str, settings: &Settings) -> Result<Bus, bus::Error> {
    if !setting.starts_with("nats://") {
        let location = Location::from_setting(setting).unwrap();
        let db = Db::open(&location, "events").await?;
        return Ok(Bus::Embedded(Embedded::open(db, settings).await?));
    }
    let nats = NatsSettings {
        url: setting.to_owned(),
        name: "probe".to_owned(),
        ca: None,
        identity: None,
        replicas: 1,
    };
    Ok(Bus::Nats(Box::new(Nats::connect(&nats, settings).await?)))
}

/// A consumer whose events take effect.
pub(crate) fn writer(name: &'static str, types: &'static [&'static str]) -> Consumer {
    Consumer::new(name, types, move |tx, event| effect(name, tx, event))
}

pub(crate) fn effect<'a>(
    name: &'static str,
    tx: &'a mut Tx,
    event: &'a Event,
) -> BoxFuture<'a, Result<(), Failure>> {
    Box::pin(async move {
        write_effect(name, tx, event).await?;
        Ok(())
    })
}

async fn write_effect(name: &'static str, tx: &mut Tx, event: &Event) -> Result<(), Error> {
    query("INSERT INTO effects (consumer, subject) VALUES ($1, $2)")
        .bind(name)
        .bind(&event.subject)
        .execute(tx)
        .await?;
    Ok(())
}
