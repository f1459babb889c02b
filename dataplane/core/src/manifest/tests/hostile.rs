//! Every way in which a publisher could lie is refused, with the word for it.

use super::*;
use crate::manifest::cbor::Writer;
use crate::manifest::codec;

const UNIT: Totals = Totals {
    bytes: 0,
    entries: 1,
    chunks: 0,
};

/// The fault found in a directory node of these bytes, given what its parent says.
fn fault(bytes: &[u8], height: u8, depth: u16, totals: Totals) -> Result<DirNode, Fault> {
    let chunk = VerifiedChunk::of(Bytes::copy_from_slice(bytes));
    let node = ChunkRef {
        id: chunk.id(),
        len: bytes.len() as u32,
    };
    DirNode::parse(
        &chunk,
        &DirRef {
            node,
            height,
            depth,
            totals,
        }
        .claim(),
    )
    .map_err(|error| match error {
        ManifestError::Malformed { fault, node } if node == chunk.id() => fault,
        other => panic!("{other}"),
    })
}

/// A leaf of empty files with these names, whatever they are.
fn leaf_of(names: &[&[u8]]) -> Vec<u8> {
    let mut w = Writer::default();
    w.array(4);
    w.uint(1);
    w.uint(1);
    w.array(0);
    w.array(names.len());
    for name in names {
        w.array(3);
        w.bytes(name);
        w.array(3);
        (0..3).for_each(|_| w.uint(0));
        w.array(2);
        w.uint(2);
        w.bytes(b"");
    }
    w.finish()
}

#[test]
fn names_that_lead_astray_never_become_entries() {
    let check = |names: &[&[u8]], expect: &str| {
        let totals = Totals {
            entries: names.len() as u64,
            ..UNIT
        };
        match fault(&leaf_of(names), 0, 0, totals) {
            Ok(_) => assert_eq!(expect, "fine", "{names:?}"),
            Err(fault) => assert_eq!(fault.to_string(), expect, "{names:?}"),
        }
    };
    check(&[b"a", b"b", b"b.", b"c"], "fine");
    check(&[b".."], "an entry is named \"..\": it would lead out of its directory");
    check(&[b"."], "an entry is named \".\": it would lead out of its directory");
    check(
        &[b"/etc/passwd"],
        "an entry is named \"/etc/passwd\": it would lead out of its directory",
    );
    check(&[b"a/b"], "an entry is named \"a/b\": it would lead out of its directory");
    check(
        &[b"../../root"],
        "an entry is named \"../../root\": it would lead out of its directory",
    );
    check(
        &[b"a\0b"],
        "an entry is named \"a\\x00b\": it would lead out of its directory",
    );
    check(&[b""], "an entry has an empty name");
    check(&[&[b'x'; 256]], "an entry's name has 256 bytes; at most 255 are allowed");
    check(&[b"a", b"a"], "\"a\" stands after \"a\": names must ascend and not repeat");
    check(&[b"b", b"a"], "\"a\" stands after \"b\": names must ascend and not repeat");
}

