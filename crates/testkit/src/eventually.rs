//! Waiting for a condition instead of sleeping for a while.

use std::time::{Duration, Instant};

/// Time between two looks at the condition.
const PAUSE: Duration = Duration::from_millis(10);

/// Waits until `condition` holds.
///
/// # Panics
/// When it does not within `deadline`; the panic shows the caller's line.
#[track_caller]
pub fn eventually(
    deadline: Duration,
    mut condition: impl FnMut() -> bool,
) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let started = Instant::now();
        while !condition() {
            assert!(
                started.elapsed() < deadline,
                "{caller}: not so within {deadline:?}"
            );
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// As [`eventually`], for tests without a runtime.
///
/// # Panics
/// When the condition does not hold within `deadline`.
#[track_caller]
pub fn eventually_blocking(deadline: Duration, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < deadline, "not so within {deadline:?}");
        std::thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_for_the_condition() {
        let mut looks = 0;
        eventually_blocking(Duration::from_secs(5), || {
            looks += 1;
            looks == 3
        });
        assert_eq!(looks, 3);
    }

    #[tokio::test]
    #[should_panic(expected = "not so within 20ms")]
    async fn gives_up_at_the_deadline() {
        eventually(Duration::from_millis(20), || false).await;
    }
}
