//! Golden bytes, every violation, any split of the input, and mutated input. Old bytes are opened by new code.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::chunk::{ChunkId, ChunkTag, LEN_UNKNOWN, ReleaseId};
use crate::limits::{ADDR_PORTS_MAX, ASK_CHUNKS_MAX, CHUNK_BYTES_MAX, FRAME_BYTES_MAX, PEER_ADDRS_MAX};
use crate::peer::{Address, PeerAt, PeerId};
use crate::rng::Rng;
use crate::time::Instant;

fn id(byte: u8) -> ChunkId {
    ChunkId::from_bytes([byte; 32])
}

/// Hex digits to bytes; `aa*32` stands for 32 times the byte aa.
fn hex(text: &str) -> Vec<u8> {
    let byte = |digits: &str| u8::from_str_radix(digits, 16).expect("hex digits");
    text.split_whitespace()
        .flat_map(|word| match word.split_once('*') {
            Some((digits, times)) => vec![byte(digits); times.parse().expect("a count")],
            None => (0..word.len()).step_by(2).map(|i| byte(&word[i..i + 2])).collect(),
        })
        .collect()
}

fn hello() -> Hello {
    Hello {
        version: 1,
        features: 5,
        agent: "ares/0.1".to_owned(),
        nonce: 0x1234,
        ports: vec![4040, 40_000],
        zone: String::new(),
    }
}

const HELLO_HEX: &str = "15 00 01 05 08 617265732f302e31 5234 02 4fc8 80009c40";

fn exchange() -> Exchange {
    Exchange::new(Instant::ZERO, ExchangeLimits::default(), hello())
}

fn events(exchange: &mut Exchange) -> Vec<Event> {
    std::iter::from_fn(|| exchange.poll()).collect()
}

#[test]
fn frames_have_these_bytes() {
    let check = |frame: Frame, bytes: &str, event: Event| {
        assert_eq!(&frame.to_bytes()[..], hex(bytes), "{frame:?}");
        let mut exchange = exchange();
        if !matches!(frame, Frame::Hello(_)) {
            exchange.on_bytes(Instant::ZERO, &hex(HELLO_HEX));
            assert_eq!(exchange.poll(), Some(Event::Ready(hello())));
        }
        exchange.on_bytes(Instant::ZERO, &hex(bytes));
        assert_eq!(events(&mut exchange), [event]);
    };
    let release = ReleaseId(id(0xaa));
    check(Frame::Hello(hello()), HELLO_HEX, Event::Ready(hello()));
    for (state, last) in [
        (ClaimState::Complete, "00"),
        (ClaimState::Partial, "01"),
        (ClaimState::None, "02"),
    ] {
        check(
            Frame::Claim { release, state },
            &format!("22 01 aa*32 {last}"),
            Event::Claim { release, state },
        );
    }
    let busy = Load {
        queued_bytes: 1 << 20,
        peers: 2,
        bytes_per_s: 64,
    };
    check(Frame::Load(Load::default()), "04 08 00 00 00", Event::Load(Load::default()));
    check(Frame::Load(busy), "08 08 80100000 02 4040", Event::Load(busy));
    check(Frame::Bad { chunk: id(0xbb) }, "21 03 bb*32", Event::Bad { chunk: id(0xbb) });
    let reason = "so long".to_owned();
    check(
        Frame::Bye {
            code: 2,
            reason: reason.clone(),
        },
        "0a 04 02 07 736f206c6f6e67",
        Event::Bye { code: 2, reason },
    );
    let at = |ip: &str, ports: &[u16]| Address {
        ip: ip.parse().expect("an address"),
        ports: ports.to_vec(),
    };
    for (addresses, bytes) in [
        (vec![], "02 05 00"),
        (
            vec![at("10.0.1.2", &[7411, 40_000]), at("fd00::2", &[63])],
            "21 05 02 04 0a000102 02 5cf3 80009c40 06 fd00 00*13 02 01 3f",
        ),
    ] {
        check(Frame::Addresses(addresses.clone()), bytes, Event::Addresses(addresses));
    }
}

