//! Answers what the kernel asks, or says which chunks it takes first. Knows neither FUSE nor a clock nor where chunks come from.
//!
//! ```text
//! on_request ──> step ──> Answer                 a step that lacks chunks names all it can name at once; when the last
//!                 ^ └───> Fetch ..               of them is in, it starts over, with what came pinned to it, so that
//!                 └────── on_fetched             nothing it needs can fall out of a cache in between
//! ```
//! Chunks under way are shared: two requests that lack the same chunk fetch it once. A request that waits for something fetched
//! ahead fetches it again as urgent, and takes what comes first. Every request ends by its deadline, whatever becomes of its chunks.

mod packed;
mod step;
mod warm;

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Duration;

use ares_core::chunk::{ChunkId, ChunkRef, ReleaseId};
use ares_core::manifest::{Content, Name, Root, Totals};
use ares_core::profile::Profile;
use ares_core::swarm::{BlobPlace, Class, FetchError, Unreached, Want};
use ares_core::time::Instant;
use bytes::Bytes;

use self::packed::Packed;
use self::step::{Fault, Step, place};
use self::warm::Warm;
use crate::cache::Cache;
use crate::eio::Eio;
use crate::errno::Failure;
use crate::inode::{Attr, Inodes, Kind};
use crate::lookahead::{Advice, Lookahead, WINDOW_MAX};
use crate::recorder::Recorder;
use crate::request::{Listing, Reply, Request};
use crate::shelf::{Node, Pins, Shelf};
use crate::{Fetching, Tuned, view};

/// Memory for parsed manifest nodes, in bytes: some 150 nodes, or 75,000 entries, wherever in the release they are.
const NODES_BYTES_MAX: u64 = 32 << 20;
/// How long a chunk that did not come is not asked for again. The kernel repeats a failed read of a run of pages page by page at
/// once, which must not wait a second time.
const FAILED_FOR: Duration = Duration::from_millis(500);
/// Chunks remembered as failed.
const FAILED_MAX: usize = 4096;
/// The part of its patience that a request keeps for itself, so that the source's own reason comes before the deadline.
const MARGIN_MAX: Duration = Duration::from_millis(500);

/// What to do next.
#[derive(Debug)]
pub(crate) enum Action<T> {
    /// Answer a request.
    Answer {
        /// The request.
        to: T,
        /// The answer.
        reply: Reply,
    },
    /// Get a chunk; tell `on_fetched` of it.
    Fetch {
        /// To be handed back.
        call: CallId,
        /// What.
        want: Want,
        /// What for.
        goal: Goal,
    },
    /// Nobody waits for this fetch any more.
    LetGo(Fetching),
    /// Let the kernel keep these files, each whole, where it knows them.
    Give(Vec<(u64, Bytes)>),
    /// The answer that follows is EIO, and this is why.
    Explain(Eio),
}

/// What a chunk is fetched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goal {
    /// For its bytes.
    Bytes,
    /// To be held: where it is, tell `on_held` of it instead.
    Held,
}

/// One `Action::Fetch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CallId(u64);

/// One request that takes time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct JobId(u64);

/// What a mount is told, as far as it decides.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) release: ReleaseId,
    pub(crate) patience: Duration,
    pub(crate) cache_bytes: u64,
    /// What to fetch ahead.
    pub(crate) profile: Profile,
}

/// The view of one release. `T` is whatever the answer must be handed to.
pub(crate) struct Machine<T> {
    settings: Settings,
    totals: Totals,
    inodes: Inodes,
    nodes: Cache<ChunkId, Node>,
    chunks: Cache<ChunkId, Bytes>,
    lookahead: Lookahead,
    packed: Packed,
    warm: Warm,
    recorder: Recorder,
    jobs: HashMap<JobId, Job<T>>,
    deadlines: BTreeSet<(Instant, JobId)>,
    flights: HashMap<ChunkId, Flight>,
    /// Bytes under way for nobody in particular yet.
    bulk_bytes: u64,
    failed: HashMap<ChunkId, (Instant, String)>,
    actions: VecDeque<Action<T>>,
    ids: u64,
    open: bool,
}

