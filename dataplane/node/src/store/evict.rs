//! Makes room where the store has what it may have, or the disk is about to be full: takes files of our own away, those first that were not read for
//! longest. What went is fetched again by whoever wants it. `core::store::evict` says how much and in which order; here is what stays:
//! whatever a release has that is pinned or was made here, files that are lent, and blobs that are being written.
//!
//! What is of releases that another peer of the zone has whole goes before what is rare there. A blob goes whole. A pack segment has chunks of many releases: what is to stay of it is copied to another one first, and one that is mostly to
//! stay is left. **Nobody reads wrong bytes**: files are removed and never written over, so who has one open reads on; and both records and
//! copies are on stable storage before the name goes or is given to another file, so no journal takes a new file for the old one.
//!
//! Of a release whose manifest is not all here only that much is known to be its own, and stays.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use ares_core::chunk::{ChunkId, ChunkTag, ReleaseId};
use ares_core::manifest::{Content, DirClaim, DirNode, EntryKind, File, ListNode, ListRef, Root, Top};
use ares_core::store::{Candidate, HeldChunk, ObjectKind, ObjectNo, Quota, Record, ReleaseInfo, ReleaseState, Uses, victims};

use super::error::free_bytes;
use super::shared::{Shared, own_names};
use super::{Evicted, StoreError, locked};

/// A blob that was written to so lately, and is not whole, is being fetched.
const WRITTEN_LATELY: Duration = Duration::from_secs(30);

/// Chunks looked through while the index is locked.
const PAGE: usize = 4096;

/// What is known for making room.
#[derive(Default)]
pub(super) struct Room {
    pub(super) quota: Mutex<Quota>,
    pub(super) uses: Mutex<Uses>,
    /// Held by whoever makes room.
    rosters: Mutex<Rosters>,
    /// Releases that another peer of the zone has whole.
    pub(super) whole_nearby: Mutex<BTreeSet<ReleaseId>>,
    /// What files take of the disk that the index does not have any more and that are not removed yet, in bytes.
    leaving_bytes: AtomicU64,
    /// Blobs whose files are to be removed: the record that says so is not on stable storage yet.
    going: Mutex<BTreeSet<ChunkId>>,
    /// What was not told to anybody yet.
    pub(super) evicted: Mutex<Evicted>,
}

/// What releases are made of, of those that stay or are complete.
type Rosters = BTreeMap<ReleaseId, Roster>;

/// What a release is made of: its manifest nodes, packs and blobs.
struct Roster {
    tags: BTreeSet<ChunkTag>,
    /// All of its manifest was here.
    is_whole: bool,
    /// And all the rest.
    is_held: bool,
}

impl Roster {
    fn has(&self, name: &ChunkId) -> bool {
        self.tags.contains(&(*name).into())
    }
}

/// What is to go, and what of it is to stay.
struct Victim {
    object: ObjectNo,
    /// As `Index::own_bytes_of` had it.
    bytes: u64,
    kept: Vec<HeldChunk>,
    rest: Vec<ChunkId>,
}

/// What is on its way out.
struct Gone {
    /// Names its file may have.
    names: Vec<String>,
    blob: Option<ChunkId>,
    victim: Victim,
}

impl Room {
    /// That of a store whose files were read in this order before, the last one last.
    pub(super) fn new(read: Vec<ObjectNo>) -> Self {
        Self {
            uses: Mutex::new(Uses::new(read)),
            ..Self::default()
        }
    }
}

impl Shared {
    /// Returns once `len` more bytes may be written, and takes away what that needs; else [`StoreError::Full`].
    pub(super) fn make_room(&self, len: u64) -> Result<(), StoreError> {
        if self.lacking(len) == 0 {
            return Ok(());
        }
        let mut rosters = locked(&self.room.rosters);
        // Whoever held it may have made room enough.
        let lacking = self.lacking(len);
        if lacking > 0 {
            let bytes = locked(&self.room.quota).to_evict(lacking);
            self.evict(&mut rosters, bytes);
        }
        match self.lacking(len) {
            0 => Ok(()),
            _ => Err(self.full(len)),
        }
    }

    pub(super) fn lacking(&self, len: u64) -> u64 {
        let quota = *locked(&self.room.quota);
        let free = match quota.free_bytes_min {
            0 => u64::MAX,
            _ => free_bytes(&self.dir),
        };
        // In this order: what is just being struck out counts twice and never not at all.
        let own = self.index().own_bytes();
        let own = own + self.room.leaving_bytes.load(Ordering::Acquire);
        quota.lacking(own, free, len)
    }

