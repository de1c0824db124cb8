//! Compiles `proto/` with protox into tonic code and one descriptor set.
//! Invariant: the set holds every import and keeps the options (HTTP bindings,
//! input rules, access), because the edge and the services decide from them.

use std::{env, error::Error, fs, path::Path};

use protox::Compiler;

const FILES: [&str; 2] = ["auth/v1/auth.proto", "user/v1/user.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let out = env::var("OUT_DIR")?;

    let mut compiler = Compiler::new(["proto"])?;
    compiler
        .include_imports(true)
        .include_source_info(false)
        .open_files(FILES)?;
    // Not `file_descriptor_set()`: prost's types drop the options they don't know.
    fs::write(
        Path::new(&out).join("core.pb"),
        compiler.encode_file_descriptor_set(),
    )?;

    let mut config = tonic_prost_build::Config::new();
    config.enable_type_names();
    tonic_prost_build::configure()
        // Their `Debug` is written by hand: these messages carry secrets.
        .skip_debug([
            ".auth.v1.RegisterRequest",
            ".auth.v1.LoginRequest",
            ".auth.v1.RefreshRequest",
            ".auth.v1.TokenResponse",
            ".auth.v1.ChangePasswordRequest",
        ])
        .compile_fds_with_config(own_files(&compiler), config)?;
    Ok(())
}

/// The files to make code of, and the well-known types their fields name: prost
/// has those already. Options' schemas are only read through the descriptors.
fn own_files(compiler: &Compiler) -> tonic_prost_build::FileDescriptorSet {
    let mut set = compiler.file_descriptor_set();
    set.file
        .retain(|file| FILES.contains(&file.name()) || file.name().starts_with("google/protobuf/"));
    set
}
