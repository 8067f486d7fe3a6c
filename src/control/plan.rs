//! What other policies would do, over HTTP: nothing is changed, so whoever may look may ask.
//!
//! | route | what |
//! |---|---|
//! | `POST /plan` | files in, [`Planned`] out: worked out on what the running rhumb knows now |
//!
//! It is worked out where the planner is; one at a time, beside the writer and never on it.

use crate::base::clock::WallTime;
use crate::base::diagnostic::SourceFile;
use crate::control::admin::{ask_again, refuse};
use crate::control::policies::Refused;
use crate::forecast::Forecast;
use crate::history::FileChange;
use crate::model::ids::{Generation, Revision};
use crate::model::preflight::BrokenRule;
use crate::model::readiness::LossOutcome;
use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use std::pin::Pin;
use std::sync::Arc;

/// Of a folder of policies as JSON.
const MOST_OCTETS: usize = 8 << 20;
/// Of [`PlanFile`].
pub const FORMAT: u32 = 1;

/// Files to be thought through.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Draft {
    /// Path below the policy folder, and text.
    pub files: Vec<(String, String)>,
}

/// What they would do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Planned {
    /// In force when it was worked out.
    pub base: Revision,
    pub generation: Generation,
    pub at: WallTime,
    /// Of the files.
    pub revision: Revision,
    pub changed: Vec<FileChange>,
    /// What differs in the policy, in words.
    pub edits: Vec<String>,
    pub forecast: Forecast,
    pub recovery: Vec<Recovery>,
    /// The worst of all single losses of a node, site, region or line, once it has settled; `None`: not worked out.
    pub worst: Option<LossOutcome>,
    /// Guardrails and rules that speak against it.
    pub broken: Vec<BrokenRule>,
    /// Why the table it makes would be refused; empty: it would not.
    pub faults: Vec<String>,
    /// What else to know.
    pub notes: Vec<String>,
    pub warnings: usize,
}

/// The longest a service takes to recover from a single loss that the rest can carry, against its tier.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recovery {
    pub service: String,
    pub tier: String,
    pub limit_s: f64,
    /// `None`: there was no such service, or nothing probes its nodes.
    pub before_s: Option<f64>,
    pub after_s: Option<f64>,
}

/// A plan with its files, as `rhumb plan --out` writes it and `rhumb apply` takes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanFile {
    /// [`FORMAT`].
    pub rhumb_plan: u32,
    pub planned: Planned,
    pub files: Vec<(String, String)>,
}

/// What comes of a question.
pub type Thinking = Pin<Box<dyn Future<Output = Result<Planned, PlanError>> + Send>>;
/// Has files thought through.
pub type AskPlan = Arc<dyn Fn(Vec<SourceFile>) -> Thinking + Send + Sync>;

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error("{0}")]
    Refused(#[from] Refused),
    #[error("another plan is being worked out; ask again")]
    Busy,
    #[error("the daemon is stopping")]
    Stopping,
}

/// For [`admit`](super::access::admit) to stand before.
pub fn routes(ask: AskPlan) -> Router {
    Router::new().route("/plan", post(plan)).layer(DefaultBodyLimit::max(MOST_OCTETS)).with_state(ask)
}

async fn plan(State(ask): State<AskPlan>, body: Result<Json<Draft>, JsonRejection>) -> Response {
    let files = match body {
        Ok(Json(Draft { files })) => files,
        Err(rejection) => return refuse(StatusCode::BAD_REQUEST, rejection.body_text()),
    };
    let files = files.into_iter().map(|(path, text)| SourceFile { path, text }).collect();
    match ask(files).await {
        Ok(planned) => Json(planned).into_response(),
        Err(PlanError::Refused(refused)) => refuse(refused.code(), refused.to_string()),
        Err(busy @ PlanError::Busy) => ask_again(busy.to_string()),
        Err(stopping @ PlanError::Stopping) => refuse(StatusCode::SERVICE_UNAVAILABLE, stopping.to_string()),
    }
}