/// A request that waits for chunks.
struct Job<T> {
    /// `None` where it is for nobody in particular yet.
    to: Option<T>,
    request: Request,
    since: Instant,
    deadline: Instant,
    /// Chunks not in yet.
    waits: HashSet<ChunkId>,
    pins: Pins,
}

/// A chunk under way.
struct Flight {
    class: Class,
    bytes: u32,
    /// Not ended yet, each with what the source calls it.
    calls: Vec<(CallId, Option<Fetching>)>,
    /// When the last of its calls must have been answered.
    until: Instant,
    waiters: Vec<JobId>,
}

/// A chunk with its place in a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Need {
    chunk: ChunkRef,
    place: Option<BlobPlace>,
}

impl<T> Machine<T> {
    /// Shows `root`.
    pub(crate) fn new(settings: Settings, root: &Root, name: Name) -> Self {
        let mut lookahead = Lookahead::default();
        lookahead.set_window_max(window_max(WINDOW_MAX, settings.cache_bytes));
        Self {
            totals: root.totals(),
            inodes: Inodes::new(root, name),
            nodes: Cache::new(NODES_BYTES_MAX),
            chunks: Cache::new(settings.cache_bytes),
            lookahead,
            packed: Packed::default(),
            warm: Warm::new(&settings.profile),
            recorder: Recorder::default(),
            jobs: HashMap::new(),
            deadlines: BTreeSet::new(),
            flights: HashMap::new(),
            bulk_bytes: 0,
            failed: HashMap::new(),
            actions: VecDeque::new(),
            ids: 0,
            open: true,
            settings,
        }
    }

    /// Obeys this from the next request on.
    pub(crate) fn tune(&mut self, tuned: &Tuned) {
        self.settings.patience = tuned.patience.unwrap_or(self.settings.patience);
        self.settings.cache_bytes = tuned.cache_bytes;
        self.chunks.set_bytes_max(tuned.cache_bytes);
        self.lookahead
            .set_window_max(window_max(tuned.lookahead_bytes, tuned.cache_bytes));
    }

    /// The kernel asks. The answer comes as an action, now or later.
    pub(crate) fn on_request(&mut self, now: Instant, to: T, request: Request) {
        let job = self.job(now, Some(to), request);
        self.run(now, job);
    }

    fn job(&self, now: Instant, to: Option<T>, request: Request) -> Job<T> {
        Job {
            to,
            request,
            since: now,
            deadline: now + self.settings.patience,
            waits: HashSet::new(),
            pins: Pins::default(),
        }
    }

    /// A `Fetch` has begun: the source calls it so. It may have ended already.
    pub(crate) fn on_fetching(&mut self, call: CallId, chunk: ChunkId, fetching: Fetching) {
        let calls = self.flights.get_mut(&chunk).map(|flight| &mut flight.calls);
        match calls.and_then(|calls| calls.iter_mut().find(|(known, _)| *known == call)) {
            Some((_, known)) => *known = Some(fetching),
            None => self.actions.push_back(Action::LetGo(fetching)),
        }
    }

    /// Whoever waits for the request that `is_it` knows wants it no more: it ends, and so does what was fetched for nobody else. `false` where
    /// there is none.
    pub(crate) fn on_interrupt(&mut self, is_it: impl Fn(&T) -> bool) -> bool {
        let Some(id) = self
            .jobs
            .iter()
            .find_map(|(&id, job)| job.to.as_ref().is_some_and(&is_it).then_some(id))
        else {
            return false;
        };
        let Some(job) = self.take_job(id) else { return false };
        for chunk in &job.waits {
            let is_wanted = |flight: &Flight| flight.waiters.iter().any(|waiter| self.jobs.contains_key(waiter));
            if !self.flights.get(chunk).is_some_and(is_wanted)
                && let Some(flight) = self.land(*chunk)
            {
                let fetching = flight.calls.into_iter().filter_map(|(_, fetching)| fetching);
                self.actions.extend(fetching.map(Action::LetGo));
            }
        }
        self.answer(job.to, Reply::Failed(Failure::Interrupted));
        true
    }

