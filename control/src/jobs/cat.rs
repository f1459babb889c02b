//! Sends the bytes of a file in order. Chunks are asked for ahead of the reader, within a bound, so that a round trip is paid once.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use ares_core::chunk::ChunkRef;
use ares_core::link::Link;
use ares_core::manifest::{Content, EntryKind, Root, Walk, WalkItem, WalkStep};
use ares_core::swarm::{BlobPlace, Class, FetchError, Unreached, Want};
use bytes::Bytes;

use crate::admin::codec::DATA_BYTES_MAX;
use crate::admin::proto::{Event, Outcome, Sink};
use crate::cancel::Cancel;
use crate::daemon::Shared;
use crate::error::{Failure, Kind};
use crate::tree::{self, Chunks as _};

/// Bytes asked for ahead of the reader.
const AHEAD_BYTES: u64 = 16 << 20;

/// Manifest nodes asked for at a time.
const AHEAD_NODES: usize = 4;

pub(super) fn run(daemon: &Shared, link: &Link, sink: &std::sync::Arc<dyn Sink>, cancel: &Cancel) -> Result<Outcome, Failure> {
    daemon.hint(link);
    let chunks = daemon.chunks(link.release, cancel);
    let found = tree::find(&chunks, link.release, &link.inside)?;
    let file = match &found.kind {
        EntryKind::File(file) => file,
        EntryKind::Dir(_) => {
            return Err(Failure::new(Kind::NotFound, "the link names a directory, not a file")
                .help("add the path of a file to it: `ares ls` lists what is there"));
        }
        EntryKind::Symlink(target) => {
            return Err(
                Failure::new(Kind::NotFound, format!("the link names a symlink to {}", tree::show(target)))
                    .help("name the file that it leads to"),
            );
        }
    };
    let mut sender = Sender { sink: &**sink, sent: 0 };
    match &file.content {
        Content::Inline(bytes) => sender.send(bytes.clone())?,
        Content::Packed { pack, offset } => {
            let pack = chunks.node(*pack)?;
            let from = *offset as usize;
            // The manifest's codec has checked that the file lies inside its pack.
            sender.send(pack.bytes().slice(from..from + file.bytes as usize))?;
        }
        Content::Chunks(_) | Content::List(_) => {
            // A file that was found is a root of its own.
            let Some(root) = found.as_root() else {
                return Ok(Outcome::Sent { bytes: 0 });
            };
            stream(daemon, link, &root, &mut sender, cancel)?;
        }
    }
    Ok(Outcome::Sent { bytes: sender.sent })
}

struct Sender<'a> {
    sink: &'a dyn Sink,
    sent: u64,
}

impl Sender<'_> {
    fn send(&mut self, mut bytes: Bytes) -> Result<(), Failure> {
        while !bytes.is_empty() {
            let data = bytes.split_to(bytes.len().min(DATA_BYTES_MAX));
            self.sent += data.len() as u64;
            self.sink.event(Event::Data { data }).map_err(|_| Failure::interrupted())?;
        }
        Ok(())
    }
}

/// A chunk that was asked for.
struct Coming {
    answer: Receiver<Result<Bytes, FetchError>>,
    bytes: u64,
}

fn stream(daemon: &Shared, link: &Link, root: &Root, sender: &mut Sender<'_>, cancel: &Cancel) -> Result<(), Failure> {
    let chunks = daemon.chunks(link.release, cancel);
    let mut walk = Walk::new(root, AHEAD_NODES);
    let mut coming: VecDeque<Coming> = VecDeque::new();
    let mut ahead = 0;
    let mut is_walked = false;
    loop {
        while !is_walked && ahead < AHEAD_BYTES {
            match walk.poll()? {
                WalkStep::Node(node) => walk.on_node(chunks.node(node)?),
                WalkStep::Item(WalkItem::Chunk { chunk, place }) => {
                    coming.push_back(ask(daemon, link, chunk, place));
                    ahead += u64::from(chunk.len);
                }
                WalkStep::Item(_) => {}
                WalkStep::Done | WalkStep::Wait => is_walked = true,
            }
        }
        let Some(next) = coming.pop_front() else { return Ok(()) };
        ahead -= next.bytes;
        sender.send(wait(&next, cancel)?)?;
    }
}

fn ask(daemon: &Shared, link: &Link, chunk: ChunkRef, place: BlobPlace) -> Coming {
    let (answered, answer) = sync_channel(1);
    let want = Want {
        chunk,
        place: Some(place),
        // Somebody reads along: the earlier a chunk is asked for, the earlier it is needed, which is the order of this class.
        class: Class::Deadline,
        release: link.release,
        patience: daemon.config.patience,
        unreached: Unreached::GiveUp,
    };
    // A reader that has gone takes no answer.
    daemon
        .handle
        .fetch(want, Box::new(move |result| drop(answered.try_send(result))));
    Coming {
        answer,
        bytes: u64::from(chunk.len),
    }
}

fn wait(coming: &Coming, cancel: &Cancel) -> Result<Bytes, Failure> {
    loop {
        match coming.answer.recv_timeout(Duration::from_millis(100)) {
            Ok(result) => return result.map_err(Failure::from),
            Err(RecvTimeoutError::Disconnected) => return Err(FetchError::Shutdown.into()),
            Err(RecvTimeoutError::Timeout) if cancel.is_cancelled() => return Err(Failure::interrupted()),
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}
