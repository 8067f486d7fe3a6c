//! TLS 1.3 as a vantage speaks it: whom it trusts, and the certificate it may show.
//!
//! The scheduler's own side is made from policy files by `serve::certificate`. Here is also how a client
//! certificate names a vantage: by a DNS name equal to the vantage's.

use rustls::client::{Resumption, verify_server_name};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, RootCertStore};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why no TLS configuration could be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot use {file}: {reason}; it must be PEM text that this user may read")]
    File { file: PathBuf, reason: String },
    #[error("no root certificates on this machine; install ca-certificates, or name a file with --ca")]
    NoRoots,
    #[error("the key in {key} does not fit the certificate in {certificate} ({reason})")]
    Mismatch { certificate: PathBuf, key: PathBuf, reason: String },
    #[error("cannot make a tls configuration: {0}")]
    Tls(#[from] rustls::Error),
}

/// `ca`: the only authorities that are trusted; `None`: those of the machine. `shown`: certificate and key.
///
/// # Errors
/// Names the file at fault.
pub fn client(ca: Option<&Path>, shown: Option<(&Path, &Path)>) -> Result<Arc<ClientConfig>, TlsError> {
    client_of(&[super::wire::PROTOCOL], ca, shown)
}

/// The same for another protocol, by its names in the handshake (RFC 7301).
///
/// # Errors
/// As [`client`].
pub fn client_of(
    protocols: &[&[u8]],
    ca: Option<&Path>,
    shown: Option<(&Path, &Path)>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(file) => chain_of(file)?.into_iter().try_for_each(|root| roots.add(root))?,
        None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
    }
    if roots.is_empty() {
        return Err(TlsError::NoRoots);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots);
    let mut config = match shown {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let private = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(key, &error))?;
            builder.with_client_auth_cert(chain_of(certificate)?, private).map_err(|error| {
                let (certificate, key) = (certificate.to_owned(), key.to_owned());
                TlsError::Mismatch { certificate, key, reason: error.to_string() }
            })?
        }
    };
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    // A resumed session would outlive a certificate that was renewed or revoked.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

fn chain_of(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let items = CertificateDer::pem_file_iter(file).map_err(|error| unusable(file, &error))?;
    let chain = items.collect::<Result<Vec<_>, _>>().map_err(|error| unusable(file, &error))?;
    match chain.is_empty() {
        true => Err(TlsError::File { file: file.to_owned(), reason: "it holds no certificate".to_owned() }),
        false => Ok(chain),
    }
}

fn unusable(file: &Path, error: &dyn std::fmt::Display) -> TlsError {
    TlsError::File { file: file.to_owned(), reason: error.to_string() }
}

/// Whether a verified client certificate speaks for the vantage `name`.
pub fn speaks_for(certificate: &CertificateDer<'_>, name: &str) -> bool {
    let (Ok(parsed), Ok(name)) = (ParsedCertificate::try_from(certificate), ServerName::try_from(name))
    else {
        return false;
    };
    matches!(name, ServerName::DnsName(_)) && verify_server_name(&parsed, &name).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_speaks_for_the_name_it_has() {
        let made = rcgen::generate_simple_self_signed(vec!["gz".to_owned(), "bj-1.example".to_owned()])
            .expect("a certificate");
        for (name, speaks) in
            [("gz", true), ("bj-1.example", true), ("bj", false), ("", false), ("::1", false)]
        {
            assert_eq!(speaks_for(made.cert.der(), name), speaks, "{name}");
        }
        assert!(!speaks_for(&CertificateDer::from(vec![1, 2, 3]), "gz"));
    }

    #[test]
    fn the_file_at_fault_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        let made = rcgen::generate_simple_self_signed(vec!["gz".to_owned()]).expect("a certificate");
        std::fs::write(path("cert.pem"), made.cert.pem()).expect("written");
        std::fs::write(path("key.pem"), made.signing_key.serialize_pem()).expect("written");
        let other = rcgen::generate_simple_self_signed(vec!["gz".to_owned()]).expect("a certificate");
        std::fs::write(path("other.pem"), other.signing_key.serialize_pem()).expect("written");
        std::fs::write(path("empty.pem"), "").expect("written");
        let ca = path("cert.pem");
        assert!(client(Some(&ca), Some((&ca, &path("key.pem")))).is_ok());
        let check = |ca: &str, certificate: &str, key: &str, expected: &str| {
            let shown = (path(certificate), path(key));
            let error = client(Some(&path(ca)), Some((&shown.0, &shown.1))).expect_err("refused").to_string();
            assert!(error.contains(expected), "{error}");
        };
        check("none.pem", "cert.pem", "key.pem", "none.pem");
        check("empty.pem", "cert.pem", "key.pem", "empty.pem");
        check("cert.pem", "empty.pem", "key.pem", "holds no certificate");
        check("cert.pem", "cert.pem", "cert.pem", "cert.pem");
        check("cert.pem", "cert.pem", "other.pem", "does not fit");
    }
}
