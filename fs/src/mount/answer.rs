//! Where answers go, whichever transport brought the request, and how they are handed to it. Decides nothing.

use std::cell::RefCell;
use std::io;
use std::os::fd::AsFd;

use bytes::Bytes;

use super::wire::{self, Line, Owner};
use super::{device, fallback, ring};
use crate::errno::Failure;
use crate::inode::Attr;
use crate::request::Space;

/// Where the answer to one request goes.
pub(super) enum To {
    Own(Own),
    Fuser(fallback::Ticket),
}

/// The same, of the transports whose bytes we write ourselves.
pub(super) enum Own {
    Device(device::Ticket),
    Ring(ring::Ticket),
}

/// An answer that is at hand.
pub(super) enum Answer<'a> {
    Done,
    Failed(Failure),
    Entry(Attr),
    Attr(Attr),
    Bytes(&'a [u8]),
    /// Bytes of a file, in pieces.
    Data(&'a [Bytes]),
    /// Read by the page cache, or by the kernel itself from a backing file.
    Opened(Option<&'a Backing>),
    Statfs(Space),
    /// How long an attribute is.
    Length(u32),
}

/// A file that the kernel has for reading by itself.
#[derive(Debug)]
pub(super) enum Backing {
    Own(device::Backing),
    Fuser(fuser::BackingId),
}

/// A listing that is being filled.
pub(super) enum Page {
    Own {
        to: Own,
        lines: Vec<u8>,
        room: usize,
        plus: bool,
    },
    Fuser(fallback::Page),
}

thread_local! {
    /// Where answers are written before they go. Kept, as fresh memory costs more than writing it.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Own {
    fn unique(&self) -> u64 {
        match self {
            Self::Device(to) => to.unique(),
            Self::Ring(to) => to.unique(),
        }
    }

    fn send(self, errno: i32, parts: &[&[u8]]) {
        match self {
            Self::Device(to) => to.send(errno, parts),
            Self::Ring(to) => to.send(errno, parts),
        }
    }

    fn back(&self, file: &dyn AsFd) -> io::Result<device::Backing> {
        match self {
            Self::Device(to) => device::Backing::open(to.channel(), file),
            Self::Ring(to) => device::Backing::open(to.channel(), file),
        }
    }
}

impl To {
    /// Names the request among those of its connection; `None` where nobody may interrupt it.
    pub(super) fn unique(&self) -> Option<u64> {
        match self {
            Self::Own(to) => Some(to.unique()),
            Self::Fuser(_) => None,
        }
    }

    pub(super) fn send(self, owner: Owner, answer: &Answer<'_>) {
        let to = match self {
            Self::Own(to) => to,
            Self::Fuser(to) => return to.send(owner, answer),
        };
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.clear();
            match answer {
                Answer::Done => {}
                Answer::Failed(failure) => return to.send(failure.errno(), &[]),
                Answer::Entry(attr) => wire::put_entry(scratch, attr, owner),
                Answer::Attr(attr) => wire::put_attr(scratch, attr, owner),
                Answer::Bytes(bytes) => return to.send(0, &[bytes]),
                Answer::Data(parts) => {
                    let parts: Vec<&[u8]> = parts.iter().map(|part| &part[..]).collect();
                    return to.send(0, &parts);
                }
                Answer::Opened(None) => wire::put_open(scratch, wire::open::KEEP_CACHE | wire::open::NOFLUSH, 0),
                Answer::Opened(Some(Backing::Own(backing))) => {
                    wire::put_open(scratch, wire::open::PASSTHROUGH | wire::open::NOFLUSH, backing.id);
                }
                // One mount has one transport.
                Answer::Opened(Some(Backing::Fuser(_))) => return to.send(libc::EIO, &[]),
                Answer::Statfs(space) => wire::put_statfs(scratch, space),
                Answer::Length(bytes) => wire::put_length(scratch, *bytes),
            }
            to.send(0, &[scratch]);
        });
    }

    /// A listing for this request: with attributes or without, of at most `room` bytes.
    pub(super) fn page(self, room: u32, plus: bool) -> Page {
        match self {
            Self::Own(to) => {
                let mut lines = SCRATCH.take();
                lines.clear();
                let room = room as usize;
                Page::Own { to, lines, room, plus }
            }
            Self::Fuser(to) => Page::Fuser(to.page()),
        }
    }

    /// Lends the kernel a file for this request, to be named in the answer.
    pub(super) fn back(&self, file: &dyn AsFd) -> io::Result<Backing> {
        match self {
            Self::Own(to) => to.back(file).map(Backing::Own),
            Self::Fuser(to) => to.back(file).map(Backing::Fuser),
        }
    }
}

impl Page {
    /// Adds a line; `false` where there is no room for it.
    pub(super) fn add(&mut self, line: &Line<'_>, owner: Owner) -> bool {
        match self {
            Self::Own { lines, room, plus, .. } => wire::put_line(lines, *room, line, owner, *plus),
            Self::Fuser(page) => page.add(line, owner),
        }
    }

    pub(super) fn send(self) {
        match self {
            Self::Own { to, lines, .. } => {
                to.send(0, &[&lines]);
                SCRATCH.set(lines);
            }
            Self::Fuser(page) => page.send(),
        }
    }
}
