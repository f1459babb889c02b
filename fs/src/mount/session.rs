//! Carries requests from the kernel to the machine and its answers back.
//!
//! Threads that take the kernel's requests never wait for bytes, and threads that bring chunks only leave them in the inbox: they
//! have a network to serve. Answers that took a chunk are given by one worker, which keeps the deadlines too.

mod handover;
mod names;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ares_core::chunk::{ChunkId, ChunkRef};
use ares_core::manifest::{Mtime, Name, Root};
use ares_core::swarm::{FetchError, Want};
use ares_core::time::Instant;
use ares_ring::Roster;
use bytes::Bytes;

use super::answer::{Answer, Backing, Page, To};
use super::giving::Giving;
use super::wire::{Ask, Forgets, Line, Owner};
use crate::eio::{Eio, LastEio};
use crate::errno::Failure;
use crate::figures::{Figures, Op};
use crate::inode::{Attr, ROOT};
use crate::machine::{Action, CallId, Goal, Machine, Settings};
use crate::opens::{How, Opens};
use crate::request::{self, Listing, Reply, Request};
use crate::shown::{Place, Shown, Tree, number};
use crate::{MountOptions, Passthrough, Source, Tuned};

/// When the worker looks after deadlines where there are none.
const NEVER: Instant = Instant::from_nanos(u64::MAX);

/// Bytes that the files of a release must have on average for opens to be told to us. Being told of one costs 50 to 70 us at every open. A
/// MiB that the kernel reads by itself is read in 0.25 ms and not in 1.2 ms the first time, and as fast as ever when it is read again.
const PASSTHROUGH_MEAN_BYTES_MIN: u64 = 1 << 20;
/// Interrupts remembered that came for a request which nobody waits with: it was answered meanwhile, or another thread has it and has not
/// come so far yet. The kernel does not tell twice.
const EARLY_MAX: usize = 256;

/// What all threads of a mount share.
pub(super) struct Shared {
    state: Mutex<State>,
    inbox: Mutex<Inbox>,
    /// Wakes the worker: something is in the inbox.
    wake: Condvar,
    figures: Arc<Figures>,
    /// Who has what open, where the kernel tells us.
    opens: Mutex<Opens<Passed>>,
    /// Whether the kernel is to tell us. Once it was told not to, it never does again.
    told_of_opens: AtomicBool,
    /// Whether the kernel asks again what was not answered.
    resends: AtomicBool,
    /// The worker has nothing to wait for.
    calm: Condvar,
    /// Threads that take requests from the kernel.
    pub(super) roster: Roster,
    last_eio: Mutex<Option<LastEio>>,
    /// Where the transport is our own, until the end.
    giving: Mutex<Option<Giving>>,
    started: std::time::Instant,
    owner: Owner,
}

struct State {
    shown: Shown<Call>,
    /// Requests that were interrupted and are not known, the latest last.
    early: VecDeque<u64>,
    /// When the worker looks after deadlines, so that it is to be woken for an earlier one alone; zero where it will look anyway.
    looks_at: Instant,
}

/// What the worker is to look at.
#[derive(Default)]
struct Inbox {
    arrived: Vec<Arrival>,
    /// There is a deadline where there was none, or a release.
    look: bool,
    stopped: bool,
}

/// The end of a fetch.
struct Arrival {
    slot: u64,
    call: CallId,
    chunk: ChunkRef,
    result: Result<Bytes, FetchError>,
}

/// A request that takes time.
pub(super) struct Call {
    to: To,
    kind: Kind,
    /// Of the release that was asked about.
    slot: u64,
    since: Instant,
}

