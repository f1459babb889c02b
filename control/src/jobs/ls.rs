//! Lists a directory of a release, or the one entry that a link names.

use ares_core::link::Link;
use ares_core::manifest::{EntryKind, Meta};

use crate::admin::proto::{Event, Listed, ListedKind, Outcome, Raw, SharedSink};
use crate::cancel::Cancel;
use crate::daemon::Shared;
use crate::error::Failure;
use crate::tree;

pub(super) fn run(daemon: &Shared, link: &Link, sink: &SharedSink, cancel: &Cancel) -> Result<Outcome, Failure> {
    daemon.hint(link);
    let chunks = daemon.chunks(link.release, cancel);
    let found = tree::find(&chunks, link.release, &link.inside)?;
    let mut entries = 0;
    let mut show = |name: &[u8], meta: &Meta, kind: &EntryKind| {
        entries += 1;
        sink.event(Event::Entry(listed(name, meta, kind)))
            .map_err(|_| Failure::interrupted())
    };
    match &found.kind {
        EntryKind::Dir(dir) => tree::entries(&chunks, *dir, &mut |e| show(e.name.as_bytes(), &e.meta, &e.kind))?,
        kind => {
            let name = found.name.as_ref().map_or(link.name.as_bytes(), |n| n.as_bytes());
            show(name, &found.meta, kind)?;
        }
    }
    Ok(Outcome::Listed { entries })
}

fn listed(name: &[u8], meta: &Meta, kind: &EntryKind) -> Listed {
    let (kind, bytes, target, b3) = match kind {
        EntryKind::Dir(dir) => (ListedKind::Dir, dir.totals.bytes, None, None),
        EntryKind::Symlink(target) => (ListedKind::Symlink, target.len() as u64, Some(Raw(target.to_vec())), None),
        EntryKind::File(file) => (ListedKind::File, file.bytes, None, file.b3),
    };
    Listed {
        name: Raw(name.to_vec()),
        kind,
        mode: meta.mode,
        bytes,
        mtime_s: meta.mtime.secs,
        mtime_ns: meta.mtime.nanos,
        target,
        b3: b3.map(|hash| hash.iter().map(|b| format!("{b:02x}")).collect()),
    }
}
