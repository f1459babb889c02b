//! The connection to the kernel over /dev/fuse, spoken by ourselves: the first words, threads that take requests, and the way back of
//! answers. It never waits for anything but the next request.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Weak};
use std::thread;

use ares_ring::Roster;
use rustix::io::Errno;

use super::answer::{Own, To};
use super::attach;
use super::ring::Queues;
use super::session::Shared;
use super::wire::{self, Ask, Header};
use crate::Descriptors;

/// Room for a request. Nothing that is asked of us is longer than a name; what writes is refused by the kernel, or cut by it to fit. The kernel
/// wants 8 KiB at least; in more it has room to forget thousands of entries at once.
const REQUEST_BYTES: usize = 64 << 10;

/// Why no request is taken any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// The connection has ended.
    Ended,
    /// It goes on, with another process.
    Left,
}

/// One descriptor of the connection.
#[derive(Debug)]
pub(super) struct Channel(OwnedFd);

/// Where the answer to one request goes: to the descriptor that it came from.
pub(super) struct Ticket {
    pub(super) unique: u64,
    pub(super) channel: Arc<Channel>,
}

/// A file that the kernel has for reading by itself; it is taken back from it on drop.
#[derive(Debug)]
pub(super) struct Backing {
    pub(super) id: u32,
    /// A connection that has ended has nothing to be told.
    channel: Weak<Channel>,
}

impl Channel {
    /// The connection that this descriptor belongs to.
    pub(super) fn over(connection: OwnedFd) -> Self {
        Self(connection)
    }

    /// The next request, unless the thread is called to leave.
    fn receive<'a>(&self, buffer: &'a mut [u8], roster: &Roster) -> io::Result<Result<&'a [u8], Over>> {
        while !roster.is_called() {
            match rustix::io::read(&self.0, &mut *buffer) {
                Ok(len) => return Ok(Ok(&buffer[..len])),
                // Somebody took the request back before we had it; a signal.
                Err(Errno::NOENT | Errno::INTR | Errno::AGAIN) => {}
                // Unmounted; aborted.
                Err(Errno::NODEV | Errno::CONNABORTED) => return Ok(Err(Over::Ended)),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Err(Over::Left))
    }

    /// Has the kernel ask again what was taken from any descriptor of the connection and is not answered.
    pub(super) fn ask_again(&self) -> io::Result<()> {
        rustix::io::write(&self.0, &wire::resend())?;
        Ok(())
    }

    /// A descriptor of the connection for others to go on with.
    pub(super) fn hand_out(&self) -> io::Result<OwnedFd> {
        self.0.try_clone()
    }

    /// The kernel takes an answer whole or not at all.
    fn send(&self, unique: u64, errno: i32, parts: &[&[u8]]) -> Result<(), Errno> {
        let bytes = parts.iter().map(|part| part.len()).sum();
        let header = wire::header(unique, errno, bytes);
        let mut slices = Vec::with_capacity(1 + parts.len());
        slices.push(IoSlice::new(&header));
        slices.extend(parts.iter().map(|part| IoSlice::new(part)));
        rustix::io::writev(&self.0, &slices).map(drop)
    }

    /// Another descriptor of the same connection, with a queue of its own for requests under way.
    pub(super) fn another(&self) -> io::Result<Self> {
        let fresh = attach::open_device()?;
        ares_ring::fuse::join(fresh.as_fd(), self.0.as_fd())?;
        Ok(Self(fresh))
    }
}

