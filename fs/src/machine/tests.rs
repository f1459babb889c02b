//! The machine judged against what was published: requests in, replies and wants out. No kernel, no mount.

mod packed;
mod warm;

use std::collections::BTreeMap;

use super::*;
use crate::inode::{AttrKind, ROOT};
use crate::testing::{Item, Random, Release, dir, file, noise, random_bytes};

const PATIENCE: Duration = Duration::from_secs(10);

/// A machine whose fetches are answered when the test says so.
struct Rig {
    machine: Machine<u32>,
    chunks: HashMap<ChunkId, Bytes>,
    now: Instant,
    asked: u32,
    answers: BTreeMap<u32, Reply>,
    fetches: Vec<(CallId, Want)>,
    /// Every want ever; a fetch is called by its place here.
    wants: Vec<Want>,
    /// Fetches that nobody wants any more.
    let_go: Vec<u64>,
    /// Why there were answers of EIO.
    explained: Vec<Eio>,
    /// Chunks that are held, and so need not be fetched where it is enough that they are.
    held: HashSet<ChunkId>,
    /// What the kernel was given.
    given: Vec<(u64, Bytes)>,
}

impl Rig {
    fn of(top: &Item) -> Self {
        Self::with(top, 64 << 20, "")
    }

    fn with(top: &Item, cache_bytes: u64, profile: &str) -> Self {
        let release = Release::of(top);
        let settings = Settings {
            release: ReleaseId(release.root.id()),
            patience: PATIENCE,
            cache_bytes,
            profile: Profile::parse(profile.as_bytes()).expect("a profile"),
        };
        let name = Name::new(&b"single"[..]).expect("a name");
        Self {
            machine: Machine::new(settings, &release.parsed(), name),
            chunks: release.chunks,
            now: Instant::ZERO,
            asked: 0,
            answers: BTreeMap::new(),
            fetches: Vec::new(),
            wants: Vec::new(),
            let_go: Vec::new(),
            explained: Vec::new(),
            held: HashSet::new(),
            given: Vec::new(),
        }
    }

    /// Asks, and answers no fetch.
    fn ask(&mut self, request: Request) -> u32 {
        self.asked += 1;
        self.machine.on_request(self.now, self.asked, request);
        self.collect();
        self.asked
    }

    fn collect(&mut self) {
        while let Some(action) = self.machine.poll() {
            match action {
                Action::Answer { to, reply } => assert!(self.answers.insert(to, reply).is_none(), "answered twice"),
                Action::Fetch { call, want, goal } if goal == Goal::Held && self.held.contains(&want.chunk.id) => {
                    self.machine.on_held(self.now, call, want.chunk.id);
                }
                Action::Fetch { call, want, .. } => {
                    let fetching = Fetching(self.wants.len() as u64);
                    self.machine.on_fetching(call, want.chunk.id, fetching);
                    self.fetches.push((call, want));
                    self.wants.push(want);
                }
                Action::LetGo(Fetching(place)) => self.let_go.push(place),
                Action::Explain(eio) => self.explained.push(eio),
                Action::Give(files) => self.given.extend(files),
            }
        }
    }

    /// Answers all fetches for which `which` holds, and those that follow.
    fn deliver_where(&mut self, which: impl Fn(&Want) -> bool) {
        while let Some(at) = self.fetches.iter().position(|(_, want)| which(want)) {
            let (call, want) = self.fetches.remove(at);
            let bytes = self.chunks[&want.chunk.id].clone();
            self.machine.on_fetched(self.now, call, want.chunk, Ok(bytes));
            self.collect();
        }
    }

    fn deliver(&mut self) {
        self.deliver_where(|_| true);
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.machine.on_time(self.now);
        self.collect();
    }

    fn failed(&mut self, asked: u32) -> Option<Failure> {
        match self.answers.remove(&asked) {
            Some(Reply::Failed(failure)) => Some(failure),
            Some(other) => panic!("{other:?}"),
            None => None,
        }
    }

