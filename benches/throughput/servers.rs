//! The servers that are measured, each a process of its own on the first processor: rhumb, an echo that
//! shows what the kernel alone costs, and the peers that are installed.
//!
//! All serve example.com with 100 names located by the same country database: Europe and Africa, the
//! Americas, and everywhere else get an address each.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const NAMES: usize = 100;
const START_WAIT: Duration = Duration::from_secs(30);

pub struct Server {
    pub name: &'static str,
    pub address: SocketAddr,
    child: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where a server keeps its files.
pub struct Place<'a> {
    pub folder: &'a Path,
    pub port: u16,
    /// Pins to processor 0.
    pub is_pinned: bool,
}

impl Place<'_> {
    fn folder(&self, name: &str) -> PathBuf {
        let folder = self.folder.join(name);
        fs::create_dir_all(&folder).expect("a folder below the temporary one");
        folder
    }

    fn start(&self, name: &'static str, program: &str, args: &[&str]) -> Server {
        let mut command = Command::new(if self.is_pinned { "taskset" } else { program });
        if self.is_pinned {
            command.args(["-c", "0", program]);
        }
        let log = fs::File::create(self.folder.join(format!("{name}.log"))).expect("a log file");
        let errors = log.try_clone().expect("a second handle");
        command.args(args).stdin(Stdio::null()).stdout(log).stderr(errors);
        let child = command.spawn().unwrap_or_else(|error| panic!("start {name} ({program}): {error}"));
        Server { name, address: SocketAddr::from(([127, 0, 0, 1], self.port)), child }
    }
}

impl Server {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the server replies to `question`.
    pub fn wait(&mut self, question: &[u8]) {
        let begin = Instant::now();
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
        while begin.elapsed() < START_WAIT {
            let status = self.child.try_wait().expect("a child of ours");
            assert!(status.is_none(), "{} ended while it started: {status:?}; see its log", self.name);
            let _ = socket.send_to(question, self.address);
            if socket.recv(&mut [0; 1_500]).is_ok() {
                return;
            }
        }
        panic!("{} does not answer on {}", self.name, self.address);
    }
}

/// Takes the second processor for the generator; false: there is only one, or no `taskset`.
pub fn pin() -> bool {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let own = std::process::id().to_string();
    let pinned = || Command::new("taskset").args(["-c", "-p", "1", &own]).output();
    let is_pinned = processors > 1 && pinned().is_ok_and(|output| output.status.success());
    if !is_pinned {
        println!("not pinned to processors, so the figures say little");
    }
    is_pinned
}

pub fn host(number: usize) -> String {
    format!("svc{number:02}.example.com")
}

fn hosts() -> impl Iterator<Item = String> {
    (0..NAMES).map(|number| format!("svc{number:02}"))
}

const HEAD: &str =
    "$ORIGIN example.com.\n$TTL 30\n@ SOA ns1 admin 1 3600 600 86400 60\n@ NS ns1\nns1 A 192.0.2.53\n";

/// This program again, as an echo.
pub fn echo(place: &Place<'_>) -> Server {
    let program = std::env::current_exe().expect("this program's path");
    place.start("echo", &program.to_string_lossy(), &["--echo", &place.port.to_string()])
}

pub fn rhumb(place: &Place<'_>) -> Server {
    rhumb_on(place, &rhumb_policies(place, false))
}

/// Writes the policy folder; a zone to be signed has its keys beside it.
pub fn rhumb_policies(place: &Place<'_>, is_signed: bool) -> PathBuf {
    let policies = place.folder("rhumb/policies");
    for folder in ["zones", "services"] {
        fs::create_dir_all(policies.join(folder)).expect("a folder below the temporary one");
    }
    let write = |name: &str, text: &str| fs::write(policies.join(name), text).expect("a policy file");
    write("zones/example.com.zone", HEAD);
    write("fleet.yaml", FLEET);
    write("clients.yaml", CLIENTS);
    write_service(&policies, 30);
    let keys = place.folder.join("rhumb/keys");
    let dnssec = format!("dnssec: {{zones: all, keys: \"{}\"}}\n", keys.display());
    let dnssec = if is_signed { &dnssec } else { "" };
    write(
        "rhumb.yaml",
        &format!("version: 1\nlisten: 127.0.0.1:{}\nadmin: 127.0.0.1:0\n{dnssec}", place.port),
    );
    policies
}

/// The steered names, in one move.
pub fn write_service(policies: &Path, ttl: u32) {
    let hostnames = hosts().map(|host| format!("  - {host}.example.com\n")).collect::<String>();
    let text = format!("version: 1\nhostnames:\n{hostnames}ttl: {ttl}\n{SERVICE}");
    let before = policies.with_file_name("svc.yaml.new");
    fs::write(&before, text).expect("a file beside the policy folder");
    fs::rename(before, policies.join("services/svc.yaml")).expect("a policy file");
}

