//! Brings the bytes of a file, or of a part of it, in order. Chunks are asked for ahead of the reader, within a bound, so that a round trip
//! is paid once. Decides neither what is read nor where it goes.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use ares_core::chunk::{ChunkId, ChunkRef, ReleaseId};
use ares_core::manifest::{Content, File, ListNode, ListRef, ListSpan};
use ares_core::swarm::{BlobPlace, Class, FetchError, Unreached, Want};
use ares_node::Handle;
use ares_node::api::WantId;
use bytes::Bytes;

use crate::cancel::Cancel;
use crate::daemon::Shared;
use crate::error::Failure;
use crate::tree::Chunks as _;

/// How often a thread that waits for a chunk looks whether anybody still wants it.
const CANCEL_LOOK: Duration = Duration::from_millis(100);

/// What is to be read.
pub(crate) struct Part<'a> {
    pub(crate) release: ReleaseId,
    pub(crate) file: &'a File,
    /// Inside the file.
    pub(crate) range: Range<u64>,
}

/// Hands the part's bytes to `take`, piece by piece, and has about `ahead_bytes` of them asked for ahead of it, one chunk at least. Blocks until
/// the last is taken, `take` fails or nobody wants them any more.
pub(crate) fn stream(
    daemon: &Shared,
    part: &Part<'_>,
    ahead_bytes: &dyn Fn() -> u64,
    cancel: &Cancel,
    take: &mut dyn FnMut(Bytes) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let Range { start, end } = part.range;
    if start == end {
        return Ok(());
    }
    let chunks = daemon.chunks(part.release, cancel);
    match &part.file.content {
        Content::Inline(bytes) => return take(bytes.slice(start as usize..end as usize)),
        Content::Packed { pack, offset } => {
            let pack = chunks.node(*pack)?;
            // The manifest's codec has checked that the file lies inside its pack.
            let from = u64::from(*offset);
            return take(pack.bytes().slice((from + start) as usize..(from + end) as usize));
        }
        Content::Chunks(_) | Content::List(_) => {}
    }
    let list = |list: ListRef| Ok(ListNode::parse(&chunks.node(list.node)?, &list)?);
    let mut pieces = Pieces::new(part.file, part.range.clone());
    // Files that are not cut have returned above.
    let Some(blob) = part.file.blob_id() else { return Ok(()) };
    let mut coming: VecDeque<(Piece, Option<Asked<'_>>)> = VecDeque::new();
    let mut ahead = 0;
    loop {
        while ahead < ahead_bytes().max(1)
            && let Some(piece) = pieces.next(&list)?
        {
            ahead += u64::from(piece.chunk.len);
            // What is held is read when it is its turn, by this thread: nobody need be woken for it.
            let is_held = daemon.handle.store().has(&piece.chunk.id);
            coming.push_back((piece, (!is_held).then(|| ask(daemon, part, blob, piece))));
        }
        let Some((piece, asked)) = coming.pop_front() else {
            return Ok(());
        };
        if cancel.is_cancelled() {
            return Err(Failure::interrupted());
        }
        let Piece { chunk, at } = piece;
        ahead -= u64::from(chunk.len);
        let bytes = match asked {
            Some(asked) => asked.wait(cancel)?,
            None => match daemon.handle.read_held(part.release, chunk, &place(part, blob, at)) {
                Some(bytes) => bytes,
                None => ask(daemon, part, blob, piece).wait(cancel)?,
            },
        };
        // What of it is asked for: all, but for the first and the last.
        let inside = |offset: u64| offset.clamp(at, at + bytes.len() as u64) - at;
        take(bytes.slice(inside(start) as usize..inside(end) as usize))?;
    }
}

/// A chunk and where in its file it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    chunk: ChunkRef,
    at: u64,
}

/// The chunks that cover a range, in order. Looks at no more of the file's list than leads to them.
struct Pieces {
    range: Range<u64>,
    /// What is to be looked at, the next last.
    todo: Vec<Spot>,
}

#[derive(Clone, Copy)]
enum Spot {
    Chunk(Piece),
    List { list: ListRef, at: u64 },
}

impl Spot {
    fn range(&self) -> Range<u64> {
        match *self {
            Self::Chunk(Piece { chunk, at }) => at..at + u64::from(chunk.len),
            Self::List { list, at } => at..at + list.bytes,
        }
    }
}

impl Pieces {
    fn new(file: &File, range: Range<u64>) -> Self {
        let mut pieces = Self { range, todo: Vec::new() };
        match &file.content {
            Content::Chunks(chunks) => pieces.push(&ListNode::Leaf(chunks.clone()), 0),
            Content::List(list) => pieces.todo.push(Spot::List { list: *list, at: 0 }),
            Content::Inline(_) | Content::Packed { .. } => {}
        }
        pieces
    }

    /// The next chunk. `node` brings a node of the list.
    fn next(&mut self, node: &dyn Fn(ListRef) -> Result<ListNode, Failure>) -> Result<Option<Piece>, Failure> {
        while let Some(spot) = self.todo.pop() {
            match spot {
                Spot::Chunk(piece) => return Ok(Some(piece)),
                Spot::List { list, at } => self.push(&node(list)?, at),
            }
        }
        Ok(None)
    }