    fn lookup(&mut self, parent: u64, name: &[u8]) -> Option<Attr> {
        let name = name.to_vec();
        let asked = self.ask(Request::Lookup { parent, name });
        self.deliver();
        match self.answers.remove(&asked) {
            Some(Reply::Entry(attr)) => Some(attr),
            Some(Reply::Absent) => None,
            other => panic!("{other:?}"),
        }
    }

    fn read(&mut self, ino: u64, offset: u64, len: u32) -> Vec<u8> {
        let asked = self.ask(Request::Read { ino, offset, len });
        self.deliver();
        match self.answers.remove(&asked) {
            Some(Reply::Data(parts)) => parts.concat(),
            other => panic!("{other:?}"),
        }
    }

    fn list(&mut self, ino: u64, offset: u64) -> Listing {
        let asked = self.ask(Request::List { ino, offset });
        self.deliver();
        match self.answers.remove(&asked) {
            Some(Reply::Listing(listing)) => listing,
            other => panic!("{other:?}"),
        }
    }

    /// A directory's entries, read `step` at a time: (name, number, offset behind it).
    fn list_all(&mut self, ino: u64, step: usize) -> Vec<(Vec<u8>, u64, u64)> {
        let (mut all, mut offset) = (Vec::new(), 0);
        loop {
            let listing = self.list(ino, offset);
            let some = listing.entries().take(step);
            let some: Vec<_> = some.map(|l| (l.entry.name.as_bytes().to_vec(), l.attr.ino, l.next)).collect();
            let Some(last) = some.last() else { return all };
            offset = last.2;
            all.extend(some);
        }
    }
}

fn many(count: usize) -> Item {
    dir((0..count).map(|i| (format!("entry-{i:07}"), file(i.to_string()))))
}

#[test]
fn looking_up_and_listing_agree_on_every_entry_and_number() {
    let deep = (0..200).fold(file("bottom"), |below, level| dir([(format!("level-{level}"), below)]));
    let top = dir([
        ("a", file("")),
        ("big", many(5000)),
        ("deep", deep),
        ("empty", dir::<&str>([])),
        ("link", Item::Link(b"a".to_vec())),
        ("packed", dir((0..300).map(|i| (format!("{i:03}"), noise(3000, i))))),
        ("z", file("last")),
    ]);
    for step in [1, 7, usize::MAX] {
        let mut rig = Rig::of(&top);
        let mut seen = HashSet::from([ROOT]);
        let mut dirs = vec![(ROOT, &top)];
        while let Some((ino, item)) = dirs.pop() {
            let Item::Dir(items) = item else { panic!() };
            let listed = rig.list_all(ino, step);
            let names: Vec<&[u8]> = listed.iter().map(|(name, ..)| &name[..]).collect();
            assert!(names.iter().eq(&items.keys().collect::<Vec<_>>()), "step {step}");
            for (name, number, _) in &listed {
                assert!(seen.insert(*number), "number {number} twice");
                let attr = rig.lookup(ino, name).expect("it was listed");
                assert_eq!(attr.ino, *number);
                if let Item::Dir(_) = items[name] {
                    assert_eq!(attr.kind, AttrKind::Dir);
                    dirs.push((*number, &items[name]));
                }
            }
            for absent in ["", "0", "entry-", "zz", "entry-00000000"] {
                assert!(rig.lookup(ino, absent.as_bytes()).is_none());
            }
        }
        let entries = rig.machine.totals().entries;
        assert_eq!(seen.len() as u64, entries + 1);
        assert_eq!(seen.iter().max(), Some(&(entries + 1)), "numbers leave no gaps");
        if step == 1 {
            break;
        }
    }
}

#[test]
fn a_listing_goes_on_from_any_offset_it_gave() {
    let mut rig = Rig::of(&many(20_000));
    let all = rig.list_all(ROOT, usize::MAX);
    assert_eq!(all.len(), 20_000);
    let mut random = Random(5);
    for _ in 0..200 {
        let at = random.below(all.len() as u64 - 1) as usize;
        let listing = rig.list(ROOT, all[at].2);
        let next = listing.entries().next().expect("not the last");
        assert_eq!(next.entry.name.as_bytes(), all[at + 1].0);
    }
    assert!(rig.list(ROOT, all[19_999].2).spot.is_none());
    assert!(rig.list(ROOT, u64::MAX).spot.is_none());
}

