//! DNS cookies (RFC 7873) in the interoperable form of RFC 9018: a client that shows a cookie made
//! for its address did receive an earlier answer there, so its address is not forged.
//!
//! ```text
//!  0              8       9        12        16              24
//!  client cookie  version reserved timestamp SipHash-2-4 of all before it and the client's address
//!                 1       0        seconds   keyed with a secret that a fleet may share
//!
//!  asked with            answered with                 verified
//!  client cookie only    a new server cookie           no
//!  ours, up to 30 min    the same                      yes
//!  ours, up to 1 h       a new one                     yes
//!  made with the         a new one                     yes
//!    previous secret
//!  anything else         a new one                     no
//! ```
//!
//! Pure: the time and the secrets are given. BADCOOKIE is for when a client is to be slowed down; it
//! is not decided here.

use std::net::{IpAddr, Ipv4Addr};

/// Octets of a client cookie, and of a whole one as we make it.
pub const CLIENT_LEN: usize = 8;
pub const WHOLE_LEN: usize = 24;
/// A server cookie has 8 to 32 octets (RFC 7873 4.2).
const MIN_SERVER_LEN: usize = 8;
const MAX_SERVER_LEN: usize = 32;
/// RFC 9018 4.3, in seconds: accepted as long after, or before, it was made; renewed after.
const MAX_AGE: u32 = 3_600;
const MAX_AHEAD: u32 = 300;
const RENEW_AGE: u32 = 1_800;
const VERSION: u64 = 1;

/// The option is malformed: FORMERR (RFC 7873 5.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CookieError;

/// The option of a query, of a valid length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cookie<'q> {
    payload: &'q [u8],
}

impl<'q> Cookie<'q> {
    #[inline]
    pub fn read(payload: &'q [u8]) -> Result<Self, CookieError> {
        match payload.len().checked_sub(CLIENT_LEN) {
            Some(0 | MIN_SERVER_LEN..=MAX_SERVER_LEN) => Ok(Self { payload }),
            _ => Err(CookieError),
        }
    }

    /// The option, with its head, as long as ours at the start of `options`, and what follows it. `None`:
    /// it may be another one.
    #[inline(always)]
    pub(super) fn read_whole(options: &'q [u8]) -> Option<(Self, &'q [u8])> {
        // Code and length.
        const HEAD: u32 = 0x000a_0000 | WHOLE_LEN as u32;
        let (head, rest) = options.split_first_chunk()?;
        if u32::from_be_bytes(*head) != HEAD {
            return None;
        }
        let (payload, rest) = rest.split_at_checked(WHOLE_LEN)?;
        Some((Self { payload }, rest))
    }
}

/// What a cookie is answered with: the words of a cookie, as they stand in the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CookieReply {
    words: [u64; 3],
    /// The client has shown that it receives what is sent to its address.
    pub is_verified: bool,
}

impl CookieReply {
    /// The option's payload.
    #[inline]
    pub fn payload(&self) -> [u8; WHOLE_LEN] {
        let mut payload = [0; WHOLE_LEN];
        payload.copy_from_slice(self.words.map(u64::to_ne_bytes).as_flattened());
        payload
    }
}

/// What server cookies are made with. Instances that answer for one address share them.
#[derive(Clone)]
pub struct CookieSecrets {
    current: SipKey,
    /// Accepted too: the one before, or the next one while a fleet is being told (RFC 9018 5).
    other: Option<SipKey>,
}

impl std::fmt::Debug for CookieSecrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("cookie secrets")
    }
}

impl CookieSecrets {
    pub fn new(current: &[u8; 16], other: Option<&[u8; 16]>) -> Self {
        Self { current: SipKey::new(current), other: other.map(SipKey::new) }
    }

    /// What they were made of, the one in use first: for a successor that answers for the same address, and
    /// for nobody else.
    pub fn keys(&self) -> Vec<[u8; 16]> {
        std::iter::once(&self.current).chain(&self.other).map(SipKey::octets).collect()
    }

    /// Those of a predecessor; `None`: there are none, or too many.
    pub fn of_keys(keys: &[[u8; 16]]) -> Option<Self> {
        match keys {
            [current] => Some(Self::new(current, None)),
            [current, other] => Some(Self::new(current, Some(other))),
            _ => None,
        }
    }

