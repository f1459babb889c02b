//! Peers in other zones: what is asked of them, and what is waited for because somebody near has asked for it.

use super::*;
use crate::path::health::Pulse;
use crate::swarm::Want;
use crate::swarm::zone::{GATES, rank};

const LEN: u32 = 256 << 10;

fn peer(n: usize) -> PeerId {
    source(n).peer
}

fn want(n: u32, class: Class) -> Want {
    Want {
        chunk: chunk(n, LEN),
        place: None,
        class,
        release: release(),
        patience: ms(600_000),
        unreached: Unreached::Wait,
    }
}

fn tag(n: u32) -> ChunkTag {
    chunk(n, LEN).id.into()
}

/// A node that knows one peer of another zone with all of the release, and so many of its own with nothing yet.
fn scheduler(near: usize) -> Scheduler {
    let mut scheduler = Scheduler::new(SchedulerConfig::default(), 1);
    for index in 0..=near {
        scheduler.on_source_up(ms_at(0), source(index), ms(1));
        scheduler.on_zone(ms_at(0), peer(index), index == 0);
        let (state, is_far) = (
            if index == 0 {
                ClaimState::Complete
            } else {
                ClaimState::Partial
            },
            index == 0,
        );
        scheduler.on_claim(ms_at(0), release(), peer(index), state);
        if !is_far {
            scheduler.on_have(ms_at(0), peer(index), &[]);
        }
    }
    scheduler
}

fn ms_at(at: u64) -> Instant {
    Instant::ZERO + ms(at)
}

/// An ask, of whom, and for what.
type Asked = (AskId, usize, ChunkTag);

/// What is asked now, and what near peers are told of it.
fn act(scheduler: &mut Scheduler, now: Instant) -> (Vec<Asked>, Vec<(ChunkTag, bool)>) {
    let (mut asks, mut told) = (Vec::new(), Vec::new());
    while let Some(action) = scheduler.poll(now) {
        match action {
            Action::Ask { ask, source, chunk, .. } => asks.push((ask, source.path.0 as usize, chunk.id.into())),
            Action::Crossing { chunk, is_coming, .. } => told.push((chunk, is_coming)),
            _ => {}
        }
    }
    (asks, told)
}

fn asked(scheduler: &mut Scheduler, now: Instant) -> Vec<(usize, ChunkTag)> {
    act(scheduler, now)
        .0
        .into_iter()
        .map(|(_, source, chunk)| (source, chunk))
        .collect()
}

#[test]
fn what_somebody_near_holds_is_not_asked_of_who_is_far() {
    let mut near = scheduler(1);
    near.on_have(ms_at(0), peer(1), &[tag(1)]);
    near.on_want(ms_at(0), WantKey(1), want(1, Class::Bulk));
    assert_eq!(asked(&mut near, ms_at(0)), [(1, tag(1))]);
    let mut alone = scheduler(1);
    alone.on_want(ms_at(0), WantKey(1), want(1, Class::Bulk));
    let (asks, told) = act(&mut alone, ms_at(0));
    assert_eq!((asks[0].1, told), (0, vec![(tag(1), true)]), "those near are to know");
    alone.on_refused(ms_at(1), asks[0].0, Refusal::Elsewhere);
    assert_eq!(act(&mut alone, ms_at(1)).1, [(tag(1), false)], "and that it does not come");
}

