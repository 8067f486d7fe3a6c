//! Who may do what on the admin address, and the record of what was done.
//!
//! ```text
//!  request ─▶ who? ─▶ may they? ─▶ read ──────────────────────────────────────▶ route
//!              │ 401      │ 403     change ─▶ body ─▶ audit: begun ─▶ route ─▶ audit: ended
//!              │          └ audit             413      │ 507
//! ```
//!
//! | who | how | role |
//! |---|---|---|
//! | root, and the user rhumb runs as | the local socket, whose kernel tells the user | admin |
//! | everybody else | `Authorization: Bearer TOKEN` | the token's |
//! | nobody | `/healthz`; `/metrics` from a network of `admin_access: metrics:` | - |
//!
//! A token that is shown decides, wherever it comes from. What takes something back (an override cancelled, a
//! drill or canary aborted, a policy rolled back) is done also while the audit log takes nothing; its lines wait.

use crate::audit::{AuditLog, Event};
use crate::base::clock::SharedClock;
use crate::base::prefix::Prefix;
use crate::control::admin::refuse;
use crate::model::actor::{Actor, Role};
use crate::store::tokens::Tokens;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use std::net::SocketAddr;
use std::sync::Arc;

/// Of a changing request: a folder of policies.
const MOST_BODY: usize = 8 << 20;
/// Of what is sent or answered, as it is told in the audit log; of more than this the hash.
const MOST_TOLD: usize = 8 << 10;
/// Of a longer document that are told one by one.
const MOST_MEMBERS: usize = 16;

/// Who is at the other end of a connection; in the extensions of each request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Over the local socket. `may_all`: root, or the user rhumb runs as.
    Local {
        user: String,
        may_all: bool,
    },
    Remote(SocketAddr),
}

/// What the door asks.
#[derive(Clone)]
pub struct Access {
    pub tokens: Arc<Tokens>,
    pub audit: Arc<AuditLog>,
    pub clock: SharedClock,
    /// Networks that may read `/metrics` without a token.
    pub metrics: Arc<[Prefix]>,
}

/// The layer before every route of operators.
pub async fn admit(State(access): State<Access>, mut request: Request, next: Next) -> Response {
    if access.is_open(&request) {
        return next.run(request).await;
    }
    let actor = match access.actor(&request) {
        Ok(actor) => actor,
        Err(why) => return unknown(why),
    };
    let is_change = is_change(request.method(), request.uri().path());
    let needed = needed(request.method(), request.uri().path());
    if actor.role < needed {
        let told = is_change.then(|| begun(&actor, &request, Json::Null));
        return access.forbid(&actor, needed, told).await;
    }
    request.extensions_mut().insert(actor.clone());
    match is_change {
        false => next.run(request).await,
        true => access.change(actor, request, next).await,
    }
}

/// The least role that may.
fn needed(method: &Method, path: &str) -> Role {
    match (path == "/tokens" || path.starts_with("/tokens/"), is_change(method, path)) {
        (true, _) => Role::Admin,
        (false, false) => Role::Viewer,
        (false, true) => Role::Operator,
    }
}

/// Whether something may be otherwise after it. A plan is asked for with a document, and changes nothing.
fn is_change(method: &Method, path: &str) -> bool {
    !method.is_safe() && path != "/plan"
}

/// Whether a request takes back what somebody did.
fn takes_back(method: &Method, path: &str) -> bool {
    let is_of = |collection: &str| path.strip_prefix(collection).is_some_and(|rest| rest.starts_with('/'));
    (*method == Method::DELETE && is_of("/overrides"))
        || (*method == Method::POST && (path == "/rollback" || path == "/canary/abort"))
        || (*method == Method::POST && is_of("/drills") && path.ends_with("/abort"))
}

impl Access {
    fn is_open(&self, request: &Request) -> bool {
        match request.uri().path() {
            "/healthz" => true,
            "/metrics" => match request.extensions().get::<Caller>() {
                Some(Caller::Remote(from)) => self.metrics.iter().any(|net| net.contains(from.ip())),
                _ => false,
            },
            _ => false,
        }
    }

    /// The error says why nobody is known.
    fn actor(&self, request: &Request) -> Result<Actor, String> {
        if let Some(shown) = request.headers().get(header::AUTHORIZATION) {
            let token = shown.to_str().ok().and_then(|text| text.strip_prefix("Bearer "));
            let token = token.ok_or("show a token as `Authorization: Bearer TOKEN`")?;
            let actor = self.tokens.actor(token.trim(), self.clock.wall());
            return actor.ok_or_else(|| {
                "this token is not known, has expired or was revoked; an admin makes another with \
                 `rhumb token create`"
                    .to_owned()
            });
        }
        match request.extensions().get::<Caller>() {
            Some(Caller::Local { user, may_all: true }) => {
                Ok(Actor { name: user.clone(), role: Role::Admin })
            }
            Some(Caller::Local { user, .. }) => Err(format!(
                "{user} is neither root nor the user rhumb runs as, so a token is needed: an admin makes one \
                 with `rhumb token create`, and RHUMB_TOKEN or --token-file names it"
            )),
            _ => Err("a token is needed: an admin makes one with `rhumb token create`, and it is shown as \
                      `Authorization: Bearer TOKEN`, by the command line with RHUMB_TOKEN or --token-file"
                .to_owned()),
        }
    }

