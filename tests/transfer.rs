//! Zone transfer end to end: `dig` asks for zones, `named` keeps a copy, and the serial rises with every
//! change, also across a kill.
//!
//! Without those programs a test says that it is skipped; with `RHUMB_REQUIRE_TOOLS` set it fails.

mod support;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use support::{Folder, Rhumb, exchange, free_port, query, wait_for};

const FLEET: &str = "\
version: 1
regions:
  asia: {}
sites:
  tyo: {region: asia, location: {lat: 35.68, lon: 139.69}}
nodes:
  n1: {site: tyo, addresses: [192.0.2.1]}
  n2: {site: tyo, addresses: [192.0.2.2, '2001:db8::2']}
";
const SERVICE: &str = "\
version: 1
hostnames: [live.example.test, '*.w.example.test']
pools:
  all: {members: [n1, n2]}
chains:
  - pools: [all]
";
const ZONE: &str = "\
$TTL 300
@ SOA ns1 hostmaster 7 2h 15m 2w 1m
@ NS ns1
ns1 A 192.0.2.53
www A 192.0.2.80
a.b TXT \"below an empty name\"
cut NS ns.cut
ns.cut A 192.0.2.99
";
const SECRET: &str = "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=";

/// Runs a program; `None`: it is not here, and the test may be skipped.
#[allow(clippy::disallowed_methods, reason = "the environment says whether a test may be skipped")]
#[allow(clippy::print_stderr, reason = "a skipped test says so")]
fn tool(program: &str, args: &[&str]) -> Option<String> {
    match Command::new(program).args(args).output() {
        Ok(output) => Some(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()),
        Err(error) => {
            let install = format!(
                "`{program}` does not run ({error}); Debian: `apt-get install bind9 bind9-utils bind9-dnsutils`"
            );
            assert!(std::env::var_os("RHUMB_REQUIRE_TOOLS").is_none(), "{install}");
            eprintln!("skipped: {install}");
            None
        }
    }
}

struct World {
    folder: Folder,
    port: u16,
    rhumb: Rhumb,
}

impl World {
    /// `transfer`: of rhumb.yaml; `more`: of rhumb.yaml too.
    fn start(transfer: &str, more: &str, has_service: bool) -> Self {
        let folder = Folder::with(&[("zones/example.test.zone", ZONE)]);
        if has_service {
            folder.write("fleet.yaml", FLEET);
            folder.write("services/live.yaml", SERVICE);
        }
        folder.write_server(&format!("transfer: {transfer}\n{more}"));
        let key = |name: &str| format!("key \"{name}\" {{ algorithm hmac-sha256; secret \"{SECRET}\"; }};\n");
        folder.write("keys.conf", &[key("first"), key("second")].concat());
        close(&folder.path("keys.conf"));
        let port = free_port();
        let rhumb = serve(&folder, port);
        Self { folder, port, rhumb }
    }

    fn restart(&mut self) {
        self.rhumb.kill();
        self.rhumb = serve(&self.folder, self.port);
    }

    fn dig(&self, args: &[&str]) -> Option<String> {
        let port = self.port.to_string();
        tool("dig", &[&["@127.0.0.1", "-p", &port, "+tries=1", "+time=5"][..], args].concat())
    }

    /// The serial that SOA answers show.
    fn serial(&self) -> u32 {
        let asked = query(9, "example.test", 6, None);
        let reply = exchange(([127, 0, 0, 1], self.port).into(), &asked).expect("an answer");
        serial_of(&reply)
    }
}

/// Of a reply whose first record is a SOA: its RDATA ends with five numbers, after which the OPT record is.
fn serial_of(reply: &[u8]) -> u32 {
    let opt = 11;
    let at = reply.len() - opt - 20;
    u32::from_be_bytes(reply[at..at + 4].try_into().expect("four octets"))
}

fn close(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("permissions");
}

fn serve(folder: &Folder, port: u16) -> Rhumb {
    let (dns, admin) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{}", free_port()));
    let (policies, state) = (folder.policies(), folder.state());
    let args = ["--policies", &policies, "--state", &state, "--listen", &dns, "--admin", &admin];
    let mut rhumb = Rhumb::spawn(&[&["serve", "--log", "human"][..], &args].concat());
    rhumb.wait_line("ready");
    rhumb
}

const FIRST: &str = "hmac-sha256:first:MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=";
const WRONG: &str = "hmac-sha256:first:AAAANDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=";
const UNKNOWN: &str = "hmac-sha256:other:MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=";

