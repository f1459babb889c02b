//! Bytes flipped, cut and put into valid nodes: no panic, and what is accepted is what would be written.

use super::*;
use crate::manifest::codec;

const ROUNDS: usize = 4000;

fn mutate(random: &mut Random, bytes: &mut Vec<u8>) {
    for _ in 0..1 + random.below(3) {
        let at = random.below(bytes.len().max(1));
        match random.below(5) {
            _ if bytes.is_empty() => bytes.push(random.next() as u8),
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.next() as u8,
            2 => drop(bytes.drain(at..(at + 1 + random.below(8)).min(bytes.len()))),
            3 => bytes.insert(at, random.next() as u8),
            // Lengths and integers at their widest.
            _ => drop(bytes.splice(
                at..at,
                [
                    0x1b | (random.below(8) as u8) << 5,
                    0x7f,
                    0xff,
                    0xff,
                    0xff,
                    0xff,
                    0xff,
                    0xff,
                    0xff,
                ],
            )),
        }
    }
    if bytes.is_empty() {
        bytes.push(0);
    }
}

fn rounds(seed: u64, valid: &VerifiedChunk, mut judge: impl FnMut(VerifiedChunk) -> Option<VerifiedChunk>) {
    assert!(judge(valid.clone()).is_some());
    let mut random = Random(seed);
    for round in 0..ROUNDS {
        let mut bytes = valid.bytes().to_vec();
        mutate(&mut random, &mut bytes);
        let chunk = VerifiedChunk::of(bytes.into());
        if let Some(again) = judge(chunk.clone()) {
            assert_eq!(again.bytes(), chunk.bytes(), "seed {seed} round {round}");
        }
    }
}

#[test]
fn a_mutated_node_is_refused_or_written_the_same() {
    let tree = mixed(5, 3, 40);
    let (root, chunks) = publish(&tree);
    rounds(1, &root.encode(), |chunk| Root::parse(&chunk).ok().map(|root| root.encode()));
    let (file_root, _) = publish(&big(1, 3));
    rounds(2, &file_root.encode(), |chunk| {
        Root::parse(&chunk).ok().map(|root| root.encode())
    });

    // The claim follows the mutated chunk's name, as a hostile parent would have it, else every mutation were refused for its hash.
    let Top::Dir { node: top, .. } = root.top else {
        unreachable!()
    };
    let DirNode::Leaf(entries) = DirNode::parse(chunks.get(&top.node), &top.claim()).unwrap() else {
        panic!()
    };
    let EntryKind::Dir(sub) = entries[0].kind else { panic!() };
    for (seed, dir) in [(3, top), (4, sub)] {
        rounds(seed, chunks.get(&dir.node), |chunk| {
            let node = ChunkRef {
                id: chunk.id(),
                len: chunk.bytes().len() as u32,
            };
            DirNode::parse(&chunk, &DirRef { node, ..dir }.claim())
                .ok()
                .map(|node| codec::encode_dir(&node))
        });
    }

    let many = (0..5000)
        .map(|i| (format!("a long name of an entry {i}").into_bytes(), Tree::File(Vec::new())))
        .collect();
    let (root, chunks) = publish(&Tree::Dir(many));
    let Top::Dir { node: top, .. } = root.top else {
        unreachable!()
    };
    assert_eq!(top.height, 1);
    rounds(5, chunks.get(&top.node), |chunk| {
        let node = ChunkRef {
            id: chunk.id(),
            len: chunk.bytes().len() as u32,
        };
        DirNode::parse(&chunk, &DirRef { node, ..top }.claim())
            .ok()
            .map(|node| codec::encode_dir(&node))
    });

    for (seed, count) in [(6, 20), (7, 5000)] {
        let (root, chunks) = publish(&big(seed, count));
        let Top::File {
            file: File {
                content: Content::List(list),
                ..
            },
            ..
        } = root.top
        else {
            unreachable!()
        };
        rounds(seed, chunks.get(&list.node), |chunk| {
            let node = ChunkRef {
                id: chunk.id(),
                len: chunk.bytes().len() as u32,
            };
            ListNode::parse(&chunk, &ListRef { node, ..list })
                .ok()
                .map(|node| codec::encode_list(&node))
        });
    }
}
