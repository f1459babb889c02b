//! Memory by itself: copies of buffers that fit the cache and that do not, and pages of a tmpfs written for the first time and read back.

use std::fs::{self, File};
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use ares_tests::Lab;
use ares_tests::scratch::mount_tmpfs;

use super::limit::{Limit, Sample, repeat};
use crate::error::{BenchError, Result, io};

/// Many times the last cache.
const COLD_BYTES: usize = 512 << 20;

/// The largest chunk: two of them fit the last cache.
const CHUNK_BYTES: usize = 1 << 20;

/// The size of a file on the tmpfs.
const FILE_BYTES: usize = 512 << 20;

/// One write or read of it: a chunk of the usual size.
const PIECE_BYTES: usize = 256 << 10;

/// The rows; the tmpfs goes with the lab.
pub(crate) fn limits(lab: &Lab) -> Result<Vec<Limit>> {
    let mount = lab.dir("tmpfs");
    // Two files, and room for the kernel's own pages.
    if !mount_tmpfs(&mount, &format!("size={}", 3 * FILE_BYTES)) {
        return Err(BenchError::NoTmpfs);
    }
    let piece = vec![7u8; PIECE_BYTES];

    let fresh = mount.join("fresh");
    let write = move || {
        match fs::remove_file(&fresh) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(io("cannot remove", &fresh)(e)),
            _ => {}
        }
        fill(&fresh, &piece)
    };

    let held = mount.join("held");
    fill(&held, &[7; PIECE_BYTES])?;
    let file = File::open(&held).map_err(io("cannot read", &held))?;
    let mut buffer = vec![0u8; PIECE_BYTES];
    let read = move || {
        let started = Instant::now();
        for offset in (0..FILE_BYTES).step_by(PIECE_BYTES) {
            file.read_exact_at(&mut buffer, offset as u64)
                .map_err(io("cannot read", &held))?;
        }
        Ok(Sample::of_one(FILE_BYTES as u64, started.elapsed()))
    };

    Ok(vec![
        Limit::new(
            "memcpy 512 MiB, cold",
            "",
            "every copy of bytes that have left the caches",
            copying(COLD_BYTES),
        ),
        Limit::new(
            "memcpy 1 MiB, again and again",
            "",
            "a copy of a chunk that has just arrived",
            copying(CHUNK_BYTES),
        ),
        Limit::new(
            "tmpfs pwrite 256 KiB, fresh pages",
            "",
            "storing what arrived, and `get` to a tmpfs",
            write,
        ),
        Limit::new("tmpfs pread 256 KiB", "", "reading what is served, one core", read),
    ])
}

fn copying(bytes: usize) -> impl FnMut() -> Result<Sample> {
    // Not zeros: those would all be one page until written.
    let mut buffers = (vec![1u8; bytes], vec![2u8; bytes]);
    move || {
        let copy = |(to, from): &mut (Vec<u8>, Vec<u8>)| black_box(&mut *to).copy_from_slice(black_box(from));
        Ok(repeat(bytes, &mut buffers, |_| {}, copy))
    }
}

fn fill(path: &Path, piece: &[u8]) -> Result<Sample> {
    let file = File::create(path).map_err(io("cannot make", path))?;
    let started = Instant::now();
    for offset in (0..FILE_BYTES).step_by(piece.len()) {
        file.write_all_at(piece, offset as u64).map_err(io("cannot write", path))?;
    }
    Ok(Sample::of_one(FILE_BYTES as u64, started.elapsed()))
}