#[test]
fn a_key_opens_the_zone_and_nothing_else_does() {
    let world = World::start("{keys: keys.conf}", "", true);
    let Some(all) = world.dig(&["example.test", "AXFR", "-y", FIRST]) else { return };
    let records: Vec<Vec<&str>> = all
        .lines()
        .filter(|line| !line.starts_with(';') && !line.is_empty() && !line.contains("TSIG"))
        .map(|line| line.split_whitespace().collect())
        .collect();
    let shown = |owner: &str, rtype: &str| {
        let of = |fields: &&Vec<&str>| fields[0] == owner && fields[3] == rtype;
        records.iter().filter(of).map(|fields| fields[4..].join(" ")).collect::<Vec<_>>()
    };
    assert!(!all.contains("verify failure") && !all.contains("WARNING"), "{all}");
    assert_eq!(records.first(), records.last(), "the SOA first and last: {all}");
    assert_eq!(shown("example.test.", "SOA").len(), 2, "{all}");
    assert_eq!(shown("live.example.test.", "A"), ["192.0.2.1", "192.0.2.2"], "{all}");
    assert_eq!(shown("*.w.example.test.", "AAAA"), ["2001:db8::2"], "{all}");
    assert_eq!(shown("ns.cut.example.test.", "A"), ["192.0.2.99"], "glue: {all}");
    assert_eq!(shown("a.b.example.test.", "TXT"), ["\"below an empty name\""], "{all}");

    for (args, said) in [
        (&["example.test", "AXFR"][..], "EDE: 18"),
        (&["other.test", "AXFR", "-y", FIRST], "EDE: 20"),
        (&["example.test", "AXFR", "-y", WRONG], "BADSIG"),
        (&["example.test", "AXFR", "-y", UNKNOWN], "BADKEY"),
        (&["www.example.test", "A", "-y", UNKNOWN], "BADKEY"),
        (&["www.example.test", "A", "-y", FIRST], "192.0.2.80"),
        (&["live.example.test", "A", "-y", FIRST, "+tcp"], "192.0.2."),
        (&["example.test", "IXFR=7", "-y", FIRST, "+notcp"], "IN\tSOA"),
    ] {
        // Comments, so that status and options of failed transfers are shown.
        let out = world.dig(&[args, &["+ednsopt=15", "+comments", "+qr"]].concat()).expect("it ran before");
        assert!(out.contains(said), "{args:?}: no {said}: {out}");
    }
    let signed = world.dig(&["www.example.test", "A", "-y", FIRST]).expect("it ran before");
    assert!(!signed.contains("verify failure") && signed.contains("TSIG"), "{signed}");
}

#[test]
fn addresses_open_zones_and_ixfr_is_answered_as_axfr_or_with_the_soa() {
    let world = World::start("{allow: 127.0.0.0/8}", "", false);
    let Some(all) = world.dig(&["example.test", "IXFR=6", "+tcp"]) else { return };
    assert!(all.contains("www.example.test."), "{all}");
    let soa = world.dig(&["example.test", "IXFR=7", "+tcp", "+noall", "+answer"]).expect("it ran before");
    assert_eq!(soa.lines().filter(|line| line.contains("SOA")).count(), 1, "{soa}");
    assert!(!soa.contains("www."), "{soa}");
    let others = World::start("{allow: 192.0.2.0/24}", "", false);
    let refused = others.dig(&["example.test", "AXFR"]).expect("it ran before");
    assert!(refused.contains("Transfer failed"), "{refused}");
}

#[test]
fn the_serial_rises_with_the_content_also_across_a_kill() {
    let mut world = World::start("{allow: 127.0.0.0/8}", "", true);
    assert_eq!(world.serial(), 7, "as the file has it");
    let edit = |world: &World, to: &str| world.folder.write("zones/example.test.zone", to);
    edit(&world, &ZONE.replace("192.0.2.80", "192.0.2.81"));
    wait_for("a later serial", || (world.serial() == 8).then_some(()));
    // Policy changes what stands for a steered name.
    world.folder.write("services/live.yaml", &format!("{SERVICE}transfer_default: 192.0.2.7\n"));
    wait_for("a later serial", || (world.serial() == 9).then_some(()));
    // The file's own serial wins where it is later.
    edit(&world, &ZONE.replace("hostmaster 7", "hostmaster 20"));
    wait_for("the file's serial", || (world.serial() == 20).then_some(()));
    edit(&world, ZONE);
    world.restart();
    let after = world.serial();
    assert!(after >= 20, "{after}: never back");
    edit(&world, &ZONE.replace("192.0.2.80", "192.0.2.82"));
    world.restart();
    assert!(world.serial() > after, "edited while it was down: {} after {after}", world.serial());
    let shown = world.dig(&["example.test", "AXFR"]);
    let serial = world.serial().to_string();
    let is_shown =
        |all: String| all.lines().filter(|line| line.contains("SOA")).all(|it| it.contains(&serial));
    assert!(shown.is_none_or(is_shown), "transfers show what answers show");
}

