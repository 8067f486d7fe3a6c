//! `recvmmsg` and `sendmmsg` with the local address of each packet: the unsafe part of serving.
//!
//! ```text
//!  slot i: query 4096 B | peer sockaddr | control (IP_PKTINFO / IPV6_PKTINFO) | reply 1232 B
//! ```
//!
//! All buffers are allocated once. The arrays of pointers the kernel wants are made on the stack for
//! each call, so nothing here points into itself. On a wildcard socket a reply leaves with the control
//! message that says which local address the query came to, since the kernel might choose another; a
//! socket bound to one address needs none, and the kernel looks no route up for it.

use libc::{c_int, c_void, iovec, mmsghdr, msghdr, sockaddr_storage, socklen_t};
use std::io;
use std::mem::{size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;
use std::ptr;

/// Packets in one system call.
pub const BATCH: usize = 32;
/// Longest query read whole. A power of two would put the heads of all queries into one cache set.
pub const QUERY_ROOM: usize = 4_096 + 64;
/// Longest reply: what passes every path unfragmented (RFC 6891 6.2.5 and the 2020 flag day).
pub const REPLY_ROOM: usize = 1_232;
/// Room for control messages; one `in6_pktinfo` takes 40.
const CONTROL_ROOM: usize = 128;

/// Aligned as `cmsghdr` must be.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
struct Control([u8; CONTROL_ROOM]);

/// Where a packet came from and to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    pub peer: SocketAddr,
    pub local: IpAddr,
    /// The interface it came by; kept for link-local peers.
    interface: u32,
}

/// Buffers of one worker.
pub struct Batch {
    queries: Box<[[u8; QUERY_ROOM]; BATCH]>,
    replies: Box<[[u8; REPLY_ROOM]; BATCH]>,
    names: Box<[sockaddr_storage; BATCH]>,
    /// Empty for a socket bound to one address.
    controls: Box<[Control]>,
    query_lens: [usize; BATCH],
    reply_lens: [usize; BATCH],
    /// `None`: cut off, or from nowhere a reply could go.
    paths: [Option<Path>; BATCH],
}