#[test]
fn a_lookup_among_a_hundred_thousand_entries_takes_few_nodes() {
    let mut rig = Rig::of(&many(100_000));
    assert!(rig.lookup(ROOT, b"entry-0077777").is_some());
    assert!(rig.wants.len() <= 4, "{} nodes", rig.wants.len());
    assert!(rig.wants.iter().all(|want| want.class == Class::Deadline));
    let before = rig.wants.len();
    assert!(rig.lookup(ROOT, b"entry-0077778").is_some());
    assert!(rig.wants.len() <= before + 1, "its neighbour is most likely in the same node");
}

#[test]
fn reads_give_the_bytes_that_were_published() {
    let sizes = [0, 1, 512, 513, 4096, 65_536, 65_537, 200_000, 1 << 20, 30 << 20];
    let bytes: Vec<Bytes> = sizes.iter().map(|&size| random_bytes(size, size as u64)).collect();
    let top = dir(bytes
        .iter()
        .enumerate()
        .map(|(i, bytes)| (format!("{i}"), Item::File(bytes.clone()))));
    // Without a cache everything must still work, only slower.
    for cache_bytes in [64 << 20, 0] {
        let mut rig = Rig::with(&top, cache_bytes, "");
        let mut random = Random(1);
        for (i, bytes) in bytes.iter().enumerate() {
            let attr = rig.lookup(ROOT, i.to_string().as_bytes()).expect("it is there");
            assert_eq!(attr.size, bytes.len() as u64);
            for _ in 0..20 {
                let offset = random.below(bytes.len() as u64 + 10);
                let len = random.below(1 << 20) as u32;
                let (from, to) = (
                    (offset as usize).min(bytes.len()),
                    (offset as usize + len as usize).min(bytes.len()),
                );
                let got = rig.read(attr.ino, offset, len);
                assert!(got == bytes[from..to], "file {i} at {offset} + {len}");
            }
            assert!(rig.read(attr.ino, u64::MAX, u32::MAX).is_empty());
        }
        assert_eq!(rig.machine.bulk_bytes, 0);
        assert!(rig.machine.jobs.is_empty() && rig.machine.flights.is_empty() && rig.machine.deadlines.is_empty());
    }
}

#[test]
fn a_sequential_reader_leaves_no_chunks_behind_and_fetches_none_twice() {
    const SIZE: usize = 12 << 20;
    // The same megabyte twelve times: its chunks are always needed again.
    let again = random_bytes(1 << 20, 8).repeat(12);
    let top = dir([
        ("noise".to_owned(), Item::File(random_bytes(SIZE, 7))),
        ("again".to_owned(), Item::File(again.into())),
    ]);
    let mut rig = Rig::of(&top);
    for (name, held_max) in [("noise", 3 << 20), ("again", 13 << 20)] {
        rig.machine.chunks = Cache::new(64 << 20);
        let ino = rig.lookup(ROOT, name.as_bytes()).expect("it is there").ino;
        let before = rig.wants.len();
        for offset in (0..SIZE).step_by(128 << 10) {
            assert_eq!(rig.read(ino, offset as u64, 128 << 10).len(), 128 << 10);
        }
        let mut wants: Vec<ChunkId> = rig.wants[before..].iter().map(|want| want.chunk.id).collect();
        let all = wants.len();
        wants.sort_unstable();
        wants.dedup();
        assert_eq!(wants.len(), all, "{name}: each chunk was fetched once");
        let held: usize = wants.iter().map(|id| rig.machine.chunks.get(id).map_or(0, Bytes::len)).sum();
        assert!(held <= held_max, "{name}: {held} bytes are held behind the reader");
    }
}