    /// A `Fetch` ended.
    pub(crate) fn on_fetched(&mut self, now: Instant, call: CallId, chunk: ChunkRef, result: Result<Bytes, FetchError>) {
        let result = match result {
            Ok(bytes) if bytes.len() != chunk.len as usize => Err(Outcome::Wrong(bytes.len())),
            Ok(bytes) => Ok(bytes),
            Err(error) => Err(Outcome::Failed(error)),
        };
        match result {
            Ok(bytes) => self.on_chunk(now, chunk.id, bytes),
            Err(outcome) => self.on_call_failed(now, call, chunk, outcome),
        }
        self.warm_on(now);
    }

    /// Time passed. Ends requests that are over their deadline.
    pub(crate) fn on_time(&mut self, now: Instant) {
        while let Some(&(deadline, id)) = self.deadlines.first() {
            if deadline > now {
                break;
            }
            self.deadlines.remove(&(deadline, id));
            let Some(job) = self.jobs.remove(&id) else { continue };
            let waited = deadline.since(job.since);
            let why = format!("the source of chunks did not answer within {waited:?}");
            // A call that was never answered is not waited for again: who else waits on it makes a new one.
            let mut orphans = Vec::new();
            for chunk in &job.waits {
                if self.flights.get(chunk).is_some_and(|flight| flight.until <= now) {
                    orphans.extend(self.land_for(*chunk));
                }
            }
            for orphan in orphans {
                self.rerun(now, orphan);
            }
            let chunk = job.waits.iter().min().copied();
            if let Some(chunk) = chunk {
                self.remember_failed(now, chunk, &why);
            }
            let failure = Failure::Unreadable;
            self.fail(job, Fault { failure, chunk, why });
        }
        self.warm_on(now);
    }

    /// The kernel forgot entries.
    pub(crate) fn on_forget(&mut self, ino: u64, count: u64) {
        if self.inodes.forget(ino, count) {
            self.lookahead.on_forgotten(ino);
        }
    }

    /// The kernel is about to be told of the first `count` entries of a listing, attributes and all.
    pub(crate) fn on_listed(&mut self, listing: &Listing, count: usize) {
        for listed in listing.entries().take(count) {
            self.inodes.tell(listed.attr.ino, listing.dir, listed.entry);
        }
    }

    /// No more fetching: what waits ends now, what comes is answered from memory or not at all.
    pub(crate) fn close(&mut self) {
        self.open = false;
        self.deadlines.clear();
        self.flights.clear();
        self.bulk_bytes = 0;
        self.stop_warming();
        for (_, job) in std::mem::take(&mut self.jobs) {
            self.answer(job.to, Reply::Failed(Failure::Unreadable));
        }
    }

    /// Whether the kernel knows nothing but the top, and nobody waits for anything.
    pub(crate) fn is_forgotten(&self) -> bool {
        self.inodes.are_forgotten() && self.jobs.is_empty() && self.actions.is_empty()
    }

    /// Others are read now: keeps no bytes for readers to come.
    pub(crate) fn rest(&mut self) {
        self.chunks.clear();
        self.nodes.clear();
    }

    /// What to do next.
    pub(crate) fn poll(&mut self) -> Option<Action<T>> {
        self.actions.pop_front()
    }