pub fn rhumb_on(place: &Place<'_>, policies: &Path) -> Server {
    let state = place.folder("rhumb/state");
    let (policies, state) = (policies.to_string_lossy(), state.to_string_lossy());
    let args = ["serve", "--policies", &policies, "--state", &state];
    place.start("rhumb", env!("CARGO_BIN_EXE_rhumb"), &args)
}

const FLEET: &str = "\
version: 1
regions: {eu: {}, na: {}, as: {}}
sites:
  fra: {region: eu, location: {lat: 50, lon: 8}}
  iad: {region: na, location: {lat: 39, lon: -77}}
  sin: {region: as, location: {lat: 1, lon: 103}}
nodes:
  fra-1: {site: fra, addresses: [192.0.2.1]}
  iad-1: {site: iad, addresses: [192.0.2.2]}
  sin-1: {site: sin, addresses: [192.0.2.3]}
";
const CLIENTS: &str = "\
version: 1
areas:
  europe: {continents: [EU, AF]}
  americas: {continents: [NA, SA]}
";
const SERVICE: &str = "\
profile: cdn
pools:
  europe: {select: {region: eu}}
  americas: {select: {region: na}}
  asia: {select: {region: as}}
chains:
  - {area: europe, pools: [europe, americas, asia]}
  - {area: americas, pools: [americas, europe, asia]}
  - pools: [asia, americas, europe]
";

fn country_database() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("geo-data/country.mmdb")
}

fn is_installed(program: &str) -> bool {
    ["/usr/sbin", "/usr/bin", "/usr/local/sbin"].iter().any(|folder| Path::new(folder).join(program).exists())
}

/// Debian's package `gdnsd`. `None`: not installed.
pub fn gdnsd(place: &Place<'_>) -> Option<Server> {
    if !is_installed("gdnsd") {
        return None;
    }
    let folder = place.folder("gdnsd");
    for name in ["zones", "state", "run", "geoip"] {
        fs::create_dir_all(folder.join(name)).expect("a folder below the temporary one");
    }
    fs::copy(country_database(), folder.join("geoip/country.mmdb")).expect("the country database");
    let shown = folder.to_string_lossy();
    let config = format!(
        "options => {{ listen => 127.0.0.1:{}, udp_threads => 1, tcp_threads => 1, \
         run_dir => \"{shown}/run\", state_dir => \"{shown}/state\" }}\n\
         plugins => {{ geoip => {{ maps => {{ m => {{ geoip2_db => country.mmdb, \
         datacenters => [eu, na, as], \
         map => {{ EU => [eu], AF => [eu], NA => [na], SA => [na], default => [as] }} }} }} \
         resources => {{ r => {{ map => m, dcmap => {{ eu => 192.0.2.1, na => 192.0.2.2, as => 192.0.2.3 }} }} }} }} }}\n",
        place.port
    );
    fs::write(folder.join("config"), config).expect("a configuration");
    // It knows its zones by file name and takes no $ORIGIN in front.
    let head = HEAD.split_once('\n').map_or("", |(_, rest)| rest);
    let dynamic = hosts().map(|host| format!("{host} 30 DYNA geoip!r\n")).collect::<String>();
    fs::write(folder.join("zones/example.com"), format!("{head}{dynamic}")).expect("a zone");
    Some(place.start("gdnsd", "gdnsd", &["-c", &shown, "start"]))
}

/// Debian's packages `knot` and `knot-module-geoip`. `None`: not installed.
pub fn knot(place: &Place<'_>) -> Option<Server> {
    if !is_installed("knotd") {
        return None;
    }
    let folder = place.folder("knot");
    let shown = folder.to_string_lossy();
    let database = country_database();
    let config = format!(
        "server:\n    listen: 127.0.0.1@{}\n    rundir: {shown}\n    udp-workers: 1\n    tcp-workers: 1\n    \
         background-workers: 1\n    edns-client-subnet: on\ndatabase:\n    storage: {shown}\nmod-geoip:\n  \
         - id: g\n    config-file: {shown}/geo.conf\n    ttl: 30\n    mode: geodb\n    geodb-file: {}\n    \
         geodb-key: [continent/code]\nzone:\n  - domain: example.com\n    file: {shown}/example.com.zone\n    \
         module: mod-geoip/g\n",
        place.port,
        database.to_string_lossy(),
    );
    let elsewhere = hosts().map(|host| format!("{host} A 192.0.2.3\n")).collect::<String>();
    let located = hosts().map(|host| {
        let rule = |(continent, last)| format!("  - geo: \"{continent}\"\n    A: 192.0.2.{last}\n");
        let rules = [("EU", 1), ("AF", 1), ("NA", 2), ("SA", 2)].map(rule).concat();
        format!("{host}.example.com:\n{rules}")
    });
    fs::write(folder.join("knot.conf"), config).expect("a configuration");
    fs::write(folder.join("example.com.zone"), format!("{HEAD}{elsewhere}")).expect("a zone");
    fs::write(folder.join("geo.conf"), located.collect::<String>()).expect("the module's configuration");
    Some(place.start("knot", "knotd", &["-c", &folder.join("knot.conf").to_string_lossy()]))
}
