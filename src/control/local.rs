//! The local socket: the admin address for who is on the machine, where the kernel tells who that is.
//!
//! It is a unix socket in the abstract namespace, named after the admin address, so that the address is all
//! that has to be known to find it, in the same network namespace as the address itself; it leaves no file
//! behind, and a path of any length holds the state folder.

use crate::control::access::Caller;
use axum::extract::Request;
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::serve::IncomingStream;
use std::io;
use std::net::SocketAddr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::SocketAddr as LocalAddress;
use tokio::net::{TcpListener, UnixListener};

/// Where user ids have names.
const USERS: &str = "/etc/passwd";

/// The local socket of the rhumb with this admin address.
///
/// # Errors
/// None that an address can cause.
pub fn socket_of(admin: SocketAddr) -> io::Result<LocalAddress> {
    LocalAddress::from_abstract_name(format!("rhumb-admin/{admin}"))
}

/// Binds it.
///
/// # Errors
/// Another process has it: one that this one is about to replace, or one that took the name.
pub fn bind(admin: SocketAddr) -> io::Result<UnixListener> {
    let listener = std::os::unix::net::UnixListener::bind_addr(&socket_of(admin)?)?;
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

impl Connected<IncomingStream<'_, UnixListener>> for Caller {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        let Ok(peer) = stream.io().peer_cred() else {
            return Self::Local { user: "somebody unknown".to_owned(), may_all: false };
        };
        let own = rustix::process::geteuid().as_raw();
        Self::Local { user: user_name(peer.uid()), may_all: peer.uid() == 0 || peer.uid() == own }
    }
}

impl Connected<IncomingStream<'_, TcpListener>> for Caller {
    fn connect_info(stream: IncomingStream<'_, TcpListener>) -> Self {
        Self::Remote(*stream.remote_addr())
    }
}

/// Puts the [`Caller`] where [`admit`](super::access::admit) looks for it.
pub async fn introduce(mut request: Request) -> Request {
    if let Some(ConnectInfo(caller)) = request.extensions().get::<ConnectInfo<Caller>>().cloned() {
        request.extensions_mut().insert(caller);
    }
    request
}

/// By [`USERS`]; users that only a directory knows have their number.
fn user_name(uid: u32) -> String {
    let users = std::fs::read_to_string(USERS).unwrap_or_default();
    named(&users, uid).map_or_else(|| format!("uid {uid}"), str::to_owned)
}

fn named(users: &str, uid: u32) -> Option<&str> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let number = fields.nth(1)?.parse::<u32>().ok()?;
        (number == uid && !name.is_empty()).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_named_by_their_number() {
        let users =
            "root:x:0:0:root:/root:/bin/bash\nbroken\n:x:5::\nalice:x:1000:1000::/srv/alice:/bin/sh\n";
        assert_eq!(named(users, 0), Some("root"));
        assert_eq!(named(users, 1000), Some("alice"));
        assert_eq!((named(users, 5), named(users, 7)), (None, None));
    }

    #[tokio::test]
    async fn a_name_is_had_by_one_process_at_a_time() {
        let address = "127.0.0.1:1".parse().expect("an address");
        let held = bind(address).expect("free");
        assert_eq!(bind(address).expect_err("held").kind(), io::ErrorKind::AddrInUse);
        drop(held);
        bind(address).expect("free again");
    }
}
