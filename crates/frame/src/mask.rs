//! Masking (RFC 6455 section 5.3): XOR with a key of four bytes that repeats.

/// Masks or unmasks `payload`, whose first byte corresponds to the first byte of `key`.
///
/// Whole words in safe code: the compiler turns the loop into vector instructions.
pub(crate) fn apply(payload: &mut [u8], key: [u8; 4]) {
    let [a, b, c, d] = key;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, tail) = payload.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip([a, b, c, d, a, b, c]) {
        *byte ^= key;
    }
}

/// The key, rotated for the byte after `done` bytes of payload.
pub(crate) fn advance(mut key: [u8; 4], done: usize) -> [u8; 4] {
    key.rotate_left(done % 4);
    key
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn naive(payload: &[u8], key: [u8; 4]) -> Vec<u8> {
        payload
            .iter()
            .enumerate()
            .map(|(at, byte)| byte ^ key[at % 4])
            .collect()
    }

    proptest! {
        #[test]
        fn words_equal_bytes(payload: Vec<u8>, key: [u8; 4], from in 0_usize..16) {
            let from = from.min(payload.len());
            let mut masked = payload.clone();
            apply(&mut masked[from..], key);
            prop_assert_eq!(&masked[..from], &payload[..from]);
            prop_assert_eq!(&masked[from..], &naive(&payload[from..], key)[..]);
        }

        #[test]
        fn two_parts_equal_one(payload: Vec<u8>, key: [u8; 4], at: prop::sample::Index) {
            let at = at.index(payload.len() + 1);
            let mut masked = payload.clone();
            apply(&mut masked[..at], key);
            apply(&mut masked[at..], advance(key, at));
            prop_assert_eq!(masked, naive(&payload, key));
        }
    }
}
