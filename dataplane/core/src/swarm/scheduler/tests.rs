//! What must hold whatever the network does, in virtual time. `net` checks the limits after every action.

mod crossing;
mod loads;
mod many;
mod net;
mod paths;
mod reach;
mod sharing;
mod tallied;
mod ways;

use net::{Net, Peer, Temper, chunk, release, source};

use super::*;

const MB: u64 = 1 << 20;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn peer(mb_per_s: u64, delay_ms: u64, temper: Temper) -> Peer {
    Peer {
        rate: mb_per_s * MB,
        delay: ms(delay_ms),
        temper,
        claim: ClaimState::Complete,
    }
}

/// A scheduler with so many sources that have all and are alike: 2 ms away, and believed by their transports to bring so many bytes a second.
fn alike(seed: u64, sources: usize, rate: u64) -> Scheduler {
    let mut scheduler = Scheduler::new(SchedulerConfig::default(), seed);
    for source in (0..sources).map(source) {
        scheduler.on_source_up(Instant::ZERO, source, ms(2));
        scheduler.on_claim(Instant::ZERO, release(), source.peer, ClaimState::Complete);
        let stats = SourceStats {
            rtt: ms(2),
            rttvar: ms(1),
            rate_bytes_per_s: Some(rate),
        };
        scheduler.on_source_stats(Instant::ZERO, source, stats);
    }
    scheduler
}

fn partial(peer: Peer) -> Peer {
    Peer {
        claim: ClaimState::Partial,
        ..peer
    }
}

/// One honest source in each row is enough for every want to be done.
#[test]
fn every_want_is_done_while_one_honest_source_lives() {
    use Temper::*;
    let honest = peer(50, 2, Honest);
    let check = |name: &str, count: u32, len_max: u32, within_ms: u64, others: &[Peer]| {
        for seed in 0..12 {
            let mut peers = others.to_vec();
            peers.insert(seed as usize % (others.len() + 1), honest);
            let mut net = Net::new(seed, &peers);
            net.want_many(count, len_max, ms(60_000));
            net.run();
            assert_eq!(net.failures().next(), None, "{name}, seed {seed}");
            assert!(net.took() < ms(within_ms), "{name}, seed {seed}: took {:?}", net.took());
        }
    };
    check("alone", 100, 1 << 20, 1500, &[]);
    check("small chunks", 2000, 4 << 10, 1000, &[]);
    check("with a liar", 100, 1 << 20, 2000, &[peer(50, 2, Liar)]);
    check(
        "with three liars",
        100,
        1 << 20,
        2000,
        &[peer(90, 1, Liar), peer(50, 2, Liar), peer(5, 20, Liar)],
    );
    check(
        "with one silent from the start",
        100,
        1 << 20,
        2500,
        &[peer(50, 1, SilentFrom(ms(0)))],
    );
    check(
        "with one silent soon",
        100,
        1 << 20,
        2500,
        &[peer(50, 1, SilentFrom(ms(200)))],
    );
    check(
        "with five silent ones",
        200,
        1 << 20,
        4000,
        &[peer(900, 1, SilentFrom(ms(300))); 5],
    );
    check(
        "with a pause",
        100,
        1 << 20,
        2500,
        &[peer(50, 1, SilentWithin(ms(100), ms(900)))],
    );
    check("with a death", 100, 1 << 20, 2000, &[peer(50, 1, DiesAt(ms(300)))]);
    check(
        "with two deaths",
        100,
        1 << 20,
        2000,
        &[peer(500, 1, DiesAt(ms(10))), peer(50, 1, DiesAt(ms(500)))],
    );
    check("with a late one", 100, 1 << 20, 1500, &[peer(50, 1, ComesAt(ms(300)))]);
    check("with a sparse one", 300, 256 << 10, 1500, &[partial(peer(50, 1, Sparse(8)))]);
    check(
        "with a sparse one that claims all",
        300,
        256 << 10,
        1500,
        &[peer(50, 1, Sparse(8))],
    );
    check(
        "with an empty one that claims all",
        300,
        256 << 10,
        1500,
        &[peer(50, 1, FillsAt(ms(100_000)))],
    );
    check("with a busy one", 100, 1 << 20, 1500, &[peer(50, 1, BusyUntil(ms(500)))]);
    check("with a flaky one", 100, 1 << 20, 2000, &[peer(50, 1, Flaky)]);
    check("with a forgetful one", 100, 1 << 20, 4000, &[peer(50, 1, Forgetful)]);
    check("with a slow one", 100, 1 << 20, 3000, &[peer(1, 1, Honest)]);
    let all = [
        SilentFrom(ms(50)),
        Liar,
        DiesAt(ms(70)),
        Sparse(3),
        BusyUntil(ms(90)),
        Flaky,
        Forgetful,
        ComesAt(ms(40)),
    ];
    check("with all of them", 150, 1 << 20, 5000, &all.map(|temper| peer(30, 3, temper)));
}