#[test]
fn what_is_held_and_who_takes_part_have_these_bytes() {
    let release = ReleaseId(id(0xaa));
    let tag = |byte: u8| ChunkTag::from_bytes([byte; 8]);
    let told = |key: u8, addrs: &[&str]| PeerAt {
        peer: PeerId::from_bytes([key; 32]),
        addrs: addrs.iter().map(|addr| addr.parse().expect("an address")).collect(),
    };
    let have = |chunks: &[ChunkTag]| {
        let chunks = chunks.to_vec();
        Frame::Have(Have { release, chunks })
    };
    let peers = |peers: Vec<PeerAt>| Frame::Peers(Peers { release, peers });
    let gates = Frame::Gates(Peers {
        release,
        peers: vec![told(0xbb, &["10.0.1.2:63"])],
    });
    let coming = Frame::Coming(Coming {
        release,
        coming: vec![tag(1), tag(2)],
        not_coming: vec![tag(3)],
    });
    for (frame, bytes) in [
        (have(&[]), "22 06 aa*32 00"),
        (have(&[tag(1), tag(2)]), "32 06 aa*32 02 01*8 02*8"),
        (peers(vec![]), "22 07 aa*32 00"),
        (gates, "4049 0a aa*32 01 bb*32 01 04 0a000102 3f"),
        (coming, "3b 09 aa*32 02 01*8 02*8 01 03*8"),
        (
            peers(vec![told(0xbb, &["10.0.1.2:63", "[fd00::2]:7411"])]),
            "405c 07 aa*32 01 bb*32 02 04 0a000102 3f 06 fd00 00*13 02 5cf3",
        ),
    ] {
        assert_eq!(&frame.to_bytes()[..], hex(bytes), "{frame:?}");
        let mut exchange = exchange();
        exchange.on_bytes(Instant::ZERO, &hex(HELLO_HEX));
        exchange.on_bytes(Instant::ZERO, &hex(bytes));
        let event = match frame {
            Frame::Have(have) => Event::Have(have),
            Frame::Peers(peers) => Event::Peers(peers),
            Frame::Gates(gates) => Event::Gates(gates),
            Frame::Coming(coming) => Event::Coming(coming),
            _ => unreachable!("none of these"),
        };
        assert_eq!(events(&mut exchange).pop(), Some(event));
    }
    for bytes in [
        "22 06 aa*32 01",
        "24 06 aa*32 50010000",
        "22 07 aa*32 01",
        "22 09 aa*32 00",
        "23 09 aa*32 00 01",
        "23 0a aa*32 00 00",
        "43 07 aa*32 01 bb*32 00",
        "47 07 aa*32 01 bb*32 01 04 0a000102 00",
    ] {
        let mut exchange = exchange();
        exchange.on_bytes(Instant::ZERO, &hex(HELLO_HEX));
        exchange.on_bytes(Instant::ZERO, &hex(bytes));
        let last = events(&mut exchange).pop();
        assert!(!matches!(last, Some(Event::Have(_) | Event::Peers(_))), "{bytes}: {last:?}");
    }
}

#[test]
fn who_is_only_to_be_asked_may_not_leave_it_to_others() {
    let item = AskItem {
        id: id(1),
        len: 5,
        from: 0,
    };
    for (referral, bytes) in [
        (Referral::WhenGiven, "02 01 01*32 05 00"),
        (Referral::WhenBusy, "03 01 01*32 05 00"),
    ] {
        let ask = Ask::new(vec![item]).with_referral(referral);
        assert_eq!(&ask.encode()[..], hex(bytes));
        let read = AskReader::new().on_bytes(&ask.encode()).expect("sound");
        assert_eq!(read, Some(ask.clone()));
        let mut reader = AnswerReader::new(&ask);
        assert_eq!(reader.on_bytes(&AnswerHead::Elsewhere.encode()), Ok(()));
        assert_eq!(reader.poll(), Some(AnswerEvent::Elsewhere { item: 0 }));
    }
    let mut reader = AnswerReader::new(&Ask::new(vec![item]));
    let refused = reader.on_bytes(&AnswerHead::Elsewhere.encode());
    assert_eq!(refused, Err(WireError::AnswerStatus { status: 4 }));
}

