//! A hash that is the same on every node and in every version, because it travels in cursors.

/// A 64-bit hash of the bytes. Not resistant to deliberate collisions.
#[must_use]
pub(crate) fn digest(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let length = bytes.len() as u64;
    let words = words.iter().chain([&last]);
    let mixed = words.fold(length ^ SEED, |hash, word| {
        fold(hash ^ u64::from_le_bytes(*word), FACTOR).wrapping_add(SEED)
    });
    fold(mixed, FACTOR)
}

/// Any number that is half ones.
const SEED: u64 = 0x243f_6a88_85a3_08d3;

/// An odd number without a pattern.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// Both halves of the product, so that every bit of `a` counts.
fn fold(a: u64, b: u64) -> u64 {
    let [low, high] = [0, 64].map(|shift| (u128::from(a) * u128::from(b)) >> shift);
    (low ^ high) as u64
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn digest_is_stable() {
        for (text, expected) in [
            ("", 0xeeb6_406a_fc75_670d),
            ("a", 0x6f9b_d17e_9ffb_7119),
            ("12345678", 0xf306_d198_79aa_836a),
            ("{\"rooms\":[],\"data\":null}", 0xacb5_7b6b_850d_34b1),
        ] {
            assert_eq!(digest(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn zeros_at_the_end_count() {
        let zeros = [0; 40];
        let found: HashSet<_> = (0..=40).map(|length| digest(&zeros[..length])).collect();
        assert_eq!(found.len(), 41);
    }

    #[test]
    fn its_upper_bits_are_even() {
        const CELLS: usize = 256;
        const TEXTS: usize = 100 * CELLS;
        let mut cells = [0_usize; CELLS];
        for number in 0..TEXTS {
            let text = format!(r#"{{"rooms":[{{"id":{number}}}],"data":null}}"#);
            let upper = digest(text.as_bytes()) >> 56;
            cells[usize::try_from(upper).unwrap()] += 1;
        }
        // Of a hundred each, five times the deviation of chance.
        assert!(
            cells.iter().all(|cell| (50..=150).contains(cell)),
            "{cells:?}"
        );
    }

    proptest! {
        #[test]
        fn one_bit_changes_it(mut bytes: Vec<u8>, at: prop::sample::Index, bit in 0..8_u32) {
            prop_assume!(!bytes.is_empty());
            let before = digest(&bytes);
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert_ne!(digest(&bytes), before);
        }
    }
}
