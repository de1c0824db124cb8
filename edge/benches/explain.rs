//! What a decision, an explanation and a folder of tests cost.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use palisade_edge::explain::{Question, cases, decide, explain};
use palisade_edge::request_ctx::Now;
use palisade_edge::snapshot::Snapshot;

const ROUTES: usize = 1_000;
const TESTS: usize = 1_000;

fn snapshot() -> Snapshot {
    palisade_edge::crypto::install();
    let mut text = String::from(
        "version: 1\nclusters: [{ name: web, endpoints: [\"127.0.0.1:1\"] }]\n\
         limits: [{ name: few, key: client_address, rate: 10/s }]\nroutes:\n",
    );
    for number in 0..ROUTES {
        text.push_str(&format!(
            "  - {{ name: r{number}, matches: [{{ path: {{ prefix: /r{number} }} }}], limits: [few], cluster: web }}\n"
        ));
    }
    text.push_str("tests:\n");
    for number in 0..TESTS {
        text.push_str(&format!(
            "  - {{ name: t{number}, request: {{ url: \"https://a.example/r{number}/x\" }}, expect: {{ route: r{number} }} }}\n"
        ));
    }
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("policy.yaml"), text).expect("a file");
    let loaded = palisade_policy::load(folder.path()).expect("good policies");
    Snapshot::offline(Arc::new(loaded.policy), None, Now::monotonic()).expect("a snapshot")
}

fn benches(criterion: &mut Criterion) {
    let snapshot = snapshot();
    let question = Question {
        method: "GET".to_owned(),
        url: "https://a.example/r500/x?y=z".to_owned(),
        headers: vec![("accept".to_owned(), "*/*".to_owned())],
        ..Question::default()
    };
    criterion.bench_function("decide", |bench| {
        bench.iter(|| decide(&snapshot, black_box(&question)).expect("a request"));
    });
    criterion.bench_function("explain", |bench| {
        bench.iter(|| explain(&snapshot, black_box(&question), false).expect("a request"));
    });
    criterion.bench_function("1,000 tests of policies", |bench| {
        bench.iter(|| cases::run(black_box(&snapshot), ""));
    });
}

criterion_group!(explaining, benches);
criterion_main!(explaining);
