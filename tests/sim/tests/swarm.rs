//! What a swarm of simulated nodes must hold to. Bounds follow what was reached when they were written, with some room; the aims are
//! those of `bench/README.md`. `cargo run --release -p ares-sim -- --help` runs larger ones.

use std::time::Duration;

use ares_sim::{Fault, Line, Report, Scenario, Temper, run};

/// Small enough for a test: a copy takes four seconds.
fn small() -> Scenario {
    Scenario {
        piece_bytes: 32 << 10,
        ..Scenario::plain(40, 100)
    }
}

/// Runs it; everybody who stays must have everything.
fn whole(scenario: &Scenario) -> Report {
    let report = run(scenario);
    println!("{}\n{}", Report::head(), report.row());
    assert_eq!(report.unfinished, 0, "{report:?}");
    assert_eq!(report.failed_wants, 0, "{report:?}");
    report
}

/// Runs it; nobody may take longer than so many times the bound.
fn check(scenario: &Scenario, over_bound_max: f64) -> Report {
    let report = whole(scenario);
    assert!(report.over_bound.last <= over_bound_max, "{report:?}");
    report
}

#[test]
fn one_seed_gives_one_trace() {
    let scenario = Scenario {
        churn_percent_per_minute: 100,
        loss_ppm: 1000,
        tempers: vec![(Temper::WrongBytes, 10), (Temper::FreeRider, 10)],
        ..small()
    };
    let [first, again] = [run(&scenario), run(&scenario)];
    assert_eq!((first.trace, first.time_s), (again.trace, again.time_s));
    let other = run(&Scenario { seed: 2, ..scenario });
    assert_ne!(first.trace, other.trace);
}

/// The programs themselves, measured by `bench swarm`: 2.13 of the bound and 2.04 copies where this said 2.06 to 2.25 and 2.04 to 2.24,
/// and 1.2 where it says 1.12 to 1.21.
#[test]
fn eight_readers_are_done_as_soon_as_those_that_are_measured() {
    let report = check(&Scenario::bench(), 1.3);
    assert!(report.publisher_copies <= 1.3, "{report:?}");
}

#[test]
fn a_line_that_gives_to_few_at_a_time_spreads_a_release_sooner() {
    let many = Scenario::plain(100, 128);
    let to_all = Scenario {
        width: usize::MAX,
        ..many.clone()
    };
    let [few, all] = [check(&many, 2.4), whole(&to_all)];
    assert!(few.over_bound.last * 1.2 < all.over_bound.last, "{few:?} {all:?}");
}

#[test]
fn lines_of_all_kinds_far_apart_and_lossy_are_served() {
    let scenario = Scenario {
        lines: vec![Line::mbit(100), Line::both(20, 100), Line::mbit(300), Line::both(50, 200)],
        latency: [Duration::from_millis(1), Duration::from_millis(40)],
        loss_ppm: 10_000,
        ..small()
    };
    check(&scenario, 4.0);
}

#[test]
fn a_crowd_that_comes_at_once_is_served() {
    let scenario = Scenario {
        join_within: Duration::from_secs(2),
        ..small()
    };
    check(&scenario, 3.0);
}

#[test]
fn who_comes_and_goes_does_not_hold_the_others_up() {
    let plain = whole(&small());
    let scenario = Scenario {
        churn_percent_per_minute: 100,
        ..small()
    };
    check(&scenario, 1.25 * plain.over_bound.last);
}

#[test]
fn liars_hold_nobody_up_and_those_that_send_wrong_bytes_are_dropped() {
    let plain = whole(&small());
    let scenario = Scenario {
        tempers: vec![(Temper::WrongBytes, 4), (Temper::FalseHaves, 3), (Temper::Stalls, 3)],
        ..small()
    };
    let report = check(&scenario, 1.25 * plain.over_bound.last);
    assert!(report.wrong_bytes_peers > 0, "{report:?}");
    assert_eq!(report.dropped_liars, report.wrong_bytes_peers, "{report:?}");
    assert_eq!(report.dropped, report.dropped_liars, "nobody else: {report:?}");
}

