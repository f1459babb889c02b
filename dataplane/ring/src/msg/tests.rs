//! Addresses and control messages judged against bytes written by hand. No socket is opened.

use super::*;

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

#[test]
fn addresses_survive_the_kernels_layout() {
    for text in [
        "127.0.0.1:1",
        "255.254.253.252:65535",
        "[::1]:443",
        "[2001:db8::5]:9000",
        "[fe80::1%7]:80",
        "0.0.0.0:0",
    ] {
        assert_eq!(decode_addr(encode_addr(addr(text)).bytes()), Some(addr(text)));
    }
}

#[test]
fn addresses_look_as_the_kernel_wants_them() {
    let family = |family: i32| (family as u16).to_ne_bytes();
    let v4 = encode_addr(addr("1.2.3.4:258"));
    assert_eq!(
        v4.bytes(),
        [&family(libc::AF_INET)[..], &[1, 2, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0]].concat()
    );
    let v6 = encode_addr(addr("[102::304%5]:258"));
    let body = [1, 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 4];
    assert_eq!(v6.bytes(), [&family(libc::AF_INET6)[..], &body, &5u32.to_ne_bytes()].concat());
}

#[test]
fn foreign_or_short_addresses_are_none() {
    let v6 = encode_addr(addr("[::1]:1"));
    for bytes in [
        &[][..],
        &[1],
        &(libc::AF_UNIX as u16).to_ne_bytes(),
        &v6.bytes()[..27],
        &encode_addr(addr("1.2.3.4:5")).bytes()[..7],
    ] {
        assert_eq!(decode_addr(bytes), None, "{bytes:?}");
    }
}

/// libc's own macros are the oracle.
#[test]
fn control_messages_are_what_libc_would_write() {
    let check = |from: Option<&str>, to: &str, ecn, segment_bytes, expect: &[(i32, i32, usize)]| {
        let from = from.map(|ip| Origin::address(ip.parse().expect("an address")));
        let control = Control::new(from, to.parse().expect("an address"), ecn, segment_bytes);
        let read: Vec<(i32, i32, usize)> = control_messages(control.bytes())
            .map(|(level, kind, data)| (level, kind, data.len()))
            .collect();
        assert_eq!(read, expect);
        // SAFETY: CMSG_SPACE only computes.
        let space: u32 = expect
            .iter()
            .map(|(_, _, len)| unsafe { libc::CMSG_SPACE(*len as u32) })
            .sum();
        assert_eq!(control.bytes().len(), space as usize);
    };
    let segment = (libc::SOL_UDP, libc::UDP_SEGMENT, 2);
    check(None, "1.1.1.1", None, None, &[]);
    check(None, "::1", None, Some(1200), &[segment]);
    let v4 = [
        segment,
        (libc::IPPROTO_IP, libc::IP_TOS, 4),
        (libc::IPPROTO_IP, libc::IP_PKTINFO, size_of::<libc::in_pktinfo>()),
    ];
    check(Some("2.2.2.2"), "1.1.1.1", Some(Ecn::Ect0), Some(1200), &v4);
    let info = (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, size_of::<libc::in6_pktinfo>());
    check(
        Some("::2"),
        "::1",
        Some(Ecn::Ce),
        Some(1200),
        &[segment, (libc::IPPROTO_IPV6, libc::IPV6_TCLASS, 4), info],
    );
}

#[test]
fn an_origin_is_written_where_the_kernel_looks_for_it() {
    let check = |ip: &str, interface: Option<u32>, level, kind, expect: &[&[u8]]| {
        let ip = ip.parse().expect("an address");
        let control = Control::new(Some(Origin { ip, interface }), ip, None, None);
        let read: Vec<(i32, i32, &[u8])> = control_messages(control.bytes()).collect();
        assert_eq!(read, [(level, kind, &expect.concat()[..])], "{ip} by {interface:?}");
    };
    let (v4, v6) = ((libc::IPPROTO_IP, libc::IP_PKTINFO), (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO));
    let index = 0x0102_0304u32.to_ne_bytes();
    check("2.3.4.5", None, v4.0, v4.1, &[&[0; 4], &[2, 3, 4, 5], &[0; 4]]);
    check("2.3.4.5", Some(0x0102_0304), v4.0, v4.1, &[&index, &[2, 3, 4, 5], &[0; 4]]);
    let ip: Ipv6Addr = "102::304".parse().expect("an address");
    check("102::304", None, v6.0, v6.1, &[&ip.octets(), &[0; 4]]);
    check("102::304", Some(0x0102_0304), v6.0, v6.1, &[&ip.octets(), &index]);
}

/// One message as the kernel writes it.
fn message(level: i32, kind: i32, data: &[u8]) -> Vec<u8> {
    let len = CONTROL_HEADER_BYTES + data.len();
    let mut bytes = [&len.to_ne_bytes()[..], &level.to_ne_bytes(), &kind.to_ne_bytes(), data].concat();
    bytes.resize(len.next_multiple_of(WORD), 0);
    bytes
}

fn buffer(name: &[u8], control: &[u8], payload: &[u8], flags: i32) -> Vec<u8> {
    let mut bytes = Vec::new();
    for field in [name.len() as u32, control.len() as u32, payload.len() as u32, flags as u32] {
        bytes.extend(field.to_ne_bytes());
    }
    bytes.extend(name);
    bytes.resize(RECEIVE_HEADER_BYTES + NAME_BYTES, 0);
    bytes.extend(control);
    bytes.resize(PAYLOAD_OFFSET, 0);
    bytes.extend(payload);
    bytes
}

