//! All sockets, or none and the reason.
//!
//! UDP sockets share a port by `SO_REUSEPORT`, one per worker, and so would those of a second rhumb,
//! which would then silently take half of the queries. So each port is first bound without it: that
//! fails if anybody else has it.

use super::certificate::Purpose;
use super::handover::{Given, Served};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

/// Sockets of one address at most.
pub const MAX_WORKERS: usize = 256;
/// Room for queries that arrive while a worker is busy; the kernel may grant less.
const RECEIVE_BUFFER: usize = 4 << 20;
/// How long an idle worker waits before it looks at the stop flag.
pub(crate) const RECEIVE_WAIT: Duration = Duration::from_millis(250);
const SEND_WAIT: Duration = Duration::from_millis(50);
const BACKLOG: i32 = 1_024;
/// Attempts to find a port that is free for UDP and TCP, when any will do.
const PORT_ATTEMPTS: usize = 32;

/// Why an address cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error(
        "cannot listen on {address} ({protocol}): another process already serves this port; stop it \
         (`ss -lntup` shows it) or choose another address"
    )]
    InUse { address: SocketAddr, protocol: &'static str },
    #[error(
        "cannot listen on {address} ({protocol}): ports below 1024 need a right; grant CAP_NET_BIND_SERVICE \
         or choose a higher port"
    )]
    Permission { address: SocketAddr, protocol: &'static str },
    #[error(
        "cannot listen on {address} ({protocol}): this host does not have the address; `ip address` shows \
         those it has"
    )]
    NotLocal { address: SocketAddr, protocol: &'static str },
    #[error(
        "cannot listen on {address} ({protocol}): the process before this one serves {serves} there, and a \
         takeover does not change what an address is for; restart instead, or choose another address"
    )]
    OtherUse { address: SocketAddr, protocol: &'static str, serves: &'static str },
    #[error("cannot listen on {address} ({protocol})")]
    Other { address: SocketAddr, protocol: &'static str, source: io::Error },
    #[error("there is no address to listen on; name at least one")]
    NoAddress,
}

impl BindError {
    fn new(address: SocketAddr, protocol: &'static str, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::InUse { address, protocol },
            io::ErrorKind::PermissionDenied => Self::Permission { address, protocol },
            io::ErrorKind::AddrNotAvailable => Self::NotLocal { address, protocol },
            _ => Self::Other { address, protocol, source },
        }
    }
}

/// Bound sockets that nobody reads yet.
#[derive(Debug)]
pub struct BoundDns {
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) udp: Vec<UdpSocket>,
    pub(super) tcp: Vec<TcpListener>,
    pub(super) workers_per_address: usize,
}

impl BoundDns {
    /// In the order given, ports filled in.
    pub fn local_addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// So many of those that answer do so over UDP, the first ones.
    pub fn udp_workers(&self) -> usize {
        self.udp.len()
    }

    /// Adds the sockets themselves, to be handed over one day, to `given`. As long as `given` lives,
    /// they stay open.
    ///
    /// # Errors
    /// No descriptor left.
    pub fn share(&self, given: &mut Given) -> io::Result<()> {
        for socket in &self.udp {
            given.add(socket.try_clone()?.into(), Some(Served::Plain))?;
        }
        for listener in &self.tcp {
            given.add(listener.try_clone()?.into(), Some(Served::Plain))?;
        }
        Ok(())
    }
}

/// Binds UDP (`workers` sockets each) and TCP on every address. Port 0 takes any port free for both.
///
/// # Errors
/// The first address that cannot be served; nothing stays bound.
pub fn bind(listen: &[SocketAddr], workers: usize) -> Result<BoundDns, BindError> {
    bind_given(listen, workers, &mut Given::default())
}

