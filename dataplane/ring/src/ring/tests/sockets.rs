//! Bursts over loopback: sizes, contents, addresses, marks, and what happens when the buffers run out.

use super::*;
use crate::COPY_OUT_MAX;

fn bind(addr: &str) -> UdpSocket {
    let options = SocketOptions {
        receive_buffer_bytes: Some(4 << 20),
        send_buffer_bytes: Some(4 << 20),
        ..SocketOptions::default()
    };
    UdpSocket::bind(addr.parse().expect("an address"), &options).expect("bind")
}

fn pattern(bytes: usize, seed: usize) -> Vec<u8> {
    (0..bytes).map(|n| ((n * 31 + seed) % 253) as u8).collect()
}

fn send(ring: &mut Ring, from: &UdpSocket, to: SocketAddr, ecn: Option<Ecn>, segment_bytes: Option<u16>, payload: Vec<u8>) {
    ring.submit(
        Op::Send {
            socket: from.into(),
            to,
            from: None,
            ecn,
            segment_bytes,
            payload,
        },
        7,
    );
}

fn received(completion: Completion) -> Datagrams {
    let Completion {
        tag: 1,
        outcome: Outcome::Received(datagrams),
        more: true,
    } = completion
    else {
        panic!("{completion:?}")
    };
    datagrams
}

/// Sends one burst and receives all of it.
fn check(addr: &str, segment_bytes: Option<u16>, bytes: usize, ecn: Option<Ecn>) {
    let (sender, receiver) = (bind(addr), bind(addr));
    let (to, remote) = (receiver.local_addr(), sender.local_addr());
    let mut ring = ring(8);
    ring.submit(
        Op::Receive {
            socket: (&receiver).into(),
        },
        1,
    );
    let payload = pattern(bytes, 1);
    send(&mut ring, &sender, to, ecn, segment_bytes, payload.clone());
    let (mut datagrams, mut sent): (Vec<BytesMut>, bool) = (Vec::new(), false);
    while !sent || datagrams.concat().len() < bytes {
        let completion = next(&mut ring);
        if let Outcome::Sent { payload: back, result } = completion.outcome {
            assert_eq!(result.expect("sent"), bytes);
            assert_eq!(back, payload);
            sent = true;
            continue;
        }
        let mut burst = received(completion);
        assert_eq!(burst.remote, remote);
        assert_eq!(burst.local_ip, Some(to.ip()));
        assert_eq!(burst.ecn, ecn);
        while let Some(datagram) = burst.take() {
            datagrams.push(datagram);
        }
    }
    assert_eq!(datagrams.concat(), payload, "{addr} {segment_bytes:?} {bytes}");
    let size = segment_bytes.map_or(bytes, usize::from);
    let expect: Vec<usize> = payload.chunks(size).map(<[u8]>::len).collect();
    assert_eq!(
        datagrams.iter().map(BytesMut::len).collect::<Vec<_>>(),
        expect,
        "{addr} {segment_bytes:?} {bytes}"
    );
}

#[test]
fn bursts_arrive_as_they_were_cut() {
    for addr in ["127.0.0.1:0", "[::1]:0"] {
        check(addr, None, 1, None);
        check(addr, None, 1452, Some(Ecn::Ect0));
        check(addr, None, 60_000, Some(Ecn::Ce));
        check(addr, Some(1452), 44 * 1452, Some(Ecn::Ect1));
        check(addr, Some(1452), 43 * 1452 + 5, None);
        check(addr, Some(1200), 1200, None);
        check(addr, Some(1200), 100, None);
        check(addr, Some(8972), 7 * 8972, Some(Ecn::Ect0));
        check(addr, Some(100), 64 * 100, None);
    }
}

