//! The routes of the admin address and their JSON.

use crate::control::metrics;
use crate::explain::{Explanation, Request};
use crate::model::alert::AlertsShown;
use crate::model::incident::Incident;
use crate::model::portrait::NodePortrait;
use crate::model::status::{Problem, Status, Traffic, VantageLink};
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::{Semaphore, oneshot, watch};

/// Asks the writer; `None` when it is too busy or gone.
pub type Ask = Arc<dyn Fn(Request) -> Option<oneshot::Receiver<Result<Explanation, String>>> + Send + Sync>;

/// The same of a node's name.
pub type AskNode =
    Arc<dyn Fn(String) -> Option<oneshot::Receiver<Result<NodePortrait, String>>> + Send + Sync>;

/// Whether the writer is at work, or what is wrong with it now.
pub type Health = Arc<dyn Fn() -> Result<(), Problem> + Send + Sync>;

/// Questions that may wait for their turn. One is answered at a time, because a writer that
/// explains does not evacuate meanwhile.
const QUESTIONS_WAITING: usize = 4;

/// What the routes need.
#[derive(Clone)]
pub struct Admin {
    pub status: watch::Receiver<Option<Arc<Status>>>,
    pub explain: Ask,
    pub node: AskNode,
    /// False while starting and while draining.
    pub ready: watch::Receiver<bool>,
    pub health: Health,
    pub alerts: watch::Receiver<Arc<AlertsShown>>,
    /// Those that are not over.
    pub incidents: watch::Receiver<Arc<Vec<Incident>>>,
    pub traffic: Arc<dyn Fn() -> Traffic + Send + Sync>,
    /// How remote vantages are connected, by name.
    pub links: Arc<dyn Fn() -> BTreeMap<String, VantageLink> + Send + Sync>,
    pub questions: Questions,
}

/// Who may ask the writer, and whose turn it is.
#[derive(Clone)]
pub struct Questions {
    waiting: Arc<Semaphore>,
    turn: Arc<Semaphore>,
}

impl Default for Questions {
    fn default() -> Self {
        Self { waiting: Arc::new(Semaphore::new(QUESTIONS_WAITING)), turn: Arc::new(Semaphore::new(1)) }
    }
}

impl Questions {
    /// Puts a question to the writer when it is its turn, and tells the answer.
    async fn put<T: Serialize>(
        &self,
        ask: impl FnOnce() -> Option<oneshot::Receiver<Result<T, String>>>,
    ) -> Response {
        let Ok(_waiting) = self.waiting.try_acquire() else {
            return ask_again(format!("{QUESTIONS_WAITING} questions are waiting already; ask again"));
        };
        let stopping = || refuse(StatusCode::SERVICE_UNAVAILABLE, "the daemon is stopping".to_owned());
        let Ok(_turn) = self.turn.acquire().await else { return stopping() };
        let Some(answer) = ask() else {
            return ask_again("the writer's queue is full; ask again".to_owned());
        };
        match answer.await {
            Ok(Ok(told)) => Json(told).into_response(),
            Ok(Err(what)) => refuse(StatusCode::NOT_FOUND, what),
            Err(_) => stopping(),
        }
    }
}

impl Admin {
    /// The status, with the alerts, and with what is wrong with the writer that makes it; `None` before the
    /// first table.
    fn status_now(&self) -> Option<Arc<Status>> {
        let mut status = self.status.borrow().clone()?;
        let shown = Arc::clone(&self.alerts.borrow());
        let told = Arc::make_mut(&mut status);
        let AlertsShown { alerts, omitted, receivers } = &*shown;
        told.alerts.clone_from(alerts);
        told.alerts_omitted = *omitted;
        told.receivers.clone_from(receivers);
        told.incidents = self.incidents.borrow().iter().map(Incident::brief).collect();
        let mut links = (self.links)();
        for vantage in told.vantages.iter_mut().filter(|vantage| vantage.is_remote) {
            vantage.link = links.remove(&vantage.health.name);
        }
        if let Err(problem) = (self.health)() {
            told.now = problem.since;
            told.problems.insert(0, problem);
        }
        Some(status)
    }
}

/// An error as JSON: one sentence.
#[derive(Debug, Serialize, Deserialize)]
pub struct ErrorBody {
    pub error: String,
}

#[derive(Deserialize)]
struct ExplainQuery {
    name: String,
    client: IpAddr,
    #[serde(rename = "type", default = "type_a")]
    qtype: String,
}

#[derive(Deserialize)]
struct NodeQuery {
    name: String,
}

fn type_a() -> String {
    "A".to_owned()
}

/// The router to serve on the admin address.
pub fn router(admin: Admin) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/status", get(status))
        .route("/metrics", get(metrics_text))
        .route("/explain", get(explain))
        .route("/node", get(node))
        .fallback(async || {
            let routes =
                "/status /node?name= /explain?name=&client=&type= /journal /overrides /readiness /incidents /slo /metrics /healthz /readyz";
            refuse(StatusCode::NOT_FOUND, format!("no such page; there are {routes}"))
        })
        .with_state(admin)
}

/// Alive: the process answers and its writer is at work.
async fn healthz(State(admin): State<Admin>) -> Response {
    match (admin.health)() {
        Ok(()) => "ok\n".into_response(),
        Err(problem) => unavailable(format!("unhealthy: {}\n", problem.message)),
    }
}