/// As [`bind`], but takes the sockets of an address from `given` where it has them. All of them are
/// read, by more workers than asked for if there are more; where there are fewer, workers share them.
///
/// # Errors
/// As [`bind`].
pub fn bind_given(listen: &[SocketAddr], workers: usize, given: &mut Given) -> Result<BoundDns, BindError> {
    if listen.is_empty() {
        return Err(BindError::NoAddress);
    }
    let workers = workers.clamp(1, MAX_WORKERS);
    let mut bound =
        BoundDns { addresses: Vec::new(), udp: Vec::new(), tcp: Vec::new(), workers_per_address: workers };
    for (index, &address) in listen.iter().enumerate() {
        if listen[..index].contains(&address) && address.port() != 0 {
            continue;
        }
        bind_one(&mut bound, address, workers, given)?;
    }
    Ok(bound)
}

fn bind_one(
    bound: &mut BoundDns,
    address: SocketAddr,
    workers: usize,
    given: &mut Given,
) -> Result<(), BindError> {
    let udp = given.take_udp(address, Served::Plain);
    let listener = given.take_tcp(address, Served::Plain);
    if udp.is_empty() {
        refuse_other(address, "UDP", given.udp_serves(address))?;
    }
    let (address, listener) = match listener {
        Some(listener) => (address, listener),
        None if given.tcp_serves(address).is_some() => {
            return refuse_other(address, "TCP", given.tcp_serves(address));
        }
        // The port is known to be ours.
        None if !udp.is_empty() => {
            (address, tcp_listener(address).map_err(|error| BindError::new(address, "TCP", error))?)
        }
        None => bind_tcp(address)?,
    };
    let failed = |error| BindError::new(address, "UDP", error);
    if udp.is_empty() {
        for _ in 0..workers {
            bound.udp.push(udp_socket(address, true).map_err(failed)?.into());
        }
    } else {
        bound.udp.extend(adopt(udp, address, workers).map_err(failed)?);
    }
    bound.tcp.push(listener);
    bound.addresses.push(address);
    Ok(())
}

/// A socket that the process before this one uses for something else cannot be bound again either.
fn refuse_other(
    address: SocketAddr,
    protocol: &'static str,
    serves: Option<Served>,
) -> Result<(), BindError> {
    match serves {
        Some(serves) => Err(BindError::OtherUse { address, protocol, serves: serves.name() }),
        None => Ok(()),
    }
}

/// Makes sockets that another process opened like our own, and as many as there are workers at least.
fn adopt(sockets: Vec<UdpSocket>, address: SocketAddr, workers: usize) -> io::Result<Vec<UdpSocket>> {
    for socket in &sockets {
        let socket = SockRef::from(socket);
        socket.set_nonblocking(false)?;
        socket.set_read_timeout(Some(RECEIVE_WAIT))?;
        socket.set_write_timeout(Some(SEND_WAIT))?;
        if address.ip().is_unspecified() {
            super::udp_batch::ask_for_local_address(&*socket, address.is_ipv6())?;
        }
    }
    let shared = sockets.len();
    let more: Vec<UdpSocket> =
        (shared..workers).map(|index| sockets[index % shared].try_clone()).collect::<io::Result<_>>()?;
    Ok(sockets.into_iter().chain(more).collect())
}

/// The TCP listener, on a port that was just found free for UDP too.
fn bind_tcp(address: SocketAddr) -> Result<(SocketAddr, TcpListener), BindError> {
    let attempts = if address.port() == 0 { PORT_ATTEMPTS } else { 1 };
    let mut last = BindError::NoAddress;
    for _ in 0..attempts {
        let probe = udp_socket(address, false).map_err(|error| BindError::new(address, "UDP", error))?;
        let chosen = probe.local_addr().ok().and_then(|found| found.as_socket()).unwrap_or(address);
        match tcp_listener(chosen) {
            Ok(listener) => return Ok((chosen, listener)),
            Err(error) => last = BindError::new(chosen, "TCP", error),
        }
    }
    Err(last)
}