#[test]
fn an_only_source_with_a_fault_that_passes_is_enough() {
    use Temper::*;
    let check = |within_ms: u64, temper: Temper| {
        for seed in 0..8 {
            let mut net = Net::new(seed, &[peer(50, 2, temper)]);
            net.want_many(50, 1 << 20, ms(20_000));
            net.run();
            assert_eq!(net.failures().next(), None, "{temper:?}, seed {seed}");
            assert!(net.took() < ms(within_ms), "{temper:?}, seed {seed}: took {:?}", net.took());
        }
    };
    check(2_800, ComesAt(ms(2_000)));
    check(4_500, FillsAt(ms(2_000)));
    check(4_000, BusyUntil(ms(2_000)));
    check(3_000, SilentWithin(ms(100), ms(2_000)));
    check(4_000, Flaky);
    check(20_000, Forgetful);
}

#[test]
fn a_want_that_cannot_be_had_ends_at_its_patience_and_says_why() {
    use Temper::*;
    let check = |peers: &[Peer], why: &str| {
        let mut net = Net::new(1, peers);
        net.want(ms(0), chunk(0, 1000), Class::Deadline, ms(3_000));
        net.want(ms(500), chunk(0, 1000), Class::Bulk, ms(3_000));
        net.run();
        assert_eq!(net.failures().count(), 2);
        for error in net.failures() {
            let FetchError::Deadline {
                waited_ms: 3_000,
                why: actual,
                ..
            } = error
            else {
                panic!("{error:?}");
            };
            assert!(actual.contains(why), "{actual:?} does not say {why:?}");
        }
        assert_eq!(
            net.now,
            Instant::ZERO + ms(3_500).max(net.now.since(Instant::ZERO)),
            "not a moment early"
        );
    };
    check(&[], "no peer is connected");
    check(&[peer(1, 1, DiesAt(ms(1)))], "peer 0101010101 left: connection lost");
    check(&[peer(1, 1, SilentFrom(ms(0)))], "peer 0101010101 on path 0 is silent for");
    check(&[peer(1, 1, FillsAt(ms(99_000)))], "peer 0101010101 lacks it (asked");
    check(
        &[Peer {
            claim: ClaimState::None,
            ..peer(1, 1, Honest)
        }],
        "has anything of its release",
    );
    check(
        &[Peer {
            rate: 1,
            ..peer(1, 1, Honest)
        }],
        "silent",
    );
}

#[test]
fn a_dropped_peer_leaves_a_reason_and_stays_out() {
    let mut scheduler = Scheduler::new(SchedulerConfig::default(), 0);
    let now = Instant::ZERO;
    scheduler.on_source_up(now, source(0), ms(1));
    scheduler.on_claim(now, release(), source(0).peer, ClaimState::Complete);
    let want = Want {
        chunk: chunk(0, 10),
        place: None,
        class: Class::Bulk,
        release: release(),
        patience: ms(100),
        unreached: Unreached::Wait,
    };
    scheduler.on_want(now, WantKey(0), want);
    let Some(Action::Ask { ask, .. }) = scheduler.poll(now) else {
        panic!("asked")
    };
    scheduler.on_arrived(now, ask);
    scheduler.on_bad(now, ask);
    let why = DropReason::WrongBytes { chunk: chunk(0, 10).id };
    let drop = Some(Action::Drop {
        peer: source(0).peer,
        why,
    });
    assert_eq!(scheduler.poll(now), drop);
    assert_eq!(scheduler.poll(now), None);
    scheduler.on_source_up(now, source(0), ms(1));
    assert_eq!(scheduler.poll(now), drop, "dropped again");
    assert_eq!(scheduler.poll(now), None);
    let end = scheduler.deadline().expect("patience");
    let Some(Action::Fail { error, .. }) = scheduler.poll(end) else {
        panic!("fails")
    };
    assert!(error.to_string().contains("dropped: it sent wrong bytes"), "{error}");
}

