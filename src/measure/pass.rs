//! Passes: what a client shows to be counted as of a network other than the one it connects from.
//!
//! ```text
//!  player . eyJ... . 3q2-7w...      name of the key, claim, HMAC-SHA256 of "name.claim"; base64url
//!            └─ {"net": "192.0.2.0/24", "exp": 1767225600}
//! ```
//! A player behind a proxy or on a CDN's own connection is seen from an address that says nothing of it. Its
//! back end, which knows the client's address, makes it a pass with a key that it shares with rhumb. Whoever
//! holds the key can speak for every network, so what it says is weighed as one party (`latency::cell`).

use crate::base::clock::WallTime;
use crate::base::prefix::{Family, Prefix};
use data_encoding::BASE64URL_NOPAD;
use ring::hmac;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Keys that one listener knows.
pub const MOST_KEYS: usize = 32;
/// Longest validity that is taken: a pass is for a session, not for ever.
pub const LONGEST_S: u64 = 7 * 86_400;
/// Octets of a key at least, as many as its hash gives.
pub const LEAST_KEY: usize = 32;
const LONGEST_PASS: usize = 512;

/// The network that counts as one source: a /24 or /56; of an IPv4 address that a dual-stack socket wraps, its own.
pub fn network_of(address: IpAddr) -> Prefix {
    let address = address.to_canonical();
    let len = match Family::of(address) {
        Family::V4 => 24,
        Family::V6 => 56,
    };
    Prefix::of(address, len)
}

/// A key by its name in policy.
#[derive(Clone)]
pub struct Key {
    pub name: String,
    key: hmac::Key,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Why a key file is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it has to hold at least {LEAST_KEY} octets in base64url, as `rhumb measure key` makes them")]
pub struct BadKey;

impl Key {
    /// `text`: base64url without padding, as in a key file.
    ///
    /// # Errors
    /// Another text, or too short a key.
    pub fn parse(name: &str, text: &str) -> Result<Self, BadKey> {
        let octets = BASE64URL_NOPAD.decode(text.trim().as_bytes()).map_err(|_| BadKey)?;
        if octets.len() < LEAST_KEY {
            return Err(BadKey);
        }
        Ok(Self { name: name.to_owned(), key: hmac::Key::new(hmac::HMAC_SHA256, &octets) })
    }

    /// A pass for clients of `network` until `expires` (seconds since 1970).
    pub fn issue(&self, network: Prefix, expires: u64) -> String {
        let claim = Claim { net: network.to_string(), exp: expires };
        let claim = serde_json::to_vec(&claim).expect("plain data");
        let signed = format!("{}.{}", self.name, BASE64URL_NOPAD.encode(&claim));
        let tag = hmac::sign(&self.key, signed.as_bytes());
        format!("{signed}.{}", BASE64URL_NOPAD.encode(tag.as_ref()))
    }
}

#[derive(Serialize, Deserialize)]
struct Claim {
    net: String,
    exp: u64,
}

/// What a valid pass says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admitted {
    pub network: Prefix,
    /// Position of its key.
    pub key: u8,
}

/// Why a pass is not taken. What it claims is not told before its signature is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPass {
    #[error("the pass is not of the form KEY.CLAIM.SIGNATURE")]
    Form,
    #[error("the pass is not signed with a key of this listener")]
    Signature,
    #[error("the pass has expired")]
    Expired,
    #[error("the pass is valid for more than 7 days")]
    Endless,
    #[error("the pass names no network")]
    Network,
}

