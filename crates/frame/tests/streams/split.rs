//! Where a stream is cut into reads changes nothing.

use ht_frame::DecodeOptions;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::{decode, generate};

pub(crate) fn pieces<'b>(bytes: &'b [u8], cuts: &[Index]) -> Vec<&'b [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    cuts.sort_unstable();
    let mut pieces = Vec::new();
    let mut from = 0;
    for cut in cuts {
        pieces.push(&bytes[from..cut]);
        from = cut;
    }
    pieces.push(&bytes[from..]);
    pieces
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2 * ProptestConfig::default().cases))]

    #[test]
    fn cut_anywhere_equals_whole(
        (role, bytes) in prop_oneof![generate::stream(), generate::mutated_stream()],
        cuts in vec(any::<Index>(), 0..20),
        message_bytes_max in prop_oneof![Just(1 << 20), 0_usize..200],
    ) {
        let options = DecodeOptions { role, message_bytes_max };
        let whole = decode(&[&bytes], &options);
        prop_assert_eq!(&decode(&pieces(&bytes, &cuts), &options), &whole);
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        prop_assert_eq!(&decode(&single, &options), &whole);
    }

    #[test]
    fn any_bytes_at_all(bytes in vec(any::<u8>(), 0..300), role in generate::role()) {
        let options = DecodeOptions { role, message_bytes_max: 100 };
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        prop_assert_eq!(decode(&single, &options), decode(&[&bytes], &options));
    }
}
