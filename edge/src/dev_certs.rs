//! A development CA and the certificates that `make run` needs.
//!
//! Kept between runs: what is there and still good for a week is left alone. Keys are readable
//! by their owner only. Not for production: the CA's key lies beside its certificate.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, X509Certificate};

/// By which services know each other (SPIFFE).
pub const TRUST_DOMAIN: &str = "palisade.internal";
/// Who meets in the mesh: the edge, all services in one process, and each in its own.
const MESH: [&str; 3] = ["edge", "core", "identity"];
/// Browsers refuse server certificates that are valid for longer.
const LEAF_DAYS: i64 = 365;
const CA_DAYS: i64 = 3650;
/// What ends sooner is made again.
const RENEW_BEFORE: Duration = Duration::from_secs(7 * 24 * 3600);

/// Make what is missing below `dir`. Returns the files that were written.
pub fn ensure(dir: &Path) -> anyhow::Result<Vec<String>> {
    private_dir(dir)?;
    private_dir(&dir.join("mesh"))?;
    let mut written = Vec::new();
    let fresh_ca = !is_good(&dir.join("ca.pem"));
    if fresh_ca {
        make_ca(dir)?;
        written.push("ca.pem".to_owned());
    }
    let ca_key = KeyPair::from_pem(&read(&dir.join("ca.key"))?).context("`ca.key`")?;
    let issuer =
        Issuer::from_ca_cert_pem(&read(&dir.join("ca.pem"))?, ca_key).context("`ca.pem`")?;
    let localhost = vec![
        SanType::DnsName(name("localhost")?),
        SanType::DnsName(name("api.localhost")?),
        SanType::IpAddress([127, 0, 0, 1].into()),
        SanType::IpAddress(std::net::Ipv6Addr::LOCALHOST.into()),
    ];
    let mut leaves = vec![("localhost".to_owned(), localhost)];
    for service in MESH {
        let identity = format!("spiffe://{TRUST_DOMAIN}/svc/{service}");
        let names = vec![
            SanType::URI(name(&identity)?),
            SanType::DnsName(name(&format!("{service}.{TRUST_DOMAIN}"))?),
        ];
        leaves.push((format!("mesh/{service}"), names));
    }
    for (file, names) in leaves {
        if fresh_ca || !is_good(&dir.join(format!("{file}.pem"))) {
            make_leaf(dir, &file, names, &issuer)?;
            written.push(format!("{file}.pem"));
        }
    }
    Ok(written)
}

fn name(text: &str) -> anyhow::Result<Ia5String> {
    Ia5String::try_from(text).with_context(|| format!("name `{text}`"))
}

fn validity(params: &mut CertificateParams, days: i64) {
    let now = time::OffsetDateTime::now_utc();
    // Clocks of containers and their hosts differ by a little.
    params.not_before = now - time::Duration::hours(1);
    params.not_after = now + time::Duration::days(days);
}

fn make_ca(dir: &Path) -> anyhow::Result<()> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    validity(&mut params, CA_DAYS);
    params
        .distinguished_name
        .push(DnType::CommonName, "Palisade development CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key)?;
    write(&dir.join("ca.key"), &key.serialize_pem(), 0o600)?;
    write(&dir.join("ca.pem"), &certificate.pem(), 0o644)
}

fn make_leaf(
    dir: &Path,
    file: &str,
    names: Vec<SanType>,
    issuer: &Issuer<'_, KeyPair>,
) -> anyhow::Result<()> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    validity(&mut params, LEAF_DAYS);
    params
        .distinguished_name
        .push(DnType::CommonName, format!("Palisade development {file}"));
    params.subject_alt_names = names;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, issuer)?;
    write(
        &dir.join(format!("{file}.key")),
        &key.serialize_pem(),
        0o600,
    )?;
    write(&dir.join(format!("{file}.pem")), &certificate.pem(), 0o644)
}

/// Present, parsable, with its key beside it, and valid for a while.
fn is_good(path: &Path) -> bool {
    let Ok(pem) = fs::read(path) else {
        return false;
    };
    let Ok(der) = CertificateDer::from_pem_slice(&pem) else {
        return false;
    };
    let Ok((_, certificate)) = X509Certificate::from_der(&der) else {
        return false;
    };
    let left = certificate.validity().time_to_expiration();
    path.with_extension("key").exists()
        && left.is_some_and(|left| left.unsigned_abs() > RENEW_BEFORE)
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))
}

fn private_dir(path: &Path) -> anyhow::Result<()> {
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path);
    made.with_context(|| format!("cannot make folder `{}`", path.display()))
}

/// Through a temporary file, so that a reader never sees half of it.
fn write(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    let temporary = path.with_extension("new");
    let _ = fs::remove_file(&temporary);
    let context = || format!("cannot write `{}`", path.display());
    let mut options = fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&temporary)
        .with_context(context)?;
    file.write_all(text.as_bytes()).with_context(context)?;
    file.sync_all().with_context(context)?;
    fs::rename(&temporary, path).with_context(context)?;
    ensure!(path.exists(), "`{}` vanished", path.display());
    Ok(())
}
