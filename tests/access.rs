//! Who may use the admin address, and the record of what they did, as operators meet it: the spawned binary.

#[path = "alerts/receiver.rs"]
#[allow(dead_code, reason = "the tests of alerts use more of it")]
mod receiver;
mod support;

use receiver::{Manner, Receiver};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use support::{Folder, Rhumb, free_port, run, wait_for};

const ZONE: &str = "$TTL 300
@ IN SOA ns1 hostmaster 1 3600 600 86400 60
@ IN NS ns1
ns1 IN A 127.0.0.1
";

struct World {
    folder: Folder,
    dns: SocketAddr,
    admin: SocketAddr,
}

impl World {
    fn new(settings: &str) -> Self {
        let folder = Folder::with(&[("zones/example.test.zone", ZONE)]);
        folder.write_server(settings);
        let local = || SocketAddr::from(([127, 0, 0, 1], free_port()));
        Self { folder, dns: local(), admin: local() }
    }

    fn serve(&self) -> Rhumb {
        self.folder.serve(self.dns, self.admin)
    }

    /// A command of the local user: exit code, standard output, standard error.
    fn rhumb(&self, args: &[&str]) -> (i32, String, String) {
        run(&[args, &["--admin", &self.admin.to_string()]].concat())
    }

    /// The file of a new token.
    fn token(&self, name: &str, role: &str) -> String {
        let (code, token, told) = self.rhumb(&["token", "create", name, "--role", role]);
        assert!(code == 0 && told.contains(&format!("{name} is let in as {role}")), "{told}");
        assert_eq!(token.trim().len(), 64, "{token}");
        let file = self.folder.root.path().join(format!("{name}.token"));
        std::fs::write(&file, token).expect("writes");
        file.to_str().expect("UTF-8").to_owned()
    }

    /// Over HTTP from "elsewhere": status line and body.
    fn http(&self, request: &str, token_file: Option<&str>) -> String {
        let mut stream = TcpStream::connect(self.admin).expect("connects");
        let token = token_file.map(|file| std::fs::read_to_string(file).expect("there"));
        let shown = token.map_or_else(String::new, |it| format!("authorization: Bearer {}\r\n", it.trim()));
        write!(stream, "{request} HTTP/1.1\r\nhost: rhumb\r\n{shown}connection: close\r\n\r\n")
            .expect("asks");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("answers");
        text
    }

    /// The first status is made after the start.
    fn wait_status(&self, token_file: &str) {
        wait_for("a status", || {
            let text = self.http("GET /status", Some(token_file));
            assert!(!text.starts_with("HTTP/1.1 40"), "{text}");
            text.starts_with("HTTP/1.1 200").then_some(())
        });
    }

    fn verify(&self) -> (i32, String, String) {
        run(&["audit", "verify", "--state", &self.folder.state()])
    }
}

#[test]
fn strangers_get_401_viewers_look_and_admins_give_and_take() {
    let world = World::new("admin_access: {metrics: [127.0.0.9/32]}\n");
    let mut rhumb = world.serve();
    for path in ["/status", "/metrics", "/journal", "/explain?name=a&client=192.0.2.1", "/tokens", "/nothing"]
    {
        let text = world.http(&format!("GET {path}"), None);
        assert!(text.starts_with("HTTP/1.1 401") && text.contains("rhumb token create"), "{path}: {text}");
        assert!(text.contains("www-authenticate: Bearer"), "{text}");
    }
    assert!(world.http("GET /healthz", None).starts_with("HTTP/1.1 200"));
    assert!(world.http("DELETE /tokens/alice", None).starts_with("HTTP/1.1 401"));
    let viewer = world.token("vera", "viewer");
    world.wait_status(&viewer);
    assert!(world.http("GET /metrics", Some(&viewer)).contains("rhumb_"));
    let refused = world.http("DELETE /tokens/vera", Some(&viewer));
    assert!(refused.starts_with("HTTP/1.1 403") && refused.contains("takes the role admin"), "{refused}");
    // The token decides, whoever shows it.
    let (code, _, told) =
        world.rhumb(&["token", "create", "eve", "--role", "admin", "--token-file", viewer.as_str()]);
    assert!(code == 2 && told.contains("vera has the role viewer"), "{told}");
    let (code, list, _) = world.rhumb(&["token", "list"]);
    assert!(code == 0 && list.contains("vera") && !list.contains("eve"), "{list}");
    // Also after a crash.
    rhumb.kill();
    let _rhumb = world.serve();
    world.wait_status(&viewer);
    let (code, told, _) = world.rhumb(&["token", "revoke", "vera"]);
    assert!(code == 0 && told.contains("let in no more"), "{told}");
    assert!(world.http("GET /status", Some(&viewer)).starts_with("HTTP/1.1 401"));
}