#[test]
fn a_release_of_one_file_is_a_directory_with_it() {
    let bytes = random_bytes(300_000, 3);
    let mut rig = Rig::of(&Item::File(bytes.clone()));
    let names: Vec<_> = rig.list_all(ROOT, 1).into_iter().map(|(name, ..)| name).collect();
    assert_eq!(names, [b"single"]);
    let attr = rig.lookup(ROOT, b"single").expect("the file");
    assert_eq!((attr.ino, attr.size, attr.kind), (2, 300_000, AttrKind::File));
    assert!(rig.read(2, 0, 300_000) == bytes);
    assert!(rig.lookup(ROOT, b"other").is_none());
    assert_eq!(rig.machine.totals().entries, 1);
}

#[test]
fn chunks_of_large_files_have_a_place_and_packs_have_none() {
    let top = dir([("large", noise(3 << 20, 1)), ("p1", noise(5000, 2)), ("p2", noise(5000, 3))]);
    let mut rig = Rig::of(&top);
    let large = rig.lookup(ROOT, b"large").expect("there").ino;
    rig.wants.clear();
    rig.read(large, 0, 100);
    let placed: Vec<Want> = rig.wants.iter().filter(|want| want.place.is_some()).copied().collect();
    let mut ends: Vec<(u64, u64)> = placed
        .iter()
        .map(|want| {
            let place = want.place.expect("filtered");
            assert_eq!(place.blob_bytes, 3 << 20);
            (place.offset, place.offset + u64::from(want.chunk.len))
        })
        .collect();
    ends.sort_unstable();
    ends.dedup();
    assert!(ends.windows(2).all(|pair| pair[0].1 == pair[1].0), "{ends:?}");
    assert_eq!(
        ends.last().map(|end| end.1),
        Some(3 << 20),
        "below 4 MiB the whole file is fetched"
    );
    let (p1, p2) = (
        rig.lookup(ROOT, b"p1").expect("there"),
        rig.lookup(ROOT, b"p2").expect("there"),
    );
    rig.wants.clear();
    rig.read(p1.ino, 0, 5000);
    rig.read(p2.ino, 10, 20);
    assert_eq!(rig.wants.len(), 1, "neighbours share their pack");
    assert_eq!(rig.wants[0].place, None);
}

#[test]
fn one_chunk_is_fetched_once_for_all_who_wait_and_again_only_as_urgent() {
    let top = dir([("a", noise(1 << 20, 1)), ("big", noise(20 << 20, 2))]);
    let mut rig = Rig::of(&top);
    let a = rig.lookup(ROOT, b"a").expect("there").ino;
    let big = rig.lookup(ROOT, b"big").expect("there").ino;
    rig.wants.clear();
    let first = rig.ask(Request::Read {
        ino: a,
        offset: 0,
        len: 10,
    });
    let second = rig.ask(Request::Read {
        ino: a,
        offset: 5,
        len: 10,
    });
    let urgent = |rig: &Rig| rig.wants.iter().filter(|want| want.class == Class::Deadline).count();
    assert_eq!(urgent(&rig), 1, "the chunk list");
    rig.deliver_where(|want| want.place.is_none());
    assert_eq!(urgent(&rig), 2, "and the chunk");
    let ahead = rig.wants.iter().find(|want| want.class == Class::Bulk).copied();
    let ahead = ahead.expect("the rest of a small file is fetched ahead");
    let offset = ahead.place.expect("of a large file").offset;
    let third = rig.ask(Request::Read { ino: a, offset, len: 10 });
    assert_eq!(rig.wants.iter().filter(|want| want.chunk == ahead.chunk).count(), 2);
    assert_eq!(urgent(&rig), 3);
    rig.deliver();
    for asked in [first, second, third] {
        assert!(matches!(rig.answers.get(&asked), Some(Reply::Data(_))));
    }
    assert_eq!(rig.machine.bulk_bytes, 0, "what became urgent does not count as ahead");
    // A reader that goes on meets its own lookahead, and the cache keeps it.
    rig.wants.clear();
    for offset in (0..20 << 20).step_by(128 << 10) {
        rig.read(big, offset, 128 << 10);
    }
    let mut once = HashSet::new();
    assert!(
        rig.wants.iter().all(|want| once.insert(want.chunk)),
        "a chunk was fetched twice"
    );
    let urgent = urgent(&rig);
    assert!(
        urgent < rig.wants.len() / 10,
        "{urgent} of {} were waited for",
        rig.wants.len()
    );
}

