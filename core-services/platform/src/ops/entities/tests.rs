use std::{
    future,
    sync::atomic::{AtomicU32, Ordering},
};

use core_testing::{Database, both_databases};
use tonic_types::StatusExt;

use super::*;
use crate::{
    clock::{self, UnixMicros},
    crypto::{KeyRing, Vault},
    db::{Location, query},
};

/// Two pages and a half.
const THINGS: u128 = 250;
const CALLER: &str = "search";

struct World {
    db: Db,
    cursors: Cursors,
    stop: CancellationToken,
}

async fn world(at: &Database) -> World {
    let location = Location::from_setting(&at.setting()).unwrap();
    let db = Db::open(&location, "probe").await.unwrap();
    db.migrate(&[], None).await.unwrap();
    let ring = tempfile::tempdir().unwrap();
    let keys = KeyRing::open(None, ring.path()).unwrap();
    let vault = Vault::start(&db, keys, clock::now()).await.unwrap();
    let mut tx = db.begin().await.unwrap();
    let made = query("CREATE TABLE things (id UUID PRIMARY KEY)").execute(&mut tx);
    made.await.unwrap();
    for n in 1..=THINGS {
        insert(&mut tx, n).await;
    }
    tx.commit().await.unwrap();
    World {
        db,
        cursors: Cursors::new(&vault).unwrap(),
        stop: CancellationToken::new(),
    }
}

async fn insert(tx: &mut db::Tx, n: u128) {
    let added = query("INSERT INTO things (id) VALUES ($1)").bind(Uuid::from_u128(n));
    added.execute(tx).await.unwrap();
}

fn entity(id: Uuid) -> Entity {
    let event = NewEvent::new("probe", "thing.made", id.to_string(), UnixMicros(7));
    Entity { id, event }
}

fn things() -> Entities {
    Entities::new("thing", |db, after, limit| {
        Box::pin(async move {
            let rows = query("SELECT id FROM things WHERE id > $1 ORDER BY id LIMIT $2");
            let rows = rows.bind(after).bind(limit).fetch_all(db).await?;
            rows.iter().map(|row| Ok(entity(row.get(0)?))).collect()
        })
    })
}

impl World {
    fn reader(&self, entities: Entities) -> Reader {
        Reader {
            db: self.db.clone(),
            entities,
            cursors: self.cursors.clone(),
            caller: CALLER.to_owned(),
            until: Instant::now() + STREAM_TIMEOUT,
            stop: self.stop.clone(),
        }
    }

    fn things(&self, after: &str) -> BoxStream<'static, Result<wire::Entity, Status>> {
        self.reader(things()).stream(after).unwrap()
    }
}

fn number(entity: &wire::Entity) -> u128 {
    let subject = &entity.event.as_ref().unwrap().subject;
    subject.parse::<Uuid>().unwrap().as_u128()
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().unwrap().reason
}

/// The first `count`, and the rest of the stream.
async fn first<S>(stream: &mut S, count: usize) -> Vec<wire::Entity>
where
    S: futures::Stream<Item = Result<wire::Entity, Status>> + Unpin,
{
    stream.take(count).try_collect().await.unwrap()
}

