//! Clients that negotiated compression beside those that did not.

use ht_frame::{Deflater, Opcode};

use super::kit::*;
use crate::shard::Compression;

const A: &str = r#"{"a":1}"#;
const GRANT: &str = r#"[{"a":1}]"#;
const OFFER: &str = "permessage-deflate";

/// A JSON string that compresses well, of so many bytes.
fn text(len: usize) -> String {
    format!("\"{}\"", "high templar ".repeat(len).split_at(len - 2).0)
}

/// A JSON string that does not compress well.
fn noise(len: usize) -> String {
    let mut state = 1_u64;
    let digits = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        char::from(b'#' + (state >> 33) as u8 % 56)
    });
    format!("\"{}\"", digits.take(len - 2).collect::<String>())
}

fn subscribed(world: &mut World, offer: Option<&'static str>) -> Client {
    world.offer = offer;
    let mut client = world.open(GRANT);
    world.subscribe(&mut client, A, "\"name\"");
    client
}

/// The bytes not read yet, and whether the first frame is compressed.
fn next_frame(client: &Client) -> (usize, bool) {
    let wire = client.wire.borrow();
    (wire.bytes.len(), wire.bytes[0] & RSV1 != 0)
}

#[test]
fn publication_is_deflated_once_for_all_subscribers() {
    let mut world = World::new();
    let data = text(4_000);
    let mut deflated: Vec<_> = (0..20)
        .map(|_| subscribed(&mut world, Some(OFFER)))
        .collect();
    let mut plain: Vec<_> = (0..20).map(|_| subscribed(&mut world, None)).collect();
    world.publish(A, &data);
    world.deliver();
    assert!(deflated.iter().all(|client| {
        let (len, compressed) = next_frame(client);
        compressed && len < 200
    }));
    assert!(plain.iter().all(|client| {
        let (len, compressed) = next_frame(client);
        !compressed && len > 4_000
    }));
    for client in deflated.iter_mut().chain(&mut plain) {
        assert_eq!(client.hears(), [publish(&data, "\"name\"")]);
    }
    let stats = world.stats();
    assert_eq!((stats.deflated, stats.deliveries), (1, 40));
    assert!(stats.deflate_bytes_in > 4_000 && stats.deflate_bytes_out < 200);
}

#[test]
fn the_shards_of_a_process_share_what_one_of_them_deflated() {
    let mut worlds = [World::new(), World::new(), World::new()];
    let mut clients = worlds
        .each_mut()
        .map(|world| subscribed(world, Some(OFFER)));
    let data = text(4_000);
    let batch = worlds[0].batch(&[(&[A], &data)]);
    for world in &mut worlds {
        world.shard.publish(batch.clone());
        world.deliver();
    }
    let deflated: u64 = worlds.iter().map(|world| world.stats().deflated).sum();
    assert_eq!(deflated, 1);
    for client in &mut clients {
        assert!(next_frame(client).1);
        assert_eq!(client.hears(), [publish(&data, "\"name\"")]);
    }
}

