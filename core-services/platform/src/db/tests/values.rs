//! Every type, to the databases and back.

use std::fmt::Debug;

use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, RngSeed, TestRunner},
};
use serde_json::{Value as Json, json};

use super::*;
use crate::clock::UnixMicros;

const TABLE: Migration = Migration {
    version: 1,
    name: "kinds",
    up: "CREATE TABLE kinds (
             n {serial}, i {int}, r {real}, b {bool}, t TEXT, d {blob}, u {uuid}, at {ts}, j {json}
         ) {strict}",
    down: "DROP TABLE kinds",
};

const INSERT: &str = "INSERT INTO kinds (i, r, b, t, d, u, at, j)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING n, i, r, b, t, d, u, at, j";

/// How many rows of made-up values are sent each time.
const CASES: usize = 64;

type Kinds = (
    Option<i64>,
    Option<f64>,
    Option<bool>,
    Option<String>,
    Option<Vec<u8>>,
    Option<Uuid>,
    Option<UnixMicros>,
    Option<Json>,
);

/// What went in comes out: of the same statement, and of one that reads.
async fn check(db: &Db, kinds: &Kinds) {
    let mut tx = db.begin().await.unwrap();
    let (i, r, b, t, d, u, at, j) = kinds.clone();
    let row = query(INSERT)
        .bind(i)
        .bind(r)
        .bind(b)
        .bind(t)
        .bind(d)
        .bind(u)
        .bind(at)
        .bind(j)
        .fetch_one(&mut tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(&read(&row), kinds);
    let again = query("SELECT n, i, r, b, t, d, u, at, j FROM kinds WHERE n = $1");
    let again = again.bind(row.get::<i64>(0).unwrap());
    assert_eq!(&read(&again.fetch_one(db).await.unwrap()), kinds);
}

fn read(row: &Row) -> Kinds {
    fn get<T: Debug>(row: &Row, index: usize) -> Option<T>
    where
        Option<T>: Column,
    {
        row.get(index).unwrap()
    }
    (
        get(row, 1),
        get(row, 2),
        get(row, 3),
        get(row, 4),
        get(row, 5),
        get(row, 6),
        get(row, 7),
        get(row, 8),
    )
}

fn kinds() -> impl Strategy<Value = Kinds> {
    let text = "[^\\x00]{0,40}";
    let time = super::super::value::TIME_MIN.0..=super::super::value::TIME_MAX.0;
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        text.prop_map(Json::from),
    ];
    let json = leaf.prop_recursive(3, 16, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            prop::collection::btree_map(text, inner, 0..4)
                .prop_map(|map| Json::Object(map.into_iter().collect())),
        ]
    });
    (
        any::<Option<i64>>(),
        prop::option::of(prop::num::f64::NORMAL | prop::num::f64::ZERO | prop::num::f64::SUBNORMAL),
        any::<Option<bool>>(),
        prop::option::of(text),
        prop::option::of(prop::collection::vec(any::<u8>(), 0..64)),
        prop::option::of(any::<[u8; 16]>().prop_map(Uuid::from_bytes)),
        prop::option::of(time.prop_map(UnixMicros)),
        prop::option::of(json),
    )
}

async fn with_table(at: &Database) -> Db {
    let db = open(at).await;
    db.migrate(&[TABLE], None).await.unwrap();
    db
}

