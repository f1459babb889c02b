//! Trees to publish and a source to take them from, for the tests.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use ares_core::chunk::{ChunkId, ChunkRef, CutterId, VerifiedChunk};
use ares_core::limits::PACKED_BYTES_MAX;
use ares_core::manifest::{
    Content, DirBuilder, DirRef, Entry, EntryKind, File, ListBuilder, Meta, Mtime, Name, Root, Top, Xattr,
};
use ares_core::swarm::Want;
use bytes::Bytes;

use crate::{Backing, Fetching, Reply, Source};

/// What a release is made of.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    Dir(BTreeMap<Vec<u8>, Item>),
    File(Bytes),
    Link(Vec<u8>),
    /// With permission bits and extended attributes.
    Marked(Box<Item>, u16, Vec<(&'static str, &'static str)>),
}

/// A directory.
pub(crate) fn dir<N: AsRef<[u8]>>(items: impl IntoIterator<Item = (N, Item)>) -> Item {
    Item::Dir(items.into_iter().map(|(name, item)| (name.as_ref().to_vec(), item)).collect())
}

/// A file.
pub(crate) fn file(bytes: impl AsRef<[u8]>) -> Item {
    Item::File(Bytes::copy_from_slice(bytes.as_ref()))
}

/// A file of `len` bytes that do not repeat.
pub(crate) fn noise(len: usize, seed: u64) -> Item {
    Item::File(random_bytes(len, seed))
}

/// Bytes that do not repeat and are the same for the same seed.
pub(crate) fn random_bytes(len: usize, seed: u64) -> Bytes {
    let mut bytes = vec![0_u8; len];
    let mut random = Random(seed);
    for part in bytes.chunks_mut(8) {
        part.copy_from_slice(&random.next().to_le_bytes()[..part.len()]);
    }
    bytes.into()
}

/// SplitMix64 (Steele, Lea, Flood 2014).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// A published tree.
#[derive(Clone)]
pub(crate) struct Release {
    pub(crate) root: VerifiedChunk,
    pub(crate) chunks: HashMap<ChunkId, Bytes>,
}

/// The time that all test entries have; a negative one with nanoseconds is what goes wrong first.
pub(crate) const MTIME: Mtime = Mtime {
    secs: -86_400,
    nanos: 123_456_789,
};

impl Release {
    /// Publishes a directory or a single file.
    pub(crate) fn of(top: &Item) -> Self {
        let mut chunks = HashMap::new();
        let mut out = |chunk: VerifiedChunk| {
            chunks.insert(chunk.id(), chunk.bytes().clone());
        };
        let top = match top {
            Item::Dir(_) => Top::Dir {
                meta: meta(0o755, &[]),
                node: build_dir(top, &mut out),
            },
            Item::File(bytes) if bytes.len() as u64 > PACKED_BYTES_MAX => Top::File {
                meta: meta(0o644, &[]),
                file: cut(bytes, &mut out),
            },
            _ => panic!("no top for a test"),
        };
        let cutter = CutterId::CURRENT;
        let root = Root { cutter, top }.encode();
        Self { root, chunks }
    }

    /// Its root, parsed.
    pub(crate) fn parsed(&self) -> Root {
        Root::parse(&self.root).expect("our own root")
    }
}

fn meta(mode: u16, xattrs: &[(&str, &str)]) -> Meta {
    let xattr = |&(key, value): &(&str, &str)| Xattr {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
    };
    Meta {
        mode,
        mtime: MTIME,
        xattrs: xattrs.iter().map(xattr).collect(),
    }
}

fn build_dir(item: &Item, out: &mut dyn FnMut(VerifiedChunk)) -> DirRef {
    let Item::Dir(items) = item else { panic!("not a directory") };
    let mut builder = DirBuilder::new();
    for (name, item) in items {
        let (item, meta) = match item {
            Item::Marked(item, mode, xattrs) => (&**item, meta(*mode, xattrs)),
            Item::Dir(_) => (item, meta(0o755, &[])),
            item => (item, meta(0o644, &[])),
        };
        let name = Name::new(name.clone()).expect("a name");
        let kind = match item {
            Item::Dir(_) => EntryKind::Dir(build_dir(item, out)),
            Item::Link(target) => EntryKind::Symlink(Bytes::copy_from_slice(target)),
            Item::File(bytes) if bytes.len() as u64 > PACKED_BYTES_MAX => EntryKind::File(cut(bytes, out)),
            Item::File(bytes) => {
                let b3 = Some(*ChunkId::of(bytes).as_bytes());
                builder.push_small(name, meta, bytes.clone(), b3, out).expect("a small file");
                continue;
            }
            Item::Marked(..) => panic!("marked twice"),
        };
        builder.push(Entry { name, meta, kind }, out).expect("an entry");
    }
    builder.finish(out).expect("a directory")
}

