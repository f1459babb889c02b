//! The receive pool judged alone: bursts come out whole, buffers come back, nothing is lent twice. No kernel is asked.

use super::*;
use crate::msg::{PAYLOAD_OFFSET, encode_addr};

/// Does what the kernel does: writes a burst of `bytes` into buffer `id`.
fn fill(pool: &mut ReceivePool, id: u16, bytes: usize) -> usize {
    let name = encode_addr("127.0.0.1:9".parse().expect("an address"));
    let mut image = vec![0u8; PAYLOAD_OFFSET];
    image[..4].copy_from_slice(&16u32.to_ne_bytes());
    image[8..12].copy_from_slice(&(bytes as u32).to_ne_bytes());
    image[16..16 + name.bytes().len()].copy_from_slice(name.bytes());
    image.resize(PAYLOAD_OFFSET + bytes, 7);
    pool.slots[usize::from(id)].spare_capacity_mut()[..image.len()].write_copy_of_slice(&image);
    image.len()
}

fn take(pool: &mut ReceivePool, id: u16, bytes: usize) -> BytesMut {
    let filled = fill(pool, id, bytes);
    let (header, data) = pool.take(id, filled).expect("a usable burst");
    assert_eq!((header.payload.len(), data.len()), (bytes, bytes));
    assert!(data == vec![7; bytes]);
    data
}

#[test]
fn a_buffer_comes_back_when_every_piece_of_it_is_dropped() {
    let mut pool = ReceivePool::new(2);
    let mut burst = take(&mut pool, 0, 3000);
    let piece = burst.split_to(1000).freeze();
    let slice = piece.slice(10..20);
    drop((burst, piece));
    for _ in 0..3 {
        take(&mut pool, 1, 2500);
    }
    assert_eq!(slice, [7u8; 10][..], "a held slice is never overwritten");
    drop(slice);
    let before = pool.allocated;
    for round in 0..100 {
        take(&mut pool, round % 2, 2500);
    }
    assert_eq!(pool.allocated, before, "no allocation once buffers come back");
}

#[test]
fn buffers_that_are_held_are_replaced_and_forgotten_at_the_limit() {
    let mut pool = ReceivePool::new(4);
    let held: Vec<BytesMut> = (0..40).map(|n| take(&mut pool, n % 4, 2100)).collect();
    assert_eq!(pool.allocated, 44);
    assert_eq!(pool.lent.len(), 4, "memory kept for reuse is bounded");
    assert!(held.iter().all(|data| *data == vec![7; data.len()]));
}

#[test]
fn an_unusable_burst_leaves_its_buffer_in_place() {
    let mut pool = ReceivePool::new(1);
    let tail = pool.tail;
    let filled = fill(&mut pool, 0, 0);
    assert_eq!(pool.take(0, filled).map(drop), Err(Unusable::Empty));
    assert_eq!(pool.take(0, 3).map(drop), Err(Unusable::Truncated));
    assert_eq!((pool.allocated, pool.tail), (1, tail.wrapping_add(2)));
    take(&mut pool, 0, 3000);
}