    /// Makes cookies with `next` from now on and still accepts those of the secret used until now.
    #[must_use]
    pub fn roll(self, next: &[u8; 16]) -> Self {
        Self { current: SipKey::new(next), other: Some(self.current) }
    }

    /// Judges a cookie and gives the one to answer with. `now` in seconds since 1970, modulo 2^32.
    ///
    /// A function of its own: the hash takes every register.
    #[inline(never)]
    pub fn reply(&self, cookie: &Cookie<'_>, peer: IpAddr, now: u32) -> CookieReply {
        let Some((client, server)) = cookie.payload.split_first_chunk() else {
            return self.issue(0, peer, now, false);
        };
        let client = u64::from_ne_bytes(*client);
        if let ([head, hash], []) = server.as_chunks()
            && let Some(reply) =
                self.accept([client, u64::from_ne_bytes(*head), u64::from_ne_bytes(*hash)], peer, now)
        {
            return reply;
        }
        self.issue(client, peer, now, false)
    }

    /// Whether the cookie is ours, made with the present secret, and need not be renewed: the answer has
    /// it as it is. If not, [`reply`](Self::reply) tells what it is.
    #[inline(always)]
    pub(super) fn is_current(&self, cookie: &Cookie<'_>, peer: &IpAddr, now: u32) -> bool {
        let ([client, head, hash], []) = cookie.payload.as_chunks() else { return false };
        let (client, head) = (u64::from_ne_bytes(*client), u64::from_ne_bytes(*head));
        age(head, now) <= MAX_AHEAD + RENEW_AGE
            && seal(&self.current, client, head, *peer) == u64::from_ne_bytes(*hash)
    }

    /// `None`: not ours, or out of date.
    #[inline(always)]
    fn accept(&self, words: [u64; 3], peer: IpAddr, now: u32) -> Option<CookieReply> {
        let [client, head, hash] = words;
        let age = age(head, now);
        if age > MAX_AHEAD + MAX_AGE {
            return None;
        }
        if seal(&self.current, client, head, peer) == hash {
            if age > MAX_AHEAD + RENEW_AGE {
                return Some(self.issue(client, peer, now, true));
            }
            return Some(CookieReply { words, is_verified: true });
        }
        self.accept_other(words, peer, now)
    }

    /// Of the other secret.
    #[cold]
    fn accept_other(&self, [client, head, hash]: [u64; 3], peer: IpAddr, now: u32) -> Option<CookieReply> {
        let other = self.other.as_ref()?;
        (seal(other, client, head, peer) == hash).then(|| self.issue(client, peer, now, true))
    }

    /// A server cookie made now.
    #[inline(never)]
    fn issue(&self, client: u64, peer: IpAddr, now: u32, is_verified: bool) -> CookieReply {
        let head = (VERSION << 56 | u64::from(now)).to_be();
        CookieReply { words: [client, head, seal(&self.current, client, head, peer)], is_verified }
    }
}

/// How long ago the second word was made, and [`MAX_AHEAD`] more; of another version for ever.
#[inline(always)]
const fn age(head: u64, now: u32) -> u32 {
    let fields = u64::from_be(head);
    if fields >> 56 != VERSION {
        return u32::MAX;
    }
    // Serial number arithmetic (RFC 1982), so that 2106 is a year like any other.
    now.wrapping_sub(fields as u32).wrapping_add(MAX_AHEAD)
}

/// The hash's word. An IPv4 client is the same over a socket of either family.
#[inline(always)]
fn seal(secret: &SipKey, client: u64, head: u64, peer: IpAddr) -> u64 {
    let v6 = match peer {
        IpAddr::V4(v4) => return seal_v4(secret, client, head, v4),
        IpAddr::V6(v6) => v6,
    };
    match v6.to_ipv4_mapped() {
        Some(v4) => seal_v4(secret, client, head, v4),
        None => {
            let [high, low] = [(v6.to_bits() >> 64) as u64, v6.to_bits() as u64].map(u64::swap_bytes);
            secret.hash([client.to_le(), head.to_le(), high, low, 32 << 56]).to_le()
        }
    }
}

