//! Look-ups in small and large routing tables, and what compiling them costs.
//!
//! `cargo bench -p palisade-policy --bench routing`. A look-up of 10,000 routes on 1,000 hosts is to
//! cost within a tenth of one among ten routes; compiling grows with the number of routes.

use std::fmt::Write as _;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use http::{HeaderMap, HeaderValue, Method};
use palisade_policy::Loaded;
use palisade_policy::routing::{Request, Selected};
use tempfile::TempDir;

/// Routes of one host.
const ROUTES_EACH: usize = 10;

/// So many routes, ten on each host: exact paths, templates, prefixes and a regular expression.
fn folder(routes: usize) -> TempDir {
    let mut text = String::from(
        "version: 1\nclusters: [{ name: web, endpoints: [\"127.0.0.1:1\"] }]\nroutes:\n",
    );
    for route in 0..routes {
        let (host, n) = (route / ROUTES_EACH, route % ROUTES_EACH);
        let path = match n {
            0..=4 => format!("/api/v1/exact{n}"),
            5 | 6 => format!("{{ template: \"/api/v1/items{n}/{{id}}/parts\" }}"),
            7 | 8 => format!("{{ prefix: /static{n} }}"),
            _ => "{ regex: \"/files/[a-z]+/[0-9]+\" }".to_owned(),
        };
        let methods = if n == 0 { ", methods: [GET, PUT]" } else { "" };
        let headers = if n == 1 {
            ", headers: { x-version: \"2\" }"
        } else {
            ""
        };
        writeln!(
            text,
            "  - {{ name: r{route}, hosts: [h{host}.example.com], matches: [{{ path: {path}{methods}{headers} }}], cluster: web }}"
        )
        .expect("text");
    }
    let folder = tempfile::tempdir().expect("a folder");
    // A file may have a mebibyte.
    let (head, lines) = text.split_once("routes:\n").expect("routes");
    std::fs::write(folder.path().join("clusters.yaml"), head).expect("a file");
    let lines: Vec<&str> = lines.lines().collect();
    for (number, part) in lines.chunks(1_000).enumerate() {
        let text = format!("version: 1\nroutes:\n{}\n", part.join("\n"));
        std::fs::write(folder.path().join(format!("routes{number}.yaml")), text).expect("a file");
    }
    folder
}

fn load(folder: &Path) -> Loaded {
    palisade_policy::load(folder).unwrap_or_else(|faults| panic!("{faults}"))
}

fn look_up(loaded: &Loaded, host: &str, path: &str, headers: &HeaderMap) -> bool {
    let request = Request {
        host,
        path,
        query: None,
        method: &Method::GET,
        headers,
        client: IpAddr::V4(Ipv4Addr::LOCALHOST),
        certificate: None,
        claims: &|_| None,
    };
    matches!(loaded.policy.routes.select(request), Selected::Rule(_))
}

fn routing(criterion: &mut Criterion) {
    let mut headers = HeaderMap::new();
    headers.insert("x-version", HeaderValue::from_static("2"));
    let paths = [
        ("exact", "/api/v1/exact3"),
        ("header", "/api/v1/exact1"),
        ("template", "/api/v1/items6/4711/parts"),
        ("prefix", "/static8/css/site.css"),
        ("regex", "/files/abc/42"),
    ];
    for (kind, path) in paths {
        let mut group = criterion.benchmark_group(format!("route/{kind}"));
        for routes in [10, 1_000, 10_000] {
            let folder = folder(routes);
            let loaded = load(folder.path());
            let host = format!("h{}.example.com", routes / ROUTES_EACH / 2);
            assert!(look_up(&loaded, &host, path, &headers), "{kind}");
            group.bench_with_input(BenchmarkId::from_parameter(routes), &loaded, |b, loaded| {
                b.iter(|| look_up(loaded, black_box(&host), black_box(path), &headers));
            });
        }
        group.finish();
    }
}

fn compiling(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("compile");
    group.sample_size(10);
    for routes in [10, 1_000, 5_000, 10_000] {
        let folder = folder(routes);
        group.throughput(Throughput::Elements(routes as u64));
        group.bench_with_input(BenchmarkId::from_parameter(routes), &folder, |b, folder| {
            b.iter(|| load(black_box(folder.path())));
        });
    }
    group.finish();
}

criterion_group!(benches, routing, compiling);
criterion_main!(benches);
