//! Parses what the API sends, by HTTP or through the broker, without blocking the control side.

use bytes::Bytes;
use tokio::sync::Semaphore;

/// Minimum size of a text that is offloaded instead of parsed between the other work of the control
/// side: parsing takes about a millisecond per megabyte.
pub const LARGE: usize = 256 << 10;

/// Semaphore for parsing large texts: one at a time, however it was received, so that large ones
/// use one thread and the memory of one.
static TURN: Semaphore = Semaphore::const_new(1);

/// Whether parsing a text is offloaded.
#[must_use]
pub fn is_large(text: &Bytes) -> bool {
    text.len() >= LARGE
}

/// Parses a text: a large one offloaded, in its turn, every other one at once.
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

/// Parses a text offloaded, in its turn, whatever its length.
pub async fn parse_offloaded<T: Send + 'static>(
    text: Bytes,
    parse: impl FnOnce(&Bytes) -> T + Send + 'static,
) -> T {
    let turn = TURN.acquire().await;
    let parsing = tokio::task::spawn_blocking(move || {
        // Held to the end, even if the sender disconnects meanwhile.
        let _turn = turn;
        parse(&text)
    });
    match parsing.await {
        Ok(parsed) => parsed,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime shuts down, and this task with it.
            Err(_) => std::future::pending().await,
        },
    }
}