/// Worth sending queries to: up, healthy and not about to end.
async fn readyz(State(admin): State<Admin>) -> Response {
    if !*admin.ready.borrow() {
        return unavailable("not ready: starting or draining\n".to_owned());
    }
    match (admin.health)() {
        Ok(()) => "ready\n".into_response(),
        Err(problem) => unavailable(format!("not ready: {}\n", problem.message)),
    }
}

fn unavailable(why: String) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, why).into_response()
}

async fn status(State(admin): State<Admin>) -> Response {
    match admin.status_now() {
        Some(status) => Json(&*status).into_response(),
        None => refuse(StatusCode::SERVICE_UNAVAILABLE, "no table yet".to_owned()),
    }
}

async fn metrics_text(State(admin): State<Admin>) -> Response {
    match admin.status_now() {
        Some(status) => {
            let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
            let is_healthy = (admin.health)().is_ok();
            (kind, metrics::render(&status, &(admin.traffic)(), is_healthy)).into_response()
        }
        None => refuse(StatusCode::SERVICE_UNAVAILABLE, "no table yet".to_owned()),
    }
}

async fn explain(State(admin): State<Admin>, Query(query): Query<ExplainQuery>) -> Response {
    let request = match Request::parse(&query.name, query.client, &query.qtype) {
        Ok(request) => request,
        Err(what) => return refuse(StatusCode::BAD_REQUEST, what),
    };
    admin.questions.put(|| (admin.explain)(request)).await
}

async fn node(State(admin): State<Admin>, Query(query): Query<NodeQuery>) -> Response {
    admin.questions.put(|| (admin.node)(query.name)).await
}

/// Busy for a moment: whoever asked may come back after a second.
pub fn ask_again(error: String) -> Response {
    let retry = [(header::RETRY_AFTER, "1")];
    (StatusCode::SERVICE_UNAVAILABLE, retry, Json(ErrorBody { error })).into_response()
}

pub fn refuse(code: StatusCode, error: String) -> Response {
    (code, Json(ErrorBody { error })).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::mpsc;

    async fn serve(admin: Admin) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move { axum::serve(listener, router(admin)).await });
        address
    }

    async fn ask(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.expect("connects");
        let request = format!("GET {path} HTTP/1.1\r\nhost: rhumb\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("asks");
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("answers");
        text
    }

    /// An instance that is ready, with a writer whose answers the test gives.
    fn admin(health: Health, explain: Ask) -> Admin {
        let ready = watch::channel(true).1;
        let status = watch::channel(None).1;
        let traffic = Arc::new(Traffic::default);
        let (node, alerts): (AskNode, _) = (Arc::new(|_| None), watch::channel(Arc::default()).1);
        let (links, questions) = (Arc::new(BTreeMap::new), Questions::default());
        let incidents = watch::channel(Arc::default()).1;
        Admin { status, explain, node, ready, health, alerts, incidents, traffic, links, questions }
    }

    #[tokio::test]
    async fn a_writer_that_is_not_at_work_is_neither_healthy_nor_ready() {
        let problem = Problem {
            since: crate::base::clock::WallTime(0),
            code: "writer-silent".to_owned(),
            message: "the writer has ended".to_owned(),
            help: String::new(),
        };
        let silent: Health = Arc::new(move || Err(problem.clone()));
        for (health, code) in [(Arc::new(|| Ok(())) as Health, "200 OK"), (silent, "503 Service Unavailable")]
        {
            let address = serve(admin(health, Arc::new(|_| None))).await;
            for path in ["/healthz", "/readyz"] {
                let text = ask(address, path).await;
                assert!(text.starts_with(&format!("HTTP/1.1 {code}")), "{path}: {text}");
                assert_eq!(code == "200 OK", !text.contains("the writer has ended"), "{path}: {text}");
            }
        }
    }

    #[tokio::test]
    async fn questions_reach_the_writer_one_at_a_time_and_the_fifth_is_told_to_come_back() {
        let (asked, mut questions) = mpsc::unbounded_channel();
        let explain: Ask = Arc::new(move |_| {
            let (reply, answer) = oneshot::channel();
            asked.send(reply).expect("the test listens");
            Some(answer)
        });
        let admin = admin(Arc::new(|| Ok(())), explain);
        let gate = admin.questions.clone();
        let address = serve(admin).await;
        let path = "/explain?name=live.example.test&client=192.0.2.1";
        let waiting: Vec<_> = (0..QUESTIONS_WAITING).map(|_| tokio::spawn(ask(address, path))).collect();
        let first = questions.recv().await.expect("asked");
        while gate.waiting.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert!(questions.try_recv().is_err(), "the others wait for their turn");
        let text = ask(address, path).await;
        assert!(text.starts_with("HTTP/1.1 503") && text.contains("retry-after: 1\r\n"), "{text}");
        let unknown = || Err("no such name".to_owned());
        first.send(unknown()).expect("somebody waits");
        for _ in 1..QUESTIONS_WAITING {
            questions.recv().await.expect("the next").send(unknown()).expect("somebody waits");
        }
        for text in waiting {
            assert!(text.await.expect("answered").starts_with("HTTP/1.1 404"));
        }
    }
}
