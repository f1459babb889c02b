//! The simulation itself: runs can be repeated.

use super::*;

fn run(seed: u64) -> (blake3::Hash, u64) {
    let noisy = LinkSpec {
        jitter: ms(1),
        loss_ppm: 1000,
        ..LinkSpec::of(200, 10)
    };
    let setup = Setup {
        seed,
        servers: 2,
        ..Setup::of(&[noisy, noisy])
    };
    let mut world = World::new(&setup);
    world.want_all();
    world.run_for(ms(500));
    world.cut(0, &BOTH);
    world.run_for(ms(500));
    (world.net.trace(), world.record.bytes())
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_seed_another() {
    let first = run(7);
    assert!(first.1 > 10_000_000, "{} bytes came", first.1);
    assert_eq!(run(7), first);
    assert_ne!(run(8).0, first.0);
}
