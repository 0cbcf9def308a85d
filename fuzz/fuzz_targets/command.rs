//! Commands of the API: nothing panics, and what is accepted reads the same from a broker, where a
//! reader of triggers takes it for a trigger for nobody.

#![no_main]

use bytes::Bytes;
use ht_proto::record::Record;
use ht_proto::trigger::{Request, Trigger, TriggerLimits};
use libfuzzer_sys::fuzz_target;

const LIMITS: TriggerLimits = TriggerLimits {
    bytes: 64 << 10,
    triggers: 16,
    rooms: 16,
};

fn check(record: &Record) {
    let again = Record::parse(record.text(), &LIMITS).expect("its own text is read");
    assert_eq!(again.text(), record.text());
    match (record, again) {
        (Record::Command(command), Record::Command(again)) => {
            assert_eq!(again, *command);
            let trigger = Trigger::parse(&command.text, &LIMITS).expect("a trigger, too");
            assert!(trigger.rooms.is_empty() && trigger.data == "null");
        }
        (Record::Trigger(trigger), Record::Trigger(again)) => {
            assert_eq!(again.rooms, trigger.rooms);
            assert_eq!(again.data, trigger.data);
        }
        (record, again) => panic!("{record:?} is read as {again:?}"),
    }
}

fuzz_target!(|bytes: &[u8]| {
    let body = Bytes::copy_from_slice(bytes);
    match Request::of_records(&body, &LIMITS) {
        Ok(Request::One(record)) => check(&record),
        Ok(Request::Many(records)) => records.iter().for_each(check),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
