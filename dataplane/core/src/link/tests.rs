//! Links: what is written is read, what is damaged is refused with the right word.

use super::*;

fn link() -> Link {
    Link {
        release: ReleaseId(ChunkId::of(b"release")),
        name: "rust-1.95".to_owned(),
        peers: vec![
            PeerAt {
                peer: PeerId::from_bytes([7; 32]),
                addrs: vec!["192.0.2.1:4433".parse().unwrap(), "[2001:db8::1]:9".parse().unwrap()],
            },
            PeerAt {
                peer: PeerId::from_bytes([8; 32]),
                addrs: Vec::new(),
            },
        ],
        inside: b"share/doc".to_vec(),
    }
}

#[test]
fn what_is_written_is_read() {
    let check = |link: Link| {
        let text = link.to_string();
        assert_eq!(text.parse::<Link>().as_ref(), Ok(&link), "{text}");
        assert_eq!(
            text.to_uppercase()
                .replace("SHARE/DOC", "share/doc")
                .parse::<Link>()
                .map(|l| l.release),
            Ok(link.release)
        );
        assert_eq!(format!(" {text}\n").parse::<Link>(), Ok(link));
        let safe = |c: char| c.is_ascii_alphanumeric() || "-._/:%".contains(c);
        assert!(text.chars().all(safe), "{text}");
    };
    check(link());
    check(Link {
        peers: Vec::new(),
        inside: Vec::new(),
        ..link()
    });
    check(Link {
        name: String::new(),
        ..link()
    });
    check(Link {
        name: "ü".repeat(127),
        ..link()
    });
    for length in 0..12 {
        check(Link {
            name: "x".repeat(length),
            inside: Vec::new(),
            ..link()
        });
    }
    check(Link {
        inside: "Straße/mit Leer $(rm)%/\u{1F980}".into(),
        ..link()
    });
    check(Link {
        inside: b"\xff\xfe/#".to_vec(),
        ..link()
    });
}

#[test]
fn what_is_too_much_for_a_link_is_left_out() {
    let many = Link {
        name: "ü".repeat(200),
        peers: vec![link().peers[0].clone(); 99],
        ..link()
    };
    let read: Link = many.to_string().parse().unwrap();
    assert_eq!(read.name, "ü".repeat(127));
    assert_eq!(read.peers.len(), LINK_PEERS_MAX);
}

#[test]
fn every_way_to_damage_a_link_has_its_word() {
    let text = Link {
        inside: Vec::new(),
        ..link()
    }
    .to_string();
    let check = |text: &str, expect: LinkError| assert_eq!(text.parse::<Link>(), Err(expect), "{text}");
    let foreign = |text: &str| LinkError::Foreign { text: text.to_owned() };
    check("", foreign(""));
    check("ares", foreign("ares"));
    check("magnet:?xt=urn:btih:abc", foreign("magnet:?xt=urn:btih:abc"));
    check("/etc/passwd", foreign("/etc/passwd"));
    check("ärës:aa", foreign("ärës:aa"));
    check("ares:", LinkError::Truncated { bytes: 0, needed: 5 });
    check("ares:ae", LinkError::Truncated { bytes: 1, needed: 37 });
    check(&text.replace("ares:a", "ares:1"), LinkError::Character { found: '1', at: 6 });
    check(&format!("{text}#key"), LinkError::Sealed);
    check(
        &format!("{text}/%4"),
        LinkError::Inside {
            inside: "%4".into(),
            why: "a '%' is followed by two hexadecimal digits".into(),
        },
    );
    let escapes = "an entry is named \"..\": it would lead out of its directory";
    check(
        &format!("{text}/a/../b"),
        LinkError::Inside {
            inside: "a/../b".into(),
            why: escapes.into(),
        },
    );
    check(
        &format!("{text}/a//b"),
        LinkError::Inside {
            inside: "a//b".into(),
            why: "an entry has an empty name".into(),
        },
    );

    let sealed = |edit: &dyn Fn(&mut Vec<u8>)| {
        let mut payload = link().payload();
        payload.truncate(payload.len() - CHECKSUM_BYTES);
        edit(&mut payload);
        let sum = checksum(&payload);
        payload.extend_from_slice(&sum);
        struct Text(Vec<u8>);
        impl fmt::Display for Text {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                base32_encode(&self.0, f)
            }
        }
        format!("ares:{}", Text(payload))
    };
    check(&sealed(&|p| p[0] = 2), LinkError::Newer { version: 2, known: 1 });
    check(
        &sealed(&|p| p[0] = 0),
        LinkError::Malformed {
            what: "it has version 0, which never was",
        },
    );
    check(
        &sealed(&|p| p[34] = 0xff),
        LinkError::Malformed {
            what: "its name is not UTF-8",
        },
    );
    check(
        &sealed(&|p| p[34..36].copy_from_slice(b"a/")),
        LinkError::Malformed {
            what: "its name is no file name",
        },
    );
    check(
        &sealed(&|p| p[34] = 0x1b),
        LinkError::Malformed {
            what: "its name is no file name",
        },
    );
    check(&sealed(&|p| p.push(0)), LinkError::Mistyped);
}

#[test]
fn every_cut_and_every_changed_character_is_noticed() {
    let text = Link {
        inside: Vec::new(),
        ..link()
    }
    .to_string();
    for length in SCHEME.len()..text.len() {
        let error = text[..length].parse::<Link>().unwrap_err();
        assert!(matches!(error, LinkError::Truncated { .. }), "cut to {length}: {error}");
    }
    for at in SCHEME.len()..text.len() {
        for digit in ALPHABET {
            let mut changed = text.clone().into_bytes();
            changed[at] = *digit;
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(changed.parse::<Link>().is_ok(), changed == text, "{changed}");
        }
    }
    assert!(format!("{text}aa").parse::<Link>().is_err());
}

#[test]
fn a_published_name_becomes_one_line_of_text() {
    let check = |name: &[u8], expect| assert_eq!(Link::name_from(name), expect);
    check(b"release", "release");
    check(b"a\nb\x1b[31m", "a_b_[31m");
    check(b"..", "");
    check(b"", "");
    check(b"caf\xe9", "caf\u{fffd}");
}
