//! Descriptors by reflection: from tonic's own server, and from servers that mean no good.

use std::collections::HashMap;
use std::sync::Arc;

use palisade_translate::{Description, Options, ReflectionError, Translator, describe};
use prost::Message;
use prost_types::{FileDescriptorProto, FileDescriptorSet, ServiceDescriptorProto};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_stream::{Stream, StreamExt};
use tonic::transport::server::Router;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{
    ErrorResponse, FileDescriptorResponse, ListServiceResponse, ServerReflectionRequest,
    ServerReflectionResponse, ServiceResponse,
};
use tonic_reflection::server::v1::{ServerReflection, ServerReflectionServer};

async fn serve(router: Router) -> Channel {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(router.serve_with_incoming(TcpListenerStream::new(listener)));
    Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        .connect_lazy()
}

/// A translator of what the server says of itself.
fn translator(description: &Description) -> Translator {
    Translator::from_descriptor_set(&description.descriptor_set, Options::default()).unwrap()
}

#[tokio::test]
async fn a_server_describes_itself() {
    let reflection = palisade_echo::reflection().unwrap();
    let channel = serve(Server::builder().add_service(reflection)).await;
    let description = describe(channel.clone()).await.unwrap();
    assert_eq!(description.services, 1);
    assert_eq!(description.unknown, [""; 0]);
    let reflected = translator(&description);
    let compiled =
        Translator::from_descriptor_set(palisade_echo::DESCRIPTORS, Options::default()).unwrap();
    let templates = |translator: &Translator| {
        let bindings = translator.bindings();
        let templates = bindings.map(|binding| format!("{} {}", binding.rpc, binding.template));
        templates.collect::<Vec<_>>()
    };
    assert_eq!(templates(&reflected), templates(&compiled));
    assert!(templates(&reflected).len() > 10);
    // Options beside `google.api.http` came along, too.
    assert_eq!(reflected.rules_left_out(), compiled.rules_left_out());
    assert_eq!(describe(channel).await.unwrap(), description);
}

#[tokio::test]
async fn the_older_name_will_do() {
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(palisade_echo::DESCRIPTORS)
        .build_v1alpha()
        .unwrap();
    let channel = serve(Server::builder().add_service(reflection)).await;
    let description = describe(channel).await.unwrap();
    assert!(translator(&description).bindings().count() > 10);
}

#[tokio::test]
async fn servers_without_it_are_named_so() {
    let echo = palisade_echo::EchoServiceServer::new(palisade_echo::Echo::default());
    let channel = serve(Server::builder().add_service(echo)).await;
    let error = describe(channel).await.unwrap_err();
    assert!(matches!(error, ReflectionError::NotOffered), "{error}");

    let nobody = Endpoint::from_static("http://127.0.0.1:1").connect_lazy();
    let error = describe(nobody).await.unwrap_err();
    assert!(matches!(error, ReflectionError::Failed(_)), "{error}");
}

/// Answers as a test says.
struct Scripted(Arc<dyn Fn(MessageRequest) -> Option<MessageResponse> + Send + Sync>);

#[tonic::async_trait]
impl ServerReflection for Scripted {
    type ServerReflectionInfoStream =
        std::pin::Pin<Box<dyn Stream<Item = Result<ServerReflectionResponse, Status>> + Send>>;