/// Each gives to all of its connections alike, so those who have few, and whose peers have many, get less than their lines take.
#[test]
fn who_is_left_behind_goes_to_more_and_ends_with_the_others() {
    let scenario = Scenario {
        chunk_bytes: 1 << 20,
        piece_bytes: 512 << 10,
        publisher: Line::mbit(1000),
        lines: vec![Line::mbit(1000)],
        ..Scenario::plain(120, 1200)
    };
    let report = check(&scenario, 1.2);
    assert!(report.over_bound.p99 < 1.09, "{report:?}");
    let stay = whole(&Scenario {
        fault: Fault::NoFurther,
        ..scenario
    });
    assert!(stay.over_bound.p99 > report.over_bound.p99 + 0.02, "{stay:?}");
    assert!(stay.links < report.links, "{stay:?}");
}

/// Two zones and a link between them that is ten times thinner than a line: it is what one copy takes to cross.
#[test]
fn a_copy_crosses_between_zones_once() {
    let zones = Scenario {
        between_zones: Some(small().publisher.up / 10),
        ..small()
    };
    let unaware = Scenario {
        fault: Fault::NoZones,
        ..zones.clone()
    };
    // By some seeds it was two copies as long as those who came at the same moment did not know who was a gate.
    let [report, ..] = [1, 2, 3].map(|seed| {
        let report = check(&Scenario { seed, ..zones.clone() }, 12.5);
        assert!(report.crossing_copies < 1.1, "{report:?}");
        report
    });
    let other = whole(&unaware);
    assert!(other.crossing_copies > 2.0 * report.crossing_copies, "{other:?}");
    assert!(other.over_bound.last > 2.0 * report.over_bound.last, "{other:?}");
}

#[test]
fn who_gives_nothing_costs_what_it_takes() {
    let scenario = Scenario {
        tempers: vec![(Temper::FreeRider, 20)],
        ..small()
    };
    check(&scenario, 3.0);
}

#[test]
fn the_publisher_may_go_once_a_copy_is_out() {
    let scenario = Scenario {
        publisher_leaves: true,
        ..small()
    };
    check(&scenario, 3.0);
}

#[test]
fn two_halves_end_once_they_are_one_again() {
    let scenario = Scenario {
        parted: Some([Duration::from_secs(1), Duration::from_secs(8)]),
        ..small()
    };
    let report = whole(&scenario);
    assert!(
        report.over_bound.p50 * report.bound_s < 8.0 + 3.0 * report.bound_s,
        "{report:?}"
    );
}

/// 6.3 of the bound, and as many copies from the publisher, where whoever waits has all that it waits for of the publisher.
#[test]
fn those_who_read_through_mounts_at_once_pass_on_what_they_read() {
    let scenario = Scenario {
        reads_ahead: Some(16 << 20),
        ..small()
    };
    let report = check(&scenario, 3.5);
    assert!(report.publisher_copies < 3.5, "{report:?}");
}

/// What all readers want at a time is what can be passed on among them.
#[test]
fn readers_that_want_a_short_stretch_of_a_release_wait_for_one_another() {
    let plain = whole(&small());
    let short = Scenario {
        wanted_bytes_max: 8 * u64::from(small().chunk_bytes),
        ..small()
    };
    // 11 where they all ask for the same chunk first.
    let report = check(&short, 8.0);
    assert!(report.over_bound.last > 1.5 * plain.over_bound.last, "{report:?}");
}

/// Without what readers tell each other, and in order, a swarm is no better than it is said to be: a judge that passes those judges nothing.
#[test]
fn a_swarm_that_is_deaf_or_goes_in_order_misses_the_bound() {
    for fault in [Fault::NoHaves, Fault::InOrder] {
        let report = run(&Scenario {
            fault,
            ..Scenario::bench()
        });
        assert!(report.over_bound.last > 1.3, "{fault:?}: {report:?}");
    }
    let report = run(&Scenario {
        fault: Fault::NoSpread,
        ..Scenario::bench()
    });
    assert!(report.publisher_copies > 1.3, "{report:?}");
}
