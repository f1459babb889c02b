//! Without a kernel: what the other end of a socket is answered.

use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::super::answer::Own;
use super::super::device::{Channel, Ticket};
use super::*;
use crate::testing::{MemorySource, Release, dir, file};

/// More files than are kept in memory.
const FILES: usize = 1_500;

/// Errno and length of the answer.
fn answer(serve: impl FnOnce(To)) -> (i32, usize) {
    let pair = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
    let (ours, theirs): (OwnedFd, OwnedFd) = pair.expect("a pair");
    let channel = Arc::new(Channel::over(theirs));
    serve(To::Own(Own::Device(Ticket { unique: 7, channel })));
    let mut answer = [0; 4096];
    let len = rustix::io::read(&ours, &mut answer).expect("an answer");
    let errno = i32::from_ne_bytes(answer[4..8].try_into().expect("four bytes"));
    (errno, len)
}

#[test]
fn what_is_dropped_from_memory_between_two_looks_is_recalled() {
    let files = (0..FILES).map(|n| (format!("f{n:04}"), file(n.to_string())));
    let release = Release::of(&dir([("d", dir(files))]));
    let root = Root::parse(&release.root).expect("a root");
    let options = MountOptions {
        passthrough: Passthrough::Always,
        ..MountOptions::default()
    };
    let settings = Settings {
        release: ares_core::chunk::ReleaseId(release.root.id()),
        patience: options.patience,
        cache_bytes: options.cache_bytes,
        profile: Default::default(),
    };
    let name = Name::new(b"release".to_vec()).expect("a name");
    let shared = Arc::new(Shared::new(settings, &root, name, MemorySource::prompt(&release), &options));
    // The top directory's only entry, and the first of its entries.
    let (top, first) = (ROOT + 1, ROOT + 2);
    let fill = || {
        for (parent, name) in std::iter::once((ROOT, "d".to_owned())).chain((0..FILES).map(|n| (top, format!("f{n:04}")))) {
            let ask = Ask::Lookup {
                parent,
                name: name.as_bytes(),
            };
            let (errno, _) = answer(|to| shared.serve(ask, to));
            assert_eq!(errno, 0, "{name}");
        }
    };
    for ask in [
        Ask::Attr { ino: first },
        Ask::Open { ino: first },
        Ask::Xattrs { ino: first, room: 0 },
    ] {
        fill();
        assert!(shared.must_recall(first), "it was dropped");
        // Where `serve` has looked and somebody else has had it dropped since.
        let (errno, len) = answer(|to| shared.serve_at_once(ask, to));
        assert_eq!(errno, 0, "{ask:?}");
        assert!(len > 16, "{ask:?}");
    }
}
