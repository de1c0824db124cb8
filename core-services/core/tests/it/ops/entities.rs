//! What another service's read model begins with, over mutual TLS and by the access matrix.

use std::fs;

use core_platform::{clock, service_token::Signer};
use core_proto::{
    platform::v1::{Entity, Event, StreamEntitiesRequest, ops_service_client::OpsServiceClient},
    user::v1::{UpdateProfileRequest, UserProfile},
};
use core_testing::both_databases;
use prost::Message;
use tonic::{Request, Status};

use super::*;
use crate::harness::reason;

const DOMAIN: &str = "palisade.internal";
const MATRIX: &str = "version: 1
callers:
  - name: search
    rpcs: [platform.v1.OpsService/StreamEntities]
  - name: media
    rpcs: [user.v1.UserService/BatchGetUsers]
";

/// A process that other services may call, and their keys.
struct Called {
    place: Place,
    core: Core,
    signers: Vec<Signer>,
}

async fn called(identity: Database) -> Called {
    let place = Place::new(identity, None);
    fs::write(place.world.policies().join("access.yaml"), MATRIX).unwrap();
    let signers: Vec<_> = ["search", "media"]
        .into_iter()
        .map(|name| Signer::generate(DOMAIN, name).unwrap())
        .collect();
    let keys: Vec<_> = signers.iter().map(Signer::jwk).collect();
    let file = place.world.dir.path().join("services.json");
    let set = serde_json::json!({ "keys": keys });
    fs::write(&file, set.to_string()).unwrap();
    let mut command = place.command("all");
    command.args(["--allowed-peers", "edge,search,media"]);
    command.arg("--service-keys").arg(file);
    let core = World::start_command(command).await;
    Called {
        place,
        core,
        signers,
    }
}

fn users(after: &str) -> StreamEntitiesRequest {
    StreamEntitiesRequest {
        service: service(),
        r#type: "user".to_owned(),
        after: after.to_owned(),
    }
}

impl Called {
    /// All that the call tells. `token`: for which service the caller's token is.
    async fn stream(
        &self,
        caller: &str,
        token: Option<&str>,
        asked: StreamEntitiesRequest,
    ) -> Result<Vec<Entity>, Status> {
        let mut request = Request::new(asked);
        let signer = self.signers.iter().find(|one| one.service() == caller);
        if let Some(audience) = token {
            let token = signer.unwrap().sign(audience, clock::now());
            let metadata = request.metadata_mut();
            metadata.insert("x-service-token", token.parse().unwrap());
        }
        let uri = format!("spiffe://{DOMAIN}/svc/{caller}");
        let channel = self.place.world.channel(&self.core, &[&uri]);
        let answer = OpsServiceClient::new(channel)
            .stream_entities(request)
            .await;
        let mut stream = answer?.into_inner();
        let mut told = Vec::new();
        while let Some(entity) = stream.message().await? {
            told.push(entity);
        }
        Ok(told)
    }

    /// As its channel to identity does it.
    async fn users(&self, after: &str) -> Vec<Entity> {
        let told = self.stream("search", Some("identity"), users(after)).await;
        told.unwrap()
    }
}

fn event(entity: &Entity) -> &Event {
    entity.event.as_ref().unwrap()
}

fn subjects(told: &[Entity]) -> Vec<String> {
    told.iter()
        .map(|entity| event(entity).subject.clone())
        .collect()
}

both_databases! {
    #[tokio::test]
    async fn a_read_model_begins_with_all_users(at: Database) {
        let called = called(at).await;
        assert!(called.users("").await.is_empty());
        let edge = called.place.world.edge(&called.core);
        let mut ids = Vec::new();
        for n in 0..3 {
            let token = called.place.token(&called.core, &format!("n{n}@example.org"), "user").await;
            let change = UpdateProfileRequest {
                handle: Some(format!("number_{n}")),
                ..UpdateProfileRequest::default()
            };
            let changed = edge.user.clone().update_profile(with_token(change, &token)).await;
            ids.push(changed.unwrap().into_inner().id);
        }
        let told = called.users("").await;
        assert_eq!(subjects(&told), ids);
        let first = event(&told[0]);
        assert_eq!(
            (first.r#type.as_str(), first.source.as_str(), first.aggregate_version),
            ("user.created", "identity", 2)
        );
        let profile = UserProfile::decode(&*first.data).unwrap();
        assert_eq!(profile.handle, "number_0");
        assert!(!format!("{told:?}").contains("number_0"), "logs hide what it is about");
        assert_eq!(subjects(&called.users(&told[0].position).await), ids[1..]);
        assert!(called.users(&told[2].position).await.is_empty());
    }
}

#[tokio::test]
async fn entities_are_for_services_in_the_matrix() {
    let called = called(Database::sqlite()).await;
    called.place.token(&called.core, EMAIL, "user").await;
    let refused = async |caller: &str, token, asked| {
        let answer = called.stream(caller, token, asked).await;
        reason(&answer.unwrap_err())
    };
    let ours = Some("identity");
    assert_eq!(
        refused("search", None, users("")).await,
        "SERVICE_TOKEN_MISSING"
    );
    // What was meant for another service's process opens nothing here.
    let elsewhere = refused("search", Some("catalog"), users("")).await;
    assert_eq!(elsewhere, "SERVICE_TOKEN_INVALID");
    assert_eq!(
        refused("media", ours, users("")).await,
        "CALLER_NOT_ALLOWED"
    );
    assert_eq!(refused("edge", None, users("")).await, "SERVICE_ONLY");
    let mut asked = users("");
    asked.r#type = "order".to_owned();
    assert_eq!(
        refused("search", ours, asked.clone()).await,
        "UNKNOWN_ENTITY"
    );
    asked.service = "catalog".to_owned();
    assert_eq!(refused("search", ours, asked).await, "UNKNOWN_SERVICE");
    let made_up = refused("search", ours, users("made-up")).await;
    assert_eq!(made_up, "INVALID_PAGE_TOKEN");

    // Nor does an operator's or an administrator's token make a service of the edge.
    let token = called
        .place
        .token(&called.core, "admin@example.org", "admin")
        .await;
    let mut client = called.place.client(&called.core);
    let answer = client.stream_entities(with_token(users(""), &token)).await;
    assert_eq!(reason(&answer.unwrap_err()), "SERVICE_ONLY");
    assert_eq!(called.users("").await.len(), 2);
}
