//! Golden bytes, as a little-endian kernel writes them and wants them, and bytes that no kernel writes.

use ares_core::manifest::Mtime;

use super::*;
use crate::testing::Random;

const UNIQUE: u64 = 0x0102_0304_0506_0708;
const NODE: u64 = 0x1112_1314_1516_1718;

/// A request as the kernel writes it.
fn request(opcode: u32, arguments: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.u32((HEADER_BYTES + arguments.len()) as u32);
    bytes.u32(opcode);
    bytes.u64(UNIQUE);
    bytes.u64(NODE);
    bytes.put(&[0xee; 16]);
    bytes.put(arguments);
    bytes
}

fn parse(bytes: &[u8]) -> Result<Ask<'_>, Malformed> {
    let (header, arguments) = Header::parse(bytes)?;
    header.ask(arguments)
}

/// Integers one after the other.
fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

#[test]
fn requests_are_read_as_the_kernel_writes_them() {
    let check = |opcode: u32, arguments: &[u8], expect: Ask<'_>| {
        assert_eq!(parse(&request(opcode, arguments)), Ok(expect), "opcode {opcode}");
    };
    let ino = NODE;
    check(
        1,
        b"name\0",
        Ask::Lookup {
            parent: ino,
            name: b"name",
        },
    );
    check(2, &words(&[3]), Ask::Forget(Forgets::One(ino, 3)));
    check(3, &[0; 16], Ask::Attr { ino });
    check(5, &[], Ask::Link { ino });
    check(14, &[0; 8], Ask::Open { ino });
    // fh, offset, size and flags, lock owner, flags
    let extent = [7, 1 << 40, 0x5_0002_0000, 0, 0];
    let (offset, len) = (1 << 40, 0x2_0000);
    check(15, &words(&extent), Ask::Read { ino, offset, len });
    let room = len;
    check(
        28,
        &words(&extent),
        Ask::List {
            ino,
            offset,
            room,
            plus: false,
        },
    );
    check(
        44,
        &words(&extent),
        Ask::List {
            ino,
            offset,
            room,
            plus: true,
        },
    );
    check(17, &[], Ask::Statfs { ino });
    check(18, &[0; 24], Ask::Release { ino });
    check(
        22,
        b"\x10\0\0\0\0\0\0\0user.x\0",
        Ask::Xattr {
            ino,
            name: b"user.x",
            room: 16,
        },
    );
    check(23, b"\0\x02\0\0\0\0\0\0", Ask::Xattrs { ino, room: 512 });
    check(36, &words(&[99]), Ask::Interrupt { unique: 99 });
    let forgets = words(&[5, 1, 6, 2]);
    check(
        42,
        &[words(&[2]), forgets.clone()].concat(),
        Ask::Forget(Forgets::Many(&forgets)),
    );
    for grant in [20, 29, 30, 34, 38] {
        check(grant, &[0; 16], Ask::Grant);
    }
    for write in [4, 6, 8, 9, 10, 11, 12, 13, 16, 21, 24, 35, 43, 45, 47, 51, 53] {
        check(write, &[0; 40], Ask::Write);
    }
    for unknown in [0, 7, 19, 25, 27, 31, 37, 39, 40, 46, 48, 50, 52, 54, 4096, u32::MAX] {
        check(unknown, &[0; 40], Ask::Unknown);
    }
}

/// Linux 6.18 says 7.45, flags and more flags; before 5.17 there was one word of them.
#[test]
fn the_kernels_first_words_are_read_old_and_new() {
    let check = |arguments: Vec<u8>, expect: (u32, u32, u32, u64)| {
        let (major, minor, max_readahead, flags) = expect;
        let expect = Ask::Init {
            major,
            minor,
            max_readahead,
            flags,
        };
        assert_eq!(parse(&request(26, &arguments)), Ok(expect));
    };
    let new = [&b"\x07\0\0\0\x2d\0\0\0\0\0\x02\0\xfb\xff\xff\x73\xff\x03\0\0"[..], &[0; 44]].concat();
    check(new, (7, 45, 128 << 10, 0x3ff_73ff_fffb));
    check(
        b"\x07\0\0\0\x1f\0\0\0\0\0\x02\0\xfb\xff\xff\x03".to_vec(),
        (7, 31, 128 << 10, 0x03ff_fffb),
    );
    assert_eq!(
        parse(&request(26, b"\x07\0\0\0\x1f\0\0\0\0\0\x02\0\0\0\0\x40")),
        Err(Malformed),
        "it says that there are more"
    );
    let rows = [
        ((7, 45), true),
        ((7, 23), true),
        ((7, 22), false),
        ((6, 99), false),
        ((8, 0), true),
    ];
    for ((major, minor), expect) in rows {
        assert_eq!(is_spoken(major, minor), expect, "{major}.{minor}");
    }
}

