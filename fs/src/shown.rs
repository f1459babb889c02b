//! What a mount shows: one release, or several under names in a directory of our own. Decides which of them an inode number belongs to, and how
//! long one stays that no name leads to any more. Knows neither FUSE nor a clock.
//!
//! ```text
//! inode number:  slot (24 bits) | number within the release (40 bits)
//!
//! one release:   slot 0 is the release, so numbers are the release's own
//! several:       slot 0 has the one number 1, the directory of names ─┬─ "a" ── slot 1, number 1: the top of a release
//!                                                                      └─ "b" ── slot 2, number 1
//! ```
//! A name that is given to another release leads to another slot. Whoever has something of the former one open goes on reading it; it is gone when
//! the kernel has forgotten all of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ares_core::manifest::{Mtime, Name, Totals};
use ares_core::profile::Profile;
use ares_core::time::Instant;

use crate::inode::{Attr, AttrKind, ROOT};
use crate::machine::{Action, Machine};
use crate::request::{OFFSET_ENTRIES, Space};
use crate::{Source, Tuned};

/// Bits of an inode number that are the release's own.
const OWN_BITS: u32 = 40;
/// Entries that a release may have to be shown beside others.
pub(crate) const ENTRIES_MAX: u64 = (1 << OWN_BITS) - 2;
/// Slots there are: how often something can be shown under a name in the life of a mount.
const SLOTS_MAX: u64 = 1 << (64 - OWN_BITS);
/// Releases that may have bytes in memory at a time, of those that are shown beside others. What is read of them is in the page cache anyway.
const RECENT_MAX: usize = 4;

/// All that a mount shows. `T` is whatever an answer must be handed to.
pub(crate) struct Shown<T> {
    trees: BTreeMap<u64, Tree<T>>,
    /// `None` where it is one release.
    names: Option<Names>,
    /// Slots whose machines may have something to do.
    touched: BTreeSet<u64>,
    /// Slots that were touched last, the latest last.
    recent: VecDeque<u64>,
}

/// One release.
pub(crate) struct Tree<T> {
    pub(crate) machine: Machine<T>,
    pub(crate) source: Arc<dyn Source>,
    /// Times the kernel was told of its top, less the times it forgot.
    told: u64,
    is_named: bool,
}

/// The directory of names.
struct Names {
    named: BTreeMap<Vec<u8>, Named>,
    next: u64,
    changed: Mtime,
}

/// What a name leads to.
#[derive(Clone, Copy, Debug)]
struct Named {
    slot: u64,
    /// Its place among the names, which is the name's as long as there is one: whoever lists them while it is given to another release sees it
    /// once.
    line: u64,
}

/// Where an inode number belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// It is the directory of names.
    Names,
    /// To the release in this slot, where it is this number.
    In(u64, u64),
}

/// A line of the directory of names.
#[derive(Debug)]
pub(crate) struct NameLine {
    pub(crate) next: u64,
    pub(crate) attr: Attr,
    pub(crate) name: Vec<u8>,
    named: Named,
}

/// Why a release is not shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The mount is of one release and has no names.
    One,
    /// Something else has the name.
    Taken,
    /// No more can be shown in the life of this mount.
    Full,
    /// It has too many entries to be shown beside others.
    TooLarge,
}

impl<T> Shown<T> {
    /// One release and nothing else.
    pub(crate) fn one(machine: Machine<T>, source: Arc<dyn Source>) -> Self {
        let tree = Tree {
            machine,
            source,
            told: 1,
            is_named: true,
        };
        Self {
            trees: BTreeMap::from([(0, tree)]),
            names: None,
            touched: BTreeSet::new(),
            recent: VecDeque::new(),
        }
    }

    /// A directory of names that has none yet.
    pub(crate) fn many(now: Mtime) -> Self {
        Self {
            trees: BTreeMap::new(),
            names: Some(Names {
                named: BTreeMap::new(),
                next: 1,
                changed: now,
            }),
            touched: BTreeSet::new(),
            recent: VecDeque::new(),
        }
    }

    /// Whether it is a directory of names.
    pub(crate) fn is_many(&self) -> bool {
        self.names.is_some()
    }

