//! What clients measure: `POST /measure`, from the request to a report for the latency map.
//!
//! ```text
//!  {"node": "tyo-1", "rtt_ms": 41.5}, or up to 32 of them in an array
//!    network: the connection's own address, or the pass in `authorization: Bearer`
//!      ─▶ pace (1/s and network) ─▶ node by name ─▶ PathReport ─▶ the writer's queue
//! ```
//! | answer | when |
//! |---|---|
//! | 204 | taken |
//! | 400 | no JSON, more than 32, or values that no path has |
//! | 401 | a pass that is not taken |
//! | 404 | no such node |
//! | 408, 413 | the document does not come, or has more than 16 KiB |
//! | 429 | more than 30 at once or one a second from this network |
//! | 503 | the writer's queue is full |
//!
//! Browsers of any origin may post (there is nothing to steal: no cookie, no answer). A connection over TLS
//! cannot be forged, so its address speaks for its network; what that is worth is the latency map's to weigh.

pub mod pace;
pub mod pass;

use crate::base::clock::SharedClock;
use crate::base::units::{Micros, Ppm};
use crate::latency::{Feed, PathReport, Sample};
use crate::model::fleet::Fleet;
use crate::model::status::MeasureCounts;
use crate::serve::web::{self, Peer};
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Extension, Json, Router};
use pace::Pace;
use pass::{Admitted, Key};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Measurements in one request.
const MOST: usize = 32;
const DOCUMENT_BYTES: usize = 16 * 1_024;
/// For a document, from the head of its request on.
const PATIENCE: Duration = Duration::from_secs(5);

/// The fleet of the moment and its number.
pub type FleetNow = Arc<dyn Fn() -> (u64, Arc<Fleet>) + Send + Sync>;
/// Takes a report of an epoch; false if there is no room for it.
pub type Sink = Arc<dyn Fn(u64, PathReport) -> bool + Send + Sync>;

/// What came since the start.
#[derive(Debug, Default)]
pub struct Counts {
    /// Measurements.
    taken: AtomicU64,
    /// Requests.
    refused: AtomicU64,
}

impl Counts {
    /// As of now.
    pub fn sum(&self) -> MeasureCounts {
        let [taken, refused] = [&self.taken, &self.refused].map(|count| count.load(Ordering::Relaxed));
        MeasureCounts { taken, refused }
    }
}

/// What the route needs.
#[derive(Clone)]
pub struct Desk {
    pub fleet: FleetNow,
    pub sink: Sink,
    pub clock: SharedClock,
    pub keys: Arc<[Key]>,
    pub pace: Arc<Pace>,
    pub counts: Arc<Counts>,
}

/// One measurement as clients write it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Measured {
    node: String,
    rtt_ms: f64,
    #[serde(default)]
    jitter_ms: Option<f64>,
    /// 0 to 1.
    #[serde(default)]
    loss: Option<f64>,
}

#[derive(Serialize)]
struct Refusal {
    error: String,
}

type Refused = (StatusCode, String);

/// The route, for a listener that adds [`Peer`] to each request.
pub fn routes(desk: Desk) -> Router {
    Router::new().route("/measure", post(measure).options(preflight)).with_state(desk)
}

async fn preflight() -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST"));
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("authorization, content-type"),
    );
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    open(response)
}

/// Any page may read the answer.
fn open(mut response: Response) -> Response {
    response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

async fn measure(
    State(desk): State<Desk>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    match take(&desk, peer, &headers, body).await {
        Ok(count) => {
            desk.counts.taken.fetch_add(count, Ordering::Relaxed);
            open(StatusCode::NO_CONTENT.into_response())
        }
        Err((code, error)) => {
            desk.counts.refused.fetch_add(1, Ordering::Relaxed);
            let mut response = (code, Json(Refusal { error })).into_response();
            let remedy = match code {
                StatusCode::UNAUTHORIZED => Some((header::WWW_AUTHENTICATE, "Bearer")),
                StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                    Some((header::RETRY_AFTER, "1"))
                }
                _ => None,
            };
            if let Some((name, value)) = remedy {
                response.headers_mut().insert(name, HeaderValue::from_static(value));
            }
            open(response)
        }
    }
}