    /// As long as what this gives is held nothing is taken away. `None` where something was since the store was opened, and the release lacks
    /// some of it.
    pub(super) fn hold_all_of(&self, release: ReleaseId) -> Option<impl Drop + '_> {
        let rosters: MutexGuard<'_, Rosters> = locked(&self.room.rosters);
        let is_whole = self.evicted_bytes.load(Ordering::Relaxed) == 0 || self.roster(release).is_held;
        is_whole.then_some(rosters)
    }

    /// Whether the file of the blob is being taken away.
    pub(super) fn is_going(&self, blob: &ChunkId) -> bool {
        locked(&self.room.going).contains(blob)
    }

    fn evict(&self, rosters: &mut Rosters, bytes: u64) {
        let staying = self.staying();
        let complete: BTreeSet<ReleaseId> = {
            let index = self.index();
            let complete = index.releases().iter().filter(|known| known.state == ReleaseState::Complete);
            complete
                .map(|known| known.release)
                .filter(|release| !staying.contains(release))
                .collect()
        };
        let nearby: BTreeSet<ReleaseId> = {
            let whole = locked(&self.room.whole_nearby).clone();
            let index = self.index();
            whole
                .into_iter()
                .filter(|release| index.release(*release).is_some())
                .collect()
        };
        let of_use = [&staying, &complete, &nearby];
        rosters.retain(|release, roster| roster.is_whole && of_use.iter().any(|releases| releases.contains(release)));
        for release in of_use.into_iter().flatten() {
            rosters.entry(*release).or_insert_with(|| self.roster(*release));
        }
        let has = |releases: &BTreeSet<ReleaseId>, name: &ChunkId| {
            let rosters = releases.iter().filter_map(|release| rosters.get(release));
            rosters.into_iter().any(|roster| roster.has(name))
        };
        let stays = |name: &ChunkId| has(&staying, name);
        let order = victims(self.candidates(&stays, &|name| !has(&nearby, name)), bytes);
        let victims = self.look_into(order, &stays);
        // Those first that need no room for what stays.
        let (mixed, plain): (Vec<Victim>, Vec<Victim>) = victims.into_iter().partition(|victim| !victim.kept.is_empty());
        let mut gone = self.take_away(plain);
        for victim in mixed {
            match victim.kept.iter().try_for_each(|held| self.copy(held)) {
                Ok(()) => gone.extend(self.take_away(vec![victim])),
                Err(error) => tracing::warn!("a file of the store stays, since what is pinned of it cannot be copied: {error}"),
            }
        }
        let lost = |name: &ChunkId| self.index().lookup(name).is_none();
        let chunks: Vec<ChunkId> = gone.iter().flat_map(|gone| &gone.victim.rest).copied().filter(lost).collect();
        let parts: Vec<ChunkId> = gone
            .iter()
            .filter_map(|gone| gone.blob)
            .chain(chunks.iter().copied())
            .collect();
        let lessened = complete.into_iter().filter(|release| {
            let roster = rosters.get(release);
            roster.is_some_and(|roster| !roster.is_whole || parts.iter().any(|name| roster.has(name)))
        });
        self.lessen(lessened.collect(), chunks);
        let bytes: u64 = gone.iter().map(|gone| gone.victim.bytes).sum();
        self.evicted_bytes.fetch_add(bytes, Ordering::Relaxed);
        tracing::info!(bytes, files = gone.len(), "made room: what was not read for longest is gone");
    }

    /// Releases of which nothing is to go.
    fn staying(&self) -> BTreeSet<ReleaseId> {
        let configured = locked(&self.configured_pins).clone();
        let index = self.index();
        let staying = index.pins().keys().chain(configured.keys()).chain(index.published());
        staying.copied().collect()
    }

    /// Every place of every chunk that is held, page by page: nobody waits for the index long.
    pub(super) fn each_place(&self, mut each: impl FnMut(ObjectNo, HeldChunk)) {
        let mut after = None;
        loop {
            let (places, last) = self.index().places_after(after, PAGE);
            places.into_iter().for_each(|(object, held)| each(object, held));
            match last {
                Some(last) => after = Some(last),
                None => return,
            }
        }
    }

    /// `stays`, `is_rare`: of a chunk or blob.
    fn candidates(&self, stays: &dyn Fn(&ChunkId) -> bool, is_rare: &dyn Fn(&ChunkId) -> bool) -> Vec<Candidate> {
        let now = self.now();
        let mut staying: BTreeMap<ObjectNo, u64> = BTreeMap::new();
        let mut common: BTreeMap<ObjectNo, u64> = BTreeMap::new();
        self.each_place(|object, held| {
            if stays(&held.chunk.id) {
                *staying.entry(object).or_default() += u64::from(held.chunk.len);
            } else if !is_rare(&held.chunk.id) {
                *common.entry(object).or_default() += u64::from(held.chunk.len);
            }
        });
        let open = locked(&self.pack).map(|(object, _)| object);
        let index = self.index();
        let uses = locked(&self.room.uses);
        let is_written = |object| uses.written_at(object).is_some_and(|at| now.since(at) < WRITTEN_LATELY);
        let candidates = index.objects().filter_map(|(object, known)| {
            let bytes = index.own_bytes_of(object);
            let staying = staying.get(&object).copied().unwrap_or(0);
            let common = common.get(&object).copied().unwrap_or(0);
            let (may_go, is_partial, is_rare) = match &known.kind {
                ObjectKind::Blob { blob, coverage, moving } => {
                    let is_partial = !coverage.is_complete();
                    let is_used = moving.is_some() || is_partial && is_written(object);
                    (!is_used && !stays(&blob.id), is_partial, is_rare(&blob.id))
                }
                // What is mostly to be had nearby is.
                ObjectKind::Pack { .. } => (open != Some(object), false, 2 * common < bytes.saturating_sub(staying)),
                ObjectKind::InPlace { .. } | ObjectKind::Gone => return None,
            };
            let candidate = Candidate {
                object,
                bytes: bytes.saturating_sub(staying),
                is_partial,
                is_rare,
                used: uses.last(object),
            };
            (may_go && bytes > 0 && 2 * staying <= bytes).then_some(candidate)
        });
        let candidates: Vec<Candidate> = candidates.collect();
        drop((uses, index));
        candidates
            .into_iter()
            .filter(|candidate| !self.is_lent(candidate.object))
            .collect()
    }

    /// What is in these.
    fn look_into(&self, order: Vec<ObjectNo>, stays: &dyn Fn(&ChunkId) -> bool) -> Vec<Victim> {
        let bytes: Vec<u64> = order.iter().map(|object| self.index().own_bytes_of(*object)).collect();
        let mut victims: BTreeMap<ObjectNo, Victim> = BTreeMap::new();
        for (object, bytes) in order.iter().copied().zip(bytes) {
            let (kept, rest) = Default::default();
            victims.insert(
                object,
                Victim {
                    object,
                    bytes,
                    kept,
                    rest,
                },
            );
        }
        self.each_place(|object, held| {
            let Some(victim) = victims.get_mut(&object) else { return };
            match stays(&held.chunk.id) {
                true => victim.kept.push(held),
                false => victim.rest.push(held.chunk.id),
            }
        });
        order.iter().filter_map(|object| victims.remove(object)).collect()
    }

    /// Takes objects out of the index, and then their files away; those that are to stay after all are left out of the answer.
    fn take_away(&self, victims: Vec<Victim>) -> Vec<Gone> {
        let gone: Vec<Gone> = victims.into_iter().filter_map(|victim| self.strike(victim)).collect();
        // Where the disk is so full that not even this fits, it fits when the files are gone.
        let flushed = self.flush();
        {
            let _names = locked(&self.names);
            for Gone { names, blob, .. } in &gone {
                // Whoever wanted it meanwhile has made it anew.
                if blob.is_none_or(|blob| self.index().blob(&blob).is_none()) {
                    // It has but one of its names.
                    names.iter().for_each(|name| drop(fs::remove_file(self.dir.join(name))));
                }
            }
        }
        if let Err(error) = flushed.or_else(|_| self.flush()) {
            tracing::error!("{error}");
        }
        let bytes: u64 = gone.iter().map(|gone| gone.victim.bytes).sum();
        self.room.leaving_bytes.fetch_sub(bytes, Ordering::AcqRel);
        let mut going = locked(&self.room.going);
        for blob in gone.iter().filter_map(|gone| gone.blob) {
            going.remove(&blob);
        }
        drop(going);
        gone
    }

    /// Takes an object out of the index.
    fn strike(&self, victim: Victim) -> Option<Gone> {
        let object = victim.object;
        let _names = locked(&self.names);
        let mut index = self.index_mut();
        // Somebody may have borrowed it, or written to it.
        if self.is_lent(object) || index.own_bytes_of(object) != victim.bytes {
            return None;
        }
        let known = &index.object(object)?.kind;
        let names = own_names(object, known)?;
        let blob = match known {
            ObjectKind::Blob { blob, .. } => Some(blob.id),
            _ => None,
        };
        locked(&self.room.going).extend(blob);
        self.room.leaving_bytes.fetch_add(victim.bytes, Ordering::AcqRel);
        self.record(&mut index, &Record::Gone { object });
        let chunks = victim
            .kept
            .iter()
            .map(|held| held.chunk.id)
            .chain(victim.rest.iter().copied());
        index.sweep(object, chunks);
        drop(index);
        self.files.remove(object);
        locked(&self.room.uses).forget(object);
        Some(Gone { names, blob, victim })
    }

    /// Copies a chunk that is to stay to the pack segment that is appended to.
    fn copy(&self, held: &HeldChunk) -> Result<(), StoreError> {
        match self.look_at(held.chunk) {
            Ok(verified) => self.append_to_pack(&verified),
            // Then there is nothing to keep.
            Err(_) => Ok(()),
        }
    }

    pub(super) fn lessen(&self, releases: Vec<ReleaseId>, chunks: Vec<ChunkId>) {
        let mut index = self.index_mut();
        for release in &releases {
            if let Some(info) = index.release(*release).cloned() {
                let state = ReleaseState::Partial;
                self.record(&mut index, &Record::Release(ReleaseInfo { state, ..info }));
            }
        }
        drop(index);
        let mut evicted = locked(&self.room.evicted);
        evicted.releases.extend(releases);
        evicted.chunks.extend(chunks.into_iter().map(ChunkTag::from));
    }

    /// Whether all of a blob is in a file of its own.
    fn is_whole_blob(&self, blob: &ChunkId) -> bool {
        let index = self.index();
        let backing = index.blob(blob);
        backing.is_some_and(|(_, _, coverage)| coverage.is_complete()) || index.in_place_of(blob).next().is_some()
    }

    fn roster(&self, release: ReleaseId) -> Roster {
        let mut reading = Reading {
            store: self,
            roster: Roster {
                tags: BTreeSet::new(),
                is_whole: true,
                is_held: true,
            },
            todo: Vec::new(),
        };
        reading.roster.tags.insert(release.0.into());
        let root = self.look_at(release.root()).ok().and_then(|root| Root::parse(&root).ok());
        match root.map(|root| root.top) {
            Some(Top::Dir { node, .. }) => reading.todo.push(Todo::Dir(node.claim())),
            Some(Top::File { file, .. }) => reading.file(file),
            None => reading.roster.is_whole = false,
        }
        while let Some(todo) = reading.todo.pop() {
            let is_read = match &todo {
                Todo::Dir(claim) => reading.dir(claim).is_some(),
                Todo::List(list) => reading.list(list).is_some(),
            };
            reading.roster.is_whole &= is_read;
        }
        reading.roster.is_held &= reading.roster.is_whole;
        reading.roster
    }
}

