//! One policy folder, compiled: what the operator wants, with every reference resolved.

use super::clients::Clients;
use super::dnssec::DnssecConfig;
use super::fleet::Fleet;
use super::ids::{Revision, ServiceId};
use super::service::Service;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The intent everything else serves. Immutable; replaced whole by a good edit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Policy {
    pub revision: Revision,
    pub server: ServerConfig,
    pub fleet: Fleet,
    pub clients: Clients,
    pub services: Vec<Service>,
}

impl Policy {
    pub fn service_ids(&self) -> impl Iterator<Item = ServiceId> + use<> {
        (0..self.services.len()).map(ServiceId::from_index)
    }

    pub fn service(&self, id: ServiceId) -> &Service {
        &self.services[id.index()]
    }
}

/// `rhumb.yaml`: this instance's own settings. Flags of `rhumb serve` outrank it.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerConfig {
    /// Instance name, answered by NSID with the generation.
    pub instance: String,
    /// CHAOS TXT `version.bind`, `id.server` and their like are answered.
    pub identify: bool,
    /// File of the secrets that DNS cookies are made with, relative to the policy folder; `None`: random.
    pub cookie_secrets: Option<PathBuf>,
    /// UDP and TCP. Default 127.0.0.1:5300.
    pub listen: Vec<SocketAddr>,
    pub dot: Option<DotConfig>,
    /// Default 127.0.0.1:8053.
    pub admin: SocketAddr,
    /// Relative paths are relative to the working folder. Default `state`.
    pub state_dir: PathBuf,
    /// MMDB files, later ones overlay earlier ones; empty: the shipped ones. Relative paths are
    /// relative to the policy folder.
    pub geo_files: Vec<PathBuf>,
    /// UDP workers per listener; 0: one per core.
    pub workers: u16,
    /// Planner tick.
    pub tick: Duration,
    /// `None`: zones are not signed.
    pub dnssec: Option<DnssecConfig>,
}

/// DNS over TLS (RFC 7858).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DotConfig {
    pub listen: Vec<SocketAddr>,
    /// PEM files, relative to the policy folder.
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            instance: "rhumb".to_owned(),
            identify: false,
            cookie_secrets: None,
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 5300))],
            dot: None,
            admin: SocketAddr::from(([127, 0, 0, 1], 8053)),
            state_dir: PathBuf::from("state"),
            geo_files: Vec::new(),
            workers: 0,
            tick: Duration::from_secs(1),
            dnssec: None,
        }
    }
}
