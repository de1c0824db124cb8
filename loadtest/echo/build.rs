//! Compiles `proto/` into tonic code and one descriptor set with its imports.

use std::{env, error::Error, fs, path::Path};

use protox::Compiler;

const FILE: &str = "palisade/echo/v1/echo.proto";
/// No code is made of it: its service does not look at messages.
const MIRROR: &str = "palisade/mirror/v1/mirror.proto";
/// The options' schemas are those of the core services.
const INCLUDES: [&str; 2] = ["proto", "../../core-services/proto/proto"];

fn main() -> Result<(), Box<dyn Error>> {
    for folder in INCLUDES {
        println!("cargo:rerun-if-changed={folder}");
    }
    let out = env::var("OUT_DIR")?;
    let mut compiler = Compiler::new(INCLUDES)?;
    compiler
        .include_imports(true)
        .include_source_info(true)
        .open_file(FILE)?;
    let mut mirror = Compiler::new(INCLUDES)?;
    mirror.include_imports(true).open_file(MIRROR)?;
    fs::write(
        Path::new(&out).join("mirror.pb"),
        mirror.encode_file_descriptor_set(),
    )?;
    // Not `file_descriptor_set()`: prost's types drop the options they don't know.
    fs::write(
        Path::new(&out).join("echo.pb"),
        compiler.encode_file_descriptor_set(),
    )?;
    let mut set = compiler.file_descriptor_set();
    set.file.retain(|file| {
        file.name() == FILE
            || file.name() == "google/api/httpbody.proto"
            || file.name().starts_with("google/protobuf/")
    });
    let mut config = tonic_prost_build::Config::new();
    config.bytes(["."]);
    tonic_prost_build::configure().compile_fds_with_config(set, config)?;
    Ok(())
}
