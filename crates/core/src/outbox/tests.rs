//! An outbox against a plain queue of bytes, and its memory use.

use proptest::prelude::*;

use super::*;

/// A socket that accepts so many bytes.
struct Tight {
    room: usize,
    taken: Vec<u8>,
}

impl Tight {
    fn take<'a>(&mut self, parts: impl Iterator<Item = &'a [u8]>) -> Sent {
        let before = self.taken.len();
        for part in parts {
            assert!(!part.is_empty(), "a slice without bytes");
            let now = part.len().min(self.room);
            self.room -= now;
            self.taken.extend_from_slice(&part[..now]);
        }
        Sent::Bytes(self.taken.len() - before)
    }
}

impl Peer for Tight {
    fn send(&mut self, bytes: &[u8]) -> Sent {
        self.take([bytes].into_iter())
    }

    fn send_vectored(&mut self, parts: &[IoSlice<'_>]) -> Sent {
        self.take(parts.iter().map(|part| &**part))
    }

    fn shutdown(&mut self) {}
}

#[derive(Clone, Debug)]
enum Step {
    /// Copied bytes.
    Copied(usize),
    /// A header, one of the bodies, a tail.
    Shared(usize, usize),
    /// The socket accepts so many.
    Takes(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..3 * PIECE).prop_map(Step::Copied),
        (0usize..100).prop_map(Step::Copied),
        (0..BODIES.len(), 0usize..70).prop_map(|(body, tail)| Step::Shared(body, tail)),
        (0..4 * PIECE).prop_map(Step::Takes),
        (0usize..100).prop_map(Step::Takes),
    ]
}

const BODIES: [usize; 3] = [4_097, PIECE, 5 * PIECE];

fn bytes(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 31 + seed) as u8).collect()
}

proptest! {
    // Each case moves megabytes.
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn an_outbox_keeps_its_bytes_in_order_and_its_size_within_bounds(
        steps in prop::collection::vec(step(), 1..60),
        mut taken in 0usize..5 * PIECE,
    ) {
        let all = Arc::new(Outboxes::new(0));
        let bodies = BODIES.map(|len| Body::from(bytes(len, len).into_boxed_slice()));
        let mut outbox = Outbox::new(Arc::clone(&all), TenantId::MAIN);
        let mut expected = VecDeque::<u8>::new();
        let mut socket = Tight { room: 0, taken: Vec::new() };
        for (seed, step) in steps.into_iter().enumerate() {
            match step {
                Step::Copied(len) => {
                    let message = bytes(len, seed);
                    let skipped = std::mem::take(&mut taken).min(len);
                    outbox.append(&[&message], None, skipped, 1);
                    expected.extend(&message[skipped..]);
                }
                Step::Shared(body, tail) => {
                    let parts = [&bytes(4, seed)[..], &bodies[body], &bytes(tail, seed)];
                    let whole = parts.concat();
                    let skipped = std::mem::take(&mut taken).min(whole.len());
                    outbox.append(&parts, Some(&bodies[body]), skipped, 1);
                    expected.extend(&whole[skipped..]);
                }
                Step::Takes(room) => {
                    taken = 0;
                    socket.room = room;
                    outbox.flush(&mut socket).unwrap();
                    let sent: Vec<_> = expected.drain(..socket.taken.len()).collect();
                    prop_assert_eq!(&sent, &socket.taken);
                    prop_assert!(socket.room == 0 || expected.is_empty());
                    socket.taken.clear();
                }
            }
            if !expected.is_empty() {
                taken = 0;
            }
            prop_assert_eq!(outbox.waiting(), expected.len());
            let kept = |body: &Body| {
                let mut pieces = outbox.pieces.iter();
                pieces.any(|piece| matches!(piece, Piece::Kept(kept) if kept.as_ptr() == body.as_ptr()))
            };
            let shared: usize = bodies.iter().filter(|body| kept(body)).map(|body| body.len()).sum();
            prop_assert_eq!(all.bytes(), shared + outbox.counted);
            // Of what is copied, a piece may be half sent and another half full.
            let pieces = outbox.pieces.capacity() * size_of::<Piece>() + size_of::<Outbox>();
            prop_assert!(outbox.counted <= expected.len() * 2 + 2 * PIECE + pieces);
        }
        // Whoever else has the bodies.
        drop(outbox);
        prop_assert_eq!(all.bytes(), 0);
    }
}

#[test]
fn slow_consumers_share_the_bytes_of_a_publication() {
    let all = Arc::new(Outboxes::new(2 << 20));
    let body = Body::from(bytes(1 << 20, 0).into_boxed_slice());
    let outboxes: Vec<_> = (0..1_000)
        .map(|_| {
            let mut outbox = Outbox::new(Arc::clone(&all), TenantId::MAIN);
            outbox.append(&[b"head", &body, b"tail"], Some(&body), 2, 1);
            outbox
        })
        .collect();
    assert_eq!(outboxes[0].waiting(), (1 << 20) + 6);
    assert!(all.bytes() < (1 << 20) + 1_000 * 256, "{}", all.bytes());
    assert!(!all.is_over());
    drop(outboxes);
    assert_eq!(all.bytes(), 0, "no outbox has it");
    let mut last = Outbox::new(Arc::clone(&all), TenantId::MAIN);
    last.append(&[b"head", &body, b"tail"], Some(&body), 0, 1);
    drop(body);
    assert!(all.bytes() > 1 << 20, "one has it again");
    drop(last);
    assert_eq!(all.bytes(), 0);
}

#[test]
fn copied_data_takes_little_more_memory_than_its_size() {
    let all = Arc::new(Outboxes::default());
    let mut outbox = Outbox::new(Arc::clone(&all), TenantId::MAIN);
    let frame = bytes(183, 0);
    outbox.append(&[&frame], None, 100, 1);
    assert!(all.bytes() <= 83 + 4 * size_of::<Piece>() + size_of::<Outbox>());
    while outbox.waiting() < 1 << 20 {
        outbox.append(&[&frame], None, 0, 1);
    }
    assert!(all.bytes() <= (1 << 20) + 2 * PIECE, "{}", all.bytes());
}
