//! Asks: the request half of an ask stream, written by the requester and parsed within bounds by the responder.

use bytes::{Bytes, BytesMut};

use super::{WireError, varint};
use crate::chunk::{ChunkId, LEN_UNKNOWN};
use crate::limits::{ASK_CHUNKS_MAX, CHUNK_BYTES_MAX};

/// First varint of an ask stream, by what its responder may leave to others.
const STREAM_ASK: u64 = 1;
const STREAM_ASK_ANYONE: u64 = 2;
const STREAM_ASK_URGENT: u64 = 3;

/// Longest encoded ask, in bytes: every varint in its longest form.
pub const ASK_BYTES_MAX: usize = 8 + 8 + ASK_CHUNKS_MAX * (32 + 8 + 8);

/// Bytes `from..len` of one chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AskItem {
    /// The chunk.
    pub id: ChunkId,
    /// Its whole length, in bytes, `1..=CHUNK_BYTES_MAX`, or `LEN_UNKNOWN`.
    pub len: u32,
    /// First byte wanted; below `len`.
    pub from: u32,
}

impl AskItem {
    /// Bytes to be answered; 0 where the asker does not know.
    pub const fn wanted_bytes(&self) -> u32 {
        self.len - self.from
    }

    /// Whether an answer may bring this many bytes.
    pub(super) const fn allows(&self, bytes: u64) -> bool {
        match self.len {
            LEN_UNKNOWN => bytes > 0 && bytes <= CHUNK_BYTES_MAX as u64,
            _ => bytes == self.wanted_bytes() as u64,
        }
    }

    /// Whether some chunk can have such a range.
    const fn is_sound(&self) -> bool {
        let unknown = self.len == LEN_UNKNOWN && self.from == 0;
        unknown || (self.from < self.len && self.len <= CHUNK_BYTES_MAX)
    }
}

/// When the responder may answer `AnswerHead::Elsewhere`: that it has given what is asked to another one, who will say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Referral {
    /// Never: it gives what it has.
    Never,
    /// While it answers many: somebody waits, and that takes longer than what others pass on.
    WhenBusy,
    /// Whenever that is so. Such asks are answered in turn, too.
    WhenGiven,
}

impl Referral {
    const fn kind(self) -> u64 {
        match self {
            Self::Never => STREAM_ASK,
            Self::WhenBusy => STREAM_ASK_URGENT,
            Self::WhenGiven => STREAM_ASK_ANYONE,
        }
    }

    const fn of_kind(kind: u64) -> Option<Self> {
        match kind {
            STREAM_ASK => Some(Self::Never),
            STREAM_ASK_URGENT => Some(Self::WhenBusy),
            STREAM_ASK_ANYONE => Some(Self::WhenGiven),
            _ => None,
        }
    }
}

/// A run of chunks asked over one stream; answered item by item, in order. 1 to `ASK_CHUNKS_MAX` items with sound ranges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    items: Vec<AskItem>,
    referral: Referral,
}

impl Ask {
    /// An ask for `items`, which are ours: a count or range that no ask may have is our mistake.
    pub fn new(items: Vec<AskItem>) -> Self {
        assert!(
            (1..=ASK_CHUNKS_MAX).contains(&items.len()),
            "an ask of {} chunks",
            items.len()
        );
        assert!(
            items.iter().all(AskItem::is_sound),
            "an ask for a range no chunk has: {items:?}"
        );
        Self {
            items,
            referral: Referral::Never,
        }
    }

    /// The same, where the responder may send the requester to others.
    #[must_use]
    pub fn with_referral(self, referral: Referral) -> Self {
        Self { referral, ..self }
    }

    /// When `AnswerHead::Elsewhere` is an answer to it.
    pub fn referral(&self) -> Referral {
        self.referral
    }

    /// What is asked, in order.
    pub fn items(&self) -> &[AskItem] {
        &self.items
    }

    /// Its bytes on the wire; the stream's FIN follows them.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(4 + self.items.len() * 40);
        varint::put(&mut out, self.referral.kind());
        varint::put(&mut out, self.items.len() as u64);
        for item in &self.items {
            out.extend_from_slice(item.id.as_bytes());
            varint::put(&mut out, item.len.into());
            varint::put(&mut out, item.from.into());
        }
        out.freeze()
    }
}

/// Reads one ask off a stream, in whatever pieces it comes. Holds at most one ask's bytes.
#[derive(Debug, Default)]
pub struct AskReader {
    buffer: Vec<u8>,
    is_done: bool,
}

impl AskReader {
    /// For a fresh stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes; the ask once it is whole, exactly once. Whatever follows it is a violation.
    pub fn on_bytes(&mut self, bytes: &[u8]) -> Result<Option<Ask>, WireError> {
        if self.is_done {
            return match bytes.len() {
                0 => Ok(None),
                excess => Err(WireError::Trailing { what: "an ask", excess }),
            };
        }
        let taken = bytes.len().min(ASK_BYTES_MAX - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..taken]);
        let mut input = &self.buffer[..];
        let Some(ask) = parse(&mut input)? else {
            return Ok(None);
        };
        let excess = input.len() + bytes.len() - taken;
        self.is_done = true;
        self.buffer = Vec::new();
        match excess {
            0 => Ok(Some(ask)),
            _ => Err(WireError::Trailing { what: "an ask", excess }),
        }
    }

    /// The stream's FIN was seen.
    pub fn on_fin(&self) -> Result<(), WireError> {
        match self.is_done {
            true => Ok(()),
            false => Err(WireError::Truncated { what: "an ask" }),
        }
    }
}

/// `None` while bytes are missing. Parses from the start each time: an ask is 3 KiB at most and mostly comes whole.
fn parse(input: &mut &[u8]) -> Result<Option<Ask>, WireError> {
    let Some(kind) = varint::take(input) else {
        return Ok(None);
    };
    let referral = Referral::of_kind(kind).ok_or(WireError::StreamUnknown { kind })?;
    let Some(count) = varint::take(input) else {
        return Ok(None);
    };
    if !(1..=ASK_CHUNKS_MAX as u64).contains(&count) {
        return Err(WireError::AskCount { count });
    }
    let mut items = Vec::with_capacity(count as usize);
    for _ in 0..count {
        match take_item(input)? {
            Some(item) => items.push(item),
            None => return Ok(None),
        }
    }
    Ok(Some(Ask { items, referral }))
}

fn take_item(input: &mut &[u8]) -> Result<Option<AskItem>, WireError> {
    let Some((id, rest)) = input.split_first_chunk::<32>() else {
        return Ok(None);
    };
    let chunk = ChunkId::from_bytes(*id);
    *input = rest;
    let (Some(len), Some(from)) = (varint::take(input), varint::take(input)) else {
        return Ok(None);
    };
    let range = WireError::AskRange { chunk, len, from };
    match (u32::try_from(len), u32::try_from(from)) {
        (Ok(len), Ok(from)) => {
            let item = AskItem { id: chunk, len, from };
            if item.is_sound() { Ok(Some(item)) } else { Err(range) }
        }
        _ => Err(range),
    }
}
