//! Every limit of the protocol and the formats has its name here. What happens at a limit is written where it is enforced;
//! limits that depend on each other are tied at compile time.

/// Largest chunk, in bytes: the unit of asking, verifying and storing. Also the largest manifest node.
pub const CHUNK_BYTES_MAX: u32 = 1 << 20;

/// Shortest chunk of a file that has chunks of its own, but for its last, in bytes: bounds how many a reader must hold for a stretch of it.
pub const CHUNK_BYTES_MIN: u32 = 16 << 10;

/// Files up to this size sit inside their manifest entry, in bytes.
pub const INLINE_BYTES_MAX: u64 = 512;

/// Files above this size are cut by content; smaller ones are packed with their siblings, in bytes.
pub const PACKED_BYTES_MAX: u64 = 64 << 10;

/// Longest entry name, in bytes: Linux `NAME_MAX`.
pub const NAME_BYTES_MAX: usize = 255;

/// Longest symlink target, in bytes: Linux `PATH_MAX` less the terminating NUL.
pub const TARGET_BYTES_MAX: usize = 4095;

/// Deepest directory nesting of a release. Linux `PATH_MAX` leaves room for 2048 one-byte names.
pub const DIR_DEPTH_MAX: usize = 1024;

/// Largest file, in bytes: Linux `loff_t`.
pub const FILE_BYTES_MAX: u64 = i64::MAX as u64;

/// Chunks that one ask may name.
pub const ASK_CHUNKS_MAX: usize = 64;

/// Largest control frame, in bytes.
pub const FRAME_BYTES_MAX: u32 = 64 << 10;

/// Addresses that a node tells a peer of, and ports at each: one a shard.
pub const PEER_ADDRS_MAX: usize = 16;
/// See `PEER_ADDRS_MAX`.
pub const ADDR_PORTS_MAX: usize = 16;

/// Chunks that one frame says are held, and peers that one frame names.
pub const HAVE_CHUNKS_MAX: usize = 4096;
/// Chunks that one frame says come from another zone, and as many that do not.
pub const COMING_CHUNKS_MAX: usize = 1024;
/// See `HAVE_CHUNKS_MAX`.
pub const TOLD_PEERS_MAX: usize = 32;

/// Addresses of each peer that a frame names.
pub const TOLD_ADDRS_MAX: usize = 4;

/// Bytes of all asks in flight of a node, before they are verified and written: bounds the receiving side's memory.
pub const INFLIGHT_BYTES_MAX: u64 = 64 << 20;

/// Windows of asks (`get-window`) that a download wants at a time, in the order of its release. What few hold and all want is what a swarm passes on, so
/// whoever wants a short stretch of a release waits with all others for the same few chunks.
pub const WANTED_WINDOWS: u64 = 16;

/// Largest pack segment, in bytes: chunks without a place in a blob are appended to one until it is full. They go together when room is made.
pub const PACK_SEGMENT_BYTES_MAX: u64 = 256 << 20;

const _: () = assert!(INLINE_BYTES_MAX < PACKED_BYTES_MAX);
const _: () = assert!(
    PACKED_BYTES_MAX <= CHUNK_BYTES_MAX as u64,
    "a packed file must fit one pack chunk"
);
const _: () = assert!(
    INFLIGHT_BYTES_MAX >= 8 * CHUNK_BYTES_MAX as u64,
    "a few of the largest chunks must fit at once"
);
const _: () = assert!(
    HAVE_CHUNKS_MAX * 8 + 64 < FRAME_BYTES_MAX as usize,
    "a full list of held chunks must fit one frame"
);
const _: () = assert!(
    TOLD_PEERS_MAX * (40 + TOLD_ADDRS_MAX * 32) + 64 < FRAME_BYTES_MAX as usize,
    "all peers told at once must fit one frame"
);
const _: () = assert!(
    PEER_ADDRS_MAX * (ADDR_PORTS_MAX * 4 + 32) < FRAME_BYTES_MAX as usize,
    "all addresses must fit one frame"
);

/// Chunks that a file's own directory entry names; longer lists get nodes of their own.
pub const CHUNKS_IN_ENTRY_MAX: usize = 8;

/// Keys and values of one entry's extended attributes together, in bytes: Linux `XATTR_SIZE_MAX`.
pub const XATTRS_BYTES_MAX: usize = 64 << 10;

/// Levels of branches in a directory or chunk list. Branches halve at least, so it is never reached by a real one.
pub const NODE_HEIGHT_MAX: u8 = 32;

/// Peers that a link names: its length field is a byte, and people paste links.
pub const LINK_PEERS_MAX: usize = 16;

/// Addresses of each peer of a link.
pub const LINK_ADDRS_MAX: usize = 16;
