//! The journal: an append-only file of records. This file draws its bytes, decides how far they are believed, and folds them.
//!
//! ```text
//! header, 40 bytes
//!    0   8  magic "ARESJRNL"
//!    8   4  version u32 (1)
//!   12   4  zero
//!   16  16  nonce: random, so that blocks of an older journal at the same place on disk are never believed
//!   32   8  check: first 8 bytes of BLAKE3 of the 32 before it
//! record, 11 bytes and its body
//!    0   8  check: first 8 bytes of BLAKE3(check of the record before (or of the header) | len | kind | body)
//!    8   2  len u16: bytes of the body
//!   10   1  kind
//!   11  ..  body (drawn in `record`)
//! ```
//! Integers are little-endian. **The checks are a chain**: a record is believed only behind the very records it was written behind, so a
//! torn, overwritten or reordered tail ends the journal at the last record that is whole.
//!
//! **What a crash leaves.** Records are appended without fsync within 50 ms; data and journal are synced every second or so, and a Sync
//! record says up to which offset everything is on stable storage. If the process dies, the page cache still has every byte
//! written: all whole records are believed. If the machine dies (the boot id changed), data of a record after the last Sync may be lost
//! while the record itself survived: those are dropped. So kill -9 loses 50 ms and a power cut about 2 s, and neither ever yields a chunk
//! whose bytes were not written.
//!
//! **Why our own format and no database.** The index is in memory anyway; what must survive is a list of facts. An append is one write,
//! recovery is this pure function of bytes, and a test can cut it at every byte.
//!
//! **Rewriting.** A journal is rewritten only while the store is opened: to `journal.new`, fsync, rename, fsync of the directory. That
//! happens when records were dropped (truncating them away would also cut the Sync that covers the ones before) or when most of it is
//! history. A torn tail behind which nothing is believed is truncated.

use std::collections::{BTreeMap, VecDeque};

use super::index::{Index, Nonsense};
use super::record::{BodyError, HeldChunk, Record};
use super::{BootId, ObjectNo};

/// Length of the header, in bytes.
pub const HEADER_BYTES: usize = 40;
/// Version this code reads and writes.
pub const VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"ARESJRNL";
const RECORD_HEADER_BYTES: usize = 11;

type Check = [u8; 8];

fn check_of(parts: &[&[u8]]) -> Check {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    let mut check = [0; 8];
    check.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    check
}

/// Why bytes are not a journal this version can read. The file was left as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// It does not begin as a journal does.
    #[error("not an Ares journal (it begins with {0:02x?}); move it away or name another state directory with --state")]
    Foreign([u8; 8]),
    /// A format this version does not know.
    #[error("format version {found}, and this ares reads version {VERSION}; use the ares that wrote it")]
    Version {
        /// Version in the header.
        found: u32,
    },
    /// A record of a kind that this version does not know.
    #[error("record of kind {kind} at byte {at}, which this ares does not know; use the ares that wrote it")]
    Kind {
        /// Its kind.
        kind: u8,
        /// Where it is.
        at: u64,
    },
}

/// Makes the bytes of records, one behind the other.
#[derive(Clone, Debug)]
pub struct Encoder {
    chain: Check,
}

impl Encoder {
    /// Starts a journal: appends its header to `out`. `nonce` is random.
    pub fn start(nonce: [u8; 16], out: &mut Vec<u8>) -> Self {
        let from = out.len();
        out.extend(MAGIC);
        out.extend(VERSION.to_le_bytes());
        out.extend([0; 4]);
        out.extend(nonce);
        let chain = check_of(&[&out[from..]]);
        out.extend(chain);
        Self { chain }
    }

    /// Appends a record to `out`.
    pub fn push(&mut self, record: &Record, out: &mut Vec<u8>) {
        let from = out.len();
        out.extend([0; RECORD_HEADER_BYTES]);
        record.put_body(out);
        let body_bytes = out.len() - from - RECORD_HEADER_BYTES;
        let len = u16::try_from(body_bytes).expect("records are bounded where they are made");
        out[from + 8..from + 10].copy_from_slice(&len.to_le_bytes());
        out[from + 10] = record.kind();
        self.chain = check_of(&[&self.chain, &out[from + 8..]]);
        out[from..from + 8].copy_from_slice(&self.chain);
    }
}

