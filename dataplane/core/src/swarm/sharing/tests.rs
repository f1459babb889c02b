//! What peers are told of each other and of what they hold, and whom they go to.

use crate::chunk::ChunkId;

use super::*;

fn release() -> ReleaseId {
    ReleaseId(ChunkId::of(b"release"))
}

fn peer(n: u16) -> PeerId {
    let mut bytes = [0; 32];
    bytes[..2].copy_from_slice(&n.to_be_bytes());
    PeerId::from_bytes(bytes)
}

fn tag(n: u64) -> ChunkTag {
    ChunkTag::from_bytes(n.to_be_bytes())
}

fn at(n: u16) -> PeerAt {
    PeerAt {
        peer: peer(n),
        addrs: vec![([10, 0, 0, 1], 7411).into()],
    }
}

fn ms(ms: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(ms)
}

#[test]
fn who_has_a_part_is_told_each_chunk_once_and_at_first_that_there_will_be_some() {
    let mut sharing = Sharing::new(Zone::default());
    let said = |sharing: &mut Sharing, now| -> Vec<Vec<ChunkTag>> {
        let haves = sharing.poll_have(now, |_| true, |_, chunk| chunk == tag(9));
        haves.into_iter().map(|(_, have)| have.chunks).collect()
    };
    sharing.on_claim(ms(0), release(), peer(1), ClaimState::Complete);
    assert_eq!(said(&mut sharing, ms(0)), [[]; 0], "who has all needs nothing");
    sharing.on_claim(ms(0), release(), peer(1), ClaimState::Partial);
    assert_eq!(said(&mut sharing, ms(0)), [vec![]]);
    for n in [1, 2, 2, 9] {
        sharing.on_held(ms(10), release(), tag(n), 1);
    }
    assert_eq!(sharing.have_at, Some(ms(10) + HAVE_EVERY));
    assert_eq!(said(&mut sharing, ms(11)), [[]; 0], "more may come");
    assert_eq!(said(&mut sharing, ms(40)), [vec![tag(1), tag(2)]], "it has the third itself");
    assert_eq!((said(&mut sharing, ms(90)), sharing.have_at), (vec![], None));
    sharing.on_path_gone(ms(100), &peer(1));
    assert_eq!(
        said(&mut sharing, ms(200)),
        [vec![tag(1), tag(2)]],
        "it may have been lost with the path"
    );
    sharing.on_peer_gone(&peer(1));
    sharing.on_held(ms(300), release(), tag(3), 1);
    assert_eq!(said(&mut sharing, ms(400)), [[]; 0]);
}

#[test]
fn to_more_it_is_said_less_often() {
    for (peers, wait) in [(1, 25), (8, 25), (16, 50), (32, 100), (500, 100)] {
        let mut sharing = Sharing::new(Zone::default());
        (0..peers).for_each(|n| sharing.on_claim(ms(0), release(), peer(n), ClaimState::Partial));
        (500..520).for_each(|n| sharing.on_claim(ms(0), release(), peer(n), ClaimState::Complete));
        sharing.poll_have(ms(0), |_| true, |_, _| false);
        sharing.on_held(ms(10), release(), tag(1), 1);
        assert_eq!(sharing.have_at, Some(ms(10 + wait)), "{peers}");
    }
}

#[test]
fn what_is_gone_is_told_to_nobody_and_what_is_left_once() {
    let mut sharing = Sharing::new(Zone::default());
    let said = |sharing: &mut Sharing, now, to: u16| -> Vec<ChunkTag> {
        let haves = sharing.poll_have(now, |_| true, |_, _| false);
        haves
            .into_iter()
            .filter(|(told, _)| *told == peer(to))
            .flat_map(|(_, have)| have.chunks)
            .collect()
    };
    sharing.on_claim(ms(0), release(), peer(1), ClaimState::Partial);
    (1..5).for_each(|n| sharing.on_held(ms(0), release(), tag(n), 10));
    assert_eq!(said(&mut sharing, ms(100), 1), [1, 2, 3, 4].map(tag));
    sharing.on_lost(&[tag(1), tag(3), tag(77)]);
    assert_eq!(sharing.held(&release()), Some((2, 20)));
    sharing.on_held(ms(200), release(), tag(5), 10);
    sharing.on_claim(ms(200), release(), peer(2), ClaimState::Partial);
    assert_eq!(said(&mut sharing, ms(300), 2), [2, 4, 5].map(tag), "a newcomer");
    sharing.on_held(ms(400), release(), tag(1), 10);
    assert_eq!(
        said(&mut sharing, ms(500), 1),
        [tag(1)],
        "the fifth was told with the newcomer's"
    );
    sharing.on_lost(&[1, 2, 4, 5].map(tag));
    assert_eq!(sharing.held(&release()), None);
}

