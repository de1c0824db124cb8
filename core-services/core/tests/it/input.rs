//! Hostile and mistaken input.

use core_platform::rpc::IN_FLIGHT_MAX;
use core_proto::{
    auth::v1::{ChangePasswordRequest, LoginRequest, RefreshRequest, RegisterRequest},
    user::v1::UpdateProfileRequest,
};
use tonic::{Code, Status, metadata::MetadataValue};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_types::StatusExt;

use crate::harness::{EDGE, EMAIL, PASSWORD, World, hold, reason, with_token};

fn fields(status: &Status) -> Vec<String> {
    assert_eq!(
        (status.code(), reason(status).as_str()),
        (Code::InvalidArgument, "INVALID_INPUT")
    );
    let details = status.get_details_bad_request().unwrap();
    details
        .field_violations
        .into_iter()
        .map(|violation| violation.field)
        .collect()
}

/// Every RPC with rules applies them: none forgot to.
#[tokio::test]
async fn broken_fields_are_named() {
    let world = World::new();
    let core = world.start().await;
    let edge = world.edge(&core);
    edge.register(EMAIL).await.unwrap();
    let access = edge.login(EMAIL, PASSWORD).await.unwrap().access_token;
    let (mut auth, mut user) = (edge.auth.clone(), edge.user.clone());

    let register = RegisterRequest {
        email: "nobody".to_owned(),
        password: "short".to_owned(),
        name: "Ada".to_owned(),
    };
    assert_eq!(
        fields(&auth.register(register).await.unwrap_err()),
        ["email", "password"]
    );
    let login = LoginRequest {
        email: String::new(),
        password: String::new(),
    };
    assert_eq!(
        fields(&auth.login(login).await.unwrap_err()),
        ["email", "password"]
    );
    let refresh = RefreshRequest {
        refresh_token: "x".repeat(257),
    };
    assert_eq!(
        fields(&auth.refresh(refresh).await.unwrap_err()),
        ["refresh_token"]
    );
    let change = ChangePasswordRequest {
        current_password: PASSWORD.to_owned(),
        new_password: "short".to_owned(),
    };
    let change = with_token(change, &access);
    assert_eq!(
        fields(&auth.change_password(change).await.unwrap_err()),
        ["new_password"]
    );
    let same = ChangePasswordRequest {
        current_password: PASSWORD.to_owned(),
        new_password: PASSWORD.to_owned(),
    };
    let same = with_token(same, &access);
    assert_eq!(
        fields(&auth.change_password(same).await.unwrap_err()),
        ["new_password"]
    );
    let update = UpdateProfileRequest {
        phone: Some("12345".to_owned()),
        ..UpdateProfileRequest::default()
    };
    let update = with_token(update, &access);
    assert_eq!(
        fields(&user.update_profile(update).await.unwrap_err()),
        ["phone"]
    );
}

#[tokio::test]
async fn sizes_are_bounded() {
    let world = World::new();
    let core = world.start().await;
    let edge = world.edge(&core);
    let huge = RegisterRequest {
        email: EMAIL.to_owned(),
        password: PASSWORD.to_owned(),
        name: "x".repeat(70_000),
    };
    let refused = edge.auth.clone().register(huge).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange, "{refused:?}");

    let mut headers = tonic::Request::new(LoginRequest::default());
    let value: MetadataValue<_> = "x".repeat(20_000).parse().unwrap();
    headers.metadata_mut().insert("x-long", value);
    assert!(edge.auth.clone().login(headers).await.is_err());
    // The process is well.
    assert!(edge.register(EMAIL).await.is_ok());
}

#[tokio::test]
async fn text_that_means_something_elsewhere_is_only_text() {
    let world = World::new();
    let core = world.start().await;
    let edge = world.edge(&core);
    edge.register(EMAIL).await.unwrap();
    let access = edge.login(EMAIL, PASSWORD).await.unwrap().access_token;
    for name in [
        "'); DROP TABLE users; --",
        "<script>alert(1)</script>",
        "${jndi:ldap://x}",
        "\u{202e}Ada",
    ] {
        let change = UpdateProfileRequest {
            name: Some(name.to_owned()),
            ..UpdateProfileRequest::default()
        };
        let request = with_token(change, &access);
        let profile = edge
            .user
            .clone()
            .update_profile(request)
            .await
            .unwrap()
            .into_inner();
        assert_eq!(profile.name, name);
    }
    for token in ["x", ".", "' OR 1=1 --.x", &"a".repeat(256)] {
        assert_eq!(
            reason(&edge.refresh(token).await.unwrap_err()),
            "BAD_REFRESH_TOKEN"
        );
    }
}

#[tokio::test]
async fn a_full_server_says_so_and_recovers() {
    let world = World::new();
    let core = world.start().await;
    let held: Vec<_> = (0..8)
        .map(|_| world.channel(&core, &[EDGE]))
        .flat_map(|channel| (0..IN_FLIGHT_MAX / 8).map(move |_| hold(channel.clone())))
        .collect();
    core.metric(&format!("rpc_in_flight {IN_FLIGHT_MAX}")).await;

    let edge = world.edge(&core);
    let refused = edge.register(EMAIL).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::Unavailable, "OVERLOADED")
    );
    assert!(
        refused
            .get_details_retry_info()
            .unwrap()
            .retry_delay
            .is_some()
    );
    let mut health = HealthClient::new(world.channel(&core, &[EDGE]));
    let serving = health
        .check(HealthCheckRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(serving.status, 1);

    // Gone without a word: their slots come back.
    for call in held {
        call.answer.abort();
    }
    core.metric("rpc_in_flight 0").await;
    assert!(edge.register(EMAIL).await.is_ok());
}
