//! A path that is cut without a word, in one direction or both, and a peer that is gone: how long nothing comes, and what comes twice.

use super::*;

const DIRS: [&[Dir]; 3] = [&[Dir::In], &[Dir::Out], &BOTH];

/// Four round trips, each with all the jitter there is, or what nobody looks up from a video for.
fn gap_max(way: &LinkSpec) -> Duration {
    ms(100).max(4 * 2 * (way.delay + way.jitter))
}

/// A peer that is gone is no path of several.
const PEER_GAP_MAX: Duration = Duration::from_millis(250);

/// Round trips in milliseconds, modes, and how many chunks are wanted at once: as many as fill every window, or two, which may all be
/// asked over one path.
fn rows() -> Vec<(u64, Mode, usize)> {
    let of = |rtt_ms| [Mode::Aggregate, Mode::Standby].map(|mode| [WANTS_MAX, 2].map(|wants_max| (rtt_ms, mode, wants_max)));
    [1, 10, 40].map(of).concat().concat()
}

/// Runs to a moment that depends on the seed. Which of two has brought more in the last 100 ms.
fn busier(world: &mut World, seed: u64, brought: impl Fn(&World, usize) -> u64) -> usize {
    world.run_for(ms(300) + Duration::from_micros(seed * 7919 % 100_000));
    let before = [0, 1].map(|which| brought(world, which));
    world.run_for(ms(100));
    let [first, second] = [0, 1].map(|which| brought(world, which) - before[which]);
    assert!(first + second > 100_000, "it is under way");
    usize::from(second > first)
}

/// What a cut has cost.
#[derive(Debug)]
struct Cost {
    /// The longest time in which nothing came.
    gap: Duration,
    /// Bytes that came twice, in all of the transfer.
    twice: u64,
    /// Bytes of the chunks that the path owed.
    owed: u64,
}

/// Cuts the way that carries more.
fn cut_busier(setup: &Setup, dirs: &[Dir], is_deaf: bool) -> Cost {
    let mut world = World::new(setup);
    world.want_all();
    let way = busier(&mut world, setup.seed, |world, way| world.brought(0, way));
    let owed = world.owed(way);
    let cut_at = world.now;
    world.is_deaf = is_deaf;
    world.cut(way, dirs);
    world.run_for(ms(300));
    world.want_no_more();
    assert!(world.run_until(ms(10_000), World::is_done), "{setup:?}, {dirs:?}: no end");
    Cost {
        gap: world.record.longest_gap(cut_at, world.now),
        twice: world.record.bytes() - world.record.right_bytes,
        owed,
    }
}

#[test]
fn a_cut_path_is_hardly_noticed_and_no_more_comes_twice_than_it_owed() {
    let mut seeds = 0..;
    for (rtt_ms, mode, wants_max) in rows() {
        for dirs in DIRS {
            for seed in seeds.by_ref().take(SEEDS) {
                let setup = Setup {
                    seed,
                    mode,
                    wants_max,
                    ..Setup::of(&[uneven(100, rtt_ms); 2])
                };
                let cost = cut_busier(&setup, dirs, false);
                // Who wants two chunks hears nothing for a round trip between them anyway, and silence is judged the later.
                let silences = if wants_max < WANTS_MAX { 2 } else { 1 };
                assert!(
                    cost.gap <= silences * gap_max(&setup.ways[0]),
                    "{setup:?}, {dirs:?}: {cost:?}"
                );
                // Where fewer are wanted than paths could bring, what one will finish last is asked of another as well.
                assert!(
                    cost.twice <= cost.owed || wants_max < WANTS_MAX,
                    "{setup:?}, {dirs:?}: {cost:?}"
                );
            }
        }
    }
}

/// The bounds above are not met by chance.
#[test]
fn a_cut_path_is_noticed_where_suspicion_is_not_heard() {
    for rtt_ms in [1, 10, 40] {
        for dirs in DIRS {
            let setup = Setup {
                mode: Mode::Standby,
                ..Setup::of(&[uneven(100, rtt_ms); 2])
            };
            let cost = cut_busier(&setup, dirs, true);
            assert!(cost.gap > 2 * gap_max(&setup.ways[0]), "{rtt_ms} ms, {dirs:?}: {cost:?}");
        }
    }
}

#[test]
fn a_peer_that_is_gone_is_hardly_noticed_where_another_has_the_chunks() {
    let mut seeds = 0..;
    for (rtt_ms, mode, wants_max) in rows() {
        for seed in seeds.by_ref().take(SEEDS) {
            let setup = Setup {
                seed,
                mode,
                wants_max,
                servers: 2,
                ..Setup::of(&[uneven(100, rtt_ms); 2])
            };
            let mut world = World::new(&setup);
            world.want_all();
            let of = |world: &World, server| world.brought(server, 0) + world.brought(server, 1);
            let server = busier(&mut world, seed, of);
            let gone_at = world.now;
            for way in [0, 1] {
                BOTH.iter().for_each(|dir| world.link_of(server, way, *dir).is_cut = true);
            }
            world.run_for(ms(400));
            let gap = world.record.longest_gap(gone_at, world.now);
            assert!(gap <= PEER_GAP_MAX, "{setup:?}: nothing came for {gap:?}");
        }
    }
}

#[test]
fn without_a_cut_nothing_comes_twice() {
    for rtt_ms in [1, 10, 40] {
        let mut world = World::new(&Setup::of(&[uneven(100, rtt_ms); 2]));
        world.want(80);
        assert!(world.run_until(ms(10_000), World::is_done));
        assert_eq!(world.record.bytes(), world.record.right_bytes, "{rtt_ms} ms");
    }
}
