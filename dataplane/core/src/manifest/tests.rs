//! A tree in memory, published and read back, for the tests below.

mod hostile;
mod lists;
mod mutate;
mod same;

use std::collections::BTreeMap;

use bytes::Bytes;

use super::*;
use crate::chunk::{ChunkId, ChunkRef, CutterId, VerifiedChunk};

/// A tree as a test describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Tree {
    Dir(Entries),
    File(Vec<u8>),
    /// A file too large to be kept by a test: its chunks.
    Big(Vec<ChunkRef>),
    Link(&'static [u8]),
}

type Entries = BTreeMap<Vec<u8>, Tree>;

/// Chunks by name: what a store would hold.
#[derive(Clone, Debug, Default)]
struct Chunks(BTreeMap<ChunkId, VerifiedChunk>);

impl Chunks {
    fn get(&self, chunk: &ChunkRef) -> &VerifiedChunk {
        let found = &self.0[&chunk.id];
        assert_eq!(found.bytes().len(), chunk.len as usize);
        found
    }
}

fn name(bytes: &[u8]) -> Name {
    Name::new(bytes.to_vec()).unwrap()
}

fn meta(mode: u16) -> Meta {
    Meta {
        mode,
        mtime: Mtime {
            secs: 1_700_000_000,
            nanos: 5,
        },
        xattrs: Vec::new(),
    }
}

fn dir<const N: usize>(entries: [(&str, Tree); N]) -> Tree {
    Tree::Dir(
        entries
            .into_iter()
            .map(|(name, tree)| (name.as_bytes().to_vec(), tree))
            .collect(),
    )
}

fn chunk_ref(seed: u64) -> ChunkRef {
    ChunkRef {
        id: ChunkId::of(&seed.to_le_bytes()),
        len: 65_537 + (seed % 1000) as u32,
    }
}

fn big(seed: u64, chunks: u64) -> Tree {
    Tree::Big((0..chunks).map(|i| chunk_ref(seed << 32 | i)).collect())
}

fn list(chunks: &[ChunkRef], out: &mut dyn FnMut(VerifiedChunk)) -> File {
    let mut builder = ListBuilder::new();
    chunks.iter().for_each(|&chunk| builder.push(chunk, out));
    let (bytes, content) = builder.finish(out);
    File {
        bytes,
        content,
        b3: None,
    }
}

/// Publishes a directory and hands out what is made.
fn build_dir(entries: &Entries, out: &mut dyn FnMut(VerifiedChunk)) -> DirRef {
    let mut builder = DirBuilder::new();
    for (key, tree) in entries {
        let name = name(key);
        let kind = match tree {
            Tree::Dir(entries) => EntryKind::Dir(build_dir(entries, out)),
            Tree::Link(target) => EntryKind::Symlink(Bytes::from_static(target)),
            Tree::Big(chunks) => EntryKind::File(list(chunks, out)),
            Tree::File(bytes) => {
                builder
                    .push_small(name, meta(0o644), bytes.clone().into(), None, out)
                    .unwrap();
                continue;
            }
        };
        builder
            .push(
                Entry {
                    name,
                    meta: meta(0o755),
                    kind,
                },
                out,
            )
            .unwrap();
    }
    builder.finish(out).unwrap()
}

fn publish(tree: &Tree) -> (Root, Chunks) {
    let mut chunks = Chunks::default();
    let mut out = |chunk: VerifiedChunk| {
        chunks.0.insert(chunk.id(), chunk);
    };
    let top = match tree {
        Tree::Dir(entries) => Top::Dir {
            meta: meta(0o755),
            node: build_dir(entries, &mut out),
        },
        Tree::Big(list_of) => Top::File {
            meta: meta(0o644),
            file: list(list_of, &mut out),
        },
        Tree::File(_) | Tree::Link(_) => panic!("not the top of a test"),
    };
    let root = Root {
        cutter: CutterId(1),
        top,
    };
    out(root.encode());
    (root, chunks)
}