#[test]
fn nothing_is_deflated_without_a_receiver_that_supports_it() {
    let mut world = World::new();
    let mut client = subscribed(&mut world, None);
    world.publish(A, &text(4_000));
    world.publish(r#"{"a":2}"#, &text(4_000));
    world.deliver();
    assert_eq!(client.hears().len(), 1);
    assert_eq!(world.stats().deflated, 0);
}

#[test]
fn the_threshold_is_kept_to_the_byte() {
    let envelope = publish("", "").len() - "}".len();
    for (threshold, compressed) in [(500, true), (501, false)] {
        let mut world = World::with(crate::shard::Settings {
            compression: Compression {
                threshold,
                ..Compression::default()
            },
            ..settings()
        });
        let mut client = subscribed(&mut world, Some(OFFER));
        let data = text(500 - envelope);
        world.publish(A, &data);
        world.deliver();
        assert_eq!(next_frame(&client).1, compressed);
        assert_eq!(client.hears(), [publish(&data, "\"name\"")]);
    }
}

#[test]
fn incompressible_publication_is_sent_uncompressed() {
    let mut world = World::with(crate::shard::Settings {
        compression: Compression {
            threshold: 0,
            ..Compression::default()
        },
        ..settings()
    });
    let mut clients = [OFFER; 2].map(|offer| subscribed(&mut world, Some(offer)));
    world.publish(A, "1");
    world.deliver();
    for client in &mut clients {
        assert!(!next_frame(client).1);
        assert_eq!(client.hears(), [publish("1", "\"name\"")]);
    }
    let stats = world.stats();
    assert_eq!(stats.deflated, 1, "tried once");
    assert_eq!(stats.deflate_bytes_in, stats.deflate_bytes_out);
}

#[test]
fn client_with_a_small_window_gets_compressed_only_messages_that_fit() {
    let mut world = World::new();
    let mut client = subscribed(
        &mut world,
        Some("permessage-deflate; server_max_window_bits=11"),
    );
    let most = 2_048 - publish("", "\"name\"").len();
    for (len, compressed) in [(most, true), (most + 1, false)] {
        let data = text(len);
        world.publish(A, &data);
        world.deliver();
        assert_eq!(next_frame(&client).1, compressed, "{len}");
        assert_eq!(client.hears(), [publish(&data, "\"name\"")]);
    }
}

#[test]
fn small_large_compressed_and_plain_frames_arrive_in_order() {
    let mut world = World::new();
    let mut clients = [Some(OFFER), None].map(|offer| subscribed(&mut world, offer));
    // As they are; compressed and copied; compressed and written from where they are.
    let all = ["1", &text(3_000), "2", &noise(20_000), &text(9_000), "3"];
    for data in all {
        world.publish(A, data);
    }
    let before = clients.each_ref().map(Client::writes);
    world.deliver();
    // Two writes around the large one, and that; the other client has two large ones.
    let [compressing, other] = [0, 1].map(|at| clients[at].writes() - before[at]);
    assert_eq!((compressing, other), (3, 4));
    let vectored = clients
        .each_ref()
        .map(|client| client.wire.borrow().vectored);
    assert_eq!(vectored, [1, 2]);
    for client in &mut clients {
        assert_eq!(client.hears(), all.map(|data| publish(data, "\"name\"")));
    }
    assert_eq!(world.stats().deflated, 3);
}

#[test]
fn a_slow_client_gets_the_rest_of_a_compressed_frame_later() {
    let mut world = World::new();
    let mut client = subscribed(&mut world, Some(OFFER));
    let all = [text(3_000), noise(20_000), text(2_000)];
    client.takes(10);
    for data in &all {
        world.publish(A, data);
    }
    world.deliver();
    assert_eq!(world.stats().queued, 3);
    assert_eq!(client.wire.borrow().bytes.len(), 10);
    client.takes(usize::MAX);
    world.writable(&client);
    assert_eq!(
        client.hears(),
        all.each_ref().map(|data| publish(data, "\"name\""))
    );
}

#[test]
fn a_name_that_no_stored_block_holds_makes_the_frame_a_plain_one() {
    let mut settings = settings();
    settings.limits.request_id_bytes = 1 << 17;
    settings.limits.message_bytes = 1 << 18;
    let mut world = World::with(settings);
    world.offer = Some(OFFER);
    let mut client = world.open(GRANT);
    // With its end a byte less than fits, and one more.
    let names = [65_534, 65_535].map(|len| format!("\"{}\"", "n".repeat(len - 2)));
    let data = text(2_000);
    for (name, compressed) in names.iter().zip([true, false]) {
        world.subscribe(&mut client, A, name);
        world.publish(A, &data);
        world.deliver();
        assert_eq!(next_frame(&client).1, compressed);
        assert_eq!(client.hears(), [publish(&data, name)]);
        assert_eq!(world.ask(&mut client, &unsubscribe(name)), [SUCCESS]);
    }
}

#[test]
fn compressed_requests_are_understood_and_answered_plainly() {
    let mut world = World::new();
    world.offer = Some(OFFER);
    let mut client = world.open(GRANT);
    let request = subscribe(A, "1");
    let bytes = masked_deflated(Opcode::Text, request.as_bytes());
    // Whole, in pieces, and beside a plain one.
    world.receive(&client, &bytes);
    assert!(!next_frame(&client).1);
    assert_eq!(client.hears(), [SUCCESS]);
    for byte in bytes.chunks(1) {
        world.receive(&client, byte);
    }
    assert_eq!(client.hears(), [SUCCESS]);
    assert_eq!(world.ask(&mut client, "ping"), ["pong"]);
    world.receive(&client, &masked_deflated(Opcode::Text, b"ping"));
    assert_eq!(client.hears(), ["pong"]);
    assert_eq!(world.stats().messages, 4);
}

#[test]
fn compressed_messages_against_the_rules_end_the_connection() {
    let bomb = Deflater::new(9).deflate(&vec![b' '; 2 << 20]).unwrap();
    let deflate = |payload: &[u8]| {
        let mut bytes = masked(Opcode::Text, payload);
        bytes[0] |= RSV1;
        bytes
    };
    for (offer, bytes, close) in [
        (Some(OFFER), deflate(b"{}"), "close 1007 deflate-invalid"),
        (
            Some(OFFER),
            deflate(&[&bomb, &[0][..]].concat()),
            "close 1009 message-too-big",
        ),
        (
            Some(OFFER),
            masked_deflated(Opcode::Text, b"\xff"),
            "close 1007 text-not-utf8",
        ),
        (
            None,
            masked_deflated(Opcode::Text, b"ping"),
            "close 1002 reserved-bits",
        ),
    ] {
        let mut world = World::new();
        world.offer = offer;
        let mut client = world.open(GRANT);
        world.receive(&client, &bytes);
        assert_eq!(client.hears(), [close]);
        assert_eq!(world.stats().violations, 1);
    }
}

#[test]
fn refused_client_may_send_compressed_input_that_is_ignored() {
    let mut world = World::new();
    world.offer = Some(OFFER);
    let mut visitor = world.refuse(ht_proto::close::Close::NORMAL);
    assert!(!next_frame(&visitor).1);
    visitor.hears();
    world.receive(&visitor, &masked_deflated(Opcode::Text, b"ping"));
    assert!(visitor.hears().is_empty());
    world.pass(100);
    world.receive(&visitor, &masked_deflated(Opcode::Text, b"ping"));
    assert_eq!(visitor.hears(), ["close 1000"]);
}
