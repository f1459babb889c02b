//! Two paths between a reader and a server: the links are as slow as they say, and a transfer outlives the silent death of one of them.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use ares_tests::paths::{Direction, Path, Servers, TwoPaths};
use ares_tests::relay::Shape;
use ares_tests::{Daemon, compare, daemon, tree, wait};

const MS: Duration = Duration::from_millis(1);

/// Sockets of the reader and of the server at the ends of a path, connected.
fn sockets(lab: &TwoPaths, path: Path) -> [UdpSocket; 2] {
    let bound = |node: &ares_tests::Node, address| node.inside(|| UdpSocket::bind((address, 0))).expect("a free port");
    let ends = [bound(lab.reader(), path.reader()), bound(lab.server(path), path.server())];
    for (end, other) in [(0, 1), (1, 0)] {
        let address = ends[other].local_addr().expect("bound");
        ends[end].connect(address).expect("an address that is routed");
        // Longer than any delay here: what has not come by then has been lost.
        ends[end].set_read_timeout(Some(500 * MS)).expect("a timeout");
    }
    ends
}

/// The numbers that arrive until nothing does any more.
fn arrivals(socket: &UdpSocket) -> Vec<u32> {
    let mut numbers = Vec::new();
    let mut datagram = [0; 2048];
    while socket.recv(&mut datagram).is_ok() {
        numbers.push(u32::from_le_bytes([datagram[0], datagram[1], datagram[2], datagram[3]]));
    }
    numbers
}

fn send(socket: &UdpSocket, numbers: std::ops::Range<u32>, len: usize) {
    for number in numbers {
        let mut datagram = vec![0; len];
        datagram[..4].copy_from_slice(&number.to_le_bytes());
        socket.send(&datagram).expect("the device takes it");
    }
}

#[test]
fn a_link_is_as_slow_as_it_says_and_keeps_order() {
    let shape = Shape::new(50, 10 * MS);
    let Some(lab) = TwoPaths::new("relay", Servers::One, [shape, shape]) else {
        return;
    };
    let [reader, server] = sockets(&lab, Path::B);
    let began = Instant::now();
    send(&reader, 0..1, 100);
    server.recv(&mut [0; 100]).expect("it arrives");
    send(&server, 0..1, 100);
    reader.recv(&mut [0; 100]).expect("it comes back");
    assert!(began.elapsed() >= 20 * MS, "there and back took {:?}", began.elapsed());

    // 200 packets of 1,000 bytes take 32 ms at 50 Mbit/s, after the delay.
    let began = Instant::now();
    send(&server, 0..200, 972);
    let mut numbers = Vec::new();
    let mut datagram = [0; 2048];
    while numbers.len() < 200 {
        reader.recv(&mut datagram).expect("the queue takes 50 ms of packets");
        numbers.push(u32::from_le_bytes([datagram[0], datagram[1], datagram[2], datagram[3]]));
    }
    assert!(began.elapsed() >= 42 * MS, "200 packets took {:?}", began.elapsed());
    assert_eq!(numbers, (0..200).collect::<Vec<u32>>());

    // 400 are more than the queue holds: the last ones are dropped.
    send(&server, 0..400, 972);
    let numbers = arrivals(&reader);
    assert!((200..400).contains(&numbers.len()), "{} arrived", numbers.len());
    assert!(lab.tallies(Path::B)[0].overflowed > 0);
    let other = lab.tallies(Path::A)[0].packets;
    assert!(
        other < 10,
        "{other} packets took the other path, on which the kernel alone has a word to say"
    );
}

#[test]
fn a_cut_is_silent_in_its_direction_alone_and_ends() {
    let shape = Shape::new(50, MS);
    let Some(lab) = TwoPaths::new("relay-cut", Servers::Two, [shape, shape]) else {
        return;
    };
    let [reader, server] = sockets(&lab, Path::A);
    for (direction, there, back) in [
        (Direction::ToServer, false, true),
        (Direction::ToReader, true, false),
        (Direction::Both, false, false),
    ] {
        lab.cut(Path::A, direction);
        send(&reader, 0..5, 100);
        send(&server, 0..5, 100);
        let arrived = [&server, &reader].map(|socket| arrivals(socket).len());
        assert_eq!(
            arrived,
            [there, back].map(|through| if through { 5 } else { 0 }),
            "{direction:?}"
        );
        lab.heal(Path::A);
    }
    send(&reader, 5..9, 100);
    assert_eq!(arrivals(&server), [5, 6, 7, 8]);
}

#[test]
fn a_transfer_goes_on_over_the_other_path_after_a_silent_cut() {
    let shape = Shape::new(200, 5 * MS);
    let Some(lab) = TwoPaths::new("failover", Servers::One, [shape, shape]) else {
        return;
    };
    let (reader, publisher) = (lab.reader(), lab.server(Path::A));
    let file = publisher.dir().join("file");
    tree::big_file(&file, 96 << 20, 81);
    let other_address = format!("{}:{}", Path::B.server(), ares_tests::lab::PORT);
    let server = Daemon::serve_with(publisher, ["--listen", &other_address]);
    let link = server.publish(&file).link;
    let copy = reader.dir().join("copy");
    let running = reader.start(daemon::get(reader, &link, &copy));
    wait::until(Duration::from_secs(60), "a third of the file", || {
        let carried = [Path::A, Path::B].map(|path| lab.tallies(path)[0].bytes);
        (carried.iter().sum::<u64>() > 32 << 20).then_some(())
    });
    let carried = [Path::A, Path::B].map(|path| (lab.tallies(path)[0].bytes, path));
    let busier = carried
        .into_iter()
        .max_by_key(|(bytes, _)| *bytes)
        .map_or(Path::A, |(_, path)| path);
    let before = lab.tallies(busier.other())[0].bytes;
    lab.cut(busier, Direction::Both);
    running.wait(Duration::from_secs(60)).expect_ok();
    compare::assert_same(&file, &copy);
    let after = lab.tallies(busier.other())[0].bytes - before;
    assert!(after > 16 << 20, "only {after} bytes came over the path that was left");
}
