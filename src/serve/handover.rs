//! Open sockets passed from one process to another, so that no queued packet is lost between them.
//!
//! ```text
//!  guest (newcomer)                              host (running)
//!  connect state/takeover ─────────────────────▶ same user?
//!  reads policy, recalls the table
//!  Hello ──────────────────────────────────────▶
//!        ◀──────────────── Sockets, descriptors  (still answering)
//!  answers from the same sockets
//!  Serving ────────────────────────────────────▶ stops reading, keeps its last table
//!        ◀─────────────────────────────── Parted
//!  writes the state folder from here on          drains its connections, ends
//! ```
//!
//! A group of `SO_REUSEPORT` sockets would not do: what waits in a socket that closes is lost. The
//! descriptors themselves go over (`SCM_RIGHTS`), and with them the lock of the state folder, which
//! belongs to the open file and so never comes free in between. The secrets of cookies go with them, over
//! a socket that only the same user can open. Whatever fails before `Serving` leaves
//! the host as it was. Connections already accepted stay with the host.

use super::certificate::Purpose;
use crate::base::clock::WallTime;
use crate::dns::CookieSecrets;
use arc_swap::ArcSwap;
use data_encoding::HEXLOWER;
use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};
use socket2::{SockRef, Type};
use std::fs::{File, Permissions};
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Name of the socket in the state folder.
const SOCKET: &str = "takeover";
/// Bumped when the conversation changes; other versions are refused.
const VERSION: u32 = 1;
/// Descriptors in one message; the kernel takes 253.
const CHUNK: usize = 128;
/// Sockets of one handover at most.
const MAX_DESCRIPTORS: usize = 8_192;
const MAX_MESSAGE: usize = 256 * 1_024;
/// For the guest to read its policy and make its first table.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// For everything else.
const PATIENCE: Duration = Duration::from_secs(15);

/// Why nothing was handed over.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    #[error("the process at the other end belongs to user {theirs}, not to {ours}; run both as one user")]
    User { theirs: u32, ours: u32 },
    #[error(
        "the process at the other end speaks version {0} of the handover, this one {VERSION}; restart instead"
    )]
    Version(u32),
    #[error("the process at the other end did not keep to the order of the handover")]
    Order,
    #[error("the process at the other end does not go on with the handover")]
    Silent,
    #[error("cannot {what} for a takeover")]
    Io { what: &'static str, source: io::Error },
}

impl HandoverError {
    fn io(what: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| match source.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Self::Silent,
            ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => Self::Silent,
            _ => Self::Io { what, source },
        }
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Message {
    Hello {
        version: u32,
    },
    Sockets {
        version: u32,
        count: usize,
        has_lock: bool,
        replaces_listen: bool,
        /// Secrets of cookies, hexadecimal; a host that does not know of them sends none.
        #[serde(default)]
        cookies: Vec<String>,
        /// When the first of them was made, in milliseconds since 1970; 0: not told.
        #[serde(default)]
        cookies_made: WallTime,
        /// Of each socket in turn; a host that does not know of them sends none.
        #[serde(default)]
        serves: Vec<Served>,
    },
    Serving,
    Parted,
}

/// What a socket is open for. What waits in it is of that protocol, and clients find it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Served {
    /// DNS over UDP and TCP.
    Plain,
    Dot,
    Doh,
    Doq,
    Reports,
    Measure,
    Admin,
    StatusPage,
}

impl Served {
    pub const fn name(self) -> &'static str {
        match self {
            Served::Plain => "plain DNS",
            Served::Dot => Purpose::Dot.name(),
            Served::Doh => Purpose::Doh.name(),
            Served::Doq => Purpose::Doq.name(),
            Served::Reports => Purpose::Reports.name(),
            Served::Measure => Purpose::Measure.name(),
            Served::Admin => "the admin address",
            Served::StatusPage => "the status page",
        }
    }
}

