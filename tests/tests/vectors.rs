//! Golden bytes: what was written and said yesterday is read and understood today. A difference here is a new format version, never a
//! new golden file under the old one. Journal records and single numbers have theirs beside their code.
//!
//! `ARES_WRITE_VECTORS=1 cargo test -p ares-tests --test vectors` writes files that are not there yet; it never overwrites one.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use ares_core::chunk::{ChunkId, ChunkRef, CutterId, ReleaseId, VerifiedChunk};
use ares_core::link::Link;
use ares_core::manifest::{
    Content, DirBuilder, DirNode, Entry, EntryKind, File, ListBuilder, ListNode, Meta, Mtime, Name, Root, Top, Xattr,
};
use ares_core::peer::PeerAt;
use ares_core::peer::{Address, PeerId};
use ares_core::time::Instant;
use ares_core::wire::{
    AnswerHead, Ask, AskItem, AskReader, ClaimState, Coming, Event, Exchange, ExchangeLimits, Frame, Hello, Load, Peers,
};
use ares_tests::rng::Rng;
use ares_tests::scratch::Scratch;
use ares_tests::{Lab, daemon, tree};

const WRITE_VARIABLE: &str = "ARES_WRITE_VECTORS";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().map(|c| c.to_digit(16).expect("hex digits") as u8).collect();
    digits.chunks(2).map(|pair| (pair[0] << 4) | pair[1]).collect()
}

fn path(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "vectors", name].iter().collect()
}

/// The lines `key value` of a golden file.
fn golden(name: &str) -> Vec<(String, String)> {
    let text = fs::read_to_string(path(name)).unwrap_or_else(|e| panic!("tests/vectors/{name}: {e}"));
    let lines = text.lines().filter(|l| !l.starts_with('#'));
    lines
        .map(|l| l.split_once(' ').expect("`key value`"))
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect()
}

/// What today's code makes must be what the golden file holds.
fn check(name: &str, made: &[(String, String)]) {
    if std::env::var_os(WRITE_VARIABLE).is_some() && !path(name).exists() {
        let lines: String = made.iter().map(|(key, value)| format!("{key} {value}\n")).collect();
        fs::write(path(name), lines).expect("the tree can be written");
    }
    let golden = golden(name);
    for (old, new) in golden.iter().zip(made) {
        assert_eq!(old, new, "tests/vectors/{name}: the first line that differs");
    }
    assert_eq!(golden.len(), made.len(), "tests/vectors/{name}");
}

fn row(key: &str, value: impl Into<String>) -> (String, String) {
    (key.to_owned(), value.into())
}

fn id(seed: u8) -> ChunkId {
    ChunkId::of(&[seed])
}

#[test]
fn links_keep_their_text() {
    let peer = |seed: u8, addrs: &[&str]| PeerAt {
        peer: PeerId::from_bytes([seed; 32]),
        addrs: addrs.iter().map(|a| a.parse().expect("an address")).collect(),
    };
    let links = [
        Link {
            release: ReleaseId(id(1)),
            name: String::new(),
            peers: Vec::new(),
            inside: Vec::new(),
        },
        Link {
            release: ReleaseId(id(2)),
            name: "a tree".to_owned(),
            peers: vec![peer(7, &["192.0.2.7:7411"])],
            inside: Vec::new(),
        },
        Link {
            release: ReleaseId(id(3)),
            name: "büro".to_owned(),
            peers: vec![peer(8, &["[2001:db8::8]:1", "198.51.100.8:65535"]), peer(9, &[])],
            inside: b"usr/caf\xe9/a b".to_vec(),
        },
    ];
    let made: Vec<_> = links.iter().map(|link| row("link", link.to_string())).collect();
    check("links.txt", &made);
    for ((_, text), link) in golden("links.txt").iter().zip(&links) {
        assert_eq!(text.parse::<Link>().as_ref(), Ok(link));
    }
}

