//! `palisade-core` on an empty database, and connections to it as the edge has them.
//! Invariant: it is killed, and its folder goes, when the value is dropped.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command},
    time::Duration,
};

use anyhow::{Context, bail};
use core_proto::{
    auth::v1::auth_service_client::AuthServiceClient,
    user::v1::user_service_client::UserServiceClient,
};
use core_testing::{Postgres, eventually};
use serde_json::Value;
use tempfile::TempDir;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity};

use crate::{certificates::Authority, cpu};

/// As a few edges hold them; calls share them.
const CONNECTIONS: usize = 4;
/// Idle: less than this of a second of CPU time in a second.
const IDLE: Duration = Duration::from_millis(50);
/// Seconds until what the calls left behind (events, messages) has to be done.
const SETTLED_WITHIN: u32 = 120;

pub(crate) struct Service {
    child: Child,
    database: Option<u32>,
    channels: Vec<Channel>,
    _folder: TempDir,
}

/// What was used up until now.
#[derive(Clone, Copy)]
pub(crate) struct Used {
    pub(crate) service: Duration,
    /// Of the database's own processes.
    pub(crate) database: Duration,
}

/// The clients of one connection.
#[derive(Clone)]
pub(crate) struct Clients {
    pub(crate) auth: AuthServiceClient<Channel>,
    pub(crate) user: UserServiceClient<Channel>,
}

impl Service {
    pub(crate) async fn start(core: &Path, server: Option<&Postgres>) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let authority = Authority::new()?;
        let mut command = command(core, folder.path(), &authority)?;
        if let Some(server) = server {
            command.env("DATABASE_URL__IDENTITY", server.fresh());
            command.env("DATABASE_URL__EVENTS", server.fresh());
        }
        let child = command.spawn();
        let child = child.with_context(|| format!("cannot start `{}`", core.display()))?;
        let mut service = Self {
            child,
            database: server.and_then(|server| server.process_id()),
            channels: Vec::new(),
            _folder: folder,
        };
        let address = service.listening().await?;
        let (certificate, key) = authority.issue("edge")?;
        for _ in 0..CONNECTIONS {
            let tls = ClientTlsConfig::new()
                .ca_certificate(Certificate::from_pem(&authority.pem))
                .domain_name("localhost")
                .identity(Identity::from_pem(&certificate, &key));
            let endpoint = Channel::from_shared(format!("https://{address}"))?;
            service
                .channels
                .push(endpoint.tls_config(tls)?.connect().await?);
        }
        Ok(service)
    }

    /// The clients of the caller with this number.
    pub(crate) fn clients(&self, caller: usize) -> Clients {
        let channel = &self.channels[caller % self.channels.len()];
        Clients {
            auth: AuthServiceClient::new(channel.clone()),
            user: UserServiceClient::new(channel.clone()),
        }
    }

    pub(crate) fn used(&self) -> anyhow::Result<Used> {
        let database = self.database.map(cpu::of).transpose()?;
        Ok(Used {
            service: cpu::of(self.child.id())?,
            database: database.unwrap_or_default(),
        })
    }

    /// Waits until nothing is being done any more.
    pub(crate) async fn settle(&self) -> anyhow::Result<()> {
        let mut before = self.used()?;
        for _ in 0..SETTLED_WITHIN {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let now = self.used()?;
            let service = now.service.saturating_sub(before.service);
            let database = now.database.saturating_sub(before.database);
            if service + database < IDLE {
                return Ok(());
            }
            before = now;
        }
        bail!("still busy {SETTLED_WITHIN} s after the last call")
    }

    /// The address that it tells in its log.
    async fn listening(&mut self) -> anyhow::Result<String> {
        let file = log(self._folder.path());
        eventually("the listening line", async || {
            let said = fs::read_to_string(&file).unwrap_or_default();
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(Err(anyhow::anyhow!("palisade-core: {status}: {said}")));
            }
            let mut lines = said
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let line = lines.find(|line| line["message"] == "listening")?;
            line["grpc"].as_str().map(|address| Ok(address.to_owned()))
        })
        .await
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// With the settings that it has by itself, limits included.
fn command(core: &Path, folder: &Path, authority: &Authority) -> anyhow::Result<Command> {
    let (certificate, key) = authority.issue("core")?;
    let mut command = Command::new(core);
    command
        .arg("all")
        .env_clear()
        .env("CORE_GRPC", "127.0.0.1:0")
        .env("CORE_ADMIN", "127.0.0.1:0")
        .env("CORE_DATA_DIR", folder.join("data"));
    for (variable, name, text) in [
        ("CORE_TLS_CERT", "core.pem", &certificate),
        ("CORE_TLS_KEY", "core.key", &key),
        ("CORE_TLS_CA", "ca.pem", &authority.pem),
    ] {
        let file = folder.join(name);
        fs::write(&file, text)?;
        command.env(variable, file);
    }
    // A line for each call, as in production.
    let output = File::create(log(folder))?;
    command.stdout(output.try_clone()?).stderr(output);
    Ok(command)
}

fn log(folder: &Path) -> PathBuf {
    folder.join("log")
}