#[test]
fn a_stuck_chunk_ends_in_eio_by_the_deadline_and_holds_up_nobody() {
    let top = dir([("a", noise(100_000, 1)), ("b", noise(100_000, 2))]);
    let mut rig = Rig::of(&top);
    let (a, b) = (
        rig.lookup(ROOT, b"a").expect("there").ino,
        rig.lookup(ROOT, b"b").expect("there").ino,
    );
    let stuck = rig.ask(Request::Read {
        ino: a,
        offset: 0,
        len: 10,
    });
    let fetches = std::mem::take(&mut rig.fetches);
    assert!(
        fetches
            .iter()
            .all(|(_, want)| want.patience < PATIENCE || want.class == Class::Bulk)
    );
    assert_eq!(rig.machine.deadline(), Some(Instant::ZERO + PATIENCE));
    rig.pass(PATIENCE / 2);
    assert_eq!(rig.machine.longest_wait(rig.now), PATIENCE / 2);
    let later = rig.ask(Request::Read {
        ino: a,
        offset: 1,
        len: 10,
    });
    assert_eq!(rig.read(b, 0, 100_000).len(), 100_000);
    rig.pass(PATIENCE / 2 - Duration::from_millis(1));
    assert_eq!(rig.failed(stuck), None);
    rig.pass(Duration::from_millis(1));
    assert_eq!(rig.failed(stuck), Some(Failure::Unreadable));
    assert_eq!(rig.failed(later), None, "who came later has time left");
    assert!(!rig.fetches.is_empty(), "and asks again");
    rig.fetches.clear();
    rig.pass(PATIENCE / 2);
    assert_eq!(rig.failed(later), Some(Failure::Unreadable));
    // The kernel repeats a failed read at once: that must not take as long again.
    let again = rig.ask(Request::Read {
        ino: a,
        offset: 0,
        len: 10,
    });
    assert_eq!(rig.failed(again), Some(Failure::Unreadable));
    // Bytes that come too late are welcome all the same.
    for (call, want) in fetches {
        let bytes = rig.chunks[&want.chunk.id].clone();
        rig.machine.on_fetched(rig.now, call, want.chunk, Ok(bytes));
    }
    assert_eq!(rig.read(a, 0, 100_000).len(), 100_000);
}

#[test]
fn a_source_that_gives_up_ends_the_read_with_its_reason_and_may_be_asked_again() {
    let mut rig = Rig::of(&dir([("a", noise(70_000, 1))]));
    let a = rig.lookup(ROOT, b"a").expect("there").ino;
    let asked = rig.ask(Request::Read {
        ino: a,
        offset: 0,
        len: 1,
    });
    let (call, want) = rig.fetches.remove(0);
    let error = FetchError::Store {
        chunk: want.chunk.id,
        why: "disk full".into(),
    };
    rig.machine.on_fetched(rig.now, call, want.chunk, Err(error.clone()));
    rig.machine.on_fetched(rig.now, call, want.chunk, Err(error));
    rig.collect();
    assert_eq!(rig.failed(asked), Some(Failure::Unreadable));
    let [eio] = &rig.explained[..] else {
        panic!("one answer of EIO, not {:?}", rig.explained);
    };
    assert_eq!((eio.request, &*eio.entry, eio.chunk), ("read", "/a", Some(want.chunk.id)));
    assert!(eio.why.contains("disk full"), "{eio:?}");
    rig.pass(FAILED_FOR);
    assert_eq!(rig.read(a, 0, 70_000).len(), 70_000);
}

