//! Offers and the negotiated result.

use super::*;

const ACCEPTED: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

fn negotiate(headers: &[&str]) -> Option<PerMessageDeflate> {
    PerMessageDeflate::negotiate(headers.iter().map(|header| header.as_bytes()))
}

#[track_caller]
fn answered(headers: &[&str], with: &str) {
    let response = negotiate(headers).map(PerMessageDeflate::response);
    assert_eq!(response, Some(format!("{ACCEPTED}{with}")), "{headers:?}");
}

#[track_caller]
fn declined(headers: &[&str]) {
    assert_eq!(negotiate(headers), None, "{headers:?}");
}

#[test]
fn a_byte_is_all_that_is_kept() {
    assert_eq!(size_of::<PerMessageDeflate>(), 1);
}

#[test]
fn good_offers_are_accepted() {
    for offer in [
        "permessage-deflate",
        // Chromium and Firefox.
        "permessage-deflate; client_max_window_bits",
        // Safari, of old and of now.
        "permessage-deflate;client_no_context_takeover",
        "\tpermessage-deflate\t;\tserver_no_context_takeover ;client_max_window_bits = 8 ",
        "permessage-deflate; client_no_context_takeover; server_no_context_takeover",
        r#"permessage-deflate; client_max_window_bits="10""#,
        r#"permessage-deflate; client_max_window_bits="1\0""#,
    ] {
        answered(&[offer], "");
    }
}

#[test]
fn a_window_for_the_server_is_confirmed_and_kept_to() {
    for bits in 8..=15_u8 {
        for quote in ["", "\""] {
            let offer = format!("permessage-deflate; server_max_window_bits={quote}{bits}{quote}");
            answered(&[&offer], &format!("; server_max_window_bits={bits}"));
            let agreed = negotiate(&[&offer]).unwrap();
            assert!(agreed.may_compress(1 << bits));
            assert_eq!(agreed.may_compress((1 << bits) + 1), bits == 15);
        }
    }
    let agreed = negotiate(&["permessage-deflate"]).unwrap();
    assert!(agreed.may_compress(usize::MAX));
}

#[test]
fn offers_that_cannot_be_accepted_are_declined() {
    for offer in [
        "",
        ",",
        "x-webkit-deflate-frame",
        "permessage-bzip2",
        "Permessage-Deflate",
        "permessage-deflate x",
        "permessage-deflate=1",
        "permessage-deflate;",
        "permessage-deflate; ; client_max_window_bits",
        "permessage-deflate; unknown",
        "permessage-deflate; unknown=1",
        "permessage-deflate; server_no_context_takeover=true",
        "permessage-deflate; client_no_context_takeover=",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=",
        "permessage-deflate; server_max_window_bits=7",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits=08",
        "permessage-deflate; server_max_window_bits=+9",
        "permessage-deflate; server_max_window_bits=1 0",
        "permessage-deflate; server_max_window_bits=115",
        "permessage-deflate; client_max_window_bits=16",
        "permessage-deflate; client_max_window_bits=",
        "permessage-deflate; client_max_window_bits=\"10",
        "permessage-deflate; client_max_window_bits=\"10\\",
        "permessage-deflate; client_max_window_bits=10\"",
        "permessage-deflate; client_max_window_bits=\"10\"0",
        "permessage-deflate; client_max_window_bits; client_max_window_bits",
        "permessage-deflate; server_max_window_bits=9; server_max_window_bits=10",
    ] {
        declined(&[offer]);
    }
    declined(&[]);
    assert_eq!(
        PerMessageDeflate::negotiate([&b"permessage-deflate\xff"[..]]),
        None
    );
}

#[test]
fn first_good_offer_counts_at_any_position() {
    for headers in [
        &["permessage-deflate; unknown, permessage-deflate; server_max_window_bits=9"][..],
        &[
            "foo",
            "bar; x=\"y\"",
            "permessage-deflate; server_max_window_bits=9",
        ],
        &[
            "foo; x=\"a, b; \\\" , permessage-deflate\" , permessage-deflate; server_max_window_bits=9",
        ],
        &[",, permessage-deflate; server_max_window_bits=9, permessage-deflate"],
        &[
            "permessage-deflate; server_max_window_bits=99",
            "permessage-deflate; server_max_window_bits=9, permessage-deflate",
        ],
    ] {
        answered(headers, "; server_max_window_bits=9");
    }
    // A quoted string is no offer.
    declined(&["foo; x=\", permessage-deflate, \""]);
    declined(&["foo; x=\"\\\", permessage-deflate, \""]);
    // Quotes do not reach into the next header.
    answered(&["foo; x=\"", "permessage-deflate"], "");
}

proptest::proptest! {
    #[test]
    fn nothing_panics(header in "(permessage-deflate|[a-z_]{1,3}|(client|server)_(max_window_bits|no_context_takeover)|[0-9]{1,2}|[;,= \"\\\\\t]){0,20}") {
        let agreed = negotiate(&[&header]);
        proptest::prop_assert!(agreed.is_none() || header.contains(NAME));
    }
}
