//! Sequences of operations on a shard against the naive model: deliveries, their order, evictions
//! and counters.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    ht_core::fuzz_operations(bytes);
});