#[test]
fn a_burst_is_read_with_its_control_messages() {
    let v4 = addr("10.0.0.1:4433");
    let mut pktinfo4 = vec![9, 0, 0, 0, 10, 0, 0, 8];
    pktinfo4.extend([10, 0, 0, 2]);
    let control = [
        message(libc::SOL_UDP, libc::UDP_GRO, &3i32.to_ne_bytes()),
        message(libc::IPPROTO_IP, libc::IP_TOS, &[0xfe]),
        message(libc::IPPROTO_IP, libc::IP_PKTINFO, &pktinfo4),
        message(libc::SOL_SOCKET, 77, b"unknown"),
    ]
    .concat();
    let expect = Received {
        remote: v4,
        local_ip: Some("10.0.0.2".parse().expect("an address")),
        ecn: Some(Ecn::Ect0),
        stride: 3,
        payload: PAYLOAD_OFFSET..PAYLOAD_OFFSET + 8,
    };
    assert_eq!(
        Received::parse(&buffer(encode_addr(v4).bytes(), &control, b"abcdefgh", 0)),
        Ok(expect)
    );

    let v6 = addr("[2001:db8::1]:4433");
    let here: Ipv6Addr = "2001:db8::2".parse().expect("an address");
    let control = [
        message(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &0xf3i32.to_ne_bytes()),
        message(
            libc::IPPROTO_IPV6,
            libc::IPV6_PKTINFO,
            &[&here.octets()[..], &2u32.to_ne_bytes()].concat(),
        ),
    ]
    .concat();
    let expect = Received {
        remote: v6,
        local_ip: Some(here.into()),
        ecn: Some(Ecn::Ce),
        stride: 8,
        payload: PAYLOAD_OFFSET..PAYLOAD_OFFSET + 8,
    };
    assert_eq!(
        Received::parse(&buffer(encode_addr(v6).bytes(), &control, b"abcdefgh", 0)),
        Ok(expect)
    );
}

#[test]
fn what_cannot_be_used_says_why() {
    let name = encode_addr(addr("10.0.0.1:1"));
    let check = |bytes: &[u8], expect| assert_eq!(Received::parse(bytes), Err(expect));
    check(&[], Unusable::Truncated);
    check(&[0; 15], Unusable::Truncated);
    check(&buffer(name.bytes(), &[], b"", 0), Unusable::Empty);
    check(&buffer(name.bytes(), &[], b"x", libc::MSG_TRUNC), Unusable::Truncated);
    check(&buffer(name.bytes(), &[], b"x", libc::MSG_CTRUNC), Unusable::Truncated);
    check(&buffer(&[], &[], b"x", 0), Unusable::Address);
    let short = buffer(name.bytes(), &[], b"four", 0);
    check(&short[..short.len() - 1], Unusable::Truncated);
    let mut huge = short.clone();
    huge[8..12].fill(0xff);
    check(&huge, Unusable::Truncated);
    let mut wide = short;
    wide[4..8].fill(0xff);
    check(&wide, Unusable::Truncated);
}

#[test]
fn damaged_control_messages_end_the_list() {
    let good = message(libc::SOL_UDP, libc::UDP_GRO, &3i32.to_ne_bytes());
    for len in [0usize, 1, CONTROL_HEADER_BYTES - 1, 1000, usize::MAX - 7, usize::MAX] {
        let mut bad = good.clone();
        bad[..WORD].copy_from_slice(&len.to_ne_bytes());
        let both = [good.clone(), bad].concat();
        assert_eq!(control_messages(&both).count(), 1, "a length of {len}");
    }
    // Lengths that are right but values that are not.
    let name = encode_addr(addr("10.0.0.1:1"));
    for (level, kind, data) in [
        (libc::SOL_UDP, libc::UDP_GRO, &0i32.to_ne_bytes()[..]),
        (libc::SOL_UDP, libc::UDP_GRO, &[1][..]),
        (libc::SOL_UDP, libc::UDP_GRO, &i32::MAX.to_ne_bytes()[..]),
        (libc::IPPROTO_IP, libc::IP_TOS, &[][..]),
        (libc::IPPROTO_IP, libc::IP_PKTINFO, &[0; 11][..]),
        (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &[0; 15][..]),
        (libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &[3][..]),
    ] {
        let received = Received::parse(&buffer(name.bytes(), &message(level, kind, data), b"abc", 0)).expect("readable");
        assert_eq!(
            (received.stride, received.ecn, received.local_ip),
            (3, None, None),
            "{level} {kind}"
        );
    }
}

#[test]
fn ecn_is_the_two_low_bits() {
    for (tos, expect) in [
        (0, None),
        (0b1111_1100, None),
        (1, Some(Ecn::Ect1)),
        (0xfe, Some(Ecn::Ect0)),
        (0x07, Some(Ecn::Ce)),
    ] {
        assert_eq!(Ecn::from_bits(tos), expect);
        assert_eq!(expect.map_or(0, Ecn::bits), tos & 3);
    }
}

#[test]
fn a_burst_is_split_by_its_stride() {
    let check = |bytes: &[u8], stride, expect: &[&[u8]]| {
        let mut burst = Datagrams {
            remote: addr("1.1.1.1:1"),
            local_ip: None,
            ecn: None,
            stride,
            data: BytesMut::from(bytes),
        };
        let split: Vec<BytesMut> = std::iter::from_fn(|| burst.take()).collect();
        assert_eq!(split, expect);
    };
    check(b"abcdefgh", 3, &[b"abc", b"def", b"gh"]);
    check(b"abcdef", 3, &[b"abc", b"def"]);
    check(b"ab", 3, &[b"ab"]);
}
