//! `platform.v1.OpsService`, for all services of a process.
//! Invariant: a service that does not run here is refused before anything is read, and the
//! page tokens and the audit log are those of the service that was named.
//! Refuses to guess which dead letters are meant: their ids, or `all`.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use core_proto::platform::v1::{
    Consumer, Entity, GetStatusRequest, GetStatusResponse, ListDeadLettersRequest,
    ListDeadLettersResponse, ListJobsRequest, ListJobsResponse, ListSagasRequest,
    ListSagasResponse, Policies, PurgeDeadLettersRequest, PurgeDeadLettersResponse,
    ReplayDeadLettersRequest, ReplayDeadLettersResponse, RetryJobRequest, RetryJobResponse,
    SetLogLevelRequest, SetLogLevelResponse, StreamEntitiesRequest,
    ops_service_server::{OpsService, OpsServiceServer},
};
use futures::stream::BoxStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status, async_trait};
use uuid::Uuid;

use super::{
    Operator,
    entities::{self, Entities, Reader},
    status, wire,
};
use crate::{
    audit::{Actor, Audit},
    clock::{self, UnixMicros},
    cursor::{Cursors, Query},
    db::{Db, Migration},
    errors,
    events::{
        EventMetrics,
        dead_letters::{self, Which},
    },
    jobs,
    pages::Pages,
    peer::Peer,
    policy::PolicyStore,
    saga,
    serve::MESSAGE_BYTES_MAX,
    telemetry::{Level, LogFilter},
    token::Caller,
    validate::Validator,
};

/// Faults of policies that are told.
const FAULTS_MAX: usize = 100;

/// One service that runs here.
pub struct Served {
    pub db: Db,
    /// Its own tables.
    pub tables: &'static [Migration],
    pub audit: Audit,
    pub cursors: Cursors,
    /// Its consumers, each with the domains of its events.
    pub consumers: Vec<(&'static str, Vec<&'static str>)>,
    pub entities: Vec<Entities>,
}

/// What its services share.
pub struct Process {
    /// Of the binary.
    pub version: &'static str,
    pub started: UnixMicros,
    pub policies: Arc<PolicyStore>,
    pub events: Arc<EventMetrics>,
    pub filter: Arc<LogFilter>,
    /// Ends streams.
    pub stop: CancellationToken,
}

/// The protobuf service, for these services.
pub fn service(
    process: Process,
    services: BTreeMap<&'static str, Served>,
    validator: Arc<Validator>,
) -> OpsServiceServer<impl OpsService> {
    let ops = Ops {
        process,
        services,
        validator,
    };
    OpsServiceServer::new(ops).max_decoding_message_size(MESSAGE_BYTES_MAX)
}

pub(super) struct Ops {
    pub(super) process: Process,
    pub(super) services: BTreeMap<&'static str, Served>,
    pub(super) validator: Arc<Validator>,
}

impl Ops {
    fn served(&self, name: &str) -> Result<&Served, Status> {
        self.services.get(name).ok_or_else(|| {
            let message = format!("the service `{name}` does not run here");
            errors::refused(Code::NotFound, "UNKNOWN_SERVICE", message)
        })
    }

    fn consumers(&self, served: &Served) -> Vec<Consumer> {
        let places = served.consumers.iter().flat_map(|(name, domains)| {
            domains.iter().map(|domain| Consumer {
                name: (*name).to_owned(),
                domain: (*domain).to_owned(),
                pending: wire::number(self.process.events.pending(name, domain)),
            })
        });
        places.collect()
    }

    fn policies(&self) -> Policies {
        let refused = self.process.policies.refused();
        let faults = refused.iter().flat_map(|refused| &refused.0);
        Policies {
            generation: wire::number(self.process.policies.generation()),
            faults: faults.take(FAULTS_MAX).map(wire::fault).collect(),
        }
    }
}

impl Served {
    fn operator<T>(&self, request: &Request<T>) -> Result<Operator<'_>, Status> {
        Ok(Operator {
            db: &self.db,
            audit: &self.audit,
            actor: Actor::User(caller(request)?),
        })
    }

    fn entities(&self, kind: &str) -> Result<Entities, Status> {
        let found = self.entities.iter().find(|found| found.kind == kind);
        found.cloned().ok_or_else(|| {
            let message = format!("the service has no entities of the type `{kind}`");
            errors::refused(Code::NotFound, "UNKNOWN_ENTITY", message)
        })
    }

    /// A list of it as one caller asks for it: the list's name, and what it leaves out.
    fn pages<'a>(
        &'a self,
        (list, filter): (&'static str, &'a [u8]),
        caller: &'a str,
        size: i32,
    ) -> Pages<'a> {
        let query = Query {
            list,
            caller,
            filter,
        };
        Pages {
            cursors: &self.cursors,
            query,
            size,
        }
    }
}

