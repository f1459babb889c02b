//! How fast paths are together, also where one of them loses, flaps or was cut.

use super::*;

/// What came in the last stretch, in Mbit/s.
fn rate(world: &World, time: Duration) -> f64 {
    let bytes = world.record.bytes_between(world.now - time, world.now);
    bytes as f64 * 8e-6 / time.as_secs_f64()
}

/// Rates of a transfer in each of its first seconds, over links that `prepare` may change.
fn rates(setup: &Setup, seconds: usize, prepare: impl FnOnce(&mut World)) -> Vec<f64> {
    let mut world = World::new(setup);
    prepare(&mut world);
    world.want_all();
    let second = |_| {
        world.run_for(ms(1000));
        rate(&world, ms(1000))
    };
    (0..seconds).map(second).collect()
}

#[test]
fn two_paths_bring_what_both_links_carry() {
    // Headers and acknowledgements take 4 % of a link.
    for ways in [
        [uneven(200, 1); 2],
        [uneven(200, 10); 2],
        [uneven(200, 10), uneven(50, 40)],
        [uneven(50, 40), uneven(200, 10)],
    ] {
        let sum: u64 = ways.iter().map(|way| way.mbit_per_s).sum();
        let rates = rates(&Setup::of(&ways), 2, |_| {});
        assert!(rates[1] >= 0.92 * sum as f64, "{ways:?}: {rates:?} of {sum}");
    }
}

#[test]
fn a_path_that_loses_a_hundredth_is_no_burden() {
    for rtt_ms in [1, 10, 40] {
        let good = LinkSpec::of(100, rtt_ms);
        let bad = LinkSpec {
            loss_ppm: 10_000,
            ..good
        };
        let alone = rates(&Setup::of(&[good]), 3, |_| {});
        for ways in [[bad, good], [good, bad]] {
            let both = rates(&Setup::of(&ways), 3, |_| {});
            assert!(
                both.iter().zip(&alone).all(|(both, alone)| both >= alone),
                "{rtt_ms} ms: {both:?}, alone {alone:?}"
            );
        }
    }
}

#[test]
fn a_path_that_flaps_is_hardly_a_burden() {
    for rtt_ms in [1, 10, 40] {
        let stable = LinkSpec::of(100, rtt_ms);
        let alone: f64 = rates(&Setup::of(&[stable]), 4, |_| {}).iter().sum();
        for way in [0, 1] {
            let both: f64 = rates(&Setup::of(&[stable; 2]), 4, |world| {
                BOTH.iter().for_each(|dir| world.link(way, *dir).flap = Some(ms(500)));
            })
            .iter()
            .sum();
            assert!(
                both >= 0.85 * alone,
                "{rtt_ms} ms: {both} Mbit, and {alone} over the other path alone"
            );
        }
    }
}

#[test]
fn a_path_that_heals_is_used_within_two_seconds() {
    for rtt_ms in [1, 10, 40] {
        for out_ms in [200, 1500, 5000] {
            let mut world = World::new(&Setup::of(&[uneven(50, rtt_ms); 2]));
            world.want_all();
            // So that it is a good path, which is looked for.
            world.run_for(ms(2500));
            world.cut(0, &BOTH);
            world.run_for(ms(out_ms));
            world.heal(0);
            let before = world.brought(0, 0);
            let is_used = world.run_until(ms(2000), |world| world.brought(0, 0) > before + 2 * CHUNK_BYTES as u64);
            assert!(is_used, "{rtt_ms} ms, cut for {out_ms} ms: {:?}", world.record.turns);
        }
    }
}
