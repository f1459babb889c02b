//! Machines as a few words: lanes `eth0=10.0.1.5/24`, a `-` before one that is down; pairs `eth0>10.0.1.2:1`, `*` for the kernel's choice.

use super::*;

fn lane(text: &str) -> Lane {
    let (text, is_up) = match text.strip_prefix('-') {
        Some(down) => (down, false),
        None => (text, true),
    };
    let (name, address) = text.split_once('=').expect("name=ip/bits");
    let (ip, bits) = address.split_once('/').expect("ip/bits");
    Lane {
        interface: name.bytes().map(u32::from).sum(),
        name: name.to_owned(),
        ip: ip.parse().expect("an address"),
        prefix_bits: bits.parse().expect("a number"),
        is_up,
    }
}

fn lanes(text: &str) -> Vec<Lane> {
    text.split_whitespace().map(lane).collect()
}

/// Each with three shards.
fn addresses(text: &str) -> Vec<Address> {
    let at = |ip: &str| Address {
        ip: ip.parse().expect("an address"),
        ports: vec![1, 2, 3],
    };
    text.split_whitespace().map(at).collect()
}

fn pairs(text: &str, lanes: &[Lane]) -> Vec<Pair> {
    let pair = |text: &str| {
        let (from, remote) = text.split_once('>').expect("lane>remote");
        Pair {
            from: lanes.iter().find(|lane| lane.name == from).cloned(),
            remote: remote.parse().expect("ip:port"),
        }
    };
    text.split_whitespace().map(pair).collect()
}

fn show(pairs: &[Pair]) -> String {
    let one = |pair: &Pair| {
        let from = pair.from.as_ref().map_or("*", |lane| &lane.name);
        format!("{from}>{}", pair.remote)
    };
    pairs.iter().map(one).collect::<Vec<_>>().join(" ")
}

/// The kernel sends from the first lane of the family that has the address in its subnet, else from the first one at all.
fn route(lanes: &[Lane]) -> impl Fn(IpAddr) -> Option<IpAddr> {
    move |to| {
        let near = lanes.iter().find(|lane| lane.is_near(to));
        let any = lanes.iter().find(|lane| lane.ip.is_ipv4() == to.is_ipv4());
        near.or(any).map(|lane| lane.ip)
    }
}

const NEAR: &str = "eth0=10.0.1.5/24 eth1=10.0.2.5/24";

#[test]
fn other_ways_come_in_this_order() {
    let check = |own: &str, peer: &str, used: &str, expect: &str| {
        let (lanes, addresses) = (lanes(own), addresses(peer));
        let route = route(&lanes);
        let ends = Ends {
            lanes: &lanes,
            addresses: &addresses,
            route: &route,
        };
        let found = ends.others(&pairs(used, &lanes));
        assert_eq!(show(&found), expect, "{own} to {peer}, in use {used}");
    };
    // One lane and one address: there is no second way.
    check("eth0=10.0.1.5/24", "10.0.1.2", "*>10.0.1.2:1", "");
    check("eth0=10.0.1.5/24", "192.0.2.7", "eth0>192.0.2.7:3", "");
    // Two cables, each with a subnet of its own: the crossed pairs would go nowhere.
    check(NEAR, "10.0.1.2 10.0.2.2", "", "eth0>10.0.1.2:1 eth1>10.0.2.2:1");
    check(NEAR, "10.0.1.2 10.0.2.2", "*>10.0.1.2:1", "eth1>10.0.2.2:1");
    check(NEAR, "10.0.1.2 10.0.2.2", "*>10.0.2.2:2", "eth0>10.0.1.2:1");
    check(NEAR, "10.0.1.2 10.0.2.2", "*>10.0.1.2:1 eth1>10.0.2.2:1", "");
    // Two lanes and one address far away, or two addresses and one lane.
    check(NEAR, "192.0.2.7", "*>192.0.2.7:1", "eth1>192.0.2.7:1");
    check("eth0=10.0.1.5/24", "10.0.1.2 10.0.1.3", "*>10.0.1.2:1", "eth0>10.0.1.3:1");
    // What shares nothing with the path in use comes before what is near.
    check(
        NEAR,
        "10.0.1.2 10.0.1.3 192.0.2.7",
        "*>10.0.1.2:1",
        "eth1>192.0.2.7:1 eth0>10.0.1.3:1 eth0>192.0.2.7:1",
    );
    // Nothing is in use: near first, then as the kernel would choose.
    check(
        NEAR,
        "192.0.2.7 10.0.2.2",
        "",
        "eth1>10.0.2.2:1 eth0>192.0.2.7:1 eth1>192.0.2.7:1",
    );
    // Families do not mix, and each is a way of its own.
    let dual = "eth0=10.0.1.5/24 eth0=fd00::5/64";
    check(dual, "10.0.1.2 fd00::2", "eth0>10.0.1.2:1", "eth0>[fd00::2]:1");
    // A lane that is down is no way, and its subnet is still not the others'.
    check("eth0=10.0.1.5/24 -eth1=10.0.2.5/24", "10.0.1.2 10.0.2.2", "*>10.0.1.2:1", "");
    // Nobody is reached from or at these.
    check("lo=127.0.0.1/8 eth0=10.0.1.5/24", "127.0.0.1", "", "");
    check("eth0=fe80::5/64", "fe80::2 fd00::2", "", "");
    // The peer is on this machine, or has an address that is also ours, as that of a bridge for containers.
    check("eth0=10.0.1.5/24 br=172.17.0.1/16", "172.17.0.1", "*>10.0.1.5:1", "");
    // Lanes are not known: the kernel chooses them, and only addresses differ.
    check("", "10.0.1.2 10.0.2.2 fd00::2", "*>10.0.1.2:1", "*>10.0.2.2:1 *>[fd00::2]:1");
    check("", "10.0.1.2", "*>10.0.1.2:1", "");
}