#[test]
fn arguments_that_come_apart_are_the_same_ones() {
    let check = |opcode: u32, fixed: &[u8], others: &[u8], whole: &[u8]| {
        let bytes = request(opcode, whole);
        let mut fixed = fixed.to_vec();
        fixed.resize(128, 0xdd);
        let mut arguments = vec![1, 2, 3];
        let header = Header::alone(&bytes[..HEADER_BYTES]).expect("a header");
        header.join(&fixed, others, &mut arguments);
        assert_eq!(header.ask(&arguments), parse(&bytes));
        assert!(parse(&bytes).is_ok());
    };
    check(1, b"", b"name\0", b"name\0");
    check(22, b"\x10\0\0\0\0\0\0\0", b"user.x\0", b"\x10\0\0\0\0\0\0\0user.x\0");
    let read = words(&[7, 1 << 40, 0x5_0002_0000, 0, 0]);
    check(15, &read, b"", &read);
    check(44, &read, b"", &read);
    check(17, b"", b"", b"");
}

#[test]
fn forgotten_entries_are_told_one_by_one() {
    let told = |forgets: Forgets<'_>| {
        let mut told = Vec::new();
        forgets.for_each(|ino, count| told.push((ino, count)));
        told
    };
    assert_eq!(told(Forgets::One(5, 6)), [(5, 6)]);
    assert_eq!(told(Forgets::Many(&words(&[1, 2, 3, 4]))), [(1, 2), (3, 4)]);
    assert_eq!(told(Forgets::Many(&[])), []);
}

#[test]
fn what_is_cut_short_is_malformed_and_never_more() {
    let whole = [
        request(1, b"name\0"),
        request(2, &words(&[3])),
        request(15, &words(&[7, 8, 9])[..20]),
        request(22, b"\x10\0\0\0\0\0\0\0user.x\0"),
        request(23, &[0; 4]),
        request(26, &[0; 16]),
        request(36, &words(&[99])),
        request(42, &words(&[2, 5, 1, 6, 2])),
        request(44, &words(&[7, 8, 9])[..20]),
    ];
    for bytes in whole {
        assert!(parse(&bytes).is_ok(), "{bytes:?}");
        for len in 0..bytes.len() {
            assert_eq!(parse(&bytes[..len]), Err(Malformed), "{len} bytes come of {bytes:?}");
            if len >= HEADER_BYTES {
                let mut short = bytes[..len].to_vec();
                short[..4].copy_from_slice(&(len as u32).to_ne_bytes());
                assert_eq!(
                    parse(&short),
                    Err(Malformed),
                    "it says itself that it has {len} bytes: {bytes:?}"
                );
            }
        }
    }
    let mut small = request(17, &[]);
    small[..4].copy_from_slice(&39_u32.to_ne_bytes());
    assert_eq!(parse(&small), Err(Malformed), "shorter than its own header");
    let count = [u32::MAX.to_ne_bytes(), [0; 4]].concat();
    assert_eq!(parse(&request(42, &count)), Err(Malformed), "forgets more than there is");
}

#[test]
fn garbage_is_never_more_than_garbage() {
    let mut random = Random(0x5eed);
    let mut read = [0_u32; 2];
    for _ in 0..200_000 {
        let len = random.below(120) as usize;
        let mut bytes: Vec<u8> = (0..len).map(|_| random.next() as u8).collect();
        // Most of it gets as far as the arguments.
        if len >= HEADER_BYTES && random.below(8) > 0 {
            bytes[..4].copy_from_slice(&(len as u32).to_ne_bytes());
            bytes[4..8].copy_from_slice(&(random.below(60) as u32).to_ne_bytes());
        }
        let ask = parse(&bytes);
        if let Ok(Ask::Forget(forgets)) = ask {
            let mut count = 0;
            forgets.for_each(|_, _| count += 1);
            assert!(count <= len / 16 + 1);
        }
        read[usize::from(ask.is_ok())] += 1;
    }
    assert!(read[0] > 1000 && read[1] > 1000, "{read:?}");
}

/// Everybody's attributes, with a time before 1970.
fn attr() -> Attr {
    Attr {
        ino: 0x0a0b,
        kind: AttrKind::File,
        size: 1025,
        mode: 0o640,
        mtime: Mtime { secs: -2, nanos: 5 },
    }
}

const OWNER: Owner = Owner {
    user: 1000,
    group: 100,
    file_mode: None,
    dir_mode: None,
    umask: 0,
    has_names: false,
    generation: 7,
};

/// `struct fuse_attr` of them.
const STAT: [u8; 88] = *b"\x0b\x0a\0\0\0\0\0\0\x01\x04\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\
    \xfe\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff\xff\xff\xff\xff\
    \x05\0\0\0\x05\0\0\0\x05\0\0\0\xa0\x81\0\0\x01\0\0\0\xe8\x03\0\0\x64\0\0\0\0\0\0\0\0\x10\0\0\0\0\0\0";