#[test]
fn much_is_said_in_pieces() {
    let mut sharing = Sharing::new(Zone::default());
    let count = 3 * HAVE_CHUNKS_MAX as u64 - 1;
    (0..count).for_each(|n| sharing.on_held(ms(0), release(), tag(n), 1));
    sharing.on_claim(ms(0), release(), peer(1), ClaimState::Partial);
    let mut said = Vec::new();
    while let Some(now) = sharing.have_at {
        for (_, have) in sharing.poll_have(now, |_| true, |_, _| false) {
            assert!(have.chunks.len() <= HAVE_CHUNKS_MAX);
            said.extend(have.chunks);
        }
    }
    assert_eq!(said, (0..count).map(tag).collect::<Vec<_>>());
}

#[test]
fn those_who_take_part_are_told_of_each_other_all_alike() {
    let mut sharing = Sharing::new(Zone::default());
    sharing.on_claim(ms(0), release(), peer(0), ClaimState::Complete);
    for n in 1..100 {
        sharing.on_claim(ms(0), release(), peer(n), ClaimState::Partial);
    }
    let mut met = BTreeSet::new();
    let mut times: BTreeMap<PeerId, usize> = BTreeMap::new();
    for round in 0..8 {
        let told = sharing.poll_peers(ms(0) + PEERS_EVERY * round);
        assert_eq!(told.len(), 99);
        let is_right = |tell: &Tell| tell.others.len() == OTHERS_MAX && !tell.others.contains(&tell.peer);
        assert!(told.iter().all(|tell| is_right(tell) && tell.gates.is_empty()));
        let others = told.iter().flat_map(|tell| &tell.others);
        others.for_each(|other| *times.entry(*other).or_default() += 1);
        let (least, most) = (times.values().min().copied(), times.values().max().copied());
        assert!(times.len() == 100 && most <= least.map(|times| times + 10), "{times:?}");
        met.extend(
            told.into_iter()
                .find(|tell| tell.peer == peer(5))
                .expect("it has a part")
                .others,
        );
        assert!(
            sharing.poll_peers(ms(0) + PEERS_EVERY * round).is_empty(),
            "not again so soon"
        );
    }
    assert!(met.len() > 60, "others each time: {}", met.len());
}

/// In a swarm that has been there for a while newcomers would be told of nobody but newcomers.
#[test]
fn newcomers_are_told_of_those_who_were_there_before() {
    let mut sharing = Sharing::new(Zone::default());
    (0..50).for_each(|n| sharing.on_claim(ms(0), release(), peer(n), ClaimState::Partial));
    (0..8).for_each(|round| drop(sharing.poll_peers(ms(0) + PEERS_EVERY * round)));
    let now = ms(1) + PEERS_EVERY * 7;
    (50..70).for_each(|n| sharing.on_claim(now, release(), peer(n), ClaimState::Partial));
    let told = sharing.poll_peers(now);
    let of_old = |others: &[PeerId]| others.iter().filter(|other| **other < peer(50)).count();
    let all: usize = told.iter().map(|tell| of_old(&tell.others)).sum();
    assert_eq!(told.len(), 20);
    assert!(all > 20 * OTHERS_MAX / 3, "{all}");
    (0..70).for_each(|n| sharing.on_peer_gone(&peer(n)));
    let swarm = &sharing.releases[&release()];
    assert!(swarm.members.is_empty() && swarm.turns.is_empty());
}

