//! The encrypted listeners that `rhumb.yaml` asks for, DNS and measurements, each with its certificate and its own runtime.

use crate::base::clock::SharedClock;
use crate::daemon::certificates::{self, Pair, Renewal};
use crate::daemon::measuring;
use crate::daemon::reports::Post;
use crate::daemon::start::StartError;
use crate::daemon::writer::About;
use crate::measure;
use crate::model::policy::{EncryptedListener, ServerConfig as Settings};
use crate::serve::certificate::Purpose;
use crate::serve::handover::Given;
use crate::serve::{
    AnswerRecords, BindError, BoundDoq, BoundTls, Counters, Limits, RunningEncrypted, bind_doq_given,
};
use rustls::ServerConfig;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// Transports there are: TLS, HTTPS, QUIC.
pub const ENCRYPTED: usize = 3;

/// A listener that nobody accepts from yet.
pub(super) struct Listener<B> {
    bound: B,
    pair: Pair,
    config: Arc<ServerConfig>,
}

impl<B> Listener<B> {
    /// `None` if it is not asked for.
    pub(super) fn bind(
        wanted: Option<&EncryptedListener>,
        policies: &Path,
        purpose: Purpose,
        bind: impl FnOnce(&[SocketAddr]) -> Result<B, BindError>,
    ) -> Result<Option<Self>, StartError> {
        let Some(wanted) = wanted else { return Ok(None) };
        let pair = Pair::of(wanted, policies, purpose);
        let config = pair.load()?;
        Ok(Some(Self { bound: bind(&wanted.listen)?, pair, config }))
    }
}

impl Listener<BoundTls> {
    pub(super) fn bound(&self) -> &BoundTls {
        &self.bound
    }

    /// For who starts it in a way of its own.
    pub(super) fn take(self) -> (BoundTls, Pair, Arc<ServerConfig>) {
        (self.bound, self.pair, self.config)
    }
}

/// All encrypted listeners, bound.
pub struct Bound {
    dot: Option<Listener<BoundTls>>,
    doh: Option<Listener<BoundTls>>,
    doq: Option<Listener<BoundDoq>>,
    measure: Option<measuring::Bound>,
}

/// Binds those that are asked for, or takes them from `given`; certificates are read first.
pub fn bind(server: &Settings, policies: &Path, given: &mut Given) -> Result<Bound, StartError> {
    let Settings { dot, doh, doq, measure, .. } = server;
    Ok(Bound {
        dot: Listener::bind(dot.as_ref(), policies, Purpose::Dot, |at| {
            BoundTls::bind(at, Purpose::Dot, given)
        })?,
        doh: Listener::bind(doh.as_ref(), policies, Purpose::Doh, |at| {
            BoundTls::bind(at, Purpose::Doh, given)
        })?,
        doq: Listener::bind(doq.as_ref(), policies, Purpose::Doq, |at| bind_doq_given(at, given))?,
        measure: measuring::bind(measure.as_ref(), policies, given)?,
    })
}

impl Bound {
    /// Every address, as people read it.
    pub fn listening(&self) -> impl Iterator<Item = String> {
        let dot = self.dot.iter().flat_map(|it| it.bound.local_addresses()).map(|at| format!("{at} (TLS)"));
        let doh = self.doh.iter().flat_map(|it| it.bound.local_addresses()).map(|at| format!("{at} (HTTPS)"));
        let doq = self.doq.iter().flat_map(|it| it.bound.local_addresses()).map(|at| format!("{at} (QUIC)"));
        dot.chain(doh).chain(doq)
    }

    /// Adds the sockets themselves to `given`, for a successor.
    pub fn share(&self, given: &mut Given) -> io::Result<()> {
        self.dot.iter().try_for_each(|it| it.bound.share(given))?;
        self.doh.iter().try_for_each(|it| it.bound.share(given))?;
        self.measure.iter().try_for_each(|it| it.listener.bound.share(given))?;
        self.doq.iter().try_for_each(|it| it.bound.share(given))
    }

    /// Starts them, and one task that takes up renewed certificates.
    ///
    /// # Errors
    /// The first that cannot be started, with its addresses: no thread or descriptor is left, or its TLS
    /// configuration is of no use.
    pub fn start<A: AnswerRecords>(
        self,
        answers: impl Fn(usize) -> A,
        limits: &Limits,
        clock: &SharedClock,
        post: &Post,
    ) -> Result<Encrypted, StartError> {
        let mut renewals = Vec::new();
        let at = |addresses: &[SocketAddr]| addresses.to_vec();
        let dot = run(self.dot, Purpose::Dot, &mut renewals, |bound, config| {
            (at(bound.local_addresses()), bound.start_dot(config, &answers, limits.clone()))
        })?;
        let doh = run(self.doh, Purpose::Doh, &mut renewals, |bound, config| {
            (at(bound.local_addresses()), bound.start_doh(config, &answers, limits.clone()))
        })?;
        let doq = run(self.doq, Purpose::Doq, &mut renewals, |bound, config| {
            (at(bound.local_addresses()), bound.start(config, &answers, limits.clone()))
        })?;
        let measure = self.measure.map(|measuring::Bound { listener, keys }| {
            let routes = measure::routes(measuring::desk(keys, clock, post));
            run(Some(listener), Purpose::Measure, &mut renewals, |bound, config| {
                let at = at(bound.local_addresses());
                (at, bound.start_routes("measure", config, routes, limits.clone()))
            })
        });
        let measure = measure.transpose()?.flatten();
        let is_any = !renewals.is_empty();
        let renewing = is_any.then(|| {
            tokio::spawn(certificates::run(
                renewals,
                About::Certificate,
                Arc::clone(clock),
                post.events().clone(),
            ))
        });
        Ok(Encrypted { running: [dot, doh, doq], measure, renewing })
    }
}