#[test]
fn answers_are_written_as_the_kernel_reads_them() {
    let written = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut out = Vec::new();
        write(&mut out);
        out
    };
    assert_eq!(header(UNIQUE, 0, 8), *b"\x18\0\0\0\0\0\0\0\x08\x07\x06\x05\x04\x03\x02\x01");
    assert_eq!(header(1, libc::EINTR, 0), *b"\x10\0\0\0\xfc\xff\xff\xff\x01\0\0\0\0\0\0\0");
    let day = b"\x80\x51\x01\0\0\0\0\0";
    let got = written(&|out| put_attr(out, &attr(), OWNER));
    assert_eq!(got, [&day[..], &[0; 8], &STAT].concat());
    let entry = [b"\x0b\x0a\0\0\0\0\0\0", b"\x07\0\0\0\0\0\0\0", day, day, &[0; 8], &STAT[..]].concat();
    assert_eq!(entry.len(), ENTRY_BYTES);
    assert_eq!(written(&|out| put_entry(out, &attr(), OWNER)), entry);
    assert_eq!(
        written(&|out| put_open(out, 0xa2, 7)),
        *b"\0\0\0\0\0\0\0\0\xa2\0\0\0\x07\0\0\0"
    );
    assert_eq!(written(&|out| put_length(out, 300)), *b"\x2c\x01\0\0\0\0\0\0");
    assert_eq!(store_header(300), *b"\x54\x01\0\0\x04\0\0\0\0\0\0\0\0\0\0\0");
    assert_eq!(
        written(&|out| put_store(out, 0x0a0b, 300)),
        *b"\x0b\x0a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x2c\x01\0\0\0\0\0\0"
    );
    let flags = init::ASYNC_READ | init::EXT | init::PASSTHROUGH;
    let init = written(&|out| put_init(out, 1 << 17, flags));
    let golden = b"\x07\0\0\0\x2a\0\0\0\0\0\x02\0\x01\0\0\x40\x80\0\x60\0\0\x10\0\0\x01\0\0\0\x80\0\0\0\x20\0\0\0\x01\0\0\0";
    assert_eq!(init, [&golden[..], &[0; 24]].concat());

    let line = Line {
        next: 9,
        attr: attr(),
        name: b"name.",
    };
    let dirent = b"\x0b\x0a\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\x05\0\0\0\x08\0\0\0name.\0\0\0";
    let mut out = vec![1; 8];
    assert!(!put_line(&mut out, 39, &line, OWNER, false), "no room");
    assert_eq!(out, [1; 8]);
    assert!(put_line(&mut out, 40, &line, OWNER, false));
    assert_eq!(out[8..], *dirent);
    let mut out = Vec::new();
    assert!(!put_line(&mut out, 159, &line, OWNER, true) && put_line(&mut out, 160, &line, OWNER, true));
    assert_eq!(out, [&entry[..], dirent].concat());
}

#[test]
fn figures_of_the_release_fill_the_kernels_struct() {
    let space = Space {
        entries: 9,
        bytes: 10 * 4096 + 1,
        held_bytes: 3 * 4096,
    };
    let mut out = Vec::new();
    put_statfs(&mut out, &space);
    let mut expect = words(&[11, 8, 0, 9, 0]);
    for word in [4096_u32, 255, 4096] {
        expect.u32(word);
    }
    expect.extend([0; 28]);
    assert_eq!(out, expect);
}

#[test]
fn modes_are_the_releases_unless_the_mount_says_otherwise_and_links_have_all() {
    let check = |told: Permissions, kind: AttrKind, expect: u16| {
        let attr = Attr { kind, ..attr() };
        assert_eq!(Owner::new(1, 2, told, false, 0).mode(&attr), expect, "{told:?} {kind:?}");
    };
    let none = Permissions::default();
    check(none, AttrKind::File, 0o640);
    check(none, AttrKind::Dir, 0o640);
    let umask = Permissions { umask: 0o077, ..none };
    check(umask, AttrKind::File, 0o600);
    check(umask, AttrKind::Symlink, 0o640);
    let told = Permissions {
        file_mode: Some(0o444),
        dir_mode: Some(0o555),
        umask: 0o007,
        ..none
    };
    check(told, AttrKind::File, 0o440);
    check(told, AttrKind::Dir, 0o550);
    check(told, AttrKind::Symlink, 0o640);
    let owner = Owner::new(1, 2, Permissions { group: Some(9), ..none }, false, 7);
    assert_eq!((owner.user, owner.group), (1, 9));
    assert_eq!((owner.generation(&attr()), owner.generation(&Attr::dir(ROOT))), (7, 0));
}