#[test]
fn addresses_and_ports_beyond_the_limit_are_not_told() {
    let ports: Vec<u16> = (1..=100).collect();
    let address = |last| Address {
        ip: [10, 0, 0, last].into(),
        ports: ports.clone(),
    };
    let mut exchange = exchange();
    exchange.on_bytes(Instant::ZERO, &hex(HELLO_HEX));
    exchange.on_bytes(Instant::ZERO, &Frame::Addresses((1..100).map(address).collect()).to_bytes());
    let Some(Event::Addresses(told)) = events(&mut exchange).pop() else {
        panic!("addresses are heard")
    };
    assert_eq!(told.len(), PEER_ADDRS_MAX);
    assert!(told.iter().all(|address| address.ports == ports[..ADDR_PORTS_MAX]));
}

#[test]
fn asks_have_these_bytes_in_any_split() {
    let check = |items: &[(u8, u32, u32)], bytes: &str| {
        let items: Vec<AskItem> = items
            .iter()
            .map(|(byte, len, from)| AskItem {
                id: id(*byte),
                len: *len,
                from: *from,
            })
            .collect();
        let ask = Ask::new(items);
        let bytes = hex(bytes);
        assert_eq!(&ask.encode()[..], bytes);
        for cut in 0..=bytes.len() {
            let mut reader = AskReader::new();
            let first = reader.on_bytes(&bytes[..cut]).expect("sound");
            assert_eq!(first.is_some(), cut == bytes.len());
            assert_eq!(reader.on_fin().is_ok(), cut == bytes.len());
            assert_eq!(
                first.or(reader.on_bytes(&bytes[cut..]).expect("sound")),
                Some(ask.clone()),
                "cut at {cut}"
            );
            assert_eq!(reader.on_bytes(&[]), Ok(None), "one ask, once");
            assert_eq!(
                reader.on_bytes(&[1]),
                Err(WireError::Trailing {
                    what: "an ask",
                    excess: 1
                })
            );
        }
    };
    check(&[(0xaa, 1, 0)], "01 01 aa*32 01 00");
    check(&[(0xaa, LEN_UNKNOWN, 0)], "01 01 aa*32 00 00");
    check(&[(0xaa, 1 << 20, 65_536)], "01 01 aa*32 80100000 80010000");
    check(&[(0xaa, 63, 62), (0xbb, 64, 63)], "01 02 aa*32 3f 3e bb*32 4040 3f");
}

#[test]
fn answers_have_these_bytes_in_any_split() {
    assert_eq!(&AnswerHead::Bytes(64).encode()[..], hex("00 4040"));
    assert_eq!(&AnswerHead::NotHeld.encode()[..], hex("01"));
    assert_eq!(&AnswerHead::Busy.encode()[..], hex("02"));
    assert_eq!(&AnswerHead::Gone.encode()[..], hex("03"));
    let item = |byte, len, from| AskItem { id: id(byte), len, from };
    let ask = Ask::new(vec![
        item(1, 70, 0),
        item(2, 9, 0),
        item(3, 9, 7),
        item(4, 1, 0),
        item(5, 5, 0),
    ]);
    let bytes = hex("00 4046 d1*70  01  00 02 d3d3  02  03");
    for first in 0..=bytes.len() {
        for second in first..=bytes.len() {
            let mut reader = AnswerReader::new(&ask);
            for part in [&bytes[..first], &bytes[first..second], &bytes[second..]] {
                assert!(!reader.is_done() || part.is_empty());
                reader.on_bytes(part).expect("sound");
            }
            assert_eq!(reader.on_fin(), Ok(()));
            let mut progress = [0; 5];
            let mut rest = Vec::new();
            while let Some(event) = reader.poll() {
                match event {
                    AnswerEvent::Progress { item, bytes } => progress[item] += bytes,
                    event => rest.push(event),
                }
            }
            assert_eq!(progress, [70, 0, 2, 0, 0]);
            let expect = [
                AnswerEvent::Chunk {
                    item: 0,
                    bytes: Bytes::from(vec![0xd1; 70]),
                },
                AnswerEvent::NotHeld { item: 1 },
                AnswerEvent::Chunk {
                    item: 2,
                    bytes: Bytes::from(vec![0xd3; 2]),
                },
                AnswerEvent::Busy { item: 3 },
                AnswerEvent::Gone { item: 4 },
            ];
            assert_eq!(rest, expect);
        }
    }
}