/// Cuts anywhere: the view does not care where.
fn cut(bytes: &Bytes, out: &mut dyn FnMut(VerifiedChunk)) -> File {
    let mut list = ListBuilder::new();
    let mut random = Random(bytes.len() as u64);
    let mut rest = bytes.clone();
    while !rest.is_empty() {
        let len = (20_000 + random.below(60_000) as usize).min(rest.len());
        let part = rest.split_to(len);
        let id = ChunkId::of(&part);
        out(VerifiedChunk::verify(id, part).expect("its own hash"));
        list.push(ChunkRef { id, len: len as u32 }, out);
    }
    let (size, content) = list.finish(out);
    assert!(!matches!(content, Content::Inline(_)));
    File {
        bytes: size,
        content,
        b3: Some(*ChunkId::of(bytes).as_bytes()),
    }
}

/// A source that has everything in memory.
pub(crate) struct MemorySource {
    chunks: HashMap<ChunkId, Bytes>,
    /// Never answered.
    stuck: Mutex<HashSet<ChunkId>>,
    /// Callers that will never hear of it.
    waiting: Mutex<Vec<Reply>>,
    /// Files of blobs that are whole.
    whole: Mutex<HashMap<ChunkId, Arc<std::fs::File>>>,
    /// Fetches that are never answered and were let go of.
    let_go: AtomicU64,
    /// Counts leases.
    lent: Arc<()>,
    /// Answers later, from other threads; `None` answers at once, from within the call.
    later: Option<mpsc::Sender<(Bytes, Reply)>>,
}

impl MemorySource {
    /// Answers at once.
    pub(crate) fn prompt(release: &Release) -> Arc<Self> {
        Arc::new(Self {
            chunks: release.chunks.clone(),
            stuck: Mutex::default(),
            waiting: Mutex::default(),
            whole: Mutex::default(),
            let_go: AtomicU64::new(0),
            lent: Arc::default(),
            later: None,
        })
    }

    /// Answers from another thread, each chunk `delay` after the one before.
    pub(crate) fn slow(release: &Release, delay: Duration) -> Arc<Self> {
        let (later, answers) = mpsc::channel::<(Bytes, Reply)>();
        thread::spawn(move || {
            for (bytes, reply) in answers {
                // The pause is the thing made here: a source that takes its time.
                thread::sleep(delay);
                reply(Ok(bytes));
            }
        });
        Arc::new(Self {
            chunks: release.chunks.clone(),
            stuck: Mutex::default(),
            waiting: Mutex::default(),
            whole: Mutex::default(),
            let_go: AtomicU64::new(0),
            lent: Arc::default(),
            later: Some(later),
        })
    }

    /// From now on the blob of this file is whole and lies in `backing`, or is not.
    pub(crate) fn set_whole(&self, bytes: &Bytes, backing: Option<Arc<std::fs::File>>) {
        let blob = cut(bytes, &mut |_| {}).blob_id().expect("a file of chunks");
        let mut whole = self.whole.lock().expect("no panic");
        match backing {
            Some(file) => whole.insert(blob, file),
            None => whole.remove(&blob),
        };
    }

    /// Fetches that were never answered and that nobody wants any more.
    pub(crate) fn stuck_let_go(&self) -> u64 {
        self.let_go.load(Ordering::Relaxed)
    }

    /// Backing files lent and not given back.
    pub(crate) fn lent(&self) -> usize {
        Arc::strong_count(&self.lent) - 1
    }

    /// From now on does not answer but for what is in this release, too.
    pub(crate) fn stick_all_but(&self, release: &Release) {
        let others = self.chunks.keys().filter(|id| !release.chunks.contains_key(id));
        self.stuck.lock().expect("no panic").extend(others);
    }

    /// From now on does not answer for chunks of this file; any file above the packing limit.
    pub(crate) fn stick(&self, bytes: &Bytes) {
        let mut stuck = self.stuck.lock().expect("no panic");
        cut(bytes, &mut |chunk| {
            stuck.insert(chunk.id());
        });
    }
}

impl Source for MemorySource {
    fn chunk(&self, want: Want, reply: Reply) -> Fetching {
        if self.stuck.lock().expect("no panic").contains(&want.chunk.id) {
            self.waiting.lock().expect("no panic").push(reply);
            return Fetching(0);
        }
        let bytes = self.chunks[&want.chunk.id].clone();
        match &self.later {
            None => reply(Ok(bytes)),
            Some(later) => later.send((bytes, reply)).expect("the answering thread"),
        }
        Fetching(1)
    }

    fn let_go(&self, fetching: Fetching) {
        if fetching == Fetching(0) {
            self.let_go.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn is_held(&self, want: &Want) -> bool {
        !self.stuck.lock().expect("no panic").contains(&want.chunk.id)
    }

    fn held_bytes(&self) -> u64 {
        let stuck = self.stuck.lock().expect("no panic");
        let held = self.chunks.iter().filter(|(id, _)| !stuck.contains(id));
        held.map(|(_, bytes)| bytes.len() as u64).sum()
    }

    fn backing(&self, blob: ChunkId, _bytes: u64) -> Option<Backing> {
        let file = self.whole.lock().expect("no panic").get(&blob)?.clone();
        let lease = Box::new(self.lent.clone());
        Some(Backing { file, lease })
    }
}