#[test]
fn a_serial_once_shown_never_comes_back_for_other_content() {
    let mut world = World::start("{allow: 127.0.0.0/8}", "", false);
    for round in 0..3_u32 {
        let before = world.serial();
        let other = ZONE.replace("192.0.2.80", &format!("192.0.2.{}", 100 + round));
        world.folder.write("zones/example.test.zone", &other);
        // Without a pause: the process is killed as soon as anybody may have seen the serial.
        let shown =
            std::iter::repeat_with(|| world.serial()).take(1_000_000).find(|serial| *serial != before);
        let shown = shown.unwrap_or_else(|| panic!("round {round}: no later serial"));
        world.rhumb.kill();
        world.folder.write("zones/example.test.zone", ZONE);
        world.rhumb = serve(&world.folder, world.port);
        let after = world.serial();
        assert!(after > shown, "round {round}: {after} after {shown}, which stood for something else");
    }
}

/// A secondary, killed when dropped.
struct Named(Child);

impl Drop for Named {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start_named(folder: &Path, port: u16, primary: u16) -> Named {
    let path = folder.to_str().expect("UTF-8");
    let conf = format!(
        "options {{ directory \"{path}\"; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};
 pid-file \"{path}/pid\"; session-keyfile \"{path}/session\"; recursion no; dnssec-validation no;
 allow-query {{ any; }}; masterfile-format text; managed-keys-directory \"{path}\"; }};
controls {{ }};
key \"first\" {{ algorithm hmac-sha256; secret \"{SECRET}\"; }};
server 127.0.0.1 {{ keys first; }};
zone \"example.test\" {{ type secondary; file \"copy\"; primaries port {primary} {{ 127.0.0.1 key first; }};
 allow-notify {{ key first; }}; }};\n"
    );
    let file = folder.join("named.conf");
    std::fs::write(&file, conf).expect("writes");
    let log = std::fs::File::create(folder.join("log")).expect("a log");
    let child = Command::new("named")
        .args(["-g", "-c", file.to_str().expect("UTF-8"), "-p", &port.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn();
    Named(child.expect("named starts"))
}

#[test]
fn named_keeps_a_copy_of_a_signed_zone_and_is_told_of_changes() {
    if tool("named", &["-v"]).is_none() {
        return;
    }
    let secondary = free_port();
    let outer = tempfile::tempdir().expect("a temporary folder");
    let keys = outer.path().join("dnssec");
    let more = format!("dnssec: {{zones: all, keys: {}}}\n", keys.to_str().expect("UTF-8"));
    let folder = Folder::with(&[("zones/example.test.zone", ZONE)]);
    folder.write_server(&more);
    let (code, _, said) =
        support::run(&["keys", "generate", "example.test", "--policies", &folder.policies()]);
    assert_eq!(code, 0, "{said}");
    let transfer =
        format!("{{keys: keys.conf, secondaries: [{{address: 127.0.0.1:{secondary}, key: first}}]}}");
    let mut world = World::start(&transfer, &more, true);
    let _named = start_named(outer.path(), secondary, world.port);
    let server = ([127, 0, 0, 1], secondary).into();
    let copied = |name: &str, wanted: [u8; 4]| {
        let reply = exchange(server, &query(9, name, 1, None));
        reply.is_some_and(|reply| support::parse(&reply).addresses.contains(&wanted.into())).then_some(())
    };
    wait_for("the copy", || copied("www.example.test", [192, 0, 2, 80]));
    wait_for("the stand-in", || copied("live.example.test", [192, 0, 2, 1]));
    world.folder.write("zones/example.test.zone", &ZONE.replace("192.0.2.80", "192.0.2.81"));
    // The zone's refresh time is two hours: only NOTIFY can be so quick.
    wait_for("the change", || copied("www.example.test", [192, 0, 2, 81]));
    world.restart();
    world.folder.write("zones/example.test.zone", &ZONE.replace("192.0.2.80", "192.0.2.82"));
    wait_for("the change after a restart", || copied("www.example.test", [192, 0, 2, 82]));

    let all = world.dig(&["example.test", "AXFR", "-y", FIRST, "+nocomments"]).expect("dig");
    let zone = outer.path().join("zone");
    let records = all.lines().filter(|line| !line.contains("TSIG") && !line.starts_with(';'));
    std::fs::write(&zone, records.map(|line| format!("{line}\n")).collect::<String>()).expect("writes");
    let Some(verdict) = tool("dnssec-verify", &["-z", "-o", "example.test", zone.to_str().expect("UTF-8")])
    else {
        return;
    };
    assert!(verdict.contains("Zone fully signed"), "{verdict}");
}