fn udp_socket(address: SocketAddr, is_shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if is_shared {
        socket.set_reuse_port(true)?;
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        socket.set_read_timeout(Some(RECEIVE_WAIT))?;
        socket.set_write_timeout(Some(SEND_WAIT))?;
        if address.ip().is_unspecified() {
            super::udp_batch::ask_for_local_address(&socket, address.is_ipv6())?;
        }
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

/// A listener that does not block, for tokio.
pub(super) fn tcp_listener(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Connections of a process before this one may still be in TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Binds listeners of another protocol over TCP, or takes them from `given`.
pub(super) fn bind_streams_given(
    listen: &[SocketAddr],
    purpose: Purpose,
    given: &mut Given,
) -> Result<(Vec<SocketAddr>, Vec<TcpListener>), BindError> {
    let mut bound = (Vec::new(), Vec::new());
    for &address in listen {
        let listener = match given.take_tcp(address, purpose.into()) {
            Some(listener) => listener,
            None => {
                refuse_other(address, purpose.name(), given.tcp_serves(address))?;
                tcp_listener(address).map_err(|error| BindError::new(address, purpose.name(), error))?
            }
        };
        bound.0.push(listener.local_addr().unwrap_or(address));
        bound.1.push(listener);
    }
    Ok(bound)
}

/// Binds sockets of another protocol over UDP, or takes them from `given`.
pub(super) fn bind_datagrams_given(
    listen: &[SocketAddr],
    purpose: Purpose,
    given: &mut Given,
) -> Result<(Vec<SocketAddr>, Vec<UdpSocket>), BindError> {
    let mut bound = (Vec::new(), Vec::new());
    for &address in listen {
        let open = || {
            let socket = udp_socket(address, false)?;
            socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
            Ok(UdpSocket::from(socket))
        };
        let socket = match given.take_udp(address, purpose.into()).pop() {
            Some(socket) => socket,
            None => {
                refuse_other(address, purpose.name(), given.udp_serves(address))?;
                open().map_err(|error| BindError::new(address, purpose.name(), error))?
            }
        };
        bound.0.push(socket.local_addr().unwrap_or(address));
        bound.1.push(socket);
    }
    Ok(bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_port_for_udp_and_tcp_of_every_worker() {
        let any: SocketAddr = "127.0.0.1:0".parse().expect("address");
        let bound = bind(&[any], 3).expect("free port");
        let address = bound.local_addresses()[0];
        assert_ne!(address.port(), 0);
        assert_eq!(bound.udp.len(), 3);
        for socket in &bound.udp {
            assert_eq!(socket.local_addr().expect("bound"), address);
        }
        assert_eq!(bound.tcp[0].local_addr().expect("bound"), address);
        let twice = bind(&[any, any], 1).expect("two free ports");
        assert_eq!(twice.local_addresses().len(), 2);
    }

    #[test]
    fn a_port_served_by_another_is_refused_with_a_remedy() {
        let first = bind(&["127.0.0.1:0".parse().expect("address")], 2).expect("free port");
        let address = first.local_addresses()[0];
        let message = bind(&[address], 2).expect_err("taken").to_string();
        let expected = format!("cannot listen on {address} (UDP): another process already serves this port");
        assert!(message.starts_with(&expected), "{message}");
        drop(first);
        let taken = TcpListener::bind(address).expect("free again");
        let message = bind(&[taken.local_addr().expect("bound")], 1).expect_err("taken").to_string();
        assert!(message.contains("(TCP): another process"), "{message}");
    }

    #[test]
    fn an_address_of_another_host_is_named() {
        let address = "192.0.2.1:5353".parse().expect("address");
        let message = bind(&[address], 1).expect_err("not ours").to_string();
        assert!(message.starts_with("cannot listen on 192.0.2.1:5353 (UDP): this host"), "{message}");
        assert!(matches!(bind(&[], 1), Err(BindError::NoAddress)));
        let kind = io::ErrorKind::PermissionDenied;
        let message = BindError::new(address, "TCP", io::Error::from(kind)).to_string();
        assert!(message.contains("CAP_NET_BIND_SERVICE"), "{message}");
    }
}
