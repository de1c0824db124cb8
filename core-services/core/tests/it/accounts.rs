//! Accounts and sessions from outside.

use core_proto::{
    auth::v1::{ChangePasswordRequest, GetJwksRequest, LogoutRequest},
    user::v1::UpdateProfileRequest,
};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::Value;
use tonic::Code;

use crate::harness::{EMAIL, PASSWORD, World, reason, with_token};

#[tokio::test]
async fn register_login_profile() {
    let world = World::new();
    let core = world.start().await;
    let edge = world.edge(&core);

    let registered = edge.register(EMAIL).await.unwrap();
    assert_eq!(registered.metadata().get("x-http-status").unwrap(), "201");
    let tokens = edge.login(EMAIL, PASSWORD).await.unwrap();
    assert_eq!(
        (tokens.token_type.as_str(), tokens.expires_in),
        ("Bearer", 600)
    );

    let profile = edge.profile(&tokens.access_token).await.unwrap();
    assert_eq!(
        (profile.email.as_str(), profile.name.as_str()),
        (EMAIL, "Ada Lovelace")
    );
    assert_eq!(
        profile.id.parse::<uuid::Uuid>().unwrap().get_version_num(),
        7
    );
    assert!(profile.created_at.is_some() && profile.created_at == profile.updated_at);

    let change = UpdateProfileRequest {
        display_name: Some("Countess".to_owned()),
        phone: Some("+442071838750".to_owned()),
        name: None,
        handle: None,
    };
    let request = with_token(change, &tokens.access_token);
    let changed = edge
        .user
        .clone()
        .update_profile(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(changed.name, "Ada Lovelace", "absent fields stay");
    assert_eq!(edge.profile(&tokens.access_token).await.unwrap(), changed);
    assert_eq!(
        (changed.display_name.as_str(), changed.phone.as_str()),
        ("Countess", "+442071838750")
    );
}

#[tokio::test]
async fn a_known_address_gets_the_same_answer() {
    let world = World::new();
    let core = world.start().await;
    let edge = world.edge(&core);
    let mut answers = Vec::new();
    for email in [EMAIL, EMAIL, "ADA.Lovelace@Example.org"] {
        let answer = edge.register(email).await.unwrap();
        let mut metadata = answer.metadata().clone();
        metadata.remove("date");
        answers.push((format!("{metadata:?}"), answer.into_inner()));
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0], answers[2]);
    // The account is still the first one's.
    assert!(edge.login(EMAIL, PASSWORD).await.is_ok());
}

#[tokio::test]
async fn wrong_and_unknown_get_the_same_answer() {
    let world = World::new();
    let core = world.start().await;
    let edge = world.edge(&core);
    edge.register(EMAIL).await.unwrap();
    let wrong = edge.login(EMAIL, "not the password").await.unwrap_err();
    let unknown = edge
        .login("nobody@example.org", "not the password")
        .await
        .unwrap_err();
    assert_eq!(
        (wrong.code(), reason(&wrong).as_str()),
        (Code::Unauthenticated, "BAD_CREDENTIALS")
    );
    assert_eq!(
        (wrong.code(), wrong.message(), wrong.details()),
        (unknown.code(), unknown.message(), unknown.details())
    );
}