/// Where each is linked to the few that came right before it, a chunk goes through all of them to reach the last.
#[test]
fn those_who_come_one_after_the_other_are_told_of_any_of_those_before_and_get_as_many_links() {
    const COUNT: u16 = 300;
    let mut sharing = Sharing::new(Zone::default());
    let (mut distance, mut links) = (0, BTreeMap::<PeerId, usize>::new());
    for n in 0..COUNT {
        sharing.on_claim(ms(0), release(), peer(n), ClaimState::Partial);
        for tell in sharing.poll_peers(ms(0)) {
            let taken = tell.others.iter().take(LINKS);
            for other in taken.clone().chain(taken.map(|_| &tell.peer)) {
                *links.entry(*other).or_default() += 1;
            }
            let before = tell.others.iter().map(|other| (0..n).rev().position(|m| peer(m) == *other));
            distance += before.map(|before| before.expect("it was there")).sum::<usize>() / tell.others.len();
        }
    }
    // Any of those before are 75 away on average, the last sixteen eight.
    assert!(distance / usize::from(COUNT) > 40, "{distance}");
    let most = links.values().max().copied();
    assert!(most < Some(2 * 2 * LINKS), "{most:?} of {}", 2 * LINKS);
}

#[test]
fn who_comes_and_goes_is_told_no_more_often() {
    let mut sharing = Sharing::new(Zone::default());
    sharing.on_claim(ms(0), release(), peer(0), ClaimState::Complete);
    for n in 0..10 {
        sharing.on_claim(ms(n), release(), peer(1), ClaimState::Partial);
        sharing.on_peer_gone(&peer(1));
    }
    sharing.on_claim(ms(10), release(), peer(1), ClaimState::Partial);
    for round in 0..3 {
        assert_eq!(sharing.poll_peers(ms(20) + PEERS_EVERY * round).len(), 1, "round {round}");
    }
    assert_eq!(sharing.rounds.len(), 2, "one for each that takes part");
}

/// Peers that take part from two zones by turns, and what each is told first.
fn told_in_zones(count: u16) -> Vec<Tell> {
    let mut sharing = Sharing::new(Zone::of("a"));
    for n in 0..count {
        sharing.on_zone(peer(n), Zone::of(if n % 2 == 0 { "a" } else { "b" }));
        sharing.on_claim(ms(0), release(), peer(n), ClaimState::Partial);
    }
    sharing.poll_peers(ms(0))
}

#[test]
fn where_there_are_zones_each_is_told_of_its_gates_and_mostly_of_its_own() {
    let told = told_in_zones(80);
    let zone = |peer: &PeerId| peer.as_bytes()[1] % 2;
    let mut by_rank: Vec<PeerId> = (0..80).map(peer).collect();
    by_rank.sort_unstable_by_key(rank);
    for tell in &told {
        let own = by_rank.iter().filter(|other| zone(other) == zone(&tell.peer));
        let gates: Vec<PeerId> = own
            .clone()
            .filter(|other| **other != tell.peer)
            .take(GATES)
            .copied()
            .collect();
        assert_eq!(tell.gates, gates, "of its zone, and all are told of the same");
        let is_gate = own.take(GATES).any(|gate| *gate == tell.peer);
        let far = |others: &[PeerId]| others.iter().filter(|other| zone(other) != zone(&tell.peer)).count();
        assert_eq!(far(&tell.others), if is_gate { FAR_OF_GATES } else { FAR_MIN });
        assert_eq!(far(&tell.others[..LINKS]), if is_gate { FAR_OF_GATES } else { 0 });
        assert_eq!(tell.others.len(), OTHERS_MAX);
        assert!(!tell.others.contains(&tell.peer) && tell.gates.iter().all(|gate| !tell.others.contains(gate)));
    }
    let alone = &told_in_zones(2)[0];
    assert_eq!((alone.gates.len(), alone.others.len()), (0, 1));
}

#[test]
fn what_crosses_is_told_to_those_near_who_have_not_all() {
    let mut sharing = Sharing::new(Zone::of("a"));
    for (n, zone, state) in [
        (1, "a", ClaimState::Partial),
        (2, "b", ClaimState::Partial),
        (3, "a", ClaimState::Complete),
    ] {
        assert_eq!(sharing.on_zone(peer(n), Zone::of(zone)), zone == "b");
        sharing.on_claim(ms(0), release(), peer(n), state);
    }
    assert!(
        !Sharing::new(Zone::default()).on_zone(peer(1), Zone::of("")),
        "no label is one zone"
    );
    for (chunk, is_coming) in [(1, true), (2, true), (2, false)] {
        sharing.on_crossing(ms(100), release(), tag(chunk), is_coming);
    }
    let coming = Coming {
        release: release(),
        coming: vec![tag(1)],
        not_coming: vec![tag(2)],
    };
    assert!(sharing.poll_coming(ms(100)).is_empty(), "more may come");
    assert_eq!(sharing.poll_coming(ms(100) + COMING_EVERY), [(peer(1), coming)]);
    assert!(sharing.poll_coming(ms(999)).is_empty());
}

