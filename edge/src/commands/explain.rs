//! `palisade explain`: what would become of a request, by a folder of policies or a running edge.

use std::fs;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{EXIT_NO, EXIT_USAGE, Format, admin_client, answer, answer_json, complain};
use crate::explain::{self, Explanation, Question};
use crate::request_ctx::Now;
use crate::snapshot::Snapshot;

/// Of a file of claims: a token's are smaller.
const CLAIMS_BYTES_MAX: u64 = 64 * 1024;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Such as GET.
    method: String,
    /// `https://host/path` or `http://host/path`: by the listener of that scheme.
    url: String,
    /// A request field, as curl takes it; more than once.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// The address that connects.
    #[arg(long, value_name = "ADDR")]
    client: Option<IpAddr>,
    /// A JSON file of claims that count as those of a verified token.
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    claims: Option<PathBuf>,
    /// A bearer token, verified by the keys at hand.
    #[arg(long, value_name = "JWT")]
    token: Option<String>,
    /// A client certificate in PEM that counts as verified for the host.
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// When, as `2026-01-31T12:00:00Z` or Unix seconds; now where it is not given.
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// The request id: a choice among weighted backends goes by it.
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
    /// Say of the rules of this route why each does not serve the request, instead of those that
    /// came near.
    #[arg(long, value_name = "NAME")]
    route: Option<String>,
    /// The policies folder.
    #[arg(long, env = "PALISADE_POLICIES", default_value = "policies")]
    policies: PathBuf,
    /// Where a running edge keeps the last good key sets of issuers.
    #[arg(long, env = "PALISADE_STATE", default_value = ".palisade/edge")]
    state: PathBuf,
    /// Ask the running edge: its policy, its limits and endpoints as they are now.
    #[arg(long)]
    live: bool,
    /// The admin listener of the running edge.
    #[arg(long, env = "PALISADE_ADMIN", default_value = "127.0.0.1:9901")]
    admin: SocketAddr,
}

pub(super) fn run(args: &Args, format: Format) -> ExitCode {
    let question = match question(args) {
        Ok(question) => question,
        Err(error) => {
            complain(&error);
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let explained = if args.live {
        admin_client::post(args.admin, "/explain", &question)
    } else {
        match palisade_policy::load(&args.policies) {
            Ok(loaded) => offline(loaded.policy, &args.state, &question),
            Err(diagnostics) => {
                let _ = writeln!(anstream::stderr(), "{diagnostics}");
                return ExitCode::from(EXIT_NO);
            }
        }
    };
    match explained {
        Ok(explanation) => {
            match format {
                Format::Json => answer_json(&explanation),
                Format::Text => answer(explain::text(&explanation).trim_end()),
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&error);
            ExitCode::from(EXIT_USAGE)
        }
    }
}

fn offline(
    policy: palisade_policy::model::Policy,
    state: &Path,
    question: &Question,
) -> anyhow::Result<Explanation> {
    let snapshot = Snapshot::offline(Arc::new(policy), Some(state), Now::monotonic())?;
    Ok(explain::explain(&snapshot, question, false)?)
}

fn question(args: &Args) -> anyhow::Result<Question> {
    let mut headers = Vec::with_capacity(args.headers.len() + 1);
    for header in &args.headers {
        // The value may be a credential: it is not repeated.
        let (name, value) = header
            .split_once(':')
            .context("a header has no colon\nhint: write -H 'name: value'")?;
        headers.push((name.trim().to_owned(), value.trim().to_owned()));
    }
    if let Some(token) = &args.token {
        headers.push(("authorization".to_owned(), format!("Bearer {token}")));
    }
    let claims = args.claims.as_deref().map(claims).transpose()?;
    let certificate = args.certificate.as_deref().map(certificate).transpose()?;
    Ok(Question {
        method: args.method.clone(),
        url: args.url.clone(),
        headers,
        client: args.client,
        claims,
        certificate,
        at: args.at.as_deref().map(seconds).transpose()?,
        request_id: args.request_id.clone(),
        https_port: None,
        of_route: args.route.clone(),
    })
}

fn claims(path: &Path) -> anyhow::Result<serde_json::Map<String, serde_json::Value>> {
    let shown = path.display();
    let size = fs::metadata(path)
        .with_context(|| format!("cannot read `{shown}`"))?
        .len();
    if size > CLAIMS_BYTES_MAX {
        bail!("`{shown}` is larger than {CLAIMS_BYTES_MAX} bytes");
    }
    let text = fs::read(path).with_context(|| format!("cannot read `{shown}`"))?;
    serde_json::from_slice(&text).with_context(|| {
        format!("`{shown}` is not a JSON object\nhint: write the claims of a token, such as {{\"sub\": \"u1\", \"scope\": \"read\"}}")
    })
}

fn certificate(path: &Path) -> anyhow::Result<explain::Certificate> {
    let shown = path.display();
    let pem = fs::read(path).with_context(|| format!("cannot read `{shown}`"))?;
    explain::Certificate::from_pem(&pem)
        .with_context(|| format!("`{shown}` is not a certificate in PEM"))
}

fn seconds(text: &str) -> anyhow::Result<u64> {
    if let Ok(seconds) = text.parse() {
        return Ok(seconds);
    }
    let time = OffsetDateTime::parse(text, &Rfc3339).with_context(|| {
        format!("`{text}` is not a time\nhint: write 2026-01-31T12:00:00Z, or Unix seconds")
    })?;
    u64::try_from(time.unix_timestamp()).with_context(|| format!("`{text}` is before 1970"))
}
