//! `palisade openapi`: what a host takes, as an OpenAPI document, by a folder of policies.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::ValueEnum;
use palisade_openapi::{Document, Info, document};
use palisade_policy::model::{Action, Policy, Route};

use super::{EXIT_NO, EXIT_USAGE, complain};
use crate::openapi::operations;
use crate::request_ctx::Now;
use crate::snapshot::Snapshot;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The policies folder.
    #[arg(default_value = "policies")]
    dir: PathBuf,
    /// Whose operations are described.
    #[arg(long, default_value = "localhost", value_name = "HOST")]
    host: String,
    /// Of the OpenAPI Specification; as the first route with `openapi` says where it is not given.
    #[arg(long, value_name = "VERSION")]
    version: Option<Version>,
    /// Instead of standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Version {
    #[value(name = "3.0")]
    V30,
    #[value(name = "3.1")]
    V31,
}

impl From<Version> for palisade_openapi::Version {
    fn from(version: Version) -> Self {
        match version {
            Version::V30 => Self::V3_0,
            Version::V31 => Self::V3_1,
        }
    }
}

pub(super) fn run(args: &Args) -> ExitCode {
    let policy = match palisade_policy::load(&args.dir) {
        Ok(loaded) => loaded.policy,
        Err(diagnostics) => {
            let _ = writeln!(anstream::stderr(), "{diagnostics}");
            return ExitCode::from(EXIT_NO);
        }
    };
    match described(policy, args).and_then(|made| written(&made, args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::from(EXIT_USAGE)
        }
    }
}

fn described(policy: Policy, args: &Args) -> anyhow::Result<Document> {
    let mut info = info(&policy);
    if let Some(version) = args.version {
        info.version = version.into();
    }
    let snapshot = Snapshot::offline(Arc::new(policy), None, Now::monotonic())?;
    let made = document(&info, &operations(&snapshot, &args.host));
    if made.operations == 0 {
        bail!(
            "no route translates anything for `{}`\nhint: name one of the `hosts` of the routes with --host",
            args.host
        );
    }
    Ok(made)
}

/// As the first route says that shows one.
fn info(policy: &Policy) -> Info {
    let mut routes = policy.routes.routes().map(Arc::as_ref);
    let shown = routes.find_map(|route: &Route| match &route.action {
        Action::OpenApi(info) => Some(info.clone()),
        _ => None,
    });
    shown.unwrap_or_else(|| Info {
        title: "API".to_owned(),
        api_version: "1".to_owned(),
        ..Info::default()
    })
}

fn written(made: &Document, args: &Args) -> anyhow::Result<()> {
    match &args.out {
        Some(path) => std::fs::write(path, &made.json)
            .with_context(|| format!("cannot write `{}`", path.display())),
        // A reader that has seen enough is no fault.
        None => {
            let _ = anstream::stdout().write_all(&made.json);
            Ok(())
        }
    }
}
