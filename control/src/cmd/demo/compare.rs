//! Whether two trees are the same to their readers: names, kinds, modes, times, targets, every byte. Shares no code with what made them.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::cancel::Cancel;
use crate::error::Failure;

/// What was compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Compared {
    pub(super) files: u64,
    pub(super) bytes: u64,
    /// The first difference, if any.
    pub(super) difference: Option<String>,
}

/// Compares what is below `want` with what is below `got`; stops at the first difference.
pub(super) fn trees(want: &Path, got: &Path, cancel: &Cancel) -> Result<Compared, Failure> {
    let mut compared = Compared::default();
    let mut todo = vec![(want.to_owned(), got.to_owned())];
    while let Some((want, got)) = todo.pop() {
        let (names, others) = (names(&want)?, names(&got)?);
        if let Some(name) = names.symmetric_difference(&others).next() {
            compared.difference = Some(format!("{} is only on one side", want.join(name).display()));
            return Ok(compared);
        }
        for name in names {
            if cancel.is_cancelled() {
                return Err(Failure::interrupted());
            }
            let (a, b) = (want.join(&name), got.join(&name));
            let (meta_a, meta_b) = (look(&a)?, look(&b)?);
            compared.difference = match (different_meta(&meta_a, &meta_b), meta_a.file_type()) {
                // Sockets, pipes and devices are not published.
                (Some(what), _) => Some(format!("{what} of {}", b.display())),
                (None, kind) if kind.is_dir() => {
                    todo.push((a, b));
                    None
                }
                (None, kind) if kind.is_symlink() => {
                    let target = |path: &Path| fs::read_link(path).map_err(|e| Failure::io("reading", path, &e));
                    (target(&a)? != target(&b)?).then(|| format!("target of {}", b.display()))
                }
                (None, _) => {
                    compared.files += 1;
                    compared.bytes += meta_a.len();
                    (!same_bytes(&a, &b)?).then(|| format!("bytes of {}", b.display()))
                }
            };
            if compared.difference.is_some() {
                return Ok(compared);
            }
        }
    }
    Ok(compared)
}

fn names(dir: &Path) -> Result<BTreeSet<OsString>, Failure> {
    let failed = |e: std::io::Error| Failure::io("listing", dir, &e);
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let kind = entry.file_type().map_err(failed)?;
        if kind.is_dir() || kind.is_file() || kind.is_symlink() {
            names.insert(entry.file_name());
        }
    }
    Ok(names)
}

fn look(path: &Path) -> Result<Metadata, Failure> {
    fs::symlink_metadata(path).map_err(|e| Failure::io("looking at", path, &e))
}

fn different_meta(a: &Metadata, b: &Metadata) -> Option<&'static str> {
    if a.file_type() != b.file_type() {
        return Some("kind");
    }
    if (a.mtime(), a.mtime_nsec()) != (b.mtime(), b.mtime_nsec()) {
        return Some("time");
    }
    if !a.is_symlink() && a.mode() & 0o777 != b.mode() & 0o777 {
        return Some("mode");
    }
    (a.is_file() && a.len() != b.len()).then_some("size")
}

fn same_bytes(a: &Path, b: &Path) -> Result<bool, Failure> {
    let open = |path: &Path| File::open(path).map_err(|e| Failure::io("opening", path, &e));
    let (mut file_a, mut file_b) = (open(a)?, open(b)?);
    let (mut block_a, mut block_b) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    loop {
        let n = fill(&mut file_a, &mut block_a).map_err(|e| Failure::io("reading", a, &e))?;
        let m = fill(&mut file_b, &mut block_b).map_err(|e| Failure::io("reading", b, &e))?;
        if block_a[..n] != block_b[..m] {
            return Ok(false);
        }
        if n == 0 {
            return Ok(true);
        }
    }
}

/// Reads until the block is full or the file ends.
fn fill(file: &mut File, block: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < block.len() {
        match file.read(&mut block[filled..])? {
            0 => break,
            n => filled += n,
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_difference_is_seen_and_a_copy_has_none() {
        type Change = fn(&Path);
        let rows: [(&str, Change); 6] = [
            ("nothing", |_| {}),
            ("only on one side", |d| fs::write(d.join("new"), "").unwrap()),
            ("bytes", |d| {
                let path = d.join("dir/file");
                let time = fs::metadata(&path).unwrap().modified().unwrap();
                fs::write(&path, "other").unwrap();
                File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
            }),
            ("mode", |d| {
                fs::set_permissions(d.join("dir/file"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap()
            }),
            ("time", |d| {
                File::open(d.join("dir/file"))
                    .unwrap()
                    .set_modified(std::time::UNIX_EPOCH)
                    .unwrap()
            }),
            ("kind", |d| {
                fs::remove_file(d.join("link")).unwrap();
                fs::create_dir(d.join("link")).unwrap();
            }),
        ];
        for (what, change) in rows {
            let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            fs::create_dir(a.path().join("dir")).unwrap();
            fs::write(a.path().join("dir/file"), "bytes").unwrap();
            fs::set_permissions(a.path().join("dir/file"), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
            std::os::unix::fs::symlink("dir", a.path().join("link")).unwrap();
            let copied = std::process::Command::new("cp")
                .arg("-a")
                .arg(a.path().join("."))
                .arg(b.path())
                .status()
                .unwrap();
            assert!(copied.success());
            change(b.path());
            let compared = trees(a.path(), b.path(), &Cancel::new()).unwrap();
            match compared.difference {
                None => assert_eq!((what, compared.files, compared.bytes), ("nothing", 1, 5)),
                Some(difference) => assert!(difference.contains(what), "{difference} for {what}"),
            }
        }
    }
}
