//! Reads, writes, syncs, registered files, and dropping a ring that has some in flight.

use super::*;
use std::os::fd::OwnedFd;

fn write(ring: &mut Ring, file: impl Into<Target>, offset: u64, bytes: Bytes) -> Result<(), OpError> {
    ring.submit(
        Op::Write {
            file: file.into(),
            offset,
            bytes: bytes.clone(),
        },
        1,
    );
    let completion = next(ring);
    assert_eq!((completion.tag, completion.more), (1, false));
    let Outcome::Written { bytes: back, result } = completion.outcome else {
        panic!("{completion:?}")
    };
    assert_eq!(back, bytes);
    result
}

fn read(ring: &mut Ring, file: impl Into<Target>, offset: u64, buf: BytesMut, len: usize) -> (BytesMut, Result<usize, OpError>) {
    ring.submit(
        Op::Read {
            file: file.into(),
            offset,
            buf,
            len,
        },
        2,
    );
    let completion = next(ring);
    assert_eq!((completion.tag, completion.more), (2, false));
    let Outcome::Read { buf, result } = completion.outcome else {
        panic!("{completion:?}")
    };
    (buf, result)
}

#[test]
fn what_is_written_is_read() {
    let mut ring = ring(0);
    let file = temp_file("round-trip");
    let text: Bytes = (0..300_000u32).map(|n| (n % 251) as u8).collect();
    write(&mut ring, file.clone(), 7, text.clone()).expect("write");
    for scope in [SyncScope::Data, SyncScope::Everything] {
        ring.submit(
            Op::Sync {
                file: file.clone().into(),
                scope,
            },
            3,
        );
        assert!(matches!(next(&mut ring).outcome, Outcome::Synced { result: Ok(()) }));
    }
    let check = |ring: &mut Ring, offset: u64, held: &[u8], len: usize, expect: &[u8]| {
        let (buf, result) = read(ring, file.clone(), offset, BytesMut::from(held), len);
        assert_eq!(result.expect("read"), expect.len(), "at {offset}");
        assert_eq!(&buf[..held.len()], held);
        assert_eq!(&buf[held.len()..], expect);
    };
    check(&mut ring, 7, b"", text.len(), &text);
    check(&mut ring, 7, b"kept", 100, &text[..100]);
    check(&mut ring, 0, b"", 10, &[0, 0, 0, 0, 0, 0, 0, 0, 1, 2]);
    check(&mut ring, 7, b"", 0, b"");
    check(&mut ring, 7 + 299_990, b"end", 4096, &text[299_990..]);
    check(&mut ring, 1 << 40, b"", 4096, b"");
}

#[test]
fn errors_carry_the_errno_and_the_buffers() {
    let mut ring = ring(0);
    let read_only: Arc<OwnedFd> = Arc::new(File::open("/dev/null").expect("open").into());
    let error = write(&mut ring, read_only, 0, Bytes::from_static(b"x")).expect_err("read-only");
    assert_eq!(error.errno(), Some(libc::EBADF));
    assert_eq!(error.to_string(), "write failed: Bad file descriptor (os error 9)");
    let full = Arc::new(File::options().write(true).open("/dev/full").expect("open"));
    assert_eq!(
        write(&mut ring, full, 0, Bytes::from_static(b"x")).expect_err("full").errno(),
        Some(libc::ENOSPC)
    );
    let directory = Arc::new(File::open("/").expect("open"));
    let (buf, result) = read(&mut ring, directory, 0, BytesMut::from(&b"kept"[..]), 10);
    assert_eq!(result.expect_err("a directory").errno(), Some(libc::EISDIR));
    assert_eq!(&buf[..], b"kept");
}

#[test]
fn registered_files_work_run_out_and_come_back() {
    let mut ring = ring(0);
    let files: Vec<Arc<File>> = (0..4).map(|n| temp_file(&format!("slot{n}"))).collect();
    let slots: Vec<FileSlot> = files.iter().map(|file| ring.register(file).expect("a slot")).collect();
    assert!(matches!(ring.register(&files[0]), Err(RingError::SlotsFull { slots: 4 })));
    for (slot, text) in slots.iter().zip(["zero", "one", "two", "three"]) {
        write(&mut ring, *slot, 0, Bytes::from_static(text.as_bytes())).expect("write");
    }
    let (buf, _) = read(&mut ring, slots[2], 0, BytesMut::new(), 10);
    assert_eq!(&buf[..], b"two");
    // Unregistered while a read is queued on it: the read still finds its own file, not the next one of that place.
    ring.submit(
        Op::Read {
            file: slots[1].into(),
            offset: 0,
            buf: BytesMut::new(),
            len: 10,
        },
        9,
    );
    ring.unregister(slots[1]);
    assert!(
        matches!(ring.register(&files[0]), Err(RingError::SlotsFull { .. })),
        "still used"
    );
    let Outcome::Read { buf, .. } = next(&mut ring).outcome else {
        panic!("a read")
    };
    assert_eq!(&buf[..], b"one");
    let again = ring.register(&files[3]).expect("free again");
    let (buf, _) = read(&mut ring, again, 0, BytesMut::new(), 10);
    assert_eq!(&buf[..], b"three");
}