/// Whoever is asked for a root learns the name of its release, which gives access to it.
#[test]
fn a_stranger_is_never_asked() {
    let check = |word: &dyn Fn(&mut Scheduler, Instant), is_asked: bool| {
        let mut scheduler = Scheduler::new(SchedulerConfig::default(), 0);
        let now = Instant::ZERO;
        scheduler.on_source_up(now, source(0), ms(1));
        scheduler.on_source_up(now, source(1), ms(1));
        let want = Want {
            chunk: chunk(0, 10),
            place: None,
            class: Class::Deadline,
            release: release(),
            patience: ms(100),
            unreached: Unreached::Wait,
        };
        scheduler.on_want(now, WantKey(0), want);
        assert_eq!(scheduler.poll(now), None, "nobody is known to have it");
        word(&mut scheduler, now);
        match scheduler.poll(now) {
            Some(Action::Ask { source: asked, .. }) => assert!(is_asked && asked == source(0)),
            None => assert!(!is_asked),
            other => panic!("{other:?}"),
        }
        if !is_asked {
            let end = scheduler.deadline().expect("patience");
            let Some(Action::Fail { error, .. }) = scheduler.poll(end) else {
                panic!("fails")
            };
            assert!(error.to_string().contains("has anything of its release"), "{error}");
        }
    };
    let other = ReleaseId(ChunkId::from_bytes([8; 32]));
    let peer = source(0).peer;
    check(&|_, _| {}, false);
    check(&|s, now| s.on_claim(now, other, peer, ClaimState::Complete), false);
    check(&|s, now| s.on_hint(now, other, peer), false);
    check(&|s, now| s.on_claim(now, release(), peer, ClaimState::None), false);
    check(&|s, now| s.on_hint(now, release(), peer), true);
    check(&|s, now| s.on_claim(now, release(), peer, ClaimState::Partial), true);
    check(&|s, now| s.on_claim(now, release(), peer, ClaimState::Complete), true);
    // The last one to have it leaves: still nobody asks the other.
    let leaves = |s: &mut Scheduler, now| {
        s.on_claim(now, release(), peer, ClaimState::Complete);
        s.on_source_down(now, source(0), "gone".to_owned());
    };
    check(&leaves, false);
}

/// Few of many peers, and most of them.
#[test]
fn the_paths_to_all_who_may_have_a_release_are_candidates_and_no_others() {
    let peer = |n: usize| PeerId::from_bytes([n as u8; 32]);
    for seed in 0..40 {
        let mut rng = Rng::new(seed);
        let mut scheduler = Scheduler::new(SchedulerConfig::default(), seed);
        let mut expect = Vec::new();
        let share = [2, 30][seed as usize % 2];
        for n in 0..60 {
            let paths = rng.below(4) as u64;
            let claims = rng.below(share) == 0;
            if claims {
                scheduler.on_claim(Instant::ZERO, release(), peer(n), ClaimState::Partial);
            }
            let tells = claims && paths > 0 && rng.below(2) == 0;
            for path in 0..paths {
                let source = Source {
                    peer: peer(n),
                    path: PathId(path),
                };
                scheduler.on_source_up(Instant::ZERO, source, ms(1));
                expect.extend(claims.then_some((source, tells)));
            }
            if tells {
                scheduler.on_have(Instant::ZERO, peer(n), &[]);
            }
        }
        let candidates = scheduler.candidates(Instant::ZERO, Class::Bulk, &[release()]);
        let found: Vec<_> = candidates.iter().map(|c| (c.source, c.tells())).collect();
        assert_eq!(found, expect, "seed {seed}");
    }
}

