//! Files that change hands: the publisher's file is served where it is, and a backing file of ours becomes the user's. Both end as in-place
//! objects.
//!
//! **Taking a backing file out is crash-safe at every step**, because each leaves bytes and index in agreement or mendable:
//!
//! ```text
//!   1  dress          mode and times of the backing file; it is still ours
//!   2  Moving record  appended: "object 7 may now be at DEST, with this inode, size and mtime"
//!   3  rename         atomic, never over an existing file
//!   4  InPlace record "object 7 is at DEST", with the ctime that the rename set
//! ```
//! A crash before 3 finds the file under its own name: it stays a blob. A crash between 3 and 4 finds the Moving record and, at DEST, the very
//! inode: `open` writes record 4. A power cut may keep the rename and lose the records, as they are not synced one by one: then the file is
//! missed on the next use and its chunks are fetched again. No order of these ever yields wrong bytes, since the guard names the inode.
//!
//! The rename goes to a name in a directory that the caller holds open: who swaps a directory above it for a symlink meanwhile leads the file
//! nowhere. Then only the path in the records is wrong, and the file is missed there.

use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::Ordering;

use ares_core::chunk::{ChunkId, ChunkRef};
use ares_core::store::{BlobRef, Guard, HELD_CHUNKS_MAX, HeldChunk, ObjectKind, ObjectNo, Record, layout};
use rustix::fs::{AtFlags, CWD, RenameFlags, fstat, renameat_with, statat};
use rustix::io::Errno;

use super::object::{ObjectFile, guard_from, guard_of};
use super::shared::{Shared, Unusable};
use super::{Dest, StoreError, Taken, locked};

impl Shared {
    pub(super) fn add_in_place(
        &self,
        path: &Path,
        guard: Guard,
        blob: BlobRef,
        chunks: &[(u64, ChunkRef)],
    ) -> Result<(), StoreError> {
        let path = std::path::absolute(path).map_err(|e| disk(path, "make it absolute", e))?;
        for (offset, chunk) in chunks {
            let len = u64::from(chunk.len);
            if offset.checked_add(len).is_none_or(|end| end > guard.size) {
                let (known_bytes, offset) = (Some(guard.size), *offset);
                return Err(StoreError::Misplaced {
                    blob: blob.id,
                    blob_bytes: blob.bytes,
                    known_bytes,
                    offset,
                    len,
                });
            }
        }
        let _names = locked(&self.names); // object numbers in order
        let now = fs::symlink_metadata(&path).map(|meta| guard_from(&meta));
        if now.ok() != Some(guard) {
            return Err(StoreError::Changed(path));
        }
        let mut index = self.index_mut();
        let known = index.in_place(&guard).map(|(object, known)| (object, known.kind.clone()));
        let object = match known {
            Some((object, ObjectKind::InPlace { guard: g, blob: b, .. })) if g == guard && b == blob => object,
            stale => {
                if let Some((object, _)) = stale {
                    // It was published before, and changed since; who publishes it again knows.
                    self.record(&mut index, &Record::Gone { object });
                    self.files.remove(object);
                    self.gone_objects.fetch_add(1, Ordering::Relaxed);
                }
                let object = index.next_object();
                let path = path.as_os_str().as_bytes().to_vec();
                self.record(
                    &mut index,
                    &Record::InPlace {
                        object,
                        blob,
                        guard,
                        path,
                    },
                );
                object
            }
        };
        let new = chunks.iter().filter(|(_, chunk)| !index.holds(object, &chunk.id));
        let held: Vec<_> = new
            .map(|(offset, chunk)| HeldChunk {
                chunk: *chunk,
                offset: *offset,
            })
            .collect();
        for part in held.chunks(HELD_CHUNKS_MAX) {
            self.record(
                &mut index,
                &Record::Held {
                    object,
                    chunks: part.to_vec(),
                },
            );
        }
        Ok(())
    }

