//! Rotating the signing keys.

use core_platform::{
    audit::Actor,
    jobs::{NewJob, enqueue},
};

use futures::StreamExt;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    keys::{PUBLISHED_AHEAD, Rotation},
    revocations::Revocations,
};

const HOUR: Duration = Duration::from_secs(3600);

both_databases! {
    #[tokio::test]
    async fn the_next_key_is_published_then_signs_then_the_old_one_goes(at: Database) {
        let world = world(&at).await;
        let ada = world.somebody(EMAIL, NOW).await.user;
        let (keys, signer) = (&world.rules.keys, &world.rules.sessions.signer);
        let kid = async |now| {
            let tokens = world.open(ada, now).await.unwrap();
            assert!(world.verifier.verify(&tokens.access, now).is_ok());
            jsonwebtoken::decode_header(&tokens.access).unwrap().kid.unwrap()
        };
        let first = kid(NOW).await;
        let rotated = keys.rotate(Actor::System, NOW + HOUR).await.unwrap();
        assert_eq!(rotated.signs_from, NOW + HOUR + PUBLISHED_AHEAD);
        assert_eq!(signer.jwks(NOW + HOUR).len(), 2);
        assert_eq!(kid(NOW + HOUR).await, first);
        // Asked again, it names the one that waits.
        let again = keys.rotate(Actor::System, NOW + HOUR + MINUTE).await.unwrap();
        assert_eq!(again, rotated);
        assert_eq!(kid(rotated.signs_from).await, rotated.kid);
        assert_eq!(signer.jwks(rotated.signs_from).len(), 2);
        assert_eq!(signer.jwks(rotated.signs_from + HOUR).len(), 1);
        assert!(world.audited().await.contains(&"signing_key.made".to_owned()));
    }

    #[tokio::test]
    async fn replicas_that_race_make_one_key(at: Database) {
        let world = world(&at).await;
        let mut replicas = Vec::new();
        for _ in 0..4 {
            replicas.push(world.replica().await);
        }
        let mut rotations = tokio::task::JoinSet::new();
        for replica in &replicas {
            let keys = replica.keys.clone();
            rotations.spawn(async move {
                keys.rotate(Actor::System, NOW + HOUR).await.unwrap().kid
            });
        }
        let made: std::collections::BTreeSet<_> =
            rotations.join_all().await.into_iter().collect();
        assert_eq!(made.len(), 1);
        assert_eq!(world.count("SELECT count(*) FROM signing_keys").await, 2);
        // Each knows it after its next look, long before it signs.
        let signs = NOW + HOUR + PUBLISHED_AHEAD;
        let ada = world.somebody(EMAIL, NOW).await.user;
        world.rules.keys.reload().await.unwrap();
        let tokens = world.open(ada, signs).await.unwrap();
        for replica in &replicas {
            replica.keys.reload().await.unwrap();
            let verifier = replica.sessions.signer.verifier();
            assert!(verifier.verify(&tokens.access, signs).is_ok());
        }
    }

    #[tokio::test]
    async fn compromised_keys_are_replaced_at_once(at: Database) {
        let now = NOW;
        let world = world(&at).await;
        let ada = world.somebody(EMAIL, now).await;
        let (keys, other) = (&world.rules.keys, world.replica().await);
        let stop = CancellationToken::new();
        let (revocations, look_out) = Revocations::new(&world.db, &stop);
        tokio::spawn(look_out.run());
        tokio::spawn(other.keys.clone().follow(revocations.newest(), stop.clone()));
        let tokens = world.open(ada.user, now).await.unwrap();
        // One that waits is as bad as the one that signs.
        let waiting = keys.rotate(Actor::System, now).await.unwrap();
        let dead = jsonwebtoken::decode_header(&tokens.access).unwrap().kid.unwrap();

        let next = keys.replace(Actor::Operator, now).await.unwrap();
        assert_eq!(next.signs_from, now);
        let published = |rules: &Rules| {
            let keys = rules.sessions.signer.jwks(now).into_iter();
            keys.map(|key| key.kid).collect::<Vec<_>>()
        };
        let only = std::slice::from_ref(&next.kid);
        assert_eq!(published(&world.rules), only);
        // The other replica has heard of it, long before its next look.
        eventually("the other replica", async || {
            (published(&other) == only).then_some(())
        })
        .await;
        let verifiers = [&world.verifier, &other.sessions.signer.verifier()];
        for verifier in verifiers {
            assert!(verifier.verify(&tokens.access, now).is_err());
        }
        let renewed = world.refresh(&tokens.refresh, now).await.unwrap();
        for verifier in verifiers {
            assert!(verifier.verify(&renewed.access, now).is_ok());
        }

        let mut batches = revocations.watch(0).await.unwrap();
        let told = batches.next().await.unwrap().unwrap().revocations;
        let told: Vec<_> = told.into_iter().map(|row| (row.kind, row.id)).collect();
        let key = |kid: &str| ("signing_key".to_owned(), kid.to_owned());
        assert_eq!(told, [key(&dead), key(&waiting.kid)]);
        let audited = world.audited().await;
        let revoked = audited.iter().filter(|action| *action == "signing_key.revoked");
        assert_eq!(revoked.count(), 2);
        stop.cancel();
    }

    #[tokio::test]
    async fn a_replacement_meets_rotations_and_prevails(at: Database) {
        let world = world(&at).await;
        let (first, second) = (world.replica().await, world.replica().await);
        let before = world.rules.sessions.signer.jwks(NOW).pop().unwrap().kid;
        let (calm, urgent) = tokio::join!(
            first.keys.rotate(Actor::System, NOW + HOUR),
            second.keys.replace(Actor::Operator, NOW + HOUR),
        );
        calm.unwrap();
        let urgent = urgent.unwrap();
        world.rules.keys.reload().await.unwrap();
        let published = world.rules.sessions.signer.jwks(NOW + HOUR);
        assert!(published.iter().all(|key| key.kid != before));
        assert!(published.iter().any(|key| key.kid == urgent.kid));
    }

    #[tokio::test]
    async fn private_keys_are_sealed(at: Database) {
        let world = world(&at).await;
        let row = query("SELECT private, public_key FROM signing_keys");
        let row = row.fetch_one(&world.db).await.unwrap();
        let (private, public): (Vec<u8>, Vec<u8>) = (row.get(0).unwrap(), row.get(1).unwrap());
        // PKCS #8 begins with a sequence that names Ed25519.
        assert!(!private.windows(3).any(|bytes| bytes == [0x2b, 0x65, 0x70]));
        assert_eq!(public.len(), 32);
    }

    #[tokio::test]
    async fn the_job_rotates_old_keys_and_forgets_dead_ones(at: Database) {
        let world = world(&at).await;
        let age = async |days: u64| {
            let then = clock::now() - Duration::from_secs(days * 24 * 3600);
            let job = NewJob::new(Rotation::KIND, &()).unwrap();
            let mut tx = world.db.begin().await.unwrap();
            query(
                "UPDATE signing_keys SET signs_from = $1
                 WHERE generation = (SELECT MAX(generation) FROM signing_keys)",
            )
            .bind(then)
            .execute(&mut tx)
            .await
            .unwrap();
            enqueue(&mut tx, job, clock::now()).await.unwrap();
            tx.commit().await.unwrap();
            world.work(Rotation::KIND).await;
        };
        let keys = "SELECT count(*) FROM signing_keys";
        age(29).await;
        assert_eq!(world.count(keys).await, 1);
        age(31).await;
        assert_eq!(world.count(keys).await, 2);
        // The new one has signed for a day: the old one's tokens are dead.
        age(1).await;
        assert_eq!(world.count(keys).await, 1);
        let newest = "SELECT generation FROM signing_keys";
        assert_eq!(world.count(newest).await, 2);
    }
}