#[test]
fn a_broken_control_stream_is_a_violation_and_the_last_event() {
    let check = |bytes: &str, expect: WireError| {
        let mut exchange = exchange();
        exchange.on_bytes(Instant::ZERO, &hex(bytes));
        exchange.on_bytes(Instant::ZERO, &hex(HELLO_HEX));
        exchange.on_fin();
        let events = events(&mut exchange);
        assert_eq!(events.last(), Some(&Event::Violation(expect)), "{bytes}");
        assert_eq!(events.iter().filter(|event| matches!(event, Event::Violation(_))).count(), 1);
        exchange.send(&Frame::Load(Load::default()));
        assert!(exchange.take_output(100).is_empty(), "nothing is said any more");
    };
    let malformed = |frame, why| WireError::FrameMalformed { frame, why };
    let after_hello = |rest: &str| format!("{HELLO_HEX} {rest}");
    check("02 02 01", WireError::HelloMissing { kind: 2 });
    check("02 3f 01", WireError::HelloMissing { kind: 0x3f });
    check(HELLO_HEX, WireError::HelloTwice);
    check("06 00 02 00 00 00 00", WireError::Version { theirs: 2, ours: 1 });
    check("06 00 00 00 00 00 00", WireError::Version { theirs: 0, ours: 1 });
    check(
        "80010001",
        WireError::FrameTooLong {
            len: u64::from(FRAME_BYTES_MAX) + 1,
        },
    );
    check("ff*8", WireError::FrameTooLong { len: (1 << 62) - 1 });
    check("00", malformed("nameless", "no type"));
    check("01 40", malformed("nameless", "no type"));
    check("02 00 01", malformed("hello", "it ends within a number"));
    check("06 00 01 00 09 61 62", malformed("hello", "it ends within a text"));
    check("06 00 01 00 7fff 00", malformed("hello", "a text longer than 256 bytes"));
    check("07 00 01 00 00 00 4101", malformed("hello", "more than 256 ports"));
    check("0a 00 01 00 00 00 01 80010000", malformed("hello", "a port above 65535"));
    check(&after_hello("21 01 aa*32"), malformed("claim", "it ends within a number"));
    check(&after_hello("22 01 aa*32 03"), malformed("claim", "an unknown claim state"));
    check(&after_hello("20 03 aa*31"), malformed("bad", "it ends within a hash"));
    check(&after_hello("22 03 aa*32 00"), malformed("bad", "bytes past its end"));
    check(&after_hello("05 08 01 01 01 00"), malformed("load", "bytes past its end"));
    check(&after_hello("05 04 00 07 6162"), malformed("bye", "it ends within a text"));
    let addresses = |why| malformed("addresses", why);
    check(&after_hello("02 05 11"), addresses("more than 16 addresses"));
    check(&after_hello("02 05 01"), addresses("it ends within a number"));
    check(
        &after_hello("08 05 01 05 0a000001 00"),
        addresses("an address of an unknown family"),
    );
    check(&after_hello("06 05 01 04 0a0000"), addresses("it ends within an address"));
    for ip in ["04 00*4", "04 e0000001", "04 ff*4"] {
        check(
            &after_hello(&format!("09 05 01 {ip} 01 3f")),
            addresses("an address that is not of one node"),
        );
    }
    for ip in ["00*16", "ff02 00*13 01", "00*10 ffff 0a000001"] {
        check(
            &after_hello(&format!("15 05 01 06 {ip} 01 3f")),
            addresses("an address that is not of one node"),
        );
    }
    for count in ["00", "11"] {
        check(
            &after_hello(&format!("08 05 01 04 0a000001 {count}")),
            addresses("an address without ports or with more than 16"),
        );
    }
    check(&after_hello("09 05 01 04 0a000001 01 00"), addresses("port 0"));
    check(
        &after_hello("0c 05 01 04 0a000001 01 80010000"),
        addresses("a port above 65535"),
    );
    check(&after_hello("03 05 00 00"), addresses("bytes past its end"));
}