/// Reads a manifest, as far as it is here.
struct Reading<'a> {
    store: &'a Shared,
    roster: Roster,
    todo: Vec<Todo>,
}

/// A manifest node to look into.
enum Todo {
    Dir(DirClaim),
    List(ListRef),
}

impl Reading<'_> {
    /// `None` for a node that is not here.
    fn dir(&mut self, claim: &DirClaim) -> Option<()> {
        if !self.roster.tags.insert(claim.node.node.id.into()) {
            return Some(()); // directories that are alike are one
        }
        let node = DirNode::parse(&self.store.look_at(claim.node.node).ok()?, claim).ok()?;
        self.todo.extend(node.children(claim).map(Todo::Dir));
        if let DirNode::Leaf(entries) = node {
            for entry in entries {
                match entry.kind {
                    EntryKind::Dir(dir) => self.todo.push(Todo::Dir(dir.claim())),
                    EntryKind::File(file) => self.file(file),
                    EntryKind::Symlink(_) => {}
                }
            }
        }
        Some(())
    }

    fn file(&mut self, file: File) {
        if let Some(blob) = file.blob_id() {
            self.roster.tags.insert(blob.into());
            self.roster.is_held &= self.store.is_whole_blob(&blob);
        }
        match file.content {
            Content::Packed { pack, .. } => {
                self.roster.tags.insert(pack.id.into());
                self.roster.is_held &= self.store.index().lookup(&pack.id).is_some();
            }
            Content::List(list) => self.todo.push(Todo::List(list)),
            Content::Inline(_) | Content::Chunks(_) => {}
        }
    }

    /// As `dir`.
    fn list(&mut self, list: &ListRef) -> Option<()> {
        self.roster.tags.insert(list.node.id.into());
        // A list without branches names chunks of its blob alone.
        if list.height > 0
            && let ListNode::Branch(lists) = ListNode::parse(&self.store.look_at(list.node).ok()?, list).ok()?
        {
            self.todo.extend(lists.into_iter().map(Todo::List));
        }
        Some(())
    }
}