#[inline(always)]
fn seal_v4(secret: &SipKey, client: u64, head: u64, address: Ipv4Addr) -> u64 {
    let last = u64::from(address.to_bits().swap_bytes()) | 20 << 56;
    secret.hash([client.to_le(), head.to_le(), last]).to_le()
}

/// A key of SipHash-2-4 (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012), for inputs
/// that are words already, where a hasher that takes octets as they come would cost half as much again.
///
/// Kept as the state that hashing starts from, which costs eight instructions less than the key.
#[derive(Clone)]
struct SipKey([u64; 4]);

/// What the halves of a key, twice, are mixed with: the paper's text.
const SIP_START: [u64; 4] =
    [0x736f_6d65_7073_6575, 0x646f_7261_6e64_6f6d, 0x6c79_6765_6e65_7261, 0x7465_6462_7974_6573];

impl SipKey {
    fn new(key: &[u8; 16]) -> Self {
        let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|n| key[at + n]));
        let [a, b, c, d] = SIP_START;
        Self([word(0) ^ a, word(8) ^ b, word(0) ^ c, word(8) ^ d])
    }

    fn octets(&self) -> [u8; 16] {
        let ([a, b, ..], [start_a, start_b, ..]) = (self.0, SIP_START);
        let [low, high] = [a ^ start_a, b ^ start_b].map(u64::to_le_bytes);
        std::array::from_fn(|at| if at < 8 { low[at] } else { high[at - 8] })
    }

    /// Of little-endian words, the last of which has the input's length modulo 256 in its first octet.
    #[inline(always)]
    fn hash<const N: usize>(&self, words: [u64; N]) -> u64 {
        let mut state = self.0;
        for word in words {
            state[3] ^= word;
            state = sip_round(sip_round(state));
            state[0] ^= word;
        }
        state[2] ^= 0xff;
        let [a, b, c, d] = sip_round(sip_round(sip_round(sip_round(state))));
        a ^ b ^ c ^ d
    }
}

