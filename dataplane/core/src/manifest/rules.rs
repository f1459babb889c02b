//! What the values of a manifest must satisfy. The same rules judge what is parsed and what a publisher builds.

use super::{Content, DirClaim, DirNode, DirRef, Entry, EntryKind, Fault, File, ListNode, ListRef, Meta, Totals};
use crate::chunk::ChunkRef;
use crate::limits::{
    CHUNK_BYTES_MAX, CHUNK_BYTES_MIN, CHUNKS_IN_ENTRY_MAX, DIR_DEPTH_MAX, FILE_BYTES_MAX, INLINE_BYTES_MAX, NAME_BYTES_MAX,
    PACKED_BYTES_MAX, TARGET_BYTES_MAX, XATTRS_BYTES_MAX,
};

const XATTR_PREFIX: &[u8] = b"user.";

fn limit(what: &'static str, value: u64, least: u64, most: u64) -> Result<(), Fault> {
    if value < least || value > most {
        return Err(Fault::Limit {
            what,
            value,
            least,
            most,
        });
    }
    Ok(())
}

/// Names and keys ascend and do not repeat.
pub(super) fn ascend(before: Option<&[u8]>, after: &[u8]) -> Result<(), Fault> {
    match before {
        Some(before) if before >= after => Err(Fault::Order {
            before: before.escape_ascii().to_string(),
            after: after.escape_ascii().to_string(),
        }),
        _ => Ok(()),
    }
}

pub(super) fn check_meta(meta: &Meta) -> Result<(), Fault> {
    limit("a mode", meta.mode.into(), 0, 0o777)?;
    limit("the nanoseconds of a time", meta.mtime.nanos.into(), 0, 999_999_999)?;
    let mut before = None;
    let mut bytes = 0;
    for xattr in &meta.xattrs {
        ascend(before, &xattr.key)?;
        before = Some(&xattr.key);
        if !xattr.key.starts_with(XATTR_PREFIX) || xattr.key.len() == XATTR_PREFIX.len() || xattr.key.contains(&0) {
            return Err(Fault::Form("an attribute whose name is not \"user.\" and more"));
        }
        limit(
            "the length of an attribute's name",
            xattr.key.len() as u64,
            1,
            NAME_BYTES_MAX as u64,
        )?;
        bytes += xattr.key.len() + xattr.value.len();
    }
    limit("the bytes of an entry's attributes", bytes as u64, 0, XATTRS_BYTES_MAX as u64)
}

pub(super) fn check_entry(entry: &Entry) -> Result<(), Fault> {
    check_meta(&entry.meta)?;
    match &entry.kind {
        EntryKind::Dir(_) => Ok(()),
        EntryKind::Symlink(target) => {
            limit(
                "the length of a link's target",
                target.len() as u64,
                1,
                TARGET_BYTES_MAX as u64,
            )?;
            if target.contains(&0) {
                return Err(Fault::Form("a link whose target has a NUL"));
            }
            Ok(())
        }
        EntryKind::File(file) => check_file(file, PACKED_BYTES_MAX),
    }
}

/// A file that is a whole release has no siblings to be packed with: above the inline size it has chunks.
pub(super) fn check_top_file(file: &File) -> Result<(), Fault> {
    if matches!(file.content, Content::Packed { .. }) {
        return Err(Fault::Form("a release of a single file is packed"));
    }
    check_file(file, INLINE_BYTES_MAX)
}

/// A file's content has the form that follows from its size; own chunks begin above `unchunked_max` bytes.
fn check_file(file: &File, unchunked_max: u64) -> Result<(), Fault> {
    let (least, most, bytes) = match &file.content {
        Content::Inline(bytes) => (0, INLINE_BYTES_MAX, bytes.len() as u64),
        Content::Packed { .. } => (INLINE_BYTES_MAX + 1, PACKED_BYTES_MAX, file.bytes),
        Content::Chunks(chunks) => {
            limit("the chunks of an entry", chunks.len() as u64, 1, CHUNKS_IN_ENTRY_MAX as u64)?;
            (unchunked_max + 1, FILE_BYTES_MAX, sum_chunks(chunks)?)
        }
        Content::List(list) => {
            limit(
                "the chunks of a listed file",
                list.chunks,
                CHUNKS_IN_ENTRY_MAX as u64 + 1,
                u64::MAX,
            )?;
            check_ratio("the bytes of a listed file", list, true)?;
            (unchunked_max + 1, FILE_BYTES_MAX, list.bytes)
        }
    };
    if file.bytes != bytes {
        return Err(Fault::Claim {
            what: "content's size",
            claimed: file.bytes,
            actual: bytes,
        });
    }
    limit("the size of a file in this form", bytes, least, most)
}

fn sum(what: &'static str, mut values: impl Iterator<Item = u64>) -> Result<u64, Fault> {
    let total = values.try_fold(0u64, |sum, value| sum.checked_add(value).filter(|&sum| sum <= FILE_BYTES_MAX));
    total.ok_or(Fault::Limit {
        what,
        value: u64::MAX,
        least: 0,
        most: FILE_BYTES_MAX,
    })
}