both_databases! {
    #[tokio::test]
    async fn all_are_told_in_order_and_from_any_position(at: Database) {
        let world = world(&at).await;
        let all = first(&mut world.things(""), usize::MAX).await;
        let numbers: Vec<_> = all.iter().map(number).collect();
        assert_eq!(numbers, (1..=THINGS).collect::<Vec<_>>());
        let event = all[0].event.as_ref().unwrap();
        assert_eq!((event.r#type.as_str(), event.source.as_str()), ("thing.made", "probe"));
        for taken in [1, 99, 100, 101, 249] {
            let rest = first(&mut world.things(&all[taken - 1].position), usize::MAX).await;
            let rest: Vec<_> = rest.iter().map(number).collect();
            assert_eq!(rest, numbers[taken..], "after {taken}");
        }
        let last = &all.last().unwrap().position;
        assert!(first(&mut world.things(last), usize::MAX).await.is_empty());
    }

    #[tokio::test]
    async fn a_position_is_of_one_caller_and_one_type(at: Database) {
        let world = world(&at).await;
        let position = first(&mut world.things(""), 1).await.remove(0).position;
        let mut others = world.reader(things());
        others.caller = "media".to_owned();
        let mut other_type = world.reader(things());
        other_type.entities.kind = "other";
        for reader in [others, other_type] {
            let refused = reader.stream(&position).err().unwrap();
            assert_eq!(reason(&refused), "INVALID_PAGE_TOKEN");
        }
    }

    #[tokio::test]
    async fn who_is_made_meanwhile_comes(at: Database) {
        let world = world(&at).await;
        let mut stream = world.things("");
        first(&mut stream, 100).await;
        let mut tx = world.db.begin().await.unwrap();
        insert(&mut tx, THINGS + 1).await;
        tx.commit().await.unwrap();
        let rest = first(&mut stream, usize::MAX).await;
        assert_eq!(number(rest.last().unwrap()), THINGS + 1);
    }

    /// A transaction of the stream's would keep the table.
    #[tokio::test]
    async fn nothing_is_held_between_pages(at: Database) {
        let world = world(&at).await;
        let mut stream = world.things("");
        first(&mut stream, 1).await;
        let mut tx = world.db.begin().await.unwrap();
        query("DROP TABLE things").execute(&mut tx).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(first(&mut stream, 99).await.len(), 99, "the page that was read");
        let failed = stream.next().await.unwrap().unwrap_err();
        assert_eq!(reason(&failed), "INTERNAL");
        assert!(stream.next().await.is_none());
    }
}

/// There is always one more.
fn endless(reads: Arc<AtomicU32>) -> Entities {
    Entities::new("thing", move |_, after, _| {
        reads.fetch_add(1, Ordering::SeqCst);
        Box::pin(future::ready(Ok(vec![entity(Uuid::from_u128(
            after.as_u128() + 1,
        ))])))
    })
}

#[tokio::test]
async fn no_page_is_read_before_it_is_wanted() {
    let world = world(&Database::sqlite()).await;
    let reads = Arc::new(AtomicU32::new(0));
    let mut stream = world.reader(endless(reads.clone())).stream("").unwrap();
    assert_eq!(reads.load(Ordering::SeqCst), 0);
    first(&mut stream, 3).await;
    assert_eq!(reads.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_stream_ends_with_its_time_or_the_process() {
    let world = world(&Database::sqlite()).await;
    let ended = async |mut reader: Reader, entities, until| {
        (reader.entities, reader.until) = (entities, until);
        let stream = reader.stream("").unwrap();
        let mut failed = stream.filter_map(async |found| found.err()).boxed();
        let first = failed.next().await.unwrap();
        assert!(failed.next().await.is_none());
        reason(&first)
    };
    let soon = Instant::now() + Duration::from_millis(20);
    let silent = || Entities::new("thing", |_, _, _| Box::pin(future::pending()));
    for entities in [endless(Arc::default()), silent()] {
        let end = ended(world.reader(things()), entities, soon).await;
        assert_eq!(end, "DEADLINE_EXCEEDED");
    }
    let late = Instant::now() + STREAM_TIMEOUT;
    world.stop.cancel();
    for entities in [endless(Arc::default()), silent()] {
        let end = ended(world.reader(things()), entities, late).await;
        assert_eq!(end, "STOPPING");
    }
}

#[tokio::test]
async fn a_read_ends_with_the_call() {
    let world = world(&Database::sqlite()).await;
    let reading = CancellationToken::new();
    let seen = reading.clone();
    let entities = Entities::new("thing", move |_, _, _| {
        let guard = seen.clone().drop_guard();
        Box::pin(async move {
            let _until_dropped = guard;
            future::pending().await
        })
    });
    let mut stream = world.reader(entities).stream("").unwrap();
    assert!(futures::poll!(stream.next()).is_pending());
    assert!(!reading.is_cancelled());
    drop(stream);
    assert!(reading.is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn a_caller_gives_no_more_than_there_is() {
    let given = |text: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(deadline::GRPC_TIMEOUT, text.parse().unwrap());
        until(&headers) - Instant::now()
    };
    assert_eq!(given("5S"), Duration::from_secs(5));
    assert_eq!(given("9H"), STREAM_TIMEOUT);
    assert_eq!(until(&HeaderMap::new()) - Instant::now(), STREAM_TIMEOUT);
}
