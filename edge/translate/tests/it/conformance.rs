//! The tables of `tests/conformance`, over one hop. The edge's tests run them over h1, h2 and h3.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use palisade_echo::mirror::{self, Mirror};
use palisade_translate::{Options, Translator, Upstream, translate};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint, Server};

use crate::cases::{Case, Table, summary, tables};

/// What the project promises to have.
const CASES_MIN: usize = 250;

#[tokio::test]
async fn every_case() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance");
    let tables = tables(&folder);
    let channel = serve().await;
    let mut cases = 0;
    let mut wrong = Vec::new();
    for table in &tables {
        let options = options(table);
        let translator = Translator::from_descriptor_set(mirror::DESCRIPTORS, options).unwrap();
        let translator = Arc::new(translator);
        let mut answers = Vec::new();
        for case in &table.cases {
            let called = Arc::new(AtomicBool::new(false));
            let calls = {
                let called = called.clone();
                InterceptedService::new(channel.clone(), move |call| {
                    called.store(true, Ordering::Relaxed);
                    Ok(call)
                })
            };
            let answer = ask(&translator, calls, case).await;
            // The service itself refuses nothing.
            assert!(
                !(answer.starts_with('4') && called.load(Ordering::Relaxed)),
                "a call that is answered {answer}"
            );
            answers.push(answer);
        }
        wrong.extend(table.settle(&answers, false));
        cases += table.cases.len();
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(cases >= CASES_MIN, "`{cases}` cases");
}

async fn ask(translator: &Arc<Translator>, service: impl Upstream, case: &Case) -> String {
    let mut request = Request::builder().method(&*case.method).uri(&*case.target);
    for (name, value) in case.headers() {
        request = request.header(name, value);
    }
    let body = Full::new(Bytes::from(case.body.clone()));
    let response = translate(translator, service, request.body(body).unwrap()).await;
    let (head, body) = response.into_parts();
    // The connection leaves the body of these out.
    let body = if case.method == "HEAD" {
        Bytes::new()
    } else {
        body.collect().await.unwrap().to_bytes()
    };
    let content_type = head.headers.get("content-type");
    let content_type = content_type.map(|value| value.to_str().unwrap());
    summary(head.status.as_u16(), content_type, &body)
}

async fn serve() -> Channel {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let incoming = TcpListenerStream::new(listener);
    tokio::spawn(
        Server::builder()
            .add_service(Mirror)
            .serve_with_incoming(incoming),
    );
    Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        .connect_lazy()
}

fn options(table: &Table) -> Options {
    let mut options = Options::default();
    let json = &mut options.json;
    for (key, value) in &table.translation {
        match (&**key, &**value) {
            ("default_values", "omit") => json.write_defaults = false,
            ("json_names", "proto") => json.proto_names = true,
            ("json_enums", "numbers") => json.enum_numbers = true,
            ("unknown_json_fields", "ignore") => json.ignore_unknown_fields = true,
            ("indented_json", "true") => json.is_indented = true,
            setting => panic!("{setting:?}"),
        }
    }
    options
}
