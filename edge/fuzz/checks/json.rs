//! JSON as a message with a field of every kind: it is refused with a reason, or what it became can be
//! written, and what is written is read as the same.

use std::sync::OnceLock;

use palisade_translate::JsonOptions;
use palisade_translate::tools::{json, message};
use prost_reflect::{DescriptorPool, MessageDescriptor};

pub(crate) fn check(data: &[u8]) {
    for (ignore_unknown_fields, write_defaults) in [(false, true), (true, false)] {
        let options = JsonOptions {
            ignore_unknown_fields,
            write_defaults,
            ..JsonOptions::default()
        };
        match message(all(), data, &options) {
            Err(reason) => assert!(!reason.is_empty()),
            Ok(read) => {
                let mut first = Vec::new();
                json(&read, &options, &mut first).expect("what was read can be written");
                serde_json::from_slice::<serde_json::Value>(&first).expect("it is JSON");
                let again = message(all(), &first, &options).expect("it can be read again");
                let mut second = Vec::new();
                json(&again, &options, &mut second).expect("as before");
                assert_eq!(
                    String::from_utf8_lossy(&first),
                    String::from_utf8_lossy(&second)
                );
            }
        }
    }
}

fn all() -> &'static MessageDescriptor {
    static ALL: OnceLock<MessageDescriptor> = OnceLock::new();
    ALL.get_or_init(|| {
        let pool = DescriptorPool::decode(palisade_echo::mirror::DESCRIPTORS).expect("descriptors");
        let all = pool.get_message_by_name("palisade.mirror.v1.All");
        all.expect("the message")
    })
}
