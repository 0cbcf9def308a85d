//! The name of a certificate's issuer, for messages.

/// The attributes that name an issuer (RFC 5280 appendix A.1), the most specific first: common
/// name, organization, organizational unit.
const ATTRIBUTES: [[u8; 5]; 3] = [
    [0x06, 0x03, 0x55, 0x04, 0x03],
    [0x06, 0x03, 0x55, 0x04, 0x0a],
    [0x06, 0x03, 0x55, 0x04, 0x0b],
];

/// The string types of which each byte, or each sequence of UTF-8, is a character: UTF8String,
/// PrintableString, TeletexString, IA5String.
const STRINGS: [u8; 4] = [0x0c, 0x13, 0x14, 0x16];

/// Longest name that is shown, in characters.
const SHOWN_CHARS_MAX: usize = 100;

/// What a distinguished name in DER is called, if it has one of the usual attributes. Comes from
/// the peer, so it is bounded and holds no control characters.
pub(super) fn of(distinguished_name: &[u8]) -> Option<String> {
    ATTRIBUTES
        .iter()
        .find_map(|attribute| value(distinguished_name, attribute))
}

fn value(name: &[u8], attribute: &[u8]) -> Option<String> {
    let at = name
        .windows(attribute.len())
        .position(|window| window == attribute)?;
    let (&[kind, length], rest) = name[at + attribute.len()..].split_first_chunk::<2>()?;
    // Names of 128 bytes and more have a length of several bytes; RFC 5280 allows 64 characters.
    let text = rest.get(..usize::from(length))?;
    if !STRINGS.contains(&kind) || length >= 0x80 {
        return None;
    }
    let text: String = String::from_utf8_lossy(text)
        .chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .take(SHOWN_CHARS_MAX)
        .collect();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An attribute with its value, as encoded within a name.
    fn attribute(id: u8, kind: u8, text: &[u8]) -> Vec<u8> {
        let length = u8::try_from(text.len()).unwrap();
        let mut der = vec![0x31, 0, 0x30, 0, 0x06, 0x03, 0x55, 0x04, id, kind, length];
        der.extend(text);
        der
    }

    #[test]
    fn the_most_specific_attribute_names_the_issuer() {
        let (common, organization, country) = (
            attribute(3, 0x0c, "Zürich CA".as_bytes()),
            attribute(10, 0x13, b"Example Ltd"),
            attribute(6, 0x13, b"CH"),
        );
        for (name, expected) in [
            (
                [&country[..], &organization, &common].concat(),
                Some("Zürich CA"),
            ),
            ([&country[..], &organization].concat(), Some("Example Ltd")),
            (attribute(11, 0x16, b"Unit"), Some("Unit")),
            (country, None),
            (Vec::new(), None),
        ] {
            assert_eq!(of(&name).as_deref(), expected, "{name:x?}");
        }
    }

    #[test]
    fn a_name_of_a_hostile_peer_does_no_harm() {
        let escape = attribute(3, 0x0c, b"a\x1b[31m\r\n");
        assert_eq!(
            of(&escape).as_deref(),
            Some("a\u{fffd}[31m\u{fffd}\u{fffd}")
        );
        let long = attribute(3, 0x0c, &[b'x'; 127]);
        assert_eq!(of(&long).map(|name| name.len()), Some(SHOWN_CHARS_MAX));
        let whole = attribute(3, 0x0c, b"name");
        for end in 0..whole.len() {
            assert_eq!(of(&whole[..end]), None, "cut off at {end}");
        }
        // Two bytes a character, and a value that is no string.
        assert_eq!(of(&attribute(3, 0x1e, b"\0n\0a")), None);
        assert_eq!(of(&attribute(3, 0x30, b"abc")), None);
    }
}
