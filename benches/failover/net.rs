//! A network of the bench's own, in which packets can be dropped: loopback alone, with nft.

use std::net::IpAddr;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};

/// Says to the program that it runs in such a network.
const MARK: &str = "RHUMB_FAILOVER_NETWORK";
const UNSHARE: [&str; 3] = ["--user", "--map-root-user", "--net"];
const PREPARE: &str = "ip link set lo up && nft add table inet faults";

/// Becomes this program in a network of its own, or tells why not. A code: that failed.
pub fn enter() -> Option<ExitCode> {
    if is_own() {
        return None;
    }
    let trial = Command::new("unshare")
        .args(UNSHARE)
        .args(["sh", "-c", PREPARE])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())
        .and_then(|output| match output.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        });
    if let Err(why) = trial {
        println!("no network of its own (needs unshare, ip, nft and the permission): {why}");
        return None;
    }
    let program = std::env::current_exe().expect("the program knows where it is");
    let script = format!("{PREPARE} && exec \"$0\" \"$@\"");
    let error = Command::new("unshare")
        .args(UNSHARE)
        .args(["sh", "-c", &script])
        .arg(program)
        .args(std::env::args_os().skip(1))
        .env(MARK, "1")
        .exec();
    println!("cannot start again in a network of its own: {error}");
    Some(ExitCode::FAILURE)
}

pub fn is_own() -> bool {
    std::env::var_os(MARK).is_some()
}

/// Drops every packet to these addresses, and to these ports of `::1`.
pub fn drop_packets(addresses: &[IpAddr], ports: &[u16]) {
    let mut rules =
        "add table inet faults\nadd chain inet faults input { type filter hook input priority 0; }\n"
            .to_owned();
    for address in addresses {
        rules.push_str(&format!("add rule inet faults input ip daddr {address} drop\n"));
    }
    for port in ports {
        rules.push_str(&format!("add rule inet faults input ip6 daddr ::1 tcp dport {port} drop\n"));
    }
    nft(&rules);
}

/// Undoes all of it.
pub fn heal() {
    nft("delete table inet faults\nadd table inet faults\n");
}

fn nft(rules: &str) {
    assert!(is_own(), "rules are for a network of our own alone");
    let status = Command::new("nft").arg(rules).stdin(Stdio::null()).status();
    assert!(status.expect("nft runs").success(), "{rules}");
}