#[test]
fn unknown_frames_and_longer_hellos_are_of_a_later_version_and_skipped() {
    let mut exchange = exchange();
    exchange.on_bytes(Instant::ZERO, &hex("0a 00 01 00 00 00 00 0161 ffff"));
    exchange.on_bytes(Instant::ZERO, &hex("03 3f aabb  02 02 07  04 08 07 00 00"));
    let events = events(&mut exchange);
    assert!(
        matches!(&events[..], [Event::Ready(hello), Event::Load(Load { queued_bytes: 7, .. })] if hello.zone == "a"),
        "{events:?}"
    );
}

#[test]
fn a_flood_of_frames_is_a_violation_and_the_same_number_over_time_is_not() {
    let limits = ExchangeLimits {
        frames_per_interval: 100,
        addresses_per_interval: 20,
        interval: Duration::from_secs(1),
        ..Default::default()
    };
    let check = |frame: &str, gap_ms: u64, is_flood: bool| {
        let allowed = if frame == "02 05 00" { 20 } else { 100 };
        let mut exchange = Exchange::new(Instant::ZERO, limits, hello());
        exchange.on_bytes(Instant::ZERO, &hex(HELLO_HEX));
        let mut last = None;
        for n in 0..1000 {
            exchange.on_bytes(Instant::ZERO + Duration::from_millis(n * gap_ms), &hex(frame));
            last = events(&mut exchange).pop().or(last);
        }
        let flood = Event::Violation(WireError::Flood {
            allowed,
            interval_ms: 1000,
        });
        assert_eq!(last == Some(flood), is_flood, "{frame} every {gap_ms} ms: {last:?}");
    };
    check("04 08 07 00 00", 0, true);
    check("01 3f", 0, true);
    check("04 08 07 00 00", 9, true);
    check("04 08 07 00 00", 11, false);
    check("02 05 00", 49, true);
    check("02 05 00", 51, false);
}

#[test]
fn a_peer_that_reads_nothing_is_a_violation_once_the_queue_is_full() {
    let mut exchange = exchange();
    let mut sent = 0;
    while exchange.poll().is_none() {
        exchange.send(&Frame::Bad { chunk: id(1) });
        sent += 34;
        assert!(sent < 2 << 20, "bounded");
    }
    assert!(sent > (1 << 20) - 64, "not before it is full");
}

#[test]
fn output_comes_in_order_whatever_is_taken_at_a_time() {
    for step in [1, 7, 1000] {
        let mut exchange = exchange();
        exchange.send(&Frame::Load(Load::default()));
        let mut all = Vec::new();
        loop {
            let part = exchange.take_output(step);
            assert!(part.len() <= step);
            if part.is_empty() {
                break;
            }
            all.extend_from_slice(&part);
        }
        assert_eq!(all, hex(&format!("{HELLO_HEX} 04 08 00 00 00")));
    }
}

#[test]
fn a_broken_ask_is_a_violation() {
    let check = |bytes: &str, expect: WireError| {
        assert_eq!(AskReader::new().on_bytes(&hex(bytes)), Err(expect.clone()), "{bytes}");
        let mut reader = AskReader::new();
        let by_byte = hex(bytes).into_iter().find_map(|byte| reader.on_bytes(&[byte]).err());
        assert_eq!(by_byte, Some(expect), "{bytes} byte by byte");
    };
    let range = |len, from| WireError::AskRange {
        chunk: id(0xaa),
        len,
        from,
    };
    check("00", WireError::StreamUnknown { kind: 0 });
    check("04", WireError::StreamUnknown { kind: 4 });
    check("01 00", WireError::AskCount { count: 0 });
    check(
        "01 4041",
        WireError::AskCount {
            count: ASK_CHUNKS_MAX as u64 + 1,
        },
    );
    check("01 ff*8", WireError::AskCount { count: (1 << 62) - 1 });
    check("01 01 aa*32 00 01", range(0, 1));
    check("01 01 aa*32 05 05", range(5, 5));
    check("01 01 aa*32 05 06", range(5, 6));
    check("01 01 aa*32 80100001 00", range(u64::from(CHUNK_BYTES_MAX) + 1, 0));
    check("01 01 aa*32 ff*8 00", range((1 << 62) - 1, 0));
    check("01 01 aa*32 c000000100000001 00", range((1 << 32) + 1, 0));
    check(
        "01 01 aa*32 05 00 00",
        WireError::Trailing {
            what: "an ask",
            excess: 1,
        },
    );
    assert_eq!(AskReader::new().on_fin(), Err(WireError::Truncated { what: "an ask" }));
}