/// What such a request wants in return.
#[derive(Clone, Copy)]
enum Kind {
    Entry,
    Data,
    /// Entries in so many bytes, with attributes or without.
    List {
        room: u32,
        plus: bool,
    },
    /// In so many bytes; 0 asks for the length.
    Xattr {
        room: u32,
    },
    /// This is to be answered when it is known what it is about.
    Recall(Ask<'static>),
}

/// A file that the kernel reads by itself.
struct Passed {
    backing: Backing,
    blob: ChunkId,
    bytes: u64,
    /// Ends after the kernel was told.
    _lease: Box<dyn Send + Sync>,
}

thread_local! {
    /// Whether this thread is carrying out actions already: a source that answers at once calls back from within.
    static DRIVING: Cell<bool> = const { Cell::new(false) };
}

impl Shared {
    /// A view of `root`, whose single file, if it is one, is called `name`.
    pub(super) fn new(settings: Settings, root: &Root, name: Name, source: Arc<dyn Source>, options: &MountOptions) -> Self {
        let totals = root.totals();
        let pays = totals.bytes / totals.entries.max(1) >= PASSTHROUGH_MEAN_BYTES_MIN;
        // The same release has the same numbers at all times.
        let [a, b, c, d, ..] = *settings.release.0.as_bytes();
        let generation = u32::from_le_bytes([a, b, c, d]);
        Self::of(
            Shown::one(Machine::new(settings, root, name), source),
            pays,
            generation,
            options,
        )
    }

    /// A view of releases that are yet to be shown: what their files are like nobody knows.
    pub(super) fn many(options: &MountOptions) -> Self {
        // What has which number is not the same in the next life of the mount.
        let now = wall_clock();
        Self::of(Shown::many(now), true, now.secs as u32 ^ now.nanos, options)
    }

    fn of(shown: Shown<Call>, passthrough_pays: bool, generation: u32, options: &MountOptions) -> Self {
        let told_of_opens = match options.passthrough {
            Passthrough::Always => true,
            Passthrough::Never => false,
            Passthrough::WherePays => passthrough_pays,
        };
        let has_names = shown.is_many();
        let state = State {
            shown,
            early: VecDeque::new(),
            looks_at: Instant::ZERO,
        };
        Self {
            state: Mutex::new(state),
            inbox: Mutex::default(),
            wake: Condvar::new(),
            figures: options.figures.clone(),
            opens: Mutex::default(),
            told_of_opens: told_of_opens.into(),
            resends: false.into(),
            calm: Condvar::new(),
            roster: Roster::default(),
            last_eio: Mutex::default(),
            giving: Mutex::default(),
            started: std::time::Instant::now(),
            owner: Owner::new(
                rustix::process::getuid().as_raw(),
                rustix::process::getgid().as_raw(),
                options.permissions,
                has_names,
                generation,
            ),
        }
    }

    /// Gives answers as chunks arrive and ends requests at their deadlines, until `stop`. Runs on a thread of its own.
    pub(super) fn work(self: &Arc<Self>) {
        let mut arrived = Vec::new();
        loop {
            let now = self.now();
            let mut state = self.lock();
            for arrival in arrived {
                state.on_arrival(now, arrival);
            }
            state.shown.on_time(now);
            drop(state);
            self.drive();
            let mut state = self.lock();
            let deadline = state.shown.deadline();
            state.looks_at = deadline.unwrap_or(NEVER);
            if deadline.is_none() {
                self.calm.notify_all();
            }
            drop(state);
            let Some(next) = self.next_arrivals(deadline) else { return };
            arrived = next;
        }
    }

