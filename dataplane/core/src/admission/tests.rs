//! What no stranger may do to the others, whatever it opens and closes.

use super::*;
use crate::rng::Rng;

const LIMITS: AdmissionLimits = AdmissionLimits {
    connections_max: 32,
    per_net_max: 4,
    per_peer_max: 2,
    idle_min: Duration::from_secs(60),
};

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn peer(number: u8) -> PeerId {
    PeerId::from_bytes([number; 32])
}

fn at(secs: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(secs)
}

/// Lets connections in from these addresses, one each; the first that is turned away, and why.
fn fill<'a>(admission: &mut Admission, ips: impl IntoIterator<Item = &'a str>) -> Option<(usize, TurnedAway)> {
    for (index, text) in ips.into_iter().enumerate() {
        if let Err(why) = admission.check(ip(text)) {
            return Some((index, why));
        }
        admission.on_accepted(Instant::ZERO, PathId(admission.entries.len() as u64), ip(text));
    }
    None
}

#[test]
fn one_address_takes_its_share_and_no_more() {
    let four = TurnedAway::Net { max: 4 };
    let check = |ips: &[&str], expect: Option<(usize, TurnedAway)>| {
        let mut admission = Admission::new(LIMITS);
        assert_eq!(fill(&mut admission, ips.iter().copied()), expect, "{ips:?}");
    };
    check(&["10.0.0.1"; 5], Some((4, four)));
    check(
        &["10.0.0.1", "10.0.0.2", "10.0.0.1", "10.0.0.2", "10.0.0.1", "10.0.0.2"],
        None,
    );
    // All of a /64 is one customer.
    check(
        &[
            "2001:db8::1",
            "2001:db8::2",
            "2001:db8::3",
            "2001:db8::ffff:0:4",
            "2001:db8::5",
        ],
        Some((4, four)),
    );
    check(
        &[
            "2001:db8::1",
            "2001:db8:0:1::1",
            "2001:db8:0:2::1",
            "2001:db8:0:3::1",
            "2001:db8:0:4::1",
        ],
        None,
    );
    // IPv4 over an IPv6 socket is IPv4.
    check(
        &[
            "::ffff:10.0.0.1",
            "::ffff:10.0.0.2",
            "::ffff:10.0.0.3",
            "::ffff:10.0.0.4",
            "::ffff:10.0.0.5",
        ],
        None,
    );
    check(
        &[
            "::ffff:10.0.0.1",
            "10.0.0.1",
            "::ffff:10.0.0.1",
            "10.0.0.1",
            "::ffff:10.0.0.1",
        ],
        Some((4, four)),
    );
}