/// # Errors
/// Why it is not taken.
pub fn admit(keys: &[Key], pass: &str, now: WallTime) -> Result<Admitted, BadPass> {
    let parts = || {
        let (signed, tag) = pass.rsplit_once('.')?;
        let (name, claim) = signed.rsplit_once('.')?;
        Some((signed, name, claim, tag))
    };
    let (signed, name, claim, tag) = parts().filter(|_| pass.len() <= LONGEST_PASS).ok_or(BadPass::Form)?;
    let tag = BASE64URL_NOPAD.decode(tag.as_bytes()).map_err(|_| BadPass::Form)?;
    let known = keys.iter().position(|key| key.name == name).ok_or(BadPass::Signature)?;
    hmac::verify(&keys[known].key, signed.as_bytes(), &tag).map_err(|_| BadPass::Signature)?;
    let claim = BASE64URL_NOPAD.decode(claim.as_bytes()).map_err(|_| BadPass::Form)?;
    let claim: Claim = serde_json::from_slice(&claim).map_err(|_| BadPass::Form)?;
    let now_s = now.0 / 1_000;
    if claim.exp <= now_s {
        return Err(BadPass::Expired);
    }
    if claim.exp - now_s > LONGEST_S {
        return Err(BadPass::Endless);
    }
    let address = claim.net.split_once('/').map_or(claim.net.as_str(), |(address, _)| address);
    let address: IpAddr = address.parse().map_err(|_| BadPass::Network)?;
    let key = u8::try_from(known).map_err(|_| BadPass::Signature)?;
    Ok(Admitted { network: network_of(address), key })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: WallTime = WallTime(1_000_000_000);
    const NOW_S: u64 = 1_000_000;

    fn key(name: &str, octet: u8) -> Key {
        Key::parse(name, &BASE64URL_NOPAD.encode(&[octet; 32])).expect("a key")
    }

    fn network() -> Prefix {
        network_of(IpAddr::from([192, 0, 2, 77]))
    }

    #[test]
    fn a_pass_is_taken_until_it_expires() {
        let keys = [key("other", 1), key("player.eu", 2)];
        let pass = keys[1].issue(network(), NOW_S + 60);
        let admitted = admit(&keys, &pass, NOW).expect("valid");
        assert_eq!(admitted, Admitted { network: network(), key: 1 });
        assert_eq!(admit(&keys, &pass, WallTime(NOW.0 + 60_000)), Err(BadPass::Expired));
        let endless = keys[1].issue(network(), NOW_S + LONGEST_S + 1);
        assert_eq!(admit(&keys, &endless, NOW), Err(BadPass::Endless));
    }

    #[test]
    fn no_bit_of_a_pass_can_be_changed() {
        let keys = [key("player", 2)];
        let pass = keys[0].issue(network(), NOW_S + 60);
        for at in 0..pass.len() {
            let mut bent = pass.clone().into_bytes();
            bent[at] = if bent[at] == b'A' { b'B' } else { b'A' };
            let bent = String::from_utf8(bent).expect("ASCII");
            assert!(admit(&keys, &bent, NOW).is_err(), "{bent}");
        }
        for text in ["", ".", "..", "...", "player", "player..", &"x".repeat(10_000), "player.é.é"] {
            assert!(admit(&keys, text, NOW).is_err(), "{text}");
        }
    }

    #[test]
    fn another_key_of_the_same_name_is_another_key() {
        let pass = key("player", 3).issue(network(), NOW_S + 60);
        assert_eq!(admit(&[key("player", 2)], &pass, NOW), Err(BadPass::Signature));
        assert_eq!(admit(&[key("another", 3)], &pass, NOW), Err(BadPass::Signature));
    }

    #[test]
    fn keys_are_long_enough() {
        assert!(Key::parse("k", &BASE64URL_NOPAD.encode(&[1; 31])).is_err());
        assert!(Key::parse("k", "not base64!").is_err());
        assert!(Key::parse("k", &format!("{}\n", BASE64URL_NOPAD.encode(&[1; 32]))).is_ok());
    }

    #[test]
    fn sources_are_of_one_size() {
        for address in ["192.0.2.77", "::ffff:192.0.2.77"] {
            assert_eq!(network_of(address.parse().expect("address")).to_string(), "192.0.2.0/24");
        }
        assert_eq!(
            network_of("2001:db8:1:2ff::1".parse().expect("address")).to_string(),
            "2001:db8:1:200::/56"
        );
    }
}
