//! Compiles `proto/` with protox into tonic code and one descriptor set.
//! Comments are kept of our own files: descriptions of the API are made of them.
//! Invariant: the set holds every import and keeps the options (HTTP bindings,
//! input rules, access), because the edge and the services decide from them.

use std::{env, error::Error, fs, path::Path};

use prost::{DecodeError, Message};
use protox::Compiler;

const FILES: &[&str] = &[
    "auth/v1/auth.proto",
    "auth/v1/credential.proto",
    "auth/v1/keys.proto",
    "platform/v1/event.proto",
    "platform/v1/ops.proto",
    "user/v1/user.proto",
    "user/v1/admin.proto",
];
/// Google's, but a message that our RPCs speak.
const HTTP_BODY: &str = "google/api/httpbody.proto";
/// Among the services only: no RPC speaks these, so the edge's descriptors go without.
const INTERNAL_FILES: &[&str] = &[
    // A line for each, as `new-service` adds them.
    "auth/v1/events.proto",
    "user/v1/events.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let out = env::var("OUT_DIR")?;

    let compiler = compiled(FILES, false)?;
    fs::write(
        Path::new(&out).join("core.pb"),
        with_own_comments(&compiler, &compiled(FILES, true)?)?,
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
            ".auth.v1.StartPasswordResetRequest",
            ".auth.v1.FinishPasswordResetRequest",
            ".auth.v1.VerifyContactRequest",
            ".auth.v1.ResendVerificationRequest",
            ".auth.v1.ChangeContactRequest",
            ".auth.v1.Session",
            ".auth.v1.CompleteMfaRequest",
            ".auth.v1.BeginPasskeyRegistrationResponse",
            ".auth.v1.FinishPasskeyRegistrationRequest",
            ".auth.v1.BeginPasskeyLoginResponse",
            ".auth.v1.FinishPasskeyLoginRequest",
            ".auth.v1.Credential",
            ".auth.v1.EnrollTotpResponse",
            ".auth.v1.ConfirmTotpRequest",
            ".auth.v1.RecoveryCodes",
            ".auth.v1.StartOidcResponse",
            ".auth.v1.FinishOidcRequest",
            ".auth.v1.ApiKey",
            ".auth.v1.CreateApiKeyRequest",
            ".auth.v1.CreateApiKeyResponse",
            ".auth.v1.IntrospectRequest",
            ".auth.v1.IntrospectResponse",
            ".google.api.HttpBody",
            ".user.v1.UpdateProfileRequest",
            ".user.v1.ListUsersRequest",
            ".user.v1.Profile",
            ".user.v1.User",
            ".platform.v1.Event",
        ])
        .compile_fds_with_config(
            own_files(&compiled(&[FILES, INTERNAL_FILES].concat(), false)?),
            config,
        )?;
    Ok(())
}

fn compiled(files: &[&str], comments: bool) -> Result<Compiler, protox::Error> {
    let mut compiler = Compiler::new(["proto"])?;
    compiler
        .include_imports(true)
        .include_source_info(comments)
        .open_files(files)?;
    Ok(compiler)
}

/// A `google.protobuf.FileDescriptorSet` whose files are not looked into.
#[derive(Clone, PartialEq, Message)]
struct FileSet {
    #[prost(bytes = "vec", repeated, tag = "1")]
    file: Vec<Vec<u8>>,
}

/// The comments of imports would be ten times what the services say themselves. Not
/// `file_descriptor_set()`: prost's types drop the options they don't know.
fn with_own_comments(bare: &Compiler, commented: &Compiler) -> Result<Vec<u8>, DecodeError> {
    let mut set = FileSet::decode(&*bare.encode_file_descriptor_set())?;
    let commented_set = FileSet::decode(&*commented.encode_file_descriptor_set())?;
    let files = set.file.iter_mut().zip(commented_set.file);
    for ((file, with_comments), metadata) in files.zip(commented.files()) {
        if FILES.contains(&metadata.name()) {
            *file = with_comments;
        }
    }
    Ok(set.encode_to_vec())
}

/// The files to make code of, and the well-known types their fields name: prost
/// has those already. Options' schemas are only read through the descriptors.
fn own_files(compiler: &Compiler) -> tonic_prost_build::FileDescriptorSet {
    let mut set = compiler.file_descriptor_set();
    set.file.retain(|file| {
        FILES.contains(&file.name())
            || INTERNAL_FILES.contains(&file.name())
            || file.name() == HTTP_BODY
            || file.name().starts_with("google/protobuf/")
    });
    set
}