    async fn forbid(&self, actor: &Actor, needed: Role, told: Option<Event>) -> Response {
        let (name, role) = (&actor.name, actor.role);
        let error = format!("{name} has the role {role}; this takes the role {needed}");
        if let Some(begun) = told {
            let outcome = json!({ "error": error });
            let (access, status) = (self.clone(), StatusCode::FORBIDDEN);
            let _ = blocking(move || access.told(begun, status, outcome)).await;
        }
        refuse(StatusCode::FORBIDDEN, error)
    }

    /// Done to the end even if whoever asked goes away, since it was begun.
    async fn change(self, actor: Actor, request: Request, next: Next) -> Response {
        let doing = tokio::spawn(async move {
            let (parts, body) = request.into_parts();
            let Ok(body) = to_bytes(body, MOST_BODY).await else {
                let most = MOST_BODY >> 20;
                return refuse(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    format!("the request did not come whole, or has more than {most} MiB"),
                );
            };
            let request = Request::from_parts(parts, Body::from(body.clone()));
            let must_be_written = !takes_back(request.method(), request.uri().path());
            let begun = begun(&actor, &request, brief(&body));
            let access = self.clone();
            let number = match blocking(move || access.begin(begun, must_be_written)).await {
                Ok(Ok(number)) => number,
                Ok(Err(error)) => return refuse(StatusCode::INSUFFICIENT_STORAGE, error),
                Err(stopping) => return stopping,
            };
            let (parts, body) = next.run(request).await.into_parts();
            let body = to_bytes(body, MOST_BODY).await.unwrap_or_default();
            let (status, outcome) = (parts.status, brief(&body));
            let _ = blocking(move || self.end(number, status, outcome)).await;
            Response::from_parts(parts, Body::from(body))
        });
        doing.await.unwrap_or_else(|_| stopping())
    }

    /// The line's number, 0 if it waits; the error says why nothing may be done.
    fn begin(&self, begun: Event, must_be_written: bool) -> Result<u64, String> {
        let now = self.clock.wall();
        match must_be_written {
            true => self.audit.append(now, begun).map_err(|error| format!("nothing was done: {error}")),
            false => Ok(self.audit.append_or_keep(now, begun).unwrap_or(0)),
        }
    }

    fn end(&self, of: u64, status: StatusCode, outcome: Json) {
        let ended = Event::Ended { of, status: status.as_u16(), outcome };
        self.audit.append_or_keep(self.clock.wall(), ended);
    }

    fn told(&self, begun: Event, status: StatusCode, outcome: Json) {
        let number = self.audit.append_or_keep(self.clock.wall(), begun);
        self.end(number.unwrap_or(0), status, outcome);
    }
}

fn begun(actor: &Actor, request: &Request, detail: Json) -> Event {
    let from = match request.extensions().get::<Caller>() {
        Some(Caller::Remote(address)) => address.to_string(),
        _ => "local".to_owned(),
    };
    let (who, role) = (actor.name.clone(), actor.role);
    Event::Begun { who, role, from, action: format!("{} {}", request.method(), request.uri()), detail }
}

/// What is told of a document: itself if it is short JSON; of a longer one its short members, and of the
/// others their size and hash.
fn brief(body: &Bytes) -> Json {
    if body.is_empty() {
        return Json::Null;
    }
    match serde_json::from_slice(body) {
        Ok(short) if body.len() <= MOST_TOLD => short,
        Ok(Json::Object(members)) if members.len() <= MOST_MEMBERS => {
            let told = members.into_iter().map(|(name, member)| {
                let text = member.to_string();
                let is_long = text.len() > MOST_TOLD / MOST_MEMBERS;
                (name, if is_long { in_a_word(text.as_bytes()) } else { member })
            });
            Json::Object(told.collect())
        }
        _ => in_a_word(body),
    }
}

fn in_a_word(octets: &[u8]) -> Json {
    let hash = data_encoding::HEXLOWER.encode(&Sha256::digest(octets));
    json!({ "octets": octets.len(), "sha256": hash })
}

/// Waits for the disk where waiting holds nobody up.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Response> {
    tokio::task::spawn_blocking(work).await.map_err(|_| stopping())
}

fn stopping() -> Response {
    refuse(StatusCode::SERVICE_UNAVAILABLE, "the daemon is stopping".to_owned())
}

fn unknown(why: String) -> Response {
    let mut response = refuse(StatusCode::UNAUTHORIZED, why);
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

#[cfg(test)]
#[path = "access_tests.rs"]
mod tests;