    /// What of a node that begins at `at` is in the range.
    fn push(&mut self, node: &ListNode, at: u64) {
        let spots = node.spans().map(|span| match span {
            ListSpan::Chunk { chunk, start } => Spot::Chunk(Piece { chunk, at: at + start }),
            ListSpan::Child { node, start } => Spot::List {
                list: node,
                at: at + start,
            },
        });
        let from = self.todo.len();
        let wanted = &self.range;
        self.todo.extend(spots.filter(|spot| {
            let range = spot.range();
            range.start < wanted.end && wanted.start < range.end
        }));
        self.todo[from..].reverse();
    }
}

/// A chunk that was asked for. Nobody waits for it any more when it is dropped.
struct Asked<'a> {
    handle: &'a Handle,
    id: WantId,
    answer: Receiver<Result<Bytes, FetchError>>,
    is_answered: bool,
}

fn place(part: &Part<'_>, blob: ChunkId, offset: u64) -> BlobPlace {
    BlobPlace {
        blob,
        blob_bytes: part.file.bytes,
        offset,
    }
}

fn ask<'a>(daemon: &'a Shared, part: &Part<'_>, blob: ChunkId, piece: Piece) -> Asked<'a> {
    let (answered, answer) = sync_channel(1);
    let want = Want {
        chunk: piece.chunk,
        place: Some(place(part, blob, piece.at)),
        // Somebody reads along: the earlier a chunk is asked for, the earlier it is needed, which is the order of this class.
        class: Class::Deadline,
        release: part.release,
        patience: daemon.patience(),
        unreached: Unreached::GiveUp,
    };
    let handle = &daemon.handle;
    // A reader that has gone takes no answer.
    let id = handle.fetch(want, Box::new(move |result| drop(answered.try_send(result))));
    Asked {
        handle,
        id,
        answer,
        is_answered: false,
    }
}

impl Asked<'_> {
    fn wait(mut self, cancel: &Cancel) -> Result<Bytes, Failure> {
        loop {
            match self.answer.recv_timeout(CANCEL_LOOK) {
                Ok(result) => {
                    self.is_answered = true;
                    return result.map_err(Failure::from);
                }
                Err(RecvTimeoutError::Disconnected) => return Err(FetchError::Shutdown.into()),
                Err(RecvTimeoutError::Timeout) if cancel.is_cancelled() => return Err(Failure::interrupted()),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if !self.is_answered {
            self.handle.cancel(self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(n: u64, len: u32) -> ChunkRef {
        ChunkRef {
            id: ChunkId::of(&n.to_le_bytes()),
            len,
        }
    }

    /// A list of two levels: pieces of `fan` chunks of `len` bytes each, all of them alike but for their names.
    fn list(fan: u64, pieces: u64, len: u32) -> (File, Vec<(ListRef, ListNode)>) {
        let leaf = |at: u64| ListNode::Leaf((at * fan..(at + 1) * fan).map(|n| chunk(n, len)).collect());
        let reference = |n: u64, height, chunks| ListRef {
            node: chunk(1 << 40 | n, 1),
            height,
            bytes: chunks * u64::from(len),
            chunks,
        };
        let leaves: Vec<(ListRef, ListNode)> = (0..pieces).map(|at| (reference(at, 0, fan), leaf(at))).collect();
        let top = reference(pieces, 1, fan * pieces);
        let branch = ListNode::Branch(leaves.iter().map(|(list, _)| *list).collect());
        let file = File {
            bytes: top.bytes,
            content: Content::List(top),
            b3: None,
        };
        (file, leaves.into_iter().chain([(top, branch)]).collect())
    }

    #[test]
    fn the_pieces_of_a_range_are_those_that_overlap_it_and_nodes_beside_it_are_not_fetched() {
        const LEN: u32 = 10;
        let (file, nodes) = list(4, 5, LEN);
        for start in 0..file.bytes {
            for end in start + 1..=file.bytes {
                let fetched = std::cell::Cell::new(0);
                let node = |wanted: ListRef| {
                    fetched.set(fetched.get() + 1);
                    let (_, node) = nodes.iter().find(|(list, _)| *list == wanted).expect("it is there");
                    Ok(node.clone())
                };
                let mut pieces = Pieces::new(&file, start..end);
                let mut found = Vec::new();
                while let Some(piece) = pieces.next(&node).expect("nodes are there") {
                    found.push(piece);
                }
                let all = (0..20).map(|n| Piece {
                    chunk: chunk(n, LEN),
                    at: n * u64::from(LEN),
                });
                let expect: Vec<Piece> = all
                    .filter(|piece| piece.at < end && start < piece.at + u64::from(LEN))
                    .collect();
                assert_eq!(found, expect, "{start}..{end}");
                let leaves = (end - 1) / 40 - start / 40 + 1;
                assert_eq!(fetched.get(), leaves + 1, "{start}..{end}");
            }
        }
    }

    #[test]
    fn a_short_list_stands_in_the_entry_itself() {
        let file = File {
            bytes: 30,
            content: Content::Chunks((0..3).map(|n| chunk(n, 10)).collect()),
            b3: None,
        };
        let mut pieces = Pieces::new(&file, 10..11);
        let none = |_: ListRef| -> Result<ListNode, Failure> { panic!("there is no node") };
        let only = pieces.next(&none).expect("no node is needed");
        assert_eq!(
            only,
            Some(Piece {
                chunk: chunk(1, 10),
                at: 10
            })
        );
        assert_eq!(pieces.next(&none).expect("no node is needed"), None);
    }
}
