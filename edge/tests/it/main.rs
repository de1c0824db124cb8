//! The edge as its users meet it: the real binary, real sockets, real files.
//!
//! One binary of many modules, so that it is linked once. Every test starts an edge of its own
//! on ports of its own; upstreams are mocks, one for each way of behaving badly.

#[path = "../../translate/tests/conformance/cases.rs"]
mod cases;

mod harness;
mod upstream;
mod client;
mod visit;

mod startup;
mod matrix;
mod raw_bodies;
mod h3_traps;
mod h2_cases;
mod h2_attacks;
mod h2c;
mod aioquic;
mod h3_cases;
mod h3_attacks;
mod plain_http;
mod matches;
mod inheritance;
mod formatting;
mod answers;
mod calls;
mod clients;
mod limits;
mod listeners;
mod http1_corpus;
mod clusters;
mod forwarding;
mod jwks;
mod reflection;
mod identity;
mod certs;
mod diff;
mod acme;
mod tls_hosts;
mod tls_clients;
mod tls_tickets;
mod compressed;
mod credentials;
mod tls_matrix;
mod sslyze;
mod reload;
mod on_reload;
mod history;
mod reloads_under_load;
mod shutdown;
mod streams;
mod websocket;
mod upgrade;
mod explained;
mod translated;
mod openapi;