/// Looking at all parked chunks costs far more than changing one's mind does.
#[test]
fn a_peer_that_changes_its_mind_without_end_makes_us_look_now_and_then() {
    const PARKED: u32 = 1000;
    let mut scheduler = Scheduler::new(SchedulerConfig::default(), 0);
    let mut now = Instant::ZERO;
    for index in 0..2 {
        scheduler.on_source_up(now, source(index), ms(1));
        scheduler.on_claim(now, release(), source(index).peer, ClaimState::Complete);
    }
    for n in 0..PARKED {
        let want = Want {
            chunk: chunk(n, 10),
            place: None,
            class: Class::Deadline,
            release: release(),
            patience: ms(60_000),
            unreached: Unreached::Wait,
        };
        scheduler.on_want(now, WantKey(n.into()), want);
    }
    while let Some(Action::Ask { ask, .. }) = scheduler.poll(now) {
        scheduler.on_refused(now, ask, Refusal::Gone);
    }
    assert_eq!(scheduler.parked.len(), PARKED as usize, "nobody has them");
    let mut looks = BTreeSet::new();
    for step in 0..1000 {
        now = now + ms(1);
        let state = [ClaimState::Partial, ClaimState::Complete][step % 2];
        scheduler.on_claim(now, release(), source(0).peer, state);
        assert_eq!(scheduler.poll(now), None);
        looks.insert(scheduler.look_at);
    }
    let pace = LOOK_PACE * PARKED;
    let looks_max = ms(1000).div_duration_f64(pace) as usize + 1;
    let count = looks.len();
    assert!(
        (2..=looks_max).contains(&count),
        "{count} looks at all of {PARKED} chunks in a second"
    );
    // Whoever has them is asked soon all the same.
    scheduler.on_source_up(now, source(2), ms(1));
    scheduler.on_claim(now, release(), source(2).peer, ClaimState::Complete);
    let due = scheduler.deadline().expect("a look is due").max(now);
    assert!(due <= now + pace, "{due:?}");
    assert!(matches!(scheduler.poll(due), Some(Action::Ask { .. })));
}

#[test]
fn a_peer_that_repeats_itself_stirs_no_parked_chunk() {
    let mut scheduler = Scheduler::new(SchedulerConfig::default(), 0);
    let mut now = Instant::ZERO;
    scheduler.on_source_up(now, source(0), ms(1));
    let want = Want {
        chunk: chunk(0, 10),
        place: None,
        class: Class::Bulk,
        release: release(),
        patience: ms(100),
        unreached: Unreached::Wait,
    };
    // A release of which the only peer has nothing: the chunk waits for something to happen.
    scheduler.on_claim(now, release(), source(0).peer, ClaimState::None);
    scheduler.on_want(now, WantKey(0), want);
    let mut check = |word: &dyn Fn(&mut Scheduler, Instant), is_stirred: bool| {
        // Longer than one look keeps the next waiting.
        now = now + ms(1);
        if let Some(chunk) = scheduler.chunks.keys().next().copied() {
            scheduler.park(chunk, Line::Fresh, None);
        }
        assert_eq!(scheduler.poll(now), None);
        word(&mut scheduler, now);
        assert_eq!(scheduler.parked.is_empty(), is_stirred);
    };
    let claim = |state| move |s: &mut Scheduler, now| s.on_claim(now, release(), source(0).peer, state);
    check(&claim(ClaimState::None), false);
    check(&|s, now| s.on_hint(now, release(), source(0).peer), true);
    check(&|s, now| s.on_hint(now, release(), source(0).peer), false);
    check(&claim(ClaimState::Partial), true);
    check(&claim(ClaimState::Partial), false);
    check(&claim(ClaimState::Complete), true);
    check(&claim(ClaimState::Complete), false);
}

