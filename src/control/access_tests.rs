//! Who is let in to what, and what is written down of it.

use super::*;
use crate::audit::{Entry, newest, verify_folder};
use crate::base::clock::{ManualClock, WallTime};
use crate::model::token::TokenHash;
use crate::store::tokens::TokenShown;
use axum::routing::{get, post};
use axum::{Extension, Router, middleware};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use tempfile::TempDir;

struct World {
    folder: TempDir,
    routes: Router,
}

/// A viewer `v`, an operator `o`, an admin `a`; tokens are their names.
fn kept() -> (TempDir, Tokens, AuditLog) {
    let folder = tempfile::tempdir().expect("a folder");
    let (tokens, _) = Tokens::open(folder.path());
    for (name, role) in ["v", "o", "a"].into_iter().zip(Role::ALL) {
        let (made_by, name) = ("root".to_owned(), name.to_owned());
        let hash = TokenHash::of(&name);
        let token = TokenShown { name, role, made_at: WallTime(0), made_by, expires_at: None };
        tokens.add(token, hash).expect("room");
    }
    let (audit, _) = AuditLog::open(folder.path(), None, WallTime(0));
    (folder, tokens, audit)
}

async fn world() -> World {
    let (folder, tokens, audit) = blocking(kept).await.expect("kept");
    let access = Access {
        tokens: Arc::new(tokens),
        audit: Arc::new(audit),
        clock: Arc::new(ManualClock::starting_at(WallTime(1_000))),
        metrics: [Prefix::of("192.0.2.0".parse().expect("an address"), 24)].into(),
    };
    let whoever = async |actor: Option<Extension<Actor>>| {
        actor.map_or_else(
            || "nobody".to_owned(),
            |Extension(actor)| format!("{} ({})", actor.name, actor.role),
        )
    };
    let routes = Router::new()
        .route("/healthz", get(async || "ok"))
        .route("/metrics", get(whoever))
        .route("/status", get(whoever))
        .route("/tokens", get(whoever).post(whoever))
        .route("/overrides", post(whoever))
        .route("/overrides/{id}", axum::routing::delete(whoever))
        .layer(middleware::from_fn_with_state(access, admit));
    World { folder, routes }
}

