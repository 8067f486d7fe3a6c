//! What is kept of a secret that vantages and nodes show: its hash.
//!
//! A token is 256 random bits, so one round of SHA-256 is enough: there is nothing to guess faster by
//! knowing the hash, and whoever reads the policy files learns no token.

use sha2::{Digest, Sha256};
use std::fmt;

const BYTES: usize = 32;
/// How policy writes it: the name of the hash, then lower-case hexadecimal digits.
const SCHEME: &str = "sha256:";

/// The SHA-256 of a token.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash([u8; BYTES]);

impl TokenHash {
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    /// `sha256:` and 64 hexadecimal digits; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(SCHEME)?.to_ascii_lowercase();
        let bytes = data_encoding::HEXLOWER.decode(digits.as_bytes()).ok()?;
        bytes.try_into().ok().map(Self)
    }

    /// Whether `token` is the one; takes as long whatever it is.
    pub fn is_of(&self, token: &str) -> bool {
        let other = Self::of(token);
        let differing = self.0.iter().zip(&other.0).fold(0, |bits, (a, b)| bits | (a ^ b));
        std::hint::black_box(differing) == 0
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", data_encoding::HEXLOWER.encode(&self.0))
    }
}

/// In short: a debug log need not hold more than tells two apart.
impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}..", data_encoding::HEXLOWER.encode(&self.0[..4]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_read_as_it_is_written_and_knows_its_token() {
        let hash = TokenHash::of("abc");
        assert_eq!(
            hash.to_string(),
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "FIPS 180-2, appendix B.1"
        );
        assert_eq!(TokenHash::parse(&hash.to_string()), Some(hash));
        assert_eq!(TokenHash::parse(&hash.to_string().to_uppercase()), None, "another scheme");
        assert!(hash.is_of("abc") && !hash.is_of("abd") && !hash.is_of(""));
        for text in ["", "sha256:", "sha256:00", "abc", &format!("{hash}00"), &hash.to_string()[7..]] {
            assert_eq!(TokenHash::parse(text), None, "{text}");
        }
    }
}
