//! Datagrams in batches: what the load generator and the echo server share.
//!
//! One system call for up to 32 packets, as the servers that are measured do it themselves; a
//! generator that spent more per packet than they do would measure itself.

use libc::{iovec, mmsghdr, msghdr, sockaddr_in};
use std::mem::zeroed;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::ptr;

pub const BATCH: usize = 32;
/// Larger than any packet here.
const ROOM: usize = 1_500;

/// Packets of one call, with their senders.
pub struct Batch {
    buffers: Box<[[u8; ROOM]; BATCH]>,
    names: Box<[sockaddr_in; BATCH]>,
    lens: [usize; BATCH],
}

impl Batch {
    pub fn new() -> Self {
        // SAFETY: sockaddr_in is integers, for which zero bytes are a value.
        let name: sockaddr_in = unsafe { zeroed() };
        Self { buffers: Box::new([[0; ROOM]; BATCH]), names: Box::new([name; BATCH]), lens: [0; BATCH] }
    }

    /// How many packets came; 0 where none was there, or after a signal.
    pub fn receive(&mut self, socket: &UdpSocket, waits: bool) -> usize {
        let mut iovecs = [iovec { iov_base: ptr::null_mut(), iov_len: ROOM }; BATCH];
        // SAFETY: mmsghdr is integers and pointers, for which zero bytes are a value.
        let mut headers: [mmsghdr; BATCH] = unsafe { zeroed() };
        for at in 0..BATCH {
            iovecs[at].iov_base = self.buffers[at].as_mut_ptr().cast();
            address(&mut headers[at].msg_hdr, &mut iovecs[at], Some(&mut self.names[at]));
        }
        let flags = if waits { libc::MSG_WAITFORONE } else { libc::MSG_DONTWAIT };
        let (fd, timeout) = (socket.as_raw_fd(), ptr::null_mut());
        // SAFETY: every header points to a buffer, a name and an iovec that live until the call is over.
        let got = unsafe { libc::recvmmsg(fd, headers.as_mut_ptr(), BATCH as u32, flags, timeout) };
        let got = usize::try_from(got).unwrap_or(0);
        for (len, header) in self.lens.iter_mut().zip(&headers[..got]) {
            *len = header.msg_len as usize;
        }
        got
    }

    pub fn packet(&self, at: usize) -> &[u8] {
        &self.buffers[at][..self.lens[at]]
    }

    /// Sends the first `count` packets back as responses, `extra` octets longer.
    pub fn echo(&mut self, socket: &UdpSocket, count: usize, extra: usize) {
        let mut iovecs = [iovec { iov_base: ptr::null_mut(), iov_len: 0 }; BATCH];
        // SAFETY: as in `receive`.
        let mut headers: [mmsghdr; BATCH] = unsafe { zeroed() };
        for at in 0..count {
            self.buffers[at][2] |= 0x80;
            iovecs[at].iov_base = self.buffers[at].as_mut_ptr().cast();
            iovecs[at].iov_len = (self.lens[at] + extra).min(ROOM);
            address(&mut headers[at].msg_hdr, &mut iovecs[at], Some(&mut self.names[at]));
        }
        let mut done = 0;
        while done < count {
            let rest = &mut headers[done..count];
            // SAFETY: as in `receive`.
            let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), rest.as_mut_ptr(), rest.len() as u32, 0) };
            done += usize::try_from(sent).unwrap_or(0).max(1);
        }
    }
}

fn address(header: &mut msghdr, iovec: &mut iovec, name: Option<&mut sockaddr_in>) {
    header.msg_iov = iovec;
    header.msg_iovlen = 1;
    if let Some(name) = name {
        header.msg_name = ptr::from_mut(name).cast();
        header.msg_namelen = size_of::<sockaddr_in>() as u32;
    }
}

/// Sends `packets`, each `segment` octets long, over a connected socket in one call: the kernel cuts
/// them apart (UDP_SEGMENT). False: the kernel did not take them.
pub fn send_segments(socket: &UdpSocket, packets: &mut [u8], segment: u16) -> bool {
    /// Aligned for a control message header, and large enough for one with two octets.
    #[repr(align(8))]
    struct Control([u8; 64]);
    let mut control = Control([0; 64]);
    let mut iovec = iovec { iov_base: packets.as_mut_ptr().cast(), iov_len: packets.len() };
    // SAFETY: msghdr is integers and pointers, for which zero bytes are a value.
    let mut header: msghdr = unsafe { zeroed() };
    address(&mut header, &mut iovec, None);
    if packets.len() > usize::from(segment) {
        header.msg_control = control.0.as_mut_ptr().cast();
        // SAFETY: CMSG_SPACE and CMSG_LEN only compute; with room for 64 octets the first header exists
        // and holds two octets of data.
        unsafe {
            header.msg_controllen = libc::CMSG_SPACE(2) as usize;
            let message = libc::CMSG_FIRSTHDR(&raw const header);
            (*message).cmsg_level = libc::IPPROTO_UDP;
            (*message).cmsg_type = libc::UDP_SEGMENT;
            (*message).cmsg_len = libc::CMSG_LEN(2) as usize;
            ptr::write_unaligned(libc::CMSG_DATA(message).cast::<u16>(), segment);
        }
    }
    // SAFETY: the header points to buffers that live until the call is over.
    unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, 0) >= 0 }
}