#[test]
fn the_wire_keeps_its_bytes() {
    let hello = Hello {
        version: 1,
        features: 5,
        agent: "ares test".to_owned(),
        nonce: 0x1234_5678_9abc,
        ports: vec![7411, 40_000],
        zone: "berlin-2".to_owned(),
    };
    let frames = [
        Frame::Claim {
            release: ReleaseId(id(4)),
            state: ClaimState::Complete,
        },
        Frame::Claim {
            release: ReleaseId(id(5)),
            state: ClaimState::Partial,
        },
        Frame::Claim {
            release: ReleaseId(id(6)),
            state: ClaimState::None,
        },
        Frame::Bad { chunk: id(7) },
        Frame::Addresses(vec![
            Address {
                ip: [10, 0, 1, 2].into(),
                ports: vec![7411, 40_000],
            },
            Address {
                ip: [0xfd00, 0, 0, 0, 0, 0, 0, 2].into(),
                ports: vec![63],
            },
        ]),
        Frame::Load(Load {
            queued_bytes: 123_456_789,
            peers: 3,
            bytes_per_s: 25_000_000,
        }),
        Frame::Coming(Coming {
            release: ReleaseId(id(11)),
            coming: vec![id(12).into(), id(13).into()],
            not_coming: vec![id(14).into()],
        }),
        Frame::Gates(Peers {
            release: ReleaseId(id(15)),
            peers: vec![PeerAt {
                peer: PeerId::from_bytes([16; 32]),
                addrs: vec![([10, 0, 1, 2], 7411).into()],
            }],
        }),
        Frame::Bye {
            code: 8,
            reason: "enough".to_owned(),
        },
    ];
    // A load as it was drawn first. It is skipped.
    let retired = row("retired", "0502875bcd15");
    let mut speaker = Exchange::new(Instant::ZERO, ExchangeLimits::default(), hello.clone());
    let mut made = vec![row("hello", hex(&speaker.take_output(usize::MAX))), retired];
    for frame in &frames {
        speaker.send(frame);
        made.push(row("frame", hex(&speaker.take_output(usize::MAX))));
    }
    let ask = Ask::new(vec![
        AskItem {
            id: id(8),
            len: 0,
            from: 0,
        },
        AskItem {
            id: id(9),
            len: 65_536,
            from: 0,
        },
        AskItem {
            id: id(10),
            len: 1 << 20,
            from: 300_000,
        },
    ]);
    made.push(row("ask", hex(&ask.encode())));
    for head in [
        AnswerHead::Bytes(70_000),
        AnswerHead::NotHeld,
        AnswerHead::Busy,
        AnswerHead::Gone,
    ] {
        made.push(row("answer", hex(&head.encode())));
    }
    check("wire.txt", &made);

    let golden = golden("wire.txt");
    let control: Vec<u8> = golden
        .iter()
        .filter(|(k, _)| ["hello", "retired", "frame"].contains(&k.as_str()))
        .flat_map(|(_, v)| unhex(v))
        .collect();
    let mut listener = Exchange::new(Instant::ZERO, ExchangeLimits::default(), hello.clone());
    listener.on_bytes(Instant::ZERO, &control);
    let heard: Vec<Event> = std::iter::from_fn(|| listener.poll()).collect();
    assert_eq!(heard[0], Event::Ready(hello));
    assert_eq!(heard.len(), 1 + frames.len(), "{heard:?}");
    assert_eq!(
        heard.last(),
        Some(&Event::Bye {
            code: 8,
            reason: "enough".to_owned()
        })
    );
    let asked = golden
        .iter()
        .find(|(k, _)| k == "ask")
        .map(|(_, v)| unhex(v))
        .expect("an ask");
    assert_eq!(AskReader::new().on_bytes(&asked), Ok(Some(ask)));
}

