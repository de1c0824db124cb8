//! The commands under `palisade-core ops` and their flags.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use core_platform::{
    clock::UnixMicros,
    crypto::{self, Vault},
    db::Db,
};
use uuid::Uuid;

use crate::{
    databases::{StoreFlags, Stores},
    services::Service,
};

#[derive(Subcommand)]
pub(crate) enum OpsCommand {
    /// Give a user a role: how the first `admin` comes to be
    GrantRole(GrantRoleFlags),
    /// Make the next key of access tokens
    RotateSigningKey(RotateFlags),
    /// Events that consumers gave up
    #[command(subcommand)]
    DeadLetters(DeadLettersCommand),
    /// Work for later
    #[command(subcommand)]
    Jobs(JobsCommand),
    /// Work of several services
    #[command(subcommand)]
    Sagas(SagasCommand),
    /// Who did what, and whether it was touched since
    #[command(subcommand)]
    Audit(AuditCommand),
    /// What waits, what died, what runs
    Status(StatusFlags),
}

#[derive(Subcommand)]
pub(crate) enum AuditCommand {
    /// Walk the whole audit log and print its head, to be kept elsewhere
    Verify(VerifyFlags),
}

#[derive(Subcommand)]
pub(crate) enum DeadLettersCommand {
    /// Show them, the oldest first
    List(ListLettersFlags),
    /// Let the consumer try them again
    Replay(LettersFlags),
    /// Delete them for good
    Purge(LettersFlags),
}

#[derive(Subcommand)]
pub(crate) enum JobsCommand {
    /// Show them, the newest first
    List(ListJobsFlags),
    /// Run one again that failed, or one that waits at once
    Retry(RetryFlags),
}

#[derive(Subcommand)]
pub(crate) enum SagasCommand {
    /// Show them, the newest first
    List(ListSagasFlags),
}

#[derive(Args)]
pub(crate) struct GrantRoleFlags {
    /// The user's e-mail address
    #[arg(value_name = "EMAIL")]
    pub(crate) email: String,
    /// One of rbac.yaml
    #[arg(value_name = "ROLE")]
    pub(crate) role: String,
    #[command(flatten)]
    pub(crate) keyring: KeyRingFlags,
    /// The services' policies
    #[arg(
        long,
        env = "CORE_POLICIES",
        default_value = "policies/services",
        value_name = "DIR"
    )]
    pub(crate) policies: PathBuf,
    #[command(flatten)]
    pub(crate) stores: StoreFlags,
}

#[derive(Args)]
pub(crate) struct RotateFlags {
    /// It signs at once, and all access tokens of the keys before are dead
    #[arg(long)]
    pub(crate) compromised: bool,
    #[command(flatten)]
    pub(crate) keyring: KeyRingFlags,
    #[command(flatten)]
    pub(crate) stores: StoreFlags,
}

/// For what is written into the audit log.
#[derive(Args)]
pub(crate) struct KeyRingFlags {
    /// Keys that wrap the data keys of personal data [default: those in the data directory]
    #[arg(long, env = "CORE_KEYRING_FILE", value_name = "FILE")]
    pub(crate) keyring: Option<PathBuf>,
}

impl KeyRingFlags {
    pub(super) async fn vault(
        &self,
        db: &Db,
        stores: &Stores,
        now: UnixMicros,
    ) -> Result<Vault, crypto::Error> {
        Vault::open(db, (self.keyring.as_deref(), stores.data_dir()), now).await
    }
}

/// What all lists have.
#[derive(Args)]
pub(crate) struct ListFlags {
    /// Whose
    #[arg(long, value_name = "SERVICE")]
    pub(crate) service: Service,
    /// How many at most
    #[arg(long, default_value = "50", value_name = "N", value_parser = clap::value_parser!(i64).range(1..=200))]
    pub(crate) limit: i64,
    /// Print JSON instead of a table
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) stores: StoreFlags,
}

#[derive(Args)]
pub(crate) struct ListLettersFlags {
    /// Only those of this consumer
    #[arg(long, value_name = "NAME")]
    pub(crate) consumer: Option<String>,
    /// Only those behind this one: the last `seq` of the list before
    #[arg(long, default_value = "0", value_name = "SEQ")]
    pub(crate) after: i64,
    #[command(flatten)]
    pub(crate) list: ListFlags,
}

#[derive(Args)]
pub(crate) struct LettersFlags {
    /// Whose
    #[arg(long, value_name = "SERVICE")]
    pub(crate) service: Service,
    /// The consumer that gave them up
    #[arg(long, value_name = "NAME")]
    pub(crate) consumer: String,
    #[command(flatten)]
    pub(crate) which: WhichFlags,
    #[command(flatten)]
    pub(crate) keyring: KeyRingFlags,
    #[command(flatten)]
    pub(crate) stores: StoreFlags,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
pub(crate) struct WhichFlags {
    /// These events, comma-separated
    #[arg(long = "event", value_delimiter = ',', value_name = "IDS")]
    pub(crate) events: Vec<Uuid>,
    /// All that this consumer gave up
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Args)]
pub(crate) struct ListJobsFlags {
    /// Only those that are `queued`, `running`, `done` or `failed`
    #[arg(long, value_parser = ["queued", "running", "done", "failed"], value_name = "STATE")]
    pub(crate) state: Option<String>,
    /// Only those of this kind
    #[arg(long, value_name = "KIND")]
    pub(crate) kind: Option<String>,
    /// Only those older than this one: the last of the list before
    #[arg(long, value_name = "ID")]
    pub(crate) before: Option<Uuid>,
    #[command(flatten)]
    pub(crate) list: ListFlags,
}

#[derive(Args)]
pub(crate) struct RetryFlags {
    /// The job
    #[arg(value_name = "ID")]
    pub(crate) id: Uuid,
    /// Whose
    #[arg(long, value_name = "SERVICE")]
    pub(crate) service: Service,
    #[command(flatten)]
    pub(crate) keyring: KeyRingFlags,
    #[command(flatten)]
    pub(crate) stores: StoreFlags,
}

#[derive(Args)]
pub(crate) struct ListSagasFlags {
    /// Only those that are `running`, `compensating`, `done` or `failed`
    #[arg(long, value_parser = ["running", "compensating", "done", "failed"], value_name = "STATUS")]
    pub(crate) status: Option<String>,
    /// Only those older than this one: the last of the list before
    #[arg(long, value_name = "ID")]
    pub(crate) before: Option<Uuid>,
    #[command(flatten)]
    pub(crate) list: ListFlags,
}

#[derive(Args)]
pub(crate) struct VerifyFlags {
    /// Whose
    #[arg(long, value_name = "SERVICE")]
    pub(crate) service: Service,
    /// A file with a head that was printed before, which the log must still have
    #[arg(long, value_name = "FILE")]
    pub(crate) anchor: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) keyring: KeyRingFlags,
    #[command(flatten)]
    pub(crate) stores: StoreFlags,
}

#[derive(Args)]
pub(crate) struct StatusFlags {
    /// Only of this one
    #[arg(long, value_name = "SERVICE")]
    pub(crate) service: Option<Service>,
    /// Print JSON instead of a table
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) stores: StoreFlags,
}