#[tokio::test]
async fn reuse_of_a_refresh_token_ends_the_session() {
    let world = World::new();
    let core = world.start().await;
    let edge = world.edge(&core);
    edge.register(EMAIL).await.unwrap();
    let first = edge.login(EMAIL, PASSWORD).await.unwrap();
    let second = edge.refresh(&first.refresh_token).await.unwrap();
    let third = edge.refresh(&second.refresh_token).await.unwrap();
    assert!(edge.profile(&third.access_token).await.is_ok());

    for token in [&first, &second, &third] {
        let refused = edge.refresh(&token.refresh_token).await.unwrap_err();
        assert_eq!(
            (refused.code(), reason(&refused).as_str()),
            (Code::Unauthenticated, "BAD_REFRESH_TOKEN")
        );
    }
    let refused = edge.profile(&third.access_token).await.unwrap_err();
    assert_eq!(reason(&refused), "SESSION_ENDED");
    core.metric(r#"identity_events_total{event="refresh_reused"} 1"#)
        .await;
}

#[tokio::test]
async fn change_password_and_logout() {
    let world = World::new();
    let core = world.start().await;
    let edge = world.edge(&core);
    edge.register(EMAIL).await.unwrap();
    let mine = edge.login(EMAIL, PASSWORD).await.unwrap();
    let other = edge.login(EMAIL, PASSWORD).await.unwrap();

    let change = |current: &str| ChangePasswordRequest {
        current_password: current.to_owned(),
        new_password: "analytical-engine".to_owned(),
    };
    let wrong = with_token(change("not the password"), &mine.access_token);
    let refused = edge.auth.clone().change_password(wrong).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::PermissionDenied, "WRONG_PASSWORD")
    );

    let right = with_token(change(PASSWORD), &mine.access_token);
    let changed = edge.auth.clone().change_password(right).await.unwrap();
    assert_eq!(changed.metadata().get("x-http-status").unwrap(), "204");
    assert!(edge.login(EMAIL, PASSWORD).await.is_err());
    assert!(edge.login(EMAIL, "analytical-engine").await.is_ok());
    assert!(edge.refresh(&other.refresh_token).await.is_err());
    assert_eq!(
        reason(&edge.profile(&other.access_token).await.unwrap_err()),
        "SESSION_ENDED"
    );
    assert!(edge.profile(&mine.access_token).await.is_ok());

    let request = with_token(LogoutRequest {}, &mine.access_token);
    let left = edge.auth.clone().logout(request).await.unwrap();
    assert_eq!(left.metadata().get("x-http-status").unwrap(), "204");
    assert_eq!(
        reason(&edge.profile(&mine.access_token).await.unwrap_err()),
        "SESSION_ENDED"
    );
    assert!(edge.refresh(&mine.refresh_token).await.is_err());
}

#[tokio::test]
async fn a_stranger_to_us_can_verify_tokens_from_the_published_keys() {
    let world = World::new();
    let core = world
        .start_with(&["--issuer", "https://id.example.org", "--audience", "shop"])
        .await;
    let edge = world.edge(&core);
    edge.register(EMAIL).await.unwrap();
    let tokens = edge.login(EMAIL, PASSWORD).await.unwrap();

    let published = edge
        .auth
        .clone()
        .get_jwks(GetJwksRequest {})
        .await
        .unwrap()
        .into_inner();
    let header = jsonwebtoken::decode_header(&tokens.access_token).unwrap();
    assert_eq!(
        (header.alg, header.typ.as_deref()),
        (Algorithm::EdDSA, Some("at+jwt"))
    );
    let key = published
        .keys
        .iter()
        .find(|key| Some(&key.kid) == header.kid.as_ref())
        .unwrap();
    assert_eq!(
        [&key.kty, &key.crv, &key.alg, &key.r#use].map(String::as_str),
        ["OKP", "Ed25519", "EdDSA", "sig"]
    );

    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_issuer(&["https://id.example.org"]);
    validation.set_audience(&["shop"]);
    validation.validate_nbf = true;
    let decoding = DecodingKey::from_ed_components(&key.x).unwrap();
    let claims = jsonwebtoken::decode::<Value>(&tokens.access_token, &decoding, &validation)
        .unwrap()
        .claims;
    assert_eq!(
        claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(),
        600
    );
    assert_eq!(claims["nbf"], claims["iat"]);
    assert_eq!(claims["scope"], "profile:read profile:write");
    assert_eq!(claims["roles"], serde_json::json!(["user"]));
    assert_eq!(
        claims["sub"],
        edge.profile(&tokens.access_token).await.unwrap().id
    );
    for name in ["sid", "jti"] {
        assert!(
            claims[name].as_str().unwrap().parse::<uuid::Uuid>().is_ok(),
            "{name}"
        );
    }
}
