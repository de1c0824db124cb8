//! What identity's calls cost, on SQLite and on PostgreSQL, and how profile reads fare while
//! everybody signs in.
//!
//! Starts `palisade-core` and the databases itself, calls it as the edge does (gRPC, mutual
//! TLS), and prints Markdown. Cost is CPU time: on the same machine the callers take their
//! share of the clock, and none of that.

mod certificates;
mod cpu;
mod measure;
mod people;
mod report;
mod service;
mod storm;
mod worker;

use std::{io::Write, path::PathBuf, time::Duration};

use anyhow::Context;
use argon2::password_hash::PasswordHasher;
use clap::Parser;
use core_testing::Postgres;

use measure::{Measured, measure};
use people::People;
use service::Service;
use storm::Storm;
use worker::Kind;

/// Callers at a time.
const LEVELS: [usize; 3] = [1, 16, 64];
/// Who signs in without pause while others read: as many as the queue of passwords takes on two
/// cores, and more than that on eight.
const STORMS: [usize; 3] = [0, 64, 128];
/// Enough of them for a hundredth of a second, which is what the kernel tells, not to matter.
const HASHES: u32 = 50;

#[derive(Debug, Parser)]
#[command(about = "Measure identity on SQLite and on PostgreSQL, print Markdown")]
struct Args {
    /// The `palisade-core` to measure: a release build.
    core: PathBuf,
    /// Length of each measurement.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=300))]
    seconds: u64,
    /// Accounts to be made. Few would have many sessions each, and nobody has.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(128..=4096))]
    people: u32,
    /// Only the reads while others sign in.
    #[arg(long)]
    storms: bool,
}

/// All figures of one database.
struct Figures {
    database: &'static str,
    calls: Vec<(Kind, Vec<Measured>)>,
    storms: Vec<Storm>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .ok()
        .context("another provider of cryptography is there already")?;
    let hash = hash_cost()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let figures = runtime.block_on(async {
        let sqlite = figures(&args, "SQLite", None).await?;
        let server = Postgres::start_durable();
        let postgresql = figures(&args, "PostgreSQL", Some(&server)).await?;
        anyhow::Ok([sqlite, postgresql])
    })?;
    let text = report::markdown(&figures, hash);
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

async fn figures(
    args: &Args,
    database: &'static str,
    server: Option<&Postgres>,
) -> anyhow::Result<Figures> {
    let length = Duration::from_secs(args.seconds);
    let service = Service::start(&args.core, server).await?;
    progress(database, "registration")?;
    let people = People::register(&service, args.people).await?;
    let mut calls = Vec::new();
    for kind in Kind::ALL.into_iter().filter(|_| !args.storms) {
        let mut levels = Vec::new();
        for callers in LEVELS {
            progress(database, &format!("{} by {callers}", kind.name()))?;
            levels.push(measure(&service, &people, kind, callers, length).await?);
        }
        calls.push((kind, levels));
    }
    let mut storms = Vec::new();
    for callers in STORMS {
        progress(database, &format!("storm of {callers}"))?;
        storms.push(storm::run(&service, &people, callers, length).await?);
    }
    Ok(Figures {
        database,
        calls,
        storms,
    })
}

/// CPU time of one bare argon2id hash, with identity's parameters.
fn hash_cost() -> anyhow::Result<Duration> {
    let argon2 = core_identity::argon2id()?;
    let before = cpu::of(std::process::id())?;
    for _ in 0..HASHES {
        argon2.hash_password(b"what a login checks")?;
    }
    let taken = cpu::of(std::process::id())?.saturating_sub(before);
    Ok(taken / HASHES)
}

fn progress(database: &str, what: &str) -> std::io::Result<()> {
    writeln!(std::io::stderr(), "{database}: {what}")
}
