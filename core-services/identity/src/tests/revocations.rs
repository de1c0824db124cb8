//! What is told of tokens that died.

use futures::{StreamExt, stream::BoxStream};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    api_keys::NewKey,
    revocations::{Batch, Revocations},
};

type Batches = BoxStream<'static, Result<Batch, core_platform::db::Error>>;

/// A look-out over the world's database; it ends with the test's runtime.
fn revocations(world: &World) -> (Revocations, CancellationToken) {
    let stop = CancellationToken::new();
    let (revocations, look_out) = Revocations::new(&world.db, &stop);
    tokio::spawn(look_out.run());
    (revocations, stop)
}

async fn next(batches: &mut Batches) -> Batch {
    batches.next().await.unwrap().unwrap()
}

/// The next one that is not a mere sign of life.
async fn told(batches: &mut Batches) -> Batch {
    loop {
        let batch = next(batches).await;
        if !batch.revocations.is_empty() {
            return batch;
        }
    }
}

both_databases! {
    #[tokio::test]
    async fn whatever_ends_is_told_in_order(at: Database) {
        let now = clock::now();
        let world = world(&at).await;
        let boss = world.holder("boss@example.org", "admin", now).await;
        let ada = world.somebody(EMAIL, now).await;
        let (revocations, _stop) = revocations(&world);
        let mut batches = revocations.watch(0).await.unwrap();
        assert!(next(&mut batches).await.revocations.is_empty(), "the first comes at once");

        let keys = &world.rules.api_keys;
        let new = NewKey {
            name: "build".to_owned(),
            scopes: ["profile:read".to_owned()].into(),
            days: None,
        };
        let (key, _) = keys.create(&ada, new, now).await.unwrap();
        keys.revoke(&ada, key.id, now).await.unwrap();
        let second = world.open(ada.user, now).await.unwrap();
        let second = world.caller_at(&second, now);
        world.rules.sessions.logout(&second, now).await.unwrap();
        world.rules.administration.suspend(&boss, ada.user, now).await.unwrap();

        let mut seen = Vec::new();
        let mut cursor = 0;
        while seen.len() < 4 {
            let batch = told(&mut batches).await;
            assert!(batch.cursor > cursor);
            cursor = batch.cursor;
            seen.extend(batch.revocations.into_iter().map(|row| (row.kind, row.id)));
        }
        let expected = [
            ("api_key", key.id),
            ("session", second.session),
            ("session", ada.session),
            ("user", ada.user),
        ];
        assert_eq!(seen, expected.map(|(kind, id)| (kind.to_owned(), id.to_string())));

        // From the cursor there is nothing; from the start, all of it again.
        let mut batches = revocations.watch(cursor).await.unwrap();
        assert!(next(&mut batches).await.revocations.is_empty());
        let mut batches = revocations.watch(0).await.unwrap();
        assert_eq!(next(&mut batches).await.revocations.len(), 4);
        // A cursor from a future that was undone.
        let mut batches = revocations.watch(cursor + 100).await.unwrap();
        assert_eq!(next(&mut batches).await.revocations.len(), 4);
    }

    #[tokio::test]
    async fn numbers_ascend_in_the_order_of_commits(at: Database) {
        let now = clock::now();
        let world = world(&at).await;
        let ada = world.somebody(EMAIL, now).await.user;
        let (revocations, _stop) = revocations(&world);
        let mut ending = tokio::task::JoinSet::new();
        for _ in 0..24 {
            let world = world.clone();
            ending.spawn(async move {
                let tokens = world.open(ada, now).await.unwrap();
                let caller = world.caller_at(&tokens, now);
                world.rules.sessions.logout(&caller, now).await.unwrap();
                caller.session.to_string()
            });
        }
        // Read while they are written, and always on from the last cursor: none is missed.
        let mut seen = std::collections::BTreeSet::new();
        let mut cursor = 0;
        while seen.len() < 24 {
            let mut batches = revocations.watch(cursor).await.unwrap();
            let batch = told(&mut batches).await;
            cursor = batch.cursor;
            for row in batch.revocations {
                assert!(seen.insert(row.id), "told twice");
            }
        }
        let ended: std::collections::BTreeSet<_> = ending.join_all().await.into_iter().collect();
        assert_eq!(seen, ended);
    }

    #[tokio::test]
    async fn what_no_longer_matters_is_not_told(at: Database) {
        let now = clock::now();
        let world = world(&at).await;
        let ada = world.somebody(EMAIL, now - Duration::from_secs(3600)).await;
        let long_ago = now - Duration::from_secs(3600);
        world.rules.sessions.logout(&ada, long_ago).await.unwrap();
        let (revocations, stop) = revocations(&world);
        let mut batches = revocations.watch(0).await.unwrap();
        assert!(next(&mut batches).await.revocations.is_empty());
        stop.cancel();
        assert!(batches.next().await.is_none(), "a stop ends it");
    }
}
