//! The RPCs, one message there and one back; the streams are in `streams`.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD as BASE64;
use tokio_stream::Stream;
use tonic::metadata::{
    AsciiMetadataKey, BinaryMetadataKey, BinaryMetadataValue, KeyAndValueRef, MetadataMap,
};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_types::{ErrorDetails, StatusExt};

use crate::google::api::HttpBody;
use crate::proto::echo_service_server::EchoService;
use crate::proto::{
    ChatRequest, ChatResponse, CountRequest, CountResponse, EchoRequest, EchoResponse, FailRequest,
    FileRequest, LookAtTusRequest, RegisterRequest, RegisterResponse, StampRequest, StampResponse,
    SumRequest, SumResponse, UploadRequest, UploadResponse, WriteTusRequest,
};
use crate::streams::{self, Counted};
use crate::tus::{self, Uploads};

/// A stream of answers.
pub(crate) type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The service. Clones share their count of calls under way.
#[derive(Debug, Clone, Default)]
pub struct Echo {
    under_way: Arc<AtomicUsize>,
    begun: Arc<AtomicUsize>,
    uploads: Uploads,
    counted: Arc<AtomicUsize>,
}

impl Echo {
    /// Calls and streams that have neither ended nor been cancelled.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.under_way.load(Ordering::SeqCst)
    }

    /// Calls so far.
    #[must_use]
    pub fn begun(&self) -> usize {
        self.begun.load(Ordering::SeqCst)
    }

    /// Numbers that `Count` has given out so far, to all.
    #[must_use]
    pub fn counted(&self) -> usize {
        self.counted.load(Ordering::SeqCst)
    }

    fn enter(&self) -> Counted {
        self.begun.fetch_add(1, Ordering::SeqCst);
        Counted::new(self.under_way.clone())
    }

    async fn echo(&self, request: Request<EchoRequest>) -> Result<Response<EchoResponse>, Status> {
        let _counted = self.enter();
        let metadata = seen(request.metadata());
        let said = request.into_inner();
        if let Some(pause) = &said.pause {
            tokio::time::sleep(length(pause)?).await;
        }
        let answer_metadata = told(&said.answer_metadata)?;
        let padding = vec![b'.'; said.padding_bytes as usize].into();
        let mut response = Response::new(EchoResponse {
            said: Some(said),
            metadata,
            padding,
        });
        *response.metadata_mut() = answer_metadata;
        Ok(response)
    }
}

#[tonic::async_trait]
impl EchoService for Echo {
    type CountStream = Answers<CountResponse>;
    type ChatStream = Answers<ChatResponse>;
    type DownloadStream = Answers<HttpBody>;

    async fn echo(&self, request: Request<EchoRequest>) -> Result<Response<EchoResponse>, Status> {
        self.echo(request).await
    }

    async fn look(&self, request: Request<EchoRequest>) -> Result<Response<EchoResponse>, Status> {
        self.echo(request).await
    }

    async fn register(
        &self,
        request: Request<RegisterRequest>,
    ) -> Result<Response<RegisterResponse>, Status> {
        let _counted = self.enter();
        let id = format!("people/{}", request.into_inner().name);
        Ok(Response::new(RegisterResponse { id }))
    }

    async fn fail(&self, request: Request<FailRequest>) -> Result<Response<()>, Status> {
        let _counted = self.enter();
        failure(&request.into_inner()).map(Response::new)
    }

    async fn hang(&self, _request: Request<()>) -> Result<Response<()>, Status> {
        let _counted = self.enter();
        std::future::pending().await
    }

    async fn count(
        &self,
        request: Request<CountRequest>,
    ) -> Result<Response<Self::CountStream>, Status> {
        let last_seen = request.metadata().get("last-event-id").cloned();
        let mut asked = request.into_inner();
        let resumed = last_seen.and_then(|id| id.to_str().ok()?.parse::<u64>().ok());
        if let Some(last) = resumed {
            asked.from = last.saturating_add(1);
        }
        streams::count(asked, self.enter(), self.counted.clone()).map(Response::new)
    }

    async fn sum(
        &self,
        request: Request<Streaming<SumRequest>>,
    ) -> Result<Response<SumResponse>, Status> {
        let _counted = self.enter();
        streams::sum(request.into_inner()).await.map(Response::new)
    }

    async fn chat(
        &self,
        request: Request<Streaming<ChatRequest>>,
    ) -> Result<Response<Self::ChatStream>, Status> {
        let answers = streams::chat(request.into_inner(), self.enter());
        Ok(Response::new(answers))
    }

    async fn thumbnail(&self, request: Request<FileRequest>) -> Result<Response<HttpBody>, Status> {
        let _counted = self.enter();
        Ok(Response::new(streams::whole_file(&request.into_inner())?))
    }