    /// Shows a release under a name. In place of another only if `replaces`; open files stay with the other.
    pub(crate) fn show(
        &mut self,
        now: Mtime,
        name: &Name,
        machine: Machine<T>,
        source: Arc<dyn Source>,
        replaces: bool,
    ) -> Result<u64, Refusal> {
        let names = self.names.as_mut().ok_or(Refusal::One)?;
        let former = names.named.get(name.as_bytes()).copied();
        if former.is_some() && !replaces {
            return Err(Refusal::Taken);
        }
        if machine.totals().entries > ENTRIES_MAX {
            return Err(Refusal::TooLarge);
        }
        if names.next == SLOTS_MAX {
            return Err(Refusal::Full);
        }
        let slot = names.next;
        names.next += 1;
        names.changed = now;
        let line = former.map_or(slot, |former| former.line);
        names.named.insert(name.as_bytes().to_vec(), Named { slot, line });
        let tree = Tree {
            machine,
            source,
            told: 0,
            is_named: true,
        };
        self.trees.insert(slot, tree);
        former.into_iter().for_each(|former| self.unname(former.slot));
        Ok(slot)
    }

    /// Shows a release in the slot, and under the name if any, in which the kernel knows it from before. It counts as told of once: how often it was is
    /// not known, and the kernel forgets all of it at once. A name that had been given to another release may be listed again by who lists names now.
    pub(crate) fn show_again(&mut self, slot: u64, name: Option<&Name>, machine: Machine<T>, source: Arc<dyn Source>) {
        let Some(names) = &mut self.names else { return };
        names.next = names.next.max(slot.saturating_add(1));
        if let Some(name) = name {
            let line = slot;
            names.named.insert(name.as_bytes().to_vec(), Named { slot, line });
        }
        let tree = Tree {
            machine,
            source,
            told: 1,
            is_named: name.is_some(),
        };
        self.trees.insert(slot, tree);
    }

    /// The slot of what is shown next under a name.
    pub(crate) fn next(&self) -> u64 {
        self.names.as_ref().map_or(0, |names| names.next)
    }

    /// Those before were given to something that the kernel may know.
    pub(crate) fn begin_at(&mut self, slot: u64) {
        if let Some(names) = &mut self.names {
            names.next = names.next.max(slot);
        }
    }

    /// Slots that are shown or not forgotten.
    pub(crate) fn slots(&self) -> Vec<u64> {
        self.trees.keys().copied().collect()
    }

    /// Shows a name no more. `false` where there is none.
    pub(crate) fn hide(&mut self, now: Mtime, name: &[u8]) -> bool {
        let Some(names) = &mut self.names else { return false };
        let Some(named) = names.named.remove(name) else { return false };
        names.changed = now;
        self.unname(named.slot);
        true
    }

    fn unname(&mut self, slot: u64) {
        if let Some(tree) = self.trees.get_mut(&slot) {
            tree.is_named = false;
            tree.machine.stop_warming();
        }
        self.drop_if_forgotten(slot);
    }

    fn drop_if_forgotten(&mut self, slot: u64) {
        let is_gone = |tree: &Tree<T>| !tree.is_named && tree.told == 0 && tree.machine.is_forgotten();
        if self.trees.get(&slot).is_some_and(is_gone) {
            self.trees.remove(&slot);
            self.recent.retain(|recent| *recent != slot);
        }
    }

    /// Where `ino` belongs.
    pub(crate) fn place(&self, ino: u64) -> Place {
        match (ino >> OWN_BITS, self.is_many()) {
            (0, true) => Place::Names,
            (slot, true) => Place::In(slot, ino & ((1 << OWN_BITS) - 1)),
            // All of the number is the release's own.
            (_, false) => Place::In(0, ino),
        }
    }

    /// The release in a slot, about to be told something.
    pub(crate) fn tree(&mut self, slot: u64) -> Option<&mut Tree<T>> {
        if self.is_many() && self.recent.back() != Some(&slot) && self.trees.contains_key(&slot) {
            self.recent.retain(|recent| *recent != slot);
            self.recent.push_back(slot);
            if self.recent.len() > RECENT_MAX {
                let oldest = self.recent.pop_front().and_then(|oldest| self.trees.get_mut(&oldest));
                oldest.into_iter().for_each(|tree| tree.machine.rest());
            }
        }
        self.touched.insert(slot);
        self.trees.get_mut(&slot)
    }

