//! Peers in virtual time: what is dialed when, and what is given up.

use super::*;

const PEER: PeerId = PeerId::from_bytes([7; 32]);
const TIMEOUT: Duration = Duration::from_secs(5);

/// As by the routing table of a machine with a cable on each of 10.0.1.0/24 and 10.0.2.0/24, the first one with a way to everywhere.
fn route(to: IpAddr) -> Option<IpAddr> {
    Some(match to {
        IpAddr::V4(ip) if ip.octets()[..3] == [10, 0, 2] => [10, 0, 2, 5].into(),
        _ => [10, 0, 1, 5].into(),
    })
}

fn addr(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn dialer(addrs: &[SocketAddr]) -> Dialer {
    let mut dialer = Dialer::new(PeerId::from_bytes([1; 32]), 4, TIMEOUT, route);
    dialer.on_hint(Instant::ZERO, PEER, addrs, |_| true);
    dialer
}

fn first(remote: SocketAddr) -> Option<Action> {
    Some(Action::Dial {
        peer: PEER,
        pair: chosen_by_kernel(remote),
        purpose: Purpose::First,
    })
}

fn start(d: &mut Dialer, now: Instant, remote: SocketAddr, path: PathId) {
    d.on_started(now, PEER, path, chosen_by_kernel(remote), Purpose::First);
}

fn no_answer(path: PathId) -> Option<Action> {
    let why = Lapse::NoAnswer { after: TIMEOUT };
    Some(Action::GiveUp { path, why })
}

fn because(why: &str) -> End {
    End::Because(why.to_owned())
}

#[test]
fn a_round_is_in_vain_when_its_last_address_has_failed_unless_the_peer_was_met() {
    let check = |ends: [End; 2], expect: Round| {
        let mut d = dialer(&[addr(1), addr(2)]);
        for (path, remote) in [(1, addr(1)), (2, addr(2))] {
            let now = Instant::ZERO + STAGGER * path as u32;
            assert_eq!(d.poll(now, |_| true), first(remote));
            start(&mut d, now, remote, PathId(path));
        }
        let now = Instant::ZERO + TIMEOUT;
        assert_eq!(
            d.on_down(now, PEER, PathId(1), &ends[0]),
            Round::Open,
            "the second is awaited"
        );
        assert_eq!(d.on_down(now, PEER, PathId(2), &ends[1]), expect, "{ends:?}");
    };
    check([because("no answer"), because("another key")], Round::InVain);
    check([End::Crowded, because("no answer")], Round::Open);
    check([because("no answer"), End::Crowded], Round::Open);
}

#[test]
fn second_address_waits_for_its_turn_or_for_the_first_to_fail() {
    for fail_first in [false, true] {
        let mut d = dialer(&[addr(1), addr(2)]);
        assert_eq!(d.poll(Instant::ZERO, |_| true), first(addr(1)));
        start(&mut d, Instant::ZERO, addr(1), PathId(1));
        assert_eq!(d.poll(Instant::ZERO, |_| true), None);
        let at = if fail_first {
            d.on_down(Instant::ZERO, PEER, PathId(1), &because("refused"));
            Instant::ZERO
        } else {
            assert_eq!(d.deadline(|_| true), Some(Instant::ZERO + STAGGER));
            Instant::ZERO + STAGGER
        };
        assert_eq!(d.poll(at, |_| true), first(addr(2)), "fail_first {fail_first}");
    }
}

#[test]
fn a_silent_address_is_given_up_and_tried_again_only_while_wanted() {
    let mut d = dialer(&[addr(1)]);
    let _ = d.poll(Instant::ZERO, |_| true);
    start(&mut d, Instant::ZERO, addr(1), PathId(1));
    let late = Instant::ZERO + TIMEOUT;
    assert_eq!(d.poll(late, |_| true), no_answer(PathId(1)));
    assert_eq!(d.on_down(late, PEER, PathId(1), &because("no answer")), Round::InVain);
    assert_eq!(
        d.explain([PEER]).as_deref(),
        Some("peer 0707070707 at 127.0.0.1:1: no answer")
    );
    let later = late + PAUSE_MAX;
    assert_eq!(d.poll(later, |_| false), None);
    assert_eq!(d.deadline(|_| false), None);
    assert_eq!(d.poll(later, |_| true), first(addr(1)));
}

#[test]
fn who_has_no_path_is_away_with_what_became_of_dialing_it() {
    let mut d = dialer(&[addr(1), addr(2)]);
    let _ = d.poll(Instant::ZERO, |_| true);
    start(&mut d, Instant::ZERO, addr(1), PathId(1));
    d.on_down(Instant::ZERO, PEER, PathId(1), &because("no answer"));
    let away = AwayStatus {
        peer: PEER.to_string(),
        addrs: vec![addr(1), addr(2)],
        failures: vec![DialFailure {
            addr: addr(1),
            why: "no answer".to_owned(),
        }],
    };
    assert_eq!(d.away(|_| false), [away]);
    assert_eq!(d.away(|peer| *peer == PEER), [], "it was dropped");
    let _ = d.poll(Instant::ZERO, |_| true);
    start(&mut d, Instant::ZERO, addr(2), PathId(2));
    d.on_up(Instant::ZERO, PEER, PathId(2));
    assert_eq!(d.away(|_| false), [], "it is there");
}

#[test]
fn a_path_that_is_up_ends_the_other_attempts() {
    let mut d = dialer(&[addr(1), addr(2)]);
    for path in [1, 2] {
        let now = Instant::ZERO + STAGGER * path as u32;
        let Some(Action::Dial { pair, purpose, .. }) = d.poll(now, |_| true) else {
            panic!("no dial {path}")
        };
        d.on_started(now, PEER, PathId(path), pair, purpose);
    }
    assert_eq!(d.on_up(Instant::ZERO, PEER, PathId(2)), [PathId(1)]);
    assert_eq!(d.poll(Instant::ZERO + TIMEOUT, |_| true), None);
}

#[test]
fn a_peer_that_lets_us_in_only_to_close_is_not_stormed() {
    let mut d = dialer(&[addr(1)]);
    let mut now = Instant::ZERO;
    let mut pauses = Vec::new();
    for path in 1..5 {
        let at = d.deadline(|_| true).expect("it is wanted");
        pauses.push(at.since(now));
        now = at;
        assert_eq!(d.poll(now, |_| true), first(addr(1)));
        start(&mut d, now, addr(1), PathId(path));
        assert_eq!(d.on_up(now, PEER, PathId(path)), []);
        assert_eq!(
            d.on_down(now, PEER, PathId(path), &because("go away")),
            Round::Open,
            "it was met"
        );
        assert_eq!(d.deadline(|_| false), None, "nobody wants anything of it");
    }
    assert_eq!(pauses, [0, 0, 250, 500].map(Duration::from_millis));
    assert_eq!(d.explain([PEER]).as_deref(), Some("peer 0707070707 at 127.0.0.1:1: go away"));
}

/// A dialer whose first path to a peer with three shards is up, and the peer is asked much.
fn asked_much() -> Dialer {
    let mut d = dialer(&[addr(1)]);
    let _ = d.poll(Instant::ZERO, |_| true);
    start(&mut d, Instant::ZERO, addr(1), PathId(1));
    assert_eq!(d.on_up(Instant::ZERO, PEER, PathId(1)), []);
    d.on_ports(Instant::ZERO, PEER, PathId(1), &[1, 2, 3]);
    d.on_asked(Instant::ZERO, &PEER, u32::MAX);
    d
}

/// Dials whatever is to be dialed, over paths from `path` on. Where it went.
fn dial_all(d: &mut Dialer, now: Instant, path: u64) -> Vec<u16> {
    let mut ports = Vec::new();
    while let Some(Action::Dial { pair, purpose, .. }) = d.poll(now, |_| true) {
        ports.push(pair.remote.port());
        d.on_started(now, PEER, PathId(path + ports.len() as u64 - 1), pair, purpose);
    }
    ports
}

#[test]
fn a_peer_that_is_asked_much_gets_further_paths_and_keeps_them_all() {
    let mut d = asked_much();
    assert_eq!(d.poll(Instant::ZERO, |_| false), None, "nobody waits for anything of it");
    assert_eq!(dial_all(&mut d, Instant::ZERO, 2), [2, 3]);
    assert_eq!(
        d.on_up(Instant::ZERO, PEER, PathId(2)),
        [],
        "the other attempt is no less needed"
    );
    assert_eq!(d.on_up(Instant::ZERO, PEER, PathId(3)), []);
    assert_eq!(dial_all(&mut d, Instant::ZERO, 4), [], "one for each port");
}

#[test]
fn a_further_path_that_fails_is_nobodys_trouble_while_another_lives() {
    let mut d = asked_much();
    assert_eq!(dial_all(&mut d, Instant::ZERO, 2), [2, 3]);
    assert_eq!(d.explain([PEER]), None);
    let late = Instant::ZERO + TIMEOUT;
    assert_eq!(d.deadline(|_| true), Some(late));
    for path in [PathId(2), PathId(3)] {
        assert_eq!(d.poll(late, |_| true), no_answer(path));
        assert_eq!(d.on_down(late, PEER, path, &because("no answer")), Round::Open);
    }
    d.on_asked(late, &PEER, u32::MAX);
    assert_eq!(dial_all(&mut d, late, 4), [], "not at once again");
    assert_eq!(d.explain([PEER]), None);
    let later = late + Duration::from_secs(10);
    d.on_asked(later, &PEER, u32::MAX);
    assert_eq!(dial_all(&mut d, later, 4), [2, 3]);
}

#[test]
fn a_peer_is_lost_with_its_last_path_whichever_that_is() {
    let mut d = asked_much();
    assert_eq!(dial_all(&mut d, Instant::ZERO, 2), [2, 3]);
    d.on_up(Instant::ZERO, PEER, PathId(2));
    assert_eq!(d.on_down(Instant::ZERO, PEER, PathId(1), &because("cut")), Round::Open);
    assert_eq!(dial_all(&mut d, Instant::ZERO, 4), [], "it is still there");
    assert_eq!(d.explain([PEER]), None);
    assert_eq!(d.on_down(Instant::ZERO, PEER, PathId(2), &because("cut")), Round::Open);
    assert_eq!(
        dial_all(&mut d, Instant::ZERO, 4),
        [1],
        "it is looked for where the link says"
    );
    // The attempt at its third port counts in that round now, and its ports may be others by the time it is back.
    assert_eq!(d.on_down(Instant::ZERO, PEER, PathId(4), &because("nobody")), Round::Open);
    assert_eq!(d.on_down(Instant::ZERO, PEER, PathId(3), &because("nobody")), Round::InVain);
    let explained = d.explain([PEER]).expect("it failed");
    assert!(explained.contains("127.0.0.1:1: nobody"), "{explained}");
}

#[test]
fn a_peer_that_came_by_itself_opens_what_it_wants() {
    let mut d = dialer(&[addr(1)]);
    d.on_up(Instant::ZERO, PEER, PathId(1));
    d.on_ports(Instant::ZERO, PEER, PathId(1), &[1, 2, 3]);
    d.on_asked(Instant::ZERO, &PEER, u32::MAX);
    assert_eq!(dial_all(&mut d, Instant::ZERO, 2), []);
}

fn lane(interface: u32, ip: [u8; 4], is_up: bool) -> Lane {
    Lane {
        interface,
        name: format!("eth{interface}"),
        ip: ip.into(),
        prefix_bits: 24,
        is_up,
    }
}

fn lanes(second_is_up: bool) -> Vec<Lane> {
    vec![lane(1, [10, 0, 1, 5], true), lane(2, [10, 0, 2, 5], second_is_up)]
}

fn at(net: u8) -> SocketAddr {
    ([10, 0, net, 2], 7411).into()
}

/// The peer's addresses, one on each cable.
fn both() -> Vec<Address> {
    let ports = vec![7411, 2];
    [1, 2]
        .map(|net| Address {
            ip: at(net).ip(),
            ports: ports.clone(),
        })
        .to_vec()
}

fn at_ms(ms: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(ms)
}

/// What is dialed at that moment: the interface it is held to (0: the kernel's choice), and where to.
fn dials(d: &mut Dialer, now: Instant, path: u64) -> Vec<(u32, SocketAddr)> {
    let mut found = Vec::new();
    while let Some(Action::Dial { pair, purpose, .. }) = d.poll(now, |_| true) {
        found.push((pair.from.as_ref().map_or(0, |lane| lane.interface), pair.remote));
        d.on_started(now, PEER, PathId(path + found.len() as u64 - 1), pair, purpose);
    }
    found
}

/// Two cables; the link names the peer's address on the first. Path 1 is up there, at the start of time.
fn on_two_cables() -> Dialer {
    let mut d = Dialer::new(PeerId::from_bytes([1; 32]), 4, TIMEOUT, route);
    d.on_lanes(Instant::ZERO, &lanes(true));
    d.on_hint(Instant::ZERO, PEER, &[at(1)], |_| true);
    assert_eq!(dials(&mut d, Instant::ZERO, 1), [(0, at(1))]);
    d.on_up(Instant::ZERO, PEER, PathId(1));
    d.on_ports(Instant::ZERO, PEER, PathId(1), &[7411, 2]);
    d
}

/// Both cables are in use, by paths 1 and 2.
fn on_both_ways() -> Dialer {
    let mut d = on_two_cables();
    d.on_addresses(Instant::ZERO, PEER, at(1).ip(), both());
    assert_eq!(dials(&mut d, Instant::ZERO, 2), [(2, at(2))]);
    d.on_up(Instant::ZERO, PEER, PathId(2));
    assert_eq!(dials(&mut d, Instant::ZERO, 3), [], "two ways are enough");
    d
}

#[test]
fn a_second_way_is_opened_without_demand_once_it_is_known_and_something_is_wanted() {
    let mut d = on_two_cables();
    assert_eq!(dials(&mut d, Instant::ZERO, 2), [], "only one address is known");
    d.on_addresses(Instant::ZERO, PEER, at(1).ip(), both());
    assert_eq!(d.poll(Instant::ZERO, |_| false), None, "nobody wants anything of it");
    assert_eq!(d.deadline(|_| false), None);
    assert_eq!(dials(&mut d, Instant::ZERO, 2), [(2, at(2))]);
    d.on_up(Instant::ZERO, PEER, PathId(2));
    assert_eq!(dials(&mut d, at_ms(100_000), 3), []);
    // Addresses of the link serve as well.
    let mut d = on_two_cables();
    d.on_hint(Instant::ZERO, PEER, &[at(2)], |_| true);
    assert_eq!(dials(&mut d, Instant::ZERO, 2), [(2, at(2))]);
}

#[test]
fn with_demand_both_ways_get_their_share_of_paths() {
    let mut d = on_both_ways();
    d.on_asked(Instant::ZERO, &PEER, u32::MAX);
    let second_port = |net| SocketAddr::new(at(net).ip(), 2);
    assert_eq!(dials(&mut d, Instant::ZERO, 3), [(1, second_port(1)), (2, second_port(2))]);
}

#[test]
fn a_lost_path_is_dialed_at_once_and_every_second_while_another_lives() {
    for (lost, way) in [(1, (1, at(1))), (2, (2, at(2)))] {
        let mut d = on_both_ways();
        let cut = at_ms(3000);
        assert_eq!(d.on_down(cut, PEER, PathId(lost), &because("cut")), Round::Open);
        let mut now = cut;
        for path in 3..13 {
            assert_eq!(dials(&mut d, now, path), [way], "try {path}");
            now = d.deadline(|_| true).expect("it is given up in time");
            let Some(Action::GiveUp { path, why }) = d.poll(now, |_| true) else {
                panic!("the try goes on at {now:?}")
            };
            assert_eq!(why, Lapse::NoAnswer { after: HEAL_EVERY });
            assert_eq!(d.on_down(now, PEER, path, &because("no answer")), Round::Open);
        }
        assert_eq!(now, at_ms(13_000));
        assert_eq!(d.explain([PEER]), None, "it is nobody's trouble");
        assert_eq!(dials(&mut d, now, 13), [way]);
        d.on_up(now, PEER, PathId(13));
        assert_eq!(dials(&mut d, at_ms(100_000), 14), [], "it is healed");
    }
}

#[test]
fn a_second_way_that_does_not_work_is_tried_with_growing_pauses() {
    let mut d = on_two_cables();
    d.on_addresses(Instant::ZERO, PEER, at(1).ip(), both());
    let mut now = Instant::ZERO;
    let mut pauses = Vec::new();
    for path in 2..10 {
        assert_eq!(dials(&mut d, now, path), [(2, at(2))]);
        assert_eq!(d.on_down(now, PEER, PathId(path), &because("refused")), Round::Open);
        assert_eq!(d.poll(now, |_| true), None);
        let again = d.deadline(|_| true).expect("it is tried again");
        pauses.push(again.since(now).as_secs());
        now = again;
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
}

#[test]
fn a_path_that_is_suspect_for_a_second_is_given_up_while_another_is_well() {
    let check = |well_again: Option<u64>, other_is_well: bool, expect: Option<u64>| {
        let mut d = on_both_ways();
        d.on_suspect(at_ms(5000), PEER, PathId(1));
        d.on_suspect(at_ms(5200), PEER, PathId(1));
        if !other_is_well {
            d.on_suspect(at_ms(5000), PEER, PathId(2));
        }
        let mut given_up = None;
        for ms in (5000..8000).step_by(100) {
            if well_again == Some(ms) {
                d.on_well(PEER, PathId(1));
            }
            match d.poll(at_ms(ms), |_| true) {
                Some(Action::GiveUp { path, why }) => {
                    assert_eq!((path, why), (PathId(1), Lapse::Silent));
                    d.on_down(at_ms(ms), PEER, path, &because(&why.why()));
                    given_up = Some(ms);
                    assert_eq!(dials(&mut d, at_ms(ms), 3), [(1, at(1))], "it is dialed anew at once");
                    break;
                }
                // Where none is well it is looked for: see below.
                other => assert!(other.is_none() || !other_is_well, "{other:?}"),
            }
        }
        assert_eq!(given_up, expect);
    };
    check(None, true, Some(6000));
    check(Some(5900), true, None);
    check(None, false, None);
}

#[test]
fn a_peer_whose_every_path_is_silent_is_looked_for_while_they_last() {
    let mut d = dialer(&[at(1)]);
    assert_eq!(dials(&mut d, Instant::ZERO, 1), [(0, at(1))]);
    d.on_up(Instant::ZERO, PEER, PathId(1));
    d.on_suspect(at_ms(5000), PEER, PathId(1));
    assert_eq!(dials(&mut d, at_ms(5000), 2), []);
    assert_eq!(d.deadline(|_| true), Some(at_ms(6000)));
    assert_eq!(dials(&mut d, at_ms(5999), 2), []);
    assert_eq!(
        dials(&mut d, at_ms(6000), 2),
        [(0, at(1))],
        "its address may be another machine's now, or ours"
    );
    // It answers at the second attempt.
    let late = at_ms(6000) + TIMEOUT;
    assert_eq!(
        d.poll(late, |_| true),
        Some(Action::GiveUp {
            path: PathId(2),
            why: Lapse::NoAnswer { after: TIMEOUT }
        })
    );
    assert_eq!(d.on_down(late, PEER, PathId(2), &because("no answer")), Round::InVain);
    let again = d.deadline(|_| true).expect("it is tried again");
    assert_eq!(dials(&mut d, again, 3), [(0, at(1))]);
    d.on_up(again, PEER, PathId(3));
    assert_eq!(
        d.poll(again, |_| true),
        Some(Action::GiveUp {
            path: PathId(1),
            why: Lapse::Silent
        }),
        "the old path goes"
    );
}

#[test]
fn with_a_silent_way_go_all_its_paths() {
    let mut d = on_both_ways();
    d.on_asked(Instant::ZERO, &PEER, u32::MAX);
    assert_eq!(dials(&mut d, Instant::ZERO, 3).len(), 2);
    for path in [3, 4] {
        d.on_up(Instant::ZERO, PEER, PathId(path));
    }
    d.on_suspect(at_ms(5000), PEER, PathId(1));
    let mut gone = Vec::new();
    while let Some(Action::GiveUp { path, why }) = d.poll(at_ms(6000), |_| true) {
        assert_eq!(why, Lapse::Silent);
        d.on_down(at_ms(6000), PEER, path, &because("silent"));
        gone.push(path);
    }
    assert_eq!(gone, [PathId(1), PathId(3)], "path 3 is of the same way, 2 and 4 are not");
    // The only other path that is well is of the same way: then it is that path alone which is dead.
    let mut d = on_both_ways();
    d.on_asked(Instant::ZERO, &PEER, u32::MAX);
    assert_eq!(dials(&mut d, Instant::ZERO, 3).len(), 2);
    d.on_up(Instant::ZERO, PEER, PathId(3));
    for path in [1, 2] {
        d.on_suspect(at_ms(3000), PEER, PathId(path));
    }
    let mut gone = Vec::new();
    while let Some(Action::GiveUp { path, .. }) = d.poll(at_ms(4500), |_| true) {
        d.on_down(at_ms(4500), PEER, path, &because("silent"));
        gone.push(path);
    }
    assert_eq!(gone, [PathId(1), PathId(2)]);
}

#[test]
fn a_path_to_an_address_that_the_peer_has_no_more_is_given_up_and_not_dialed_again() {
    let mut d = on_both_ways();
    let now = at_ms(5000);
    d.on_addresses(now, PEER, at(2).ip(), both()[1..].to_vec());
    let expect = Action::GiveUp {
        path: PathId(1),
        why: Lapse::Withdrawn,
    };
    assert_eq!(d.poll(now, |_| true), Some(expect));
    d.on_down(now, PEER, PathId(1), &because("gone"));
    assert_eq!(dials(&mut d, now, 3), []);
    assert_eq!(dials(&mut d, at_ms(9000), 3), []);
    d.on_addresses(at_ms(9000), PEER, at(2).ip(), both());
    assert_eq!(dials(&mut d, at_ms(9000), 3), [(1, at(1))], "it is back");
}

#[test]
fn a_lane_that_comes_up_is_used_at_once_and_one_that_is_down_is_not() {
    let mut d = on_both_ways();
    d.on_lanes(at_ms(5000), &lanes(false));
    d.on_down(at_ms(5000), PEER, PathId(2), &because("interface eth2 went down"));
    assert_eq!(dials(&mut d, at_ms(5000), 3), []);
    assert_eq!(dials(&mut d, at_ms(7300), 3), []);
    d.on_lanes(at_ms(7300), &lanes(true));
    assert_eq!(dials(&mut d, at_ms(7300), 3), [(2, at(2))]);
}

#[test]
fn a_peer_that_is_lost_is_looked_for_wherever_it_was_and_over_every_lane() {
    let mut d = on_both_ways();
    d.on_down(at_ms(5000), PEER, PathId(1), &because("cut"));
    d.on_down(at_ms(5000), PEER, PathId(2), &because("cut"));
    let mut found = Vec::new();
    for ms in (5000..7000).step_by(100) {
        let path = 3 + found.len() as u64;
        found.extend(dials(&mut d, at_ms(ms), path));
    }
    assert_eq!(found, [(0, at(1)), (0, at(2))]);
    // One address far away, and a lane that the kernel would not choose.
    let far: SocketAddr = ([192, 0, 2, 7], 7411).into();
    let mut d = Dialer::new(PeerId::from_bytes([1; 32]), 4, TIMEOUT, route);
    d.on_lanes(Instant::ZERO, &lanes(true));
    d.on_hint(Instant::ZERO, PEER, &[far], |_| true);
    assert_eq!(dials(&mut d, Instant::ZERO, 1), [(0, far)]);
    assert_eq!(dials(&mut d, Instant::ZERO + STAGGER, 2), [(2, far)]);
}

fn nth(n: usize) -> PeerId {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&n.to_be_bytes());
    PeerId::from_bytes(bytes)
}

/// Anybody on the local network can tell of peers that are none. When as many were told of as are remembered, the peer that a link named
/// then was never dialed.
#[test]
fn peers_that_are_of_no_use_make_room_for_one_that_is_wanted() {
    let mut d = Dialer::new(PeerId::from_bytes([1; 32]), 4, TIMEOUT, route);
    let now = Instant::ZERO;
    for n in 0..PEERS_MAX {
        d.on_hint(now, nth(n), &[addr(1)], |_| false);
        let Some(Action::Dial { peer, pair, purpose }) = d.poll(now, |_| false) else {
            panic!("peer {n} is not dialed")
        };
        d.on_started(now, peer, PathId(n as u64), pair, purpose);
    }
    let is_known = |d: &Dialer, peer: PeerId| d.peers.contains_key(&peer);
    d.on_hint(now, PEER, &[addr(2)], |_| false);
    assert!(!is_known(&d, PEER), "each may be there yet");
    for n in 0..PEERS_MAX {
        d.on_down(now, nth(n), PathId(n as u64), &because("nobody"));
    }
    d.on_hint(now, PEER, &[addr(2)], |_| true);
    assert!(!is_known(&d, PEER), "each is wanted");
    let wanted = |peer: &PeerId| *peer == PEER || *peer == nth(0);
    d.on_hint(now, PEER, &[addr(2)], wanted);
    assert_eq!(d.poll(now, wanted), first(addr(2)));
    assert_eq!(d.peers.len(), PEERS_MAX);
    assert!(is_known(&d, nth(0)), "it is wanted too");
}

#[test]
fn who_was_met_is_remembered_longer_than_who_was_not() {
    let mut d = dialer(&[addr(1)]);
    let now = Instant::ZERO;
    assert_eq!(d.poll(now, |_| true), first(addr(1)));
    start(&mut d, now, addr(1), PathId(0));
    d.on_up(now, PEER, PathId(0));
    let come = |d: &mut Dialer, n: usize| {
        d.on_hint(now, nth(n), &[], |_| false);
        d.peers.contains_key(&nth(n))
    };
    assert!((1..2 * PEERS_MAX).all(|n| come(&mut d, n)));
    assert!(d.peers.contains_key(&PEER), "there is a path to it");
    d.on_down(now, PEER, PathId(0), &because("cut"));
    assert!((1..2 * PEERS_MAX).all(|n| come(&mut d, n)));
    assert!(d.peers.contains_key(&PEER), "it may come back");
}
