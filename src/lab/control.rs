//! How `rhumb lab fault` and `rhumb lab heal` reach a running lab: HTTP and JSON on loopback.
//!
//! | method and path | body | reply |
//! |---|---|---|
//! | POST /fault | [`FaultRequest`] | [`Hit`] |
//! | POST /heal | [`HealRequest`] | [`Hit`] |
//! | POST /load | [`LoadRequest`] | [`LevelSet`] |
//! | GET /status | | [`LabStatus`] |
//!
//! Refusals are `{"error": "..."}` with 400. No authentication: it moves nothing but the lab's own
//! nodes and binds loopback only; bodies must be `application/json`, which a web page of another
//! origin cannot send without asking first, and foreign `Host` names are refused (DNS rebinding).

use super::LabError;
use super::fault::Fault;
use super::fleet::{Hit, LabFleet, LabStatus, LevelSet};
use crate::base::units::Ppm;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Where a lab listens for control unless told otherwise.
pub const DEFAULT_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8_054);
const MAX_BODY: usize = 16 * 1_024;
/// A heal waits for ports to come free; the client waits longer than that.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultRequest {
    pub target: String,
    pub faults: Vec<Fault>,
    /// Milliseconds until it heals by itself; absent: until healed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealRequest {
    /// Absent: everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// How full clients are to keep the fleet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadRequest {
    pub level: Ppm,
}

#[derive(Debug, Serialize, Deserialize)]
struct Refusal {
    error: String,
}

/// Binds the control address.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, LabError> {
    if !address.ip().is_loopback() {
        return Err(LabError::ControlNotLoopback { address });
    }
    TcpListener::bind(address).await.map_err(|source| LabError::Control { address, source })
}

/// Serves control until `stop`.
pub async fn serve(listener: TcpListener, lab: LabFleet, stop: CancellationToken) -> io::Result<()> {
    let router = Router::new()
        .route("/fault", post(fault))
        .route("/heal", post(heal))
        .route("/load", post(load))
        .route("/status", get(status))
        .layer(middleware::from_fn(local_names_only))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(lab);
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
}

async fn fault(State(lab): State<LabFleet>, Json(request): Json<FaultRequest>) -> Response {
    let lasts = request.for_ms.map(Duration::from_millis);
    reply(lab.apply(&request.target, &request.faults, lasts).await)
}

async fn heal(State(lab): State<LabFleet>, Json(request): Json<HealRequest>) -> Response {
    reply(lab.heal(request.target.as_deref()).await)
}

async fn load(State(lab): State<LabFleet>, Json(request): Json<LoadRequest>) -> Response {
    reply(lab.set_level(request.level).await)
}

async fn status(State(lab): State<LabFleet>) -> Response {
    reply(lab.status().await)
}

fn reply<T: Serialize>(result: Result<T, LabError>) -> Response {
    match result {
        Ok(value) => Json(value).into_response(),
        Err(error) => refuse(error.to_string()),
    }
}

fn refuse(error: String) -> Response {
    (StatusCode::BAD_REQUEST, Json(Refusal { error })).into_response()
}

async fn local_names_only(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let local = host.parse::<SocketAddr>().is_ok_and(|address| address.ip().is_loopback())
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        || host.split(':').next() == Some("localhost");
    if local {
        next.run(request).await
    } else {
        refuse("lab control answers on loopback names only".to_owned())
    }
}

/// Why a command did not reach a lab, or was refused by it.
#[derive(Debug, Error)]
pub enum CallError {
    #[error(
        "no lab is running at {address}; start one with `rhumb lab` (`--control` if it listens elsewhere)"
    )]
    NoLab { address: SocketAddr },
    #[error("{0}")]
    Refused(String),
    #[error("what answers at {address} is not a rhumb lab")]
    NotALab { address: SocketAddr },
    #[error("the lab at {address} did not answer in time")]
    Timeout { address: SocketAddr },
    #[error("cannot make an HTTP client")]
    Client(#[source] reqwest::Error),
}

/// Talks to a running lab.
#[derive(Clone, Debug)]
pub struct ControlClient {
    address: SocketAddr,
    http: reqwest::Client,
}

impl ControlClient {
    pub fn new(address: SocketAddr) -> Result<Self, CallError> {
        // reqwest wants a TLS provider even for plain HTTP; if the process has one, it stays.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // A proxy from the environment has no way to this host's loopback.
        let http = reqwest::Client::builder().no_proxy().timeout(CALL_TIMEOUT).build();
        Ok(Self { address, http: http.map_err(CallError::Client)? })
    }