#[test]
fn a_broken_answer_is_a_violation_that_names_both_lengths() {
    let ask = Ask::new(vec![AskItem {
        id: id(0xaa),
        len: 10,
        from: 4,
    }]);
    let check = |bytes: &str, expect: WireError| {
        assert_eq!(AnswerReader::new(&ask).on_bytes(&hex(bytes)), Err(expect.clone()), "{bytes}");
        let mut reader = AnswerReader::new(&ask);
        let by_byte = hex(bytes).into_iter().find_map(|byte| reader.on_bytes(&[byte]).err());
        let expect = if let WireError::Trailing { what, .. } = expect {
            WireError::Trailing { what, excess: 1 }
        } else {
            expect
        };
        assert_eq!(by_byte, Some(expect), "{bytes} byte by byte");
    };
    let length = |actual| WireError::AnswerLength {
        chunk: id(0xaa),
        expected: 6,
        actual,
    };
    let check_unknown = |bytes: &str, actual| {
        let ask = Ask::new(vec![AskItem {
            id: id(0xaa),
            len: LEN_UNKNOWN,
            from: 0,
        }]);
        let error = WireError::AnswerLength {
            chunk: id(0xaa),
            expected: LEN_UNKNOWN,
            actual,
        };
        assert_eq!(AnswerReader::new(&ask).on_bytes(&hex(bytes)), Err(error), "{bytes}");
    };
    check("00 05", length(5));
    check("00 07", length(7));
    check("00 0a", length(10));
    check("00 ff*8", length((1 << 62) - 1));
    check_unknown("00 00", 0);
    check_unknown("00 80100001", (1 << 20) + 1);
    check("04", WireError::AnswerStatus { status: 4 });
    check("ff*8", WireError::AnswerStatus { status: (1 << 62) - 1 });
    check(
        "00 06 dd*9",
        WireError::Trailing {
            what: "an answer",
            excess: 3,
        },
    );
    check(
        "01 00",
        WireError::Trailing {
            what: "an answer",
            excess: 1,
        },
    );
    for early in ["", "00", "00 06", "00 06 dd*5"] {
        let mut reader = AnswerReader::new(&ask);
        reader.on_bytes(&hex(early)).expect("sound so far");
        assert_eq!(reader.on_fin(), Err(WireError::Truncated { what: "an answer" }), "{early}");
    }
}

#[test]
fn each_violation_has_a_close_code_of_its_own() {
    let all = [
        WireError::FrameTooLong { len: 0 },
        WireError::FrameMalformed { frame: "", why: "" },
        WireError::HelloMissing { kind: 0 },
        WireError::HelloTwice,
        WireError::Version { theirs: 0, ours: 0 },
        WireError::Flood {
            allowed: 0,
            interval_ms: 0,
        },
        WireError::Unread { queued: 0 },
        WireError::ControlEnded,
        WireError::StreamUnknown { kind: 0 },
        WireError::AskCount { count: 0 },
        WireError::AskRange {
            chunk: id(0),
            len: 0,
            from: 0,
        },
        WireError::AnswerStatus { status: 0 },
        WireError::AnswerLength {
            chunk: id(0),
            expected: 0,
            actual: 0,
        },
        WireError::Trailing { what: "", excess: 0 },
        WireError::Truncated { what: "" },
    ];
    let codes: BTreeSet<u32> = all.iter().map(|error| error.close_code().code()).collect();
    assert_eq!(
        codes.into_iter().collect::<Vec<_>>(),
        (3..=17).collect::<Vec<u32>>(),
        "numbers are never reused"
    );
}