#[test]
fn mistakes_of_operators_say_what_to_do() {
    let world = World::new("");
    let (code, _, told) = world.rhumb(&["token", "create", "vera", "--role", "viewer"]);
    assert!(code == 2 && told.contains("no rhumb answers on"), "{told}");
    let _rhumb = world.serve();
    let viewer = world.token("vera", "viewer");
    for (args, expected) in [
        (&["token", "create", "vera", "--role", "viewer"][..], "revoke it first"),
        (&["token", "create", "a b", "--role", "viewer"], "letters, digits"),
        (&["token", "create", "x", "--role", "boss"], "there are viewer, operator and admin"),
        (&["token", "create", "x", "--role", "viewer", "--for", "90"], "write 150ms"),
        (&["token", "revoke", "nobody"], "rhumb token list"),
        (&["status", "--token-file", "/nothing"], "cannot use the token"),
    ] {
        let (code, _, told) = world.rhumb(args);
        assert!(code == 2 && told.contains(expected), "{args:?}: {told}");
    }
    std::fs::write(&viewer, "not this one").expect("writes");
    let (_, _, told) = world.rhumb(&["status", "--token-file", &viewer]);
    assert!(told.contains("it has to hold one word"), "{told}");
    std::fs::write(&viewer, "wrong\n").expect("writes");
    let (code, _, told) = world.rhumb(&["status", "--token-file", &viewer]);
    assert!(code == 2 && told.contains("was revoked"), "{told}");
}

#[test]
fn one_changed_octet_of_the_audit_log_is_found_and_a_crash_leaves_it_whole() {
    let world = World::new("");
    let (code, _, told) = world.verify();
    assert!(code == 2 && told.contains("nobody has done anything yet"), "{told}");
    let mut rhumb = world.serve();
    world.token("alice", "operator");
    rhumb.kill();
    let mut rhumb = world.serve();
    world.token("bob", "viewer");
    let (code, shown, _) = world.rhumb(&["audit", "show"]);
    // What was sent and answered stands below, further in.
    let told: Vec<&str> = shown.lines().filter(|line| !line.starts_with("      ")).collect();
    assert!(code == 0 && told.len() == 4, "{shown}");
    assert!(told[0].contains("POST /tokens") && shown.contains("alice"), "{shown}");
    assert!(told[3].contains("3: done (200)"), "{shown}");
    let hash = &std::fs::read_to_string(world.folder.root.path().join("bob.token")).expect("there")[..64];
    assert!(!shown.contains(hash), "no token is told");
    rhumb.terminate();
    let (code, told, _) = world.verify();
    assert!(code == 0 && told.contains("4 lines, none changed"), "{told}");
    let file = std::path::Path::new(&world.folder.state()).join("audit.jsonl");
    let mut octets = std::fs::read(&file).expect("there");
    let at = octets.windows(5).position(|window| window == b"alice").expect("told");
    octets[at] = b'e';
    std::fs::write(&file, &octets).expect("writes");
    let (code, told, _) = world.verify();
    assert!(code == 1 && told.contains("line 1: its hash does not fit it"), "{told}");
}

