//! `palisade run`: log, worker threads and signals around a serving edge.

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::{EXIT_USAGE, complain};
use crate::config::RunArgs;
use crate::server::Edge;

pub(super) fn run(args: RunArgs) -> ExitCode {
    let filter = match EnvFilter::try_new(&args.log) {
        Ok(filter) => filter,
        Err(error) => {
            complain(&anyhow::anyhow!("--log `{}`: {error}", args.log));
            return ExitCode::from(EXIT_USAGE);
        }
    };
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_env_filter(filter)
        .init();
    let runtime = runtime(args.worker_threads());
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&anyhow::anyhow!("cannot start worker threads: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let served = runtime.block_on(async {
        let edge = match Edge::prepare(args).await {
            Ok(edge) => edge,
            Err(error) => {
                complain(&error);
                return ExitCode::from(EXIT_USAGE);
            }
        };
        match tokio::spawn(edge.run(stop_signal())).await {
            Ok(Ok(_)) => ExitCode::SUCCESS,
            Ok(Err(error)) => {
                complain(&error);
                ExitCode::FAILURE
            }
            Err(error) => {
                complain(&anyhow::anyhow!("edge ended: {error}"));
                ExitCode::FAILURE
            }
        }
    });
    // What is left are connections past the drain deadline.
    runtime.shutdown_background();
    served
}

/// With one thread, tasks run in the order in which they were woken. The multi-threaded scheduler
/// runs the task woken last at once, so each frame of an h2 connection would be written alone
/// (DECISIONS.md, 12).
fn runtime(threads: usize) -> std::io::Result<tokio::runtime::Runtime> {
    use tokio::runtime::Builder;
    if threads == 1 {
        return Builder::new_current_thread().enable_all().build();
    }
    Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("edge")
        .enable_all()
        .build()
}

/// SIGTERM or SIGINT; a second one ends the process at once. Registered before anything is
/// served: a signal that came earlier than its handler would kill the process.
fn stop_signal() -> impl Future<Output = ()> {
    let signals = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    );
    async move {
        let (Ok(mut terminate), Ok(mut interrupt)) = signals else {
            return std::future::pending().await;
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            std::process::exit(130);
        });
    }
}