/// Makes the kernel say to which address each packet came.
pub fn ask_for_local_address(socket: &impl AsRawFd, is_v6: bool) -> io::Result<()> {
    let (level, option) = if is_v6 {
        (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO)
    } else {
        (libc::IPPROTO_IP, libc::IP_PKTINFO)
    };
    let on: c_int = 1;
    // SAFETY: the option value is a live c_int and its length is given as such.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, option, ptr::from_ref(&on).cast(), len_of::<c_int>())
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

const fn len_of<T>() -> socklen_t {
    size_of::<T>() as socklen_t
}

impl Batch {
    /// `has_sources`: [`ask_for_local_address`] was called on the socket.
    pub fn new(has_sources: bool) -> Self {
        // SAFETY: sockaddr_storage is plain integers, for which zero bytes are a value.
        let name: sockaddr_storage = unsafe { zeroed() };
        Self {
            queries: Box::new([[0; QUERY_ROOM]; BATCH]),
            replies: Box::new([[0; REPLY_ROOM]; BATCH]),
            names: Box::new([name; BATCH]),
            controls: vec![Control([0; CONTROL_ROOM]); if has_sources { BATCH } else { 0 }].into(),
            query_lens: [0; BATCH],
            reply_lens: [0; BATCH],
            paths: [None; BATCH],
        }
    }

    /// Waits for at least one packet (or not, with `is_waiting` false) and takes up to [`BATCH`].
    /// `fallback` is the local address where the kernel does not tell.
    pub fn receive(&mut self, socket: &UdpSocket, is_waiting: bool, fallback: IpAddr) -> io::Result<usize> {
        let mut iovecs = [iovec { iov_base: ptr::null_mut(), iov_len: 0 }; BATCH];
        // SAFETY: mmsghdr is integers and pointers, for which zero bytes are a value.
        let mut headers: [mmsghdr; BATCH] = unsafe { zeroed() };
        for (index, header) in headers.iter_mut().enumerate() {
            iovecs[index] = iovec { iov_base: self.queries[index].as_mut_ptr().cast(), iov_len: QUERY_ROOM };
            header.msg_hdr.msg_name = ptr::from_mut(&mut self.names[index]).cast();
            header.msg_hdr.msg_namelen = len_of::<sockaddr_storage>();
            header.msg_hdr.msg_iov = ptr::from_mut(&mut iovecs[index]);
            header.msg_hdr.msg_iovlen = 1;
            if let Some(control) = self.controls.get_mut(index) {
                header.msg_hdr.msg_control = control.0.as_mut_ptr().cast();
                header.msg_hdr.msg_controllen = CONTROL_ROOM;
            }
        }
        let flags = if is_waiting { libc::MSG_WAITFORONE } else { libc::MSG_DONTWAIT };
        // SAFETY: every header points to buffers of `self` and of this frame that outlive the call,
        // with their true lengths; BATCH headers are given.
        let count = unsafe {
            libc::recvmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), BATCH as u32, flags, ptr::null_mut())
        };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?.min(BATCH);
        for (index, header) in headers[..count].iter().enumerate() {
            self.query_lens[index] = (header.msg_len as usize).min(QUERY_ROOM);
            self.reply_lens[index] = 0;
            let is_whole = header.msg_hdr.msg_flags & libc::MSG_TRUNC == 0;
            self.paths[index] =
                if is_whole { path_of(&header.msg_hdr, &self.names[index], fallback) } else { None };
        }
        Ok(count)
    }

    /// Query, room for its reply, and whence; `None` for a packet that cannot be answered.
    pub fn exchange(&mut self, index: usize) -> Option<(Path, &[u8], &mut [u8])> {
        let path = self.paths[index]?;
        Some((path, &self.queries[index][..self.query_lens[index]], &mut self.replies[index]))
    }

    /// Sets the length of a reply, 0 for none, and returns the reply.
    pub fn set_reply_len(&mut self, index: usize, len: usize) -> &[u8] {
        self.reply_lens[index] = len.min(REPLY_ROOM);
        &self.replies[index][..self.reply_lens[index]]
    }

    /// Sends the replies of the first `count` packets; returns how many the kernel would not take.
    pub fn send(&mut self, socket: &UdpSocket, count: usize) -> u64 {
        let mut iovecs = [iovec { iov_base: ptr::null_mut(), iov_len: 0 }; BATCH];
        // SAFETY: mmsghdr is integers and pointers, for which zero bytes are a value.
        let mut headers: [mmsghdr; BATCH] = unsafe { zeroed() };
        let mut used = 0;
        for index in 0..count.min(BATCH) {
            let (len, Some(path)) = (self.reply_lens[index], self.paths[index]) else { continue };
            if len == 0 {
                continue;
            }
            iovecs[used] = iovec { iov_base: self.replies[index].as_mut_ptr().cast(), iov_len: len };
            let header = &mut headers[used].msg_hdr;
            header.msg_name = ptr::from_mut(&mut self.names[index]).cast();
            header.msg_namelen = if path.peer.is_ipv4() {
                len_of::<libc::sockaddr_in>()
            } else {
                len_of::<libc::sockaddr_in6>()
            };
            header.msg_iov = ptr::from_mut(&mut iovecs[used]);
            header.msg_iovlen = 1;
            if let Some(control) = self.controls.get_mut(index) {
                header.msg_control = control.0.as_mut_ptr().cast();
                header.msg_controllen = CONTROL_ROOM;
                header.msg_controllen = write_source(header, path);
            }
            used += 1;
        }
        send_all(socket, &mut headers[..used])
    }
}

/// Sends in as few calls as it takes. A message that is refused is skipped; others still go.
fn send_all(socket: &UdpSocket, mut headers: &mut [mmsghdr]) -> u64 {
    let mut unsent = 0;
    while !headers.is_empty() {
        // SAFETY: the headers were filled by `Batch::send` with pointers to buffers that are alive
        // and unchanged until it returns; their number is at most BATCH.
        let sent =
            unsafe { libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), headers.len() as u32, 0) };
        let done = match usize::try_from(sent) {
            Ok(sent) => sent.clamp(1, headers.len()),
            Err(_) if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => {
                unsent += 1;
                1
            }
        };
        headers = &mut headers[done..];
    }
    unsent
}

