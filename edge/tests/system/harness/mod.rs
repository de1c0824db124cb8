//! The system under test: `palisade-core`, `palisade` in front of it, and their files.
//!
//! Invariant: a test ends by `System::end` or its parts, which demand a clean end of both programs
//! and that nothing they printed since the start holds a secret.

pub(crate) mod core;
pub(crate) mod files;
pub(crate) mod process;
#[path = "../../it/harness/waiting.rs"]
pub(crate) mod waiting;

use std::net::SocketAddr;
use std::sync::Once;

use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustix::process::Signal;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::process::Command;

use self::core::{Cores, Layout};
use crate::accounts::Secrets;
use crate::client::{Client, Protocol};
use files::{CLUSTERS, Files, ISSUERS};
use process::{Output, Process};
use waiting::within;

const EDGE: &str = env!("CARGO_BIN_EXE_palisade");
/// Where the shipped policies look for the core services.
const SHIPPED_GRPC: &str = "127.0.0.1:50051";
const SHIPPED_JWKS: &str = "127.0.0.1:8100";
/// What the certificate of all services in one process says.
const SHIPPED_NAME: &str = "core.palisade.internal";

/// A running `palisade run`.
pub(crate) struct Edge {
    pub(crate) http: SocketAddr,
    pub(crate) https: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) process: Process,
}

pub(crate) struct System {
    pub(crate) edge: Edge,
    pub(crate) cores: Cores,
    pub(crate) files: Files,
    pub(crate) secrets: Secrets,
    /// Of every program ever started here.
    outputs: Vec<Output>,
}

impl System {
    /// With the shipped policies as they are, but for the ports.
    pub(crate) async fn start() -> Self {
        Self::start_with(Files::new()).await
    }

    /// With limits that no test reaches.
    pub(crate) async fn start_unlimited() -> Self {
        let files = Files::new();
        files.lift_limits();
        Self::start_with(files).await
    }

    /// With all that both programs and their libraries can log.
    pub(crate) async fn start_verbose() -> Self {
        let mut files = Files::new();
        files.log = "trace";
        Self::start_with(files).await
    }

    /// With policies of the test's own making.
    pub(crate) async fn start_with(files: Files) -> Self {
        Self::start_in(Layout::Single, files).await
    }

    /// With the core services laid out so.
    pub(crate) async fn start_in(layout: Layout, files: Files) -> Self {
        static PROVIDER: Once = Once::new();
        PROVIDER.call_once(|| {
            let installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
            assert!(installed.is_ok(), "nothing else chooses the provider");
        });
        let cores = Cores::start(layout, &files).await;
        let addresses: Vec<_> = cores.all().map(|one| format!("\"{}\"", one.grpc)).collect();
        let shipped = format!("\"{SHIPPED_GRPC}\"");
        files.rewrite(CLUSTERS, &shipped, &addresses.join(", "));
        let name = format!("{}.palisade.internal", cores.name());
        files.rewrite(CLUSTERS, SHIPPED_NAME, &name);
        files.rewrite(ISSUERS, SHIPPED_JWKS, &cores.first.admin.to_string());
        let edge = start_edge(&files).await;
        let mut outputs: Vec<_> = cores
            .all()
            .map(|one| one.process.output().clone())
            .collect();
        outputs.push(edge.process.output().clone());
        Self {
            edge,
            cores,
            files,
            secrets: Secrets::default(),
            outputs,
        }
    }

    pub(crate) async fn client(&self, protocol: Protocol) -> Client {
        Client::connect(protocol, &self.edge).await
    }

    /// SIGKILL: no time to write anything down.
    pub(crate) async fn kill_core(&mut self) {
        self.cores.first.process.signal(Signal::KILL);
        assert_eq!(self.cores.first.process.ended().await, None, "killed");
    }

    /// On the same data and the same ports.
    pub(crate) async fn restart_core(&mut self) {
        self.cores.restart_first(&self.files).await;
        self.outputs.push(self.cores.first.process.output().clone());
    }

    /// All of them, after their end.
    pub(crate) async fn restart_cores(&mut self) {
        self.cores.restart(&self.files).await;
        let restarted = self.cores.all().map(|one| one.process.output().clone());
        self.outputs.extend(restarted);
    }

    /// End the edge and start another on the same files; its ports are new.
    pub(crate) async fn restart_edge(&mut self) {
        self.edge.process.signal(Signal::TERM);
        assert_eq!(
            self.edge.process.ended().await,
            Some(0),
            "the edge ends well"
        );
        self.edge = start_edge(&self.files).await;
        self.outputs.push(self.edge.process.output().clone());
    }

    /// Body and status of a page of the edge's admin listener.
    pub(crate) async fn admin(&self, path: &str) -> (u16, String) {
        get(self.edge.admin, path).await
    }

    /// The same of the first core's.
    pub(crate) async fn core_page(&self, path: &str) -> (u16, String) {
        get(self.cores.first.admin, path).await
    }

    /// `status` of `/policy`.
    pub(crate) async fn policy_status(&self) -> Value {
        let (code, text) = self.admin("/policy").await;
        assert_eq!(code, 200);
        serde_json::from_str::<Value>(&text).expect("JSON")["status"].clone()
    }

    /// Ends both, the edge first, and looks through what they printed.
    pub(crate) async fn end(mut self) {
        self.edge.process.signal(Signal::TERM);
        assert_eq!(
            self.edge.process.ended().await,
            Some(0),
            "the edge ends well"
        );
        self.end_core().await;
        self.assert_clean();
    }

    pub(crate) async fn end_core(&mut self) {
        for core in self.cores.all_mut() {
            core.process.signal(Signal::TERM);
            assert_eq!(core.process.ended().await, Some(0), "the core ends well");
        }
    }

    /// Nothing on standard error, and no secret anywhere.
    pub(crate) fn assert_clean(&self) {
        for output in &self.outputs {
            assert_eq!(output.complaints(), "", "nothing on standard error");
            let text = output.text();
            assert!(text.contains("listening"), "the log was read");
            self.secrets.assert_absent(&text);
        }
    }
}

async fn start_edge(files: &Files) -> Edge {
    let mut command = Command::new(EDGE);
    command.env_clear().arg("run").args(["--threads", "2"]);
    for listener in ["--http", "--https", "--admin"] {
        command.args([listener, "127.0.0.1:0"]);
    }
    command.args(["--log", files.log]);
    command.arg("--policies").arg(files.policies());
    command.arg("--certs").arg(files.certs());
    command.arg("--state").arg(files.edge_state());
    let process = Process::spawn("palisade", command);
    let line = listening(&process).await;
    Edge {
        http: address(&line, "http"),
        https: address(&line, "https"),
        admin: address(&line, "admin"),
        process,
    }
}

async fn listening(process: &Process) -> Value {
    let wanted = |line: &Value| line["message"] == "listening";
    process.output().entry(0, "it listens", wanted).await
}

fn address(line: &Value, field: &str) -> SocketAddr {
    let text = line[field].as_str().expect("an address");
    text.parse().expect("an address")
}

/// One request to an admin listener.
pub(crate) async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let exchange = async {
        let socket = TcpStream::connect(address).await.expect("a connection");
        let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
        tokio::spawn(connection);
        let request = Request::get(path).header("host", "admin");
        let request = request.body(Empty::<&[u8]>::new()).expect("a request");
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await?.to_bytes();
        Ok::<_, hyper::Error>((status, String::from_utf8_lossy(&body).into_owned()))
    };
    let answer = within(format!("the admin listener's {path}"), exchange).await;
    answer.expect("the admin listener answers")
}
