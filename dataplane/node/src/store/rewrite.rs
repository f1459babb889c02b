//! Writes the journal anew when most of it is history, while the store goes on: what is held now page by page, then the records that came
//! meanwhile. Those may say again what a page says already; the index takes that. Decides nothing: `core::store::space` says when it is worth it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use ares_core::store::{BootId, Encoder, HELD_CHUNKS_MAX, HeldChunk, ObjectNo, Record, layout, worth_compacting};

use super::flush::Synced;
use super::open::random;
use super::shared::Shared;
use super::{StoreError, locked};

/// Bytes written at a time.
const PIECE_BYTES: usize = 1 << 20;

/// Chunks looked through while the index is locked.
const PAGE: usize = 16 << 10;

/// A journal that is not in its place yet.
pub(super) struct NewJournal {
    pub(super) file: File,
    pub(super) encoder: Encoder,
    /// Bytes of records that are not in the file.
    bytes: Vec<u8>,
    /// Bytes in the file.
    written: u64,
}

impl NewJournal {
    /// One that says nothing but under which boot it is written.
    pub(super) fn create(path: &Path, boot: BootId) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(0o600);
        let file = options.open(path)?;
        let mut bytes = Vec::with_capacity(PIECE_BYTES);
        let encoder = Encoder::start(random(), &mut bytes);
        let mut new = Self {
            file,
            encoder,
            bytes,
            written: 0,
        };
        new.push(&Record::Boot(boot))?;
        Ok(new)
    }

    /// One more record.
    pub(super) fn push(&mut self, record: &Record) -> io::Result<()> {
        self.encoder.push(record, &mut self.bytes);
        match self.bytes.len() >= PIECE_BYTES {
            true => self.write(),
            false => Ok(()),
        }
    }

    /// Journal offset behind all records.
    pub(super) fn end(&self) -> u64 {
        self.written + self.bytes.len() as u64
    }

    /// Says that all before `upto` is on stable storage, and sees to it that this is, too. Where that Sync record begins.
    pub(super) fn finish(&mut self, upto: u64) -> io::Result<u64> {
        let start = self.end();
        self.push(&Record::Sync { upto })?;
        self.write()?;
        self.file.sync_all()?;
        Ok(start)
    }

    fn write(&mut self) -> io::Result<()> {
        self.file.write_all_at(&self.bytes, self.written)?;
        self.written += self.bytes.len() as u64;
        self.bytes.clear();
        Ok(())
    }
}

impl Shared {
    /// Writes the journal anew where that is worth it.
    pub(super) fn compact(&self) -> Result<(), StoreError> {
        let _flushing = locked(&self.flushing);
        if !worth_compacting(self.journal.written_bytes(), self.index().journal_bytes()) {
            return Ok(());
        }
        self.journal.check_trust()?;
        let aside = self.dir.join(layout::JOURNAL_NEW);
        let result = self.write_anew(&aside).and_then(|new| self.journal.replace(new, &aside));
        self.journal.follow(false);
        match result {
            Ok(()) => {
                let synced = File::open(&self.dir).and_then(|dir| dir.sync_all());
                synced.map_err(|e| StoreError::of_write(&self.dir, "sync it", 0, e))
            }
            Err(error) => {
                let _ = fs::remove_file(&aside);
                Err(error)
            }
        }
    }

    /// The new journal, and what of it is on stable storage.
    fn write_anew(&self, path: &Path) -> Result<(NewJournal, Synced), StoreError> {
        let failed = |e| StoreError::of_write(path, "write it", 0, e);
        // Records are made with the index locked for writing: none is missed, and none that introduces an object comes twice.
        let (frame, next) = {
            let index = self.index();
            self.journal.follow(true);
            (index.frame().collect::<Vec<Record>>(), index.next_object())
        };
        let mut new = NewJournal::create(path, self.boot).map_err(failed)?;
        frame.iter().try_for_each(|record| new.push(record)).map_err(failed)?;
        let mut after = None;
        loop {
            let (mut places, last) = self.index().places_after(after, PAGE);
            places.retain(|(object, _)| *object < next);
            held(places).try_for_each(|record| new.push(&record)).map_err(failed)?;
            // What is killed meanwhile goes on with the old one.
            self.append()?;
            match last {
                Some(_) => after = last,
                None => break,
            }
        }
        let follow = |new: &mut NewJournal| {
            let followed = self.journal.take_followed();
            followed.iter().try_for_each(|record| new.push(record)).map_err(failed)
        };
        follow(&mut new)?;
        // As in a flush: what the records so far name is among what is dirty now.
        let upto = new.end();
        self.sync_data()?;
        follow(&mut new)?;
        let start = new.finish(upto).map_err(failed)?;
        let end = new.end();
        Ok((new, Synced { upto, start, end }))
    }
}

/// These places, as records say them.
fn held(mut places: Vec<(ObjectNo, HeldChunk)>) -> impl Iterator<Item = Record> {
    places.sort_unstable_by_key(|(object, held)| (*object, held.offset));
    let runs: Vec<Record> = places
        .chunk_by(|(a, _), (b, _)| a == b)
        .flat_map(|run| run.chunks(HELD_CHUNKS_MAX))
        .map(|run| Record::Held {
            object: run[0].0,
            chunks: run.iter().map(|(_, held)| *held).collect(),
        })
        .collect();
    runs.into_iter()
}