/// A link tells no length of the root: the scheduler allows for the longest.
#[test]
fn a_chunk_of_unknown_length_is_asked_and_counted_as_the_longest() {
    let mut scheduler = Scheduler::new(SchedulerConfig::default(), 0);
    let now = Instant::ZERO;
    scheduler.on_source_up(now, source(0), ms(1));
    scheduler.on_hint(now, release(), source(0).peer);
    let want = Want {
        chunk: chunk(0, LEN_UNKNOWN),
        place: None,
        class: Class::Deadline,
        release: release(),
        patience: ms(100),
        unreached: Unreached::Wait,
    };
    scheduler.on_want(now, WantKey(0), want);
    let Some(Action::Ask { ask, .. }) = scheduler.poll(now) else {
        panic!("asked")
    };
    assert_eq!(scheduler.inflight_bytes(&source(0)), u64::from(CHUNK_BYTES_MAX));
    scheduler.on_progress(now, ask, 77);
    scheduler.on_arrived(now, ask);
    assert_eq!(scheduler.inflight_bytes(&source(0)), 0);
    assert_eq!(scheduler.inflight_bytes, u64::from(CHUNK_BYTES_MAX));
    scheduler.on_verified(now, chunk(0, LEN_UNKNOWN).id);
    assert_eq!(scheduler.poll(now), Some(Action::Done { want: WantKey(0) }));
    assert_eq!((scheduler.poll(now), scheduler.inflight_bytes), (None, 0));
}

/// Two sources take so long for the longest that the one which is not asked seems sooner, whichever that is.
#[test]
fn a_chunk_of_unknown_length_does_not_go_back_and_forth() {
    let mut scheduler = Scheduler::new(SchedulerConfig::default(), 0);
    let now = Instant::ZERO;
    for source in [source(0), source(1)] {
        scheduler.on_source_up(now, source, ms(1));
        scheduler.on_claim(now, release(), source.peer, ClaimState::Complete);
        let stats = SourceStats {
            rtt: ms(1),
            rttvar: ms(1),
            rate_bytes_per_s: Some(5 * MB),
        };
        scheduler.on_source_stats(now, source, stats);
    }
    let want = Want {
        chunk: chunk(0, LEN_UNKNOWN),
        place: None,
        class: Class::Bulk,
        release: release(),
        patience: ms(60_000),
        unreached: Unreached::Wait,
    };
    scheduler.on_want(now, WantKey(0), want);
    let actions: Vec<Action> = std::iter::from_fn(|| scheduler.poll(now)).take(100).collect();
    assert!(matches!(actions[..], [Action::Ask { .. }]), "{actions:?}");
}

#[test]
fn a_liar_is_named_though_its_chunk_came_through_another() {
    let mut scheduler = Scheduler::new(
        SchedulerConfig {
            stall_floor: ms(10),
            ..SchedulerConfig::default()
        },
        0,
    );
    let mut now = Instant::ZERO;
    for index in 0..2 {
        scheduler.on_source_up(now, source(index), ms(1));
        scheduler.on_claim(now, release(), source(index).peer, ClaimState::Complete);
    }
    let want = Want {
        chunk: chunk(0, 10),
        place: None,
        class: Class::Bulk,
        release: release(),
        patience: ms(10_000),
        unreached: Unreached::Wait,
    };
    scheduler.on_want(now, WantKey(0), want);
    let mut asks = Vec::new();
    while asks.len() < 2 {
        match scheduler.poll(now) {
            Some(Action::Ask { ask, source, .. }) => asks.push((ask, source)),
            Some(action) => panic!("{action:?}"),
            None => now = scheduler.deadline().expect("a stall is due"),
        }
    }
    asks.iter().for_each(|(ask, _)| scheduler.on_arrived(now, *ask));
    scheduler.on_verified(now, chunk(0, 10).id);
    assert_eq!(scheduler.poll(now), Some(Action::Done { want: WantKey(0) }));
    scheduler.on_bad(now, asks[0].0);
    assert!(matches!(scheduler.poll(now), Some(Action::Drop { peer, .. }) if peer == asks[0].1.peer));
}

