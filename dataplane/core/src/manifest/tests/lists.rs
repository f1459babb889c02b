//! Chunk lists that contradict their parent, or that make a file of more chunks than its bytes need.

use super::hostile::sized;
use super::*;
use crate::limits::CHUNK_BYTES_MIN;
use crate::manifest::codec;

#[test]
fn a_chunk_list_is_what_its_parent_says() {
    let check = |node: &ListNode, height, bytes, chunks, expect: &str| {
        let chunk = codec::encode_list(node);
        let node = ChunkRef {
            id: chunk.id(),
            len: chunk.bytes().len() as u32,
        };
        let found = match ListNode::parse(
            &chunk,
            &ListRef {
                node,
                height,
                bytes,
                chunks,
            },
        ) {
            Ok(_) => "fine".to_owned(),
            Err(ManifestError::Malformed { fault, .. }) => fault.to_string(),
            Err(other) => other.to_string(),
        };
        assert_eq!(found, expect);
    };
    const LEAST: u32 = CHUNK_BYTES_MIN;
    let leaf = ListNode::Leaf(vec![sized(LEAST), sized(20)]);
    check(&leaf, 0, 16_404, 2, "fine");
    check(&leaf, 0, 16_405, 2, "its number of bytes is 16404, its parent says 16405");
    check(&leaf, 0, 16_404, 3, "its number of chunks is 2, its parent says 3");
    check(
        &leaf,
        1,
        16_404,
        2,
        "it is a chunk list's leaf, its parent asks for a chunk list's branch",
    );
    check(
        &ListNode::Leaf(Vec::new()),
        0,
        1,
        1,
        "its number of bytes is 0, its parent says 1",
    );
    check(
        &ListNode::Leaf(vec![sized(LEAST - 1), sized(LEAST)]),
        0,
        32_767,
        2,
        "the length of a chunk that is not a file's last is 16383, allowed is 16384 to 1048576",
    );
    let piece = |height, bytes, chunks| ListRef {
        node: chunk_ref(1),
        height,
        bytes,
        chunks,
    };
    let branch = |pieces: &[ListRef]| ListNode::Branch(pieces.to_vec());
    check(&branch(&[piece(0, 16_384, 1), piece(0, 16_385, 2)]), 1, 32_769, 3, "fine");
    check(
        &branch(&[piece(0, 16_384, 1), piece(1, 16_385, 2)]),
        1,
        32_769,
        3,
        "its height is 2, its parent says 1",
    );
    check(&branch(&[piece(0, 10, 1)]), 2, 10, 1, "its height is 1, its parent says 2");
    // More chunks than the bytes can be in.
    check(
        &branch(&[piece(0, 32_767, 2), piece(0, 20_000, 1)]),
        1,
        52_767,
        3,
        "the bytes of a piece of a chunk list is 32767, allowed is 32768 to 2097152",
    );
    check(
        &branch(&[piece(0, 16_384, 1), piece(0, 32_768, 3)]),
        1,
        49_152,
        4,
        "the bytes of a piece of a chunk list is 32768, allowed is 32769 to 3145728",
    );
    let (max, many) = (i64::MAX as u64, i64::MAX as u64 >> 15);
    let overflow = "the sum of a file's bytes is 18446744073709551615, allowed is 0 to 9223372036854775807";
    check(
        &branch(&[piece(0, max, many), piece(0, max, many)]),
        1,
        max - 1,
        2 * many,
        overflow,
    );
}
