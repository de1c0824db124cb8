//! Descriptors from the services themselves: gRPC server reflection, v1 or v1alpha.
//!
//! Invariant: what is on the other side may answer anything; time, answers, files and bytes are
//! bounded, and nothing of it is believed until a translator is made of it. Asks only on the
//! channel it is given.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use http::uri::PathAndQuery;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};
use tokio::sync::mpsc;
use tonic::client::Grpc;
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};

use crate::translator::DESCRIPTOR_SET_BYTES_MAX;
use crate::upstream::Upstream;

/// The two differ in this name only.
const PATHS: [&str; 2] = [
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// What every service with reflection has, and nobody calls through a gateway.
const OWN_PACKAGE: &str = "grpc.reflection.";

/// For everything that is asked, together.
const DEADLINE: Duration = Duration::from_secs(30);

/// Services of one server.
const SERVICES_MAX: usize = 1_000;

/// Files they are declared in, with all that those import.
const FILES_MAX: usize = 4_000;

/// Imports of all files together.
const IMPORTS_MAX: usize = 100_000;

/// Of all answers together: some servers send all imports again with each service.
const ANSWERS_BYTES_MAX: usize = 8 * DESCRIPTOR_SET_BYTES_MAX;

/// Longest text of theirs that is repeated in an error, in bytes.
const TEXT_BYTES_MAX: usize = 256;

/// What a server says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Encoded `google.protobuf.FileDescriptorSet`; the same for the same files.
    pub descriptor_set: Vec<u8>,
    pub services: usize,
    /// Listed by the server, which then does not know them.
    pub unknown: Vec<String>,
}

/// Why a server could not be described.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReflectionError {
    #[error("the server does not offer grpc reflection, neither `v1` nor `v1alpha`")]
    NotOffered,
    #[error("reflection failed: {0}")]
    Failed(String),
    #[error("reflection took longer than `{DEADLINE:?}`")]
    Timeout,
    #[error("the server names no service to translate to")]
    NoServices,
    #[error("the server has more than `{max}` {what}")]
    TooMany { what: &'static str, max: usize },
    #[error("the answers have more than `{max}` bytes")]
    TooLarge { max: usize },
    #[error("file `{file}` imports `{import}`, which the server does not have")]
    NoImport { file: String, import: String },
    #[error("file `{0}` imports itself")]
    Cycle(String),
    #[error("the answer is not what was asked for: {0}")]
    Unexpected(&'static str),
}

/// Asks a server for its services and the files that declare them.
///
/// # Errors
/// The first thing that is wrong; nothing is half described.
pub async fn describe<S: Upstream>(service: S) -> Result<Description, ReflectionError> {
    let asking = async {
        for path in PATHS {
            match ask_all(service.clone(), path).await {
                Err(Refusal::Unimplemented) => {}
                Err(Refusal::Error(error)) => return Err(error),
                Ok(description) => return Ok(description),
            }
        }
        Err(ReflectionError::NotOffered)
    };
    let done = tokio::time::timeout(DEADLINE, asking).await;
    done.unwrap_or(Err(ReflectionError::Timeout))
}

/// Why one version came to nothing.
enum Refusal {
    Unimplemented,
    Error(ReflectionError),
}

impl From<ReflectionError> for Refusal {
    fn from(error: ReflectionError) -> Self {
        Self::Error(error)
    }
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        if status.code() == Code::Unimplemented {
            return Self::Unimplemented;
        }
        let text = format!("{:?}: {}", status.code(), shortened(status.message()));
        Self::Error(ReflectionError::Failed(text))
    }
}