/// Reads a release back from its chunks alone.
fn read(root: &Root, chunks: &Chunks, ahead: usize) -> Tree {
    let root = Root::parse(&chunks.0[&root.release().0]).unwrap();
    let mut walk = Walk::new(&root, ahead);
    let mut open: Vec<(Option<Name>, Entries)> = Vec::new();
    let mut asked = Vec::new();
    let mut top = None;
    let mut last: Option<Vec<u8>> = None;
    loop {
        match walk.poll().unwrap() {
            WalkStep::Node(node) => {
                asked.push(node);
                assert!(asked.len() <= ahead.max(1) + 1);
            }
            // The latest asked comes first: order must not matter.
            WalkStep::Wait => walk.on_node(chunks.get(&asked.pop().expect("a walk waits for what it asked")).clone()),
            WalkStep::Done => return top.expect("a release has a top"),
            WalkStep::Item(WalkItem::Enter { name, .. }) => open.push((name, BTreeMap::new())),
            WalkStep::Item(WalkItem::Leave) => {
                let (name, entries) = open.pop().unwrap();
                match (name, open.last_mut()) {
                    (Some(name), Some((_, around))) => drop(around.insert(name.as_bytes().to_vec(), Tree::Dir(entries))),
                    (None, None) => top = Some(Tree::Dir(entries)),
                    other => panic!("{other:?}"),
                }
            }
            WalkStep::Item(WalkItem::Symlink { name, target, .. }) => {
                let target: &'static [u8] = target.to_vec().leak();
                open.last_mut()
                    .unwrap()
                    .1
                    .insert(name.unwrap().as_bytes().to_vec(), Tree::Link(target));
            }
            WalkStep::Item(WalkItem::File { name, file, .. }) => {
                let tree = match file.content {
                    Content::Inline(bytes) => Tree::File(bytes.to_vec()),
                    Content::Packed { pack, offset } => {
                        let bytes = chunks.get(&pack).bytes();
                        Tree::File(bytes[offset as usize..][..file.bytes as usize].to_vec())
                    }
                    Content::Chunks(_) | Content::List(_) => Tree::Big(Vec::new()),
                };
                match name {
                    Some(name) => {
                        last = Some(name.as_bytes().to_vec());
                        open.last_mut().unwrap().1.insert(name.as_bytes().to_vec(), tree);
                    }
                    None => top = Some(tree),
                }
            }
            WalkStep::Item(WalkItem::Chunk { chunk, place }) => {
                let file = match open.last_mut() {
                    Some((_, entries)) => entries.get_mut(last.as_ref().unwrap()),
                    None => top.as_mut(),
                };
                let Some(Tree::Big(list)) = file else {
                    panic!("a chunk of no file")
                };
                assert_eq!(place.offset, list.iter().map(|c| u64::from(c.len)).sum::<u64>());
                list.push(chunk);
            }
        }
    }
}

/// A small generator (splitmix64), so that a failing seed can be replayed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

/// `dirs` directories of `files` files each, of sizes that go inline, into packs and into chunks.
fn mixed(seed: u64, dirs: usize, files: usize) -> Tree {
    let mut random = Random(seed);
    let mut top = BTreeMap::new();
    for at in 0..dirs {
        let mut entries = BTreeMap::new();
        for file in 0..files {
            let size = match random.below(10) {
                0 => 0,
                1 => random.below(513),
                2 => 20_000 + random.below(45_000),
                _ => 513 + random.below(4000),
            };
            let tree = if random.below(50) == 0 {
                big(random.next(), 1 + random.next() % 20)
            } else {
                Tree::File(random.bytes(size))
            };
            entries.insert(format!("file-{file:05}.txt").into_bytes(), tree);
        }
        entries.insert(b"link".to_vec(), Tree::Link(b"../elsewhere"));
        entries.insert(b"\xff not utf-8".to_vec(), Tree::File(b"x".to_vec()));
        entries.insert(b"empty".to_vec(), Tree::Dir(BTreeMap::new()));
        top.insert(format!("dir-{at:03}").into_bytes(), Tree::Dir(entries));
    }
    Tree::Dir(top)
}