#[test]
fn off_loopback_the_admin_address_needs_a_certificate_and_with_one_it_speaks_tls_only() {
    let world = World::new("");
    world.folder.write_server("admin: \"0.0.0.0:8053\"\n");
    let (code, told, _) = run(&["check", &world.folder.policies()]);
    assert!(code == 1 && told.contains("admin-in-clear") && told.contains("rhumb.yaml"), "{told}");
    world.folder.write_server("");
    let (dns, admin) = (world.dns.to_string(), format!("0.0.0.0:{}", world.admin.port()));
    let (policies, state) = (world.folder.policies(), world.folder.state());
    let serve = ["serve", "--policies", &policies, "--state", &state, "--listen", &dns, "--admin", &admin];
    let (code, _, told) = run(&serve);
    assert!(code == 2 && told.contains("would be served in clear"), "{code} {told}");
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    std::fs::write(world.folder.path("admin.pem"), made.cert.pem()).expect("writes");
    std::fs::write(world.folder.path("admin.key"), made.signing_key.serialize_pem()).expect("writes");
    world.folder.write_server("admin_access: {certificate: admin.pem, key: admin.key}\n");
    let mut rhumb = Rhumb::spawn(&[&serve[..], &["--log", "human"]].concat());
    rhumb.wait_line("ready: DNS");
    let (code, token, told) = run(&["token", "create", "alice", "--role", "viewer", "--admin", &admin]);
    assert_eq!(code, 0, "the local socket needs no certificate: {told}");
    let file = world.folder.root.path().join("alice.token");
    std::fs::write(&file, token).expect("writes");
    let (file, ca) = (file.to_str().expect("UTF-8"), world.folder.path("admin.pem"));
    let ca = ca.to_str().expect("UTF-8");
    let host = format!("https://localhost:{}", world.admin.port());
    let from_elsewhere = ["status", "--admin", &host, "--admin-ca", ca];
    let (code, _, told) = run(&from_elsewhere);
    assert!(code == 2 && told.contains("a token is needed"), "{told}");
    let (code, told, error) = run(&[&from_elsewhere[..], &["--token-file", file]].concat());
    assert!(code == 0 && told.contains("generation"), "{told}{error}");
    let (code, _, told) = run(&["status", "--admin", &host, "--token-file", file]);
    assert!(code == 2 && told.contains("certificate"), "an authority that is not known: {told}");
    wait_for("the admin address to close", || {
        let mut clear = TcpStream::connect(("127.0.0.1", world.admin.port())).ok()?;
        clear.write_all(b"GET /healthz HTTP/1.1\r\nhost: rhumb\r\n\r\n").ok()?;
        let mut text = String::new();
        // Nothing in clear but TLS's own alert.
        let _ = clear.read_to_string(&mut text);
        assert!(!text.contains("HTTP"), "{text}");
        Some(())
    });
}

#[test]
fn the_audit_log_goes_to_a_webhook_line_by_line_also_what_it_missed_and_over_a_restart() {
    let hook = Receiver::start();
    let world =
        World::new(&format!("admin_access: {{audit_webhook: {{url: \"{}\"}}}}\n", hook.url("webhook")));
    let lines = || -> Vec<String> {
        let posts = hook.posts();
        let all = posts.iter().flat_map(|post| post["lines"].as_array().expect("a list").clone());
        all.map(|line| line.as_str().expect("text").to_owned()).collect()
    };
    let on_disk = || std::fs::read_to_string(format!("{}/audit.jsonl", world.folder.state())).expect("a log");
    let all_taken = |what: &str| {
        wait_for(what, || {
            let taken = lines();
            (on_disk().lines().map(str::to_owned).collect::<Vec<_>>() == taken).then_some(())
        });
    };
    let mut rhumb = world.serve();
    world.token("alice", "viewer");
    all_taken("the first lines to be taken");
    hook.be(Manner::Fail);
    world.token("bob", "viewer");
    wait_for("the problem", || {
        let (_, told, _) = world.rhumb(&["status"]);
        (told.contains("audit-unsent") && told.contains("500")).then_some(())
    });
    rhumb.kill();
    hook.be(Manner::Take);
    let _rhumb = world.serve();
    world.token("carol", "viewer");
    all_taken("what was missed, once and in order");
}
