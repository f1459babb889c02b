//! A lane and a peer carry no more than their caps, either way and from one moment to the next, and the others are none the slower.

use ares_core::path::{Cap, Direction, LaneRules, PeerPattern};
use ares_core::swarm::{Unreached, Want};

use super::*;
use crate::api::WantId;
use crate::hub::Waiter;

const SERVER: usize = 1;

/// A node obeys this cap, and no other, on the lanes of a way.
fn cap(world: &mut World, node: usize, direction: Direction, pattern: &str, text: &str) {
    let mut rules = LaneRules::default();
    let (pattern, cap) = (pattern.parse().expect("a pattern"), Cap::parse(text).expect("a cap"));
    rules.caps.set(direction, pattern, cap).expect("there is room");
    world.nodes[node].tell(ToHub::LaneRules(rules));
    world.turn(node);
}

/// A node obeys this cap of peers, and no other.
fn cap_peers(world: &mut World, node: usize, direction: Direction, peers: PeerPattern, text: &str) {
    let mut rules = LaneRules::default();
    let cap = Cap::parse(text).expect("a cap");
    rules.peer_caps.set(direction, peers, cap).expect("there is room");
    world.nodes[node].tell(ToHub::LaneRules(rules));
    world.turn(node);
}

/// Bytes of the next so many tenths of a second over each way, in both directions' payload as the first server sends it.
fn tenths(world: &mut World, ways: usize, count: usize) -> Vec<Vec<u64>> {
    let tenth = |_| {
        let before: Vec<u64> = (0..ways).map(|way| world.brought(0, way)).collect();
        world.run_for(ms(100));
        (0..ways).map(|way| world.brought(0, way) - before[way]).collect()
    };
    (0..count).map(tenth).collect()
}

/// What came over a way in any second of these, at least and at most, in MB/s.
fn seconds(tenths: &[Vec<u64>], way: usize) -> (f64, f64) {
    let sums = tenths
        .windows(10)
        .map(|second| second.iter().map(|ways| ways[way]).sum::<u64>() as f64 / 1e6);
    sums.fold((f64::MAX, 0.0), |(least, most), sum| (least.min(sum), f64::max(most, sum)))
}

/// Whose cap, and which.
const BOTH_ENDS: [(usize, Direction); 2] = [(READER, Direction::Down), (SERVER, Direction::Up)];

#[test]
fn a_capped_lane_carries_its_cap_and_the_others_what_they_can() {
    for rtt_ms in [1, 10, 40] {
        for (text, mb) in [("500000", 0.5), ("4000000", 4.0)] {
            for (node, direction) in BOTH_ENDS {
                let mut world = World::new(&Setup::of(&[LinkSpec::of(100, rtt_ms); 2]));
                cap(&mut world, node, direction, "eth1", text);
                world.run_for(ms(1000));
                world.want_all();
                let tenths = tenths(&mut world, 2, 60);
                let what = format!("{rtt_ms} ms, {direction:?} {text}");
                let (least, most) = (seconds(&tenths[20..], 0).0, seconds(&tenths, 0).1);
                assert!(most <= 1.1 * mb, "{what}: {most} MB/s");
                assert!(least >= 0.85 * mb, "{what}: {least} MB/s");
                let (other, _) = seconds(&tenths[30..], 1);
                assert!(other >= 0.9 * 12.5, "{what}: {other} MB/s beside it");
            }
        }
    }
}

#[test]
fn lanes_that_obey_one_cap_share_it() {
    for (node, direction) in BOTH_ENDS {
        let mut world = World::new(&Setup::of(&[LinkSpec::of(100, 10); 2]));
        cap(&mut world, node, direction, "eth*", "4000000");
        world.run_for(ms(1000));
        world.want_all();
        let tenths: Vec<Vec<u64>> = tenths(&mut world, 2, 60).iter().map(|ways| vec![ways.iter().sum()]).collect();
        let (least, most) = (seconds(&tenths[20..], 0).0, seconds(&tenths, 0).1);
        assert!(
            least >= 0.85 * 4.0 && most <= 1.1 * 4.0,
            "{direction:?}: {least} to {most} MB/s"
        );
    }
}

#[test]
fn a_peer_with_two_ways_gets_its_cap_over_both_and_another_cap_soon() {
    for (node, direction) in BOTH_ENDS {
        let mut world = World::new(&Setup::of(&[LinkSpec::of(100, 1), LinkSpec::of(100, 10)]));
        world.want_all();
        world.run_for(ms(2000));
        for (text, expect) in [("4000000", 4.0), ("1000000", 1.0), ("none", 25.0), ("8000000", 8.0)] {
            cap_peers(&mut world, node, direction, PeerPattern::Each, text);
            // What two ways were let send before still comes, and is made up for.
            world.run_for(ms(3000));
            let all: Vec<Vec<u64>> = tenths(&mut world, 2, 30).iter().map(|ways| vec![ways.iter().sum()]).collect();
            let (least, most) = seconds(&all, 0);
            // What comes is held back by whole chunks, which two ways bring at a time.
            let share = if direction == Direction::Up { 0.85 } else { 0.4 };
            assert!(
                least >= share * expect && most <= 1.1 * expect,
                "{direction:?} {text}: {least} to {most} MB/s"
            );
        }
        world.want_no_more();
        assert!(world.run_until(ms(10_000), World::is_done));
    }
}

