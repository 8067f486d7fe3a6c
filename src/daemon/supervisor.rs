//! What a supervisor such as systemd is told (`sd_notify(3)`), and the sockets it opened (`sd_listen_fds(3)`).
//!
//! | when | sent to `NOTIFY_SOCKET` |
//! |---|---|
//! | DNS is answered | `READY=1`, `MAINPID` (a takeover makes another process the main one), `STATUS` |
//! | a reload begins | `RELOADING=1` and `MONOTONIC_USEC` (`Type=notify-reload`), then `READY=1` |
//! | twice per watchdog interval | `WATCHDOG=1`, as long as the writer is at work |
//! | a stop begins | `STOPPING=1` |
//!
//! Nothing waits for the supervisor: a message it has no room for is not sent.

use crate::serve::handover::Given;
use listenfd::ListenFd;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The supervisor, or nobody.
#[derive(Debug, Default)]
pub struct Supervisor {
    socket: Option<UnixDatagram>,
}

impl Supervisor {
    /// `address`: the value of `NOTIFY_SOCKET`, a path or, after an `@`, an abstract name.
    ///
    /// # Errors
    /// An address at which nobody listens.
    pub fn connect(address: Option<&OsStr>) -> io::Result<Self> {
        let Some(address) = address.filter(|address| !address.is_empty()) else {
            return Ok(Self::default());
        };
        let address = match address.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            path => SocketAddr::from_pathname(OsStr::from_bytes(path))?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket: Some(socket) })
    }

    pub fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nMAINPID={}\nSTATUS={status}\n", std::process::id()));
    }

    pub fn reloading(&self) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let now = Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0));
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={}\nSTATUS=reading the policy\n", now.as_micros()));
    }

    pub fn alive(&self) {
        self.tell("WATCHDOG=1\n");
    }

    pub fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=draining queries under way\n");
    }

    fn tell(&self, message: &str) {
        if let Some(socket) = &self.socket {
            let _ = socket.send(message.as_bytes());
        }
    }
}

/// Takes the sockets that `LISTEN_FDS` says are open. To be called once, before any thread is started,
/// since it removes what it reads from the environment.
///
/// # Errors
/// A descriptor that is neither a UDP socket nor a TCP listener: its number, and what it was taken for.
pub fn activated() -> io::Result<Given> {
    let mut listed = ListenFd::from_env();
    let mut given = Given { replaces_listen: listed.len() > 0, ..Given::default() };
    for index in 0..listed.len() {
        let descriptor = match listed.take_udp_socket(index) {
            Ok(socket) => socket.map(Into::into),
            Err(_) => listed.take_tcp_listener(index)?.map(Into::into),
        };
        if let Some(descriptor) = descriptor {
            given.add(descriptor, None)?;
        }
    }
    Ok(given)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_reach_a_path_and_an_abstract_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let name = format!("rhumb-supervisor-test-{}", std::process::id());
        let abstract_address = SocketAddr::from_abstract_name(&name).expect("an address");
        let cases = [
            (UnixDatagram::bind(&path).expect("binds"), path.into_os_string()),
            (UnixDatagram::bind_addr(&abstract_address).expect("binds"), format!("@{name}").into()),
        ];
        for (receiver, address) in cases {
            let supervisor = Supervisor::connect(Some(&address)).expect("connects");
            supervisor.ready("as a test");
            let mut buffer = [0; 256];
            let len = receiver.recv(&mut buffer).expect("a message");
            let text = std::str::from_utf8(&buffer[..len]).expect("text");
            assert!(text.starts_with("READY=1\nMAINPID=") && text.ends_with("STATUS=as a test\n"), "{text}");
        }
    }

    #[test]
    fn no_supervisor_is_told_nothing_and_an_absent_one_is_an_error() {
        Supervisor::connect(None).expect("nobody").alive();
        Supervisor::connect(Some(OsStr::new(""))).expect("nobody").stopping();
        assert!(Supervisor::connect(Some(OsStr::new("no/such/socket"))).is_err());
    }
}
