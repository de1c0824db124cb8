//! `palisade-core`, serving in one of its layouts, and its other commands on the same data.
//!
//! Invariant: what runs past one machine stands on real servers of the test's own: PostgreSQL, NATS
//! and Redis, with the key ring in a file of its own.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use core_testing::{Nats, Postgres, Redis};
use tokio::process::Command;

use super::files::Files;
use super::process::Process;
use super::waiting::until;
use super::{EDGE, address, get, listening};

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
/// Of the role in PostgreSQL; marked as a password, so that a log that holds it fails the test.
const DATABASE_PASSWORD: &str = "open-sesame-identity";
/// base64 of 32 bytes; what is sealed under it is a test's.
const KEYRING: &str = "k1:cGFsaXNhZGUtdGVzdHMtcGFsaXNhZGUtdGVzdHMtISE=\n";

/// How the core services run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// One process with SQLite and events in SQL.
    Single,
    /// A process for each service, with PostgreSQL, NATS and Redis.
    Split,
    /// Two of them for each service.
    Replicas,
}

impl Layout {
    fn replicas(self) -> usize {
        match self {
            Self::Single | Self::Split => 1,
            Self::Replicas => 2,
        }
    }
}

/// What the services stand on past one machine.
pub(crate) struct Servers {
    pub(crate) postgres: Postgres,
    pub(crate) nats: Nats,
    pub(crate) redis: Redis,
}

impl Servers {
    fn start() -> Self {
        Self {
            postgres: Postgres::start(),
            nats: Nats::start(),
            redis: Redis::start(),
        }
    }

    fn database(&self) -> String {
        let port = self.postgres.port();
        format!("postgres://identity:{DATABASE_PASSWORD}@127.0.0.1:{port}/identity")
    }
}

/// One process that serves.
pub(crate) struct Core {
    pub(crate) grpc: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) process: Process,
}

/// All of them, and what they stand on.
pub(crate) struct Cores {
    pub(crate) layout: Layout,
    /// The only one, or the first replica.
    pub(crate) first: Core,
    pub(crate) others: Vec<Core>,
    pub(crate) servers: Option<Servers>,
}

impl Cores {
    pub(super) async fn start(layout: Layout, files: &Files) -> Self {
        let servers = match layout {
            Layout::Single => None,
            Layout::Split | Layout::Replicas => Some(Servers::start()),
        };
        if let Some(servers) = &servers {
            let ring = keyring(files);
            fs::create_dir_all(ring.parent().expect("a folder")).expect("a folder");
            fs::write(&ring, KEYRING).expect("the folder is ours");
            fs::set_permissions(&ring, fs::Permissions::from_mode(0o600)).expect("ours");
            let mut migrate = command(files, Some(servers), "migrate");
            migrate.args(["--create-with", &servers.postgres.admin_url()]);
            run(migrate).await;
        }
        let first = serve(layout, files, servers.as_ref(), (ANY, ANY)).await;
        let mut others = Vec::new();
        for _ in 1..layout.replicas() {
            others.push(serve(layout, files, servers.as_ref(), (ANY, ANY)).await);
        }
        Self {
            layout,
            first,
            others,
            servers,
        }
    }

    /// On the same data and the same ports.
    pub(super) async fn restart_first(&mut self, files: &Files) {
        let core = &mut self.first;
        *core = serve(
            self.layout,
            files,
            self.servers.as_ref(),
            (core.grpc, core.admin),
        )
        .await;
    }

    pub(super) async fn restart(&mut self, files: &Files) {
        self.restart_first(files).await;
        for core in &mut self.others {
            *core = serve(
                self.layout,
                files,
                self.servers.as_ref(),
                (core.grpc, core.admin),
            )
            .await;
        }
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Core> {
        std::iter::once(&self.first).chain(&self.others)
    }

    pub(super) fn all_mut(&mut self) -> impl Iterator<Item = &mut Core> {
        std::iter::once(&mut self.first).chain(&mut self.others)
    }

    /// The name in the certificates of the processes.
    pub(super) fn name(&self) -> &'static str {
        certificate(self.layout)
    }

    /// `palisade-core NAME` on the same databases, to its good end. Returns what it printed.
    pub(crate) async fn command(&self, files: &Files, name: &str, arguments: &[&str]) -> String {
        let mut command = command(files, self.servers.as_ref(), name);
        command.args(arguments);
        run(command).await
    }
}

/// All services in one process show one certificate, each in its own shows its own.
fn certificate(layout: Layout) -> &'static str {
    match layout {
        Layout::Single => "core",
        Layout::Split | Layout::Replicas => "identity",
    }
}

fn keyring(files: &Files) -> PathBuf {
    files.core_data().with_file_name("keyring")
}

/// A command that finds the data of these files.
fn command(files: &Files, servers: Option<&Servers>, name: &str) -> Command {
    let mut command = Command::new(binary());
    // `pg_dump` and its like are looked up.
    let path = std::env::var_os("PATH").unwrap_or_default();
    command.env_clear().env("PATH", path);
    command.env("CORE_DATA_DIR", files.core_data());
    if let Some(servers) = servers {
        command.env("DATABASE_URL__IDENTITY", servers.database());
        command.env("NATS_URL", servers.nats.url());
        command.env("REDIS_URL", servers.redis.url());
        command.env("CORE_KEYRING_FILE", keyring(files));
    }
    command.env("CORE_POLICIES", files.policies().join("services"));
    command.args(name.split(' '));
    command
}

async fn run(mut command: Command) -> String {
    let output = command.output().await.expect("palisade-core starts");
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {complaints}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

async fn serve(
    layout: Layout,
    files: &Files,
    servers: Option<&Servers>,
    (grpc, admin): (SocketAddr, SocketAddr),
) -> Core {
    let what = match layout {
        Layout::Single => "all",
        Layout::Split | Layout::Replicas => "serve identity",
    };
    let mut command = command(files, servers, what);
    command.args(["--grpc", &grpc.to_string(), "--admin", &admin.to_string()]);
    command.args(["--log", files.log, "--drain-delay", "0s"]);
    let breached = files.policies().join("services/breached-passwords.txt");
    command.arg("--breached-passwords").arg(breached);
    command.args(&files.core_arguments);
    let (certs, name) = (files.certs(), certificate(layout));
    command
        .arg("--tls-cert")
        .arg(certs.join(format!("mesh/{name}.pem")));
    command
        .arg("--tls-key")
        .arg(certs.join(format!("mesh/{name}.key")));
    command.arg("--tls-ca").arg(certs.join("ca.pem"));
    let process = Process::spawn("palisade-core", command);
    let line = listening(&process).await;
    let admin = address(&line, "admin");
    until("the core to be ready", || async {
        (get(admin, "/ready").await.0 == 200).then_some(())
    })
    .await;
    Core {
        grpc: address(&line, "grpc"),
        admin,
        process,
    }
}

/// Beside the edge, where cargo puts all binaries of a workspace.
fn binary() -> PathBuf {
    let path = PathBuf::from(EDGE).with_file_name("palisade-core");
    assert!(
        path.exists(),
        "palisade-core is not built: run `cargo build --bin palisade-core`"
    );
    path
}