    /// The directory of names itself.
    pub(crate) fn names_attr(&self) -> Attr {
        let mtime = self.names.as_ref().map_or(Mtime::default(), |names| names.changed);
        Attr {
            ino: ROOT,
            kind: AttrKind::Dir,
            size: 0,
            mode: 0o755,
            mtime,
        }
    }

    /// The top of what has this name; the kernel counts being told of it.
    pub(crate) fn lookup(&mut self, name: &[u8]) -> Option<Attr> {
        let slot = self.names.as_ref()?.named.get(name)?.slot;
        self.on_top_told(slot);
        self.top(slot)
    }

    /// The name that leads to a slot now, where one does.
    pub(crate) fn name(&self, slot: u64) -> Option<Vec<u8>> {
        let mut named = self.names.iter().flat_map(|names| &names.named);
        named.find_map(|(name, named)| (named.slot == slot).then(|| name.clone()))
    }

    fn top(&self, slot: u64) -> Option<Attr> {
        let attr = self.trees.get(&slot)?.machine.attr(ROOT).ok()?;
        Some(attr.at(slot))
    }

    /// Names from `offset` on: 0, or what an earlier line gave. In the order in which they came to be.
    pub(crate) fn list(&self, offset: u64) -> Vec<NameLine> {
        let names = self.names.iter().flat_map(|names| &names.named);
        let mut lines: Vec<NameLine> = names
            .filter(|(_, named)| OFFSET_ENTRIES + named.line > offset)
            .filter_map(|(name, &named)| {
                Some(NameLine {
                    next: OFFSET_ENTRIES + named.line,
                    attr: self.top(named.slot)?,
                    name: name.clone(),
                    named,
                })
            })
            .collect();
        lines.sort_by_key(|line| line.named.line);
        lines
    }

    /// The kernel is about to be told of the tops of these lines.
    pub(crate) fn on_listed(&mut self, lines: &[NameLine]) {
        lines.iter().for_each(|line| self.on_top_told(line.named.slot));
    }

    /// The kernel is about to be told of the top of what is in a slot.
    pub(crate) fn on_top_told(&mut self, slot: u64) {
        if let Some(tree) = self.trees.get_mut(&slot) {
            tree.told += 1;
        }
    }

    /// The kernel forgot `count` times that it was told of `ino`.
    pub(crate) fn on_forget(&mut self, ino: u64, count: u64) {
        let Place::In(slot, own) = self.place(ino) else { return };
        let is_many = self.is_many();
        let Some(tree) = self.trees.get_mut(&slot) else { return };
        if own == ROOT && is_many {
            tree.told = tree.told.saturating_sub(count);
        } else {
            tree.machine.on_forget(own, count);
        }
        self.drop_if_forgotten(slot);
    }

    /// What was read of a release so far: of the one, or of that which a name leads to.
    pub(crate) fn recorded(&self, name: Option<&[u8]>) -> Option<&Profile> {
        let slot = match (&self.names, name) {
            (None, None) => 0,
            (Some(names), Some(name)) => names.named.get(name)?.slot,
            _ => return None,
        };
        Some(self.trees.get(&slot)?.machine.recorded())
    }

    /// What to do next, and for which slot.
    pub(crate) fn poll(&mut self) -> Vec<(u64, Action<T>)> {
        let mut actions = Vec::new();
        for slot in std::mem::take(&mut self.touched) {
            if let Some(tree) = self.trees.get_mut(&slot) {
                actions.extend(std::iter::from_fn(|| tree.machine.poll()).map(|action| (slot, action)));
                self.drop_if_forgotten(slot);
            }
        }
        actions
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Machine<T>> {
        self.touched.extend(self.trees.keys());
        self.trees.values_mut().map(|tree| &mut tree.machine)
    }

    /// Time passed.
    pub(crate) fn on_time(&mut self, now: Instant) {
        self.all().for_each(|machine| machine.on_time(now));
    }

    /// When `on_time` is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.trees.values().filter_map(|tree| tree.machine.deadline()).min()
    }

