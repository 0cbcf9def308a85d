//! Parsing what the API sends, by HTTP or through the broker, so that the control side goes on
//! meanwhile.

use bytes::Bytes;
use tokio::sync::Semaphore;

/// Bytes from which on a text is not parsed between the other work of the control side: that takes
/// about a millisecond a megabyte.
pub const LARGE: usize = 256 << 10;

/// Whose turn it is to have a large text parsed: one at a time, whichever way it came, so that
/// large ones take one thread and the memory of one.
static TURN: Semaphore = Semaphore::const_new(1);

/// Whether a text is parsed aside.
#[must_use]
pub fn is_large(text: &Bytes) -> bool {
    text.len() >= LARGE
}

/// Parses a text: a large one aside, in its turn, every other one at once.
pub async fn parse<T: Send + 'static>(
    text: Bytes,
    parse: impl FnOnce(&Bytes) -> T + Send + 'static,
) -> T {
    if is_large(&text) {
        parse_offloaded(text, parse).await
    } else {
        parse(&text)
    }
}

/// Parses a text aside, in its turn, whatever its length.
pub async fn parse_offloaded<T: Send + 'static>(
    text: Bytes,
    parse: impl FnOnce(&Bytes) -> T + Send + 'static,
) -> T {
    let turn = TURN.acquire().await;
    let parsing = tokio::task::spawn_blocking(move || {
        // Kept to the end, even where the sender goes away meanwhile.
        let _turn = turn;
        parse(&text)
    });
    match parsing.await {
        Ok(parsed) => parsed,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime ends, and this task with it.
            Err(_) => std::future::pending().await,
        },
    }
}
