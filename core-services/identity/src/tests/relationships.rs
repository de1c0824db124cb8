//! Following, blocking, muting.

use super::*;
use crate::relationships::{Kind, List};

both_databases! {
    #[tokio::test]
    async fn a_block_ends_following_in_both_directions(at: Database) {
        let world = world(&at).await;
        let ada = world.somebody(EMAIL, NOW).await;
        let eve = world.somebody("eve@example.org", NOW).await;
        let relationships = &world.rules.relationships;
        relationships.put(&ada, eve.user, Kind::Follow, NOW).await.unwrap();
        relationships.put(&ada, eve.user, Kind::Follow, NOW).await.unwrap();
        relationships.put(&eve, ada.user, Kind::Follow, NOW).await.unwrap();
        let followers = relationships.list(&ada, List::Followers, None, 10, NOW).await.unwrap();
        assert_eq!(followers.len(), 1);
        assert_eq!(followers[0].1.as_ref().unwrap().id, eve.user);

        relationships.put(&ada, eve.user, Kind::Block, NOW).await.unwrap();
        for caller in [&ada, &eve] {
            for list in [List::Followers, List::Of(Kind::Follow)] {
                assert!(relationships.list(caller, list, None, 10, NOW).await.unwrap().is_empty());
            }
        }
        // Who is blocked is told nothing; who blocks is told why.
        refused!(relationships.put(&eve, ada.user, Kind::Follow, NOW).await, Error::NoSuchUser);
        refused!(relationships.put(&ada, eve.user, Kind::Follow, NOW).await, Error::Blocked);
        relationships.delete(&ada, eve.user, Kind::Block, NOW).await.unwrap();
        relationships.delete(&ada, eve.user, Kind::Block, NOW).await.unwrap();
        relationships.put(&eve, ada.user, Kind::Follow, NOW).await.unwrap();

        let told = world.events().await;
        let changes = told.iter().filter(|kind| *kind == "relationship.changed");
        // Two follows, a block, two ends of following, the end of the block, a follow.
        assert_eq!(changes.count(), 7);
    }

    #[tokio::test]
    async fn a_block_and_a_follow_at_once_leave_no_follower(at: Database) {
        let world = world(&at).await;
        let ada = world.somebody(EMAIL, NOW).await;
        let mut others = Vec::new();
        for n in 0..6 {
            others.push(world.somebody(&format!("u{n}@example.org"), NOW).await);
        }
        let mut racing = tokio::task::JoinSet::new();
        for other in others {
            let (first, second) = (world.clone(), world.clone());
            let (me, them) = (ada.clone(), other.user);
            racing.spawn(async move {
                let relationships = &first.rules.relationships;
                relationships.put(&me, them, Kind::Block, NOW).await.unwrap();
            });
            let me = ada.user;
            racing.spawn(async move {
                let relationships = &second.rules.relationships;
                drop(relationships.put(&other, me, Kind::Follow, NOW).await);
            });
        }
        racing.join_all().await;
        let follows = "SELECT count(*) FROM relationships WHERE kind = 'follow'";
        assert_eq!(world.count(follows).await, 0);
    }

    #[tokio::test]
    async fn nobody_relates_to_themselves_or_to_nobody(at: Database) {
        let world = world(&at).await;
        let ada = world.somebody(EMAIL, NOW).await;
        let relationships = &world.rules.relationships;
        for kind in Kind::ALL {
            let own = relationships.put(&ada, ada.user, kind, NOW).await;
            refused!(own, Error::Invalid("user_id", _));
            let nobody = relationships.put(&ada, Uuid::now_v7(), kind, NOW).await;
            refused!(nobody, Error::NoSuchUser);
        }
    }

    #[tokio::test]
    async fn lists_go_by_pages_newest_first(at: Database) {
        let world = world(&at).await;
        let ada = world.somebody(EMAIL, NOW).await;
        let relationships = &world.rules.relationships;
        let mut expected = Vec::new();
        for n in 0..5_u32 {
            let other = world.somebody(&format!("u{n}@example.org"), NOW).await.user;
            // Some at the same time.
            let now = NOW + MINUTE * (n / 2);
            relationships.put(&ada, other, Kind::Mute, now).await.unwrap();
            expected.push((now, other));
        }
        expected.sort_unstable_by(|a, b| b.cmp(a));
        let mut seen = Vec::new();
        let mut after = None;
        loop {
            let list = List::Of(Kind::Mute);
            let page = relationships.list(&ada, list, after, 2, NOW).await.unwrap();
            let Some((last, _)) = page.last() else { break };
            after = Some(*last);
            seen.extend(page.iter().map(|(related, _)| (related.since, related.user)));
        }
        assert_eq!(seen, expected);
    }
}