    /// When `on_time` is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|&(deadline, _)| deadline)
    }

    /// How long the request has waited that has waited longest; zero where none waits.
    pub(crate) fn longest_wait(&self, now: Instant) -> Duration {
        let waits = self.jobs.values().map(|job| now.since(job.since));
        waits.max().unwrap_or_default()
    }

    /// Whether it is known what an inode is. What the kernel was told of here is.
    pub(crate) fn knows(&self, ino: u64) -> bool {
        self.inodes.get(ino).is_some()
    }

    /// Attributes of what the kernel knows.
    pub(crate) fn attr(&self, ino: u64) -> Result<Attr, Failure> {
        Ok(self.inodes.get(ino).ok_or(Failure::Stale)?.attr(ino))
    }

    /// Target of a link.
    pub(crate) fn target(&self, ino: u64) -> Result<Bytes, Failure> {
        match &self.inodes.get(ino).ok_or(Failure::Stale)?.kind {
            Kind::Symlink(target) => Ok(target.clone()),
            Kind::Dir(_) | Kind::File(_) => Err(Failure::NotLink),
        }
    }

    /// The blob of a file that has one, and its length in bytes.
    pub(crate) fn blob(&self, ino: u64) -> Result<Option<(ChunkId, u64)>, Failure> {
        let inode = self.inodes.get(ino).ok_or(Failure::Stale)?;
        let Kind::File(file) = &inode.kind else { return Ok(None) };
        Ok(inode.blob().map(|blob| (blob, file.bytes)))
    }

    /// Keys of the stored extended attributes. Those we make up (`user.ares.*`) are not among them: who copies a tree with its
    /// attributes would otherwise store them and get another release.
    pub(crate) fn xattrs(&self, ino: u64) -> Result<Vec<Bytes>, Failure> {
        let inode = self.inodes.get(ino).ok_or(Failure::Stale)?;
        Ok(inode.meta.xattrs.iter().map(|xattr| xattr.key.clone()).collect())
    }

    /// What was read so far and where it came first.
    pub(crate) fn recorded(&self) -> &Profile {
        self.recorder.profile()
    }

    /// Sums over the release.
    pub(crate) fn totals(&self) -> Totals {
        self.totals
    }

    /// Goes on with a request as far as it gets, and behind what it waits for with what the reader will want next.
    fn run(&mut self, now: Instant, job: Job<T>) {
        let read = match job.request {
            Request::Read { ino, offset, len } => Some((ino, offset..offset.saturating_add(len.into()))),
            _ => None,
        };
        self.advance(now, job);
        if let Some((ino, range)) = read
            && self.open
        {
            self.follow(now, ino, range);
        }
    }

    fn advance(&mut self, now: Instant, mut job: Job<T>) {
        match self.step(now, &job.request, &mut job.pins) {
            Ok(Step::Done(reply)) => self.answer(job.to, reply),
            Err(fault) => self.fail(job, fault),
            Ok(Step::Lacks(_)) if !self.open => {
                let why = String::from("the mount is being taken away");
                let failure = Failure::Unreadable;
                self.fail(
                    job,
                    Fault {
                        failure,
                        chunk: None,
                        why,
                    },
                );
            }
            Ok(Step::Lacks(needs)) => {
                let failed = needs.iter().find_map(|need| {
                    let (until, why) = self.failed.get(&need.chunk.id)?;
                    (*until > now).then(|| (need.chunk.id, why.clone()))
                });
                if let Some((chunk, why)) = failed {
                    let chunk = Some(chunk);
                    let failure = Failure::Unreadable;
                    return self.fail(job, Fault { failure, chunk, why });
                }
                let id = JobId(self.next_id());
                let class = if job.to.is_some() { Class::Deadline } else { Class::Bulk };
                for need in needs {
                    if job.waits.insert(need.chunk.id) {
                        self.demand(now, id, job.deadline, need, class);
                    }
                }
                if job.to.is_some() {
                    self.deadlines.insert((job.deadline, id));
                }
                self.jobs.insert(id, job);
            }
        }
    }

    /// Makes sure that a chunk is under way, as urgently as `class`, and that the request hears of it.
    fn demand(&mut self, now: Instant, waiter: JobId, deadline: Instant, need: Need, class: Class) {
        let is_urgent = |flight: &Flight| flight.class <= class;
        if !self.flights.get(&need.chunk.id).is_some_and(is_urgent) {
            let patience = deadline.since(now).saturating_sub(self.margin());
            self.call(now, need, class, patience, Goal::Bytes);
        }
        if let Some(flight) = self.flights.get_mut(&need.chunk.id) {
            flight.waiters.push(waiter);
        }
    }

    fn call(&mut self, now: Instant, need: Need, class: Class, patience: Duration, goal: Goal) {
        let call = CallId(self.next_id());
        let want = Want {
            chunk: need.chunk,
            place: need.place,
            class,
            release: self.settings.release,
            patience,
            unreached: Unreached::Wait,
        };
        if class > Class::Deadline {
            self.bulk_bytes += u64::from(need.chunk.len);
        }
        let flight = self.flights.entry(need.chunk.id).or_insert_with(|| Flight {
            class,
            bytes: need.chunk.len,
            calls: Vec::new(),
            until: now,
            waiters: Vec::new(),
        });
        if flight.class > class {
            self.bulk_bytes -= u64::from(flight.bytes);
            flight.class = class;
        }
        flight.until = flight.until.max(now + patience);
        flight.calls.push((call, None));
        self.actions.push_back(Action::Fetch { call, want, goal });
    }

    /// The part of its patience that a request keeps for itself.
    fn margin(&self) -> Duration {
        MARGIN_MAX.min(self.settings.patience / 10)
    }

    /// Takes a chunk off the list of those under way.
    fn land(&mut self, chunk: ChunkId) -> Option<Flight> {
        let flight = self.flights.remove(&chunk)?;
        if flight.class > Class::Deadline {
            self.bulk_bytes -= u64::from(flight.bytes);
        }
        Some(flight)
    }

    /// As `land`; who waited for it.
    fn land_for(&mut self, chunk: ChunkId) -> Vec<JobId> {
        self.land(chunk).map(|flight| flight.waiters).unwrap_or_default()
    }

    fn on_chunk(&mut self, now: Instant, id: ChunkId, bytes: Bytes) {
        self.failed.remove(&id);
        let waiters = self.land_for(id);
        self.chunks.insert(id, bytes.clone(), bytes.len() as u64);
        for waiter in waiters {
            let Some(job) = self.jobs.get_mut(&waiter) else { continue };
            job.waits.remove(&id);
            job.pins.chunks.insert(id, bytes.clone());
            if job.waits.is_empty() {
                self.rerun(now, waiter);
            }
        }
    }

    fn on_call_failed(&mut self, now: Instant, call: CallId, chunk: ChunkRef, outcome: Outcome) {
        let margin = self.margin();
        let Some(flight) = self.flights.get_mut(&chunk.id) else {
            return;
        };
        let Some(at) = flight.calls.iter().position(|&(known, _)| known == call) else {
            return;
        };
        flight.calls.remove(at);
        if !flight.calls.is_empty() {
            return;
        }
        // Only a call that had less time than its waiters is worth another one; any other answer is final.
        let expired = flight.until <= now + margin && matches!(outcome, Outcome::Failed(FetchError::Deadline { .. }));
        let waiters = self.land_for(chunk.id);
        if waiters.is_empty() {
            tracing::debug!(chunk = ?chunk.id, %outcome, "reading ahead failed");
            return;
        }
        let why = outcome.to_string();
        let worth = self.margin() * 2;
        let left = |job: &Job<T>| job.deadline.since(now);
        let has_time = |id: &JobId| expired && self.jobs.get(id).is_some_and(|job| left(job) > worth);
        let (again, over): (Vec<JobId>, Vec<JobId>) = waiters.into_iter().partition(has_time);
        // First, as what is remembered as failed is not asked for.
        for id in again {
            self.rerun(now, id);
        }
        self.remember_failed(now, chunk.id, &why);
        for id in over {
            let fault = Fault {
                failure: Failure::Unreadable,
                chunk: Some(chunk.id),
                why: why.clone(),
            };
            if let Some(job) = self.take_job(id) {
                self.fail(job, fault);
            }
        }
    }

    fn take_job(&mut self, id: JobId) -> Option<Job<T>> {
        let job = self.jobs.remove(&id)?;
        self.deadlines.remove(&(job.deadline, id));
        Some(job)
    }

    /// Starts a waiting request over.
    fn rerun(&mut self, now: Instant, id: JobId) {
        if let Some(mut job) = self.take_job(id) {
            job.waits.clear();
            self.run(now, job);
        }
    }

    fn remember_failed(&mut self, now: Instant, chunk: ChunkId, why: &str) {
        if self.failed.len() >= FAILED_MAX {
            self.failed.retain(|_, (until, _)| *until > now);
        }
        if self.failed.len() < FAILED_MAX {
            self.failed.insert(chunk, (now + FAILED_FOR, why.to_owned()));
        }
    }

    fn answer(&mut self, to: Option<T>, reply: Reply) {
        match to {
            Some(to) => self.actions.push_back(Action::Answer { to, reply }),
            None => self.warm.on_searched(),
        }
    }

    fn fail(&mut self, job: Job<T>, fault: Fault) {
        if fault.failure == Failure::Unreadable && job.to.is_some() {
            let entry = match &job.request {
                Request::Lookup { parent, name } => {
                    let dir = self.inodes.describe(*parent);
                    format!("{}/{}", dir.trim_end_matches('/'), String::from_utf8_lossy(name))
                }
                Request::Recall { ino } => format!("inode {ino}"),
                Request::Read { ino, .. } | Request::List { ino, .. } | Request::Xattr { ino, .. } => self.inodes.describe(*ino),
                Request::Warm(part) => String::from_utf8_lossy(&part.path).into_owned(),
            };
            self.actions.push_back(Action::Explain(Eio {
                request: job.request.kind(),
                entry,
                chunk: fault.chunk,
                why: fault.why,
            }));
        }
        self.answer(job.to, Reply::Failed(fault.failure));
    }

    /// Fetches what the reader of a big file will want next, and lets go of what it is done with.
    fn follow(&mut self, now: Instant, ino: u64, range: std::ops::Range<u64>) {
        let Some(inode) = self.inodes.get(ino) else { return };
        let Kind::File(file) = &inode.kind else { return };
        match file.content {
            Content::Packed { pack, .. } => return self.follow_packed(now, ino, pack),
            Content::Inline(_) => return,
            Content::Chunks(_) | Content::List(_) if range.start >= file.bytes => return,
            Content::Chunks(_) | Content::List(_) => {}
        }
        let Advice { ahead, done } = self
            .lookahead
            .on_read(ino, file.bytes, range.start..range.end.min(file.bytes));
        let mut pins = Pins::default();
        let mut shelf = Shelf {
            nodes: &mut self.nodes,
            chunks: &mut self.chunks,
            pins: &mut pins,
        };
        // A malformed list is reported when somebody reads that far.
        let mut pieces_of = |range: &std::ops::Range<u64>| match range.is_empty() {
            true => Default::default(),
            false => view::pieces_in(&mut shelf, file, range.clone(), 1).unwrap_or_default(),
        };
        let (behind, near) = match done.is_empty() {
            true => Default::default(),
            false => (pieces_of(&done).0, pieces_of(&(done.end..range.end)).0),
        };
        let (pieces, lacking) = pieces_of(&ahead);
        let needs: Vec<Need> = pieces
            .iter()
            .map(|piece| Need {
                chunk: piece.chunk,
                place: place(inode.blob(), file, piece),
            })
            .collect();
        for piece in &behind {
            // A file may have the same chunk again and again.
            let is_near = || near.iter().any(|other| other.chunk.id == piece.chunk.id);
            if piece.start + u64::from(piece.chunk.len) <= done.end && !is_near() {
                self.chunks.remove(&piece.chunk.id);
            }
        }
        for (need, piece) in needs.into_iter().zip(&pieces) {
            if !self.fetch_bulk(now, need) {
                return;
            }
            self.lookahead.on_fetched(ino, piece.start + u64::from(piece.chunk.len));
        }
        for chunk in lacking {
            self.fetch_bulk(now, Need { chunk, place: None });
        }
    }

    /// Fetches a chunk for later, unless it is here or under way. `false`: there is too much under way already.
    fn fetch_bulk(&mut self, now: Instant, need: Need) -> bool {
        let id = need.chunk.id;
        if self.chunks.contains(&id) || self.nodes.contains(&id) || self.flights.contains_key(&id) {
            return true;
        }
        // What is fetched ahead must still be in the cache when the reader gets there.
        if self.bulk_bytes + u64::from(need.chunk.len) > self.settings.cache_bytes / 2 {
            return false;
        }
        if !self.failed.contains_key(&id) {
            self.call(now, need, Class::Bulk, self.settings.patience, Goal::Bytes);
        }
        true
    }

    fn next_id(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }
}

/// So many bytes ahead of a reader at most: what is behind it must fit as well.
fn window_max(lookahead_bytes: u64, cache_bytes: u64) -> u64 {
    lookahead_bytes.min(cache_bytes / 2)
}

/// How a `Fetch` ended badly.
enum Outcome {
    Failed(FetchError),
    /// So many bytes came.
    Wrong(usize),
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Failed(error) => error.fmt(f),
            Self::Wrong(len) => write!(
                f,
                "the chunk has {len} bytes, the manifest names another length: the release is malformed"
            ),
        }
    }
}

#[cfg(test)]
mod tests;
