//! Sequences of operations on a shard against the naive model: who hears what, in which order,
//! who is evicted, what is counted.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    ht_core::fuzz_operations(bytes);
});