#[test]
fn a_release_that_was_whole_and_lost_something_is_told_of_from_the_start() {
    let mut sharing = Sharing::new(Zone::default());
    assert_eq!(sharing.held(&release()), None);
    (0..9).chain([3]).for_each(|n| sharing.on_held(ms(0), release(), tag(n), 5));
    assert_eq!(sharing.held(&release()), Some((9, 45)));
    sharing.on_claim(ms(0), release(), peer(1), ClaimState::Partial);
    assert_eq!(sharing.poll_have(ms(0), |_| true, |_, _| false).len(), 1);
    sharing.on_complete(&release());
    assert_eq!(sharing.held(&release()), None);
    sharing.on_held(ms(100), release(), tag(3), 1);
    let said = sharing.poll_have(ms(200), |_| true, |_, _| false);
    let chunks = vec![tag(3)];
    let release = release();
    assert_eq!(said, [(peer(1), Have { release, chunks })]);
}

#[test]
fn what_a_peer_has_told_counts_as_long_as_it_takes_part() {
    let mut sharing = Sharing::new(Zone::default());
    sharing.on_chunks_told(&release(), &peer(1), 7);
    assert_eq!(sharing.chunks_told_by(&release(), &peer(1)), 0, "it takes no part");
    sharing.on_claim(ms(0), release(), peer(1), ClaimState::Partial);
    sharing.on_chunks_told(&release(), &peer(1), 7);
    sharing.on_chunks_told(&release(), &peer(1), 2);
    assert_eq!(sharing.chunks_told_by(&release(), &peer(1)), 9);
    assert_eq!(sharing.chunks_told_by(&release(), &peer(2)), 0);
    sharing.on_peer_gone(&peer(1));
    assert_eq!(sharing.chunks_told_by(&release(), &peer(1)), 0);
}

#[test]
fn some_of_those_told_of_are_gone_to_and_another_if_one_cannot_be_reached() {
    let mut sharing = Sharing::new(Zone::default());
    sharing.on_claim(ms(0), release(), peer(3), ClaimState::Partial);
    let all = || Peers {
        release: release(),
        peers: (0..1000).map(at).collect(),
    };
    let links = sharing.on_told(ms(0), all());
    assert_eq!(links.len(), LINKS);
    assert!(!links.contains(&at(3)), "it is here already");
    assert!(sharing.on_told(ms(0), all()).is_empty());
    let [(of, others)] = &sharing.on_unreached(ms(0), &links[0].peer)[..] else {
        panic!("one release")
    };
    assert_eq!((*of, others.len()), (release(), 1));
    assert!(!links.contains(&others[0]));
    assert!(sharing.on_unreached(ms(0), &peer(5000)).is_empty());
}

/// Of a node that was told of many others, and holds so many chunks; these peers begin to say what they hold, and it has been looked at once.
fn among(peers: std::ops::Range<u16>, held: u64) -> Sharing {
    let mut sharing = Sharing::new(Zone::of("a"));
    let others = (1000..1100).map(at).collect();
    let release = release();
    sharing.on_told(ms(0), Peers { release, peers: others });
    (0..held).for_each(|n| sharing.on_held(ms(0), release, tag(n), 1));
    for n in peers.clone() {
        sharing.on_zone(peer(n), Zone::of("a"));
        sharing.on_claim(ms(0), release, peer(n), ClaimState::Partial);
    }
    sharing.poll_have(ms(0), |_| true, |_, _| false);
    tell(&mut sharing, peers, 1000);
    assert_eq!(further(&mut sharing, ms(0)), 0, "what they had before");
    sharing
}

/// These peers hold so many more.
fn tell(sharing: &mut Sharing, peers: std::ops::Range<u16>, chunks: i64) {
    peers.for_each(|n| sharing.on_chunks_told(&release(), &peer(n), chunks as usize));
}

/// To how many it goes at this moment.
fn further(sharing: &mut Sharing, now: Instant) -> usize {
    sharing.poll_lag(now, |_| true).len()
}