#[inline(always)]
const fn sip_round([mut a, mut b, mut c, mut d]: [u64; 4]) -> [u64; 4] {
    a = a.wrapping_add(b);
    c = c.wrapping_add(d);
    b = b.rotate_left(13) ^ a;
    d = d.rotate_left(16) ^ c;
    a = a.rotate_left(32).wrapping_add(d);
    c = c.wrapping_add(b);
    b = b.rotate_left(17) ^ c;
    d = d.rotate_left(21) ^ a;
    [a, b, c.rotate_left(32), d]
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: [u8; 16] = [7; 16];

    /// The paper's test vector (appendix A), and another implementation.
    #[test]
    fn the_hash_is_siphash_2_4() {
        let key = std::array::from_fn(|n| u8::try_from(n).expect("sixteen"));
        let input: [u8; 15] = std::array::from_fn(|n| u8::try_from(n).expect("fifteen"));
        let mut last = [0; 8];
        last[..7].copy_from_slice(&input[8..]);
        let words = [u64::from_le_bytes([0, 1, 2, 3, 4, 5, 6, 7]), u64::from_le_bytes(last) | 15 << 56];
        assert_eq!(SipKey::new(&key).hash(words), 0xa129_ca61_49be_45e5);
        let mut rng = crate::base::hash::SeededRng::new(3);
        for _ in 0..500 {
            let mut key = [0; 16];
            key.fill_with(|| rng.next_u64() as u8);
            let [client, head] = [rng.next_u64(), rng.next_u64()];
            let v4 = Ipv4Addr::from_bits(rng.next_u64() as u32);
            let v6 = std::net::Ipv6Addr::from_bits(u128::from(rng.next_u64()) << 64 | 5);
            for (peer, octets) in [(v4.into(), v4.octets().to_vec()), (v6.into(), v6.octets().to_vec())] {
                let input = [&client.to_ne_bytes()[..], &head.to_ne_bytes(), &octets].concat();
                let expected = siphasher::sip::SipHasher24::new_with_key(&key).hash(&input).to_le();
                assert_eq!(seal(&SipKey::new(&key), client, head, peer), expected, "{peer}");
            }
        }
    }
    const NOW: u32 = 1_000_000;

    fn peer() -> IpAddr {
        IpAddr::from([192, 0, 2, 1])
    }

    fn reply(secrets: &CookieSecrets, payload: &[u8], peer: IpAddr, now: u32) -> CookieReply {
        secrets.reply(&Cookie::read(payload).expect("a valid length"), peer, now)
    }

    #[test]
    fn only_lengths_of_the_protocol_are_read() {
        for len in 0..=64 {
            let is_valid = len == 8 || (16..=40).contains(&len);
            assert_eq!(Cookie::read(&vec![1; len]).is_ok(), is_valid, "{len}");
        }
    }

    #[test]
    fn age_decides_what_a_true_cookie_is_answered_with() {
        let secrets = CookieSecrets::new(&SECRET, None);
        let first = reply(&secrets, b"12345678", peer(), NOW);
        assert!(!first.is_verified);
        // (seconds later, verified, the same cookie again)
        let cases = [
            (0, true, true),
            (1_800, true, true),
            (1_801, true, false),
            (3_600, true, false),
            (3_601, false, false),
            (u32::MAX, true, true),
            (u32::MAX - 299, true, true),
            (u32::MAX - 300, false, false),
        ];
        for (later, is_verified, is_same) in cases {
            let again = reply(&secrets, &first.payload(), peer(), NOW.wrapping_add(later));
            assert_eq!(
                (again.is_verified, again.payload() == first.payload()),
                (is_verified, is_same),
                "{later}"
            );
        }
        let wrapped = reply(&secrets, b"12345678", peer(), u32::MAX);
        assert!(reply(&secrets, &wrapped.payload(), peer(), 5).is_verified, "past 2106");
    }

    #[test]
    fn a_cookie_is_good_for_one_address_and_one_client_cookie() {
        let secrets = CookieSecrets::new(&SECRET, None);
        let first = reply(&secrets, b"12345678", peer(), NOW).payload();
        assert!(!reply(&secrets, &first, IpAddr::from([192, 0, 2, 2]), NOW).is_verified);
        let mapped = IpAddr::from([0, 0, 0, 0, 0, 0xffff, 0xc000, 0x0201]);
        assert!(reply(&secrets, &first, mapped, NOW).is_verified);
        for at in 0..WHOLE_LEN {
            let mut other = first;
            other[at] ^= 1;
            let answered = reply(&secrets, &other, peer(), NOW);
            assert!(!answered.is_verified, "octet {at}");
            assert_eq!(answered.payload()[..8], other[..8]);
        }
        let longer = [&first[..], &[0]].concat();
        assert!(!reply(&secrets, &longer, peer(), NOW).is_verified);
    }

    #[test]
    fn a_successor_accepts_what_its_predecessor_did() {
        for secrets in [CookieSecrets::new(&[7; 16], None), CookieSecrets::new(&[7; 16], None).roll(&[8; 16])]
        {
            let heir = CookieSecrets::of_keys(&secrets.keys()).expect("one or two");
            assert_eq!(heir.keys(), secrets.keys());
            let cookie = reply(&secrets, b"8 octets", peer(), NOW).payload();
            assert!(reply(&heir, &cookie, peer(), NOW).is_verified);
        }
        assert!(CookieSecrets::of_keys(&[]).is_none() && CookieSecrets::of_keys(&[[0; 16]; 3]).is_none());
    }

    #[test]
    fn a_rolled_secret_keeps_clients_for_one_roll() {
        let secrets = CookieSecrets::new(&SECRET, None);
        let first = reply(&secrets, b"12345678", peer(), NOW);
        let rolled = secrets.roll(&[8; 16]);
        let second = reply(&rolled, &first.payload(), peer(), NOW);
        assert!(second.is_verified && second.payload() != first.payload());
        let twice = rolled.roll(&[9; 16]);
        assert!(reply(&twice, &second.payload(), peer(), NOW).is_verified);
        assert!(!reply(&twice, &first.payload(), peer(), NOW).is_verified);
    }
}