/// How the bytes of a journal end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TailEnd {
    /// With a whole record.
    Clean,
    /// With part of a record (or of the header): what a crash in the middle of an append leaves.
    Torn,
    /// With bytes that are not what was written behind the last whole record.
    Corrupt,
    /// With a whole record that contradicts those before it: our mistake.
    Nonsense(Nonsense),
}

/// Chunks that are believed but whose bytes no Sync covers, by object: to be synced, or forgotten if that fails.
pub type Unsynced = BTreeMap<ObjectNo, Vec<HeldChunk>>;

/// What is to be done about the end of a journal.
#[derive(Clone, Debug)]
pub struct Tail {
    /// How it ends.
    pub end: TailEnd,
    /// Bytes of whole records and the header: appending goes on here.
    pub valid_bytes: u64,
    /// Bytes behind that.
    pub cut_bytes: u64,
    /// Whole records that are not believed: no Sync covers them and the machine was started anew.
    pub dropped_records: u64,
    /// Whether the last Boot record is of this boot.
    pub boot_is_current: bool,
    /// What the next flush must sync.
    pub unsynced: Unsynced,
    /// Whether a Sync covers every record that is believed.
    pub all_covered: bool,
    /// Appends behind the last whole record; `None` where there is not even a header.
    pub encoder: Option<Encoder>,
}

/// Reads a journal piece by piece.
#[derive(Debug)]
pub struct Replay {
    boot: BootId,
    /// Bytes not yet consumed: at most one record and one piece.
    input: Vec<u8>,
    /// Journal offset of `input[0]`.
    at: u64,
    chain: Option<Check>,
    index: Index,
    /// Records that no Sync covers yet, with the offset of their end.
    pending: VecDeque<(u64, Record)>,
    last_boot: Option<BootId>,
    dropped_records: u64,
    end: Option<TailEnd>,
    cut_bytes: u64,
}

enum Step {
    Record {
        record: Option<Record>,
        bytes: usize,
        check: Check,
    },
    NeedMore,
    Corrupt,
}

impl Replay {
    /// For a machine whose boot id is `boot` now.
    pub fn new(boot: BootId) -> Self {
        Self {
            boot,
            input: Vec::new(),
            at: 0,
            chain: None,
            index: Index::default(),
            pending: VecDeque::new(),
            last_boot: None,
            dropped_records: 0,
            end: None,
            cut_bytes: 0,
        }
    }

    /// Takes the next bytes of the file.
    pub fn on_bytes(&mut self, bytes: &[u8]) -> Result<(), JournalError> {
        self.input.extend_from_slice(bytes);
        let mut used = 0;
        if self.chain.is_none() && self.end.is_none() {
            self.chain = self.header()?;
            used = if self.chain.is_some() { HEADER_BYTES } else { 0 };
        }
        while let (None, Some(chain)) = (self.end, self.chain) {
            match step(&chain, &self.input[used..], self.at + used as u64)? {
                Step::NeedMore => break,
                Step::Corrupt => self.end = Some(TailEnd::Corrupt),
                Step::Record { record, bytes, check } => {
                    let end = self.at + (used + bytes) as u64;
                    match record.map_or(Ok(()), |record| self.on_record(record, end)) {
                        Ok(()) => (used, self.chain) = (used + bytes, Some(check)),
                        Err(nonsense) => self.end = Some(TailEnd::Nonsense(nonsense)),
                    }
                }
            }
        }
        self.input.drain(..used);
        self.at += used as u64;
        if self.end.is_some() {
            self.cut_bytes += self.input.len() as u64; // nothing behind the end is looked at, so none of it is kept
            self.input.clear();
        }
        Ok(())
    }

