//! Hosts that demand client certificates, asked for in every way that has got around such demands:
//! by protocol, by spelling of the server name, in pieces, and by one name for another's host.
//!
//! The clients are OpenSSL and aioquic in Python: rustls's own does not send names as they are told.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::aioquic::python;
use crate::harness::Edge;
use crate::harness::clients::ClientAuthority;
use crate::harness::files::{Files, issue, replace};
use crate::upstream::Origin;

/// Of the whole table.
const PATIENCE: Duration = Duration::from_secs(300);

const FORMS: [&str; 6] = ["exact", "wildcard", "upper", "dot", "none", "split"];
const PROTOCOLS: [&str; 3] = ["h1", "h2", "h3"];

/// Who is asked for in the handshake, and by the request in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Names {
    /// The guarded host in both.
    Same,
    /// An open host in the handshake, the guarded one in the request.
    OpenThenGuarded,
    /// The other way round.
    GuardedThenOpen,
}

struct Cell {
    protocol: &'static str,
    form: &'static str,
    names: Names,
    certificate: bool,
}

impl Cell {
    fn all() -> Vec<Self> {
        let mut cells = Vec::new();
        for protocol in PROTOCOLS {
            for form in FORMS {
                for names in [Names::Same, Names::OpenThenGuarded, Names::GuardedThenOpen] {
                    for certificate in [false, true] {
                        cells.push(Self {
                            protocol,
                            form,
                            names,
                            certificate,
                        });
                    }
                }
            }
        }
        cells
    }

    fn spelled(&self, name: &str) -> String {
        match self.form {
            "upper" => name.to_ascii_uppercase(),
            "dot" => format!("{name}."),
            _ => name.to_owned(),
        }
    }

    fn request(&self) -> Value {
        let guarded = match self.form {
            "wildcard" => "a.guarded.test",
            _ => "guarded.test",
        };
        let (server_name, authority) = match self.names {
            Names::Same => (guarded, guarded),
            Names::OpenThenGuarded => ("open.test", guarded),
            Names::GuardedThenOpen => (guarded, "open.test"),
        };
        let server_name = (self.form != "none").then(|| self.spelled(server_name));
        json!({
            "protocol": self.protocol,
            "server_name": server_name,
            "authority": self.spelled(authority),
            "certificate": self.certificate,
            "split": self.form == "split",
        })
    }

    fn expected(&self) -> Value {
        let asks_guarded = self.names != Names::OpenThenGuarded && self.form != "none";
        // QUIC never shakes hands for a guarded name, TLS only with a certificate.
        if asks_guarded && (self.protocol == "h3" || !self.certificate) {
            return json!("refused");
        }
        let wants_guarded = self.names != Names::GuardedThenOpen;
        json!(if asks_guarded == wants_guarded {
            200
        } else {
            421
        })
    }
}

async fn ask(edge: &Edge, identity: &(PathBuf, PathBuf), cells: &[Cell]) -> Vec<Value> {
    let mut child = Command::new(python())
        .kill_on_drop(true)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/tls_matrix_client.py"))
        .arg(edge.https.port().to_string())
        .args([&identity.0, &identity.1])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python starts");
    let requests: Vec<Value> = cells.iter().map(Cell::request).collect();
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let text = json!(requests).to_string();
    stdin
        .write_all(text.as_bytes())
        .await
        .expect("python reads");
    drop(stdin);
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output())
        .await
        .expect("the matrix ends")
        .expect("python runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the client failed: {errors}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("not JSON, and: {errors}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_cell_leaks() {
    let (origin, authority) = (Origin::h1().await, ClientAuthority::new("partners"));
    let files = Files::new();
    let names = ["guarded.test", "*.guarded.test", "open.test"];
    let (pem, key) = issue(&names);
    replace(&files.certs().join("sites.pem"), pem.as_bytes());
    replace(&files.certs().join("sites.key"), key.as_bytes());
    replace(
        &files.root().join("clients.pem"),
        authority.pem().as_bytes(),
    );
    files.write_policy(
        "policy.yaml",
        &format!(
            "version: 1
clusters: [{{ name: origin, endpoints: [\"{}\"] }}]
routes:
  - {{ name: guarded, hosts: [guarded.test, \"*.guarded.test\"], matches: [{{ path: /echo }}], plain_http: true, cluster: origin, request_headers: {{ set: {{ x-host: guarded }} }} }}
  - {{ name: open, matches: [{{ path: /echo }}], cluster: origin }}
hosts:
  - name: guarded
    hosts: [guarded.test, \"*.guarded.test\"]
    tls: {{ client_certificates: {{ mode: required, ca: ../clients.pem, forward: true }} }}
",
            origin.address
        ),
    );
    let identity = authority.issue(7).write(files.root());
    let edge = Edge::start_with(files, &[]).await;
    let cells = Cell::all();
    let outcomes = ask(&edge, &identity, &cells).await;
    assert_eq!(outcomes.len(), cells.len());
    let mut table = String::new();
    for (cell, outcome) in cells.iter().zip(&outcomes) {
        let mark = if *outcome == cell.expected() {
            ""
        } else {
            "  <- expected "
        };
        let expected = if mark.is_empty() {
            Value::Null
        } else {
            cell.expected()
        };
        table.push_str(&format!(
            "{} {:8} {:?} certificate {}: {outcome}{mark}{}\n",
            cell.protocol,
            cell.form,
            cell.names,
            cell.certificate,
            if expected.is_null() {
                String::new()
            } else {
                expected.to_string()
            },
        ));
    }
    assert!(!table.contains("<- expected"), "\n{table}");
    let record = origin.record();
    let guarded = record
        .requests
        .iter()
        .filter(|seen| seen.header("x-host").is_some());
    let mut served = 0;
    for seen in guarded {
        assert!(seen.header("client-cert").is_some(), "{seen:?}");
        served += 1;
    }
    // h1 and h2, in five of the forms.
    assert_eq!(served, 10, "\n{table}");
}
