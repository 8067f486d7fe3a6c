//! How many connections the file descriptors of this process allow, so that floods of connections leave
//! some for probes, files and the admin address.
//!
//! The limit is read from `/proc`, which needs no `unsafe`; where there is none the usual bounds stand.
//! It is not raised here: that is the service manager's to decide (`LimitNOFILE=`).

use crate::serve::Limits;

/// Transports whose connections take a descriptor each: TCP, TLS, HTTPS. QUIC's share a socket.
const SHARERS: usize = 3;

/// The usual limits, within what the process may open.
pub fn limits() -> Limits {
    let usual = Limits::default();
    let allowed = std::fs::read_to_string("/proc/self/limits").ok().and_then(|text| soft_limit(&text));
    let limits = match allowed {
        Some(allowed) => usual.clone().within(allowed, SHARERS),
        None => usual.clone(),
    };
    if limits != usual {
        tracing::warn!(
            "connections of each transport are held to {} of {}, because the process may open few files; \
             raise the limit (`ulimit -n`, LimitNOFILE=)",
            limits.connections,
            usual.connections
        );
    }
    limits
}

/// The soft limit in the line of open files; `unlimited` is none.
fn soft_limit(text: &str) -> Option<usize> {
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_read() {
        let text = "Limit   Soft Limit  Hard Limit  Units\nMax processes  7  8  processes\n\
                    Max open files            1024                 524288               files     \n";
        assert_eq!(soft_limit(text), Some(1_024));
        assert_eq!(soft_limit(&text.replace("1024  ", "unlimited")), None);
        assert_eq!(soft_limit(""), None);
    }

    #[test]
    fn few_descriptors_mean_few_connections_and_never_none() {
        let held = |descriptors| Limits::default().within(descriptors, SHARERS).connections;
        assert_eq!(held(1 << 20), Limits::default().connections);
        assert_eq!(held(1_024), (1_024 - 256) / 3);
        assert!(held(0) > 0);
    }
}