#[test]
fn bytes_that_are_no_node_are_refused_where_they_go_wrong() {
    let valid = leaf_of(&[b"a"]);
    let check = |bytes: &[u8], expect: &str| {
        assert_eq!(fault(bytes, 0, 0, UNIT).unwrap_err().to_string(), expect, "{bytes:x?}");
    };
    for length in 1..valid.len() {
        let error = fault(&valid[..length], 0, 0, UNIT).unwrap_err();
        assert!(
            matches!(error, Fault::Syntax { at, .. } if at <= length),
            "cut to {length}: {error}"
        );
    }
    check(&[&valid[..], &[0]].concat(), "bytes after the end of the node at byte 15");
    check(b"hello world", "something else than an array at byte 0");
    check(&[0x84, 0x00, 0x01, 0x80, 0x80], "the manifest format is 0, allowed is 1 to 1");
    check(
        &[0x84, 0x01, 0x02, 0x80, 0x80],
        "it is a directory's branch, its parent asks for a directory's leaf",
    );
    check(
        &[0x84, 0x01, 0x03, 0x80, 0x80],
        "it is a chunk list's leaf, its parent asks for a directory's leaf",
    );
    check(&[0x84, 0x01, 0x09, 0x80, 0x80], "a node of unknown kind at byte 3");
    check(
        &[0x85, 0x01, 0x01, 0x80, 0x80, 0x00],
        "a node with another number of parts than its kind has at byte 3",
    );
    check(&[0x84, 0x01, 0x01, 0x80, 0x98, 0x00], "not in canonical form from byte 4 on");
    check(&[0x84, 0x18, 0x01, 0x01, 0x80, 0x80], "not in canonical form from byte 1 on");
    check(
        &[0x9f, 0x01, 0x01, 0x80, 0x80, 0xff],
        "an item of indefinite or reserved length at byte 0",
    );
    check(
        &[0x84, 0x01, 0x01, 0x80, 0x9b, 0x7f, 255, 255, 255, 255, 255, 255, 255],
        "an array longer than the node at byte 4",
    );
    check(
        &[0x84, 0x01, 0x01, 0x80, 0x9b, 255, 255, 255, 255, 255, 255, 255, 255],
        "an array longer than the node at byte 4",
    );
    check(
        &[0x84, 0x01, 0x01, 0x81, 0x80, 0x80],
        "an array of pairs with half a pair at byte 4",
    );
}

#[test]
fn a_newer_format_is_named_as_such() {
    let newer = |version: u64| {
        let mut w = Writer::default();
        w.array(2);
        w.uint(version);
        w.bytes(b"who knows");
        VerifiedChunk::of(w.finish().into())
    };
    for version in [2, 3, u64::MAX] {
        let chunk = newer(version);
        assert_eq!(Root::parse(&chunk), Err(ManifestError::Newer { version, known: 1 }));
        let text = Root::parse(&chunk).unwrap_err().to_string();
        assert_eq!(
            text,
            format!("this release is written in manifest format {version}; this program reads up to 1: update ares")
        );
    }
}

#[test]
fn a_node_is_only_taken_for_the_one_that_was_asked_for() {
    let (root, chunks) = publish(&dir([("a", dir([]))]));
    let Top::Dir { node: top, .. } = &root.top else {
        unreachable!()
    };
    let got = root.encode();
    let expect = ManifestError::WrongChunk {
        asked: top.node.id,
        got: got.id(),
    };
    assert_eq!(DirNode::parse(&got, &top.claim()), Err(expect));
    assert!(DirNode::parse(chunks.get(&top.node), &top.claim()).is_ok());
}

fn entry(key: &str, kind: EntryKind) -> Entry {
    Entry {
        name: name(key.as_bytes()),
        meta: meta(0o644),
        kind,
    }
}

fn subdir(height: u8, depth: u16, totals: Totals) -> EntryKind {
    EntryKind::Dir(DirRef {
        node: chunk_ref(1),
        height,
        depth,
        totals,
    })
}

fn file(bytes: u64, content: Content) -> EntryKind {
    EntryKind::File(File {
        bytes,
        content,
        b3: None,
    })
}

fn packed(bytes: u64, pack: u64, pack_len: u32, offset: u32) -> EntryKind {
    file(
        bytes,
        Content::Packed {
            pack: ChunkRef {
                len: pack_len,
                ..chunk_ref(pack)
            },
            offset,
        },
    )
}

pub(super) fn sized(len: u32) -> ChunkRef {
    ChunkRef { len, ..chunk_ref(1) }
}

