//! What JSON costs: a request to the bytes of its message, a message's bytes to the answer.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use palisade_echo::mirror::DESCRIPTORS;
use palisade_translate::JsonOptions;
use palisade_translate::tools::{json, message};
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage};

/// A request as most are: some texts and numbers.
const SMALL: &str = r#"{"id":"order-7","i64":"1234567890123","flag":true,"real":12.5,"colour":"RED","inner":{"name":"ada","count":3,"postalCode":"12345"},"at":"2026-01-02T03:04:05.678Z","tags":["a","b"]}"#;

/// A list of such, of about 10 KiB.
fn large() -> String {
    let inner = r#"{"name":"a name of some length","count":123456,"postalCode":"12345","next":{"name":"another name","count":7}}"#;
    let inners = vec![inner; 90].join(",");
    format!(r#"{{"id":"all","inners":[{inners}]}}"#)
}

fn benches(criterion: &mut Criterion) {
    let pool = DescriptorPool::decode(DESCRIPTORS).expect("descriptors");
    let desc = pool
        .get_message_by_name("palisade.mirror.v1.All")
        .expect("the message");
    let options = JsonOptions {
        write_defaults: false,
        ..JsonOptions::default()
    };
    for (name, text) in [("small", SMALL.to_owned()), ("10k", large())] {
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function("request", |bencher| {
            bencher.iter(|| {
                let read = message(&desc, black_box(text.as_bytes()), &options).expect("good");
                read.encode_to_vec()
            });
        });
        let bytes = message(&desc, text.as_bytes(), &options)
            .expect("good")
            .encode_to_vec();
        group.bench_function("answer", |bencher| {
            bencher.iter(|| {
                let read = DynamicMessage::decode(desc.clone(), black_box(&*bytes));
                let mut out = Vec::with_capacity(2 * bytes.len());
                json(&read.expect("good"), &options, &mut out).expect("good");
                out
            });
        });
        group.finish();
    }
}

criterion_group!(all, benches);
criterion_main!(all);