fn run<B>(
    listener: Option<Listener<B>>,
    purpose: Purpose,
    renewals: &mut Vec<Renewal>,
    start: impl FnOnce(B, Arc<ServerConfig>) -> (Vec<SocketAddr>, io::Result<RunningEncrypted>),
) -> Result<Option<RunningEncrypted>, StartError> {
    let Some(Listener { bound, pair, config }) = listener else { return Ok(None) };
    let (at, running) = start(bound, config);
    let running = running.map_err(|error| StartError::listener(purpose.name(), &at, &error))?;
    renewals.push(Renewal::new(pair, running.slot()));
    Ok(Some(running))
}

/// The encrypted transports, serving.
pub struct Encrypted {
    running: [Option<RunningEncrypted>; ENCRYPTED],
    /// What clients measure comes in here; it is no DNS.
    measure: Option<RunningEncrypted>,
    renewing: Option<JoinHandle<()>>,
}

impl Encrypted {
    /// Of TLS, HTTPS and QUIC, where they are served.
    pub fn counters(&self) -> [Option<Arc<Counters>>; ENCRYPTED] {
        self.running.each_ref().map(|running| running.as_ref().map(|it| Arc::clone(it.counters())))
    }

    /// Begins to read what a predecessor has read until now.
    pub fn listen(&self) {
        self.running.iter().flatten().for_each(RunningEncrypted::listen);
    }

    /// Leaves to a successor what it can read in this process's place.
    pub fn leave(&self) {
        self.running.iter().flatten().for_each(RunningEncrypted::leave);
    }

    /// Drains all of them at once.
    pub async fn stop(self, drain: Duration) {
        self.renewing.iter().for_each(JoinHandle::abort);
        let all = self.running.into_iter().chain([self.measure]).flatten();
        let draining = all.map(|running| tokio::spawn(running.stop(drain)));
        for drained in draining.collect::<Vec<_>>() {
            let _ = drained.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::certificate;

    /// TLS 1.2 alone, which QUIC cannot use.
    fn old(folder: &Path) -> (Pair, Arc<ServerConfig>) {
        let made = rcgen::generate_simple_self_signed(vec!["dns.test".to_owned()]).expect("a certificate");
        let path = |name: &str| folder.join(name);
        std::fs::write(path("cert.pem"), made.cert.pem()).expect("writes");
        std::fs::write(path("key.pem"), made.signing_key.serialize_pem()).expect("writes");
        let listener = EncryptedListener {
            listen: Vec::new(),
            certificate: path("cert.pem"),
            key: path("key.pem"),
            span: Default::default(),
        };
        let key =
            rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
        let mut provider = rustls::crypto::ring::default_provider();
        provider.cipher_suites.retain(|suite| suite.tls13().is_none());
        let config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS12])
            .expect("a version")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("a configuration");
        (Pair::of(&listener, folder, certificate::Purpose::Doq), Arc::new(config))
    }

    #[test]
    fn a_listener_that_cannot_start_is_named_with_its_address_and_a_remedy() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (pair, config) = old(folder.path());
        let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        let bound = crate::serve::bind_doq(&[any]).expect("a free port");
        let address = bound.local_addresses()[0];
        let started = |bound: BoundDoq, config| {
            let at = bound.local_addresses().to_vec();
            (at, bound.start(config, |_| NoAnswer, Limits::default()))
        };
        let listener = Listener { bound, pair, config };
        let error = run(Some(listener), Purpose::Doq, &mut Vec::new(), started)
            .expect_err("TLS 1.2 alone")
            .to_string();
        assert!(error.starts_with(&format!("cannot serve DNS over QUIC on {address}: ")), "{error}");
        assert!(error.ends_with("the certificate and the key above all"), "{error}");
        let short = io::Error::from_raw_os_error(24);
        let error = StartError::listener("DNS over TLS", &[any, any], &short).to_string();
        assert!(error.starts_with("cannot serve DNS over TLS on 127.0.0.1:0, 127.0.0.1:0: "), "{error}");
        assert!(error.contains("`ulimit -n`"), "{error}");
    }

    struct NoAnswer;

    impl crate::serve::Answer for NoAnswer {
        fn refresh(&mut self) {}

        fn answer(
            &mut self,
            _: SocketAddr,
            _: std::net::IpAddr,
            _: crate::serve::Transport,
            _: &[u8],
            _: &mut [u8],
        ) -> usize {
            0
        }
    }
}