/// Has the kernel keep a file, whole. It may wait for somebody who reads that file, and so for our answer to them.
pub(super) fn store(connection: BorrowedFd<'_>, ino: u64, bytes: &[u8]) -> Result<(), Errno> {
    let mut out = Vec::with_capacity(32);
    wire::put_store(&mut out, ino, u32::try_from(bytes.len()).map_err(|_| Errno::TOOBIG)?);
    let header = wire::store_header(bytes.len());
    let slices = [&header[..], &out, bytes].map(IoSlice::new);
    rustix::io::writev(connection, &slices).map(drop)
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Ticket {
    pub(super) fn unique(&self) -> u64 {
        self.unique
    }

    /// Answers, with an error where `errno` is not 0.
    pub(super) fn send(self, errno: i32, parts: &[&[u8]]) {
        match self.channel.send(self.unique, errno, parts) {
            // Who asked has been killed, or the connection has ended.
            Ok(()) | Err(Errno::NOENT | Errno::NODEV | Errno::CONNABORTED) => {}
            Err(error) => {
                tracing::error!(%error, bytes = parts.iter().map(|part| part.len()).sum::<usize>(), "the kernel refuses an answer");
                // Whoever asked must not wait for ever. If this is refused too, there is no more to be done.
                let _ = self.channel.send(self.unique, libc::EIO, &[]);
            }
        }
    }

    pub(super) fn channel(&self) -> &Arc<Channel> {
        &self.channel
    }
}

impl Backing {
    /// One that the kernel has already.
    pub(super) fn lent(channel: &Arc<Channel>, id: u32) -> Self {
        let channel = Arc::downgrade(channel);
        Self { id, channel }
    }

    /// Lends the kernel a file.
    pub(super) fn open(channel: &Arc<Channel>, file: &dyn AsFd) -> io::Result<Self> {
        let id = ares_ring::fuse::open_backing(channel.0.as_fd(), file.as_fd())?;
        let channel = Arc::downgrade(channel);
        Ok(Self { id, channel })
    }
}

impl Drop for Backing {
    fn drop(&mut self) {
        if let Some(channel) = self.channel.upgrade()
            && let Err(error) = ares_ring::fuse::close_backing(channel.0.as_fd(), self.id)
        {
            tracing::debug!(%error, "the kernel does not give a backing file back");
        }
    }
}

/// Says the first words on a connection that was just mounted. With queues where `ring` wants them and the kernel has them: they serve from now on.
pub(super) fn greet(shared: &Arc<Shared>, connection: OwnedFd, ring: bool) -> io::Result<(Arc<Channel>, Option<Queues>)> {
    let channel = Arc::new(Channel::over(connection));
    let mut buffer = vec![0; REQUEST_BYTES];
    loop {
        let request = channel.receive(&mut buffer, &shared.roster)?;
        let request = request.map_err(|_| io::Error::new(io::ErrorKind::NotConnected, "the kernel ended it at once"))?;
        let malformed = |_| io::Error::new(io::ErrorKind::InvalidData, "the kernel's first request is malformed");
        let (header, arguments) = Header::parse(request).map_err(malformed)?;
        let Ask::Init {
            major,
            minor,
            max_readahead,
            flags,
        } = header.ask(arguments).map_err(malformed)?
        else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the kernel does not begin with FUSE_INIT",
            ));
        };
        if !wire::is_spoken(major, minor) {
            channel.send(header.unique, libc::EPROTO, &[])?;
            let error = format!("the kernel speaks FUSE {major}.{minor}, which is too old");
            return Err(io::Error::new(io::ErrorKind::Unsupported, error));
        }
        let mut wanted = wire::init::WANTED;
        if shared.is_told_of_opens() {
            wanted |= wire::init::PASSTHROUGH;
        }
        let mut queues = if ring { queues(shared, &channel, flags) } else { None };
        if queues.is_some() {
            wanted |= wire::init::OVER_IO_URING;
        }
        let taken = flags & wanted;
        let mut out = Vec::new();
        wire::put_init(&mut out, max_readahead, taken);
        channel.send(header.unique, 0, &[&out])?;
        if major > wire::MAJOR {
            continue;
        }
        shared.agree(taken & wire::init::PASSTHROUGH != 0, taken & wire::init::HAS_RESEND != 0);
        if let Some(queues) = &mut queues {
            queues.begin();
        }
        return Ok((channel, queues));
    }
}

/// Queues for a kernel that offers this; says why where there are none.
fn queues(shared: &Arc<Shared>, channel: &Arc<Channel>, offered: u64) -> Option<Queues> {
    if offered & wire::init::OVER_IO_URING == 0 {
        tracing::info!("no FUSE over io_uring here (Linux 6.14, /sys/module/fuse/parameters/enable_uring): going over /dev/fuse");
        return None;
    }
    let prepared = Queues::prepare(shared, channel);
    prepared
        .inspect_err(|error| tracing::info!(%error, "no queues for FUSE over io_uring: going over /dev/fuse"))
        .ok()
}

/// Answers requests in several threads, this one among them, until the connection is over or all threads are called to leave.
pub(super) fn serve(
    shared: &Arc<Shared>,
    channel: Arc<Channel>,
    queues: Option<Queues>,
    threads: usize,
    descriptors: Descriptors,
) -> io::Result<Over> {
    let more: Vec<_> = (1..threads)
        .filter_map(|n| {
            let channel = match descriptors {
                // Without the right to open the device all threads share the one descriptor.
                Descriptors::Each => channel.another().map_or_else(|_| channel.clone(), Arc::new),
                Descriptors::One => channel.clone(),
            };
            let shared = shared.clone();
            let spawned = thread::Builder::new()
                .name(format!("ares-fs-{n}"))
                .spawn(move || take(&shared, &channel));
            spawned
                .inspect_err(|error| tracing::warn!(%error, "a mount has fewer threads"))
                .ok()
        })
        .collect();
    let mut result = take(shared, &channel);
    for thread in more {
        let ended = thread
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("a thread of the mount panicked")));
        // What one of them knows of the end is so for all.
        result = match (result, ended) {
            (Ok(Over::Left), Ok(ended)) => Ok(ended),
            (result, ended) => result.and_then(|result| ended.map(|_| result)),
        };
    }
    if let Some(queues) = queues {
        // What still waits is answered, as a queue ends with the last of its requests.
        shared.close();
        queues.join();
    }
    result
}

/// One thread's part.
fn take(shared: &Arc<Shared>, channel: &Arc<Channel>) -> io::Result<Over> {
    let Some(_present) = shared.roster.enter() else {
        return Ok(Over::Left);
    };
    let mut buffer = vec![0; REQUEST_BYTES];
    loop {
        match channel.receive(&mut buffer, &shared.roster)? {
            Ok(request) => take_one(shared, channel, request),
            Err(over) => return Ok(over),
        }
    }
}

/// Answers one request, now or later.
pub(super) fn take_one(shared: &Arc<Shared>, channel: &Arc<Channel>, request: &[u8]) {
    let Ok((header, arguments)) = Header::parse(request) else {
        tracing::error!(bytes = request.len(), "a request that is none");
        return;
    };
    let ticket = || Ticket {
        unique: header.unique,
        channel: channel.clone(),
    };
    match header.ask(arguments) {
        Ok(Ask::Forget(forgets)) => shared.forget(forgets),
        Ok(Ask::Interrupt { unique }) => shared.interrupt(unique),
        Ok(ask) => shared.serve(ask, To::Own(Own::Device(ticket()))),
        Err(wire::Malformed) => {
            tracing::error!(?header, "a malformed request");
            ticket().send(libc::EIO, &[]);
        }
    }
}