    pub(super) fn take_blob(
        &self,
        blob: &ChunkId,
        dest: Dest<'_>,
        dress: &mut dyn FnMut(&File) -> io::Result<()>,
    ) -> Result<Taken, StoreError> {
        let Some(object) = self.whole_blob(blob)? else {
            return Ok(Taken::MustCopy);
        };
        let file = match self.file(object) {
            Ok(file) => file,
            Err(Unusable::Gone) => return Err(StoreError::Incomplete { blob: *blob }),
            Err(Unusable::Refused(path, source)) => {
                return Err(StoreError::Disk {
                    path,
                    what: "open it",
                    source,
                });
            }
        };
        let _names = locked(&self.names);
        if self.whole_blob(blob)? != Some(object) {
            return Ok(Taken::MustCopy); // somebody else took it meanwhile
        }
        if self.is_lent(object) {
            return Ok(Taken::MustCopy); // its new owner may write to it
        }
        assert!(!dest.name.as_bytes().contains(&b'/'), "a name, not a path");
        let path = std::path::absolute(dest.path).map_err(|e| disk(dest.path, "make it absolute", e))?;
        match statat(dest.dir, dest.name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => {}
            Ok(_) => return Err(StoreError::DestinationExists(path)),
            Err(e) => return Err(disk(&path, "look at it", e.into())),
        }
        let dir_dev = fstat(dest.dir)
            .map_err(|e| disk(&path, "look at its directory", e.into()))?
            .st_dev;
        let own = guard_of(&file.file).map_err(|e| disk(&file.path, "look at it", e))?;
        if own.dev != dir_dev {
            return Ok(Taken::MustCopy);
        }
        dress(&file.file).map_err(|e| disk(&file.path, "set its mode, times or attributes", e))?;
        self.move_out(object, blob, &file, Dest { path: &path, ..dest })
    }

    /// Steps 2 to 4. Called with `names` held.
    fn move_out(&self, object: ObjectNo, blob: &ChunkId, file: &ObjectFile, dest: Dest<'_>) -> Result<Taken, StoreError> {
        let guard = guard_of(&file.file).map_err(|e| disk(&file.path, "look at it", e))?;
        let path = dest.path.as_os_str().as_bytes().to_vec();
        self.record(
            &mut self.index_mut(),
            &Record::Moving {
                object,
                guard,
                path: path.clone(),
            },
        );
        self.append()?;
        let rename = |from: String| renameat_with(CWD, self.dir.join(from), dest.dir, dest.name, RenameFlags::NOREPLACE);
        let renamed = match rename(layout::blob(blob)) {
            Err(Errno::NOENT) => rename(layout::blob_partial(blob)), // whole, and not yet renamed
            other => other,
        };
        match renamed {
            Ok(()) => {}
            Err(Errno::EXIST) => return Err(StoreError::DestinationExists(dest.path.to_owned())),
            // Another mount of the same device, or a filesystem that cannot rename without replacing.
            Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS) => return Ok(Taken::MustCopy),
            Err(e) => {
                return Err(StoreError::of_write(
                    dest.path,
                    "rename a file of the store to it",
                    0,
                    e.into(),
                ));
            }
        }
        let guard = guard_of(&file.file).map_err(|e| disk(dest.path, "look at it", e))?;
        let mut index = self.index_mut();
        let Some((_, blob, _)) = index.blob(blob) else {
            return Ok(Taken::Moved);
        };
        self.record(
            &mut index,
            &Record::InPlace {
                object,
                blob,
                guard,
                path,
            },
        );
        self.files.remove(object); // it was opened without a guard
        Ok(Taken::Moved)
    }

    /// The backing file of a blob that is wholly held; `None` if the blob has none that ever will be.
    pub(super) fn whole_blob(&self, blob: &ChunkId) -> Result<Option<ObjectNo>, StoreError> {
        let index = self.index();
        match index.blob(blob) {
            None => Ok(None),
            Some((object, _, coverage)) if coverage.is_complete() => Ok(Some(object)),
            // What an in-place file holds is not put here once more.
            Some(_) if index.in_place_of(blob).next().is_some() => Ok(None),
            Some(_) => Err(StoreError::Incomplete { blob: *blob }),
        }
    }
}

fn disk(path: &Path, what: &'static str, source: io::Error) -> StoreError {
    StoreError::Disk {
        path: path.to_owned(),
        what,
        source,
    }
}