impl From<Purpose> for Served {
    fn from(purpose: Purpose) -> Self {
        match purpose {
            Purpose::Dot => Served::Dot,
            Purpose::Doh => Served::Doh,
            Purpose::Doq => Served::Doq,
            Purpose::Reports => Served::Reports,
            Purpose::Measure => Served::Measure,
            Purpose::Admin => Served::Admin,
        }
    }
}

/// A socket that somebody else opened.
#[derive(Debug)]
pub struct Open<S> {
    pub address: SocketAddr,
    pub socket: S,
    /// `None`: a supervisor opened it, who leaves it to the policy.
    pub serves: Option<Served>,
}

impl<S> Open<S> {
    fn is_for(&self, address: SocketAddr, purpose: Served) -> bool {
        self.address == address && self.serves.is_none_or(|theirs| theirs == purpose)
    }
}

/// Secrets of cookies, and since when they are in use.
#[derive(Clone, Debug)]
pub struct Cookies {
    pub secrets: Arc<ArcSwap<CookieSecrets>>,
    made: Arc<AtomicU64>,
}

impl Cookies {
    pub fn new(secrets: CookieSecrets, made: WallTime) -> Self {
        let made = Arc::new(AtomicU64::new(made.0));
        Self { secrets: Arc::new(ArcSwap::from_pointee(secrets)), made }
    }

    /// Uses `secrets` from now on.
    pub fn replace(&self, secrets: CookieSecrets, now: WallTime) {
        self.secrets.store(Arc::new(secrets));
        self.made.store(now.0, Ordering::Relaxed);
    }

    /// When the secret in use was made; 0 if a predecessor did not tell.
    pub fn made(&self) -> WallTime {
        WallTime(self.made.load(Ordering::Relaxed))
    }
}

/// Sockets that somebody else opened, and the lock of the state folder.
#[derive(Debug, Default)]
pub struct Given {
    pub udp: Vec<Open<UdpSocket>>,
    pub tcp: Vec<Open<TcpListener>>,
    pub lock: Option<File>,
    /// They stand in place of the addresses that are configured.
    pub replaces_listen: bool,
    /// As they are when they are handed over, so that cookies of clients stay valid, and that secrets
    /// are not older than they may be however often they go over.
    pub cookies: Option<Cookies>,
}

