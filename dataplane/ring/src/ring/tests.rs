//! Real sockets on loopback, real files.

use super::*;
use crate::{Ecn, OpError, OpKind, Origin, SocketOptions, SyncScope, UdpSocket};
use bytes::Bytes;
use std::fs::File;
use std::net::{IpAddr, SocketAddr};

mod files;
mod sockets;

const PATIENCE: Duration = Duration::from_secs(10);

fn ring(receive_buffers: u16) -> Ring {
    Ring::new(&RingConfig {
        entries: 8,
        cq_entries: 64,
        receive_buffers,
        file_slots: 4,
    })
    .expect("this kernel runs the program")
}

/// Enters until there is a completion.
fn next(ring: &mut Ring) -> Completion {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(completion) = ring.reap() {
            return completion;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        assert!(
            !left.is_zero(),
            "no completion within {PATIENCE:?}; {} in flight",
            ring.in_flight()
        );
        ring.enter(Some(left)).expect("enter");
    }
}

fn temp_file(name: &str) -> Arc<File> {
    let path = std::env::temp_dir().join(format!("ares-ring-{}-{name}", std::process::id()));
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .expect("a temporary file");
    std::fs::remove_file(path).expect("remove its name");
    Arc::new(file)
}

#[test]
fn a_wrong_configuration_is_named() {
    let good = RingConfig::default();
    let check = |config: RingConfig, field: &str| {
        let error = Ring::new(&config).map(drop).expect_err(field);
        assert!(matches!(error, RingError::Config { field: f, .. } if f == field), "{error}");
    };
    check(RingConfig { entries: 0, ..good }, "entries");
    check(RingConfig { entries: 40_000, ..good }, "entries");
    check(RingConfig { cq_entries: 1, ..good }, "cq_entries");
    check(
        RingConfig {
            cq_entries: 70_000,
            ..good
        },
        "cq_entries",
    );
    check(
        RingConfig {
            receive_buffers: 3,
            ..good
        },
        "receive_buffers",
    );
    check(
        RingConfig {
            file_slots: 40_000,
            ..good
        },
        "file_slots",
    );
}

#[test]
fn enter_returns_when_time_is_up_and_costs_no_call_when_idle() {
    let mut ring = ring(0);
    let start = Instant::now();
    ring.enter(Some(Duration::from_millis(30))).expect("enter");
    assert!(start.elapsed() >= Duration::from_millis(30));
    assert!(ring.reap().is_none());
    let enters = ring.stats().enters;
    for _ in 0..10 {
        ring.enter(Some(Duration::ZERO)).expect("enter");
    }
    assert_eq!(ring.stats().enters, enters);
}

#[test]
fn more_rings_than_registered_places_on_one_thread_work() {
    let mut rings: Vec<Ring> = (0..20).map(|_| ring(0)).collect();
    for ring in &mut rings {
        ring.waker().wake();
        assert!(matches!(next(ring).outcome, Outcome::Woken));
    }
    assert!(rings.iter().any(|ring| matches!(ring.fd, RingFd::Plain(_))));
    drop(rings);
    assert!(matches!(ring(0).fd, RingFd::Registered(_)), "places are given back");
}

#[test]
fn one_loop_costs_one_system_call() {
    let mut ring = ring(0);
    let file = temp_file("one-call");
    for n in 0..5u64 {
        ring.submit(
            Op::Write {
                file: file.clone().into(),
                offset: n * 4,
                bytes: Bytes::from_static(b"four"),
            },
            n,
        );
    }
    let before = ring.stats().enters;
    ring.enter(None).expect("enter");
    assert_eq!(ring.stats().enters, before + 1);
    for _ in 0..5 {
        next(&mut ring);
    }
}