/// The last chunk of a file is not empty, no other is below the least length, and none is above the limit: so a reader of some bytes knows
/// how many chunks they can be in.
fn check_ratio(what: &'static str, list: &ListRef, is_last: bool) -> Result<(), Fault> {
    let whole = list.chunks - u64::from(is_last);
    limit(
        what,
        list.bytes,
        whole
            .saturating_mul(CHUNK_BYTES_MIN.into())
            .saturating_add(u64::from(is_last)),
        list.chunks.saturating_mul(CHUNK_BYTES_MAX.into()),
    )
}

/// A node does not know whether more of the file follows: its last chunk may be short, where its parent's claim allows it.
fn sum_chunks(chunks: &[ChunkRef]) -> Result<u64, Fault> {
    if let Some((_, others)) = chunks.split_last() {
        for chunk in others {
            limit(
                "the length of a chunk that is not a file's last",
                chunk.len.into(),
                CHUNK_BYTES_MIN.into(),
                CHUNK_BYTES_MAX.into(),
            )?;
        }
    }
    sum("the sum of a file's chunks", chunks.iter().map(|c| c.len.into()))
}

/// Totals and depth of what stands in a directory node.
pub(super) fn sums(node: &DirNode) -> Result<(Totals, u16), Fault> {
    let parts: Vec<(Totals, u16)> = match node {
        DirNode::Leaf(entries) => entries.iter().map(sums_of_entry).collect::<Result<_, _>>()?,
        DirNode::Branch(children) => children.iter().map(|child| (child.node.totals, child.node.depth)).collect(),
    };
    let totals = Totals {
        bytes: sum("the sum of all bytes", parts.iter().map(|(t, _)| t.bytes))?,
        entries: sum("the sum of all entries", parts.iter().map(|(t, _)| t.entries))?,
        chunks: sum("the sum of all chunks", parts.iter().map(|(t, _)| t.chunks))?,
    };
    Ok((totals, parts.iter().map(|&(_, depth)| depth).max().unwrap_or(0)))
}

fn sums_of_entry(entry: &Entry) -> Result<(Totals, u16), Fault> {
    match &entry.kind {
        EntryKind::Dir(dir) => {
            let depth = dir.depth + 1;
            limit("the depth of nested directories", depth.into(), 0, DIR_DEPTH_MAX as u64)?;
            let entries = sum("the sum of all entries", [dir.totals.entries, 1].into_iter())?;
            Ok((Totals { entries, ..dir.totals }, depth))
        }
        EntryKind::Symlink(_) => Ok((
            Totals {
                entries: 1,
                ..Totals::default()
            },
            0,
        )),
        EntryKind::File(file) => {
            // A pack counts once: with the file at its start.
            let chunks = match file.content {
                Content::Packed { offset, .. } => u64::from(offset == 0),
                _ => file.own_chunks(),
            };
            Ok((
                Totals {
                    bytes: file.bytes,
                    entries: 1,
                    chunks,
                },
                0,
            ))
        }
    }
}

fn claim(what: &'static str, claimed: u64, actual: u64) -> Result<(), Fault> {
    if claimed != actual {
        return Err(Fault::Claim { what, claimed, actual });
    }
    Ok(())
}

/// A directory node is what its reference says, and its names are those that may stand there.
pub(super) fn check_dir(node: &DirNode, expect: &DirClaim) -> Result<(), Fault> {
    let DirRef { totals, depth, .. } = expect.node;
    let (actual, actual_depth) = sums(node)?;
    claim("number of bytes", totals.bytes, actual.bytes)?;
    claim("number of entries", totals.entries, actual.entries)?;
    claim("number of chunks", totals.chunks, actual.chunks)?;
    claim("depth", depth.into(), actual_depth.into())?;

    let (first, last) = match node {
        DirNode::Leaf(entries) => (entries.first().map(|e| &e.name), entries.last().map(|e| &e.name)),
        DirNode::Branch(children) => (children.first().map(|c| &c.first), children.last().map(|c| &c.first)),
    };
    if first.is_none() && (expect.node.height > 0 || expect.first.is_some()) {
        return Err(Fault::Form("a piece of a directory without entries"));
    }
    let misplaced = match (&expect.first, &expect.below) {
        (Some(place), _) if first != Some(place) => first,
        (_, Some(below)) if last >= Some(below) => last,
        _ => None,
    };
    match misplaced {
        Some(name) => Err(Fault::Range {
            name: name.as_bytes().escape_ascii().to_string(),
        }),
        None => Ok(()),
    }
}

/// A chunk list node is what its reference says.
pub(super) fn check_list(node: &ListNode, expect: &ListRef) -> Result<(), Fault> {
    let (bytes, chunks) = match node {
        ListNode::Leaf(chunks) => (sum_chunks(chunks)?, chunks.len() as u64),
        ListNode::Branch(children) => {
            for (at, child) in children.iter().enumerate() {
                check_ratio("the bytes of a piece of a chunk list", child, at + 1 == children.len())?;
            }
            (
                sum("the sum of a file's bytes", children.iter().map(|c| c.bytes))?,
                sum("the sum of a file's chunks", children.iter().map(|c| c.chunks))?,
            )
        }
    };
    claim("number of bytes", expect.bytes, bytes)?;
    claim("number of chunks", expect.chunks, chunks)
}