impl World {
    async fn ask(&self, caller: Caller, token: &str, method: Method, path: &str) -> (u16, String) {
        let mut request = Request::builder().method(method).uri(path).extension(caller);
        if !token.is_empty() {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Body::from(r#"{"target":"site/tyo"}"#)).expect("a request");
        let Ok(response) = TowerToHyperService::new(self.routes.clone()).call(request).await;
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), 1 << 20).await.expect("a body");
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    fn log(&self) -> Vec<Entry> {
        let path = self.folder.path().join(crate::audit::FILE);
        if path.exists() { newest(&path, 100).expect("readable") } else { Vec::new() }
    }
}

fn remote() -> Caller {
    Caller::Remote("198.51.100.7:1234".parse().expect("an address"))
}

fn local(may_all: bool) -> Caller {
    Caller::Local { user: "alice".to_owned(), may_all }
}

#[tokio::test]
async fn each_role_may_what_it_may_and_strangers_see_that_it_lives() {
    let world = world().await;
    let (get, post) = (Method::GET, Method::POST);
    let cases = [
        (remote(), "", &get, "/healthz", 200, "ok"),
        (remote(), "", &get, "/status", 401, "a token is needed"),
        (remote(), "", &post, "/overrides", 401, "a token is needed"),
        (remote(), "", &get, "/nothing", 401, "a token is needed"),
        (remote(), "x", &get, "/status", 401, "not known"),
        (remote(), "v", &get, "/status", 200, "v (viewer)"),
        (remote(), "v", &post, "/overrides", 403, "v has the role viewer; this takes the role operator"),
        (remote(), "o", &post, "/overrides", 200, "o (operator)"),
        (remote(), "o", &get, "/tokens", 403, "this takes the role admin"),
        (remote(), "a", &get, "/tokens", 200, "a (admin)"),
        (local(true), "", &post, "/tokens", 200, "alice (admin)"),
        (local(true), "v", &post, "/overrides", 403, "v has the role viewer"),
        (local(true), "x", &get, "/status", 401, "not known"),
        (local(false), "", &get, "/status", 401, "alice is neither root nor"),
        (local(false), "o", &post, "/overrides", 200, "o (operator)"),
    ];
    for (caller, token, method, path, status, said) in cases {
        let (found, text) = world.ask(caller.clone(), token, method.clone(), path).await;
        assert!(found == status && text.contains(said), "{caller:?} {token} {method} {path}: {found} {text}");
    }
}

#[tokio::test]
async fn metrics_are_for_listed_networks_and_whoever_shows_a_token() {
    let world = world().await;
    let listed = Caller::Remote("192.0.2.9:1".parse().expect("an address"));
    assert_eq!(world.ask(listed.clone(), "", Method::GET, "/metrics").await, (200, "nobody".to_owned()));
    assert_eq!(world.ask(listed, "", Method::GET, "/status").await.0, 401);
    assert_eq!(world.ask(remote(), "", Method::GET, "/metrics").await.0, 401);
    assert_eq!(world.ask(remote(), "v", Method::GET, "/metrics").await.0, 200);
}

#[tokio::test]
async fn a_change_is_told_before_and_after_and_so_is_one_that_was_forbidden() {
    let world = world().await;
    world.ask(remote(), "v", Method::GET, "/status").await;
    world.ask(remote(), "", Method::POST, "/overrides").await;
    assert_eq!(world.log().len(), 0, "looking is not told, and strangers cannot fill the disk");
    world.ask(remote(), "v", Method::POST, "/overrides").await;
    world.ask(remote(), "o", Method::POST, "/overrides?x=1").await;
    let log = world.log();
    let events: Vec<&Event> = log.iter().map(|entry| &entry.event).collect();
    let [forbidden, refused, begun, ended] = events[..] else { panic!("{log:?}") };
    assert!(matches!(forbidden, Event::Begun { who, detail: Json::Null, .. } if who == "v"));
    assert!(matches!(refused, Event::Ended { of: 1, status: 403, .. }));
    let Event::Begun { who, role, from, action, detail } = begun else { panic!("{begun:?}") };
    assert_eq!((who.as_str(), *role, from.as_str()), ("o", Role::Operator, "198.51.100.7:1234"));
    assert_eq!((action.as_str(), detail), ("POST /overrides?x=1", &json!({ "target": "site/tyo" })));
    assert!(matches!(ended, Event::Ended { of: 3, status: 200, .. }), "{ended:?}");
    assert_eq!(verify_folder(world.folder.path()).expect("readable").fault, None);
}

#[tokio::test]
async fn while_the_log_takes_nothing_only_what_takes_back_is_done() {
    let world = world().await;
    // Nobody can append to a folder, root neither.
    let path = world.folder.path().join(crate::audit::FILE);
    std::fs::create_dir(&path).expect("a folder in its place");
    let (status, text) = world.ask(remote(), "o", Method::POST, "/overrides").await;
    assert!(status == 507 && text.contains("nothing was done"), "{status} {text}");
    let (status, text) = world.ask(remote(), "o", Method::DELETE, "/overrides/7").await;
    assert_eq!((status, text.as_str()), (200, "o (operator)"));
    assert_eq!(world.ask(remote(), "v", Method::GET, "/status").await.0, 200);
    std::fs::remove_dir(&path).expect("empty");
    world.ask(remote(), "o", Method::POST, "/overrides").await;
    let told: Vec<String> = world
        .log()
        .iter()
        .map(|entry| match &entry.event {
            Event::Begun { action, .. } => action.clone(),
            Event::Ended { status, .. } => status.to_string(),
            Event::Noted { what } => what.clone(),
        })
        .collect();
    assert_eq!(told, ["DELETE /overrides/7", "200", "POST /overrides", "200"]);
}

#[test]
fn a_long_document_is_told_by_its_hash() {
    assert_eq!(brief(&Bytes::from_static(b"")), Json::Null);
    assert_eq!(brief(&Bytes::from_static(br#"{"a":1}"#)), json!({ "a": 1 }));
    let long = Bytes::from(vec![b' '; MOST_TOLD + 1]);
    assert_eq!(brief(&long)["octets"], json!(MOST_TOLD + 1));
    assert_eq!(brief(&Bytes::from_static(b"no json"))["octets"], json!(7));
    let files = json!({ "files": ["x".repeat(MOST_TOLD)], "why": "more weight" });
    let told = brief(&Bytes::from(files.to_string()));
    assert_eq!((&told["why"], &told["files"]["octets"]), (&json!("more weight"), &json!(MOST_TOLD + 4)));
}
