//! gRPC as it is, through the edge: tonic's client, and the trailers on the wire.

use bytes::Bytes;
use core_proto::auth::v1::auth_service_client::AuthServiceClient;
use core_proto::auth::v1::{LoginRequest, TokenResponse};
use core_proto::user::v1::user_service_client::UserServiceClient;
use core_proto::user::v1::{GetProfileRequest, Profile};
use http::Method;
use prost::Message;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status};

use crate::accounts::{Account, Api, password};
use crate::client::{Protocol, Response};
use crate::harness::System;
use crate::harness::files::authority_pem;

pub(crate) const GET_PROFILE: &str = "/user.v1.UserService/GetProfile";
/// An empty message: no flag, no length.
pub(crate) const EMPTY: Bytes = Bytes::from_static(&[0; 5]);

/// To the edge, as any program with the CA's certificate.
pub(crate) fn channel(system: &System) -> Channel {
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(authority_pem()))
        .domain_name("localhost");
    let endpoint = Endpoint::from_shared(format!("https://{}", system.edge.https));
    let endpoint = endpoint.expect("an address").tls_config(tls);
    endpoint.expect("tls").connect_lazy()
}

pub(crate) async fn login(
    channel: &mut Channel,
    account: &Account,
) -> Result<TokenResponse, Status> {
    let request = LoginRequest {
        email: account.email.clone(),
        password: account.password.clone(),
    };
    let answer = AuthServiceClient::new(channel).login(request).await;
    answer.map(tonic::Response::into_inner)
}

async fn profile(channel: &mut Channel, token: Option<&str>) -> Result<Profile, Status> {
    let mut request = Request::new(GetProfileRequest {});
    if let Some(token) = token {
        let value = format!("Bearer {token}").parse().expect("text");
        request.metadata_mut().insert("authorization", value);
    }
    let answer = UserServiceClient::new(channel).get_profile(request).await;
    answer.map(tonic::Response::into_inner)
}

/// `grpc-status` of an answer, from its trailers or from a head that has them in it.
pub(crate) fn code(response: &Response) -> Code {
    let trailers = response
        .trailers
        .as_ref()
        .filter(|trailers| !trailers.is_empty());
    let fields = trailers.unwrap_or(&response.headers);
    let status = fields.get("grpc-status");
    let status = status.unwrap_or_else(|| panic!("no grpc-status: {response:?}"));
    Code::from_bytes(status.as_bytes())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_is_called_through_the_edge() {
    let system = System::start().await;
    let account = Account::new("grpc");
    let mut rest = Api::new(system.client(Protocol::H2).await, &system.secrets);
    rest.register(&account).await;

    let mut channel = channel(&system);
    let answer = login(&mut channel, &account).await.expect("a session");
    system.secrets.note(&answer.access_token);
    system.secrets.note(&answer.refresh_token);
    assert_eq!(
        (answer.token_type.as_str(), answer.expires_in),
        ("Bearer", 600)
    );
    let token = answer.access_token.as_str();
    let mine = profile(&mut channel, Some(token)).await.expect("a profile");
    assert_eq!(mine.email, account.email);
    assert_eq!(
        rest.get("/profile", Some(token)).await.json()["id"],
        mine.id
    );

    let wrong = Account {
        password: password("wrong"),
        ..account
    };
    let refused = login(&mut channel, &wrong).await.expect_err("a refusal");
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused:?}");
    let refused = profile(&mut channel, None).await.expect_err("a refusal");
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused:?}");
    system.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_end_with_trailers() {
    let system = System::start().await;
    let account = Account::new("trailers");
    let mut rest = Api::new(system.client(Protocol::H1).await, &system.secrets);
    rest.register(&account).await;
    let bearer = format!("Bearer {}", rest.login(&account).await.access);
    for protocol in [Protocol::H2, Protocol::H3] {
        let mut client = system.client(protocol).await;
        let fields = [
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            ("authorization", &bearer),
        ];
        let sent = client.send(Method::POST, GET_PROFILE, &fields, EMPTY).await;
        let response = sent.expect("an answer");
        let trailers = response.trailers.as_ref().expect("trailers");
        assert_eq!(
            trailers.get("grpc-status").expect("a status"),
            "0",
            "{protocol:?}"
        );
        assert_eq!(response.header("grpc-status"), None, "{protocol:?}");
        let message = response.body.get(5..).expect("a prefix");
        let profile = Profile::decode(message).expect("a message");
        assert_eq!(profile.email, account.email, "{protocol:?}");

        let sent = client
            .send(Method::POST, GET_PROFILE, &fields[..2], EMPTY)
            .await;
        let refused = sent.expect("an answer");
        assert_eq!(
            (refused.status, code(&refused)),
            (200, Code::Unauthenticated),
            "{protocol:?}"
        );
    }
    system.end().await;
}
