//! What the ring brings back with each completion: which operation of the shard it was, in the 64 bits that the kernel carries.

use ares_core::peer::{PathId, SocketId};

/// What a tag of the ring stands for.
pub(super) enum Tag {
    Receive(SocketId),
    /// Of a connection.
    Send(PathId),
    /// Of the endpoint itself.
    Respond,
    Load(u64),
}

impl Tag {
    const KIND_SHIFT: u32 = 60;

    pub(super) fn encode(&self) -> u64 {
        match self {
            Self::Receive(id) => u64::from(id.0),
            Self::Send(path) => 1 << Self::KIND_SHIFT | path.0,
            Self::Load(id) => 2 << Self::KIND_SHIFT | id,
            Self::Respond => 3 << Self::KIND_SHIFT,
        }
    }

    pub(super) fn decode(tag: u64) -> Option<Self> {
        let value = tag & ((1 << Self::KIND_SHIFT) - 1);
        match tag >> Self::KIND_SHIFT {
            0 => Some(Self::Receive(SocketId(u16::try_from(value).ok()?))),
            1 => Some(Self::Send(PathId(value))),
            2 => Some(Self::Load(value)),
            3 => Some(Self::Respond),
            _ => None,
        }
    }
}