    /// No more bytes: what they say, and what to do about their end.
    pub fn finish(mut self) -> (Index, Tail) {
        let boot_is_current = self.last_boot == Some(self.boot);
        let mut unsynced = Unsynced::new();
        let all_covered = self.pending.is_empty() || !boot_is_current;
        for (_, record) in std::mem::take(&mut self.pending) {
            if !boot_is_current {
                self.dropped_records += 1;
                continue;
            }
            if let Err(nonsense) = self.index.apply(&record) {
                self.dropped_records += 1;
                self.end = Some(TailEnd::Nonsense(nonsense));
                continue;
            }
            if let Record::Held { object, chunks } = record {
                unsynced.entry(object).or_default().extend(chunks);
            }
        }
        let cut_bytes = self.cut_bytes + self.input.len() as u64;
        let end = match self.end {
            Some(end) => end,
            None if cut_bytes > 0 || self.chain.is_none() => TailEnd::Torn,
            None => TailEnd::Clean,
        };
        let tail = Tail {
            end,
            valid_bytes: self.at,
            cut_bytes,
            dropped_records: self.dropped_records,
            boot_is_current,
            unsynced,
            all_covered,
            encoder: self.chain.map(|chain| Encoder { chain }),
        };
        (self.index, tail)
    }

    /// The check of the header, once it is all there.
    fn header(&mut self) -> Result<Option<Check>, JournalError> {
        let known = self.input.len().min(MAGIC.len());
        if self.input[..known] != MAGIC[..known] {
            let mut begins = [0; 8];
            begins[..known].copy_from_slice(&self.input[..known]);
            return Err(JournalError::Foreign(begins));
        }
        if let Some(version) = self.input.get(8..12) {
            let found = u32::from_le_bytes([version[0], version[1], version[2], version[3]]);
            if found != VERSION {
                return Err(JournalError::Version { found });
            }
        }
        let Some(header) = self.input.get(..HEADER_BYTES) else {
            return Ok(None);
        };
        let check = check_of(&[&header[..32]]);
        if header[32..] == check {
            return Ok(Some(check));
        }
        self.end = Some(TailEnd::Corrupt);
        Ok(None)
    }

    /// One whole record, which ends at journal offset `end`. It is folded in when a Sync covers it.
    fn on_record(&mut self, record: Record, end: u64) -> Result<(), Nonsense> {
        match record {
            Record::Sync { upto } => {
                while let Some((_, record)) = self.pending.pop_front_if(|(end, _)| *end <= upto) {
                    self.index.apply(&record)?;
                }
            }
            Record::Boot(boot) => {
                if self.last_boot.is_some_and(|last| last != boot) {
                    self.dropped_records += self.pending.len() as u64;
                    self.pending.clear();
                }
                self.last_boot = Some(boot);
            }
            other => self.pending.push_back((end, other)),
        }
        Ok(())
    }
}

/// The next record in `input`, which lies at journal offset `at`.
fn step(chain: &Check, input: &[u8], at: u64) -> Result<Step, JournalError> {
    let Some(header) = input.get(..RECORD_HEADER_BYTES) else {
        return Ok(Step::NeedMore);
    };
    let bytes = RECORD_HEADER_BYTES + usize::from(u16::from_le_bytes([header[8], header[9]]));
    let Some(body) = input.get(RECORD_HEADER_BYTES..bytes) else {
        return Ok(Step::NeedMore);
    };
    let check = check_of(&[chain, &input[8..bytes]]);
    if header[..8] != check {
        return Ok(Step::Corrupt);
    }
    let kind = header[10];
    match Record::parse(kind, body) {
        Ok(record) => Ok(Step::Record { record, bytes, check }),
        Err(BodyError::Unknown) => Err(JournalError::Kind { kind, at }),
        Err(BodyError::Malformed) => Ok(Step::Corrupt),
    }
}

/// What a whole journal says, to a machine whose boot id is `boot`.
pub fn replay(bytes: &[u8], boot: BootId) -> Result<(Index, Tail), JournalError> {
    let mut replay = Replay::new(boot);
    replay.on_bytes(bytes)?;
    Ok(replay.finish())
}

/// The whole records of a journal, believed or not, in order: for tools and tests that look into one.
pub fn records(bytes: &[u8]) -> Result<Vec<Record>, JournalError> {
    let mut header = Replay::new(BootId([0; 16]));
    header.on_bytes(&bytes[..bytes.len().min(HEADER_BYTES)])?;
    let Some(mut chain) = header.chain else {
        return Ok(Vec::new());
    };
    let mut at = HEADER_BYTES;
    let mut records = Vec::new();
    while let Step::Record { record, bytes, check } = step(&chain, &bytes[at..], at as u64)? {
        records.extend(record);
        (at, chain) = (at + bytes, check);
    }
    Ok(records)
}