#[test]
fn equal_chunks_are_asked_once_and_cancelled_wants_end() {
    for seed in 0..20 {
        let mut net = Net::new(seed, &[peer(10, 5, Temper::Honest)]);
        let keys: Vec<WantKey> = (0..40)
            .map(|n| net.want(ms(0), chunk(n / 4, 1 << 20), Class::Bulk, ms(9_000)))
            .collect();
        for key in keys.iter().filter(|key| key.0 % 4 == 1 || key.0 / 4 == 7) {
            net.cancel(ms(key.0), *key);
        }
        net.run();
        assert_eq!(
            net.asked[0],
            10 - u64::from(net.came[0] < 10 * MB && net.asked[0] == 9),
            "seed {seed}"
        );
        let cancelled = net.failures().filter(|error| **error == FetchError::Cancelled).count();
        assert_eq!(cancelled, net.failures().count());
        assert_eq!(cancelled, 10 + 3);
    }
}

#[test]
fn a_deadline_want_overtakes_a_long_queue_even_of_its_own_chunk() {
    for seed in 0..20 {
        let mut net = Net::new(seed, &[peer(20, 5, Temper::Honest), peer(20, 5, Temper::Honest)]);
        net.want_many(1000, 256 << 10, ms(60_000));
        let fresh = net.want(ms(50), chunk(5000, 64 << 10), Class::Deadline, ms(5_000));
        let last = net.want(ms(50), chunk(999, 1), Class::Deadline, ms(5_000));
        net.run();
        for key in [fresh, last] {
            let at = *net.ends[&key].as_ref().expect("done");
            assert!(at.since(Instant::ZERO) < ms(250), "seed {seed}: {key:?} at {at:?}");
        }
    }
}

#[test]
fn two_sources_are_used_in_proportion_to_their_rates() {
    let check = |fast: u64, slow: u64, delay_ms: u64| {
        for seed in 0..5 {
            let mut net = Net::new(
                seed,
                &[peer(fast, delay_ms, Temper::Honest), peer(slow, delay_ms, Temper::Honest)],
            );
            net.want_many(400, 1 << 20, ms(60_000));
            net.run();
            let all = (net.came[0] + net.came[1]) as f64;
            let (share, ideal) = (net.came[0] as f64 / all, fast as f64 / (fast + slow) as f64);
            assert!(
                (share - ideal).abs() < 0.08,
                "{fast}:{slow} at {delay_ms} ms, seed {seed}: {share:.2}, not {ideal:.2}"
            );
            let bound = all / ((fast + slow) * MB) as f64;
            let took = net.took().as_secs_f64();
            assert!(
                took < 1.25 * bound + 0.2,
                "{fast}:{slow} at {delay_ms} ms, seed {seed}: {took:.2} s, bound {bound:.2} s"
            );
        }
    };
    check(50, 50, 1);
    check(100, 50, 5);
    check(100, 20, 1);
    check(40, 10, 20);
    check(100, 1, 1);
    check(100, 2, 10);
}

#[test]
fn one_source_is_filled_whatever_its_rate_and_delay() {
    let check = |rate: u64, delay_ms: u64| {
        let mut net = Net::new(1, &[peer(rate, delay_ms, Temper::Honest)]);
        let count = (rate * 4) as u32;
        (0..count).for_each(|n| {
            net.want(ms(0), chunk(n, 512 << 10), Class::Bulk, ms(60_000));
        });
        net.run();
        let bound = 2.0 + 0.001 * 8.0 * delay_ms as f64;
        assert!(
            net.took().as_secs_f64() < bound * 1.1,
            "{rate} MB/s, {delay_ms} ms: {:?}, bound {bound}",
            net.took()
        );
    };
    check(10, 0);
    check(100, 1);
    check(500, 0);
    check(1000, 2);
    check(100, 30);
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    use Temper::*;
    let run = |seed| {
        let tempers = [
            Honest,
            Liar,
            Flaky,
            Forgetful,
            Sparse(2),
            DiesAt(ms(100)),
            SilentFrom(ms(150)),
        ];
        let mut net = Net::new(seed, &tempers.map(|temper| peer(20, 3, temper)));
        net.want_many(100, 512 << 10, ms(5_000));
        net.run().trace
    };
    let traces: Vec<u64> = (0..50).map(run).collect();
    assert_eq!(traces, (0..50).map(run).collect::<Vec<_>>());
    let different: BTreeSet<u64> = traces.into_iter().collect();
    assert!(different.len() > 40, "seeds matter");
}

