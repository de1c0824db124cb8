//! The files by which this process proves itself to its callers, and they to it.
//! Invariant: each was read and parses; an authority that silently dropped out would
//! show only when a caller is refused.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tonic::transport::{Certificate, Identity};

use super::Faults;

/// A CA bundle or a chain of more than this is a mistake in the path, not a certificate.
const PEM_BYTES_MAX: u64 = 1024 * 1024;

/// This process's certificate and the authority for its callers'.
pub struct MeshTls {
    pub identity: Identity,
    pub client_ca: Certificate,
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(
        "{flag}: cannot read `{}`: {source}\nhint: make the development certificates first, or name others with this flag",
        path.display()
    )]
    Unreadable {
        flag: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("{flag}: `{}` is larger than {PEM_BYTES_MAX} bytes\nhint: is this the right file?", path.display())]
    TooLarge { flag: &'static str, path: PathBuf },
    #[error("{flag}: `{}` is not PEM of a {what}\nhint: -----BEGIN {}-----", path.display(), what.to_uppercase())]
    NotPem {
        flag: &'static str,
        path: PathBuf,
        what: &'static str,
    },
}

pub(super) fn read(certificate: &Path, key: &Path, ca: &Path) -> Result<MeshTls, Faults> {
    let mut faults = Faults::default();
    let certificate = faults.check(certificates("--tls-cert", certificate));
    let key = faults.check(private_key("--tls-key", key));
    let ca = faults.check(certificates("--tls-ca", ca));
    faults.settle(|| {
        Some(MeshTls {
            identity: Identity::from_pem(certificate?, key?),
            client_ca: Certificate::from_pem(ca?),
        })
    })
}

/// At least one, and all of them parse.
fn certificates(flag: &'static str, path: &Path) -> Result<Vec<u8>, Error> {
    let pem = pem(flag, path)?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match read {
        Ok(certificates) if !certificates.is_empty() => Ok(pem),
        _ => Err(Error::NotPem {
            flag,
            path: path.to_owned(),
            what: "certificate",
        }),
    }
}

fn private_key(flag: &'static str, path: &Path) -> Result<Vec<u8>, Error> {
    let pem = pem(flag, path)?;
    match PrivateKeyDer::from_pem_slice(&pem) {
        Ok(_) => Ok(pem),
        Err(_) => Err(Error::NotPem {
            flag,
            path: path.to_owned(),
            what: "private key",
        }),
    }
}

fn pem(flag: &'static str, path: &Path) -> Result<Vec<u8>, Error> {
    let unreadable = |source| Error::Unreadable {
        flag,
        path: path.to_owned(),
        source,
    };
    if fs::metadata(path).map_err(unreadable)?.len() > PEM_BYTES_MAX {
        return Err(Error::TooLarge {
            flag,
            path: path.to_owned(),
        });
    }
    fs::read(path).map_err(unreadable)
}