#[test]
fn what_somebody_near_has_asked_for_is_waited_for_unless_a_reader_waits() {
    let setup = || {
        let mut scheduler = scheduler(1);
        scheduler.on_want(ms_at(0), WantKey(1), want(1, Class::Bulk));
        scheduler.on_coming(ms_at(0), peer(1), release(), &[tag(1), tag(2)]);
        assert_eq!(asked(&mut scheduler, ms_at(0)), []);
        scheduler
    };
    let mut it_comes = setup();
    it_comes.on_have(ms_at(50), peer(1), &[tag(1)]);
    assert_eq!(asked(&mut it_comes, ms_at(50)), [(1, tag(1))]);
    let mut it_does_not = setup();
    it_does_not.on_not_coming(ms_at(50), peer(1), &[tag(1)]);
    assert_eq!(asked(&mut it_does_not, ms_at(50)), [(0, tag(1))]);
    let mut it_went = setup();
    it_went.on_source_down(ms_at(50), source(1), "gone".to_owned());
    assert_eq!(asked(&mut it_went, ms_at(50)), [(0, tag(1))]);
    let mut urgent = setup();
    urgent.on_want(ms_at(50), WantKey(2), want(1, Class::Deadline));
    assert_eq!(asked(&mut urgent, ms_at(50)), [(0, tag(1))]);
    let mut silent = setup();
    let due = silent.deadline().expect("it is looked at again");
    assert_eq!(asked(&mut silent, due), [(0, tag(1))]);
    let mut promised = setup();
    for second in 1..600 {
        let now = ms_at(second * 1000);
        promised.on_coming(now, peer(1), release(), &[tag(1)]);
        // Others come.
        let other = want(10 + second as u32, Class::Bulk);
        promised.on_want(now, WantKey(10 + second), other);
        promised.on_verified(now, other.chunk.id);
        if asked(&mut promised, now).contains(&(0, tag(1))) {
            assert!((60..=180).contains(&second), "after {second} s");
            return;
        }
    }
    panic!("promises alone are not waited for without end");
}

#[test]
fn who_is_near_and_brings_nothing_is_not_waited_for() {
    let mut scheduler = scheduler(1);
    scheduler.on_claim(ms_at(0), release(), peer(1), ClaimState::Complete);
    scheduler.on_want(ms_at(0), WantKey(1), want(1, Class::Bulk));
    for now in (0..60_000).step_by(500).map(ms_at) {
        for (ask, source, _) in act(&mut scheduler, now).0 {
            if source == 0 {
                let waited = now.since(Instant::ZERO);
                assert!(waited >= ms(10_000) && waited < ms(20_000), "{waited:?}");
                return;
            }
            scheduler.on_refused(now, ask, Refusal::Elsewhere);
        }
    }
    panic!("it says that others have it, and nobody near has");
}

#[test]
fn as_long_as_there_are_gates_that_bring_something_the_others_leave_it_to_them() {
    let near = GATES + 3;
    let mut peers: Vec<usize> = (1..=near).collect();
    peers.sort_by_key(|n| rank(&peer(*n)));
    let setup = |place: usize| {
        let mut scheduler = scheduler(near);
        scheduler.on_identity(&peer(peers[place]));
        for n in 0..=near as u32 {
            scheduler.on_want(ms_at(0), WantKey(n.into()), want(n, Class::Bulk));
        }
        for gate in peers.iter().filter(|gate| **gate != peers[place]) {
            scheduler.on_coming(ms_at(0), peer(*gate), release(), &[tag(*gate as u32), tag(1000)]);
        }
        // What nobody has asked for yet is the first, and what this node itself would have.
        scheduler.on_coming(ms_at(0), peer(peers[0]), release(), &[tag(peers[place] as u32)]);
        scheduler
    };
    assert_eq!(asked(&mut setup(GATES - 1), ms_at(0)), [(0, tag(0))], "a gate");
    let mut other = setup(GATES);
    assert_eq!(asked(&mut other, ms_at(0)), []);
    let due = other.deadline().expect("it is looked at again");
    assert_eq!(asked(&mut other, due).len(), 1, "nothing has come from near");
    let mut gone = setup(GATES);
    assert_eq!(asked(&mut gone, ms_at(0)), []);
    gone.on_source_down(ms_at(1), source(peers[0]), "gone".to_owned());
    assert_eq!(asked(&mut gone, ms_at(1)).len(), 1, "now it is one");
    let mut elsewhere = setup(GATES);
    let other = Want {
        release: ReleaseId(ChunkId::of(b"another")),
        ..want(500, Class::Bulk)
    };
    elsewhere.on_claim(ms_at(0), other.release, peer(0), ClaimState::Complete);
    elsewhere.on_want(ms_at(0), WantKey(500), other);
    assert_eq!(
        asked(&mut elsewhere, ms_at(0)),
        [(0, tag(500))],
        "they are gates for one release"
    );
}

