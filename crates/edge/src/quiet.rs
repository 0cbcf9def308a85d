//! Prevents a connection from waking itself needlessly.
//!
//! hyper passes a request's body to the service through a channel, and taking a piece out wakes the
//! connection to bring the next. Here both are one task. When the body has ended there is no next
//! piece, but the wake would still have the scheduler run the connection once more, and wake a
//! second thread to help with it, 0.9 times a trigger. `docs/design/002` has the measured cost:
//! with four shards half as much again for each unicast. A test fails as soon as hyper no longer
//! wakes; then this module can be removed.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

thread_local! {
    static WAKES: Cell<Wakes> = const { Cell::new(Wakes::Pass) };
}

/// How wakes that this thread causes are handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wakes {
    Pass,
    /// A body is being taken, which wakes only its own connection.
    Hold,
    /// The same, and there was a wake.
    Held,
}

/// Runs a connection, whose services may use [`whole`].
pub async fn connection<F: Future>(mut connection: Pin<&mut F>) -> F::Output {
    let mut known: Option<(Waker, Waker)> = None;
    poll_fn(|context| {
        let task = context.waker();
        if !known.as_ref().is_some_and(|(own, _)| own.will_wake(task)) {
            let quiet = Arc::new(Quiet { task: task.clone() });
            known = Some((task.clone(), quiet.into()));
        }
        let waker = known.as_ref().map_or(task, |(_, quiet)| quiet);
        connection.as_mut().poll(&mut Context::from_waker(waker))
    })
    .await
}

/// Takes a whole body. Must be polled by the task of its connection.
pub async fn whole<T, E>(body: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let mut body = pin!(body);
    poll_fn(|context| {
        let hold = Hold::start();
        let polled = body.as_mut().poll(context);
        let held = hold.end();
        // After its end there is no one to wake; otherwise the connection has more to do.
        if held && !matches!(polled, Poll::Ready(Ok(_))) {
            context.waker().wake_by_ref();
        }
        polled
    })
    .await
}

/// Wakes other tasks from within [`whole`], where the connection's own wakes are held back.
pub fn aloud(wake: impl FnOnce()) {
    let before = WAKES.replace(Wakes::Pass);
    wake();
    WAKES.set(before);
}

/// Wakes the task, unless the thread is taking a body.
struct Quiet {
    task: Waker,
}

impl Wake for Quiet {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        match WAKES.get() {
            Wakes::Pass => self.task.wake_by_ref(),
            Wakes::Hold | Wakes::Held => WAKES.set(Wakes::Held),
        }
    }
}

/// Holds wakes back while it lives, also through a panic.
struct Hold;

impl Hold {
    fn start() -> Self {
        WAKES.set(Wakes::Hold);
        Self
    }

    /// Whether there was a wake.
    fn end(self) -> bool {
        WAKES.get() == Wakes::Held
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        WAKES.set(Wakes::Pass);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::FutureExt as _;
    use http::{Request, Response};
    use http_body_util::{BodyExt as _, Full};
    use hyper::body::Incoming;
    use hyper::server::conn::http1;
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Polls a connection that takes a body, which wakes it and polls as `polled`. Returns how
    /// often the task was woken meanwhile, and when the connection wakes itself after that.
    fn wakes(polled: &Poll<Result<(), ()>>) -> (usize, usize) {
        let count = Arc::new(Count::default());
        let task = Waker::from(Arc::clone(&count));
        let body = poll_fn(|context| {
            context.waker().wake_by_ref();
            *polled
        });
        let mut taken = pin!(whole(body));
        let mut service = pin!(poll_fn(|context| {
            let _ = taken.as_mut().poll(context);
            let while_taking = count.0.load(Ordering::Relaxed);
            context.waker().wake_by_ref();
            Poll::<usize>::Ready(while_taking)
        }));
        let mut quiet = pin!(connection(service.as_mut()));
        let Poll::Ready(while_taking) = quiet.as_mut().poll(&mut Context::from_waker(&task)) else {
            panic!("the service is ready");
        };
        (while_taking, count.0.load(Ordering::Relaxed))
    }

    #[test]
    fn only_the_wake_of_a_body_that_ended_is_dropped() {
        assert_eq!(wakes(&Poll::Ready(Ok(()))), (0, 1));
        assert_eq!(wakes(&Poll::Ready(Err(()))), (1, 2));
        assert_eq!(wakes(&Poll::Pending), (1, 2));
    }

    #[test]
    fn wakes_of_other_tasks_pass() {
        let other = Arc::new(Count::default());
        let waker = Waker::from(Arc::new(Quiet {
            task: Waker::from(Arc::clone(&other)),
        }));
        let body = poll_fn(|_| {
            aloud(|| waker.wake_by_ref());
            Poll::Ready(Ok::<(), ()>(()))
        });
        let taken = pin!(whole(body)).poll(&mut Context::from_waker(Waker::noop()));
        assert_eq!(taken, Poll::Ready(Ok(())));
        assert_eq!(other.0.load(Ordering::Relaxed), 1);
    }

    /// Serves one request with a body. Returns how often the connection was polled until it no
    /// longer woke itself.
    fn polls_of_a_request(is_quiet: bool) -> usize {
        let service = service_fn(move |request: Request<Incoming>| async move {
            let body = request.into_body().collect();
            let body = if is_quiet {
                whole(body).await
            } else {
                body.await
            };
            Ok::<_, hyper::Error>(Response::new(Full::new(body?.to_bytes())))
        });
        let (near, mut far) = tokio::io::duplex(4_096);
        let served = http1::Builder::new()
            .header_read_timeout(None)
            .serve_connection(TokioIo::new(near), service);
        let mut served = pin!(served);
        let request = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{}";
        let sent = far.write_all(request).now_or_never();
        assert!(matches!(sent, Some(Ok(()))), "the buffer has room for it");

        let count = Arc::new(Count::default());
        let task = Waker::from(Arc::clone(&count));
        let mut context = Context::from_waker(&task);
        let mut polls = 0;
        let mut quiet = pin!(connection(served.as_mut()));
        loop {
            let before = count.0.load(Ordering::Relaxed);
            assert!(quiet.as_mut().poll(&mut context).is_pending());
            polls += 1;
            assert!(polls < 10, "it wakes itself for ever");
            if count.0.load(Ordering::Relaxed) == before {
                break;
            }
        }
        let mut answer = [0; 256];
        let read = far.read(&mut answer).now_or_never();
        let read = read.expect("the response is there").unwrap();
        assert!(answer[..read].ends_with(b"\r\n\r\n{}"), "{answer:?}");
        polls
    }

    #[test]
    fn hyper_still_wakes_a_connection_whose_body_has_ended() {
        let (loud, quiet) = (polls_of_a_request(false), polls_of_a_request(true));
        assert!(
            quiet < loud,
            "{loud} polls for a request, and {quiet} with this module: it gains nothing any more"
        );
    }

    #[test]
    fn a_panic_holds_nothing_back() {
        let ended = std::panic::catch_unwind(|| {
            let body = poll_fn(|_| -> Poll<Result<(), ()>> { panic!("a bug") });
            let _ = pin!(whole(body))
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()));
        });
        assert!(ended.is_err());
        assert_eq!(WAKES.get(), Wakes::Pass);
    }
}
