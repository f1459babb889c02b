//! Wake-ups from other threads: none is lost, many cost one. Real rings, real threads.

use crate::{Outcome, Ring, RingConfig, WAKE_TAG};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

fn ring() -> Ring {
    Ring::new(&RingConfig {
        entries: 4,
        cq_entries: 8,
        receive_buffers: 0,
        file_slots: 0,
    })
    .expect("this kernel runs the program")
}

/// Enters until woken; `false` if that did not happen in time.
fn woken(ring: &mut Ring, patience: Duration) -> bool {
    ring.enter(Some(patience)).expect("enter");
    let mut woken = false;
    while let Some(completion) = ring.reap() {
        assert_eq!(completion.tag, WAKE_TAG);
        woken |= matches!(completion.outcome, Outcome::Woken);
    }
    woken
}

#[test]
fn wakes_before_the_ring_looks_coalesce() {
    let mut ring = ring();
    let waker = ring.waker();
    for _ in 0..3 {
        for _ in 0..100 {
            waker.wake();
        }
        assert!(woken(&mut ring, Duration::from_secs(10)));
        assert!(!woken(&mut ring, Duration::from_millis(5)), "once");
    }
}

#[test]
fn a_waker_outlives_its_ring() {
    let ring = ring();
    let waker = ring.waker();
    drop(ring);
    waker.wake();
    waker.wake();
}

/// Four threads add to a counter and wake; the ring must see every addition although it sleeps without limit between wakes: a lost one
/// ends in the timeout.
#[test]
fn no_wake_up_is_lost() {
    const SENDERS: u64 = 4;
    const EACH: u64 = 20_000;
    let mut ring = ring();
    let sent = Arc::new(AtomicU64::new(0));
    std::thread::scope(|scope| {
        for sender in 0..SENDERS {
            let (waker, sent) = (ring.waker(), sent.clone());
            scope.spawn(move || {
                for n in 0..EACH {
                    sent.fetch_add(1, Ordering::Relaxed); // the waker orders it
                    waker.wake();
                    if n % 64 == sender {
                        std::thread::yield_now();
                    }
                }
            });
        }
        let mut wakes = 0u64;
        while sent.load(Ordering::Relaxed) < SENDERS * EACH {
            assert!(
                woken(&mut ring, Duration::from_secs(10)),
                "{} of {}",
                sent.load(Ordering::Relaxed),
                SENDERS * EACH
            );
            wakes += 1;
        }
        assert!(wakes <= SENDERS * EACH);
    });
}
