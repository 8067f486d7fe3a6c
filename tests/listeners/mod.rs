//! What the tests of encrypted listeners share: answers from a table, a certificate, a client's trust.

#![allow(dead_code, reason = "each test binary uses its own part")]

use rhumb::base::clock::MonoTime;
use rhumb::dns::{self, Ctx, RecordReply, Scratch, Transport};
use rhumb::routing::Snapshot;
use rhumb::serve::certificate::{self, Purpose};
use rhumb::serve::{Answer, AnswerRecords};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ServerConfig};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Whom the certificates name.
pub const NAME: &str = "dns.rhumb.test";

/// The table's answers, in bytes and in records.
pub struct Table {
    pub snapshot: Arc<Snapshot>,
    pub scratch: Scratch,
    pub settled: Arc<AtomicUsize>,
}

fn ctx_of(peer: SocketAddr, local: IpAddr, transport: Transport) -> Ctx<'static> {
    Ctx::new(peer.ip(), local, transport, MonoTime(0))
}

impl Answer for Table {
    fn refresh(&mut self) {}

    fn answer(
        &mut self,
        peer: SocketAddr,
        local: IpAddr,
        transport: Transport,
        query: &[u8],
        out: &mut [u8],
    ) -> usize {
        dns::answer(&self.snapshot, &ctx_of(peer, local, transport), &mut self.scratch, query, out)
    }

    fn settle(&mut self) {
        self.settled.fetch_add(1, Ordering::Relaxed);
    }
}

impl AnswerRecords for Table {
    fn records(&mut self, peer: SocketAddr, local: IpAddr, query: &[u8]) -> Option<RecordReply> {
        dns::answer_records(&self.snapshot, &ctx_of(peer, local, Transport::Tls), &mut self.scratch, query)
    }
}

/// A certificate for `dns.rhumb.test` and the configuration that presents it.
pub fn issue(purpose: Purpose) -> (CertificateDer<'static>, Arc<ServerConfig>) {
    let made = rcgen::generate_simple_self_signed(vec![NAME.to_owned()]).expect("a certificate");
    let folder = tempfile::tempdir().expect("a folder");
    let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).expect("written");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
    let config = certificate::load(&certificate, &key, purpose).expect("a good pair");
    (CertificateDer::from_pem_file(&certificate).expect("a certificate"), config)
}

/// A client that trusts one certificate and speaks one of `alpn`.
pub fn client(trusted: &CertificateDer<'static>, alpn: &[&[u8]]) -> ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted.clone()).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config
}

/// An answerer for a listener's every seat.
pub fn table(snapshot: &Arc<Snapshot>) -> impl Fn(usize) -> Table {
    let snapshot = Arc::clone(snapshot);
    move |_| Table { snapshot: Arc::clone(&snapshot), scratch: Scratch::default(), settled: Arc::default() }
}
