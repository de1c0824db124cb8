//! Starts `palisade-core`, makes certificates, speaks gRPC and HTTP to it.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, Once},
    thread,
    time::Duration,
};

use core_proto::{
    auth::v1::{
        LoginRequest, RefreshRequest, RegisterRequest, RegisterResponse, TokenResponse,
        auth_service_client::AuthServiceClient,
    },
    user::v1::{GetProfileRequest, Profile, user_service_client::UserServiceClient},
};
use core_testing::eventually;
use futures::{FutureExt, stream};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{sync::oneshot, task::JoinHandle};
use tonic::{
    Request, Response, Status,
    client::Grpc,
    transport::{Certificate, Channel, ClientTlsConfig, Identity},
};
use tonic_prost::ProstCodec;

pub(crate) const EDGE: &str = "spiffe://palisade.internal/svc/edge";
pub(crate) const EMAIL: &str = "ada.lovelace@example.org";
pub(crate) const PASSWORD: &str = "notes-on-the-engine";
const BREACHED: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../policies/services/breached-passwords.txt"
);
/// An answer that has not come by then never will.
const PATIENCE: Duration = Duration::from_secs(30);

/// A certificate authority of one test.
pub(crate) struct Ca {
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            pem,
            issuer: Issuer::new(params, key),
        }
    }

    /// Certificate and key for `localhost` and these URIs, as PEM.
    pub(crate) fn issue(&self, uris: &[&str]) -> (String, String) {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        for uri in uris {
            params
                .subject_alt_names
                .push(SanType::URI((*uri).try_into().unwrap()));
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

/// A directory with certificates in which processes are started, one after the other.
pub(crate) struct World {
    pub(crate) ca: Ca,
    pub(crate) dir: TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        static PROVIDER: Once = Once::new();
        PROVIDER.call_once(|| {
            rustls::crypto::aws_lc_rs::default_provider()
                .install_default()
                .unwrap();
        });
        let (ca, dir) = (Ca::new(), tempfile::tempdir().unwrap());
        fs::create_dir(dir.path().join("policies")).unwrap();
        let (certificate, key) = ca.issue(&["spiffe://palisade.internal/svc/core"]);
        for (name, text) in [
            ("core.pem", &certificate),
            ("core.key", &key),
            ("ca.pem", &ca.pem),
        ] {
            fs::write(dir.path().join(name), text).unwrap();
        }
        Self { ca, dir }
    }

    /// The command with an environment that holds our settings only.
    pub(crate) fn command(&self, subcommand: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_palisade-core"));
        command
            .env_clear()
            .env("CORE_GRPC", "127.0.0.1:0")
            .env("CORE_ADMIN", "127.0.0.1:0")
            .env("CORE_DATA_DIR", self.data_dir())
            .env("CORE_BREACHED_PASSWORDS", BREACHED)
            .env("CORE_DRAIN_DELAY", "0s")
            .env("CORE_POLICIES", self.policies())
            .env("CORE_TLS_CERT", self.dir.path().join("core.pem"))
            .env("CORE_TLS_KEY", self.dir.path().join("core.key"))
            .env("CORE_TLS_CA", self.dir.path().join("ca.pem"))
            .arg(subcommand);
        command
    }

    /// A folder of the services' policies; empty at first.
    pub(crate) fn policies(&self) -> PathBuf {
        self.dir.path().join("policies")
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub(crate) async fn start(&self) -> Core {
        self.start_with(&[]).await
    }

    /// Starts the process and waits until it is ready.
    pub(crate) async fn start_with(&self, arguments: &[&str]) -> Core {
        let mut command = self.command("all");
        command.args(arguments);
        Self::start_command(command).await
    }

    /// The same with a command of the caller's.
    pub(crate) async fn start_command(mut command: Command) -> Core {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = collect(child.stdout.take().unwrap());
        let errors = collect(child.stderr.take().unwrap());
        let listening = eventually("the listening line", async || {
            let lines = lines.lock().unwrap();
            let mut parsed = lines
                .iter()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok());
            parsed.find(|line| line["message"] == "listening")
        })
        .await;
        let address = |name: &str| listening[name].as_str().unwrap().parse().unwrap();
        let core = Core {
            grpc: address("grpc"),
            admin: address("admin"),
            child,
            lines,
            errors,
        };
        eventually("readiness", async || {
            (core.get("/ready").0 == 200).then_some(())
        })
        .await;
        core
    }

    /// A channel with a certificate that names these URIs.
    pub(crate) fn channel(&self, core: &Core, uris: &[&str]) -> Channel {
        let (certificate, key) = self.ca.issue(uris);
        let tls = self.tls().identity(Identity::from_pem(certificate, key));
        channel(core, tls)
    }

    /// Client settings that trust the server and present nothing.
    pub(crate) fn tls(&self) -> ClientTlsConfig {
        ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&self.ca.pem))
            .domain_name("localhost")
    }

    /// Clients that call as the edge.
    pub(crate) fn edge(&self, core: &Core) -> Clients {
        let channel = self.channel(core, &[EDGE]);
        Clients {
            auth: AuthServiceClient::new(channel.clone()),
            user: UserServiceClient::new(channel),
        }
    }
}

