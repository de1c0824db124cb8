//! Wire to domain and back.
//! Invariant: a handler checks its input first, takes the caller from the verified
//! token and never from the message, and reads the time once.
//! Refuses to decide anything else.

mod refusal;

use std::sync::Arc;

use core_platform::{
    clock::{self, UnixMicros},
    cursor::{Cursors, Query},
    errors,
    token::Caller,
    validate::Validator,
};
use core_proto::sample::v1::{
    CreateItemRequest, GetItemRequest, Item, ListItemsRequest, ListItemsResponse,
    sample_service_server::SampleService,
};
use prost_types::Timestamp;
use tonic::{Request, Response, Status, metadata::MetadataValue};
use uuid::Uuid;

use crate::{
    items::Items,
    store::items::{ItemRow, Position},
};

/// The edge sets the HTTP status from it; other gRPC callers don't see a difference.
const HTTP_STATUS: &str = "x-http-status";
/// For a caller that doesn't say.
const PAGE_SIZE: i32 = 50;

/// The service's RPCs.
pub(crate) struct Rpcs {
    pub(crate) items: Items,
    pub(crate) cursors: Cursors,
    pub(crate) validator: Arc<Validator>,
}

#[tonic::async_trait]
impl SampleService for Rpcs {
    async fn create_item(
        &self,
        request: Request<CreateItemRequest>,
    ) -> Result<Response<Item>, Status> {
        self.validator.check(request.get_ref())?;
        let caller = caller(&request)?;
        let name = &request.get_ref().name;
        let item = self.items.create(&caller, name, clock::now()).await?;
        let mut response = Response::new(item.into());
        let created = MetadataValue::from_static("201");
        response.metadata_mut().insert(HTTP_STATUS, created);
        Ok(response)
    }

    async fn get_item(&self, request: Request<GetItemRequest>) -> Result<Response<Item>, Status> {
        self.validator.check(request.get_ref())?;
        let id = uuid("id", &request.get_ref().id)?;
        let item = self.items.get(&caller(&request)?, id).await?;
        Ok(Response::new(item.into()))
    }

    async fn list_items(
        &self,
        request: Request<ListItemsRequest>,
    ) -> Result<Response<ListItemsResponse>, Status> {
        self.validator.check(request.get_ref())?;
        let caller = caller(&request)?;
        let asked = request.into_inner();
        let user = caller.user.to_string();
        let query = Query {
            list: "sample.v1.SampleService/ListItems",
            caller: &user,
            filter: &[],
        };
        let after: Option<(i64, Uuid)> = self.cursors.position(query, &asked.page_token)?;
        let after = after.map(|(at, id)| Position {
            created_at: UnixMicros(at),
            id,
        });
        let size = match asked.page_size {
            0 => PAGE_SIZE,
            size => size,
        };
        // One more than is shown: only that row says that there is a next page.
        let limit = i64::from(size) + 1;
        let mut found = self.items.list(&caller, after, limit).await?;
        let size = usize::try_from(size).unwrap_or(0);
        let is_last = found.len() <= size;
        found.truncate(size);
        let next_page_token = match found.last() {
            Some(last) if !is_last => self.cursors.token(query, &(last.created_at.0, last.id))?,
            _ => String::new(),
        };
        Ok(Response::new(ListItemsResponse {
            items: found.into_iter().map(Into::into).collect(),
            next_page_token,
        }))
    }
}

/// The verified caller; the platform's layer put it there.
fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    let caller = request.extensions().get::<Caller>().cloned();
    caller.ok_or_else(|| errors::internal("an RPC that needs a caller is declared public"))
}

/// The input rules admit UUIDs only.
fn uuid(field: &'static str, text: &str) -> Result<Uuid, Status> {
    Uuid::try_parse(text)
        .map_err(|_| errors::invalid(vec![(field.to_owned(), "must be a UUID".to_owned())]))
}

impl From<ItemRow> for Item {
    fn from(row: ItemRow) -> Self {
        Self {
            id: row.id.to_string(),
            name: row.name,
            created_at: Some(Timestamp {
                seconds: row.created_at.seconds(),
                nanos: row.created_at.subsecond_nanos(),
            }),
        }
    }
}