    /// How long the request has waited that has waited longest.
    pub(crate) fn longest_wait(&self, now: Instant) -> Duration {
        let waits = self.trees.values().map(|tree| tree.machine.longest_wait(now));
        waits.max().unwrap_or_default()
    }

    /// Obeys this from the next request on.
    pub(crate) fn tune(&mut self, tuned: &Tuned) {
        let tuned = if self.is_many() { tuned.shared() } else { *tuned };
        self.all().for_each(|machine| machine.tune(&tuned));
    }

    /// No more fetching.
    pub(crate) fn close(&mut self) {
        self.all().for_each(Machine::close);
    }

    /// Whoever waits for the request that `is_it` knows wants it no more. `false` where there is none.
    pub(crate) fn on_interrupt(&mut self, is_it: impl Fn(&T) -> bool) -> bool {
        self.all().any(|machine| machine.on_interrupt(&is_it))
    }

    /// How large that is which `ino` is in: one release, or all that have names.
    pub(crate) fn space(&self, ino: u64) -> Space {
        let of = |tree: &Tree<T>| {
            let Totals { bytes, entries, .. } = tree.machine.totals();
            let held_bytes = tree.source.held_bytes().min(bytes);
            Space {
                entries,
                bytes,
                held_bytes,
            }
        };
        match self.place(ino) {
            Place::In(slot, _) => self.trees.get(&slot).map(of).unwrap_or_default(),
            Place::Names => {
                let named = self.trees.values().filter(|tree| tree.is_named).map(of);
                named.fold(Space::default(), |sum, one| Space {
                    // Itself.
                    entries: sum.entries.saturating_add(one.entries).saturating_add(1),
                    bytes: sum.bytes.saturating_add(one.bytes),
                    held_bytes: sum.held_bytes.saturating_add(one.held_bytes),
                })
            }
        }
    }
}

impl Attr {
    /// The same in a slot. Number 0 is nothing wherever it is.
    pub(crate) fn at(self, slot: u64) -> Self {
        Self {
            ino: number(slot, self.ino),
            ..self
        }
    }

    /// Whether it is the top of a release that is shown under a name: where that name leads may change.
    pub(crate) fn is_named_top(&self) -> bool {
        self.ino > 1 << OWN_BITS && self.ino & ((1 << OWN_BITS) - 1) == ROOT
    }
}

/// The inode number that the kernel knows for number `own` of the release in a slot.
pub(crate) fn number(slot: u64, own: u64) -> u64 {
    if own == 0 { 0 } else { slot << OWN_BITS | own }
}

#[cfg(test)]
mod tests {
    use ares_core::chunk::ReleaseId;
    use ares_core::profile::Profile;

    use super::*;
    use crate::machine::Settings;
    use crate::testing::{MemorySource, Release, dir, file};

    const NOW: Mtime = Mtime { secs: 1, nanos: 0 };

    fn machine(text: &str) -> (Machine<()>, Arc<dyn Source>) {
        let release = Release::of(&dir([("f", file(text))]));
        let settings = Settings {
            release: ReleaseId(release.root.id()),
            patience: Duration::from_secs(1),
            cache_bytes: 1 << 20,
            profile: Profile::default(),
        };
        let name = Name::new(b"n".to_vec()).expect("a name");
        (
            Machine::new(settings, &release.parsed(), name),
            MemorySource::prompt(&release),
        )
    }

    fn show(shown: &mut Shown<()>, name: &str, text: &str, replaces: bool) -> Result<(), Refusal> {
        let (machine, source) = machine(text);
        let name = Name::new(name.as_bytes().to_vec()).expect("a name");
        shown.show(NOW, &name, machine, source, replaces).map(drop)
    }

