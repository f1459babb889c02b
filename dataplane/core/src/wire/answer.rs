//! Answers: the reply half of an ask stream. The reader copies each byte once, from the stream into the chunk's own buffer.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::{Ask, AskItem, Referral, WireError, varint};

/// Longest answer head, in bytes: two varints in their longest form.
const HEAD_BYTES_MAX: usize = 16;

/// What stands in front of an item's bytes, or instead of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerHead {
    /// So many bytes follow: exactly the asked `len - from`.
    Bytes(u32),
    /// The responder does not have the chunk (yet).
    NotHeld,
    /// The responder has too much to do; ask again later.
    Busy,
    /// The responder had the chunk and lost it (its file changed); do not ask it again soon.
    Gone,
    /// The responder has given the chunk to another peer and has chunks to give that nobody else has: ask the others. Only where the ask
    /// allows it.
    Elsewhere,
}

impl AnswerHead {
    /// Its bytes on the wire.
    pub fn encode(self) -> Bytes {
        let mut out = BytesMut::with_capacity(HEAD_BYTES_MAX);
        match self {
            Self::Bytes(len) => {
                varint::put(&mut out, 0);
                varint::put(&mut out, len.into());
            }
            Self::NotHeld => varint::put(&mut out, 1),
            Self::Busy => varint::put(&mut out, 2),
            Self::Gone => varint::put(&mut out, 3),
            Self::Elsewhere => varint::put(&mut out, 4),
        }
        out.freeze()
    }

    /// `None` while bytes are missing.
    fn take(input: &mut &[u8], item: &AskItem) -> Result<Option<Self>, WireError> {
        let mut rest = *input;
        let Some(status) = varint::take(&mut rest) else {
            return Ok(None);
        };
        let head = match status {
            0 => {
                let Some(len) = varint::take(&mut rest) else {
                    return Ok(None);
                };
                let expected = item.wanted_bytes();
                let wrong = WireError::AnswerLength {
                    chunk: item.id,
                    expected,
                    actual: len,
                };
                match u32::try_from(len) {
                    Ok(bytes) if item.allows(len) => Self::Bytes(bytes),
                    _ => return Err(wrong),
                }
            }
            1 => Self::NotHeld,
            2 => Self::Busy,
            3 => Self::Gone,
            4 => Self::Elsewhere,
            _ => return Err(WireError::AnswerStatus { status }),
        };
        *input = rest;
        Ok(Some(head))
    }
}

/// What an answer stream brought. `item` is the index into the ask's items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnswerEvent {
    /// So many more bytes of an item came (the sum over an item is its asked bytes).
    Progress {
        /// Index of the item.
        item: usize,
        /// Bytes since the last progress of this item.
        bytes: u32,
    },
    /// All asked bytes of an item. They are not verified yet.
    Chunk {
        /// Index of the item.
        item: usize,
        /// The bytes `from..len`.
        bytes: Bytes,
    },
    /// The peer does not have it.
    NotHeld {
        /// Index of the item.
        item: usize,
    },
    /// The peer is too busy.
    Busy {
        /// Index of the item.
        item: usize,
    },
    /// The peer lost it.
    Gone {
        /// Index of the item.
        item: usize,
    },
    /// The peer has given it to another one, who will say so.
    Elsewhere {
        /// Index of the item.
        item: usize,
    },
}

/// Reads the answers to one ask, in whatever pieces they come. Reserves a chunk's bytes once, when a head has told the asked length.
#[derive(Debug)]
pub struct AnswerReader {
    items: Vec<AskItem>,
    may_refer: bool,
    /// Index of the item being answered.
    item: usize,
    /// Head bytes that came without their end.
    head: Vec<u8>,
    /// The body being filled and its full length; `None` while the head is awaited.
    body: Option<(BytesMut, usize)>,
    events: VecDeque<AnswerEvent>,
}

impl AnswerReader {
    /// For the answers to `ask`.
    pub fn new(ask: &Ask) -> Self {
        Self {
            items: ask.items().to_vec(),
            may_refer: ask.referral() != Referral::Never,
            item: 0,
            head: Vec::new(),
            body: None,
            events: VecDeque::new(),
        }
    }

    /// Takes the next bytes of the stream. After an error the reader must not be fed again.
    pub fn on_bytes(&mut self, mut bytes: &[u8]) -> Result<(), WireError> {
        while !bytes.is_empty() {
            if self.is_done() {
                return Err(WireError::Trailing {
                    what: "an answer",
                    excess: bytes.len(),
                });
            }
            match &mut self.body {
                None => self.on_head(&mut bytes)?,
                // Filled where it stands: moved out and back it would be read again right behind the copy, and wait for its stores.
                Some((body, full)) => {
                    let taken = bytes.len().min(*full - body.len());
                    body.extend_from_slice(&bytes[..taken]);
                    bytes = &bytes[taken..];
                    self.on_progress(taken as u32);
                    self.end_body_if_full();
                }
            }
        }
        Ok(())
    }

    /// The stream's FIN was seen.
    pub fn on_fin(&self) -> Result<(), WireError> {
        match self.is_done() {
            true => Ok(()),
            false => Err(WireError::Truncated { what: "an answer" }),
        }
    }

    /// Whether every item is answered.
    pub fn is_done(&self) -> bool {
        self.item == self.items.len()
    }

    /// What came, in order.
    pub fn poll(&mut self) -> Option<AnswerEvent> {
        self.events.pop_front()
    }

    fn on_head(&mut self, bytes: &mut &[u8]) -> Result<(), WireError> {
        let held = self.head.len();
        let more = bytes.len().min(HEAD_BYTES_MAX - held);
        self.head.extend_from_slice(&bytes[..more]);
        let mut rest = &self.head[..];
        let Some(head) = AnswerHead::take(&mut rest, &self.items[self.item])? else {
            *bytes = &bytes[more..]; // a head of HEAD_BYTES_MAX bytes is whole, so this was all there was
            return Ok(());
        };
        *bytes = &bytes[self.head.len() - rest.len() - held..];
        self.head.clear();
        let item = self.item;
        match head {
            AnswerHead::Bytes(len) => self.body = Some((BytesMut::with_capacity(len as usize), len as usize)),
            AnswerHead::NotHeld => self.end_item(AnswerEvent::NotHeld { item }),
            AnswerHead::Busy => self.end_item(AnswerEvent::Busy { item }),
            AnswerHead::Gone => self.end_item(AnswerEvent::Gone { item }),
            AnswerHead::Elsewhere if self.may_refer => self.end_item(AnswerEvent::Elsewhere { item }),
            AnswerHead::Elsewhere => return Err(WireError::AnswerStatus { status: 4 }),
        }
        Ok(())
    }

    fn end_body_if_full(&mut self) {
        if let Some((body, _)) = self.body.take_if(|(body, full)| body.len() == *full) {
            let (item, bytes) = (self.item, body.freeze());
            self.end_item(AnswerEvent::Chunk { item, bytes });
        }
    }

    /// Progress that nobody polled yet grows instead of queueing up.
    fn on_progress(&mut self, more: u32) {
        match self.events.back_mut() {
            Some(AnswerEvent::Progress { item, bytes }) if *item == self.item => *bytes += more,
            _ => self.events.push_back(AnswerEvent::Progress {
                item: self.item,
                bytes: more,
            }),
        }
    }

    fn end_item(&mut self, event: AnswerEvent) {
        self.events.push_back(event);
        self.item += 1;
    }
}