    /// Waits for the inbox or the deadline; `None` when it is time to stop.
    fn next_arrivals(&self, deadline: Option<Instant>) -> Option<Vec<Arrival>> {
        let mut inbox = self.inbox();
        while inbox.arrived.is_empty() && !inbox.look && !inbox.stopped {
            inbox = match deadline.map(|deadline| deadline.since(self.now())) {
                None => self.wake.wait(inbox).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => break,
                Some(left) => self.wake.wait_timeout(inbox, left).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
        inbox.look = false;
        (!inbox.stopped).then(|| std::mem::take(&mut inbox.arrived))
    }

    /// A chunk came, or will not. On a thread of the source, which has better things to do than to answer the kernel; unless the
    /// source answers from within our own call.
    fn on_arrival(self: &Arc<Self>, arrival: Arrival) {
        if DRIVING.get() {
            let now = self.now();
            self.lock().on_arrival(now, arrival);
            return;
        }
        let mut inbox = self.inbox();
        if !inbox.stopped {
            inbox.arrived.push(arrival);
            self.wake.notify_one();
        }
    }

    /// Obeys this from the next request on.
    pub(super) fn tune(&self, tuned: &Tuned) {
        self.lock().shown.tune(tuned);
    }

    pub(super) fn longest_wait(&self) -> Duration {
        self.lock().shown.longest_wait(self.now())
    }

    pub(super) fn set_giving(&self, giving: Giving) {
        *self.giving() = Some(giving);
    }

    /// Gives the kernel nothing any more that it has not asked for.
    pub(super) fn finish_giving(&self) {
        let giving = self.giving().take();
        giving.into_iter().for_each(Giving::finish);
    }

    fn giving(&self) -> MutexGuard<'_, Option<Giving>> {
        self.giving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn last_eio(&self) -> Option<LastEio> {
        self.last_eio.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Answers everything that waits, with EIO, and from now on everything that would have to wait.
    pub(super) fn close(self: &Arc<Self>) {
        self.lock().shown.close();
        self.drive();
    }

    /// Closes, and ends the worker.
    pub(super) fn stop(self: &Arc<Self>) {
        self.close();
        drop(self.giving().take());
        let mut inbox = self.inbox();
        inbox.stopped = true;
        inbox.arrived.clear();
        self.wake.notify_all();
    }

    /// Nobody has a file open any more: what the kernel has not told us of by now it never will.
    pub(super) fn forget_opens(&self) {
        self.opens().clear();
    }

    /// Whether the kernel is to tell of opens, as far as we are concerned.
    pub(super) fn is_told_of_opens(&self) -> bool {
        self.told_of_opens.load(Ordering::Relaxed)
    }

    /// What became of it with this kernel: whether it tells of opens, and asks again.
    pub(super) fn agree(&self, tells_of_opens: bool, resends: bool) {
        if !tells_of_opens {
            self.expect_no_opens();
        }
        self.resends.store(resends, Ordering::Relaxed);
    }

    /// Whether the kernel asks again what was not answered.
    pub(super) fn resends(&self) -> bool {
        self.resends.load(Ordering::Relaxed)
    }

    /// The kernel reads no files by itself: it need not tell of opens.
    pub(super) fn expect_no_opens(&self) {
        self.told_of_opens.store(false, Ordering::Relaxed);
    }

    /// Answers a request, now or later.
    pub(super) fn serve(self: &Arc<Self>, ask: Ask<'_>, to: To) {
        let (at, kind) = match ask {
            Ask::Lookup { parent, .. } => (parent, Kind::Entry),
            Ask::Read { ino, .. } => (ino, Kind::Data),
            Ask::List { ino, room, plus, .. } => (ino, Kind::List { room, plus }),
            Ask::Xattr { ino, room, .. } => (ino, Kind::Xattr { room }),
            Ask::Attr { ino } if self.must_recall(ino) => (ino, Kind::Recall(Ask::Attr { ino })),
            Ask::Link { ino } if self.must_recall(ino) => (ino, Kind::Recall(Ask::Link { ino })),
            Ask::Open { ino } if self.must_recall(ino) => (ino, Kind::Recall(Ask::Open { ino })),
            Ask::Xattrs { ino, room } if self.must_recall(ino) => (ino, Kind::Recall(Ask::Xattrs { ino, room })),
            ask => return self.serve_at_once(ask, to),
        };
        if let Some(op) = kind.op() {
            self.figures.on_request(op);
        }
        let now = self.now();
        let unique = to.unique();
        let mut state = self.lock();
        let place = match (&ask, state.shown.place(at)) {
            // What a release is shown in.
            (Ask::Lookup { name: b"..", .. }, Place::In(_, ROOT)) if state.shown.is_many() => Place::Names,
            (_, place) => place,
        };
        let Place::In(slot, ino) = place else {
            drop(state);
            return self.serve_names(ask, to);
        };
        let request = match ask {
            Ask::Read { offset, len, .. } => Request::Read { ino, offset, len },
            Ask::List { offset, .. } => Request::List { ino, offset },
            Ask::Xattr { name, .. } => Request::Xattr {
                ino,
                name: name.to_vec(),
            },
            Ask::Lookup { name, .. } => Request::Lookup {
                parent: ino,
                name: name.to_vec(),
            },
            _ => Request::Recall { ino },
        };
        let Some(tree) = state.shown.tree(slot) else {
            drop(state);
            return to.send(self.owner, &Answer::Failed(Failure::Stale));
        };
        let call = Call {
            to,
            kind,
            slot,
            since: now,
        };
        tree.machine.on_request(now, call, request);
        let deadline = tree.machine.deadline();
        if let Some(unique) = unique
            && state.early.contains(&unique)
        {
            state.interrupt(unique);
        }
        // Mostly all requests have the same patience, and only the first of those waiting is news to the worker.
        let news = deadline.is_some_and(|deadline| deadline < state.looks_at);
        if news {
            state.looks_at = Instant::ZERO;
        }
        drop(state);
        if news {
            self.inbox().look = true;
            self.wake.notify_one();
        }
        self.drive();
    }

    /// Whether it is not known yet what an inode is that the kernel may know.
    fn must_recall(&self, ino: u64) -> bool {
        self.lock().must_recall(ino)
    }

    /// What is found of an inode; `None` where it may have been dropped from memory since somebody looked: then it is to be asked for anew.
    fn found<T>(&self, ino: u64, look: impl FnOnce(&mut State) -> Result<T, Failure>) -> Option<Result<T, Failure>> {
        let mut state = self.lock();
        let found = look(&mut state);
        let is_dropped = matches!(found, Err(Failure::Stale)) && state.must_recall(ino);
        (!is_dropped).then_some(found)
    }

    fn serve_at_once(self: &Arc<Self>, ask: Ask<'_>, to: To) {
        let answer = match ask {
            Ask::Attr { ino } => {
                let Some(attr) = self.found(ino, |state| state.attr(ino)) else {
                    return self.serve(ask, to);
                };
                self.figures.on_request(Op::Attr);
                attr.map(Answer::Attr)
            }
            Ask::Link { ino } => {
                let look = |state: &mut State| state.of(ino).and_then(|(own, tree)| tree.machine.target(own));
                let Some(target) = self.found(ino, look) else {
                    return self.serve(ask, to);
                };
                self.figures.on_request(Op::Link);
                return match target {
                    Ok(target) => to.send(self.owner, &Answer::Bytes(&target)),
                    Err(failure) => to.send(self.owner, &Answer::Failed(failure)),
                };
            }
            // An answer of ENOSYS ends all telling of opens, until the end of the mount.
            Ask::Open { .. } if !self.is_told_of_opens() => Err(Failure::Unknown),
            Ask::Open { ino } => {
                let found = self.found(ino, |state| {
                    let (own, tree) = state.of(ino)?;
                    let blob = tree.machine.blob(own)?;
                    Ok((blob, tree.source.clone()))
                });
                let Some(found) = found else { return self.serve(ask, to) };
                self.figures.on_request(Op::Open);
                let since = self.now();
                match found {
                    Ok((blob, source)) => self.open(ino, blob, &*source, to),
                    Err(failure) => to.send(self.owner, &Answer::Failed(failure)),
                }
                return self.figures.on_answer(Op::Open, self.now().since(since));
            }
            Ask::Release { ino } => {
                // What it gives back is dropped when the lock is free again.
                let _passed = self.opens().on_release(ino);
                Ok(Answer::Done)
            }
            Ask::Statfs { ino } => {
                self.figures.on_request(Op::Statfs);
                Ok(Answer::Statfs(self.lock().shown.space(ino)))
            }
            Ask::Xattrs { ino, room } => {
                let Some(keys) = self.found(ino, |state| state.xattrs(ino)) else {
                    return self.serve(ask, to);
                };
                self.figures.on_request(Op::Xattr);
                match keys {
                    Ok(keys) => {
                        let list = keys.iter().flat_map(|key| [&key[..], b"\0"]).collect::<Vec<_>>().concat();
                        return self.answer_xattr(to, room, &list);
                    }
                    Err(failure) => Err(failure),
                }
            }
            Ask::Grant => Ok(Answer::Done),
            Ask::Write => Err(Failure::ReadOnly),
            // The first is the beginning of a connection and of nothing else; the others come here only where they are no requests.
            Ask::Init { .. } | Ask::Forget(_) | Ask::Interrupt { .. } | Ask::Unknown => Err(Failure::Unknown),
            Ask::Lookup { .. } | Ask::Read { .. } | Ask::List { .. } | Ask::Xattr { .. } => Err(Failure::Unreadable),
        };
        to.send(self.owner, &answer.unwrap_or_else(Answer::Failed));
    }

    /// The kernel forgot entries.
    pub(super) fn forget(&self, forgets: Forgets<'_>) {
        let mut state = self.lock();
        forgets.for_each(|ino, count| state.shown.on_forget(ino, count));
    }

    /// Whoever waits for that request has been sent a signal.
    pub(super) fn interrupt(self: &Arc<Self>, unique: u64) {
        let mut state = self.lock();
        if !state.interrupt(unique) {
            if state.early.len() == EARLY_MAX {
                state.early.pop_front();
            }
            state.early.push_back(unique);
        }
        drop(state);
        self.drive();
    }

    /// Carries out what the machine has decided. Not under its lock: answering and fetching take time.
    fn drive(self: &Arc<Self>) {
        if DRIVING.replace(true) {
            return;
        }
        loop {
            let mut state = self.lock();
            let actions = state.shown.poll();
            drop(state);
            if actions.is_empty() {
                break;
            }
            for (slot, action) in actions {
                self.carry_out(slot, action);
            }
        }
        DRIVING.set(false);
    }

    fn carry_out(self: &Arc<Self>, slot: u64, action: Action<Call>) {
        match action {
            Action::Answer { to, reply } => {
                self.count(&to, &reply);
                self.answer(to, reply);
            }
            Action::Fetch { call, want, goal } => {
                // Gone with all that waited for it.
                let Some(source) = self.lock().source(slot) else { return };
                if goal == Goal::Held && source.is_held(&want) {
                    let now = self.now();
                    if let Some(tree) = self.lock().shown.tree(slot) {
                        tree.machine.on_held(now, call, want.chunk.id);
                    }
                    return;
                }
                let shared = self.clone();
                let chunk = want.chunk;
                let arrival = move |result| Arrival {
                    slot,
                    call,
                    chunk,
                    result,
                };
                let fetching = source.chunk(want, Box::new(move |result| shared.on_arrival(arrival(result))));
                if let Some(tree) = self.lock().shown.tree(slot) {
                    tree.machine.on_fetching(call, chunk.id, fetching);
                }
            }
            Action::LetGo(fetching) => {
                if let Some(source) = self.lock().source(slot) {
                    source.let_go(fetching);
                }
            }
            Action::Give(mut files) => {
                for (ino, _) in &mut files {
                    *ino = number(slot, *ino);
                }
                if let Some(giving) = &*self.giving() {
                    giving.give(files);
                }
            }
            Action::Explain(eio) => self.explain(slot, eio),
        }
    }

    fn explain(&self, slot: u64, mut eio: Eio) {
        if let Some(name) = self.lock().shown.name(slot) {
            eio.entry.insert_str(0, &format!("/{}", String::from_utf8_lossy(&name)));
        }
        let Eio {
            request,
            entry,
            chunk,
            why,
        } = &eio;
        let chunk = chunk.map(|chunk| chunk.to_string());
        tracing::warn!(entry, chunk, why, request, "answered with EIO");
        let at = std::time::Instant::now();
        *self.last_eio.lock().unwrap_or_else(PoisonError::into_inner) = Some(LastEio { at, eio });
    }

    fn count(&self, call: &Call, reply: &Reply) {
        let Some(op) = call.kind.op() else { return };
        if matches!(reply, Reply::Failed(Failure::Unreadable)) {
            self.figures.on_unreadable(op);
        }
        if let Reply::Data(parts) = reply {
            self.figures.on_read(parts.iter().map(|part| part.len() as u64).sum());
        }
        self.figures.on_answer(op, self.now().since(call.since));
    }

    fn answer(self: &Arc<Self>, Call { to, kind, slot, .. }: Call, reply: Reply) {
        let owner = self.owner;
        match (kind, reply) {
            (_, Reply::Failed(failure)) => to.send(owner, &Answer::Failed(failure)),
            (Kind::Entry, Reply::Entry(attr)) => {
                if attr.ino == ROOT {
                    self.lock().shown.on_top_told(slot);
                }
                to.send(owner, &Answer::Entry(attr.at(slot)));
            }
            // Number 0 tells the kernel that there is no such entry, for as long as it likes.
            (Kind::Entry, Reply::Absent) => to.send(owner, &Answer::Entry(Attr::absent())),
            (Kind::Data, Reply::Data(parts)) => to.send(owner, &Answer::Data(&parts)),
            (Kind::List { room, plus }, Reply::Listing(listing)) => self.list(to.page(room, plus), slot, &listing, plus),
            (Kind::Xattr { room }, Reply::Xattr(value)) => self.answer_xattr(to, room, &value),
            (Kind::Recall(ask), Reply::Known) => self.serve_at_once(ask, to),
            (Kind::Xattr { room }, Reply::Held { wants, bytes }) => {
                let source = self.lock().source(slot);
                let is_held = |want: &&Want| source.as_ref().is_some_and(|source| source.is_held(want));
                let held = wants.iter().filter(is_held);
                let held: u64 = held.map(|want| u64::from(want.chunk.len)).sum();
                // A pack is larger than the file in it.
                self.answer_xattr(to, room, held.min(bytes).to_string().as_bytes());
            }
            // The machine answers what was asked; if it ever does not, the asker must not hang.
            (_, reply) => {
                tracing::error!(?reply, "an answer to another question");
                to.send(owner, &Answer::Failed(Failure::Unreadable));
            }
        }
    }

    fn answer_xattr(&self, to: To, room: u32, value: &[u8]) {
        let answer = match u32::try_from(value.len()) {
            Ok(len) if room == 0 => Answer::Length(len),
            Ok(len) if len <= room => Answer::Bytes(value),
            Ok(_) | Err(_) => Answer::Failed(Failure::NoRoom),
        };
        to.send(self.owner, &answer);
    }

    fn list(&self, mut page: Page, slot: u64, listing: &Listing, plus: bool) {
        let [dir, parent] = [listing.dir, listing.parent].map(|own| number(slot, own));
        if !dots(dir, parent, listing.offset).all(|line| page.add(&line, self.owner)) {
            return page.send();
        }
        let mut count = 0;
        for listed in listing.entries() {
            let line = Line {
                next: listed.next,
                attr: listed.attr.at(slot),
                name: listed.entry.name.as_bytes(),
            };
            if !page.add(&line, self.owner) {
                break;
            }
            count += 1;
        }
        if plus {
            // Before the kernel can know of them, and so forget them.
            if let Some(tree) = self.lock().shown.tree(slot) {
                tree.machine.on_listed(listing, count);
            }
        }
        page.send();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn opens(&self) -> MutexGuard<'_, Opens<Passed>> {
        self.opens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a file: passed to the kernel where it is held whole and nobody has it open otherwise.
    fn open(&self, ino: u64, blob: Option<(ChunkId, u64)>, source: &dyn Source, to: To) {
        let mut opens = self.opens();
        let how = opens.on_open(ino, || {
            let (blob, bytes) = blob?;
            let whole = source.backing(blob, bytes)?;
            match to.back(&*whole.file) {
                Ok(backing) => Some(Passed {
                    backing,
                    blob,
                    bytes,
                    _lease: whole.lease,
                }),
                Err(error) => {
                    tracing::info!(%error, "the kernel takes no files to read by itself: reads are served from here");
                    self.expect_no_opens();
                    None
                }
            }
        });
        let backing = match how {
            How::Passed(passed) => Some(&passed.backing),
            How::Cached => None,
        };
        to.send(self.owner, &Answer::Opened(backing));
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Instant {
        Instant::ZERO + self.started.elapsed()
    }
}

impl State {
    fn must_recall(&mut self, ino: u64) -> bool {
        match self.shown.place(ino) {
            Place::Names => false,
            Place::In(slot, own) => self.shown.tree(slot).is_some_and(|tree| !tree.machine.knows(own)),
        }
    }

    /// Ends the wait for a request; `false` where nothing waits for it.
    fn interrupt(&mut self, unique: u64) -> bool {
        self.shown.on_interrupt(|call| call.to.unique() == Some(unique))
    }

    fn on_arrival(&mut self, now: Instant, arrival: Arrival) {
        let Arrival {
            slot,
            call,
            chunk,
            result,
        } = arrival;
        if let Some(tree) = self.shown.tree(slot) {
            tree.machine.on_fetched(now, call, chunk, result);
        }
    }

    /// The release that `ino` is in, and its number there.
    fn of(&mut self, ino: u64) -> Result<(u64, &mut Tree<Call>), Failure> {
        match self.shown.place(ino) {
            Place::In(slot, own) => self.shown.tree(slot).map(|tree| (own, tree)).ok_or(Failure::Stale),
            Place::Names => Err(Failure::NotLink),
        }
    }

    fn source(&mut self, slot: u64) -> Option<Arc<dyn Source>> {
        self.shown.tree(slot).map(|tree| tree.source.clone())
    }

    fn attr(&mut self, ino: u64) -> Result<Attr, Failure> {
        match self.shown.place(ino) {
            Place::Names => Ok(self.shown.names_attr()),
            Place::In(slot, own) => {
                let tree = self.shown.tree(slot).ok_or(Failure::Stale)?;
                Ok(tree.machine.attr(own)?.at(slot))
            }
        }
    }

    fn xattrs(&mut self, ino: u64) -> Result<Vec<Bytes>, Failure> {
        match self.shown.place(ino) {
            Place::Names => Ok(Vec::new()),
            Place::In(slot, own) => self.shown.tree(slot).ok_or(Failure::Stale)?.machine.xattrs(own),
        }
    }
}

impl Kind {
    /// What it counts as; what is recalled counts when it is answered.
    fn op(self) -> Option<Op> {
        Some(match self {
            Self::Entry => Op::Lookup,
            Self::Data => Op::Read,
            Self::List { .. } => Op::List,
            Self::Xattr { .. } => Op::Xattr,
            Self::Recall(_) => return None,
        })
    }
}

/// The time of day, for what changes of the mount itself.
fn wall_clock() -> Mtime {
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let since_1970 = since_1970.unwrap_or_default();
    Mtime {
        secs: since_1970.as_secs() as i64,
        nanos: since_1970.subsec_nanos(),
    }
}

/// `.` and `..` of the directory `dir` in `parent` where a listing from `from` on begins with them.
fn dots(dir: u64, parent: u64, from: u64) -> impl Iterator<Item = Line<'static>> {
    let dots: [(u64, u64, &[u8]); 2] = [(1, dir, b"."), (request::OFFSET_ENTRIES, parent, b"..")];
    let dots = dots.into_iter().filter(move |(next, ..)| *next > from);
    dots.map(|(next, ino, name)| Line {
        next,
        attr: Attr::dir(ino),
        name,
    })
}
