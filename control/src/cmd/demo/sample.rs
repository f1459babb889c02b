//! A tree worth publishing: of every kind something, and of one kind a lot. The same bytes every time.

use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::cancel::Cancel;
use crate::error::Failure;

/// Small files, over so many directories.
const SMALL_FILES: u64 = 400;
const DIRS: u64 = 20;

/// The big file, in bytes.
const BIG_BYTES: u64 = 64 << 20;

/// Makes the tree at `dir`, which must not exist.
pub(super) fn make(dir: &Path, cancel: &Cancel) -> Result<(), Failure> {
    let mut noise = Noise(0x0041_7265_7332_5032);
    let mkdir = |path: &Path| fs::create_dir_all(path).map_err(|e| Failure::io("making", path, &e));
    let write = |path: &Path, bytes: &[u8]| fs::write(path, bytes).map_err(|e| Failure::io("writing", path, &e));
    let link = |target: &str, path: &Path| std::os::unix::fs::symlink(target, path).map_err(|e| Failure::io("making", path, &e));
    for n in 0..SMALL_FILES {
        let folder = dir.join(format!("src/part-{:02}", n % DIRS));
        mkdir(&folder)?;
        let mut bytes = vec![0; (noise.next() % 12_000) as usize];
        noise.fill(&mut bytes);
        write(&folder.join(format!("file-{n:03}.dat")), &bytes)?;
    }
    mkdir(&dir.join("empty/directory"))?;
    write(&dir.join("empty/file"), b"")?;
    write(&dir.join("README"), b"A sample release made by `ares demo`.\n")?;
    link("README", &dir.join("latest"))?;
    link("../nowhere", &dir.join("empty/dangling"))?;
    write(
        &dir.join(std::ffi::OsStr::from_bytes(b"not UTF-8 \xff")),
        b"odd names travel too\n",
    )?;
    write(&dir.join("n".repeat(255)), b"and long ones\n")?;
    let path = dir.join("big.bin");
    let failed = |e: std::io::Error| Failure::io("writing", &path, &e);
    let mut big = fs::File::create(&path).map_err(failed)?;
    let mut block = vec![0; 1 << 20];
    for _ in 0..BIG_BYTES / block.len() as u64 {
        if cancel.is_cancelled() {
            return Err(Failure::interrupted());
        }
        noise.fill(&mut block);
        big.write_all(&block).map_err(failed)?;
    }
    Ok(())
}

/// Bytes that do not compress and repeat only with the seed (splitmix64).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for piece in bytes.chunks_mut(8) {
            let word = self.next().to_le_bytes();
            piece.copy_from_slice(&word[..piece.len()]);
        }
    }
}
