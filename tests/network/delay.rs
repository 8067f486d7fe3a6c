//! Delay: a TUN device of the hub, whose packets come back into the network later.

use super::net::Net;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const DEVICE: &str = "delay0";

/// Everything on its way to one address takes longer.
pub struct Delay {
    millis: Arc<AtomicU64>,
}

impl Delay {
    /// Begins with no delay at all, so that the way itself is not what changes.
    pub fn on(net: &Net, address: Ipv4Addr) -> Self {
        let device = net.within("hub", open);
        net.divert(address, DEVICE);
        let millis = Arc::new(AtomicU64::new(0));
        let (held, mut output) = (Arc::clone(&millis), device.try_clone().expect("a second handle"));
        let (send, packets) = std::sync::mpsc::channel::<(Instant, Vec<u8>)>();
        // Both end with the process: the device is gone with its namespace, and reading it fails then.
        std::thread::spawn(move || read(device, &send));
        std::thread::spawn(move || {
            let mut waiting = VecDeque::new();
            while let Ok(packet) = packets.recv() {
                waiting.push_back(packet);
                while let Some((arrived, packet)) = waiting.pop_front() {
                    let due = arrived + Duration::from_millis(held.load(Ordering::Relaxed));
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    if output.write_all(&packet).is_err() {
                        return;
                    }
                    waiting.extend(packets.try_iter());
                }
            }
        });
        Self { millis }
    }

    pub fn set(&self, millis: u64) {
        self.millis.store(millis, Ordering::Relaxed);
    }
}

fn read(mut device: File, packets: &std::sync::mpsc::Sender<(Instant, Vec<u8>)>) {
    let mut buffer = [0; 2_048];
    while let Ok(len) = device.read(&mut buffer) {
        if packets.send((Instant::now(), buffer[..len].to_vec())).is_err() {
            return;
        }
    }
}

/// A TUN device of the namespace that the thread is in: each read and each write is one IP packet.
fn open() -> File {
    let device = File::options().read(true).write(true).open("/dev/net/tun").expect("root may open it");
    // SAFETY: all zeroes is a valid `ifreq`: a name of no octets and an unset union.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, octet) in request.ifr_name.iter_mut().zip(DEVICE.bytes()) {
        *place = octet as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: TUNSETIFF reads one `ifreq` from the pointer, which outlives the call.
    let made = unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF, &raw const request) };
    assert_eq!(made, 0, "{}", std::io::Error::last_os_error());
    device
}
