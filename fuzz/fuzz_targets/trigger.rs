//! Trigger requests: nothing panics, and accepted data is byte for byte a part of the body.

#![no_main]

use bytes::Bytes;
use ht_proto::grant::GrantList;
use ht_proto::trigger::{Request, Trigger, TriggerLimits};
use libfuzzer_sys::fuzz_target;

const LIMITS: TriggerLimits = TriggerLimits {
    bytes: 64 << 10,
    triggers: 16,
    rooms: 16,
};

fn check(trigger: &Trigger) {
    assert!(trigger.rooms.len() <= LIMITS.rooms);
    let data = std::str::from_utf8(&trigger.data).expect("data is part of UTF-8");
    // RawValue: lone surrogates and long numbers are JSON, too.
    serde_json::from_str::<&serde_json::value::RawValue>(data).expect("data is JSON");
}

fuzz_target!(|bytes: &[u8]| {
    let body = Bytes::copy_from_slice(bytes);
    match Request::parse(&body, &LIMITS) {
        Ok(Request::One(trigger)) => check(&trigger),
        Ok(Request::Many(triggers)) => triggers.iter().for_each(check),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        if let Ok(list) = GrantList::parse(text) {
            let again = GrantList::parse(&list.text).expect("what is shown is a list");
            assert_eq!(again.rooms, list.rooms);
        }
    }
});