impl Given {
    /// Files a socket by what it is and by what it is open for; one that is of no use is closed.
    ///
    /// # Errors
    /// A descriptor that is no socket, or has no address.
    pub fn add(&mut self, descriptor: OwnedFd, serves: Option<Served>) -> io::Result<()> {
        let socket = SockRef::from(&descriptor);
        let address = socket.local_addr()?.as_socket();
        let (kind, is_listening) = (socket.r#type()?, socket.is_listener().unwrap_or(false));
        match address {
            Some(address) if kind == Type::DGRAM => {
                self.udp.push(Open { address, socket: descriptor.into(), serves });
            }
            Some(address) if kind == Type::STREAM && is_listening => {
                socket.set_nonblocking(true)?;
                self.tcp.push(Open { address, socket: descriptor.into(), serves });
            }
            _ => return Err(io::Error::new(ErrorKind::InvalidInput, "neither UDP nor a TCP listener")),
        }
        Ok(())
    }

    pub fn is_empty(&self) -> bool {
        self.udp.is_empty() && self.tcp.is_empty()
    }

    /// Each address once whose sockets are open for plain DNS, or for whatever the policy says.
    pub fn plain_addresses(&self) -> Vec<SocketAddr> {
        let udp = self.udp.iter().map(|open| (open.address, open.serves));
        let all = udp.chain(self.tcp.iter().map(|open| (open.address, open.serves)));
        let plain = all.filter(|(_, serves)| serves.is_none_or(|it| it == Served::Plain));
        let mut addresses: Vec<SocketAddr> = plain.map(|(address, _)| address).collect();
        addresses.sort();
        addresses.dedup();
        addresses
    }

    /// All UDP sockets of `address`, unless they are open for something else.
    pub(super) fn take_udp(&mut self, address: SocketAddr, purpose: Served) -> Vec<UdpSocket> {
        self.udp.extract_if(.., |open| open.is_for(address, purpose)).map(|open| open.socket).collect()
    }

    /// The listener of `address`, unless it is open for something else.
    pub fn take_tcp(&mut self, address: SocketAddr, purpose: Served) -> Option<TcpListener> {
        let at = self.tcp.iter().position(|open| open.is_for(address, purpose))?;
        Some(self.tcp.swap_remove(at).socket)
    }

    /// What a UDP socket of `address` that is left over is open for.
    pub(super) fn udp_serves(&self, address: SocketAddr) -> Option<Served> {
        self.udp.iter().find(|open| open.address == address)?.serves
    }

    /// What a listener of `address` that is left over is open for.
    pub(super) fn tcp_serves(&self, address: SocketAddr) -> Option<Served> {
        self.tcp.iter().find(|open| open.address == address)?.serves
    }
}

/// One end of a handover; dropping it calls the handover off.
#[derive(Debug)]
pub struct Line {
    stream: UnixStream,
}

/// Opens the socket on which a running process waits for its successor. The caller holds the state
/// folder's lock, so a socket that lies there is nobody's.
///
/// # Errors
/// A folder that cannot be written.
pub fn listen(folder: &Path) -> io::Result<UnixListener> {
    let (_open, path) = short_path(folder)?;
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// The socket's path by way of an open folder: a socket's address has room for 107 octets only.
fn short_path(folder: &Path) -> io::Result<(File, String)> {
    let open = File::open(folder)?;
    let path = format!("/proc/self/fd/{}/{SOCKET}", open.as_raw_fd());
    Ok((open, path))
}

/// Gives everything to a successor that has connected; returns once it answers. Waits, so it belongs
/// on a thread of its own.
///
/// # Errors
/// Whatever kept the successor from serving: nothing has changed then.
pub fn host(stream: UnixStream, given: &Given) -> Result<Line, HandoverError> {
    let mut line = Line { stream };
    line.check_user()?;
    match line.receive(START_PATIENCE)? {
        Message::Hello { version: VERSION } => {}
        Message::Hello { version } => {
            // So that it can say why; it hears nothing else.
            line.send(&Message::Hello { version: VERSION })?;
            return Err(HandoverError::Version(version));
        }
        _ => return Err(HandoverError::Order),
    }
    let sockets = given.udp.iter().map(|open| (open.socket.as_fd(), open.serves));
    let sockets = sockets.chain(given.tcp.iter().map(|open| (open.socket.as_fd(), open.serves)));
    let (sockets, serves): (Vec<_>, Vec<_>) = sockets.unzip();
    let descriptors: Vec<BorrowedFd<'_>> = given.lock.iter().map(AsFd::as_fd).chain(sockets).collect();
    line.send(&Message::Sockets {
        version: VERSION,
        count: descriptors.len(),
        has_lock: given.lock.is_some(),
        replaces_listen: given.replaces_listen,
        cookies: given.cookies.iter().flat_map(|cookies| told(&cookies.secrets.load())).collect(),
        cookies_made: given.cookies.as_ref().map(Cookies::made).unwrap_or_default(),
        serves: serves.into_iter().map(|serves| serves.unwrap_or(Served::Plain)).collect(),
    })?;
    line.send_descriptors(&descriptors)?;
    match line.receive(START_PATIENCE)? {
        Message::Serving => Ok(line),
        _ => Err(HandoverError::Order),
    }
}

fn told(secrets: &CookieSecrets) -> Vec<String> {
    secrets.keys().iter().map(|key| HEXLOWER.encode(key)).collect()
}

/// `None`: none came, or none that are understood; the guest makes its own.
fn heard(cookies: &[String], made: WallTime) -> Option<Cookies> {
    let key = |text: &String| HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok();
    let keys = cookies.iter().map(key).collect::<Option<Vec<[u8; 16]>>>()?;
    CookieSecrets::of_keys(&keys).map(|secrets| Cookies::new(secrets, made))
}

impl Line {
    /// Calls the process that uses the state folder; `None` if there is none.
    ///
    /// # Errors
    /// A socket that this user may not connect to.
    pub fn connect(folder: &Path) -> Result<Option<Self>, HandoverError> {
        let connected = short_path(folder).and_then(|(_open, path)| UnixStream::connect(path));
        match connected {
            Ok(stream) => {
                let line = Self { stream };
                line.check_user()?;
                Ok(Some(line))
            }
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
                Ok(None)
            }
            Err(source) => Err(HandoverError::Io { what: "connect to the running rhumb", source }),
        }
    }

    /// Says that this process is able to serve, and takes the sockets.
    pub fn take(&mut self) -> Result<Given, HandoverError> {
        self.send(&Message::Hello { version: VERSION })?;
        let (count, has_lock, replaces_listen, cookies, serves) = match self.receive(PATIENCE)? {
            Message::Sockets {
                version: VERSION,
                count,
                has_lock,
                replaces_listen,
                cookies,
                cookies_made,
                serves,
            } => (count, has_lock, replaces_listen, heard(&cookies, cookies_made), serves),
            Message::Hello { version } | Message::Sockets { version, .. } => {
                return Err(HandoverError::Version(version));
            }
            Message::Serving | Message::Parted => return Err(HandoverError::Order),
        };
        if count > MAX_DESCRIPTORS {
            return Err(HandoverError::Order);
        }
        let mut descriptors = self.receive_descriptors(count)?.into_iter();
        let lock = if has_lock { descriptors.next().map(File::from) } else { None };
        let mut given = Given { lock, replaces_listen, cookies, ..Given::default() };
        let mut serves = serves.into_iter();
        for descriptor in descriptors {
            given
                .add(descriptor, serves.next())
                .map_err(HandoverError::io("use a socket that was handed over"))?;
        }
        Ok(given)
    }

    /// Says that this process answers, and waits until the other has stopped. Afterwards the state
    /// folder is this process's own.
    ///
    /// # Errors
    /// The other goes on: this one must end. One that died without a word is not an error.
    pub fn serving(mut self, folder: &Path) -> Result<(), HandoverError> {
        let parted = self.send(&Message::Serving).and_then(|()| self.receive(PATIENCE));
        match parted {
            Ok(Message::Parted) => Ok(()),
            Ok(_) => Err(HandoverError::Order),
            Err(error) => match Self::connect(folder) {
                Ok(None) => Ok(()),
                _ => Err(error),
            },
        }
    }

    /// Says that this process neither answers nor writes any more.
    pub fn parted(mut self) -> Result<(), HandoverError> {
        self.send(&Message::Parted)
    }

    fn check_user(&self) -> Result<(), HandoverError> {
        let peer = rustix::net::sockopt::socket_peercred(&self.stream)
            .map_err(|error| HandoverError::io("learn the other user")(error.into()))?;
        trust(peer.uid.as_raw(), rustix::process::geteuid().as_raw())
    }

    fn send(&mut self, message: &Message) -> Result<(), HandoverError> {
        let failed = HandoverError::io("write");
        let text = serde_json::to_vec(message).map_err(|error| failed(io::Error::other(error)))?;
        let len = u32::try_from(text.len()).map_err(|_| HandoverError::Order)?;
        self.stream.set_write_timeout(Some(PATIENCE)).map_err(&failed)?;
        self.stream.write_all(&[&len.to_be_bytes()[..], &text].concat()).map_err(failed)
    }

    fn receive(&mut self, patience: Duration) -> Result<Message, HandoverError> {
        let failed = HandoverError::io("read");
        self.stream.set_read_timeout(Some(patience)).map_err(&failed)?;
        let mut len = [0; 4];
        self.stream.read_exact(&mut len).map_err(&failed)?;
        let len = u32::from_be_bytes(len) as usize;
        if len > MAX_MESSAGE {
            return Err(HandoverError::Order);
        }
        let mut text = vec![0; len];
        self.stream.read_exact(&mut text).map_err(failed)?;
        serde_json::from_slice(&text).map_err(|_| HandoverError::Order)
    }

    /// One octet for each chunk, since descriptors do not travel without data.
    fn send_descriptors(&self, descriptors: &[BorrowedFd<'_>]) -> Result<(), HandoverError> {
        for chunk in descriptors.chunks(CHUNK) {
            let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(CHUNK))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            control.push(SendAncillaryMessage::ScmRights(chunk));
            sendmsg(&self.stream, &[IoSlice::new(&[0])], &mut control, SendFlags::NOSIGNAL)
                .map_err(|error| HandoverError::io("pass sockets")(error.into()))?;
        }
        Ok(())
    }

    fn receive_descriptors(&self, count: usize) -> Result<Vec<OwnedFd>, HandoverError> {
        let mut descriptors = Vec::with_capacity(count);
        while descriptors.len() < count {
            let before = descriptors.len();
            let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(CHUNK))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut octet = [0];
            recvmsg(&self.stream, &mut [IoSliceMut::new(&mut octet)], &mut control, RecvFlags::CMSG_CLOEXEC)
                .map_err(|error| HandoverError::io("take sockets")(error.into()))?;
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(passed) = message {
                    descriptors.extend(passed);
                }
            }
            if descriptors.len() == before {
                return Err(HandoverError::Silent);
            }
        }
        Ok(descriptors)
    }
}

