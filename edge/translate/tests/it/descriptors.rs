//! Descriptor sets, compiled in the test from files and from inline text.

use protox::Compiler;
use protox::file::{
    ChainFileResolver, File, FileResolver, GoogleFileResolver, IncludeFileResolver,
};

const PROTO_DIR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/proto");
/// Where `buf/validate/validate.proto` is.
const RULES_DIR: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../core-services/proto/proto"
);

/// `test/v1/things.proto` with all it imports.
pub(crate) fn things() -> Vec<u8> {
    compile("test/v1/things.proto", None)
}

/// A proto3 file in package `t` that imports the annotations, made of `text`.
pub(crate) fn inline(text: &str) -> Vec<u8> {
    inline_in("t", text)
}

/// As [`inline`], in another package.
pub(crate) fn inline_in(package: &str, text: &str) -> Vec<u8> {
    let head = "import \"google/api/annotations.proto\";\n";
    let file = format!("syntax = \"proto3\"; package {package}; {head}{text}");
    compile("inline.proto", Some(file))
}

fn compile(name: &str, source: Option<String>) -> Vec<u8> {
    struct Inline(Option<String>);
    impl FileResolver for Inline {
        fn open_file(&self, name: &str) -> Result<File, protox::Error> {
            match &self.0 {
                Some(source) if name == "inline.proto" => File::from_source(name, source),
                _ => Err(protox::Error::file_not_found(name)),
            }
        }
    }
    let mut resolver = ChainFileResolver::new();
    resolver.add(Inline(source));
    resolver.add(IncludeFileResolver::new(PROTO_DIR.into()));
    resolver.add(IncludeFileResolver::new(RULES_DIR.into()));
    resolver.add(GoogleFileResolver::new());
    Compiler::with_file_resolver(resolver)
        .include_imports(true)
        .open_file(name)
        .unwrap()
        .encode_file_descriptor_set()
}