#[test]
fn more_operations_than_entries_all_complete() {
    let mut ring = ring(0);
    let file = temp_file("many");
    const COUNT: u64 = 500; // of 8 submission and 64 completion entries
    for n in 0..COUNT {
        ring.submit(
            Op::Write {
                file: file.clone().into(),
                offset: n * 8,
                bytes: Bytes::copy_from_slice(&n.to_le_bytes()),
            },
            n,
        );
    }
    assert_eq!(ring.in_flight(), COUNT as usize);
    let mut seen: Vec<u64> = (0..COUNT).map(|_| next(&mut ring).tag).collect();
    seen.sort_unstable();
    assert_eq!(seen, (0..COUNT).collect::<Vec<_>>());
    let (buf, _) = read(&mut ring, file, 0, BytesMut::new(), 1 << 20);
    assert_eq!(&buf[..], (0..COUNT).flat_map(u64::to_le_bytes).collect::<Vec<u8>>());
}

/// A pipe nobody writes to: a read on it stays in flight for ever.
fn silent_pipe() -> (Arc<std::io::PipeReader>, std::io::PipeWriter) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    (Arc::new(reader), writer)
}

#[test]
fn a_cancelled_read_gives_its_buffer_back() {
    let mut ring = ring(0);
    let (reader, _writer) = silent_pipe();
    // Cancelled while still queued, and while waiting in the kernel.
    for waits in [false, true] {
        ring.submit(
            Op::Read {
                file: reader.clone().into(),
                offset: u64::MAX,
                buf: BytesMut::from(&b"kept"[..]),
                len: 10,
            },
            5,
        );
        if waits {
            ring.enter(Some(Duration::from_millis(1))).expect("enter");
        }
        assert_eq!(ring.cancel(6), 0, "no such tag");
        assert_eq!(ring.cancel(5), 1);
        let Completion {
            tag: 5,
            more: false,
            outcome: Outcome::Read { buf, result },
        } = next(&mut ring)
        else {
            panic!("a read")
        };
        assert!(matches!(result, Err(OpError::Cancelled { op: OpKind::Read })), "{result:?}");
        assert_eq!(&buf[..], b"kept");
        assert_eq!(ring.in_flight(), 0);
    }
}

#[test]
fn a_dropped_ring_lets_go_of_everything_in_flight() {
    let (reader, writer) = silent_pipe();
    let socket = UdpSocket::bind("127.0.0.1:0".parse().expect("an address"), &SocketOptions::default()).expect("bind");
    for entered in [false, true] {
        let mut ring = ring(4);
        for tag in 0..50 {
            ring.submit(
                Op::Read {
                    file: reader.clone().into(),
                    offset: u64::MAX,
                    buf: BytesMut::new(),
                    len: 100,
                },
                tag,
            );
        }
        ring.submit(
            Op::Receive {
                socket: (&socket).into(),
            },
            99,
        );
        if entered {
            ring.enter(Some(Duration::ZERO)).expect("enter");
        }
        let start = Instant::now();
        drop(ring);
        assert!(start.elapsed() < DROP_WAIT, "the kernel let go in time");
        assert_eq!(Arc::strong_count(&reader), 1, "nothing was leaked");
    }
    drop(writer);
}

/// What a hung disk would do to the wait is done here by not waiting.
#[test]
fn what_the_kernel_does_not_let_go_of_is_leaked_not_freed() {
    let (reader, writer) = silent_pipe();
    let mut ring = ring(4);
    ring.submit(
        Op::Read {
            file: reader.clone().into(),
            offset: u64::MAX,
            buf: BytesMut::new(),
            len: 100,
        },
        1,
    );
    ring.enter(Some(Duration::ZERO)).expect("enter");
    ring.drop_wait = Duration::ZERO;
    drop(ring);
    assert_eq!(
        Arc::strong_count(&reader),
        2,
        "the operation, and with it its buffer, is still there"
    );
    drop(writer);
}
