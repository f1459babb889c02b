//! Cuts the bytes of a read out of chunks, by reference. Checks that they lie where the manifest says.

use std::ops::Range;

use ares_core::chunk::ChunkId;
use bytes::Bytes;

use crate::view::Piece;

/// The bytes `range` out of chunks that cover it in order. `Err` names the chunk that is not where it should be, where it is one.
pub(crate) fn join(parts: impl Iterator<Item = (Piece, Bytes)>, range: Range<u64>) -> Result<Vec<Bytes>, Option<ChunkId>> {
    let mut joined = range.start;
    let mut data = Vec::new();
    for (piece, bytes) in parts {
        let wrong = Err(Some(piece.chunk.id));
        if bytes.len() != piece.chunk.len as usize || piece.start > joined {
            return wrong;
        }
        let end = range.end.min(piece.start + bytes.len() as u64);
        let Some(part) = slice(&bytes, joined - piece.start..end.saturating_sub(piece.start)) else {
            return wrong;
        };
        joined = end;
        data.push(part);
    }
    if joined == range.end { Ok(data) } else { Err(None) }
}

/// A part of `bytes`, sharing their memory; `None` where they do not reach.
pub(crate) fn slice(bytes: &Bytes, range: Range<u64>) -> Option<Bytes> {
    let (start, end) = (usize::try_from(range.start).ok()?, usize::try_from(range.end).ok()?);
    (start <= end && end <= bytes.len()).then(|| bytes.slice(start..end))
}

#[cfg(test)]
mod tests {
    use ares_core::chunk::ChunkRef;

    use super::*;

    /// A part at `start` holding `text`, named as `len` bytes long.
    fn part(start: u64, text: &'static str, len: u32) -> (Piece, Bytes) {
        let id = ChunkId::of(text.as_bytes());
        let chunk = ChunkRef { id, len };
        (Piece { chunk, start }, Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn a_read_is_cut_from_its_chunks_and_lies_are_found() {
        let check = |parts: Vec<(Piece, Bytes)>, range: Range<u64>, expect: Option<&str>| {
            let got = join(parts.into_iter(), range.clone()).ok().map(|data| data.concat());
            assert_eq!(got.as_deref(), expect.map(str::as_bytes), "{range:?}");
        };
        let whole = || vec![part(0, "abcd", 4), part(4, "ef", 2), part(6, "ghijk", 5)];
        check(whole(), 0..11, Some("abcdefghijk"));
        check(whole(), 2..8, Some("cdefgh"));
        check(vec![part(4, "ef", 2)], 4..6, Some("ef"));
        check(vec![part(0, "abcdefgh", 8)], 3..5, Some("de"));
        check(whole(), 2..12, None);
        check(vec![part(0, "abcd", 4), part(6, "ghijk", 5)], 2..8, None);
        check(vec![part(0, "abcd", 5)], 0..4, None);
        check(vec![part(4, "ef", 2)], 3..5, None);
        check(vec![], 0..1, None);
    }
}
