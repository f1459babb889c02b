//! One peer in virtual time, at 10.0.0.1 where it was met, and elsewhere where it says so.

use super::*;
use crate::mailbox::End;

const FIRST: u16 = 7411;
const NOW: Instant = Instant::ZERO;

fn at(port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], port))
}

fn to(remote: SocketAddr) -> Pair {
    Pair { from: None, remote }
}

/// A peer with these ports, dialed at the first one; asked enough.
fn busy(ports: &[u16]) -> Further {
    let mut further = Further::default();
    further.on_ports(NOW, at(FIRST), ports);
    further.on_asked(NOW, DEMAND_BYTES as u32);
    further
}

/// What it is worth, to a node with so many shards and paths to `used`.
fn next(further: &mut Further, now: Instant, shards: usize, turn: usize, used: &[SocketAddr]) -> Option<SocketAddr> {
    let up: Vec<Pair> = used.iter().copied().map(to).collect();
    let view = View {
        lanes: &[],
        route: &|_| None,
        shards,
        turn,
        hints: &[],
        up_count: up.len(),
        up: &up,
        opening: &[],
        healing: &[],
    };
    further.on_change(now);
    further.poll(now, &view).map(|(pair, _)| pair.remote)
}

fn open_all(further: &mut Further, shards: usize) -> Vec<SocketAddr> {
    let mut used = vec![at(FIRST)];
    while let Some(remote) = next(further, NOW, shards, 0, &used) {
        assert!(!used.contains(&remote), "{remote} twice");
        used.push(remote);
    }
    used
}

#[test]
fn over_one_way_there_are_as_many_paths_as_the_side_with_fewer_shards_has_and_no_more_than_four() {
    let many: Vec<u16> = (FIRST..FIRST + 20).collect();
    for (shards, ports, expect) in [
        (1, &many[..], 1),
        (2, &many, 2),
        (16, &many, CORES_MAX),
        (8, &many[..1], 1),
        (8, &many[..3], 3),
        (8, &[], 1),
        (8, &[1, 2, 3], 1), // the port that was dialed is none of them
    ] {
        let used = open_all(&mut busy(ports), shards);
        assert_eq!(used.len(), expect, "{shards} shards, {} ports", ports.len());
    }
}

#[test]
fn over_two_ways_there_are_twice_as_many_and_no_more_than_six() {
    let many: Vec<u16> = (FIRST..FIRST + 20).collect();
    let elsewhere: IpAddr = [10, 0, 9, 1].into();
    for (shards, ports, expect) in [
        (1, &many[..], [1, 1]),
        (2, &many, [2, 2]),
        (16, &many, [3, 3]),
        (8, &many[..1], [1, 1]),
    ] {
        let mut further = busy(ports);
        let there = |ip| Address {
            ip,
            ports: ports[..ports.len().min(ADDR_PORTS_MAX)].to_vec(),
        };
        further.on_addresses(NOW, at(FIRST).ip(), vec![there(at(FIRST).ip()), there(elsewhere)]);
        let used = open_all(&mut further, shards);
        let count = |ip: IpAddr| used.iter().filter(|remote| remote.ip() == ip).count();
        assert_eq!([count(at(1).ip()), count(elsewhere)], expect, "{shards} shards");
    }
}

#[test]
fn only_much_bulk_at_once_is_worth_a_core() {
    let check = |bytes: u32, every: Duration, expect: Option<SocketAddr>| {
        let mut further = Further::default();
        further.on_ports(NOW, at(FIRST), &[FIRST, 2]);
        let mut now = NOW;
        let found = (0..100).find_map(|_| {
            further.on_asked(now, bytes);
            now = now + every;
            next(&mut further, now, 2, 0, &[at(FIRST)])
        });
        assert_eq!(found, expect, "{bytes} bytes every {every:?}");
    };
    check(1 << 20, Duration::from_millis(5), Some(at(2)));
    check(1 << 20, Duration::from_millis(50), None);
    check(100, Duration::from_micros(1), None);
    let mut further = busy(&[FIRST, 2]);
    let found = next(&mut further, NOW + DEMAND_TIME, 2, 0, &[at(FIRST)]);
    assert_eq!(found, None, "it is idle again");
}

#[test]
fn readers_begin_with_different_ports() {
    let first_of = |turn| next(&mut busy(&[FIRST, 2, 3, 4]), NOW, 2, turn, &[at(FIRST)]);
    assert_eq!([0, 1, 2, 3, 255].map(first_of), [2, 2, 3, 4, 4].map(|port| Some(at(port))));
}

#[test]
fn nothing_is_looked_for_until_something_changes() {
    let mut further = busy(&[FIRST]);
    assert_eq!(next(&mut further, NOW, 2, 0, &[at(FIRST)]), None);
    assert_eq!(further.deadline(), None);
    let end = End::Because("closed".to_owned());
    further.troubles.on_failed(NOW, &to(at(2)), NOW, Purpose::Port, &end);
    assert_eq!(next(&mut further, NOW, 2, 0, &[at(FIRST)]), None);
    assert_eq!(
        further.deadline(),
        further.troubles.deadline(NOW),
        "until it may be tried again"
    );
    further.on_asked(NOW + DEMAND_TIME, DEMAND_BYTES as u32);
    assert_eq!(further.deadline(), Some(NOW + DEMAND_TIME), "demand is news");
    further.poll(NOW + DEMAND_TIME, &nobody());
    further.on_asked(NOW + DEMAND_TIME, 1);
    assert_ne!(further.deadline(), Some(NOW + DEMAND_TIME), "demand that goes on is not");
}

/// A view in which there is nothing to open.
fn nobody() -> View<'static> {
    View {
        lanes: &[],
        route: &|_| None,
        shards: 1,
        turn: 0,
        hints: &[],
        up_count: PATHS_MAX,
        up: &[],
        opening: &[],
        healing: &[],
    }
}

#[test]
fn loopback_and_the_rest_are_spoken_of_apart() {
    let address = |ip: [u8; 4]| Address {
        ip: ip.into(),
        ports: vec![1],
    };
    let mut further = Further::default();
    further.on_addresses(
        NOW,
        [10, 0, 0, 1].into(),
        vec![address([10, 0, 0, 1]), address([127, 0, 0, 1])],
    );
    further.on_addresses(
        NOW,
        [127, 0, 0, 1].into(),
        vec![address([127, 0, 0, 2]), address([10, 9, 9, 9])],
    );
    let known: Vec<IpAddr> = further.known(&[]).into_iter().map(|address| address.ip).collect();
    assert_eq!(known, [IpAddr::from([10, 0, 0, 1]), [127, 0, 0, 2].into()]);
    assert!(further.withdrawn.is_empty());
    further.on_addresses(NOW, [10, 0, 0, 1].into(), Vec::new());
    assert!(further.is_withdrawn([10, 0, 0, 1].into()));
    assert!(!further.is_withdrawn([127, 0, 0, 2].into()));
    // A link that names it does not make it true.
    assert_eq!(further.known(&[([10, 0, 0, 1], 1).into()]).len(), 1);
}
