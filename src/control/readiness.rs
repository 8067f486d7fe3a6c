//! Readiness at the admin address: what would become of every loss.
//!
//! ```text
//!  GET /readiness?n=2&factor=1.5&event=final&text=   viewer
//!      n: losses at a time, 1 or 2; factor: of the demand; event: at the peak of this one, of the policy or as `text` has it
//! ```
//! 200 with a [`Readiness`]; 400 what cannot be asked, 503 while another is worked out: it takes a processor for
//! seconds, and there are others to answer.

use crate::base::units::Ppm;
use crate::control::admin::{ask_again, refuse};
use crate::model::readiness::{EventAsk, Readiness, ReadinessAsk};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Of the demand as it is.
pub const LEAST_FACTOR: f64 = 0.01;
pub const MOST_FACTOR: f64 = 100.0;

/// Octets of an event's file.
pub const MOST_TEXT: usize = 16 << 10;

/// Why nothing is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unready {
    /// What was asked for cannot be.
    Wrong(String),
    /// Ask again.
    Busy(String),
}

/// Has it worked out; whoever drops the receiver puts an end to that.
pub type Foresee = Arc<dyn Fn(ReadinessAsk) -> oneshot::Receiver<Result<Readiness, Unready>> + Send + Sync>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReadinessQuery {
    #[serde(default = "one")]
    n: u8,
    factor: Option<f64>,
    event: Option<String>,
    text: Option<String>,
}

const fn one() -> u8 {
    1
}

/// The route, to be merged with the others.
pub fn routes(foresee: Foresee) -> Router {
    Router::new().route("/readiness", get(readiness)).with_state(foresee)
}

async fn readiness(
    State(foresee): State<Foresee>,
    query: Result<Query<ReadinessQuery>, QueryRejection>,
) -> Response {
    let asked = query.map_err(|rejection| rejection.body_text()).and_then(|Query(query)| query.understood());
    let ask = match asked {
        Ok(ask) => ask,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, error),
    };
    match foresee(ask).await {
        Ok(Ok(told)) => Json(told).into_response(),
        Ok(Err(Unready::Wrong(error))) => refuse(StatusCode::BAD_REQUEST, error),
        Ok(Err(Unready::Busy(error))) => ask_again(error),
        Err(_) => refuse(StatusCode::SERVICE_UNAVAILABLE, "the daemon is stopping".to_owned()),
    }
}

impl ReadinessQuery {
    fn understood(self) -> Result<ReadinessAsk, String> {
        let Self { n, factor, event, text } = self;
        if !(1..=2).contains(&n) {
            return Err(format!("n={n}: 1 or 2 losses at a time are judged"));
        }
        let factor = factor.map(of_factor).transpose()?;
        if text.as_ref().is_some_and(|text| text.len() > MOST_TEXT || event.is_none()) {
            return Err(format!("the text of an event has a name and at most {MOST_TEXT} octets"));
        }
        let event = event.map(|name| EventAsk { name, text });
        Ok(ReadinessAsk { pairs: n == 2, factor, event })
    }
}

/// A factor of the demand.
///
/// # Errors
/// A sentence, of what makes no sense.
pub fn of_factor(factor: f64) -> Result<Ppm, String> {
    match (LEAST_FACTOR..=MOST_FACTOR).contains(&factor) {
        true => Ok(Ppm::from_fraction(factor)),
        false => {
            Err(format!("a factor of {factor}: {LEAST_FACTOR} to {MOST_FACTOR} times the demand as it is"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_not_asked_for() {
        let ask = |n, factor| ReadinessQuery { n, factor, event: None, text: None }.understood();
        assert_eq!(ask(1, None), Ok(ReadinessAsk::default()));
        let wanted = ReadinessAsk { pairs: true, factor: Some(Ppm(1_500_000)), event: None };
        assert_eq!(ask(2, Some(1.5)), Ok(wanted));
        for (n, factor, told) in [(0, None, "n=0"), (3, None, "n=3"), (1, Some(0.0), "factor of 0")] {
            assert!(ask(n, factor).is_err_and(|why| why.contains(told)), "{n} {factor:?}");
        }
        assert!(ask(1, Some(f64::NAN)).is_err() && ask(1, Some(1e9)).is_err());
        let of = |event: Option<&str>, text: usize| {
            let (event, text) = (event.map(str::to_owned), Some("x".repeat(text)));
            ReadinessQuery { n: 1, factor: None, event, text }.understood()
        };
        assert!(of(Some("final"), MOST_TEXT).is_ok());
        assert!(of(Some("final"), MOST_TEXT + 1).is_err() && of(None, 1).is_err());
    }
}