#[test]
fn any_mix_of_peers_keeps_the_limits_and_ends_every_want() {
    for seed in 0..200 {
        let mut rng = Rng::new(seed);
        let mut random = |below: usize| rng.below(below);
        let peers: Vec<Peer> = (0..random(6))
            .map(|_| {
                let at = ms(random(1_000) as u64);
                let temper = match random(12) {
                    0 => Temper::Liar,
                    1 => Temper::SilentFrom(at),
                    2 => Temper::SilentWithin(at, at * 2),
                    3 => Temper::DiesAt(at),
                    4 => Temper::ComesAt(at),
                    5 => Temper::Sparse(1 + random(8) as u8),
                    6 => Temper::FillsAt(at),
                    7 => Temper::BusyUntil(at),
                    8 => Temper::Flaky,
                    9 => Temper::Forgetful,
                    _ => Temper::Honest,
                };
                let claim = [ClaimState::Complete, ClaimState::Partial, ClaimState::None][random(10).min(5) % 3];
                Peer {
                    claim,
                    ..peer(1 + random(200) as u64, random(50) as u64, temper)
                }
            })
            .collect();
        let mut net = Net::new(seed, &peers);
        for _ in 0..200 {
            let class = [Class::Deadline, Class::Bulk, Class::Heal][random(3)];
            let chunk = chunk(random(150) as u32, 300 << 10);
            let key = net.want(ms(random(1_000) as u64), chunk, class, ms(1 + random(3_000) as u64));
            if random(5) == 0 {
                net.cancel(ms(random(2_000) as u64), key);
            }
        }
        net.run();
    }
}

/// No network here: answers come at once, so all the time is the scheduler's. Each chunk is asked once and polled for thrice.
#[test]
fn fifty_thousand_wants_and_twenty_sources_are_cheap() {
    let mut scheduler = Scheduler::new(SchedulerConfig::default(), 0);
    let mut now = Instant::ZERO;
    for index in 0..20 {
        scheduler.on_source_up(now, source(index), ms(1));
        scheduler.on_claim(now, release(), source(index).peer, ClaimState::Complete);
    }
    for n in 0..50_000 {
        let want = Want {
            chunk: chunk(n, 64 << 10),
            place: None,
            class: Class::Bulk,
            release: release(),
            patience: ms(60_000),
            unreached: Unreached::Wait,
        };
        scheduler.on_want(now, WantKey(n.into()), want);
    }
    let mut asks = VecDeque::new();
    let (mut asked, mut done) = (0, 0);
    loop {
        while let Some(action) = scheduler.poll(now) {
            match action {
                Action::Ask { ask, chunk, .. } => {
                    asked += 1;
                    asks.push_back((ask, chunk));
                }
                Action::Done { .. } => done += 1,
                other => panic!("{other:?}"),
            }
        }
        let Some((ask, chunk)) = asks.pop_front() else { break };
        now = now + Duration::from_micros(20);
        scheduler.on_arrived(now, ask);
        scheduler.on_verified(now, chunk.id);
    }
    assert_eq!((asked, done), (50_000, 50_000));
}

/// Lowered below what is in flight, also while silent sources have asks moved away from them, and raised again.
#[test]
fn the_bytes_in_flight_follow_their_bound_while_chunks_come() {
    for seed in 0..12 {
        let silent = peer(50, 2, Temper::SilentFrom(ms(100)));
        let mut net = Net::new(seed, &[peer(50, 2, Temper::Honest), silent, silent, silent, silent, silent]);
        net.want_many(300, 1 << 20, ms(60_000));
        for (at, bytes) in [(50, 8 * MB), (300, 2 * MB), (900, 256 * MB), (1500, 16 * MB)] {
            net.bound(ms(at), bytes);
        }
        net.run();
        assert_eq!(net.failures().next(), None, "seed {seed}");
    }
}