#[test]
fn a_key_has_its_share_and_who_is_turned_away_gives_back_what_it_held() {
    let mut admission = Admission::new(LIMITS);
    assert_eq!(fill(&mut admission, ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"]), None);
    assert_eq!(admission.unproven(), 4);
    let proven: Vec<_> = (0..3).map(|path| admission.on_proven(PathId(path), peer(1))).collect();
    assert_eq!(proven, [Ok(()), Ok(()), Err(TurnedAway::Peer { max: 2 })]);
    assert_eq!(admission.on_proven(PathId(3), peer(2)), Ok(()), "another key is not to blame");
    assert_eq!(admission.on_proven(PathId(77), peer(1)), Ok(()), "one that this side opened");
    assert_eq!(admission.unproven(), 1, "the one turned away, until it is gone");
    let gone = [0, 1, 2, 3, 77].map(|path| admission.on_gone(PathId(path)));
    assert_eq!(gone, [true, true, true, true, false], "one that this side opened");
    assert_eq!(admission.unproven(), 0);
    assert!(admission.by_net.is_empty());
    assert!(admission.by_peer.is_empty());
    assert!(admission.by_seen.is_empty());
}

#[test]
fn only_the_idle_make_room_and_only_when_it_is_short() {
    let mut admission = Admission::new(LIMITS);
    let come = |admission: &mut Admission, path: u64| {
        let from = IpAddr::from([10, 0, 0, path as u8]);
        assert_eq!(admission.check(from), Ok(()));
        admission.on_accepted(at(path), PathId(path), from);
    };
    let everyone_busy = |_| at(1000);
    let nobody_busy = |_| Instant::ZERO;
    (0..29).for_each(|path| come(&mut admission, path));
    assert_eq!(admission.make_room(at(1000), nobody_busy), None, "there is room");
    (29..32).for_each(|path| come(&mut admission, path));
    assert_eq!(admission.check(ip("10.9.9.9")), Err(TurnedAway::Full { max: 32 }));
    assert_eq!(admission.make_room(at(59), nobody_busy), None, "nobody was idle for long");
    let only_third = |path: PathId| if path == PathId(2) { at(3) } else { at(500) };
    assert_eq!(admission.make_room(at(500), only_third), Some(PathId(2)), "the only idle one");
    assert_eq!(admission.make_room(at(501), only_third), None, "it is not told to go twice");
    assert_eq!(admission.make_room(at(1000), everyone_busy), None);
    assert_eq!(admission.make_room(at(1000), everyone_busy), None);
    admission.on_gone(PathId(2));
    assert_eq!(admission.check(ip("10.9.9.9")), Ok(()));
}

/// Against counting anew from a plain list.
#[test]
fn counts_are_right_after_any_history() {
    for seed in 0..50 {
        let mut rng = Rng::new(seed);
        let mut admission = Admission::new(LIMITS);
        let mut model: Vec<(PathId, IpAddr, Option<PeerId>)> = Vec::new();
        for step in 0..400 {
            let now = at(step);
            let from = IpAddr::from([10, 0, 0, rng.below(12) as u8]);
            match rng.below(4) {
                0 | 1 => {
                    let same = model.iter().filter(|(_, ip, _)| *ip == from).count();
                    let expect = if model.len() >= 32 {
                        Err(TurnedAway::Full { max: 32 })
                    } else if same >= 4 {
                        Err(TurnedAway::Net { max: 4 })
                    } else {
                        Ok(())
                    };
                    assert_eq!(admission.check(from), expect, "seed {seed}, step {step}");
                    if expect.is_ok() {
                        admission.on_accepted(now, PathId(step), from);
                        model.push((PathId(step), from, None));
                    }
                }
                2 if !model.is_empty() => {
                    let (index, key) = (rng.below(model.len()), peer(rng.below(10) as u8));
                    let same = model.iter().filter(|(.., known)| *known == Some(key)).count();
                    let entry = &mut model[index];
                    if entry.2.is_none() {
                        let proven = admission.on_proven(entry.0, key);
                        assert_eq!(proven.is_ok(), same < 2, "seed {seed}, step {step}");
                        entry.2 = proven.is_ok().then_some(key);
                    }
                }
                3 if !model.is_empty() => {
                    let (path, ..) = model.swap_remove(rng.below(model.len()));
                    admission.on_gone(path);
                }
                _ => {}
            }
            // Whoever is told to go stays until it is gone.
            let _ = admission.make_room(now, |_| Instant::ZERO);
            let unproven = model.iter().filter(|(.., key)| key.is_none()).count();
            assert_eq!(admission.unproven(), unproven, "seed {seed}, step {step}");
            assert_eq!(admission.entries.len(), model.len(), "seed {seed}, step {step}");
        }
    }
}

#[test]
fn a_key_is_spoken_with_where_it_is_allowed_and_not_blocked_whoever_opens_the_connection() {
    let check = |named: &[u8], others: Option<Role>, block: &[u8], expect: [bool; 3]| {
        let mut admission = Admission::new(LIMITS);
        admission.set_access(Access {
            roles: named.iter().map(|key| (peer(*key), Role::Reader)).collect(),
            others,
            block: block.iter().map(|key| peer(*key)).collect(),
            ..Access::default()
        });
        let proven = [1, 2, 3].map(|key| admission.on_proven(PathId(key.into()), peer(key)));
        assert_eq!(proven.map(|proven| proven.is_ok()), expect);
        assert!(proven.iter().all(|proven| proven.is_ok() || *proven == Err(TurnedAway::Key)));
    };
    check(&[], Some(Role::Reader), &[], [true, true, true]);
    check(&[1, 2], None, &[], [true, true, false]);
    check(&[1, 2], None, &[2], [true, false, false]);
    check(&[], Some(Role::Edge), &[3], [true, true, false]);
    check(&[], None, &[], [false, false, false]);
}
