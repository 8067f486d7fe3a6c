//! Sockets that leave the machine where a vantage stands: from one of its addresses, by one of its interfaces.
//!
//! A vantage without a source of its own gets what the machine's routes say. What cannot be bound here is
//! trouble of this machine: an address that is gone says nothing of a node.

use super::failure::Fault;
use crate::model::judgement::Source;
use socket2::SockRef;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use tokio::net::{TcpSocket, TcpStream, UdpSocket};

/// Whether a target can be reached from there at all.
pub(super) fn suits(source: &Source, target: SocketAddr) -> bool {
    source.address.is_none_or(|address| address.is_ipv4() == target.is_ipv4())
}

/// A connection to `target`.
pub(super) async fn connected(target: SocketAddr, source: &Source) -> Result<TcpStream, Fault> {
    if *source == Source::default() {
        return TcpStream::connect(target).await.map_err(|error| Fault::of_io(&error));
    }
    let socket = if target.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let socket = socket.map_err(|error| Fault::of_io(&error))?;
    place(&socket, source)?;
    socket.connect(target).await.map_err(|error| Fault::of_io(&error))
}

/// A socket that speaks with the target only.
pub(super) async fn datagrams(target: SocketAddr, source: &Source) -> Result<UdpSocket, Fault> {
    let any: SocketAddr = match (source.address, target) {
        (Some(address), _) => (address, 0).into(),
        (None, SocketAddr::V4(_)) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        (None, SocketAddr::V6(_)) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await.map_err(|error| misplaced(&error, source))?;
    place(&socket, &Source { address: None, interface: source.interface.clone() })?;
    socket.connect(target).await.map_err(|error| Fault::of_io(&error))?;
    Ok(socket)
}

/// Binds a socket that is not yet connected.
pub(super) fn place(socket: &impl AsFd, source: &Source) -> Result<(), Fault> {
    let socket = SockRef::from(socket);
    if let Some(interface) = &source.interface {
        socket.bind_device(Some(interface.as_bytes())).map_err(|error| misplaced(&error, source))?;
    }
    if let Some(address) = source.address {
        socket.bind(&SocketAddr::new(address, 0).into()).map_err(|error| misplaced(&error, source))?;
    }
    Ok(())
}

fn misplaced(error: &io::Error, source: &Source) -> Fault {
    let remedy = match error.kind() {
        ErrorKind::AddrNotAvailable => "correct `source` of the vantage, or give this machine the address",
        ErrorKind::PermissionDenied => "give this process CAP_NET_RAW, or a `source` instead of an interface",
        _ => "correct `source` and `interface` of the vantage",
    };
    let from = [source.address.map(|address| address.to_string()), source.interface.clone()];
    let from: Vec<String> = from.into_iter().flatten().collect();
    Fault::of_machine(format!("cannot probe from {}: {error}; {remedy}", from.join(" on ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    fn from(address: &str) -> Source {
        Source { address: Some(address.parse().expect("an address")), interface: None }
    }

    #[tokio::test]
    async fn sockets_leave_from_the_source() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let target = listener.local_addr().expect("bound");
        let stream = connected(target, &from("127.9.8.7")).await.expect("connects");
        assert_eq!(stream.local_addr().expect("bound").ip().to_string(), "127.9.8.7");
        assert_eq!(listener.accept().await.expect("comes").1.ip().to_string(), "127.9.8.7");
        let socket = datagrams(target, &from("127.9.8.7")).await.expect("binds");
        assert_eq!(socket.local_addr().expect("bound").ip().to_string(), "127.9.8.7");
        let plain = connected(target, &Source::default()).await.expect("connects");
        assert_eq!(plain.local_addr().expect("bound").ip().to_string(), "127.0.0.1");
    }

    #[tokio::test]
    async fn a_source_that_is_not_ours_is_no_evidence_about_the_node() {
        let target: SocketAddr = "127.0.0.1:9".parse().expect("an address");
        for source in
            [from("192.0.2.77"), Source { address: None, interface: Some("rhumb-none0".to_owned()) }]
        {
            let fault = connected(target, &source).await.expect_err("cannot be bound");
            assert!(fault.local && fault.detail.starts_with("cannot probe from "), "{}", fault.detail);
            assert!(datagrams(target, &source).await.expect_err("cannot be bound").local);
        }
        assert!(suits(&from("127.0.0.1"), target) && !suits(&from("::1"), target));
    }
}
