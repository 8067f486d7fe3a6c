//! A network of the test's own: namespaces around a hub that forwards between them and breaks what it is
//! told to.
//!
//! ```text
//!  10.77.0.2  scheduler ─┐
//!  10.77.1.x  fleet ─────┼─ hub: forwards, filters (nft), delays (TUN)
//!  10.77.2.x  world ─────┘
//! ```
//! Member i has the network 10.77.i.0/24, the hub is .1 in each. Nothing of it touches the machine's own
//! network, and all of it is gone when it is dropped.

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

static COUNT: AtomicU32 = AtomicU32::new(0);

pub struct Net {
    tag: String,
    members: Vec<&'static str>,
}

/// Runs a command that has to succeed.
fn must(program: &str, args: &[&str]) {
    if let Err(said) = attempt(program, args) {
        panic!("{program} {}: {said}", args.join(" "));
    }
}

fn attempt(program: &str, args: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(args).output().map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

impl Net {
    /// `None`: this machine does not let us, which is said, and is a failure where
    /// `RHUMB_REQUIRE_TOOLS` is set.
    pub fn new(members: &[&'static str]) -> Option<Self> {
        let tag = format!("rhumb{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let net = Self { tag, members: members.to_vec() };
        let usable = attempt("ip", &["netns", "add", &net.name("hub")])
            .and_then(|()| attempt("ip", &["netns", "exec", &net.name("hub"), "nft", "list", "ruleset"]));
        if let Err(why) = usable {
            let needs = format!("network namespaces need root, iproute2 and nftables: {why}");
            assert!(std::env::var_os("RHUMB_REQUIRE_TOOLS").is_none(), "{needs}");
            eprintln!("skipped: {needs}");
            return None;
        }
        net.build();
        Some(net)
    }

    fn build(&self) {
        self.hub("ip link set lo up");
        self.hub("echo 1 > /proc/sys/net/ipv4/ip_forward");
        for (at, member) in self.members.iter().enumerate() {
            let (hub, name) = (self.name("hub"), self.name(member));
            must("ip", &["netns", "add", &name]);
            let port = format!("port{at}");
            let peer = ["peer", "name", "eth0", "netns", &name];
            let link = ["-n", &hub, "link", "add", &port, "type", "veth"];
            must("ip", &[&link[..], &peer[..]].concat());
            must("ip", &["-n", &hub, "addr", "add", &format!("10.77.{at}.1/24"), "dev", &port]);
            must("ip", &["-n", &hub, "link", "set", &port, "up"]);
            must("ip", &["-n", &name, "link", "set", "lo", "up"]);
            must("ip", &["-n", &name, "addr", "add", &format!("10.77.{at}.2/24"), "dev", "eth0"]);
            must("ip", &["-n", &name, "link", "set", "eth0", "up"]);
            must("ip", &["-n", &name, "route", "add", "default", "via", &format!("10.77.{at}.1")]);
        }
        self.hub("nft add table inet faults");
        self.hub("nft add chain inet faults forward '{ type filter hook forward priority 0; }'");
    }

    /// A second way to everybody else for a member: `eth1`, in the network 10.77.100+i.0/24, which is taken by
    /// who asks for that interface.
    pub fn second_link(&self, member: &str) {
        let at = self.members.iter().position(|known| *known == member).expect("a member");
        let (hub, name, port) = (self.name("hub"), self.name(member), format!("second{at}"));
        let (near, far) = (format!("10.77.{}.2/24", 100 + at), format!("10.77.{}.1", 100 + at));
        let peer = ["peer", "name", "eth1", "netns", &name];
        must("ip", &[&["-n", &hub, "link", "add", &port, "type", "veth"][..], &peer[..]].concat());
        must("ip", &["-n", &hub, "addr", "add", &format!("{far}/24"), "dev", &port]);
        must("ip", &["-n", &hub, "link", "set", &port, "up"]);
        must("ip", &["-n", &name, "addr", "add", &near, "dev", "eth1"]);
        must("ip", &["-n", &name, "link", "set", "eth1", "up"]);
        must("ip", &["-n", &name, "route", "add", "default", "via", &far, "dev", "eth1", "metric", "100"]);
        // Answers come back over a link that is not the best way to who sent them.
        let script = "for file in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 > $file; done";
        must("ip", &["netns", "exec", &name, "sh", "-c", script]);
    }

    pub fn name(&self, member: &str) -> String {
        format!("{}-{member}", self.tag)
    }

    /// A further address of a member.
    pub fn add_address(&self, member: &str, host: u8) -> Ipv4Addr {
        let at = self.members.iter().position(|known| *known == member).expect("a member");
        let at = u8::try_from(at).expect("few members");
        let address = Ipv4Addr::new(10, 77, at, host);
        must("ip", &["-n", &self.name(member), "addr", "add", &format!("{address}/24"), "dev", "eth0"]);
        address
    }

    fn hub(&self, script: &str) {
        must("ip", &["netns", "exec", &self.name("hub"), "sh", "-c", script]);
    }

    /// Breaks something: a rule of nft for what the hub forwards.
    pub fn fault(&self, rule: &str) {
        self.hub(&format!("nft 'add rule inet faults forward {rule}'"));
    }

    /// Mends everything that `fault` broke.
    pub fn heal(&self) {
        self.hub("nft flush chain inet faults forward");
    }

    /// Sends what arrives for `address` through `device` of the hub instead of straight on.
    pub fn divert(&self, address: Ipv4Addr, device: &str) {
        self.hub(&format!("ip link set {device} up; ip route add default dev {device} table 77"));
        for at in 0..self.members.len() {
            self.hub(&format!("ip rule add iif port{at} to {address} lookup 77"));
        }
        self.hub(&format!("echo 0 > /proc/sys/net/ipv4/conf/{device}/rp_filter"));
        self.hub("echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter");
    }

    /// Undoes `divert`.
    pub fn straighten(&self) {
        self.hub("while ip rule del lookup 77 2>/dev/null; do :; done");
    }

    /// Runs `work` on a thread that is in the member's namespace; what it opens stays there.
    pub fn within<T: Send>(&self, member: &str, work: impl FnOnce() -> T + Send) -> T {
        let path = format!("/run/netns/{}", self.name(member));
        let enter = move || {
            let namespace = std::fs::File::open(&path).expect("the namespace is there");
            let kind = rustix::thread::LinkNameSpaceType::Network;
            let entered =
                rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), Some(kind));
            entered.expect("root may enter it");
            work()
        };
        std::thread::scope(|scope| {
            scope.spawn(enter).join().unwrap_or_else(|why| std::panic::resume_unwind(why))
        })
    }

    /// A command whose process is in the member's namespace.
    pub fn command(&self, member: &str, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name(member), program]);
        command
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for member in self.members.iter().copied().chain(["hub"]) {
            let _ = attempt("ip", &["netns", "del", &self.name(member)]);
        }
    }
}