    async fn server_reflection_info(
        &self,
        request: Request<Streaming<ServerReflectionRequest>>,
    ) -> Result<Response<Self::ServerReflectionInfoStream>, Status> {
        let answer = self.0.clone();
        let (answers, stream) = mpsc::channel(1);
        tokio::spawn(async move {
            let mut questions = request.into_inner();
            while let Some(Ok(question)) = questions.next().await {
                let Some(about) = question.message_request else {
                    return;
                };
                let response = ServerReflectionResponse {
                    message_response: answer(about),
                    ..Default::default()
                };
                if answers.send(Ok(response)).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

async fn scripted(
    answer: impl Fn(MessageRequest) -> Option<MessageResponse> + Send + Sync + 'static,
) -> Result<Description, ReflectionError> {
    let server = ServerReflectionServer::new(Scripted(Arc::new(answer)))
        .max_encoding_message_size(64 * 1024 * 1024);
    describe(serve(Server::builder().add_service(server)).await).await
}

fn services(names: impl IntoIterator<Item = String>) -> Option<MessageResponse> {
    let service = names.into_iter().map(|name| ServiceResponse { name });
    Some(MessageResponse::ListServicesResponse(ListServiceResponse {
        service: service.collect(),
    }))
}

fn files(files: &[FileDescriptorProto]) -> Option<MessageResponse> {
    let files = files.iter().map(Message::encode_to_vec).collect();
    Some(MessageResponse::FileDescriptorResponse(
        FileDescriptorResponse {
            file_descriptor_proto: files,
        },
    ))
}

fn refusal(code: tonic::Code) -> Option<MessageResponse> {
    Some(MessageResponse::ErrorResponse(ErrorResponse {
        error_code: code.into(),
        error_message: "no".repeat(1_000),
    }))
}

/// `a.proto` declares `t.A` and imports the rest.
fn file(name: &str, imports: &[&str]) -> FileDescriptorProto {
    FileDescriptorProto {
        name: Some(name.to_owned()),
        package: Some("t".to_owned()),
        dependency: imports.iter().map(|&import| import.to_owned()).collect(),
        syntax: Some("proto3".to_owned()),
        ..Default::default()
    }
}

/// A server of one service, `t.A`, whose files import each other like this.
async fn importing(rows: &[(&str, &[&str])]) -> Result<Description, ReflectionError> {
    let mut known: HashMap<String, FileDescriptorProto> = rows
        .iter()
        .map(|(name, imports)| ((*name).to_owned(), file(name, imports)))
        .collect();
    let first = known.get_mut(rows[0].0).unwrap();
    first.service = vec![ServiceDescriptorProto {
        name: Some("A".to_owned()),
        ..Default::default()
    }];
    let first = first.clone();
    scripted(move |about| match about {
        MessageRequest::ListServices(_) => services(["t.A".to_owned()]),
        MessageRequest::FileContainingSymbol(_) => files(std::slice::from_ref(&first)),
        MessageRequest::FileByFilename(name) => match known.get(&name) {
            Some(file) => files(std::slice::from_ref(file)),
            None => refusal(tonic::Code::NotFound),
        },
        _ => None,
    })
    .await
}

#[tokio::test]
async fn imports_come_first() {
    let rows: [(&str, &[&str]); 4] = [
        ("a", &["b", "c"]),
        ("b", &["d", "c"]),
        ("c", &["d"]),
        ("d", &[]),
    ];
    let description = importing(&rows).await.unwrap();
    let set = FileDescriptorSet::decode(description.descriptor_set.as_slice()).unwrap();
    let names: Vec<&str> = set.file.iter().map(FileDescriptorProto::name).collect();
    assert_eq!(names, ["d", "c", "b", "a"]);
}

#[tokio::test]
async fn imports_that_cannot_be() {
    let error = importing(&[("a", &["b"]), ("b", &["c"]), ("c", &["b"])]).await;
    assert_eq!(error.unwrap_err().to_string(), "file `b` imports itself");
    let error = importing(&[("a", &["a"])]).await;
    assert_eq!(error.unwrap_err().to_string(), "file `a` imports itself");
    let error = importing(&[("a", &["b"])]).await;
    assert_eq!(
        error.unwrap_err().to_string(),
        "file `a` imports `b`, which the server does not have"
    );
}

#[tokio::test]
async fn services_that_nobody_knows_are_left_out() {
    let description = scripted(|about| match about {
        MessageRequest::ListServices(_) => {
            services(["t.A", "t.Gone", "grpc.reflection.v1.ServerReflection"].map(str::to_owned))
        }
        MessageRequest::FileContainingSymbol(name) if name == "t.A" => files(&[file("a", &[])]),
        MessageRequest::FileContainingSymbol(name) => {
            assert_eq!(name, "t.Gone");
            refusal(tonic::Code::NotFound)
        }
        _ => None,
    });
    let description = description.await.unwrap();
    assert_eq!(
        (description.services, description.unknown),
        (1, vec!["t.Gone".to_owned()])
    );
}

#[tokio::test]
async fn hostile_servers_are_bounded() {
    let endless = |about: MessageRequest| match about {
        MessageRequest::ListServices(_) => services(["t.A".to_owned()]),
        MessageRequest::FileContainingSymbol(_) => files(&[file("0", &["1"])]),
        MessageRequest::FileByFilename(name) => {
            let next = (name.parse::<u32>().unwrap() + 1).to_string();
            files(&[file(&name, &[&next])])
        }
        _ => None,
    };
    let error = scripted(endless).await.unwrap_err();
    assert_eq!(error.to_string(), "the server has more than `4000` files");

    let crowd = |_| services((0..1_001).map(|n| format!("t.S{n:04}")));
    let error = scripted(crowd).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the server has more than `1000` services"
    );

    let huge = |about: MessageRequest| match about {
        MessageRequest::ListServices(_) => services(["t.A".to_owned()]),
        MessageRequest::FileContainingSymbol(_) => files(&[file(&"x".repeat(20 << 20), &[])]),
        _ => None,
    };
    let error = scripted(huge).await.unwrap_err();
    assert!(matches!(error, ReflectionError::Failed(_)), "{error}");

    // Piece by piece it comes to the same.
    let pieces = |about: MessageRequest| match about {
        MessageRequest::ListServices(_) => services((0..9).map(|n| format!("t.S{n}"))),
        MessageRequest::FileContainingSymbol(name) => {
            files(&[file(&format!("{name}{}", "x".repeat(4 << 20)), &[])])
        }
        _ => None,
    };
    let error = scripted(pieces).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the answers have more than `16777216` bytes"
    );

    let imports = |about: MessageRequest| match about {
        MessageRequest::ListServices(_) => services(["t.A".to_owned()]),
        _ => files(&[file("a", &vec!["a"; 100_001])]),
    };
    let error = scripted(imports).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the server has more than `100000` imports"
    );
}

#[tokio::test]
async fn answers_to_something_else() {
    let error = scripted(|_| None).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the answer is not what was asked for: an empty answer"
    );
    let error = scripted(|_| files(&[])).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the answer is not what was asked for: a list of services"
    );
    let error = scripted(|_| services([])).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the server names no service to translate to"
    );
    let refused = scripted(|about| match about {
        MessageRequest::ListServices(_) => services(["t.A".to_owned()]),
        _ => refusal(tonic::Code::PermissionDenied),
    });
    let text = refused.await.unwrap_err().to_string();
    assert!(
        text.starts_with("reflection failed: PermissionDenied: nono"),
        "{text}"
    );
    assert!(text.len() < 400, "{text}");
}
