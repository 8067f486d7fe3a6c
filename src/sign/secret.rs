//! A private key: made, read back, and used to sign. It is never shown.
//!
//! ring keeps the working form; the octets that go into a file are in [`Zeroizing`] memory and only
//! exist while a key is made or read. ECDSA signatures differ each time (ring draws the nonce from
//! the private key, the message and the system's randomness); Ed25519 ones do not.

use crate::model::dnssec::Algorithm;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use zeroize::Zeroizing;

/// Octets of a private key of either algorithm.
pub const SECRET_LEN: usize = 32;
/// Octets of a signature of either algorithm.
pub const SIGNATURE_LEN: usize = 64;
/// Where ring's own PKCS#8 form of a P-256 key holds the scalar (RFC 5208 around RFC 5915).
const P256_SCALAR_AT: usize = 36;

/// Why there is no key to sign with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    #[error("the system has no randomness to make a key from")]
    NoRandomness,
    #[error("the private key is not {SECRET_LEN} octets of its algorithm")]
    Malformed,
    #[error("private and public key do not belong together")]
    Mismatch,
    #[error("signing failed")]
    Signing,
}

/// What a key file holds of a private key.
pub type SecretOctets = Zeroizing<[u8; SECRET_LEN]>;

/// A key pair that can sign.
pub struct Secret {
    pair: Pair,
    random: SystemRandom,
}

enum Pair {
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Draws a new private key; with it comes the public key as DNSKEY holds it.
pub fn generate(algorithm: Algorithm) -> Result<(SecretOctets, Vec<u8>), SecretError> {
    let random = SystemRandom::new();
    let mut octets = Zeroizing::new([0; SECRET_LEN]);
    match algorithm {
        Algorithm::Ed25519 => {
            random.fill(octets.as_mut_slice()).map_err(|_| SecretError::NoRandomness)?;
            let pair = Ed25519KeyPair::from_seed_unchecked(octets.as_slice());
            let public = pair.map_err(|_| SecretError::Malformed)?.public_key().as_ref().to_vec();
            Ok((octets, public))
        }
        Algorithm::EcdsaP256Sha256 => {
            // ring makes P-256 keys only in PKCS#8, drawing the scalar as FIPS 186 asks.
            let scheme = &ECDSA_P256_SHA256_FIXED_SIGNING;
            let form =
                EcdsaKeyPair::generate_pkcs8(scheme, &random).map_err(|_| SecretError::NoRandomness)?;
            let scalar = form.as_ref().get(P256_SCALAR_AT..P256_SCALAR_AT + SECRET_LEN);
            octets.copy_from_slice(scalar.ok_or(SecretError::Malformed)?);
            let pair = EcdsaKeyPair::from_pkcs8(scheme, form.as_ref(), &random)
                .map_err(|_| SecretError::Malformed)?;
            let public = pair.public_key().as_ref().get(1..).unwrap_or_default().to_vec();
            // Should ring's form ever change, this tells: the scalar would not be the key's.
            Secret::read(algorithm, &octets, &public)?;
            Ok((octets, public))
        }
    }
}

impl Secret {
    /// Takes a private key together with the public key of its DNSKEY, and refuses a pair that is none.
    pub fn read(algorithm: Algorithm, octets: &SecretOctets, public: &[u8]) -> Result<Self, SecretError> {
        let random = SystemRandom::new();
        let mismatch = |_| SecretError::Mismatch;
        let pair = match algorithm {
            Algorithm::EcdsaP256Sha256 => {
                // SEC 1's uncompressed point; DNSKEY leaves its first octet out (RFC 6605 4).
                let point = [&[4], public].concat();
                let scheme = &ECDSA_P256_SHA256_FIXED_SIGNING;
                let pair =
                    EcdsaKeyPair::from_private_key_and_public_key(scheme, octets.as_slice(), &point, &random);
                Pair::P256(pair.map_err(mismatch)?)
            }
            Algorithm::Ed25519 => {
                let pair = Ed25519KeyPair::from_seed_and_public_key(octets.as_slice(), public);
                Pair::Ed25519(pair.map_err(mismatch)?)
            }
        };
        Ok(Self { pair, random })
    }

    /// The signature field of an RRSIG record over `message`.
    pub fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_LEN], SecretError> {
        let signed = match &self.pair {
            Pair::P256(pair) => pair.sign(&self.random, message).map_err(|_| SecretError::Signing)?,
            Pair::Ed25519(pair) => pair.sign(message),
        };
        signed.as_ref().try_into().map_err(|_| SecretError::Signing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::signature::{ECDSA_P256_SHA256_FIXED, ED25519, UnparsedPublicKey, VerificationAlgorithm};

    #[test]
    fn a_made_key_signs_and_its_public_half_verifies() {
        for algorithm in Algorithm::ALL {
            let (octets, public) = generate(algorithm).expect("a key");
            assert_eq!(public.len(), algorithm.public_len());
            let secret = Secret::read(algorithm, &octets, &public).expect("a pair");
            let signature = secret.sign(b"message").expect("signs");
            let (scheme, key): (&'static dyn VerificationAlgorithm, _) = match algorithm {
                Algorithm::EcdsaP256Sha256 => (&ECDSA_P256_SHA256_FIXED, [&[4], &public[..]].concat()),
                Algorithm::Ed25519 => (&ED25519, public.clone()),
            };
            let verifier = UnparsedPublicKey::new(scheme, key);
            verifier.verify(b"message", &signature).expect("verifies");
            assert!(verifier.verify(b"massage", &signature).is_err());
            assert_eq!(format!("{secret:?}"), "Secret(..)");
        }
    }

    #[test]
    fn halves_of_different_keys_are_refused() {
        for algorithm in Algorithm::ALL {
            let (octets, _) = generate(algorithm).expect("a key");
            let (_, public) = generate(algorithm).expect("another");
            assert_eq!(Secret::read(algorithm, &octets, &public).err(), Some(SecretError::Mismatch));
        }
    }
}