async fn ask_all<S: Upstream>(service: S, path: &'static str) -> Result<Description, Refusal> {
    let list = MessageRequest::ListServices(String::new());
    let (mut server, first) = Conversation::begin(service, path, list).await?;
    let MessageResponse::ListServicesResponse(list) = first else {
        return Err(ReflectionError::Unexpected("a list of services").into());
    };
    let mut names: Vec<String> = list.service.into_iter().map(|one| one.name).collect();
    names.retain(|name| !name.starts_with(OWN_PACKAGE));
    names.sort_unstable();
    names.dedup();
    if names.len() > SERVICES_MAX {
        let (what, max) = ("services", SERVICES_MAX);
        return Err(ReflectionError::TooMany { what, max }.into());
    }
    let mut files = Files::default();
    let mut unknown = Vec::new();
    for name in &names {
        if files.services.contains(name) {
            continue;
        }
        let symbol = MessageRequest::FileContainingSymbol(name.clone());
        match server.files(symbol).await? {
            Some(found) => files.add(found)?,
            None => unknown.push(shortened(name)),
        }
    }
    while let Some((file, import)) = files.missing() {
        let by_name = MessageRequest::FileByFilename(import.clone());
        if let Some(found) = server.files(by_name).await? {
            files.add(found)?;
        }
        if !files.by_name.contains_key(&import) {
            let (file, import) = (shortened(&file), shortened(&import));
            return Err(ReflectionError::NoImport { file, import }.into());
        }
    }
    let services = names.len() - unknown.len();
    if services == 0 {
        return Err(ReflectionError::NoServices.into());
    }
    Ok(Description {
        descriptor_set: files.in_order()?,
        services,
        unknown,
    })
}

/// One stream: each question is answered before the next is asked.
struct Conversation {
    questions: mpsc::Sender<ServerReflectionRequest>,
    answers: Streaming<ServerReflectionResponse>,
    bytes_left: usize,
}

impl Conversation {
    async fn begin<S: Upstream>(
        service: S,
        path: &'static str,
        first: MessageRequest,
    ) -> Result<(Self, MessageResponse), Refusal> {
        let (questions, asked) = mpsc::channel(1);
        let mut grpc = Grpc::new(service).max_decoding_message_size(DESCRIPTOR_SET_BYTES_MAX);
        grpc.ready().await.map_err(|error| {
            let error: tonic::codegen::StdError = error.into();
            ReflectionError::Failed(shortened(&error.to_string()))
        })?;
        // Some servers say nothing before they are asked something.
        let question = question(first);
        let _ = questions.send(question).await;
        let request = Request::new(ReceiverStream::new(asked));
        let codec = ProstCodec::default();
        let answers = grpc
            .streaming(request, PathAndQuery::from_static(path), codec)
            .await?;
        let mut conversation = Self {
            questions,
            answers: answers.into_inner(),
            bytes_left: ANSWERS_BYTES_MAX,
        };
        let answer = conversation.answer().await?;
        Ok((conversation, answer))
    }

    /// `None` where the server does not know what it is asked for.
    async fn files(&mut self, about: MessageRequest) -> Result<Option<Vec<Vec<u8>>>, Refusal> {
        if self.questions.send(question(about)).await.is_err() {
            return Err(ReflectionError::Unexpected("the stream has ended").into());
        }
        match self.answer().await? {
            MessageResponse::FileDescriptorResponse(files) => Ok(Some(files.file_descriptor_proto)),
            MessageResponse::ErrorResponse(error)
                if Code::from_i32(error.error_code) == Code::NotFound =>
            {
                Ok(None)
            }
            MessageResponse::ErrorResponse(error) => {
                Err(Status::new(Code::from_i32(error.error_code), error.error_message).into())
            }
            _ => Err(ReflectionError::Unexpected("no files").into()),
        }
    }

    async fn answer(&mut self) -> Result<MessageResponse, Refusal> {
        let ended = ReflectionError::Unexpected("the stream has ended");
        let answer = self.answers.message().await?.ok_or(ended)?;
        let left = self.bytes_left.checked_sub(answer.encoded_len());
        self.bytes_left = left.ok_or(ReflectionError::TooLarge {
            max: ANSWERS_BYTES_MAX,
        })?;
        let nothing = ReflectionError::Unexpected("an empty answer");
        Ok(answer.message_response.ok_or(nothing)?)
    }
}

fn question(about: MessageRequest) -> ServerReflectionRequest {
    ServerReflectionRequest {
        host: String::new(),
        message_request: Some(about),
    }
}

