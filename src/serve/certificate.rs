//! Certificate and key from PEM files to a TLS configuration, or the file and what to do about it.
//!
//! Every purpose has a configuration of its own, since each offers other protocols in the handshake;
//! those of QUIC, reports, measurements and operators take TLS 1.3 only. TLS 1.2 and 1.3 by rustls with ring; client certificates are
//! asked for where authorities for them are named. Whether a client would trust the
//! chain is not judged here.

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a handshake is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Dot,
    Doh,
    Doq,
    /// What remote vantages and nodes report.
    Reports,
    /// What clients measure.
    Measure,
    /// What operators do.
    Admin,
}

impl Purpose {
    pub const fn name(self) -> &'static str {
        match self {
            Purpose::Dot => "DNS over TLS",
            Purpose::Doh => "DNS over HTTPS",
            Purpose::Doq => "DNS over QUIC",
            Purpose::Reports => "reports",
            Purpose::Measure => "measurements",
            Purpose::Admin => "the admin address",
        }
    }

    /// Its names in the TLS handshake (RFC 7301 registry), the preferred first.
    const fn alpn(self) -> &'static [&'static [u8]] {
        match self {
            Purpose::Dot => &[b"dot"],
            Purpose::Doh => &[b"h2", b"http/1.1"],
            Purpose::Doq => &[b"doq"],
            Purpose::Reports => &[b"rhumb-vantage/1", b"http/1.1"],
            Purpose::Measure | Purpose::Admin => &[b"h2", b"http/1.1"],
        }
    }
}

/// Why no TLS configuration could be made.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error(
        "cannot read {file} for {purpose}: {reason}; check that it exists and may be read by this user",
        purpose = .purpose.name()
    )]
    Unreadable { file: PathBuf, purpose: Purpose, reason: String },
    #[error(
        "{file} holds no certificate; it must be PEM text with `BEGIN CERTIFICATE`, the server's own first"
    )]
    NoCertificate { file: PathBuf },
    #[error("{file} holds no private key; it must be PEM text with an unencrypted `BEGIN PRIVATE KEY`")]
    NoKey { file: PathBuf },
    #[error("{file} is broken PEM text ({reason}); write it again from its source")]
    Broken { file: PathBuf, reason: String },
    #[error(
        "the key in {key} does not fit the certificate in {certificate} ({reason}); take both from one issue"
    )]
    Mismatch { certificate: PathBuf, key: PathBuf, reason: String },
}

/// Reads both files, for handshakes of one purpose.
///
/// # Errors
/// Names the file at fault and the remedy.
pub fn load(certificate: &Path, key: &Path, purpose: Purpose) -> Result<Arc<ServerConfig>, CertificateError> {
    load_asking(certificate, key, None, purpose)
}

/// The same, asking clients for a certificate of the authorities in `client_ca`; who has none is let in, to
/// show something else.
///
/// # Errors
/// As [`load`].
pub fn load_asking(
    certificate: &Path,
    key: &Path,
    client_ca: Option<&Path>,
    purpose: Purpose,
) -> Result<Arc<ServerConfig>, CertificateError> {
    let chain = read_chain(certificate, purpose)?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| match error {
        PemError::NoItemsFound => CertificateError::NoKey { file: key.to_owned() },
        other => pem_error(key, purpose, other),
    })?;
    let mismatch = |error: rustls::Error| CertificateError::Mismatch {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
        reason: error.to_string(),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = match purpose {
        Purpose::Reports | Purpose::Measure | Purpose::Admin => {
            builder.with_protocol_versions(&[&rustls::version::TLS13])
        }
        Purpose::Dot | Purpose::Doh | Purpose::Doq => builder.with_safe_default_protocol_versions(),
    };
    let builder = builder.map_err(mismatch)?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(file) => builder.with_client_cert_verifier(verifier(file, purpose, provider)?),
    };
    let mut config = builder.with_single_cert(chain, private).map_err(mismatch)?;
    config.alpn_protocols = purpose.alpn().iter().map(|name| name.to_vec()).collect();
    Ok(Arc::new(config))
}

fn verifier(
    file: &Path,
    purpose: Purpose,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, CertificateError> {
    let broken = |reason: String| CertificateError::Broken { file: file.to_owned(), reason };
    let mut roots = RootCertStore::empty();
    for root in read_chain(file, purpose)? {
        roots.add(root).map_err(|error| broken(error.to_string()))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    verifier.allow_unauthenticated().build().map_err(|error| broken(error.to_string()))
}

fn read_chain(file: &Path, purpose: Purpose) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let items = CertificateDer::pem_file_iter(file).map_err(|error| pem_error(file, purpose, error))?;
    let chain = items.collect::<Result<Vec<_>, _>>().map_err(|error| pem_error(file, purpose, error))?;
    if chain.is_empty() {
        return Err(CertificateError::NoCertificate { file: file.to_owned() });
    }
    Ok(chain)
}

fn pem_error(file: &Path, purpose: Purpose, error: PemError) -> CertificateError {
    match error {
        PemError::Io(error) => {
            CertificateError::Unreadable { file: file.to_owned(), purpose, reason: error.to_string() }
        }
        other => CertificateError::Broken { file: file.to_owned(), reason: other.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (String, String) {
        let made =
            rcgen::generate_simple_self_signed(vec!["dns.rhumb.test".to_owned()]).expect("a certificate");
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn the_file_at_fault_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        let (certificate, key) = pair();
        let (_, other_key) = pair();
        let broken = "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n";
        for (name, text) in [
            ("cert.pem", certificate.as_str()),
            ("key.pem", &key),
            ("other.pem", &other_key),
            ("empty.pem", ""),
            ("broken.pem", broken),
        ] {
            std::fs::write(path(name), text).expect("written");
        }
        assert!(load(&path("cert.pem"), &path("key.pem"), Purpose::Dot).is_ok());
        for (certificate, key, at_fault, reason) in [
            ("none.pem", "key.pem", "none.pem", "check that it exists"),
            ("cert.pem", "none.pem", "none.pem", "check that it exists"),
            ("empty.pem", "key.pem", "empty.pem", "holds no certificate"),
            ("key.pem", "key.pem", "key.pem", "holds no certificate"),
            ("cert.pem", "cert.pem", "cert.pem", "holds no private key"),
            ("broken.pem", "key.pem", "broken.pem", "broken PEM"),
            ("cert.pem", "other.pem", "other.pem", "does not fit"),
        ] {
            let message =
                load(&path(certificate), &path(key), Purpose::Dot).expect_err("refused").to_string();
            assert!(message.contains(at_fault) && message.contains(reason), "{message}");
        }
    }
}