#[test]
fn whoever_is_interrupted_waits_no_more_and_takes_along_what_nobody_else_wants() {
    let mut rig = Rig::of(&dir([("big", noise(1 << 20, 3)), ("other", noise(1 << 20, 4))]));
    let ino = rig.lookup(ROOT, b"big").expect("there").ino;
    let other = rig.lookup(ROOT, b"other").expect("there").ino;
    let read = |ino| Request::Read { ino, offset: 0, len: 1 };
    let (first, second, third) = (rig.ask(read(ino)), rig.ask(read(ino)), rig.ask(read(other)));
    let interrupt = |rig: &mut Rig, asked: u32| {
        let was = rig.machine.on_interrupt(|&to| to == asked);
        rig.collect();
        was
    };
    assert!(interrupt(&mut rig, first));
    assert_eq!(rig.failed(first), Some(Failure::Interrupted));
    assert_eq!((rig.failed(second), rig.let_go.len()), (None, 0), "the other one waits on");
    assert!(!interrupt(&mut rig, first), "it is over");
    assert!(interrupt(&mut rig, second));
    assert_eq!(rig.failed(second), Some(Failure::Interrupted));
    let gone = rig.let_go.iter().map(|&place| rig.wants[place as usize]);
    assert!(gone.clone().any(|want| want.class == Class::Deadline));
    let chunk = gone.map(|want| want.chunk).next().expect("one was let go");
    assert!(rig.let_go.iter().all(|&place| rig.wants[place as usize].chunk == chunk));
    assert_eq!(rig.failed(third), None, "another file");
    assert!(rig.machine.longest_wait(rig.now) == Duration::ZERO && rig.machine.deadline().is_some());
    // What comes all the same is no harm, and who asks again is served.
    rig.deliver();
    assert_eq!(rig.read(ino, 0, 1).len(), 1);
    assert!(matches!(rig.answers.remove(&third), Some(Reply::Data(_))));
    assert_eq!(rig.machine.deadline(), None, "nobody waits");
}

#[test]
fn who_joins_a_wait_late_has_all_its_time() {
    let mut rig = Rig::of(&dir([("a", noise(100_000, 1))]));
    let a = rig.lookup(ROOT, b"a").expect("there").ino;
    rig.ask(Request::Read {
        ino: a,
        offset: 0,
        len: 1,
    });
    let first = rig.fetches[0].1;
    rig.pass(PATIENCE / 2);
    let waits = rig.ask(Request::Read {
        ino: a,
        offset: 1,
        len: 1,
    });
    // The fetch of the first reader expires; the second has time left and asks again.
    rig.now = rig.now + PATIENCE / 2 - Duration::from_millis(500);
    let (call, want) = rig.fetches.remove(0);
    let error = FetchError::Deadline {
        chunk: want.chunk.id,
        waited_ms: 9500,
        why: "no peer".into(),
    };
    rig.machine.on_fetched(rig.now, call, want.chunk, Err(error));
    rig.collect();
    assert_eq!(rig.failed(waits), None);
    rig.deliver_where(|want| want.chunk == first.chunk);
    assert!(matches!(rig.answers.get(&waits), Some(Reply::Data(_))));
}

#[test]
fn wrong_bytes_from_a_source_end_in_eio_and_never_reach_a_reader() {
    let mut rig = Rig::of(&dir([("a", noise(70_000, 1)), ("d", dir([("x", file("x"))]))]));
    let a = rig.lookup(ROOT, b"a").expect("there").ino;
    let d = rig.lookup(ROOT, b"d").expect("there").ino;
    let requests = [
        Request::Read {
            ino: a,
            offset: 0,
            len: 9,
        },
        Request::Lookup {
            parent: d,
            name: b"x".to_vec(),
        },
        Request::List { ino: d, offset: 0 },
    ];
    for request in requests {
        rig.pass(FAILED_FOR);
        let asked = rig.ask(request.clone());
        for (call, want) in std::mem::take(&mut rig.fetches) {
            // A source verifies data; of manifest nodes even the right length is not believed.
            let len = want.chunk.len as usize - usize::from(matches!(request, Request::Read { .. }));
            rig.machine.on_fetched(rig.now, call, want.chunk, Ok(vec![0; len].into()));
        }
        rig.collect();
        assert_eq!(rig.failed(asked), Some(Failure::Unreadable), "{request:?}");
    }
}

