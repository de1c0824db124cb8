//! Resumable uploads (tus 1.0.0). Of each upload only its length is kept, and how much has come.

use std::sync::{Arc, Mutex, PoisonError};

use tokio_stream::StreamExt;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Response, Status, Streaming};

use crate::proto::WriteTusRequest;

/// Uploads at once; each takes 16 bytes for as long as the service lives.
const UPLOADS_MAX: usize = 1024;

const CONTENT_TYPE: &str = "application/offset+octet-stream";

#[derive(Debug, Clone, Copy)]
struct Kept {
    length: u64,
    offset: u64,
}

/// All uploads; the place of one is its id.
#[derive(Debug, Clone, Default)]
pub(crate) struct Uploads(Arc<Mutex<Vec<Kept>>>);

impl Uploads {
    fn with<T>(&self, f: impl FnOnce(&mut Vec<Kept>) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn create(&self, metadata: &MetadataMap) -> Result<Response<()>, Status> {
        let length = number(metadata, "upload-length")
            .ok_or_else(|| Status::invalid_argument("`upload-length` is missing"))?;
        let id = self.with(|all| {
            all.push(Kept { length, offset: 0 });
            (all.len() <= UPLOADS_MAX).then(|| all.len() - 1)
        });
        let id = id.ok_or_else(|| Status::resource_exhausted("too many uploads"))?;
        let location = format!("/v1/tus/{id}");
        Ok(answer("201", &[("location", location)]))
    }

    pub(crate) fn look(&self, id: u64) -> Result<Response<()>, Status> {
        let Kept { length, offset } = self.kept(id)?;
        let head = [
            ("upload-offset", offset.to_string()),
            ("upload-length", length.to_string()),
            ("cache-control", "no-store".to_owned()),
        ];
        Ok(answer("200", &head))
    }

    fn kept(&self, id: u64) -> Result<Kept, Status> {
        let at = usize::try_from(id).unwrap_or(usize::MAX);
        self.with(|all| all.get(at).copied())
            .ok_or_else(|| Status::not_found("there is no such upload"))
    }

    /// What has come stays, however the request ends.
    pub(crate) async fn write(
        &self,
        metadata: MetadataMap,
        mut pieces: Streaming<WriteTusRequest>,
    ) -> Result<Response<()>, Status> {
        let first = pieces.next().await.transpose()?;
        let first = first.ok_or_else(|| Status::invalid_argument("no message"))?;
        let id = first.id;
        let Kept { length, mut offset } = self.kept(id)?;
        if number(&metadata, "upload-offset") != Some(offset) {
            return Err(refused("409", "the offset is another"));
        }
        let mut next = Some(first);
        while let Some(message) = next {
            let file = message.file.unwrap_or_default();
            if !file.content_type.is_empty() && file.content_type != CONTENT_TYPE {
                return Err(refused("415", "the content type is another"));
            }
            offset += file.data.len() as u64;
            if offset > length {
                return Err(refused("413", "more than was announced"));
            }
            self.with(|all| {
                if let Some(kept) = usize::try_from(id).ok().and_then(|at| all.get_mut(at)) {
                    kept.offset = offset;
                }
            });
            next = pieces.next().await.transpose()?;
        }
        Ok(answer("204", &[("upload-offset", offset.to_string())]))
    }
}

pub(crate) fn describe() -> Response<()> {
    let head = [
        ("tus-version", "1.0.0".to_owned()),
        ("tus-extension", "creation".to_owned()),
    ];
    answer("204", &head)
}

fn number(metadata: &MetadataMap, name: &str) -> Option<u64> {
    metadata.get(name)?.to_str().ok()?.parse().ok()
}

/// With these headers and that of the protocol.
fn answer(status: &'static str, headers: &[(&'static str, String)]) -> Response<()> {
    let mut response = Response::new(());
    let metadata = response.metadata_mut();
    metadata.insert("x-http-status", MetadataValue::from_static(status));
    metadata.insert(
        "x-http-header-tus-resumable",
        MetadataValue::from_static("1.0.0"),
    );
    for (name, value) in headers {
        let name = format!("x-http-header-{name}");
        let key = tonic::metadata::AsciiMetadataKey::from_bytes(name.as_bytes());
        if let (Ok(key), Ok(value)) = (key, value.parse()) {
            metadata.insert(key, value);
        }
    }
    response
}

fn refused(status: &'static str, message: &str) -> Status {
    let mut refused = Status::new(Code::FailedPrecondition, message);
    let metadata = refused.metadata_mut();
    metadata.insert("x-http-status", MetadataValue::from_static(status));
    refused
}