/// Reads the peer and the local address of a received packet.
fn path_of(header: &msghdr, name: &sockaddr_storage, fallback: IpAddr) -> Option<Path> {
    let peer = peer_of(name)?;
    let mut path = Path { peer, local: fallback, interface: 0 };
    // SAFETY: the kernel filled msg_control and set msg_controllen; the CMSG functions walk within it.
    let mut message = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !message.is_null() {
        // SAFETY: not null, so it points to a whole cmsghdr inside the control buffer.
        let (level, kind) = unsafe { ((*message).cmsg_level, (*message).cmsg_type) };
        // SAFETY: as above; the data pointer is only read below, unaligned, for the type that the
        // kernel puts behind this level and kind.
        let data: *const c_void = unsafe { libc::CMSG_DATA(message) }.cast();
        if (level, kind) == (libc::IPPROTO_IP, libc::IP_PKTINFO) {
            // SAFETY: IP_PKTINFO carries an in_pktinfo.
            let info = unsafe { ptr::read_unaligned(data.cast::<libc::in_pktinfo>()) };
            path.local = IpAddr::V4(Ipv4Addr::from_bits(u32::from_be(info.ipi_spec_dst.s_addr)));
        } else if (level, kind) == (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) {
            // SAFETY: IPV6_PKTINFO carries an in6_pktinfo.
            let info = unsafe { ptr::read_unaligned(data.cast::<libc::in6_pktinfo>()) };
            path.local = IpAddr::V6(Ipv6Addr::from(info.ipi6_addr.s6_addr));
            path.interface = info.ipi6_ifindex;
        }
        // SAFETY: header and message belong together, see above.
        message = unsafe { libc::CMSG_NXTHDR(header, message) };
    }
    Some(path)
}

fn peer_of(name: &sockaddr_storage) -> Option<SocketAddr> {
    match c_int::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that a sockaddr_in is stored; the storage is larger and aligned.
            let v4 = unsafe { &*ptr::from_ref(name).cast::<libc::sockaddr_in>() };
            let address = Ipv4Addr::from_bits(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddrV4::new(address, u16::from_be(v4.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above, for sockaddr_in6.
            let v6 = unsafe { &*ptr::from_ref(name).cast::<libc::sockaddr_in6>() };
            let address = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            Some(
                SocketAddrV6::new(address, u16::from_be(v6.sin6_port), v6.sin6_flowinfo, v6.sin6_scope_id)
                    .into(),
            )
        }
        _ => None,
    }
}

/// Writes the control message that makes a reply leave from `path.local`; returns its length.
fn write_source(header: &mut msghdr, path: Path) -> usize {
    match path.local {
        IpAddr::V4(local) => {
            let info = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: libc::in_addr { s_addr: local.to_bits().to_be() },
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            write_control(header, libc::IPPROTO_IP, libc::IP_PKTINFO, info)
        }
        IpAddr::V6(local) => {
            // Elsewhere the way back is routing's business, and may differ from the way here.
            let ipi6_ifindex = if local.is_unicast_link_local() { path.interface } else { 0 };
            let info =
                libc::in6_pktinfo { ipi6_addr: libc::in6_addr { s6_addr: local.octets() }, ipi6_ifindex };
            write_control(header, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info)
        }
    }
}

fn write_control<T: Copy>(header: &mut msghdr, level: c_int, kind: c_int, info: T) -> usize {
    let size = size_of::<T>() as u32;
    // SAFETY: CMSG_SPACE and CMSG_LEN only compute.
    let (space, len) = unsafe { (libc::CMSG_SPACE(size) as usize, libc::CMSG_LEN(size) as usize) };
    assert!(space <= CONTROL_ROOM, "one control message fits its buffer");
    // SAFETY: msg_control points to CONTROL_ROOM bytes aligned for cmsghdr and msg_controllen says so,
    // hence the first header exists and has `space` bytes, into which header and data are written.
    unsafe {
        let message = libc::CMSG_FIRSTHDR(header);
        (*message).cmsg_level = level;
        (*message).cmsg_type = kind;
        (*message).cmsg_len = len;
        ptr::write_unaligned(libc::CMSG_DATA(message).cast::<T>(), info);
    }
    space
}