#[test]
fn what_the_kernel_forgets_is_forgotten_and_comes_back_with_the_same_number() {
    let mut rig = Rig::of(&many(1000));
    let attr = rig.lookup(ROOT, b"entry-0000500").expect("there");
    assert_eq!(rig.lookup(ROOT, b"entry-0000500"), Some(attr));
    rig.machine.on_forget(attr.ino, 1);
    assert_eq!(rig.machine.attr(attr.ino), Ok(attr));
    rig.machine.on_forget(attr.ino, 1);
    assert_eq!(rig.machine.attr(attr.ino), Err(Failure::Stale));
    rig.machine.on_forget(attr.ino, 1);
    let listing = rig.list(ROOT, 0);
    let count = listing.entries().count();
    rig.machine.on_listed(&listing, count);
    assert_eq!(rig.machine.attr(ROOT + 1).map(|attr| attr.ino), Ok(ROOT + 1));
    assert_eq!(rig.lookup(ROOT, b"entry-0000500"), Some(attr));
    rig.machine.on_forget(ROOT, u64::MAX);
    assert!(rig.machine.attr(ROOT).is_ok(), "the top stays");
}

#[test]
fn every_number_leads_back_to_its_entry() {
    let top = dir([("a", dir([("b", many(1500)), ("c", file("c"))])), ("z", file("z"))]);
    let (mut teller, mut told) = (Rig::of(&top), Rig::of(&top));
    let mut todo = vec![ROOT];
    let mut seen = 1;
    while let Some(at) = todo.pop() {
        for (name, ino, _) in teller.list_all(at, usize::MAX) {
            let attr = teller.lookup(at, &name).expect("listed");
            let asked = told.ask(Request::Recall { ino });
            told.deliver();
            assert!(matches!(told.answers.remove(&asked), Some(Reply::Known)), "{ino}");
            assert_eq!(told.machine.attr(ino), Ok(attr));
            assert_eq!(
                told.machine.inodes.describe(ino).rsplit('/').next().map(str::as_bytes),
                Some(&name[..])
            );
            seen += 1;
            if attr.kind == AttrKind::Dir {
                todo.push(ino);
            }
        }
    }
    for none in [0, seen + 1, u64::MAX] {
        let asked = told.ask(Request::Recall { ino: none });
        assert_eq!(told.failed(asked), Some(Failure::Stale), "{none}");
    }
    // All of it at once, however often whoever told it told it.
    told.machine.on_forget(seen, 3);
    assert!(!told.machine.knows(seen));
}

#[test]
fn questions_of_the_wrong_kind_have_their_errno() {
    let top = dir([("d", dir::<&str>([])), ("f", file("x")), ("l", Item::Link(b"f".to_vec()))]);
    let mut rig = Rig::of(&top);
    let ino = |rig: &mut Rig, name: &str| rig.lookup(ROOT, name.as_bytes()).expect("there").ino;
    let (d, f, l) = (ino(&mut rig, "d"), ino(&mut rig, "f"), ino(&mut rig, "l"));
    let lookup = |parent| Request::Lookup {
        parent,
        name: b"x".to_vec(),
    };
    let read = |ino| Request::Read { ino, offset: 0, len: 1 };
    let xattr = |ino, name: &str| Request::Xattr { ino, name: name.into() };
    let rows = [
        (lookup(f), Failure::NotDirectory),
        (lookup(99), Failure::Stale),
        (Request::List { ino: l, offset: 0 }, Failure::NotDirectory),
        (read(d), Failure::IsDirectory),
        (read(99), Failure::Stale),
        (xattr(f, "user.nothing"), Failure::NoAttribute),
        (xattr(f, "user.ares.release"), Failure::NoAttribute),
        (xattr(d, "user.ares.hash"), Failure::NoAttribute),
        (xattr(f, "security.capability"), Failure::NoAttribute),
    ];
    for (request, expect) in rows {
        let asked = rig.ask(request.clone());
        rig.deliver();
        assert_eq!(rig.failed(asked), Some(expect), "{request:?}");
    }
    assert_eq!(rig.machine.target(l).as_deref(), Ok(&b"f"[..]));
    assert_eq!(rig.machine.target(f), Err(Failure::NotLink));
    assert_eq!(rig.machine.attr(l).map(|attr| (attr.mode, attr.size)), Ok((0o777, 1)));
}