both_databases! {
    #[tokio::test]
    async fn any_value_comes_back_as_it_went(at: Database) {
        let db = with_table(&at).await;
        let mut runner = TestRunner::new(Config {
            rng_seed: RngSeed::Fixed(6),
            ..Config::default()
        });
        for _ in 0..CASES {
            let made = kinds().new_tree(&mut runner).unwrap().current();
            check(&db, &made).await;
        }
    }

    #[tokio::test]
    async fn extremes_and_nothing_come_back(at: Database) {
        let db = with_table(&at).await;
        check(&db, &(None, None, None, None, None, None, None, None)).await;
        for (i, r, micros) in [
            (i64::MIN, f64::MIN, super::super::value::TIME_MIN),
            (i64::MAX, f64::MAX, super::super::value::TIME_MAX),
            (0, f64::INFINITY, UnixMicros(0)),
            (-1, f64::MIN_POSITIVE, UnixMicros(-1)),
        ] {
            let all = (
                Some(i), Some(r), Some(i < 0), Some(String::new()), Some(Vec::new()),
                Some(Uuid::max()), Some(micros), Some(json!({})),
            );
            check(&db, &all).await;
        }
    }

    #[tokio::test]
    async fn a_time_beyond_the_calendar_is_its_end(at: Database) {
        let db = with_table(&at).await;
        let mut tx = db.begin().await.unwrap();
        for (bound, kept) in [
            (i64::MIN, super::super::value::TIME_MIN),
            (i64::MAX, super::super::value::TIME_MAX),
        ] {
            let row = query("INSERT INTO kinds (at) VALUES ($1) RETURNING at")
                .bind(UnixMicros(bound))
                .fetch_one(&mut tx)
                .await
                .unwrap();
            assert_eq!(row.get::<UnixMicros>(0).unwrap(), kept);
        }
    }

    #[tokio::test]
    async fn another_type_is_an_error_and_no_guess(at: Database) {
        let db = with_table(&at).await;
        check(&db, &(Some(1), None, None, Some("1".to_owned()), None, None, None, None)).await;
        let row = query("SELECT i, t, r FROM kinds").fetch_one(&db).await.unwrap();
        assert!(row.get::<String>(0).is_err());
        assert!(row.get::<i64>(1).is_err());
        assert!(row.get::<f64>(2).is_err(), "NULL is no number");
        assert!(row.get::<i64>(9).is_err(), "there is no such column");
    }

    #[tokio::test]
    async fn booleans_sums_and_orders_mean_the_same(at: Database) {
        let db = with_table(&at).await;
        for (i, b) in [(1, true), (2, false), (3, true)] {
            check(&db, &(Some(i), None, Some(b), None, None, None, None, None)).await;
        }
        let row = query(
            "SELECT CAST(SUM(i) AS BIGINT), COUNT(*), MAX(i) > 2, bool_count.n FROM kinds,
             (SELECT COUNT(*) AS n FROM kinds WHERE b = $1 AND b IS TRUE AND NOT (b = $2)) bool_count
             GROUP BY bool_count.n",
        );
        let row = row.bind(true).bind(false).fetch_one(&db).await.unwrap();
        assert_eq!(row.get::<i64>(0).unwrap(), 6);
        assert_eq!(row.get::<i64>(1).unwrap(), 3);
        assert!(row.get::<bool>(2).unwrap());
        assert_eq!(row.get::<i64>(3).unwrap(), 2);
    }

    #[tokio::test]
    async fn lists_find_what_they_hold(at: Database) {
        let db = with_table(&at).await;
        let texts = ["", "it's", "\"a\"", "{b,c}", "ü ☃", "NULL"];
        let ids = texts.map(|text| {
            let id = Uuid::now_v7();
            (text, id)
        });
        for (text, id) in ids {
            let text = Some(text.to_owned());
            check(&db, &(None, None, None, text, None, Some(id), None, None)).await;
        }
        let found = async |texts: &[&str], ids: Vec<Uuid>| {
            let texts: Vec<String> = texts.iter().map(|&text| text.to_owned()).collect();
            query("SELECT COUNT(*) FROM kinds WHERE t {any_text:$1} AND u {any_uuid:$2}")
                .bind(texts)
                .bind(ids)
                .fetch_one(&db)
                .await
                .unwrap()
                .get::<i64>(0)
                .unwrap()
        };
        let all: Vec<Uuid> = ids.iter().map(|(_, id)| *id).collect();
        assert_eq!(found(&texts, all.clone()).await, 6);
        assert_eq!(found(&texts[1..3], all.clone()).await, 2);
        assert_eq!(found(&texts, vec![all[0], Uuid::now_v7()]).await, 1);
        assert_eq!(found(&[], all).await, 0);
        assert_eq!(found(&texts, Vec::new()).await, 0);
    }
}