/// Of `google.protobuf.FileDescriptorProto`, what is asked further by. The rest is read once, with
/// the whole set.
#[derive(Clone, PartialEq, Message)]
struct Head {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    package: String,
    #[prost(string, repeated, tag = "3")]
    imports: Vec<String>,
    #[prost(message, repeated, tag = "6")]
    services: Vec<Service>,
}

#[derive(Clone, PartialEq, Message)]
struct Service {
    #[prost(string, tag = "1")]
    name: String,
}

/// What came so far.
#[derive(Default)]
struct Files {
    by_name: BTreeMap<String, File>,
    services: HashSet<String>,
    /// Not looked at yet: files, and how many of their imports are left.
    open: Vec<(String, usize)>,
    bytes: usize,
    imports: usize,
}

struct File {
    bytes: Vec<u8>,
    imports: Vec<String>,
}

impl Files {
    fn add(&mut self, encoded: Vec<Vec<u8>>) -> Result<(), ReflectionError> {
        let too_many = |what, max| Err(ReflectionError::TooMany { what, max });
        for bytes in encoded {
            let head = Head::decode(bytes.as_slice())
                .map_err(|error| ReflectionError::Failed(format!("a file: {error}")))?;
            if self.by_name.contains_key(&head.name) {
                continue;
            }
            self.bytes += bytes.len();
            if self.bytes > DESCRIPTOR_SET_BYTES_MAX {
                let max = DESCRIPTOR_SET_BYTES_MAX;
                return Err(ReflectionError::TooLarge { max });
            }
            if self.by_name.len() == FILES_MAX {
                return too_many("files", FILES_MAX);
            }
            self.imports += head.imports.len();
            if self.imports > IMPORTS_MAX {
                return too_many("imports", IMPORTS_MAX);
            }
            let services = head.services.into_iter().map(|service| {
                if head.package.is_empty() {
                    service.name
                } else {
                    format!("{}.{}", head.package, service.name)
                }
            });
            self.services.extend(services);
            self.open.push((head.name.clone(), head.imports.len()));
            let imports = head.imports;
            self.by_name.insert(head.name, File { bytes, imports });
        }
        Ok(())
    }

    /// A file, and one it imports that has not come yet.
    fn missing(&mut self) -> Option<(String, String)> {
        while let Some((name, left)) = self.open.last_mut() {
            let file = self.by_name.get(name);
            let Some(at) = left.checked_sub(1) else {
                self.open.pop();
                continue;
            };
            *left = at;
            match file.and_then(|file| file.imports.get(at)) {
                Some(import) if !self.by_name.contains_key(import) => {
                    return Some((name.clone(), import.clone()));
                }
                _ => {}
            }
        }
        None
    }

    /// As a descriptor set, imports first.
    fn in_order(&self) -> Result<Vec<u8>, ReflectionError> {
        let mut set = Vec::with_capacity(self.bytes);
        let mut begun: HashSet<&str> = HashSet::new();
        let mut done: HashSet<&str> = HashSet::new();
        for root in self.by_name.keys() {
            // The way from the root to the file that is looked at, and how far each one is.
            let mut way: Vec<(&str, usize)> = vec![(root, 0)];
            while let Some((name, next)) = way.last_mut() {
                let (name, at) = (*name, *next);
                *next += 1;
                let Some(file) = self.by_name.get(name).filter(|_| !done.contains(name)) else {
                    way.pop();
                    continue;
                };
                begun.insert(name);
                match file.imports.get(at).map(String::as_str) {
                    Some(import) if done.contains(import) => {}
                    Some(import) if begun.contains(import) => {
                        return Err(ReflectionError::Cycle(shortened(import)));
                    }
                    Some(import) => way.push((import, 0)),
                    None => {
                        // `file` of `google.protobuf.FileDescriptorSet`.
                        encode_key(1, WireType::LengthDelimited, &mut set);
                        encode_varint(file.bytes.len() as u64, &mut set);
                        set.extend(&file.bytes);
                        done.insert(name);
                        way.pop();
                    }
                }
            }
        }
        Ok(set)
    }
}

fn shortened(text: &str) -> String {
    let mut text = text.to_owned();
    text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
    text
}