#[test]
fn who_is_left_behind_by_half_of_the_others_goes_to_one_more_each_second() {
    let mut sharing = among(0..9, 100);
    tell(&mut sharing, 0..9, LAG_MIN);
    assert_eq!(further(&mut sharing, ms(500)), 0, "looked at a moment ago");
    assert_eq!(further(&mut sharing, ms(1000)), 1);
    assert_eq!(further(&mut sharing, ms(1000)), 0);
    assert_eq!(further(&mut sharing, ms(2000)), 0, "it keeps up");
    tell(&mut sharing, 0..9, 1);
    assert!(sharing.poll_lag(ms(3000), |_| false).is_empty(), "all of it is here");
    assert_eq!(further(&mut sharing, ms(4000)), 1);
    // What is said to them now was here sooner than there.
    (100..200).for_each(|n| sharing.on_held(ms(4500), release(), tag(n), 1));
    sharing.poll_have(ms(4600), |_| true, |_, _| false);
    tell(&mut sharing, 0..9, 100);
    assert_eq!(further(&mut sharing, ms(5000)), 0, "as far behind as before");
}

#[test]
fn who_is_behind_few_or_by_little_or_another_zone_goes_to_no_more() {
    let is_behind = |peers: std::ops::Range<u16>, held, told| {
        let mut sharing = among(peers.clone(), held);
        tell(&mut sharing, peers, told);
        further(&mut sharing, ms(1000)) > 0
    };
    assert!(is_behind(0..8, 100, LAG_MIN));
    assert!(!is_behind(0..7, 100, LAG_MIN), "few");
    assert!(!is_behind(0..8, 100, LAG_MIN - 1), "by little");
    assert!(!is_behind(0..8, 3000, LAG_MIN), "by little of what is held");
    assert!(is_behind(0..8, 3000, 3000 / LAG_PART));
    let mut some_ahead = among(0..9, 100);
    tell(&mut some_ahead, 0..4, 1 << 40);
    assert_eq!(further(&mut some_ahead, ms(1000)), 0, "less than half, whatever they say");
    let mut far = among(0..9, 100);
    assert!((0..9).all(|n| far.on_zone(peer(n), Zone::of("b"))));
    tell(&mut far, 0..9, 500);
    assert_eq!(further(&mut far, ms(1000)), 0, "of another zone");
    let mut whole = among(0..9, 100);
    (0..9).for_each(|n| whole.on_claim(ms(0), release(), peer(n), ClaimState::Complete));
    tell(&mut whole, 0..9, 500);
    assert_eq!(further(&mut whole, ms(1000)), 0, "who has all is done");
}

#[test]
fn what_is_said_again_counts_once() {
    let mut sharing = among(0..9, 100);
    for n in 0..9 {
        sharing.on_path_gone(ms(100), &peer(n));
    }
    assert_eq!(sharing.poll_have(ms(200), |_| true, |_, _| false).len(), 9);
    tell(&mut sharing, 0..9, LAG_MIN);
    assert_eq!(further(&mut sharing, ms(1000)), 1);
    // As many are gone as come: of those that were said.
    sharing.on_lost(&(0..50).map(tag).collect::<Vec<_>>());
    (200..250).for_each(|n| sharing.on_held(ms(1000), release(), tag(n), 1));
    sharing.poll_have(ms(2000), |_| true, |_, _| false);
    tell(&mut sharing, 0..9, 50);
    assert_eq!(further(&mut sharing, ms(2000)), 0);
    tell(&mut sharing, 0..9, 1);
    assert_eq!(further(&mut sharing, ms(3000)), 1);
}

#[test]
fn who_is_named_by_a_link_is_gone_to_whether_or_not_it_can_be_reached() {
    let mut sharing = Sharing::new(Zone::default());
    sharing.on_named(&release(), &peer(0));
    let all = |count| Peers {
        release: release(),
        peers: (0..count).map(at).collect(),
    };
    let links = sharing.on_told(ms(0), all(LINKS as u16 + 1));
    let [named, spare] = [links[0].peer, peer(LINKS as u16)];
    for peer in [named, spare] {
        sharing.on_named(&release(), &peer);
        assert_eq!(sharing.on_unreached(ms(0), &peer), [], "it is nobody's word that was wrong");
    }
    let told = sharing.on_told(
        ms(0),
        Peers {
            release: release(),
            peers: vec![at(1000), at(1001)],
        },
    );
    assert_eq!(told, [at(1000)], "there is room for one more");
}
