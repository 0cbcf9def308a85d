//! Faults of the broker, one after the other, under two nodes: every publication with a 200 from
//! one of them reaches the subscribers of both, or they are notified of a gap.

use std::time::{Duration, Instant};

use fastrand::Rng;
use ht_testkit::rabbitmq::RabbitMq;

use crate::support::Gateway;
use crate::weather::World;
use crate::{Crowd, variable};

/// Longest pause around a fault, in milliseconds.
const PAUSE_MS: u64 = 2_000;

/// One fault.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// With all bindings. The nodes declare it again.
    DeleteExchange,
    /// One node's queue.
    DeleteQueue,
    /// Some connections, of publishers and consumers.
    CloseConnections,
    /// One node's binding; the node gets no notification of that.
    Unbind,
    /// SIGKILL.
    Kill,
    /// In order.
    Restart,
    /// SIGSTOP for a while.
    Pause,
}

impl Fault {
    const ALL: [Self; 7] = [
        Self::DeleteExchange,
        Self::DeleteQueue,
        Self::CloseConnections,
        Self::Unbind,
        Self::Kill,
        Self::Restart,
        Self::Pause,
    ];

    fn happen(self, broker: &RabbitMq, random: &mut Rng) {
        let mut pause = || std::thread::sleep(Duration::from_millis(random.u64(..PAUSE_MS)));
        match self {
            Self::DeleteExchange => {
                // Sometimes twice, while the nodes are binding again.
                for _ in 0..2 {
                    eval(
                        broker,
                        "catch rabbit_exchange:delete(EXCHANGE, false, <<\"test\">>)",
                    );
                    pause();
                }
            }
            Self::DeleteQueue => eval(
                broker,
                "catch rabbit_amqqueue:delete(hd(rabbit_amqqueue:list(<<\"/\">>)), false, false, \
                 <<\"test\">>)",
            ),
            Self::CloseConnections => eval(
                broker,
                "[catch rabbit_networking:close_connection(P, \"closed by a test\") \
                 || P <- rabbit_networking:connections(), rand:uniform() < 0.5]",
            ),
            Self::Unbind => eval(
                broker,
                "catch rabbit_binding:remove(hd([B || B <- \
                 rabbit_binding:list_for_source(EXCHANGE), element(3, B) =:= <<\"*\">>]), \
                 <<\"test\">>)",
            ),
            Self::Kill => {
                broker.kill();
                pause();
                broker.start_again();
            }
            Self::Restart => {
                broker.stop();
                pause();
                broker.start_again();
            }
            Self::Pause => {
                broker.pause();
                pause();
                broker.resume();
            }
        }
        pause();
    }
}

/// In the default virtual host. That there is nothing to delete any more is fine.
fn eval(broker: &RabbitMq, expression: &str) {
    let exchange = "rabbit_misc:r(<<\"/\">>, exchange, <<\"hightemplar\">>)";
    let _ = broker.eval(&format!("{}, ok", expression.replace("EXCHANGE", exchange)));
}

fn gaps(gateway: &Gateway) -> u64 {
    let reasons = ["reconnect", "queue-deleted", "binding-lost", "skipped"];
    let gaps = reasons
        .map(|reason| gateway.metric(&format!("high_templar_gaps_total{{reason=\"{reason}\"}}")));
    gaps.iter().sum()
}

#[test]
#[ignore = "takes minutes: ./test chaos"]
fn what_is_lost_between_two_nodes_is_told() {
    let seconds = variable("HT_CHAOS_SECONDS").unwrap_or(20);
    let seed = variable("HT_CHAOS_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("faults of the broker for {seconds} s, HT_CHAOS_SEED={seed}");
    let mut random = Rng::with_seed(seed);
    let world = World::start();
    let mut crowd = Crowd::start(&world);
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut faults = Vec::new();
    let mut reported = 0;
    // Each fault at least once, however short the run.
    while Instant::now() < until || !faults.is_empty() {
        if faults.is_empty() {
            faults = Fault::ALL.to_vec();
            random.shuffle(&mut faults);
        }
        let fault = faults.pop().expect("a fault");
        let before = world.gateways().map(gaps);
        fault.happen(&world.broker, &mut random);
        world.wait_for_ready();
        let heard = crowd.account(&world);
        let after = world.gateways().map(gaps);
        let told = [after[0] - before[0], after[1] - before[1]];
        reported += told.iter().sum::<u64>();
        println!("{fault:?}: {heard}; gaps at the nodes: {told:?}");
        match fault {
            // Nothing is lost, so no client is disconnected.
            Fault::Pause => assert_eq!(told, [0, 0]),
            Fault::Kill | Fault::Restart | Fault::DeleteExchange => {
                assert!(told.iter().all(|&gaps| gaps > 0), "{told:?}");
            }
            Fault::DeleteQueue | Fault::Unbind => assert!(told.iter().sum::<u64>() > 0),
            Fault::CloseConnections => {}
        }
    }
    println!("in all: {}; {reported} gaps at the nodes", crowd.tally);
    // Otherwise there were no faults, and nothing was tested.
    assert!(reported > 0, "no gap was reported");
    assert!(crowd.tally.excused_by_gap > 0, "{}", crowd.tally);
    crowd.stop();
}