#[test]
fn a_wildcard_socket_answers_from_the_address_it_was_asked_at() {
    for (wildcard, client, local) in [("0.0.0.0:0", "127.0.0.1:0", "127.0.0.5"), ("[::]:0", "[::1]:0", "::1")] {
        let (server, client) = (bind(wildcard), bind(client));
        let local: IpAddr = local.parse().expect("an address");
        let to = SocketAddr::new(local, server.local_addr().port());
        let mut ring = ring(8);
        let slot = ring.register(&server).expect("a slot");
        ring.submit(Op::Receive { socket: slot.into() }, 1);
        send(&mut ring, &client, to, None, None, b"ask".to_vec());
        let burst = loop {
            let completion = next(&mut ring);
            if completion.tag == 1 {
                break received(completion);
            }
        };
        assert_eq!(burst.local_ip, Some(local));
        ring.cancel(1);
        ring.submit(
            Op::Receive {
                socket: (&client).into(),
            },
            2,
        );
        let answer = Op::Send {
            socket: slot.into(),
            to: burst.remote,
            from: burst.local_ip.map(Origin::address),
            ecn: Some(Ecn::Ect0),
            segment_bytes: Some(3),
            payload: b"answer".to_vec(),
        };
        ring.submit(answer, 8);
        loop {
            let completion = next(&mut ring);
            if let Completion {
                tag: 2,
                outcome: Outcome::Received(burst),
                ..
            } = completion
            {
                assert_eq!(burst.remote, to, "from the address that was asked");
                break;
            }
        }
    }
}

/// What became of one datagram sent from this loopback address by the interface of this index.
fn send_by(ip: &str, interface: u32) -> Result<usize, Option<i32>> {
    let ip: IpAddr = ip.parse().expect("an address");
    let any = if ip.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let (sender, receiver) = (bind(any), bind(&SocketAddr::new(ip, 0).to_string()));
    let mut ring = ring(8);
    let interface = Some(interface);
    ring.submit(
        Op::Send {
            socket: (&sender).into(),
            to: receiver.local_addr(),
            from: Some(Origin { ip, interface }),
            ecn: None,
            segment_bytes: None,
            payload: b"x".to_vec(),
        },
        7,
    );
    let Outcome::Sent { result, .. } = next(&mut ring).outcome else {
        panic!("a send")
    };
    if result.is_ok() {
        ring.submit(
            Op::Receive {
                socket: (&receiver).into(),
            },
            1,
        );
        assert_eq!(received(next(&mut ring)).remote.ip(), ip);
    }
    result.map_err(|error| error.errno())
}

#[test]
fn a_datagram_leaves_by_the_interface_it_is_told_to() {
    let loopback = std::fs::read_to_string("/sys/class/net/lo/ifindex").expect("a machine has a loopback interface");
    let loopback = loopback.trim().parse().expect("a number");
    for ip in ["127.0.0.1", "::1"] {
        assert_eq!(send_by(ip, loopback), Ok(1), "{ip}");
        assert_eq!(send_by(ip, i32::MAX as u32), Err(Some(libc::ENODEV)), "{ip}");
    }
}

#[test]
fn buffers_that_ran_out_come_back_by_themselves() {
    let (sender, receiver) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
    let mut sending = ring(0);
    let mut receiving = ring(4);
    receiving.submit(
        Op::Receive {
            socket: (&receiver).into(),
        },
        1,
    );
    receiving.enter(Some(Duration::ZERO)).expect("enter");
    for round in 0..5 {
        // 20 bursts of separate datagrams against 4 buffers, none reaped in between.
        for n in 0..20 {
            send(&mut sending, &sender, receiver.local_addr(), None, None, pattern(6000 + n, n));
            assert!(matches!(next(&mut sending).outcome, Outcome::Sent { result: Ok(_), .. }));
        }
        for n in 0..20 {
            let burst = received(next(&mut receiving));
            assert_eq!(burst.data, pattern(6000 + n, n), "round {round} burst {n}");
        }
    }
    let stats = receiving.stats();
    assert!(stats.receives_rearmed > 0, "{stats:?}");
    assert_eq!(stats.receives_unusable, 0);
    assert!(stats.buffers_allocated < 20, "dropped bursts are reused: {stats:?}");
    assert!(stats.buffers_reclaimed > 80, "{stats:?}");
}

#[test]
fn small_bursts_never_take_a_big_buffer() {
    let (sender, receiver) = (bind("[::1]:0"), bind("[::1]:0"));
    let mut ring = ring(2);
    ring.submit(
        Op::Receive {
            socket: (&receiver).into(),
        },
        1,
    );
    let mut kept = Vec::new();
    for n in 0..50 {
        send(
            &mut ring,
            &sender,
            receiver.local_addr(),
            None,
            None,
            pattern(1 + n * COPY_OUT_MAX / 50, n),
        );
        while kept.len() <= n {
            let completion = next(&mut ring);
            if completion.tag == 1 {
                kept.push(received(completion).data);
            }
        }
    }
    for (n, data) in kept.iter().enumerate() {
        assert_eq!(*data, pattern(1 + n * COPY_OUT_MAX / 50, n));
        assert!(data.capacity() <= 2 * COPY_OUT_MAX);
    }
    assert_eq!(ring.stats().buffers_allocated, 2);
    assert_eq!(ring.stats().bursts_copied_out, 50);
}