/// A release with every kind of entry and content: its root, and every chunk but the file's own.
fn small_release() -> (Root, Vec<VerifiedChunk>) {
    let mut chunks = Vec::new();
    let mut keep = |chunk: VerifiedChunk| chunks.push(chunk);
    let mut rng = Rng::new(121);
    let meta = |mode, secs, nanos| Meta {
        mode,
        mtime: Mtime { secs, nanos },
        xattrs: Vec::new(),
    };
    let name = |bytes: &[u8]| Name::new(bytes.to_vec()).expect("a name");
    let mut list = ListBuilder::new();
    // More than an entry holds, so that the file has a list of its own.
    for i in 0..40_u32 {
        list.push(
            ChunkRef {
                id: ChunkId::of(&i.to_le_bytes()),
                len: 60_000 + i,
            },
            &mut keep,
        );
    }
    let (bytes, content) = list.finish(&mut keep);
    let empty = DirBuilder::new().finish(&mut keep).expect("an empty directory");
    let mut below = DirBuilder::new();
    below
        .push_small(name(b"a"), meta(0o644, 1, 2), rng.bytes(600).into(), None, &mut keep)
        .expect("a packed file");
    below
        .push_small(
            name(b"b"),
            meta(0o600, -1, 999_999_999),
            rng.bytes(700).into(),
            None,
            &mut keep,
        )
        .expect("a packed file");
    below
        .push_small(name(b"c"), meta(0o444, 0, 0), Vec::new().into(), None, &mut keep)
        .expect("an empty file");
    let below = below.finish(&mut keep).expect("a directory");
    let mut top = DirBuilder::new();
    let file = File {
        bytes,
        content,
        b3: Some([3; 32]),
    };
    top.push(
        Entry {
            name: name(b"big"),
            meta: meta(0o755, 1 << 33, 7),
            kind: EntryKind::File(file),
        },
        &mut keep,
    )
    .expect("a big file");
    let chunk = ChunkRef { id: id(11), len: 70_000 };
    let file = File {
        bytes: 70_000,
        content: Content::Chunks(vec![chunk]),
        b3: None,
    };
    top.push(
        Entry {
            name: name(b"cut"),
            meta: meta(0o644, 5, 0),
            kind: EntryKind::File(file),
        },
        &mut keep,
    )
    .expect("a cut file");
    top.push(
        Entry {
            name: name(b"dir"),
            meta: meta(0o711, 6, 0),
            kind: EntryKind::Dir(below),
        },
        &mut keep,
    )
    .expect("a directory");
    top.push(
        Entry {
            name: name(b"empty"),
            meta: meta(0o755, 7, 0),
            kind: EntryKind::Dir(empty),
        },
        &mut keep,
    )
    .expect("a directory");
    let link = EntryKind::Symlink(b"../caf\xe9".to_vec().into());
    top.push(
        Entry {
            name: name(b"link"),
            meta: meta(0o777, 8, 0),
            kind: link,
        },
        &mut keep,
    )
    .expect("a symlink");
    let mut tagged = meta(0o640, 9, 0);
    tagged.xattrs = vec![Xattr {
        key: b"user.a".to_vec().into(),
        value: b"\0\xff".to_vec().into(),
    }];
    top.push_small(name(b"\xff"), tagged, b"tiny".to_vec().into(), None, &mut keep)
        .expect("an inline file");
    let node = top.finish(&mut keep).expect("a directory");
    let root = Root {
        cutter: CutterId(1),
        top: Top::Dir {
            meta: meta(0o755, 10, 11),
            node,
        },
    };
    (root, chunks)
}

#[test]
fn manifests_keep_their_bytes_and_old_ones_are_read() {
    let (root, chunks) = small_release();
    let mut made = vec![row("root", hex(root.encode().bytes()))];
    made.extend(chunks.iter().map(|chunk| row("chunk", hex(chunk.bytes()))));
    check("manifest.txt", &made);

    let verified: Vec<VerifiedChunk> = golden("manifest.txt")
        .iter()
        .map(|(_, v)| VerifiedChunk::of(unhex(v).into()))
        .collect();
    let by_id: BTreeMap<ChunkId, &VerifiedChunk> = verified.iter().map(|c| (c.id(), c)).collect();
    let read = Root::parse(&verified[0]).expect("an old root");
    assert_eq!(read, root);
    let Top::Dir { node, .. } = read.top else {
        panic!("a directory was published")
    };
    let DirNode::Leaf(entries) = DirNode::parse(by_id[&node.node.id], &node.claim()).expect("an old directory") else {
        panic!("six entries fit a leaf")
    };
    let names: Vec<&[u8]> = entries.iter().map(|e| e.name.as_bytes()).collect();
    assert_eq!(names, [b"big".as_slice(), b"cut", b"dir", b"empty", b"link", b"\xff"]);
    for entry in &entries {
        match &entry.kind {
            EntryKind::Dir(below) => {
                DirNode::parse(by_id[&below.node.id], &below.claim()).expect("an old directory");
            }
            EntryKind::File(File {
                content: Content::List(list),
                ..
            }) => {
                ListNode::parse(by_id[&list.node.id], list).expect("an old chunk list");
            }
            _ => {}
        }
    }
}

#[test]
fn releases_keep_their_names() {
    let lab = Lab::on_loopback("vectors", 1);
    let scratch = Scratch::new("vectors-trees");
    let mut made = Vec::new();
    for (label, make) in [
        ("odd", (|path, seed| tree::odd(path, seed)) as fn(&std::path::Path, u64)),
        ("source", |path, seed| tree::source(path, 200, seed)),
        ("file", |path, seed| {
            tree::big_file(path, 9_000_000, seed);
            tree::set_mode(path, 0o644);
            tree::set_mtime(path, (1_700_000_000, 1)).expect("a time");
        }),
    ] {
        let path = scratch.path().join(label);
        make(&path, 131);
        made.push(row(label, daemon::publish(lab.node(0), &path).release));
    }
    check("releases.txt", &made);
}
