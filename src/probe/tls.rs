//! TLS as a client, with ring: a configuration for each way in which probes want it.
//!
//! Verification trusts the platform's root certificates (those `SSL_CERT_FILE` or `/etc/ssl` name), or
//! only those of a file that policy names. There is no session resumption: a resumed session would not
//! show that a certificate has run out.

use super::ask::Call;
use super::certificate::days_left;
use super::failure::Fault;
use super::{Files, micros_since};
use crate::model::observation::{FailureReason, Measured};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tracing::warn;

/// Of a file of root certificates.
const CA_BYTES: u64 = 1 << 20;

/// How a probe wants its TLS.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Wanted {
    pub verify: bool,
    /// Relative to the policy folder.
    pub ca: Option<PathBuf>,
    pub protocol: Protocol,
}

/// What is spoken inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// A configuration, or the trouble of this machine that there is none.
pub(super) type Config = Result<Arc<ClientConfig>, Fault>;

/// Those made so far: probes that want the same share one.
pub(super) struct Configs {
    folder: PathBuf,
    files: Files,
    made: BTreeMap<Wanted, Config>,
}

impl Configs {
    pub fn new(folder: PathBuf, files: Files) -> Self {
        Self { folder, files, made: BTreeMap::new() }
    }

    pub fn pick(&mut self, wanted: Wanted) -> Config {
        let (folder, files) = (&self.folder, &self.files);
        self.made.entry(wanted).or_insert_with_key(|wanted| make(wanted, folder, files)).clone()
    }
}

fn make(wanted: &Wanted, folder: &Path, files: &Files) -> Config {
    let local = |detail: String| Fault::of_machine(detail);
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| local(format!("this build cannot make a tls client configuration: {error}")))?;
    let mut config = match (wanted.verify, &wanted.ca) {
        (true, None) => builder.with_root_certificates(platform_roots()).with_no_client_auth(),
        (true, Some(file)) => {
            let roots = roots_of(file, folder, files).map_err(local)?;
            builder.with_root_certificates(roots).with_no_client_auth()
        }
        (false, _) => {
            let trusting = Arc::new(TrustAll { provider: provider() });
            builder.dangerous().with_custom_certificate_verifier(trusting).with_no_client_auth()
        }
    };
    config.alpn_protocols = match wanted.protocol {
        Protocol::Http1 => vec![b"http/1.1".to_vec()],
        Protocol::Http2 => vec![b"h2".to_vec()],
    };
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

fn platform_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        warn!(
            "no root certificates on this machine; verified https probes will fail: install ca-certificates"
        );
    }
    roots
}

fn roots_of(file: &Path, folder: &Path, files: &Files) -> Result<RootCertStore, String> {
    let told = |what: &str| format!("cannot use the root certificates of {}: {what}", file.display());
    let text = match files.get(file) {
        Some(text) => Cow::Borrowed(text),
        None => Cow::Owned(read_roots(&folder.join(file)).map_err(|error| told(&error.to_string()))?),
    };
    let found: Vec<_> = CertificateDer::pem_slice_iter(&text).filter_map(Result::ok).collect();
    let mut roots = RootCertStore::empty();
    let (_, ignored) = roots.add_parsable_certificates(found);
    if roots.is_empty() || ignored > 0 {
        return Err(told("not all of it is certificates in pem"));
    }
    Ok(roots)
}

/// The text of a file of root certificates.
///
/// # Errors
/// A file that is not there, or may not be read.
pub fn read_roots(file: &Path) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    std::fs::File::open(file)?.take(CA_BYTES).read_to_end(&mut text)?;
    Ok(text)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The handshake on a fresh connection; notes how long it took and how long the certificate lasts.
pub(super) async fn handshake(
    config: &Arc<ClientConfig>,
    host: Option<&str>,
    stream: TcpStream,
    call: &Call,
    learned: &mut Measured,
) -> Result<TlsStream<TcpStream>, Fault> {
    let name = server_name(host, call)?;
    let began = call.clock.mono();
    let connector = TlsConnector::from(Arc::clone(config));
    let stream = connector.connect(name, stream).await.map_err(|error| Fault::of_handshake(&error))?;
    learned.phases.tls = Some(micros_since(began, &call.clock));
    let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    learned.certificate_days = shown.and_then(|shown| days_left(shown, call.clock.wall()));
    Ok(stream)
}

fn server_name(host: Option<&str>, call: &Call) -> Result<ServerName<'static>, Fault> {
    let Some(host) = host else {
        return Ok(ServerName::from(call.target.ip()));
    };
    // A port belongs into `Host` but not into SNI; brackets are an IPv6 literal's.
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.contains(':') => name,
        _ => host,
    };
    ServerName::try_from(name.to_owned())
        .map_err(|_| Fault::new(FailureReason::Tls, format!("{name:?} cannot be a tls server name")))
}

/// Accepts any certificate (`verify: false`), but still only from somebody who holds its key.
#[derive(Debug)]
struct TrustAll {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for TrustAll {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