/// Sound bytes with a few of them changed, cut out, doubled or made up, in random splits.
fn mutated(rng: &mut Rng, sound: &[u8]) -> Vec<Vec<u8>> {
    let mut bytes = sound.to_vec();
    for _ in 0..rng.below(6) {
        let at = rng.below(bytes.len().max(1));
        match rng.below(5) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << rng.below(8),
            1 if !bytes.is_empty() => bytes[at] = [0, 0x3f, 0x40, 0x80, 0xc0, 0xff][rng.below(6)],
            2 => bytes.truncate(at),
            3 => bytes
                .splice(at..at, (0..rng.below(20)).map(|_| rng.next() as u8).collect::<Vec<_>>())
                .for_each(drop),
            _ => bytes.extend_from_within(at..),
        }
    }
    let mut parts = Vec::new();
    while !bytes.is_empty() {
        let rest = bytes.split_off(1 + rng.below(bytes.len()));
        parts.push(std::mem::replace(&mut bytes, rest));
    }
    parts
}

#[test]
fn no_input_panics_and_every_ask_that_is_parsed_is_sound() {
    let control = hex(&format!(
        "{HELLO_HEX} 22 01 aa*32 00 04 08 3f 01 3f 21 03 bb*32 04 3f aabbcc 1c 05 02 04 0a000102 01 3f 06 fd00 00*13 02 01 3f 05 04 02 02 6869"
    ));
    let items = |count: u8| {
        (0..count)
            .map(|n| AskItem {
                id: id(n),
                len: 30 + u32::from(n),
                from: n.into(),
            })
            .collect()
    };
    let (few, many) = (Ask::new(items(3)), Ask::new(items(64)));
    let answer = hex("00 1e dd*30 01 00 1e dd*30");
    for seed in 0..20_000 {
        let rng = &mut Rng::new(seed);
        let mut exchange = exchange();
        for part in mutated(rng, &control) {
            exchange.on_bytes(Instant::ZERO, &part);
        }
        let events = events(&mut exchange);
        let violation = events.iter().position(|event| matches!(event, Event::Violation(_)));
        assert!(violation.is_none_or(|at| at + 1 == events.len()), "seed {seed}: {events:?}");
        for event in events {
            let Event::Addresses(addresses) = event else { continue };
            assert!(addresses.len() <= PEER_ADDRS_MAX, "seed {seed}");
            for Address { ip, ports } in addresses {
                let is_sound = (1..=ADDR_PORTS_MAX).contains(&ports.len()) && !ports.contains(&0);
                assert!(is_sound && !ip.is_multicast() && !ip.is_unspecified(), "seed {seed}: {ip}");
            }
        }

        let mut reader = AskReader::new();
        let ask = if seed % 2 == 0 { &few } else { &many };
        for part in mutated(rng, &ask.encode()) {
            match reader.on_bytes(&part) {
                Ok(None) => {}
                Ok(Some(ask)) => assert_eq!(
                    Ask::new(ask.items().to_vec()).with_referral(ask.referral()),
                    ask,
                    "seed {seed}: `new` asserts that it is sound"
                ),
                Err(_) => break,
            }
        }

        let mut reader = AnswerReader::new(&few);
        let all_sound = mutated(rng, &answer).iter().all(|part| reader.on_bytes(part).is_ok());
        let chunks: Vec<(usize, usize)> = std::iter::from_fn(|| reader.poll())
            .filter_map(|event| {
                if let AnswerEvent::Chunk { item, bytes } = event {
                    Some((item, bytes.len()))
                } else {
                    None
                }
            })
            .collect();
        assert!(
            chunks
                .iter()
                .all(|(item, len)| *len == few.items()[*item].wanted_bytes() as usize),
            "seed {seed}"
        );
        assert!(all_sound || reader.on_fin().is_err() || reader.is_done(), "seed {seed}");
    }
}