    async fn download(
        &self,
        request: Request<FileRequest>,
    ) -> Result<Response<Self::DownloadStream>, Status> {
        let (metadata, _, asked) = request.into_parts();
        let (head, pieces) = streams::download(&asked, &metadata, self.enter())?;
        let mut response = Response::new(pieces);
        *response.metadata_mut() = head;
        Ok(response)
    }

    async fn upload(
        &self,
        request: Request<Streaming<UploadRequest>>,
    ) -> Result<Response<UploadResponse>, Status> {
        let _counted = self.enter();
        // Told by headers: nothing has been read yet.
        if request.metadata().contains_key("x-refuse") {
            return Err(Status::permission_denied("no uploads"));
        }
        if request.metadata().contains_key("x-hang") {
            return std::future::pending().await;
        }
        streams::upload(request.into_inner())
            .await
            .map(Response::new)
    }

    async fn mirror(&self, request: Request<HttpBody>) -> Result<Response<HttpBody>, Status> {
        let _counted = self.enter();
        Ok(Response::new(request.into_inner()))
    }

    async fn stamp(
        &self,
        request: Request<StampRequest>,
    ) -> Result<Response<StampResponse>, Status> {
        let _counted = self.enter();
        let StampRequest { name, file } = request.into_inner();
        let mut response = Response::new(StampResponse { file });
        let name = name.parse().map_err(|_| Status::invalid_argument("name"))?;
        response.metadata_mut().insert("x-stamp", name);
        Ok(response)
    }

    async fn describe_tus(&self, _: Request<()>) -> Result<Response<()>, Status> {
        let _counted = self.enter();
        Ok(tus::describe())
    }

    async fn create_tus(&self, request: Request<()>) -> Result<Response<()>, Status> {
        let _counted = self.enter();
        self.uploads.create(request.metadata())
    }

    async fn look_at_tus(
        &self,
        request: Request<LookAtTusRequest>,
    ) -> Result<Response<()>, Status> {
        let _counted = self.enter();
        self.uploads.look(request.get_ref().id)
    }

    async fn write_tus(
        &self,
        request: Request<Streaming<WriteTusRequest>>,
    ) -> Result<Response<()>, Status> {
        let _counted = self.enter();
        let (metadata, _, pieces) = request.into_parts();
        self.uploads.write(metadata, pieces).await
    }
}

/// Metadata as text.
fn seen(metadata: &MetadataMap) -> HashMap<String, String> {
    let mut seen: HashMap<String, String> = HashMap::new();
    for entry in metadata.iter() {
        let (name, value) = match entry {
            KeyAndValueRef::Ascii(name, value) => {
                (name.as_str(), value.to_str().unwrap_or("?").to_owned())
            }
            KeyAndValueRef::Binary(name, value) => {
                let bytes = value.to_bytes().unwrap_or_default();
                (name.as_str(), BASE64.encode(bytes))
            }
        };
        seen.entry(name.to_owned())
            .and_modify(|all| {
                all.push_str(", ");
                all.push_str(&value);
            })
            .or_insert(value);
    }
    seen
}

/// Metadata of text.
fn told(pairs: &HashMap<String, String>) -> Result<MetadataMap, Status> {
    let bad = |name: &str| Status::invalid_argument(format!("`{name}` cannot be metadata"));
    let mut metadata = MetadataMap::new();
    for (name, value) in pairs {
        if name.ends_with("-bin") {
            let key = BinaryMetadataKey::from_bytes(name.as_bytes()).map_err(|_| bad(name))?;
            let bytes = BASE64.decode(value).map_err(|_| bad(name))?;
            metadata.insert_bin(key, BinaryMetadataValue::from_bytes(&bytes));
        } else {
            let key = AsciiMetadataKey::from_bytes(name.as_bytes()).map_err(|_| bad(name))?;
            metadata.insert(key, value.parse().map_err(|_| bad(name))?);
        }
    }
    Ok(metadata)
}

pub(crate) fn length(duration: &prost_types::Duration) -> Result<Duration, Status> {
    Duration::try_from(*duration).map_err(|error| Status::invalid_argument(error.to_string()))
}

/// The failure that was asked for.
pub(crate) fn failure(asked: &FailRequest) -> Result<(), Status> {
    let code = i32::try_from(asked.code).map_or(Code::Unknown, Code::from_i32);
    if code == Code::Ok {
        return Ok(());
    }
    let mut details = ErrorDetails::new();
    for violation in &asked.violations {
        details.add_bad_request_violation(&violation.field, &violation.description);
    }
    if let Some(delay) = &asked.retry_after {
        details.set_retry_info(Some(length(delay)?));
    }
    if !asked.reason.is_empty() {
        details.set_error_info(&asked.reason, &asked.domain, HashMap::new());
    }
    let metadata = told(&asked.answer_metadata)?;
    Err(Status::with_error_details_and_metadata(
        code,
        &asked.message,
        details,
        metadata,
    ))
}