    pub async fn fault(&self, request: &FaultRequest) -> Result<Hit, CallError> {
        self.call(self.http.post(self.url("fault")).json(request)).await
    }

    pub async fn heal(&self, request: &HealRequest) -> Result<Hit, CallError> {
        self.call(self.http.post(self.url("heal")).json(request)).await
    }

    pub async fn load(&self, request: &LoadRequest) -> Result<LevelSet, CallError> {
        self.call(self.http.post(self.url("load")).json(request)).await
    }

    pub async fn status(&self) -> Result<LabStatus, CallError> {
        self.call(self.http.get(self.url("status"))).await
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    async fn call<T: DeserializeOwned>(&self, request: reqwest::RequestBuilder) -> Result<T, CallError> {
        let address = self.address;
        let failed = |error: reqwest::Error| match () {
            () if error.is_connect() => CallError::NoLab { address },
            () if error.is_timeout() => CallError::Timeout { address },
            () => CallError::NotALab { address },
        };
        let response = request.send().await.map_err(failed)?;
        if response.status().is_success() {
            return response.json().await.map_err(failed);
        }
        let refusal: Refusal = response.json().await.map_err(failed)?;
        Err(CallError::Refused(refusal.error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::{fleet, sample};
    use std::sync::Arc;

    async fn lab() -> (ControlClient, SocketAddr) {
        let fleet = Arc::new(sample::on_free_ports());
        let lab = fleet::start(&fleet, sample::lines(), 7).await.expect("ports were free");
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("loopback");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(serve(listener, lab, CancellationToken::new()));
        (ControlClient::new(address).expect("a client"), address)
    }

    #[tokio::test]
    async fn faults_go_and_come_by_http() {
        let (client, _) = lab().await;
        let faults = vec![Fault::Latency { ms: 150 }, Fault::Jitter { ms: 20 }];
        let request = FaultRequest { target: "tyo".to_owned(), faults, for_ms: Some(60_000) };
        let hit = client.fault(&request).await.expect("hit").to_string();
        assert_eq!(hit, "tyo: 2 nodes with latency 150 ms, jitter 20 ms for 60s (tyo-1, tyo-2)");
        let status = client.status().await.expect("a status");
        assert_eq!(status.nodes[0].faults, "latency 150 ms, jitter 20 ms");
        assert_eq!(status.faults.len(), 2);
        let healed = client.heal(&HealRequest::default()).await.expect("healed").to_string();
        assert_eq!(healed, "all: 2 nodes healed (tyo-1, tyo-2)");
    }

    #[tokio::test]
    async fn the_load_is_set_by_http_and_peaks_begin_anew() {
        let (client, _) = lab().await;
        let request = LoadRequest { level: Ppm::from_percent(120) };
        let set = client.load(&request).await.expect("set");
        assert_eq!((set.level.percent(), set.before.percent()), (120.0, 18.0));
        let status = client.status().await.expect("a status");
        assert_eq!(status.level, request.level);
        assert_eq!(status.nodes[0].cap, Some(Ppm::from_percent(90)));
    }

    #[tokio::test]
    async fn refusals_arrive_as_sentences() {
        let (client, _) = lab().await;
        let request = FaultRequest { target: "tio".to_owned(), faults: vec![Fault::Down], for_ms: None };
        let refused = client.fault(&request).await.expect_err("unknown").to_string();
        assert_eq!(refused, "nothing is named `tio`; did you mean `tyo`?");
        let outside = bind(SocketAddr::from(([0, 0, 0, 0], 0))).await.expect_err("refused").to_string();
        assert!(outside.contains("loopback"), "{outside}");
    }

    #[tokio::test]
    async fn a_foreign_host_name_is_refused() {
        let (client, address) = lab().await;
        let request = client.http.get(format!("http://{address}/status")).header("host", "evil.example");
        assert_eq!(request.send().await.expect("answered").status(), StatusCode::BAD_REQUEST);
    }

    #[tokio::test]
    async fn without_a_lab_the_remedy_is_named() {
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("loopback");
        let address = listener.local_addr().expect("bound");
        drop(listener);
        let error = ControlClient::new(address).expect("a client").status().await.expect_err("nobody");
        assert!(error.to_string().contains("start one with `rhumb lab`"), "{error}");
    }
}
