//! What a peer can do wrong on the wire, and the one table from each wrong to its QUIC application close code.

use crate::chunk::ChunkId;
use crate::limits::{ASK_CHUNKS_MAX, CHUNK_BYTES_MAX, FRAME_BYTES_MAX};

/// A peer broke the protocol. Every variant is the peer's doing; the remedy is to close its connection with `close_code`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A frame says it is longer than any may be.
    #[error("the peer announced a control frame of {len} bytes; at most {FRAME_BYTES_MAX} are allowed")]
    FrameTooLong {
        /// Length it announced, in bytes.
        len: u64,
    },
    /// A frame's body is not what its type says.
    #[error("the peer sent a malformed {frame} frame: {why}")]
    FrameMalformed {
        /// Name of the frame's type.
        frame: &'static str,
        /// What does not fit.
        why: &'static str,
    },
    /// Something came before the hello.
    #[error("the peer sent a frame of type {kind} before its hello")]
    HelloMissing {
        /// Type of the frame that came first.
        kind: u64,
    },
    /// A hello came twice.
    #[error("the peer said hello twice")]
    HelloTwice,
    /// No common protocol version.
    #[error("the peer speaks protocol version {theirs}, this node speaks {ours}: update the older of the two")]
    Version {
        /// Version in its hello.
        theirs: u64,
        /// Version of this node.
        ours: u64,
    },
    /// Too many control frames in one interval.
    #[error("the peer sent more than {allowed} control frames within {interval_ms} ms")]
    Flood {
        /// Frames allowed in an interval.
        allowed: u32,
        /// Length of the interval, in milliseconds.
        interval_ms: u64,
    },
    /// It takes no control bytes off our hands.
    #[error("the peer left {queued} bytes of control frames unread")]
    Unread {
        /// Bytes waiting to be sent to it.
        queued: usize,
    },
    /// It ended the control stream, which lives as long as the connection.
    #[error("the peer ended its control stream")]
    ControlEnded,
    /// A stream of a kind this version does not know.
    #[error("the peer opened a stream of unknown kind {kind}")]
    StreamUnknown {
        /// First varint of the stream.
        kind: u64,
    },
    /// An ask names no chunk or too many.
    #[error("the peer asked for {count} chunks in one ask; 1 to {ASK_CHUNKS_MAX} are allowed")]
    AskCount {
        /// Number of chunks it announced.
        count: u64,
    },
    /// An ask for a range no chunk has.
    #[error("the peer asked for bytes {from}..{len} of chunk {chunk:?}; a chunk has 1 to {CHUNK_BYTES_MAX} bytes")]
    AskRange {
        /// The chunk.
        chunk: ChunkId,
        /// Length it gave, in bytes.
        len: u64,
        /// First byte it wants.
        from: u64,
    },
    /// An answer with a status this version does not know.
    #[error("the peer answered with unknown status {status}")]
    AnswerStatus {
        /// The status.
        status: u64,
    },
    /// An answer of another length than was asked.
    #[error("the peer answered {actual} bytes where {expected} of chunk {chunk:?} were asked")]
    AnswerLength {
        /// The chunk.
        chunk: ChunkId,
        /// Bytes asked.
        expected: u32,
        /// Bytes it announced.
        actual: u64,
    },
    /// Bytes after the end of an ask or an answer.
    #[error("the peer sent {excess} bytes or more past the end of {what}")]
    Trailing {
        /// Ask or answer.
        what: &'static str,
        /// Bytes seen past the end.
        excess: usize,
    },
    /// A stream that ended too early.
    #[error("the peer ended {what} early")]
    Truncated {
        /// Ask or answer.
        what: &'static str,
    },
}

/// QUIC application error codes: why a connection or stream was closed (RFC 9000 section 20.2). Numbers are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum CloseCode {
    /// The node is stopping; nobody is at fault.
    Goodbye = 0,
    /// An ask lost its race or its asker; only ever on a stream.
    Cancelled = 1,
    /// A chunk's bytes did not hash to its name.
    WrongBytes = 2,
    /// `WireError::FrameTooLong`.
    FrameTooLong = 3,
    /// `WireError::FrameMalformed`.
    FrameMalformed = 4,
    /// `WireError::HelloMissing`.
    HelloMissing = 5,
    /// `WireError::HelloTwice`.
    HelloTwice = 6,
    /// `WireError::Version`.
    Version = 7,
    /// `WireError::Flood`.
    Flood = 8,
    /// `WireError::Unread`.
    Unread = 9,
    /// `WireError::ControlEnded`.
    ControlEnded = 10,
    /// `WireError::StreamUnknown`.
    StreamUnknown = 11,
    /// `WireError::AskCount`.
    AskCount = 12,
    /// `WireError::AskRange`.
    AskRange = 13,
    /// `WireError::AnswerStatus`.
    AnswerStatus = 14,
    /// `WireError::AnswerLength`.
    AnswerLength = 15,
    /// `WireError::Trailing`.
    Trailing = 16,
    /// `WireError::Truncated`.
    Truncated = 17,
    /// The peer was dropped earlier and is not spoken to again.
    Dropped = 18,
    /// The peer has as many connections as it is given.
    Crowded = 19,
}

impl CloseCode {
    /// The number on the wire.
    pub const fn code(self) -> u32 {
        self as u32
    }
}

impl WireError {
    /// The code the peer is told. This is the one table.
    pub const fn close_code(&self) -> CloseCode {
        match self {
            Self::FrameTooLong { .. } => CloseCode::FrameTooLong,
            Self::FrameMalformed { .. } => CloseCode::FrameMalformed,
            Self::HelloMissing { .. } => CloseCode::HelloMissing,
            Self::HelloTwice => CloseCode::HelloTwice,
            Self::Version { .. } => CloseCode::Version,
            Self::Flood { .. } => CloseCode::Flood,
            Self::Unread { .. } => CloseCode::Unread,
            Self::ControlEnded => CloseCode::ControlEnded,
            Self::StreamUnknown { .. } => CloseCode::StreamUnknown,
            Self::AskCount { .. } => CloseCode::AskCount,
            Self::AskRange { .. } => CloseCode::AskRange,
            Self::AnswerStatus { .. } => CloseCode::AnswerStatus,
            Self::AnswerLength { .. } => CloseCode::AnswerLength,
            Self::Trailing { .. } => CloseCode::Trailing,
            Self::Truncated { .. } => CloseCode::Truncated,
        }
    }
}
