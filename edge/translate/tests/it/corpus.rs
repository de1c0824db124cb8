//! Every input that fuzzing kept, through the same checks that it was found by.

#[path = "../../../fuzz/checks/call.rs"]
mod call;
#[path = "../../../fuzz/checks/connect.rs"]
mod connect;
#[path = "../../../fuzz/checks/grpc_web.rs"]
mod grpc_web;

use std::fs;
use std::path::Path;

use proptest::prelude::*;

fn replay(target: &str, check: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(target);
    let mut replayed = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        check(&fs::read(entry.unwrap().path()).unwrap());
        replayed += 1;
    }
    assert!(replayed > 0, "no seeds in {}", folder.display());
}

#[test]
fn grpc_web_holds() {
    replay("grpc_web", grpc_web::check);
}

#[test]
fn connect_holds() {
    replay("connect", connect::check);
}

/// Frames and what is nearly frames, behind the two bytes that choose what becomes of them.
fn input() -> impl Strategy<Value = Vec<u8>> {
    let message = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..30),
        "\\{\"(text|number|room|name)\":[\"0-9a-z]{0,6}\\}".prop_map(String::into_bytes),
    ];
    let frame = (0_u8..4, message, -1_i64..2).prop_map(|(flags, message, lie)| {
        let length = u32::try_from(message.len() as i64 + lie).unwrap_or(0);
        [&[flags], length.to_be_bytes().as_slice(), &message].concat()
    });
    let body = prop_oneof![
        3 => prop::collection::vec(frame, 0..4).prop_map(|frames| frames.concat()),
        1 => prop::collection::vec(any::<u8>(), 0..40),
    ];
    (any::<[u8; 2]>(), body).prop_map(|(choice, body)| [choice.as_slice(), &body].concat())
}

proptest! {
    #[test]
    fn anything_is_answered(data in input()) {
        grpc_web::check(&data);
        connect::check(&data);
    }
}
