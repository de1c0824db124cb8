//! Every input that fuzzing kept, through the same checks that it was found by.

#[path = "../fuzz/checks/request_head.rs"]
mod request_head;
#[path = "../fuzz/checks/chunked.rs"]
mod chunked;
#[path = "../fuzz/checks/proxy_protocol.rs"]
mod proxy_protocol;
#[path = "../fuzz/checks/client.rs"]
mod client;
#[path = "../fuzz/checks/sanitize.rs"]
mod sanitize;
#[path = "../fuzz/checks/expression.rs"]
mod expression;
#[path = "../fuzz/checks/load.rs"]
mod load;
#[path = "../fuzz/checks/template.rs"]
mod template;
#[path = "../fuzz/checks/json.rs"]
mod json;

use std::fs;
use std::path::Path;

fn replay(target: &str, check: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let mut replayed = 0;
    for entry in fs::read_dir(&folder).expect("a corpus") {
        let path = entry.expect("a corpus").path();
        check(&fs::read(path).expect("an input"));
        replayed += 1;
    }
    assert!(replayed > 0, "no seeds in {}", folder.display());
}

#[test]
fn sanitize_holds() {
    replay("sanitize", sanitize::check);
}

#[test]
fn request_head_holds() {
    replay("request_head", request_head::check);
}

#[test]
fn chunked_holds() {
    replay("chunked", chunked::check);
}

#[test]
fn proxy_protocol_holds() {
    replay("proxy_protocol", proxy_protocol::check);
}

#[test]
fn load_holds() {
    replay("load", load::check);
}

#[test]
fn client_holds() {
    replay("client", client::check);
}

#[test]
fn expression_holds() {
    replay("expression", expression::check);
}

#[test]
fn template_holds() {
    replay("template", template::check);
}

#[test]
fn json_holds() {
    replay("json", json::check);
}