/// Root may do everything anyway.
fn trust(theirs: u32, ours: u32) -> Result<(), HandoverError> {
    if theirs == ours || theirs == 0 { Ok(()) } else { Err(HandoverError::User { theirs, ours }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(sockets: usize, folder: &Path) -> Given {
        let mut given = Given::default();
        for _ in 0..sockets {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
            given.add(socket.into(), Some(Served::Plain)).expect("a socket");
        }
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        given.add(listener.into(), Some(Served::Dot)).expect("a listener");
        given.lock = Some(File::create(folder.join("lock")).expect("creates"));
        given
    }

    #[test]
    fn sockets_go_over_and_what_waits_in_them_too() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(Line::connect(folder.path()).expect("nobody").is_none());
        let deep = folder.path().join("d".repeat(200));
        std::fs::create_dir(&deep).expect("creates");
        let listener = listen(&deep).expect("listens at a long path");
        let given = given(300, folder.path());
        let (first, addresses) =
            (given.udp[0].address, given.udp.iter().map(|open| open.address).collect::<Vec<_>>());
        given.lock.as_ref().expect("a lock").try_lock().expect("free");
        let secrets = CookieSecrets::new(&[1; 16], Some(&[2; 16]));
        let given = Given { cookies: Some(Cookies::new(secrets, WallTime(7))), ..given };
        let host = std::thread::spawn(move || {
            let (stream, _) = listener.accept().expect("a guest");
            drop(listener);
            let line = host(stream, &given).expect("hands over");
            drop(given);
            line.parted().expect("says so");
        });
        let client = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        client.send_to(b"waiting", first).expect("sends");
        let mut line = Line::connect(&deep).expect("connects").expect("a host");
        let taken = line.take().expect("takes");
        line.serving(&deep).expect("parts");
        host.join().expect("ends");
        assert_eq!(taken.udp.iter().map(|open| open.address).collect::<Vec<_>>(), addresses);
        let mut buffer = [0; 16];
        assert_eq!(taken.udp[0].socket.recv(&mut buffer).expect("what waited"), 7);
        assert_eq!(taken.tcp.len(), 1);
        assert_eq!(taken.tcp[0].serves, Some(Served::Dot));
        assert!(taken.udp.iter().all(|open| open.serves == Some(Served::Plain)));
        let cookies = taken.cookies.as_ref().expect("secrets");
        assert_eq!(cookies.secrets.load().keys(), [[1; 16], [2; 16]]);
        assert_eq!(cookies.made(), WallTime(7), "their age goes over with them");
        let another = File::open(folder.path().join("lock")).expect("opens");
        assert!(another.try_lock().is_err(), "the lock never came free");
        drop(taken);
        another.try_lock().expect("and is the taker's alone");
    }

    #[test]
    fn a_guest_that_dies_or_errs_leaves_the_host_as_it_was() {
        let folder = tempfile::tempdir().expect("a folder");
        let given = given(2, folder.path());
        let told = |guest: fn(Line)| {
            let (ours, theirs) = UnixStream::pair().expect("a pair");
            let guest = std::thread::spawn(move || guest(Line { stream: theirs }));
            let outcome = host(ours, &given).map(drop).expect_err("calls off").to_string();
            guest.join().expect("ends");
            outcome
        };
        let silent = "the process at the other end does not go on with the handover";
        assert_eq!(told(drop), silent);
        assert_eq!(told(|mut line| drop(line.take().expect("takes"))), silent);
        let order = "the process at the other end did not keep to the order of the handover";
        assert_eq!(told(|mut line| line.send(&Message::Serving).expect("sends")), order);
        assert_eq!(told(|mut line| line.stream.write_all(&[0xff; 9]).expect("sends")), order);
        let version = told(|mut line| {
            line.send(&Message::Hello { version: 7 }).expect("sends");
            assert_eq!(line.receive(PATIENCE).ok(), Some(Message::Hello { version: VERSION }));
        });
        assert!(version.contains("version 7"), "{version}");
    }

    #[test]
    fn secrets_that_are_not_understood_are_none() {
        let long = "00".repeat(17);
        for cookies in [&[][..], &["xy"], &["00"], &[long.as_str()], &[&long[2..]; 3], &[&long[2..], ""]] {
            let cookies: Vec<String> = cookies.iter().map(|text| (*text).to_owned()).collect();
            assert!(heard(&cookies, WallTime(1)).is_none(), "{cookies:?}");
        }
    }

    #[test]
    fn only_the_same_user_or_root_is_trusted() {
        assert!(trust(1_000, 1_000).is_ok() && trust(0, 1_000).is_ok());
        let refused = trust(1_001, 1_000).expect_err("another").to_string();
        assert!(refused.contains("user 1001, not to 1000"), "{refused}");
        assert!(trust(1_000, 0).is_err());
    }

    #[test]
    fn a_socket_is_taken_for_what_it_was_open_for_only() {
        let mut given = Given::default();
        let mut open = |serves: Option<Served>| {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
            let address = listener.local_addr().expect("bound");
            given.add(listener.into(), serves).expect("a listener");
            address
        };
        let (dot, plain, any) = (open(Some(Served::Dot)), open(Some(Served::Plain)), open(None));
        let mut expected = vec![plain, any];
        expected.sort();
        assert_eq!(
            given.plain_addresses(),
            expected,
            "who removes an encrypted listener wants no plain DNS there"
        );
        assert!(given.take_tcp(dot, Served::Plain).is_none() && given.take_tcp(dot, Served::Doh).is_none());
        assert_eq!(given.tcp_serves(dot), Some(Served::Dot));
        assert!(given.take_tcp(dot, Served::Dot).is_some() && given.tcp_serves(dot).is_none());
        assert!(given.take_tcp(any, Served::Doh).is_some(), "a supervisor leaves it to the policy");
        assert!(given.take_udp(plain, Served::Plain).is_empty());
    }

    #[test]
    fn what_is_no_socket_of_ours_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = File::create(folder.path().join("file")).expect("creates");
        assert!(Given::default().add(file.into(), None).is_err());
        assert!(Given::default().add(UnixStream::pair().expect("a pair").0.into(), None).is_err());
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let connected = std::net::TcpStream::connect(address).expect("connects");
        assert!(Given::default().add(connected.into(), None).is_err());
        let mut given = Given::default();
        given.add(listener.into(), None).expect("a listener");
        assert!(
            given.take_tcp("127.0.0.1:1".parse().expect("address"), Served::Dot).is_none()
                && !given.is_empty()
        );
        assert!(given.take_tcp(address, Served::Dot).is_some() && given.is_empty());
    }
}
