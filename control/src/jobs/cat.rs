//! Sends the bytes of a file in order.

use ares_core::link::Link;
use ares_core::manifest::EntryKind;
use bytes::Bytes;

use crate::admin::codec::DATA_BYTES_MAX;
use crate::admin::proto::{Event, Outcome, Sink};
use crate::cancel::Cancel;
use crate::daemon::Shared;
use crate::error::{Failure, Kind};
use crate::stream::{Part, stream};
use crate::tree;

/// Bytes asked for ahead of the reader.
const AHEAD_BYTES: u64 = 16 << 20;

pub(super) fn run(daemon: &Shared, link: &Link, sink: &std::sync::Arc<dyn Sink>, cancel: &Cancel) -> Result<Outcome, Failure> {
    daemon.hint(link);
    let found = tree::find(&daemon.chunks(link.release, cancel), link.release, &link.inside)?;
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
    let part = Part {
        release: link.release,
        file,
        range: 0..file.bytes,
    };
    stream(daemon, &part, &|| AHEAD_BYTES, cancel, &mut |bytes| send(&**sink, bytes))?;
    Ok(Outcome::Sent { bytes: file.bytes })
}

fn send(sink: &dyn Sink, mut bytes: Bytes) -> Result<(), Failure> {
    while !bytes.is_empty() {
        let data = bytes.split_to(bytes.len().min(DATA_BYTES_MAX));
        sink.event(Event::Data { data }).map_err(|_| Failure::interrupted())?;
    }
    Ok(())
}