/// Those who come at the same moment have not heard yet what each other ask.
#[test]
fn to_whom_others_call_gates_the_crossing_is_left_for_a_moment() {
    let mut peers: Vec<PeerId> = (1..=GATES + 2).map(peer).collect();
    peers.sort_by_key(rank);
    let setup = |place: usize| {
        let mut scheduler = scheduler(0);
        scheduler.on_identity(&peers[place]);
        scheduler.on_gates_named(ms_at(0), release(), &peers);
        assert_eq!(scheduler.crossing.gates.len(), 0, "nothing is wanted");
        scheduler.on_want(ms_at(0), WantKey(0), want(0, Class::Bulk));
        let others: Vec<PeerId> = peers.iter().filter(|other| **other != peers[place]).copied().collect();
        scheduler.on_gates_named(ms_at(0), release(), &others);
        scheduler
    };
    assert_eq!(asked(&mut setup(GATES - 1), ms_at(0)), [(0, tag(0))], "a gate");
    let mut other = setup(GATES);
    assert_eq!(asked(&mut other, ms_at(0)), []);
    let due = other.deadline().expect("it is looked at again");
    assert!(due <= ms_at(2000), "{due:?}");
    assert_eq!(
        asked(&mut other, due),
        [(0, tag(0))],
        "none of them has said that it asks for it"
    );
    let many: Vec<PeerId> = (0..200).map(|n| PeerId::from_bytes([n; 32])).collect();
    other.on_gates_named(due, release(), &many);
    assert!(other.crossing.gates.len() <= 100, "whoever names gates may lie");
}

#[test]
fn what_a_dead_path_to_who_is_far_owes_is_asked_elsewhere() {
    let mut scheduler = scheduler(0);
    scheduler.on_source_up(ms_at(0), source(1), ms(1));
    scheduler.on_zone(ms_at(0), peer(1), true);
    scheduler.on_claim(ms_at(0), release(), peer(1), ClaimState::Complete);
    scheduler.on_zone(ms_at(0), peer(9), true);
    assert!(!scheduler.crossing.is_far(&peer(9)), "who is not there is not remembered");
    scheduler.on_want(ms_at(0), WantKey(0), want(0, Class::Bulk));
    let first = asked(&mut scheduler, ms_at(0))[0].0;
    scheduler.on_pulse(ms_at(100), source(first), Pulse::Suspect);
    assert_eq!(asked(&mut scheduler, ms_at(100)), [(1 - first, tag(0))]);
    scheduler.on_cancel(ms_at(200), WantKey(0));
    assert_eq!(
        act(&mut scheduler, ms_at(200)).1,
        [(tag(0), false)],
        "nobody is to wait for it"
    );
}

#[test]
fn what_is_asked_of_who_is_far_does_not_pile_up_and_is_asked_of_one() {
    let mut scheduler = scheduler(0);
    scheduler.on_source_up(ms_at(0), source(1), ms(1));
    scheduler.on_zone(ms_at(0), peer(1), true);
    scheduler.on_claim(ms_at(0), release(), peer(1), ClaimState::Complete);
    for n in 0..64 {
        scheduler.on_want(ms_at(0), WantKey(n.into()), want(n, Class::Bulk));
    }
    let (asks, _) = act(&mut scheduler, ms_at(0));
    assert_eq!(asks.len(), 1, "what the way carries is not known");
    let mut now = 0;
    let mut outstanding = asks;
    for _ in 0..20 {
        // A thin link: a chunk takes six seconds, and is told of when it is asked, which may be a moment before the last is here, and on its way.
        let (ask, _, chunk) = outstanding.remove(0);
        let mut again = 0;
        for _ in 0..64 {
            now += 100;
            scheduler.on_progress(ms_at(now), ask, LEN / 64);
            let (asks, told) = act(&mut scheduler, ms_at(now));
            again += told.iter().filter(|told| **told == (chunk, true)).count();
            outstanding.extend(asks);
        }
        assert!((1..=2).contains(&again), "{again}");
        scheduler.on_arrived(ms_at(now), ask);
        scheduler.on_verified(ms_at(now), chunk_of(chunk));
        outstanding.extend(act(&mut scheduler, ms_at(now)).0);
        let chunks: BTreeSet<ChunkTag> = outstanding.iter().map(|(.., chunk)| *chunk).collect();
        assert_eq!(chunks.len(), outstanding.len(), "none is asked of two");
        assert!(outstanding.len() <= 2, "{outstanding:?}");
    }
}

fn chunk_of(tag: ChunkTag) -> ChunkId {
    let found = (0..1000).map(|n| chunk(n, LEN).id).find(|id| ChunkTag::from(*id) == tag);
    found.expect("one of ours")
}
