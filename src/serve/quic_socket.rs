//! A UDP socket that stops listening when another process goes on with it: two that read one socket
//! would each get half of every connection's packets, and neither could follow.

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use tokio_util::sync::CancellationToken;

/// Whether to leave what comes in to the other process; once said it stays.
#[derive(Clone, Debug, Default)]
pub(super) struct Deafness(Arc<AtomicBool>);

impl Deafness {
    pub fn begin(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub fn has_begun(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// When the sockets are this process's to read: from the one until the other.
#[derive(Clone, Debug, Default)]
pub(super) struct Turn {
    pub listen: CancellationToken,
    pub deafness: Deafness,
}

/// Sends as ever, receives until it is deaf.
#[derive(Debug)]
pub(super) struct SharedSocket {
    socket: Arc<dyn AsyncUdpSocket>,
    deafness: Deafness,
}

impl SharedSocket {
    pub fn new(socket: Arc<dyn AsyncUdpSocket>, deafness: Deafness) -> Self {
        Self { socket, deafness }
    }
}

impl AsyncUdpSocket for SharedSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.socket).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.socket.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        if self.deafness.has_begun() {
            // Nothing wakes the task again, since nothing will ever be received.
            return Poll::Pending;
        }
        self.socket.poll_recv(cx, bufs, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.socket.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.socket.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.socket.may_fragment()
    }
}