#[test]
fn a_peer_brings_no_more_than_its_cap_from_the_first_second_on() {
    for rtt_ms in [1, 40] {
        let mut world = World::new(&Setup::of(&[LinkSpec::of(100, rtt_ms)]));
        cap_peers(&mut world, READER, Direction::Down, PeerPattern::Each, "1000000");
        world.want_all();
        let (_, most) = seconds(&tenths(&mut world, 1, 40), 0);
        assert!(most <= 1.1, "{rtt_ms} ms: {most} MB/s");
    }
}

#[test]
fn who_is_not_named_has_no_cap() {
    let setup = Setup {
        servers: 2,
        ..Setup::of(&[LinkSpec::of(100, 10)])
    };
    let mut world = World::new(&setup);
    let slow = PeerPattern::One(world.nodes[SERVER].peer);
    cap_peers(&mut world, READER, Direction::Down, slow, "1000000");
    world.want_all();
    world.run_for(ms(3000));
    let before = [0, 1].map(|server| world.brought(server, 0));
    world.run_for(ms(4000));
    let [slow, other] = [0, 1].map(|server| (world.brought(server, 0) - before[server]) as f64 / 4e6);
    assert!((0.5..=1.1).contains(&slow), "{slow} MB/s");
    assert!(other >= 0.9 * 12.5, "{other} MB/s");
}

#[test]
fn another_cap_is_obeyed_within_a_second_and_no_chunk_is_lost_over_it() {
    for (node, direction) in BOTH_ENDS {
        let mut world = World::new(&Setup::of(&[LinkSpec::of(100, 10)]));
        world.want_all();
        world.run_for(ms(2000));
        for (text, expect) in [("4000000", 4.0), ("1000000", 1.0), ("none", 12.5), ("8000000", 8.0)] {
            cap(&mut world, node, direction, "eth1", text);
            world.run_for(ms(1000));
            let (least, most) = seconds(&tenths(&mut world, 1, 30), 0);
            assert!(
                least >= 0.85 * expect && most <= 1.1 * expect,
                "{direction:?} {text}: {least} to {most} MB/s"
            );
        }
        world.want_no_more();
        assert!(world.run_until(ms(10_000), World::is_done));
    }
}

/// Somebody waits for it, and what was asked in bulk before is little.
#[test]
fn a_chunk_that_somebody_waits_for_comes_soon_over_a_full_capped_lane() {
    for (node, direction) in BOTH_ENDS {
        let mut world = World::new(&Setup::of(&[LinkSpec::of(100, 10)]));
        cap(&mut world, node, direction, "eth1", "4000000");
        world.want_all();
        world.run_for(ms(3000));
        let waits = |wanted: &ChunkRef| world.wants[&READER].waiting.values().any(|waiting| waiting == wanted);
        let all = (0..CHUNKS).map(|seed| named(&chunk(seed as u64, CHUNK_BYTES)));
        let free = all
            .into_iter()
            .find(|wanted| !waits(wanted))
            .expect("not all are wanted at once");
        let (ended, end) = crossbeam::channel::unbounded();
        world.nodes[READER].tell(ToHub::Fetch {
            id: WantId(u64::MAX),
            want: Want {
                chunk: free,
                place: None,
                class: Class::Deadline,
                release: world.release,
                patience: ms(60_000),
                unreached: Unreached::Wait,
            },
            waiter: Waiter::for_bytes(Box::new(move |result| ended.send(result.is_ok()).expect("the test waits"))),
        });
        world.turn(READER);
        // Three chunks at most are asked before, and each takes a fifteenth of a second.
        assert!(world.run_until(ms(400), |_| end.try_recv() == Ok(true)), "{direction:?}");
    }
}

#[test]
fn an_idle_capped_lane_carries_no_more_than_another() {
    let idle_bytes = |text: &str| {
        let mut world = World::new(&Setup::of(&[LinkSpec::of(100, 10)]));
        cap(&mut world, READER, Direction::Up, "eth1", text);
        cap(&mut world, SERVER, Direction::Up, "eth1", text);
        world.want(40);
        assert!(world.run_until(ms(20_000), World::is_done));
        world.run_for(ms(2000));
        let before = world.brought(0, 0);
        world.run_for(ms(60_000));
        world.brought(0, 0) - before
    };
    let [capped, other] = ["8000000", "none"].map(idle_bytes);
    assert!(capped.abs_diff(other) < 100, "{capped} bytes, else {other}");
}