/// The verified caller; the layer before put it there.
fn caller<T>(request: &Request<T>) -> Result<Uuid, Status> {
    let caller = request.extensions().get::<Caller>();
    caller
        .map(|caller| caller.user)
        .ok_or_else(|| errors::internal("an RPC that needs a caller is declared public"))
}

/// The verified service that calls; the layer before put it there.
fn peer<T>(request: &Request<T>) -> Result<String, Status> {
    let peer = request.extensions().get::<Peer>();
    peer.map(|peer| peer.0.clone())
        .ok_or_else(|| errors::internal("a call that came past the layer"))
}

fn given(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

fn invalid(field: &str, what: &str) -> Status {
    errors::invalid(vec![(field.to_owned(), what.to_owned())])
}

fn which(ids: &[String], all: bool) -> Result<Which, Status> {
    if all != ids.is_empty() {
        return Err(invalid("event_ids", "name some, or set `all`"));
    }
    if all {
        return Ok(Which::All);
    }
    let ids = ids.iter().map(|id| uuid("event_ids", id));
    Ok(Which::Events(ids.collect::<Result<_, _>>()?))
}

/// The input rules admit UUIDs only.
fn uuid(field: &str, text: &str) -> Result<Uuid, Status> {
    Uuid::try_parse(text).map_err(|_| invalid(field, "must be a UUID"))
}

#[async_trait]
impl OpsService for Ops {
    async fn list_dead_letters(
        &self,
        request: Request<ListDeadLettersRequest>,
    ) -> Result<Response<ListDeadLettersResponse>, Status> {
        self.validator.check(request.get_ref())?;
        let (id, asked) = (caller(&request)?.to_string(), request.get_ref());
        let served = self.served(&asked.service)?;
        let list = (
            "platform.v1.OpsService.ListDeadLetters",
            asked.consumer.as_bytes(),
        );
        let pages = served.pages(list, &id, asked.page_size);
        let after = pages.after(&asked.page_token)?.unwrap_or(0);
        let consumer = given(&asked.consumer);
        let found = dead_letters::list(&served.db, consumer, after, pages.limit()).await?;
        let (found, next_page_token) = pages.cut(found, |letter| letter.seq)?;
        Ok(Response::new(ListDeadLettersResponse {
            dead_letters: found.into_iter().map(wire::dead_letter).collect(),
            next_page_token,
        }))
    }

    async fn replay_dead_letters(
        &self,
        request: Request<ReplayDeadLettersRequest>,
    ) -> Result<Response<ReplayDeadLettersResponse>, Status> {
        self.validator.check(request.get_ref())?;
        let asked = request.get_ref();
        let operator = self.served(&asked.service)?.operator(&request)?;
        let which = which(&asked.event_ids, asked.all)?;
        let count = operator
            .replay(&asked.consumer, which, clock::now())
            .await?;
        Ok(Response::new(ReplayDeadLettersResponse {
            count: wire::number(count),
        }))
    }

    async fn purge_dead_letters(
        &self,
        request: Request<PurgeDeadLettersRequest>,
    ) -> Result<Response<PurgeDeadLettersResponse>, Status> {
        self.validator.check(request.get_ref())?;
        let asked = request.get_ref();
        let operator = self.served(&asked.service)?.operator(&request)?;
        let which = which(&asked.event_ids, asked.all)?;
        let count = operator.purge(&asked.consumer, which, clock::now()).await?;
        Ok(Response::new(PurgeDeadLettersResponse {
            count: wire::number(count),
        }))
    }

    async fn list_jobs(
        &self,
        request: Request<ListJobsRequest>,
    ) -> Result<Response<ListJobsResponse>, Status> {
        self.validator.check(request.get_ref())?;
        let (id, asked) = (caller(&request)?.to_string(), request.get_ref());
        let served = self.served(&asked.service)?;
        // No state has a colon, so no two filters are written alike.
        let distinct = format!("{}:{}", asked.state, asked.kind);
        let list = ("platform.v1.OpsService.ListJobs", distinct.as_bytes());
        let pages = served.pages(list, &id, asked.page_size);
        let state = given(&asked.state).map(jobs::State::parse).transpose()?;
        let filter = jobs::Filter {
            state,
            kind: given(&asked.kind).map(str::to_owned),
            before: pages.after(&asked.page_token)?,
        };
        let found = jobs::list(&served.db, &filter, pages.limit()).await?;
        let (found, next_page_token) = pages.cut(found, |job| job.id)?;
        Ok(Response::new(ListJobsResponse {
            jobs: found.into_iter().map(wire::job).collect(),
            next_page_token,
        }))
    }

    async fn retry_job(
        &self,
        request: Request<RetryJobRequest>,
    ) -> Result<Response<RetryJobResponse>, Status> {
        self.validator.check(request.get_ref())?;
        let asked = request.get_ref();
        let operator = self.served(&asked.service)?.operator(&request)?;
        let id = uuid("id", &asked.id)?;
        operator.retry_job(id, clock::now()).await?;
        Ok(Response::new(RetryJobResponse {}))
    }

    async fn list_sagas(
        &self,
        request: Request<ListSagasRequest>,
    ) -> Result<Response<ListSagasResponse>, Status> {
        self.validator.check(request.get_ref())?;
        let (id, asked) = (caller(&request)?.to_string(), request.get_ref());
        let served = self.served(&asked.service)?;
        let list = ("platform.v1.OpsService.ListSagas", asked.status.as_bytes());
        let pages = served.pages(list, &id, asked.page_size);
        let status = given(&asked.status).map(saga::Status::parse).transpose()?;
        let before = pages.after(&asked.page_token)?;
        let found = saga::list(&served.db, status, before, pages.limit()).await?;
        let (found, next_page_token) = pages.cut(found, |saga| saga.id)?;
        Ok(Response::new(ListSagasResponse {
            sagas: found.into_iter().map(wire::saga).collect(),
            next_page_token,
        }))
    }

    async fn get_status(
        &self,
        request: Request<GetStatusRequest>,
    ) -> Result<Response<GetStatusResponse>, Status> {
        self.validator.check(request.get_ref())?;
        let asked = request.get_ref();
        let served = self.served(&asked.service)?;
        let found = status(&served.db, served.tables, clock::now()).await?;
        Ok(Response::new(GetStatusResponse {
            service: asked.service.clone(),
            version: self.process.version.to_owned(),
            started_at: Some(wire::timestamp(self.process.started)),
            schema: wire::number(found.schema),
            policies: Some(self.policies()),
            outbox: Some(wire::backlog(found.outbox)),
            jobs: Some(wire::backlog(found.jobs)),
            dead_letters: wire::number(found.dead_letters),
            open_sagas: wire::number(found.open_sagas),
            consumers: self.consumers(served),
            pools: served.db.pools().into_iter().map(wire::pool).collect(),
            leases: found.leases.into_iter().map(wire::lease).collect(),
            log_level: Some(wire::level(self.process.filter.current())),
        }))
    }

    async fn set_log_level(
        &self,
        request: Request<SetLogLevelRequest>,
    ) -> Result<Response<SetLogLevelResponse>, Status> {
        self.validator.check(request.get_ref())?;
        let (asked, now) = (request.get_ref(), clock::now());
        let operator = self.served(&asked.service)?.operator(&request)?;
        LogFilter::check(&asked.filter).map_err(|error| invalid("filter", &error.to_string()))?;
        let seconds = u64::try_from(asked.seconds).ok().filter(|some| *some > 0);
        let length = seconds.map(Duration::from_secs);
        let wanted = Level {
            filter: asked.filter.clone(),
            until: length.map(|length| now + length),
        };
        operator.note_log_level(&wanted, now).await?;
        let level = self.process.filter.set(&asked.filter, length, now);
        let level = level.map_err(|error| errors::internal(&error))?;
        tracing::info!(filter = level.filter, "the log was changed by an operator");
        Ok(Response::new(SetLogLevelResponse {
            log_level: Some(wire::level(level)),
        }))
    }

    type StreamEntitiesStream = BoxStream<'static, Result<Entity, Status>>;

    async fn stream_entities(
        &self,
        request: Request<StreamEntitiesRequest>,
    ) -> Result<Response<Self::StreamEntitiesStream>, Status> {
        self.validator.check(request.get_ref())?;
        let until = entities::until(request.metadata().as_ref());
        let (caller, asked) = (peer(&request)?, request.get_ref());
        let served = self.served(&asked.service)?;
        let reader = Reader {
            db: served.db.clone(),
            entities: served.entities(&asked.r#type)?,
            cursors: served.cursors.clone(),
            caller,
            until,
            stop: self.process.stop.clone(),
        };
        Ok(Response::new(reader.stream(&asked.after)?))
    }
}