#[test]
fn entries_that_contradict_themselves_are_refused() {
    // What the parent says follows what the entries say, so that only the entry itself is to blame.
    let check = |entries: Vec<Entry>, expect: &str| {
        let node = DirNode::Leaf(entries);
        let (totals, depth) = crate::manifest::rules::sums(&node).unwrap_or_default();
        match fault(codec::encode_dir(&node).bytes(), 0, depth, totals) {
            Ok(again) => assert_eq!(("fine", again), (expect, node)),
            Err(fault) => assert_eq!(fault.to_string(), expect),
        }
    };
    let one = |kind: EntryKind, expect: &str| check(vec![entry("a", kind)], expect);
    let of = |bytes: usize| Bytes::from(vec![7; bytes]);

    // Symlinks.
    one(EntryKind::Symlink(of(4095)), "fine");
    one(
        EntryKind::Symlink(of(0)),
        "the length of a link's target is 0, allowed is 1 to 4095",
    );
    one(
        EntryKind::Symlink(of(4096)),
        "the length of a link's target is 4096, allowed is 1 to 4095",
    );
    one(
        EntryKind::Symlink(Bytes::from_static(b"a\0")),
        "a link whose target has a NUL",
    );

    // A form for each size.
    one(file(512, Content::Inline(of(512))), "fine");
    one(
        file(513, Content::Inline(of(513))),
        "the size of a file in this form is 513, allowed is 0 to 512",
    );
    one(packed(513, 1, 513, 0), "fine");
    one(packed(65_536, 1, 65_536, 0), "fine");
    one(
        packed(512, 1, 512, 0),
        "the size of a file in this form is 512, allowed is 513 to 65536",
    );
    one(
        packed(65_537, 1, 65_537, 0),
        "the bytes of a packed file is 65537, allowed is 1 to 65536",
    );
    one(packed(600, 1, 599, 0), "a packed file reaches beyond its pack");
    one(packed(600, 1, 601, 0), "a pack with bytes of no file");
    one(packed(600, 1, 1200, 600), "a packed file without a pack");
    one(
        packed(600, 1, 1_048_577, 0),
        "the length of a chunk is 1048577, allowed is 1 to 1048576",
    );
    check(
        vec![entry("a", packed(600, 1, 1200, 0)), entry("b", packed(600, 1, 1200, 600))],
        "fine",
    );
    check(
        vec![entry("a", packed(600, 1, 600, 0)), entry("b", packed(600, 2, 600, 0))],
        "fine",
    );
    let chunks = |lens: &[u32]| {
        file(
            lens.iter().map(|&len| u64::from(len)).sum(),
            Content::Chunks(lens.iter().map(|&len| sized(len)).collect()),
        )
    };
    one(chunks(&[65_537]), "fine");
    one(chunks(&[1 << 20; 8]), "fine");
    one(
        chunks(&[65_536]),
        "the size of a file in this form is 65536, allowed is 65537 to 9223372036854775807",
    );
    one(chunks(&[1 << 20; 9]), "the chunks of an entry is 9, allowed is 1 to 8");
    one(chunks(&[]), "the chunks of an entry is 0, allowed is 1 to 8");
    one(chunks(&[60_000, 16_384, 1]), "fine");
    one(
        chunks(&[60_000, 16_383, 60_000]),
        "the length of a chunk that is not a file's last is 16383, allowed is 16384 to 1048576",
    );
    one(chunks(&[65_537, 0]), "the length of a chunk is 0, allowed is 1 to 1048576");
    one(
        chunks(&[u32::MAX]),
        "the length of a chunk is 4294967295, allowed is 1 to 1048576",
    );
    let list = |height, bytes, chunks| {
        file(
            bytes,
            Content::List(ListRef {
                node: chunk_ref(1),
                height,
                bytes,
                chunks,
            }),
        )
    };
    one(list(0, 1 << 20, 9), "fine");
    one(
        list(0, 1 << 20, 8),
        "the chunks of a listed file is 8, allowed is 9 to 18446744073709551615",
    );
    one(list(33, 1 << 20, 9), "the height of a chunk list is 33, allowed is 0 to 32");
    one(
        list(0, 1 << 62, 9),
        "the bytes of a listed file is 4611686018427387904, allowed is 131073 to 9437184",
    );
    one(
        list(0, 131_072, 9),
        "the bytes of a listed file is 131072, allowed is 131073 to 9437184",
    );
    one(
        list(0, 1 << 63, 1 << 62),
        "the bytes of a file is 9223372036854775808, allowed is 1 to 9223372036854775807",
    );
    one(
        list(0, u64::MAX, 1 << 62),
        "the bytes of a file is 18446744073709551615, allowed is 1 to 9223372036854775807",
    );
    one(
        list(0, 1 << 62, u64::MAX),
        "the chunks of a file is 18446744073709551615, allowed is 1 to 9223372036854775807",
    );

    // Directories.
    let max = i64::MAX as u64;
    one(subdir(0, 0, UNIT), "fine");
    one(subdir(33, 0, UNIT), "the height of a directory is 33, allowed is 0 to 32");
    one(subdir(0, 1023, UNIT), "fine");
    one(
        subdir(0, 1024, UNIT),
        "the depth of nested directories is 1025, allowed is 0 to 1024",
    );
    one(
        subdir(0, 1025, UNIT),
        "the depth of nested directories is 1025, allowed is 0 to 1024",
    );
    let bytes = |bytes| subdir(0, 0, Totals { bytes, ..UNIT });
    one(bytes(max), "fine");
    one(
        bytes(max + 1),
        "the bytes of a directory is 9223372036854775808, allowed is 0 to 9223372036854775807",
    );
    let overflow = |what| format!("{what} is 18446744073709551615, allowed is 0 to 9223372036854775807");
    check(
        vec![entry("a", bytes(max)), entry("b", bytes(1))],
        &overflow("the sum of all bytes"),
    );
    check(
        vec![entry("a", bytes(max)), entry("b", bytes(max)), entry("c", bytes(2))],
        &overflow("the sum of all bytes"),
    );
    one(
        subdir(0, 0, Totals { entries: max, ..UNIT }),
        &overflow("the sum of all entries"),
    );
    let of_chunks = subdir(0, 0, Totals { chunks: max, ..UNIT });
    check(
        vec![entry("a", of_chunks.clone()), entry("b", of_chunks)],
        &overflow("the sum of all chunks"),
    );

    // Modes, times, attributes.
    let with = |meta: Meta, expect: &str| {
        check(
            vec![Entry {
                meta,
                ..entry("a", file(0, Content::Inline(Bytes::new())))
            }],
            expect,
        );
    };
    let time = |secs, nanos| Meta {
        mtime: Mtime { secs, nanos },
        ..meta(0o777)
    };
    with(time(i64::MIN, 999_999_999), "fine");
    with(
        time(0, 1_000_000_000),
        "the nanoseconds of a time is 1000000000, allowed is 0 to 999999999",
    );
    with(meta(0o1777), "a mode is 1023, allowed is 0 to 511");
    with(meta(0o4755), "a mode is 2541, allowed is 0 to 511");
    let xattrs = |xattrs: &[(&'static [u8], usize)]| {
        let xattrs = xattrs.iter().map(|&(key, bytes)| Xattr {
            key: Bytes::from_static(key),
            value: of(bytes),
        });
        Meta {
            xattrs: xattrs.collect(),
            ..meta(0)
        }
    };
    with(xattrs(&[(b"user.a", 0), (b"user.b", 60_000)]), "fine");
    with(
        xattrs(&[(b"user.a", 0), (b"user.a", 0)]),
        "\"user.a\" stands after \"user.a\": names must ascend and not repeat",
    );
    with(
        xattrs(&[(b"security.capability", 1)]),
        "an attribute whose name is not \"user.\" and more",
    );
    with(xattrs(&[(b"user.", 1)]), "an attribute whose name is not \"user.\" and more");
    with(
        xattrs(&[(b"user.\0", 1)]),
        "an attribute whose name is not \"user.\" and more",
    );
    with(
        xattrs(&[(b"user.a", 65_531)]),
        "the bytes of an entry's attributes is 65537, allowed is 0 to 65536",
    );
}

#[test]
fn a_directory_is_what_its_parent_says() {
    let leaf = DirNode::Leaf(vec![
        entry(
            "b",
            subdir(
                0,
                4,
                Totals {
                    bytes: 3,
                    entries: 2,
                    chunks: 1,
                },
            ),
        ),
        entry("d", packed(600, 1, 600, 0)),
    ]);
    let right = (
        0,
        5,
        Totals {
            bytes: 603,
            entries: 4,
            chunks: 2,
        },
    );
    let check =
        |node: &DirNode, (height, depth, totals): (u8, u16, Totals), first: Option<&str>, below: Option<&str>, expect: &str| {
            let chunk = codec::encode_dir(node);
            let node = ChunkRef {
                id: chunk.id(),
                len: chunk.bytes().len() as u32,
            };
            let to_name = |text: Option<&str>| text.map(|text| name(text.as_bytes()));
            let claim = DirClaim {
                node: DirRef {
                    node,
                    height,
                    depth,
                    totals,
                },
                first: to_name(first),
                below: to_name(below),
            };
            let found = match DirNode::parse(&chunk, &claim) {
                Ok(_) => "fine".to_owned(),
                Err(ManifestError::Malformed { fault, .. }) => fault.to_string(),
                Err(other) => other.to_string(),
            };
            assert_eq!(found, expect);
        };
    let totals = |bytes, entries, chunks| (0, 5, Totals { bytes, entries, chunks });
    check(&leaf, right, None, None, "fine");
    check(&leaf, right, Some("b"), Some("e"), "fine");
    check(
        &leaf,
        totals(602, 4, 2),
        None,
        None,
        "its number of bytes is 603, its parent says 602",
    );
    check(
        &leaf,
        totals(603, 5, 2),
        None,
        None,
        "its number of entries is 4, its parent says 5",
    );
    check(
        &leaf,
        totals(603, 4, 1),
        None,
        None,
        "its number of chunks is 2, its parent says 1",
    );
    check(&leaf, (0, 4, right.2), None, None, "its depth is 5, its parent says 4");
    check(&leaf, (0, 6, right.2), None, None, "its depth is 5, its parent says 6");
    check(
        &leaf,
        (1, 5, right.2),
        None,
        None,
        "it is a directory's leaf, its parent asks for a directory's branch",
    );
    check(
        &leaf,
        right,
        Some("a"),
        None,
        "it holds \"b\", which its parent places elsewhere",
    );
    check(
        &leaf,
        right,
        Some("c"),
        None,
        "it holds \"b\", which its parent places elsewhere",
    );
    check(
        &leaf,
        right,
        Some("b"),
        Some("d"),
        "it holds \"d\", which its parent places elsewhere",
    );
    check(
        &leaf,
        right,
        Some("b"),
        Some("c"),
        "it holds \"d\", which its parent places elsewhere",
    );

    let empty = DirNode::Leaf(Vec::new());
    check(&empty, (0, 0, Totals::default()), None, None, "fine");
    check(
        &empty,
        (0, 0, Totals::default()),
        Some("a"),
        None,
        "a piece of a directory without entries",
    );

    let child = |first: &str, height, entries| DirChild {
        first: name(first.as_bytes()),
        node: DirRef {
            node: chunk_ref(1),
            height,
            depth: 0,
            totals: Totals { entries, ..UNIT },
        },
    };
    let branch = |children: &[DirChild]| DirNode::Branch(children.to_vec());
    let two = Totals { entries: 2, ..UNIT };
    check(
        &branch(&[child("a", 0, 1), child("b", 0, 1)]),
        (1, 0, two),
        None,
        None,
        "fine",
    );
    check(
        &branch(&[child("a", 1, 1), child("b", 1, 1)]),
        (2, 0, two),
        None,
        None,
        "fine",
    );
    check(
        &branch(&[child("a", 1, 1), child("b", 0, 1)]),
        (2, 0, two),
        None,
        None,
        "its height is 1, its parent says 2",
    );
    check(
        &branch(&[child("a", 1, 1), child("b", 1, 1)]),
        (1, 0, two),
        None,
        None,
        "its height is 2, its parent says 1",
    );
    check(
        &branch(&[child("a", 0, 1), child("a", 0, 1)]),
        (1, 0, two),
        None,
        None,
        "\"a\" stands after \"a\": names must ascend and not repeat",
    );
    check(
        &branch(&[child("b", 0, 1), child("a", 0, 1)]),
        (1, 0, two),
        None,
        None,
        "\"a\" stands after \"b\": names must ascend and not repeat",
    );
    check(
        &branch(&[child("a", 0, 2), child("b", 0, 0)]),
        (1, 0, two),
        None,
        None,
        "a piece of a directory without entries",
    );
    check(
        &branch(&[]),
        (1, 0, Totals::default()),
        None,
        None,
        "a piece of a directory without entries",
    );
    check(
        &branch(&[child("a", 0, 1), child("b", 0, 1)]),
        (1, 0, two),
        Some("a"),
        Some("b"),
        "it holds \"b\", which its parent places elsewhere",
    );
    let max = i64::MAX as u64;
    let overflow = "the sum of all entries is 18446744073709551615, allowed is 0 to 9223372036854775807";
    check(
        &branch(&[child("a", 0, max), child("b", 0, max)]),
        (1, 0, Totals { entries: max, ..UNIT }),
        None,
        None,
        overflow,
    );
}

#[test]
fn a_root_is_a_root() {
    let check = |root: Root, expect: &str| match Root::parse(&root.encode()) {
        Ok(again) => assert_eq!(("fine", again), (expect, root)),
        Err(ManifestError::Malformed { fault, .. }) => assert_eq!(fault.to_string(), expect),
        Err(other) => panic!("{other}"),
    };
    let of = |top| Root {
        cutter: CutterId::CURRENT,
        top,
    };
    let single = |kind| match kind {
        EntryKind::File(file) => of(Top::File { meta: meta(0o644), file }),
        other => panic!("{other:?}"),
    };
    let node = DirRef {
        node: chunk_ref(1),
        height: 0,
        depth: 1024,
        totals: UNIT,
    };
    check(of(Top::Dir { meta: meta(0o755), node }), "fine");
    check(
        Root {
            cutter: CutterId(255),
            ..of(Top::Dir { meta: meta(0o755), node })
        },
        "fine",
    );
    check(
        of(Top::Dir {
            meta: meta(0o755),
            node: DirRef { depth: 1025, ..node },
        }),
        "the depth of nested directories is 1025, allowed is 0 to 1024",
    );
    check(
        of(Top::Dir {
            meta: meta(0o1755),
            node,
        }),
        "a mode is 1005, allowed is 0 to 511",
    );
    check(single(file(0, Content::Inline(Bytes::new()))), "fine");
    check(single(file(600, Content::Chunks(vec![sized(600)]))), "fine");
    check(
        single(file(512, Content::Chunks(vec![sized(512)]))),
        "the size of a file in this form is 512, allowed is 513 to 9223372036854775807",
    );
    check(single(packed(600, 1, 600, 0)), "a packed file without a pack");
    // A chunk that any peer can make up: a data chunk or another node is no root.
    let leaf = codec::encode_dir(&DirNode::Leaf(Vec::new()));
    assert!(matches!(
        Root::parse(&leaf),
        Err(ManifestError::Malformed {
            fault: Fault::Kind { .. },
            ..
        })
    ));
}

#[test]
fn a_directory_cannot_be_inside_itself() {
    // A node that held its own hash would have to hash to it. What is left to a liar is a reference whose claims repeat for ever, and
    // those end: the depth that each level claims is one less than the one around it.
    let inner = DirRef {
        node: chunk_ref(1),
        height: 0,
        depth: 0,
        totals: UNIT,
    };
    let around = DirNode::Leaf(vec![entry("again", EntryKind::Dir(inner))]);
    let chunk = codec::encode_dir(&around);
    let node = ChunkRef {
        id: chunk.id(),
        len: chunk.bytes().len() as u32,
    };
    let claim = DirRef { node, ..inner }.claim();
    let ManifestError::Malformed { fault, .. } = DirNode::parse(&chunk, &claim).unwrap_err() else {
        panic!()
    };
    assert_eq!(
        fault,
        Fault::Claim {
            what: "number of entries",
            claimed: 1,
            actual: 2
        }
    );
}
