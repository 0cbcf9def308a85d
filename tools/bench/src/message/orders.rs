//! Data as an API sends it: records of orders, alike in their shape and different in their values.

use std::io::Write;

use super::Stamp;

const CUSTOMERS: [(&str, &str); 8] = [
    ("Brouwer Metaal", "Eindhoven"),
    ("De Haan & Zonen", "Utrecht"),
    ("Kwekerij Zonneveld", "Venlo"),
    ("Linde Logistics", "Rotterdam"),
    ("Van Dam Installaties", "Arnhem"),
    ("Noordzee Visserij", "IJmuiden"),
    ("Studio Lakerveld", "Amsterdam"),
    ("Autobedrijf Postma", "Leeuwarden"),
];
const STATES: [&str; 5] = ["draft", "confirmed", "in_production", "shipped", "invoiced"];

/// Appends an object with the stamp and so many orders that it is at least `bytes` long. Equal
/// stamps make equal bytes.
pub(super) fn write(stamp: &Stamp, bytes: usize, out: &mut Vec<u8>) {
    let start = out.len();
    let mut values = Values(stamp.trigger);
    out.extend_from_slice(br#"{"stamp":"#);
    stamp.write(0, out);
    out.extend_from_slice(br#","orders":["#);
    loop {
        write_order(&mut values, out);
        // Two bytes end the object.
        if out.len() - start + 2 >= bytes {
            break;
        }
        out.push(b',');
    }
    out.extend_from_slice(b"]}");
}

fn write_order(values: &mut Values, out: &mut Vec<u8>) {
    let (name, city) = CUSTOMERS[values.below(CUSTOMERS.len() as u64) as usize];
    let state = STATES[values.below(STATES.len() as u64) as usize];
    let (id, customer) = (100_000 + values.below(900_000), 1_000 + values.below(9_000));
    let (euros, cents) = (values.below(20_000), values.below(100));
    let (day, hour) = (1 + values.below(28), values.below(24));
    let (minute, second) = (values.below(60), values.below(60));
    let (lines, owner) = (1 + values.below(12), 1 + values.below(40));
    // Writing to memory does not fail.
    let _ = write!(
        out,
        r#"{{"id":{id},"number":"SO-2026-{id}","state":"{state}","customer":{{"id":{customer},"name":"{name}","city":"{city}"}},"lines":{lines},"total":"{euros}.{cents:02}","currency":"EUR","updated_at":"2026-11-{day:02}T{hour:02}:{minute:02}:{second:02}Z","assigned_to":{owner},"urgent":{}}}"#,
        values.below(8) == 0
    );
}

/// Numbers that look random and are the same for the same trigger (splitmix64).
struct Values(u64);

impl Values {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn it_is_json_with_a_stamp_and_compresses_as_such_data_does() {
        for trigger in [0, 1, 77] {
            let stamp = Stamp {
                trigger,
                sequence: 3,
                sent_ns: 9,
            };
            let mut data = Vec::new();
            write(&stamp, 3_000, &mut data);
            assert!((3_000..3_400).contains(&data.len()), "{}", data.len());
            let value: serde_json::Value = serde_json::from_slice(&data).unwrap();
            assert!(value["orders"].as_array().unwrap().len() >= 10);
            assert_eq!(Stamp::find(&data, &mut 0), Some(stamp));

            let mut packed = Vec::new();
            let level = flate2::Compression::default();
            flate2::read::DeflateEncoder::new(&data[..], level)
                .read_to_end(&mut packed)
                .unwrap();
            let times = data.len() as f64 / packed.len() as f64;
            assert!((2.5..8.0).contains(&times), "{times}");
        }
    }

    #[test]
    fn no_two_triggers_have_the_same_orders() {
        let data = |trigger| {
            let mut data = Vec::new();
            let stamp = Stamp {
                trigger,
                sequence: 0,
                sent_ns: 0,
            };
            write(&stamp, 1_000, &mut data);
            data.split_off(100)
        };
        assert_ne!(data(1), data(2));
        assert_eq!(data(1), data(1));
    }
}