#[test]
fn more_paths_over_ways_in_use_go_where_there_are_fewest() {
    let check = |own: &str, peer: &str, used: &str, turn: usize, expect: &str| {
        let (lanes, addresses) = (lanes(own), addresses(peer));
        let route = route(&lanes);
        let ends = Ends {
            lanes: &lanes,
            addresses: &addresses,
            route: &route,
        };
        let found = ends.more_ports(&pairs(used, &lanes), turn);
        assert_eq!(show(&found), expect, "{own} to {peer}, in use {used}");
    };
    check("", "10.0.1.2", "*>10.0.1.2:1", 0, "*>10.0.1.2:2 *>10.0.1.2:3");
    check("", "10.0.1.2", "*>10.0.1.2:1", 2, "*>10.0.1.2:3 *>10.0.1.2:2");
    check("", "10.0.1.2", "*>10.0.1.2:1 *>10.0.1.2:3", 0, "*>10.0.1.2:2");
    check("", "10.0.1.2", "*>10.0.1.2:1 *>10.0.1.2:2 *>10.0.1.2:3", 0, "");
    // Its ports are not known there, or others than the one it was reached at.
    check("", "10.0.1.2", "*>10.0.9.9:1", 0, "");
    check("", "10.0.1.2", "*>10.0.1.2:9", 0, "");
    // The first path and those held to the same lane are of one way.
    let both = "10.0.1.2 10.0.2.2";
    check(
        NEAR,
        both,
        "*>10.0.1.2:1 eth0>10.0.1.2:2 eth1>10.0.2.2:1",
        0,
        "eth1>10.0.2.2:2 eth1>10.0.2.2:3 *>10.0.1.2:3",
    );
    // Two lanes to one address: the same port is another path on each.
    check(
        NEAR,
        "192.0.2.7",
        "*>192.0.2.7:1 eth1>192.0.2.7:1",
        0,
        "*>192.0.2.7:2 *>192.0.2.7:3 eth1>192.0.2.7:2 eth1>192.0.2.7:3",
    );
}

#[test]
fn ways_are_told_apart_by_lane_and_address() {
    let lanes = lanes(NEAR);
    let route = route(&lanes);
    let ends = Ends {
        lanes: &lanes,
        addresses: &[],
        route: &route,
    };
    let check = |pair: &str, used: &str, is_used: bool, is_apart: bool| {
        let (pair, used) = (&pairs(pair, &lanes)[0], pairs(used, &lanes));
        assert_eq!(ends.is_way_used(pair, &used), is_used, "{pair:?}");
        assert_eq!(ends.is_apart(pair, &used), is_apart, "{pair:?}");
    };
    check("eth0>10.0.1.2:1", "*>10.0.1.2:2", true, false);
    check("eth0>10.0.1.2:1", "eth0>10.0.1.3:1", false, false);
    check("eth0>192.0.2.7:1", "eth1>192.0.2.7:1", false, false);
    check("eth0>10.0.1.2:1", "eth1>10.0.2.2:1", false, true);
    let used = pairs("*>10.0.1.2:1 eth0>10.0.1.2:2 eth1>10.0.2.2:1", &lanes);
    assert_eq!(ends.ways_count(&used), 2);
    assert_eq!(
        ends.settle(pairs("*>10.0.2.2:1", &lanes)[0].clone()).from.as_ref(),
        Some(&lanes[1])
    );
    for (used, expect) in [
        ("eth0>10.0.1.2:1", true),
        ("*>10.0.1.2:1 eth0>10.0.1.2:2 eth0>10.0.1.3:1", true),
        ("*>192.0.2.7:1 eth1>192.0.2.7:1", true),
        ("*>10.0.1.2:1 eth0>10.0.1.2:2 eth1>10.0.2.2:1", false),
    ] {
        assert_eq!(ends.are_kin(&pairs(used, &lanes)), expect, "{used}");
    }
}

#[test]
fn a_pair_is_open_as_long_as_its_lane_is_up() {
    let known = lanes(NEAR);
    let pair = &pairs("eth1>10.0.2.2:1", &known)[0];
    for (now, expect) in [
        (NEAR, true),
        ("eth0=10.0.1.5/24 -eth1=10.0.2.5/24", false),
        ("eth0=10.0.1.5/24", false),
        ("eth0=10.0.1.5/24 eth1=10.0.2.6/24", false),
    ] {
        let lanes = lanes(now);
        let ends = Ends {
            lanes: &lanes,
            addresses: &[],
            route: &|_| None,
        };
        assert_eq!(ends.is_open(pair), expect, "{now}");
    }
}

#[test]
fn however_much_there_is_few_ways_are_named() {
    let lane = |n: usize| lane(&format!("eth{n}=10.1.{n}.5/24"));
    let lanes: Vec<Lane> = (0..100).map(lane).collect();
    let addresses: Vec<Address> = (0..100_u8)
        .map(|n| Address {
            ip: [192, 0, 2, n].into(),
            ports: vec![1],
        })
        .collect();
    let ends = Ends {
        lanes: &lanes,
        addresses: &addresses,
        route: &|_| None,
    };
    assert_eq!(ends.others(&[]).len(), OTHERS_MAX);
}