#[test]
fn closing_answers_all_who_wait_and_those_who_come() {
    let mut rig = Rig::of(&dir([("a", noise(70_000, 1)), ("b", noise(70_000, 2))]));
    let (a, b) = (
        rig.lookup(ROOT, b"a").expect("there").ino,
        rig.lookup(ROOT, b"b").expect("there").ino,
    );
    rig.read(a, 0, 1);
    let asked = [0, 1, 2].map(|offset| rig.ask(Request::Read { ino: b, offset, len: 9 }));
    rig.machine.close();
    rig.collect();
    assert!(asked.iter().all(|&asked| rig.failed(asked) == Some(Failure::Unreadable)));
    let after = rig.ask(Request::Read {
        ino: b,
        offset: 0,
        len: 9,
    });
    assert_eq!(rig.failed(after), Some(Failure::Unreadable));
    rig.deliver();
    assert_eq!(rig.read(a, 0, 9).len(), 9, "what is in memory may still be read");
    assert_eq!(rig.machine.deadline(), None);
}

#[test]
fn eio_lines_can_name_the_entry() {
    let mut rig = Rig::of(&dir([("d", dir([("e", dir([("f", file("x"))]))]))]));
    let d = rig.lookup(ROOT, b"d").expect("there").ino;
    let e = rig.lookup(d, b"e").expect("there").ino;
    let f = rig.lookup(e, b"f").expect("there").ino;
    assert_eq!(rig.machine.inodes.describe(f), "/d/e/f");
    assert_eq!(rig.machine.inodes.describe(ROOT), "/");
    rig.machine.on_forget(d, 1);
    assert_eq!(rig.machine.inodes.describe(f), "/../e/f");
}

#[test]
fn an_entry_is_found_again_by_its_number_alone() {
    let many = dir((0..3000).map(|n| (format!("{n:05}"), file(n.to_string()))));
    let inner = dir([
        ("a", file("1")),
        ("deep", dir([("x", noise(70_000, 1))])),
        ("many", many),
        ("z", file("2")),
    ]);
    let top = dir([("0", file("3")), ("inner", inner), ("last", file("4"))]);
    let mut rig = Rig::of(&top);
    let mut paths = vec![(ROOT, ROOT, 0, AttrKind::Dir)];
    let mut at = 0;
    while let Some(&(dir, _, _, kind)) = paths.get(at) {
        at += 1;
        if kind == AttrKind::Dir {
            for (name, ino, _) in rig.list_all(dir, 1000) {
                let attr = rig.lookup(dir, &name).expect("listed");
                assert_eq!(attr.ino, ino);
                paths.push((ino, dir, attr.size, attr.kind));
            }
        }
    }
    assert_eq!(paths.len(), 3009);
    // Of a machine that was never told of any of them.
    let mut fresh = Rig::of(&top);
    for (ino, parent, size, _) in paths.into_iter().rev() {
        let attr = fresh.lookup(ino, b".").expect("it is there");
        assert!(attr.ino == ino && (ino == ROOT || attr.size == size));
        assert_eq!(fresh.lookup(ino, b"..").map(|attr| attr.ino), Some(parent));
        fresh.machine.on_forget(ino, 1);
        fresh.machine.on_forget(parent, 1);
    }
    assert!(fresh.machine.is_forgotten(), "it counted what it told");
    for beyond in [3010, u64::MAX] {
        let asked = fresh.ask(Request::Lookup {
            parent: beyond,
            name: b".".to_vec(),
        });
        fresh.deliver();
        assert_eq!(fresh.failed(asked), Some(Failure::Stale));
    }
}
