//! Copies of a few octets, of a length that is known only when it is made, without a call.
//!
//! `memcpy` costs some twenty instructions before its first octet, and an answer is put together from
//! three pieces of 16 to 128 octets.

/// Copies two pieces that may overlap, which needs no loop. `to` is as long as `from`.
#[inline(always)]
pub(super) fn copy(to: &mut [u8], from: &[u8]) {
    match from.len() {
        ..=32 if from.len() >= 16 => copy_ends::<16>(to, from),
        ..=32 if from.len() >= 8 => copy_ends::<8>(to, from),
        33..=64 => copy_ends::<32>(to, from),
        65..=128 => copy_ends::<64>(to, from),
        _ => to.copy_from_slice(from),
    }
}

#[inline(always)]
fn copy_ends<const N: usize>(to: &mut [u8], from: &[u8]) {
    if let (Some(to), Some(first)) = (to.first_chunk_mut::<N>(), from.first_chunk()) {
        *to = *first;
    }
    if let (Some(to), Some(last)) = (to.last_chunk_mut::<N>(), from.last_chunk()) {
        *to = *last;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_is_copied_whole() {
        let from: Vec<u8> = (0..=255).collect();
        for len in 0..=from.len() {
            let mut to = vec![0xaa; len];
            copy(&mut to, &from[..len]);
            assert_eq!(to, from[..len], "{len}");
        }
    }
}
