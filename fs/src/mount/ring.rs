//! The connection to the kernel over io_uring, for requests and their answers: a queue and a thread for each processor. What the kernel says
//! without being asked for an answer, forgets and interrupts, still comes over /dev/fuse.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::AsFd as _;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

use ares_ring::fuse::{Asked, Outbox, Queue};

use super::answer::{Own, To};
use super::device::Channel;
use super::session::Shared;
use super::wire::{self, Header};

/// Requests that a processor's queue takes at a time. All that the kernel reads ahead may be stuck in one queue, and others have room then.
const DEPTH: usize = wire::BACKGROUND_MAX as usize + 64;
/// More processors than this have too many threads and too much memory for one mount.
const PROCESSORS_MAX: u16 = 64;
/// Which processors there may ever be: the kernel has a queue for each and waits for all.
const POSSIBLE: &str = "/sys/devices/system/cpu/possible";

/// Threads that have their queues and wait for the word to begin.
pub(super) struct Queues {
    threads: Vec<JoinHandle<()>>,
    begin: Vec<mpsc::Sender<()>>,
}

/// What the tickets of one queue have in common.
struct Side {
    index: u16,
    channel: Arc<Channel>,
    outbox: Outbox,
}

/// Where the answer to one request goes.
pub(super) struct Ticket {
    unique: u64,
    asked: Asked,
    side: Arc<Side>,
}

thread_local! {
    /// The queue of this thread, where it is one's.
    static HOME: Cell<Option<u16>> = const { Cell::new(None) };
    /// Answers that this thread has for its own queue.
    static ANSWERED: RefCell<Vec<Asked>> = const { RefCell::new(Vec::new()) };
}

impl Ticket {
    pub(super) fn unique(&self) -> u64 {
        self.unique
    }

    pub(super) fn channel(&self) -> &Arc<Channel> {
        &self.side.channel
    }

    /// Answers, with an error where `errno` is not 0.
    pub(super) fn send(self, errno: i32, parts: &[&[u8]]) {
        let Self { unique, mut asked, side } = self;
        let bytes = parts.iter().map(|part| part.len()).sum();
        if !asked.answer(&wire::header(unique, errno, bytes), parts) {
            tracing::error!(bytes, "an answer is longer than what was asked for");
            asked.answer(&wire::header(unique, libc::EIO, 0), &[]);
        }
        if HOME.get() == Some(side.index) {
            ANSWERED.with_borrow_mut(|answered| answered.push(asked));
        } else {
            side.outbox.put(asked);
        }
    }
}

impl Queues {
    /// Makes all queues, for a connection that is not yet agreed on: once it is, the kernel waits for them.
    pub(super) fn prepare(shared: &Arc<Shared>, channel: &Arc<Channel>) -> io::Result<Self> {
        let count = processors(&std::fs::read_to_string(POSSIBLE)?).filter(|count| *count <= PROCESSORS_MAX);
        let count = count.ok_or_else(|| io::Error::other(format!("it is for 1 to {PROCESSORS_MAX} processors")))?;
        let mut queues = Self {
            threads: Vec::new(),
            begin: Vec::new(),
        };
        let (made, news) = mpsc::channel();
        for index in 0..count {
            let (begin, begins) = mpsc::channel();
            let (shared, channel, made) = (shared.clone(), channel.clone(), made.clone());
            let thread = thread::Builder::new().name(format!("ares-fs-q{index}")).spawn(move || {
                let payload_bytes = usize::from(wire::REQUEST_PAGES_MAX) * rustix::param::page_size();
                let queue = match Queue::new(channel.as_fd(), index, DEPTH, payload_bytes) {
                    Ok(queue) => queue,
                    Err(error) => return drop(made.send(Err(error))),
                };
                // Nobody listens where another queue could not be made, and nobody says to begin.
                let _ = made.send(Ok(()));
                drop(made);
                if begins.recv().is_ok() {
                    serve(&shared, channel, queue, index);
                }
            })?;
            queues.threads.push(thread);
            queues.begin.push(begin);
        }
        drop(made);
        news.iter().collect::<io::Result<Vec<()>>>()?;
        Ok(queues)
    }

    /// The kernel has agreed.
    pub(super) fn begin(&mut self) {
        for begin in self.begin.drain(..) {
            // A thread that is gone has said why.
            let _ = begin.send(());
        }
    }

    /// Waits for the end of the connection, after which all requests must have been answered.
    pub(super) fn join(self) {
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the mount panicked");
            }
        }
    }
}

/// One queue's thread.
fn serve(shared: &Arc<Shared>, channel: Arc<Channel>, mut queue: Queue, index: u16) {
    // Where its requests come from: the kernel picks the queue by the processor. If that one is away now, anywhere will do.
    let mut here = rustix::thread::CpuSet::new();
    here.set(usize::from(index));
    let _ = rustix::thread::sched_setaffinity(None, &here);
    HOME.set(Some(index));
    let side = Arc::new(Side {
        index,
        channel,
        outbox: queue.outbox(),
    });
    let (mut asked, mut arguments) = (Vec::new(), Vec::new());
    queue.register();
    loop {
        match queue.wait(&mut asked) {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => return tracing::warn!(%error, index, "FUSE over io_uring ended"),
        }
        for asked in asked.drain(..) {
            take_one(shared, &side, asked, &mut arguments);
        }
        let answered = ANSWERED.take();
        answered.into_iter().for_each(|answered| queue.commit(answered));
    }
}

fn take_one(shared: &Arc<Shared>, side: &Arc<Side>, asked: Asked, arguments: &mut Vec<u8>) {
    let Ok(header) = Header::alone(asked.header()) else {
        return tracing::error!("a request that is none");
    };
    header.join(asked.op(), asked.payload(), arguments);
    let side = side.clone();
    let unique = header.unique;
    let ticket = Ticket { unique, asked, side };
    match header.ask(arguments) {
        Ok(ask) => shared.serve(ask, To::Own(Own::Ring(ticket))),
        Err(wire::Malformed) => {
            tracing::error!(?header, "a malformed request");
            ticket.send(libc::EIO, &[]);
        }
    }
}

/// How many processors a list like `0-3,8` names; `None` where it is none.
fn processors(list: &str) -> Option<u16> {
    let mut count = 0_u16;
    for range in list.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.parse::<u16>().ok()?, last.parse::<u16>().ok()?);
        count = count.checked_add(last.checked_sub(first)?.checked_add(1)?)?;
    }
    Some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_counted() {
        let check = |list: &str, expect: Option<u16>| assert_eq!(processors(list), expect, "{list:?}");
        check("0-1\n", Some(2));
        check("0\n", Some(1));
        check("0-3,8,10-11", Some(7));
        check("0-65535", None);
        check("3-1", None);
        check("", None);
        check("0-", None);
    }
}