async fn take(desk: &Desk, peer: Peer, headers: &HeaderMap, body: Body) -> Result<u64, Refused> {
    let (network, feed) = match admitted(desk, headers)? {
        Some(Admitted { network, key }) => (network, Feed::Key(key)),
        None => (pass::network_of(peer.0.ip()), Feed::Connection),
    };
    let measured = read(&web::document(body, DOCUMENT_BYTES, PATIENCE).await?)?;
    let (epoch, fleet) = (desk.fleet)();
    let mut reports = Vec::with_capacity(measured.len());
    for (at, measured) in measured.iter().enumerate() {
        let node = fleet.node_named(&measured.node).ok_or_else(|| {
            let name: String = measured.node.chars().take(64).collect();
            (StatusCode::NOT_FOUND, format!("measurement {at}: there is no node `{name}`"))
        })?;
        let sample =
            sample(measured).map_err(|why| (StatusCode::BAD_REQUEST, format!("measurement {at}: {why}")))?;
        reports.push(PathReport { network, node, feed, sample });
    }
    let count = reports.len() as u64;
    if !desk.pace.take(network, count, desk.clock.mono()) {
        let error =
            "more than one measurement a second from this network; send them together, and less often";
        return Err((StatusCode::TOO_MANY_REQUESTS, error.to_owned()));
    }
    match reports.into_iter().all(|report| (desk.sink)(epoch, report)) {
        true => Ok(count),
        false => Err((StatusCode::SERVICE_UNAVAILABLE, "the writer's queue is full; send again".to_owned())),
    }
}

fn admitted(desk: &Desk, headers: &HeaderMap) -> Result<Option<Admitted>, Refused> {
    let Some(shown) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let refused = |why: &str| (StatusCode::UNAUTHORIZED, why.to_owned());
    let pass = shown.to_str().ok().and_then(|text| text.strip_prefix("Bearer "));
    let pass = pass.ok_or_else(|| refused("show a pass as `Authorization: Bearer PASS`, or nothing"))?;
    let admitted = pass::admit(&desk.keys, pass, desk.clock.wall());
    admitted.map(Some).map_err(|why| refused(&why.to_string()))
}

fn read(document: &[u8]) -> Result<Vec<Measured>, Refused> {
    let bad = |error: String| (StatusCode::BAD_REQUEST, error);
    // Told by what the document begins with, so that a mistake is named and not only "no variant".
    let many = document.iter().find(|octet| !octet.is_ascii_whitespace()) == Some(&b'[');
    let read = match many {
        true => serde_json::from_slice(document),
        false => serde_json::from_slice(document).map(|one| vec![one]),
    };
    let measured: Vec<Measured> = read.map_err(|error| {
        bad(format!("{error}; a measurement is {{\"node\": \"NAME\", \"rtt_ms\": 41.5}}, and may have jitter_ms and loss (0 to 1)"))
    })?;
    if measured.is_empty() || measured.len() > MOST {
        return Err(bad(format!("{} measurements; send 1 to {MOST}", measured.len())));
    }
    Ok(measured)
}

fn sample(measured: &Measured) -> Result<Sample, String> {
    let micros = |ms: f64| Micros((ms * 1e3).clamp(0.0, f64::from(u32::MAX)) as u32);
    let loss = |share: f64| match (0.0..=1.0).contains(&share) {
        true => Ok(Ppm::from_fraction(share)),
        false => Err("the loss has to be between 0 and 1".to_owned()),
    };
    let sample = Sample {
        rtt: micros(measured.rtt_ms),
        jitter: measured.jitter_ms.map(micros),
        loss: measured.loss.map(loss).transpose()?,
    };
    sample.check().map_err(|why| why.to_string())?;
    Ok(sample)
}

#[cfg(test)]
mod tests;