#[test]
fn empty_datagrams_are_skipped() {
    let (sender, receiver) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
    let mut ring = ring(2);
    ring.submit(
        Op::Receive {
            socket: (&receiver).into(),
        },
        1,
    );
    for payload in [vec![], vec![], vec![], b"x".to_vec()] {
        send(&mut ring, &sender, receiver.local_addr(), None, None, payload);
    }
    let burst = loop {
        let completion = next(&mut ring);
        if completion.tag == 1 {
            break received(completion);
        }
    };
    assert_eq!(&burst.data[..], b"x");
    assert_eq!(ring.stats().receives_unusable, 3);
}

#[test]
fn a_cancelled_receive_ends_once_and_its_tag_is_free() {
    let (sender, receiver) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
    let mut ring = ring(2);
    for _ in 0..3 {
        ring.submit(
            Op::Receive {
                socket: (&receiver).into(),
            },
            1,
        );
        // More than the buffers hold, so that the cancel meets a receive that has run out, too.
        for n in 0..6 {
            send(&mut ring, &sender, receiver.local_addr(), None, None, pattern(5000, n));
        }
        ring.enter(Some(Duration::from_millis(10))).expect("enter");
        assert_eq!(ring.cancel(1), 1);
        loop {
            let Completion { tag, outcome, more } = next(&mut ring);
            match outcome {
                Outcome::ReceiveEnded(error) => {
                    assert!(matches!(error, OpError::Cancelled { op: OpKind::Receive }), "{error}");
                    assert_eq!((tag, more), (1, false));
                    break;
                }
                Outcome::Received(_) | Outcome::Sent { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        while ring.in_flight() > 0 {
            next(&mut ring);
        }
    }
}

#[test]
fn send_errors_give_the_payload_back() {
    let sender = bind("127.0.0.1:0");
    let mut ring = ring(0);
    // Larger than loopback's MTU of 65,536 allows for an unfragmented packet: nothing is; a port of 0 is refused at once.
    send(
        &mut ring,
        &sender,
        "127.0.0.1:0".parse().expect("an address"),
        None,
        None,
        b"kept".to_vec(),
    );
    let Outcome::Sent { payload, result } = next(&mut ring).outcome else {
        panic!("a send")
    };
    assert_eq!(payload, b"kept");
    let error = result.expect_err("port 0");
    assert_eq!(error.errno(), Some(libc::EINVAL), "{error}");
}

#[test]
fn looking_without_waiting_sees_what_arrived_meanwhile() {
    let (sender, receiver) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
    let mut receiving = ring(2);
    let mut sending = ring(0);
    receiving.submit(
        Op::Receive {
            socket: (&receiver).into(),
        },
        1,
    );
    receiving.enter(Some(Duration::ZERO)).expect("enter");
    for n in 1..50 {
        send(&mut sending, &sender, receiver.local_addr(), None, None, pattern(n, n));
        assert!(matches!(next(&mut sending).outcome, Outcome::Sent { result: Ok(_), .. }));
        // Loopback delivers before the send completes.
        receiving.enter(Some(Duration::ZERO)).expect("enter");
        assert_eq!(received(receiving.reap().expect("a burst")).data, pattern(n, n));
        assert!(receiving.reap().is_none());
    }
}

#[test]
fn one_ring_serves_many_sockets() {
    let sender = bind("127.0.0.1:0");
    let receivers: Vec<UdpSocket> = (0..10).map(|_| bind("127.0.0.1:0")).collect();
    let mut ring = ring(4);
    for (tag, receiver) in (100..).zip(&receivers) {
        ring.submit(Op::Receive { socket: receiver.into() }, tag);
    }
    for round in 0..3 {
        for (tag, receiver) in (100..).zip(&receivers) {
            send(&mut ring, &sender, receiver.local_addr(), None, None, pattern(3000, tag));
        }
        let mut seen = Vec::new();
        while seen.len() < receivers.len() {
            let completion = next(&mut ring);
            if let Outcome::Received(burst) = completion.outcome {
                assert_eq!(burst.data, pattern(3000, completion.tag as usize));
                seen.push(completion.tag);
            }
        }
        seen.sort_unstable();
        assert_eq!(seen, (100..110).collect::<Vec<u64>>(), "round {round}");
    }
}