pub(crate) fn channel(core: &Core, tls: ClientTlsConfig) -> Channel {
    Channel::from_shared(format!("https://{}", core.grpc))
        .unwrap()
        .tls_config(tls)
        .unwrap()
        .connect_lazy()
}

type Lines = Arc<Mutex<Vec<String>>>;

fn collect(stream: impl Read + Send + 'static) -> Lines {
    let lines = Lines::default();
    let into = lines.clone();
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            into.lock().unwrap().push(line);
        }
    });
    lines
}

/// A running process; killed when dropped.
pub(crate) struct Core {
    pub(crate) grpc: SocketAddr,
    pub(crate) admin: SocketAddr,
    child: Child,
    lines: Lines,
    errors: Lines,
}

impl Core {
    /// One request to the admin listener: status, head, body.
    pub(crate) fn get(&self, path: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.admin).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (
            head[9..12].parse().unwrap(),
            head.to_ascii_lowercase(),
            body.to_owned(),
        )
    }

    pub(crate) fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.get(path).2).unwrap()
    }

    /// Waits until a line of `/metrics` says exactly this.
    pub(crate) async fn metric(&self, line: &str) {
        eventually(line, async || {
            self.get("/metrics")
                .2
                .lines()
                .any(|found| found == line)
                .then_some(())
        })
        .await;
    }

    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &id])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    /// The status with which the process ends.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let child = Mutex::new(&mut self.child);
        eventually("the end of the process", async || {
            child.lock().unwrap().try_wait().unwrap()
        })
        .await
    }

    pub(crate) fn output(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    pub(crate) fn errors(&self) -> Vec<String> {
        self.errors.lock().unwrap().clone()
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The edge's two clients with the calls the tests make most.
#[derive(Clone)]
pub(crate) struct Clients {
    pub(crate) auth: AuthServiceClient<Channel>,
    pub(crate) user: UserServiceClient<Channel>,
}

impl Clients {
    pub(crate) async fn register(&self, email: &str) -> Result<Response<RegisterResponse>, Status> {
        let request = RegisterRequest {
            email: email.to_owned(),
            password: PASSWORD.to_owned(),
            name: "Ada Lovelace".to_owned(),
        };
        self.auth.clone().register(request).await
    }

    pub(crate) async fn login(&self, email: &str, password: &str) -> Result<TokenResponse, Status> {
        let request = LoginRequest {
            email: email.to_owned(),
            password: password.to_owned(),
        };
        Ok(self.auth.clone().login(request).await?.into_inner())
    }

    pub(crate) async fn refresh(&self, token: &str) -> Result<TokenResponse, Status> {
        let request = RefreshRequest {
            refresh_token: token.to_owned(),
        };
        Ok(self.auth.clone().refresh(request).await?.into_inner())
    }

    pub(crate) async fn profile(&self, access: &str) -> Result<Profile, Status> {
        Ok(self
            .user
            .clone()
            .get_profile(with_token(GetProfileRequest {}, access))
            .await?
            .into_inner())
    }
}

pub(crate) fn with_token<T>(message: T, access: &str) -> Request<T> {
    let mut request = Request::new(message);
    let value = format!("Bearer {access}").parse().unwrap();
    request.metadata_mut().insert("authorization", value);
    request
}

/// The `ErrorInfo` reason of a refusal.
pub(crate) fn reason(status: &Status) -> String {
    use tonic_types::StatusExt;
    status
        .get_details_error_info()
        .map(|info| info.reason)
        .unwrap_or_default()
}

/// A registration whose message has not been sent yet: the call is in flight.
pub(crate) struct Held {
    pub(crate) send: oneshot::Sender<()>,
    pub(crate) answer: JoinHandle<Result<Response<RegisterResponse>, Status>>,
}

pub(crate) fn hold(channel: Channel) -> Held {
    let (send, sent) = oneshot::channel();
    let message = RegisterRequest {
        email: EMAIL.to_owned(),
        password: PASSWORD.to_owned(),
        name: "Ada".to_owned(),
    };
    let answer = tokio::spawn(async move {
        let mut client = Grpc::new(channel);
        client
            .ready()
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        // On the wire a unary call is a stream of one message; here it comes late.
        let messages = stream::once(sent.map(|_| message));
        let path = http::uri::PathAndQuery::from_static("/auth.v1.AuthService/Register");
        let codec = ProstCodec::<RegisterRequest, RegisterResponse>::default();
        client
            .client_streaming(Request::new(messages), path, codec)
            .await
    });
    Held { send, answer }
}
