//! TLS as a client, with ring: one configuration that verifies, one that does not.
//!
//! Verification uses the platform's root certificates (those `SSL_CERT_FILE` or `/etc/ssl` name). There
//! is no session resumption: a resumed session would not show that a certificate has run out.

use crate::model::fleet::ProbeKind;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::sync::Arc;
use tracing::warn;

/// The configurations some probe needs.
#[derive(Default)]
pub(super) struct Configs {
    verified: Option<Arc<ClientConfig>>,
    unverified: Option<Arc<ClientConfig>>,
}

impl Configs {
    /// Those that `kinds` need; `always_verified` asks for the verifying one anyway.
    pub fn for_probes<'a>(kinds: impl Iterator<Item = &'a ProbeKind>, always_verified: bool) -> Self {
        let mut configs = Self::default();
        if always_verified {
            configs.verified = verifying(platform_roots());
        }
        for kind in kinds {
            match kind {
                ProbeKind::Http(http) if http.tls && http.verify && configs.verified.is_none() => {
                    configs.verified = verifying(platform_roots());
                }
                ProbeKind::Http(http) if http.tls && !http.verify && configs.unverified.is_none() => {
                    configs.unverified = trusting_all();
                }
                _ => {}
            }
        }
        configs
    }

    pub fn pick(&self, verify: bool) -> Option<Arc<ClientConfig>> {
        if verify { self.verified.clone() } else { self.unverified.clone() }
    }
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

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn verifying(roots: RootCertStore) -> Option<Arc<ClientConfig>> {
    let builder =
        ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().ok()?;
    Some(finish(builder.with_root_certificates(roots).with_no_client_auth()))
}

fn trusting_all() -> Option<Arc<ClientConfig>> {
    let builder =
        ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().ok()?;
    let trusting = Arc::new(TrustAll { provider: provider() });
    Some(finish(builder.dangerous().with_custom_certificate_verifier(trusting).with_no_client_auth()))
}

fn finish(mut config: ClientConfig) -> Arc<ClientConfig> {
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = Resumption::disabled();
    Arc::new(config)
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