    #[test]
    fn a_release_stays_as_long_as_the_kernel_knows_it_and_a_name_is_one_of_them() {
        let mut shown = Shown::many(NOW);
        assert_eq!(show(&mut shown, "a", "1", false), Ok(()));
        assert_eq!(show(&mut shown, "a", "2", false), Err(Refusal::Taken));
        let first = shown.lookup(b"a").expect("shown").ino;
        assert!(matches!(shown.place(first), Place::In(1, ROOT)));
        assert_eq!(show(&mut shown, "a", "2", true), Ok(()));
        let second = shown.lookup(b"a").expect("shown").ino;
        assert!(matches!(shown.place(second), Place::In(2, ROOT)));
        assert!(shown.tree(1).is_some(), "somebody may read it still");
        shown.on_forget(first, 1);
        assert!(shown.tree(1).is_none());
        assert!(!shown.hide(NOW, b"b") && shown.hide(NOW, b"a"));
        assert_eq!(shown.lookup(b"a"), None);
        assert!(shown.tree(2).is_some());
        shown.on_forget(second, 1);
        assert!(shown.tree(2).is_none());
        // Nobody ever looked at it.
        assert_eq!(show(&mut shown, "c", "3", false), Ok(()));
        assert!(shown.hide(NOW, b"c") && shown.tree(3).is_none());
    }

    #[test]
    fn what_was_shown_before_has_its_number_until_the_kernel_forgets_it() {
        let mut shown = Shown::many(NOW);
        let name = Name::new(b"a".to_vec()).expect("a name");
        for (slot, name) in [(4, None), (6, Some(&name))] {
            let (machine, source) = machine("1");
            shown.show_again(slot, name, machine, source);
        }
        assert_eq!(shown.slots(), [4, 6]);
        let top = shown.lookup(b"a").expect("shown").ino;
        assert!(matches!(shown.place(top), Place::In(6, ROOT)));
        assert_eq!(show(&mut shown, "b", "2", false), Ok(()));
        assert_eq!(shown.slots(), [4, 6, 7]);
        // However often it was told of them before.
        shown.on_forget(number(4, ROOT), 3);
        shown.on_forget(top, 5);
        assert_eq!(shown.slots(), [6, 7], "one has a name");
    }

    #[test]
    fn names_are_listed_each_once_from_any_offset() {
        let mut shown = Shown::many(NOW);
        for name in ["z", "a", "m"] {
            show(&mut shown, name, name, false).expect("a name of its own");
        }
        shown.hide(NOW, b"a");
        let all = shown.list(0);
        let names = |lines: &[NameLine]| lines.iter().map(|line| line.name[0]).collect::<Vec<_>>();
        assert_eq!(names(&all), b"zm");
        assert_eq!(names(&shown.list(all[0].next)), b"m");
        assert!(shown.list(all[1].next).is_empty());
        assert!(all.iter().all(|line| line.attr.is_named_top()));
        assert!(!shown.names_attr().is_named_top());
        assert_eq!(shown.space(ROOT).entries, 4, "two releases of one file");
        assert_eq!(shown.space(all[0].attr.ino).entries, 1);
        show(&mut shown, "z", "another", true).expect("in place of the former");
        assert_eq!(names(&shown.list(all[0].next)), b"m", "what was listed is not listed again");
        assert_eq!(names(&shown.list(0)), b"zm");
    }

    #[test]
    fn no_slot_is_given_twice_also_by_whoever_goes_on_with_the_mount() {
        let mut shown = Shown::many(NOW);
        for name in ["a", "b"] {
            show(&mut shown, name, name, false).expect("a name of its own");
        }
        let next = shown.next();
        let mut later = Shown::many(NOW);
        let (again, source) = machine("a");
        later.show_again(1, Some(&Name::new(b"a".to_vec()).expect("a name")), again, source);
        // What was in the other slot cannot be had, and the kernel may know of it still.
        later.begin_at(next);
        show(&mut later, "c", "c", false).expect("a name of its own");
        assert!(later.tree(next).is_some());
    }

    #[test]
    fn one_release_has_its_own_numbers_and_no_names() {
        let (machine, source) = machine("1");
        let mut shown = Shown::one(machine, source);
        assert!(matches!(shown.place(1 << 50), Place::In(0, own) if own == 1 << 50));
        assert_eq!(show(&mut shown, "a", "2", true), Err(Refusal::One));
        shown.on_forget(ROOT, 1);
        assert!(shown.tree(0).is_some());
        let top = shown.tree(0).and_then(|tree| tree.machine.attr(ROOT).ok());
        assert!(!top.expect("a top").at(0).is_named_top());
    }
}
