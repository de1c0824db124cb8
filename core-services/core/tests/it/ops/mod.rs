//! What operators look at and do, by RPC and by command, on running services.

mod rpcs;
mod entities;
mod commands;

use std::{
    fs,
    process::{Command, Output},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use core_platform::{
    db::{Db, Location},
    events::{
        Bus, Consumer, EventMetrics, Events, Failure, Settings,
        bus::{Embedded, Nats as NatsBus, NatsSettings},
    },
    metrics::Metrics,
};
use core_proto::platform::v1::{
    ListDeadLettersRequest, ReplayDeadLettersRequest, ops_service_client::OpsServiceClient,
};
use core_testing::{Database, Nats, eventually};
use serde_json::Value;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tonic::transport::Channel;

use crate::harness::{Core, EDGE, EMAIL, PASSWORD, World, with_token};

const CONSUMER: &str = "probe";

/// A process with its databases, and somebody to operate it.
struct Place {
    world: World,
    identity: Database,
    events: Database,
    nats: Option<Nats>,
}

impl Place {
    fn new(identity: Database, nats: Option<Nats>) -> Self {
        let world = World::new();
        let policies = concat!(env!("CARGO_MANIFEST_DIR"), "/../../policies/services");
        let roles = world.policies().join("rbac.yaml");
        fs::copy(format!("{policies}/rbac.yaml"), roles).unwrap();
        let events = if identity.is_sqlite() {
            Database::sqlite()
        } else {
            Database::postgresql()
        };
        Self {
            world,
            identity,
            events,
            nats,
        }
    }

    fn command(&self, subcommand: &str) -> Command {
        let mut command = self.world.command(subcommand);
        command
            .env("DATABASE_URL__IDENTITY", self.identity.setting())
            .env("DATABASE_URL__EVENTS", self.events.setting());
        if let Some(nats) = &self.nats {
            command.env("NATS_URL", nats.url());
        }
        command
    }

    async fn start(&self) -> Core {
        World::start_command(self.command("all")).await
    }

    /// Exit status, standard output, standard error.
    fn ops(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let mut command = self.command("ops");
        let Output {
            status,
            stdout,
            stderr,
        } = command.args(arguments).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (status.code(), text(stdout), text(stderr))
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let (status, out, err) = self.ops(&[arguments, &["--json"]].concat());
        assert_eq!((status, err.as_str()), (Some(0), ""), "{arguments:?}");
        serde_json::from_str(&out).unwrap()
    }

    async fn db(&self) -> Db {
        open(&self.identity, "identity").await
    }

    /// The access token of a user with this role.
    async fn token(&self, core: &Core, email: &str, role: &str) -> String {
        let edge = self.world.edge(core);
        edge.register(email).await.unwrap();
        if role != "user" {
            let granted = self.ops(&["grant-role", email, role]);
            assert_eq!(granted.0, Some(0), "{}", granted.2);
        }
        edge.login(email, PASSWORD).await.unwrap().access_token
    }

    fn client(&self, core: &Core) -> OpsServiceClient<Channel> {
        OpsServiceClient::new(self.world.channel(core, &[EDGE]))
    }

    /// A replica of the service, as far as one consumer goes: it fails until it is healed.
    async fn consumer(&self, healed: Arc<AtomicBool>) -> AbortOnDropHandle<()> {
        let settings = Settings::default();
        let bus = match &self.nats {
            None => {
                let bus = open(&self.events, "events").await;
                Bus::Embedded(Embedded::open(bus, &settings).await.unwrap())
            }
            Some(nats) => {
                let nats = NatsSettings {
                    url: nats.url(),
                    name: CONSUMER.to_owned(),
                    ca: None,
                    identity: None,
                    replicas: 1,
                };
                Bus::Nats(Box::new(NatsBus::connect(&nats, &settings).await.unwrap()))
            }
        };
        let events = Events {
            db: self.db().await,
            bus,
            metrics: Arc::new(EventMetrics::new(&Metrics::new().unwrap()).unwrap()),
            service: "identity",
            settings,
        };
        let consumer = Consumer::new(CONSUMER, &["user.created"], move |_, _| {
            let healed = healed.load(Ordering::Acquire);
            Box::pin(async move {
                let poisoned = || Failure::Permanent("the event is poisonous".to_owned());
                if healed { Ok(()) } else { Err(poisoned()) }
            })
        });
        let running = events.run(vec![consumer], CancellationToken::new());
        AbortOnDropHandle::new(tokio::spawn(running))
    }
}

async fn open(at: &Database, name: &str) -> Db {
    let location = Location::from_setting(&at.setting()).unwrap();
    Db::open(&location, name).await.unwrap()
}

fn service() -> String {
    "identity".to_owned()
}

/// Dies in a consumer, is seen, and is handled after a replay by `replay`.
async fn a_life(place: &Place, replay: impl AsyncFnOnce(&Core, &str, &str) -> u64) {
    let core = place.start().await;
    let healed = Arc::new(AtomicBool::new(false));
    let _consumer = place.consumer(healed.clone()).await;
    let token = place.token(&core, EMAIL, "operator").await;
    let letters = async || {
        let asked = ListDeadLettersRequest {
            service: service(),
            consumer: CONSUMER.to_owned(),
            ..ListDeadLettersRequest::default()
        };
        let mut client = place.client(&core);
        let found = client.list_dead_letters(with_token(asked, &token)).await;
        found.unwrap().into_inner().dead_letters
    };
    let letter = eventually("a dead letter", async || letters().await.pop()).await;
    assert_eq!(
        (letter.r#type.as_str(), letter.last_error.as_str()),
        ("user.created", "the event is poisonous")
    );

    let list = ["dead-letters", "list", "--service", "identity"];
    let listed = place.json(&list);
    assert_eq!(listed[0]["event_id"], letter.event_id.as_str());
    assert_eq!(listed[0]["replaying"], false);
    let (_, table, _) = place.ops(&list);
    assert!(
        table.starts_with("SEQ") && table.contains("the event is poisonous"),
        "{table}"
    );
    assert!(!table.contains(EMAIL), "{table}");
    let status = ["status", "--service", "identity"];
    assert_eq!(place.json(&status)[0]["dead_letters"], 1);

    healed.store(true, Ordering::Release);
    assert_eq!(replay(&core, &token, &letter.event_id).await, 1);
    eventually("the letter's end", async || {
        letters().await.is_empty().then_some(())
    })
    .await;
    assert_eq!(place.json(&list), Value::Array(Vec::new()));
    assert_eq!(place.json(&status)[0]["dead_letters"], 0);
}

#[tokio::test]
async fn a_poisonous_event_on_sqlite_is_replayed_by_rpc() {
    let place = Place::new(Database::sqlite(), None);
    let by_rpc = async |core: &Core, token: &str, id: &str| {
        let asked = ReplayDeadLettersRequest {
            service: service(),
            consumer: CONSUMER.to_owned(),
            event_ids: vec![id.to_owned()],
            all: false,
        };
        let mut client = place.client(core);
        let replayed = client.replay_dead_letters(with_token(asked, token)).await;
        u64::try_from(replayed.unwrap().into_inner().count).unwrap()
    };
    a_life(&place, by_rpc).await;
}

#[tokio::test]
async fn a_poisonous_event_on_nats_and_postgresql_is_replayed_by_command() {
    let place = Place::new(Database::postgresql(), Some(Nats::start()));
    let by_command = async |_: &Core, _: &str, id: &str| {
        let whose = ["--service", "identity", "--consumer", CONSUMER];
        let replay = [&["dead-letters", "replay"], &whose[..], &["--event", id]].concat();
        let (status, out, err) = place.ops(&replay);
        assert_eq!(status, Some(0), "{err}");
        let count = out.strip_prefix("replaying: ").unwrap();
        count.trim().parse().unwrap()
    };
    a_life(&place, by_command).await;
}

#[tokio::test]
async fn every_service_keeps_its_own_house() {
    let world = crate::harness::World::new();
    let _core = world.start().await;
    let location = Location::from_setting(world.data_dir().to_str().unwrap()).unwrap();
    let db = Db::open(&location, "identity").await.unwrap();
    for kind in ["platform.rewrap-data-keys", "platform.idempotency-sweep"] {
        core_testing::eventually(kind, async || {
            let asked = core_platform::db::query("SELECT kind FROM job_schedules WHERE kind = $1");
            asked.bind(kind).fetch_optional(&db).await.unwrap()
        })
        .await;
    }
}
