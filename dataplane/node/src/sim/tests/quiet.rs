//! Paths that carry little, nothing for long, or nothing any more because a NAT forgot them.

use ares_core::path::health::Pulse;

use super::*;

#[test]
fn an_idle_path_costs_little_is_never_suspected_and_serves_at_once() {
    const IDLE: Duration = Duration::from_secs(600);
    for rtt_ms in [1, 10, 40] {
        let setup = Setup {
            mode: Mode::Standby,
            ..Setup::of(&[uneven(100, rtt_ms); 2])
        };
        let mut world = World::new(&setup);
        world.want(40);
        assert!(world.run_until(ms(10_000), World::is_done));
        world.run_for(ms(1000));
        let turns = world.record.turns.len();
        let before = [0, 1].map(|way| carried(&world, way));
        world.run_for(IDLE);
        for way in [0, 1] {
            let bit_per_s = (carried(&world, way) - before[way]) * 8 / IDLE.as_secs();
            assert!(bit_per_s < 2000, "{rtt_ms} ms, way {way}: {bit_per_s} bit/s");
        }
        assert_eq!(world.record.turns[turns..], []);

        let woken = world.now;
        world.want(40);
        let is_served = |world: &World| world.record.came.last().is_some_and(|(at, _)| *at > woken);
        assert!(world.run_until(ms(1000), is_served), "{rtt_ms} ms: nothing came");
        let first = world.now.since(woken);
        assert!(
            first < ms(2) + ms(rtt_ms) * 11 / 10,
            "{rtt_ms} ms: the first byte came after {first:?}"
        );
    }
}

/// Bytes of UDP payload that came out of a way, both directions.
fn carried(world: &World, way: usize) -> u64 {
    BOTH.map(|dir| world.net.links[&ends_of(0, way, dir)].carried_bytes)
        .iter()
        .sum()
}

/// Between two chunks it is silent for a round trip, and what answers a ping then waits behind the next one.
#[test]
fn the_path_of_who_wants_little_is_not_suspected() {
    for rtt_ms in [1, 10, 40] {
        for wants_max in [1, 2, 3] {
            let mut world = World::new(&Setup {
                wants_max,
                ..Setup::of(&[uneven(100, rtt_ms); 1])
            });
            world.want_all();
            world.run_for(ms(10_000));
            let suspected = world.record.count(|turn| *turn == Turn::Pulse(Pulse::Suspect));
            let gap = world.record.longest_gap(Instant::ZERO + ms(300), world.now);
            assert_eq!(suspected, 0, "{rtt_ms} ms, {wants_max} wanted: nothing came for {gap:?}");
        }
    }
}

/// A path is a 4-tuple, so what comes from another port is none of its: it is given up after a second, and dialed again.
#[test]
fn a_nat_that_forgets_a_path_does_not_stop_a_transfer() {
    for rtt_ms in [1, 10, 40] {
        for (ways, mode, gap_max) in [
            (1, Mode::Aggregate, ms(1500)),
            (2, Mode::Aggregate, ms(100)),
            (2, Mode::Standby, ms(100)),
        ] {
            let setup = Setup {
                mode,
                ..Setup::of(&vec![uneven(100, rtt_ms); ways])
            };
            let mut world = World::new(&setup);
            world.want_all();
            // So that it is a good path, which is looked for.
            world.run_for(ms(1000));
            let (at, paths) = (world.now, world.record.count(|turn| *turn == Turn::Up));
            world.rebind(0);
            let is_back = |world: &World| world.record.count(|turn| *turn == Turn::Up) > paths;
            assert!(world.run_until(ms(2000), is_back), "{setup:?}: it is dialed again");
            world.run_for(ms(500));
            let gap = world.record.longest_gap(at, world.now);
            assert!(gap <= gap_max, "{setup:?}: nothing came for {gap:?}");
        }
    }
}
