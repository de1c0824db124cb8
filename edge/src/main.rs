//! `palisade`: the edge and its operator's commands.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    palisade_edge::crypto::install();
    palisade_edge::commands::run()
}
