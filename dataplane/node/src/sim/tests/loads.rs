//! A server that is busy with others is asked for less, at once; two that are equally busy are asked for as much; and who is idle is told
//! nothing of it.

use super::*;

/// Two servers, of which each sends 200 Mbit/s altogether, and others who read from them without end.
fn setup(seed: u64, wants_max: usize, others: &[usize]) -> Setup {
    Setup {
        seed,
        wants_max,
        servers: 2,
        uplink: Some(LinkSpec::of(200, 0)),
        others: others.to_vec(),
        ..Setup::of(&[LinkSpec::of(1000, 4)])
    }
}

/// The first server's part of what comes in the next while.
fn share_of_first(world: &mut World, time: Duration) -> f64 {
    let before = [0, 1].map(|server| world.brought(server, 0));
    world.run_for(time);
    let [first, second] = [0, 1].map(|server| world.brought(server, 0) - before[server]);
    first as f64 / (first + second) as f64
}

/// The first server's part before others come to it, and soon after.
fn before_and_after(seed: u64, wants_max: usize, others: &[usize], is_deaf: bool) -> (f64, f64) {
    let mut world = World::new(&setup(seed, wants_max, others));
    world.is_deaf_to_load = is_deaf;
    world.want_all();
    world.run_for(ms(1000));
    let before = share_of_first(&mut world, ms(1000));
    world.others_want_all();
    // Until the others have begun.
    world.run_for(ms(100));
    (before, share_of_first(&mut world, ms(400)))
}

/// Who wants so little that it never fills a window hardly learns from how slowly it comes.
#[test]
fn a_server_that_is_busy_with_others_is_asked_for_less_at_once() {
    for wants_max in [1, 2] {
        for seed in 0..SEEDS as u64 {
            let shares = |is_deaf| before_and_after(seed, wants_max, &[0, 0, 0], is_deaf);
            let (before, after) = shares(false);
            assert!(
                before > 0.4 && after < 0.05,
                "{wants_max} wanted, seed {seed}: {before}, {after}"
            );
            // That is not so by itself.
            let (before, after) = shares(true);
            assert!(
                before > 0.4 && after >= 0.1,
                "{wants_max} wanted, deaf, seed {seed}: {before}, {after}"
            );
        }
    }
}

#[test]
fn two_servers_that_are_equally_busy_are_asked_for_as_much_all_the_time() {
    // Who wants one chunk at a time may as well stay where it is.
    for wants_max in [2, 4, WANTS_MAX] {
        for seed in 0..SEEDS as u64 / 4 {
            let mut world = World::new(&setup(seed, wants_max, &[0, 1, 0, 1]));
            world.want_all();
            world.others_want_all();
            world.run_for(ms(1000));
            for _ in 0..4 {
                let share = share_of_first(&mut world, ms(250));
                assert!((share - 0.5).abs() <= 0.1, "{wants_max} wanted, seed {seed}: {share}");
            }
        }
    }
}

#[test]
fn who_asks_nothing_is_not_told_how_busy_a_server_is() {
    const IDLE: Duration = Duration::from_secs(10);
    let mut world = World::new(&setup(1, 4, &[0]));
    world.want(40);
    world.others_want_all();
    assert!(world.run_until(ms(10_000), World::is_done));
    world.run_for(ms(2000));
    let carried = |world: &World| -> u64 {
        let of = |dir| world.net.links[&ends_of(0, 0, dir)].carried_bytes;
        BOTH.map(of).iter().sum()
    };
    let before = carried(&world);
    world.run_for(IDLE);
    let bit_per_s = (carried(&world) - before) * 8 / IDLE.as_secs();
    assert!(bit_per_s < 2000, "{bit_per_s} bit/s");
}
