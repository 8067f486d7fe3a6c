//! Errors of sockets, TLS and HTTP to the few reasons people and metrics know.

use crate::model::observation::FailureReason;
use std::error::Error;
use std::io::{self, ErrorKind};
use std::time::Duration;

/// Why a probe did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub reason: FailureReason,
    /// Lower case, without the target.
    pub detail: String,
    /// Trouble of this machine, no evidence about the node.
    pub local: bool,
}

impl Fault {
    pub fn new(reason: FailureReason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into(), local: false }
    }

    pub fn timeout(patience: Duration) -> Self {
        Self::new(FailureReason::Timeout, format!("no answer within {} ms", patience.as_millis()))
    }

    /// No evidence about the node: the probe could not be made here.
    pub fn of_machine(detail: impl Into<String>) -> Self {
        Self { reason: FailureReason::Other, detail: detail.into(), local: true }
    }

    pub fn of_io(error: &io::Error) -> Self {
        if is_local(error) {
            let remedy = match error.kind() {
                ErrorKind::PermissionDenied => "a firewall of this machine forbids it",
                ErrorKind::AddrNotAvailable => {
                    "no port is free, or the address to start from is not one of this machine"
                }
                _ => "raise the limit of descriptors or ports",
            };
            return Self::of_machine(format!("{error}; {remedy}"));
        }
        let reason = match error.kind() {
            ErrorKind::ConnectionRefused => FailureReason::Refused,
            ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown => {
                FailureReason::Unreachable
            }
            ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::UnexpectedEof => FailureReason::Reset,
            ErrorKind::TimedOut => FailureReason::Timeout,
            _ => FailureReason::Other,
        };
        Self::new(reason, error.to_string())
    }

    /// A failed handshake: TLS trouble unless the connection itself broke.
    pub fn of_handshake(error: &io::Error) -> Self {
        let of_io = Self::of_io(error);
        let about_tls = error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
        if about_tls || (of_io.reason == FailureReason::Other && !of_io.local) {
            return Self::new(FailureReason::Tls, error.to_string());
        }
        of_io
    }

    pub fn of_hyper(error: &hyper::Error) -> Self {
        if let Some(io) = io_cause(error) {
            return Self::of_io(io);
        }
        let reason = if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
            FailureReason::Reset
        } else {
            FailureReason::Other
        };
        Self::new(reason, error.to_string())
    }
}

fn io_cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a io::Error> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return Some(io);
        }
        cause = error.source();
    }
    None
}

/// No descriptor, no buffer, no memory, no free port, or a firewall of our own.
fn is_local(error: &io::Error) -> bool {
    const LOCAL: [i32; 6] =
        [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM, libc::EADDRNOTAVAIL, libc::EPERM];
    error.raw_os_error().is_some_and(|code| LOCAL.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn io_errors_map_to_reasons() {
        let check = |code: i32, reason: FailureReason, local: bool| {
            let fault = Fault::of_io(&io::Error::from_raw_os_error(code));
            assert_eq!((fault.reason, fault.local), (reason, local), "errno {code}");
        };
        check(libc::ECONNREFUSED, FailureReason::Refused, false);
        check(libc::EHOSTUNREACH, FailureReason::Unreachable, false);
        check(libc::ENETUNREACH, FailureReason::Unreachable, false);
        check(libc::ECONNRESET, FailureReason::Reset, false);
        check(libc::EPIPE, FailureReason::Reset, false);
        check(libc::ETIMEDOUT, FailureReason::Timeout, false);
        check(libc::EMFILE, FailureReason::Other, true);
        check(libc::EADDRNOTAVAIL, FailureReason::Other, true);
        check(libc::EINVAL, FailureReason::Other, false);
    }
}
