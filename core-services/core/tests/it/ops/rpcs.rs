//! Who may operate what, and the log.

use core_platform::contracts::{Access, Contracts};
use core_proto::{
    platform::v1::{
        GetStatusRequest, ListJobsRequest, ListSagasRequest, PurgeDeadLettersRequest,
        SetLogLevelRequest,
    },
    user::v1::{ListAuditEventsRequest, admin_service_client::AdminServiceClient},
};
use core_testing::{Database, eventually};
use tonic::{
    Code, Request, Status, client::Grpc, codegen::http::uri::PathAndQuery, transport::Channel,
};
use tonic_prost::ProstCodec;

use super::{CONSUMER, Place, service};
use crate::harness::{EDGE, EMAIL, reason, with_token};

const OPS: &str = "platform.v1.OpsService";

/// Calls with a message that says nothing.
async fn call(channel: Channel, path: &str, token: Option<&str>) -> Result<(), Status> {
    let mut client = Grpc::new(channel);
    client.ready().await.unwrap();
    let request = match token {
        Some(token) => with_token((), token),
        None => Request::new(()),
    };
    let path = PathAndQuery::try_from(path).unwrap();
    let codec = ProstCodec::<(), ()>::default();
    client.unary(request, path, codec).await.map(drop)
}

#[tokio::test]
async fn every_rpc_is_for_operators_or_services() {
    let place = Place::new(Database::sqlite(), None);
    let core = place.start().await;
    let user = place.token(&core, "user@example.org", "user").await;
    let support = place.token(&core, "support@example.org", "support").await;
    let operator = place.token(&core, EMAIL, "operator").await;
    let contracts = Contracts::new(core_proto::DESCRIPTOR_SET, &[("core", OPS)]).unwrap();
    let declared = contracts.pool().get_service_by_name(OPS).unwrap();
    let mut checked = 0;
    for method in declared.methods() {
        let path = format!("/{OPS}/{}", method.name());
        let rpc = contracts.find(&path).unwrap();
        if method.name() == "StreamEntities" {
            assert_eq!(rpc.access, Access::ServiceOnly, "{path}");
            continue;
        }
        let reads = ["List", "Get"]
            .iter()
            .any(|verb| method.name().starts_with(verb));
        let scope = if reads { "ops:read" } else { "ops:write" };
        assert_eq!(rpc.access, Access::Permission(scope.to_owned()), "{path}");
        assert_eq!(rpc.step_up, method.name().starts_with("Purge"), "{path}");
        for (who, token, expected) in [
            ("nobody", None, "TOKEN_MISSING"),
            ("user", Some(&user), "SCOPE_MISSING"),
            ("support", Some(&support), "SCOPE_MISSING"),
            // Let in, and asked which service.
            ("operator", Some(&operator), "INVALID_INPUT"),
        ] {
            let channel = place.world.channel(&core, &[EDGE]);
            let refused = call(channel, &path, token.map(String::as_str)).await;
            let refused = refused.unwrap_err();
            assert_eq!(reason(&refused), expected, "{path} by {who}: {refused}");
        }
        checked += 1;
    }
    assert_eq!(checked, 8);
}

#[tokio::test]
async fn a_service_that_does_not_run_here_is_unknown() {
    let place = Place::new(Database::sqlite(), None);
    let core = place.start().await;
    let token = place.token(&core, EMAIL, "operator").await;
    let mut client = place.client(&core);
    let elsewhere = || "catalog".to_owned();
    let status = GetStatusRequest {
        service: elsewhere(),
    };
    let jobs = ListJobsRequest {
        service: elsewhere(),
        ..ListJobsRequest::default()
    };
    let sagas = ListSagasRequest {
        service: elsewhere(),
        ..ListSagasRequest::default()
    };
    let purge = PurgeDeadLettersRequest {
        service: elsewhere(),
        consumer: CONSUMER.to_owned(),
        event_ids: Vec::new(),
        all: true,
    };
    let log = SetLogLevelRequest {
        service: elsewhere(),
        ..SetLogLevelRequest::default()
    };
    for refused in [
        client
            .get_status(with_token(status, &token))
            .await
            .map(drop),
        client.list_jobs(with_token(jobs, &token)).await.map(drop),
        client.list_sagas(with_token(sagas, &token)).await.map(drop),
        client
            .purge_dead_letters(with_token(purge, &token))
            .await
            .map(drop),
        client
            .set_log_level(with_token(log, &token))
            .await
            .map(drop),
    ] {
        let refused = refused.unwrap_err();
        let expected = (Code::NotFound, "UNKNOWN_SERVICE");
        assert_eq!((refused.code(), reason(&refused).as_str()), expected);
    }
}

#[tokio::test]
async fn the_log_tells_more_for_a_while() {
    let place = Place::new(Database::sqlite(), None);
    let core = place.start().await;
    let token = place.token(&core, EMAIL, "admin").await;
    let mut client = place.client(&core);
    let set = |filter: &str, seconds| {
        let asked = SetLogLevelRequest {
            service: service(),
            filter: filter.to_owned(),
            seconds,
        };
        with_token(asked, &token)
    };
    let status = async || {
        let asked = GetStatusRequest { service: service() };
        let found = place
            .client(&core)
            .get_status(with_token(asked, &token))
            .await;
        found.unwrap().into_inner()
    };
    let own = status().await.log_level.unwrap();
    assert_eq!(own.until, None);
    let is_debug = |line: &String| line.contains(r#""level":"DEBUG""#);
    assert!(!core.output().iter().any(is_debug));

    client.set_log_level(set("debug", 0)).await.unwrap();
    eventually("more to read", async || {
        status().await;
        core.output().iter().any(is_debug).then_some(())
    })
    .await;
    let level = client.set_log_level(set("trace", 1)).await.unwrap();
    assert!(level.into_inner().log_level.unwrap().until.is_some());
    eventually("what it was at the start", async || {
        (status().await.log_level.as_ref() == Some(&own)).then_some(())
    })
    .await;

    let asked = ListAuditEventsRequest {
        action: "log_level.set".to_owned(),
        ..ListAuditEventsRequest::default()
    };
    let mut admin = AdminServiceClient::new(place.world.channel(&core, &[EDGE]));
    let written = admin.list_audit_events(with_token(asked, &token)).await;
    let written = written.unwrap().into_inner().events;
    assert_eq!(written.len(), 2);
    assert!(written[0].detail.contains("trace"), "{}", written[0].detail);
    assert_eq!(written[0].actor_kind, "user");

    let found = status().await;
    assert_eq!(found.version, env!("CARGO_PKG_VERSION"));
    assert!(found.schema > 0 && found.policies.unwrap().generation > 0);
    assert!(!found.pools.is_empty());
}
