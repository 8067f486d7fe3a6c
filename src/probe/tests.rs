//! Probes against real listeners on loopback.
