//! Both sides through an io_uring, with what a [`Way`] changes.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, RawFd};

use ares_ring::UdpSocket;
use ares_ring::socket::Offload;
use io_uring::{CompletionQueue, IoUring, SubmissionQueue, Submitter, cqueue, opcode, squeue, types};

use crate::message::{Buffers, Message};
use crate::window::Window;
use crate::{DEPTH, Handle, Receive, SEGMENT_BYTES, Side, TaskWork, Transmit, Way};

const ENTRIES: u32 = 64;
const COMPLETIONS: u32 = 512;

/// A poller sleeps after so long without work.
const POLLER_IDLE_MS: u32 = 50;

/// The only group of provided buffers.
const GROUP: u16 = 0;

/// `user_data` of a cancel.
const CANCEL: u64 = u64::MAX;

/// `ioprio` of a zero-copy send: its notification says whether it was one (IORING_SEND_ZC_REPORT_USAGE), and how
/// (IORING_NOTIF_USAGE_ZC_COPIED).
const REPORT_USAGE: u16 = 1 << 3;
const WAS_COPIED: u32 = 1 << 31;

fn build(way: &Way) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder.setup_submit_all().setup_cqsize(COMPLETIONS);
    match way.task_work {
        TaskWork::Deferred => builder.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag(),
        TaskWork::AtOnce => builder.setup_single_issuer(),
        TaskWork::Polled => builder.setup_single_issuer().setup_sqpoll(POLLER_IDLE_MS),
    };
    builder.build(ENTRIES)
}

/// A ring in use.
struct Queues<'a> {
    submitter: Submitter<'a>,
    submissions: SubmissionQueue<'a>,
    completions: CompletionQueue<'a>,
    /// The socket, as entries name it.
    socket: types::Fd,
    flags: squeue::Flags,
    polled: bool,
    calls: u64,
}

impl<'a> Queues<'a> {
    fn new(uring: &'a mut IoUring, way: &Way, socket: RawFd) -> io::Result<Self> {
        let (mut submitter, submissions, completions) = uring.split();
        if way.ring == Handle::Registered {
            submitter.register_ring_fd()?;
        }
        let (socket, flags) = match way.socket {
            Handle::Descriptor => (socket, squeue::Flags::empty()),
            Handle::Registered => {
                submitter.register_files(&[socket])?;
                (0, squeue::Flags::FIXED_FILE)
            }
        };
        Ok(Queues {
            submitter,
            submissions,
            completions,
            socket: types::Fd(socket),
            flags,
            polled: way.task_work == TaskWork::Polled,
            calls: 0,
        })
    }

    /// Queues an entry on the socket.
    ///
    /// # Safety
    /// What it points to must stay where it is until the operation has ended or the ring is closed.
    unsafe fn push(&mut self, entry: squeue::Entry, data: u64) {
        let entry = entry.flags(self.flags).user_data(data);
        // SAFETY: promised by the caller.
        let pushed = unsafe { self.submissions.push(&entry) };
        pushed.expect("at most DEPTH operations and a cancel are queued at once");
    }

    /// Submits, and waits for a completion where there is none.
    fn enter(&mut self) -> io::Result<()> {
        self.submissions.sync();
        self.completions.sync();
        let wait_for = usize::from(self.completions.is_empty());
        if !self.polled || wait_for > 0 || self.submissions.need_wakeup() {
            self.calls += 1;
        }
        match self.submitter.submit_and_wait(wait_for) {
            Err(e) if e.kind() != io::ErrorKind::Interrupted => return Err(e),
            _ => {}
        }
        self.submissions.sync();
        self.completions.sync();
        Ok(())
    }
}

/// Sends `total` bytes, whole bursts.
pub(crate) fn send(way: &Way, socket: &UdpSocket, to: SocketAddr, total: u64, window: &Window) -> io::Result<Side> {
    let segment = (way.gso == Offload::On).then_some(SEGMENT_BYTES as u16);
    // Before the ring, so that they outlive it.
    let mut messages: Vec<_> = (0..DEPTH).map(|_| Message::to_send(to, way.burst_bytes(), segment)).collect();
    let mut uring = build(way)?;
    let mut queues = Queues::new(&mut uring, way, socket.as_fd().as_raw_fd())?;
    let mut free: Vec<usize> = (0..DEPTH).collect();
    let burst = way.burst_bytes() as u64;
    let (mut side, mut sent) = (Side::default(), 0);
    while sent < total || free.len() < DEPTH {
        if free.len() == DEPTH {
            window.wait(sent + burst);
        }
        while sent < total && window.admits(sent + burst) {
            let Some(index) = free.pop() else { break };
            let header = messages[index].header().cast_const();
            let entry = match way.send {
                Transmit::Copied => opcode::SendMsg::new(queues.socket, header).build(),
                Transmit::ZeroCopy => opcode::SendMsgZc::new(queues.socket, header).ioprio(REPORT_USAGE).build(),
            };
            // SAFETY: the message stays in its box until the ring is closed.
            unsafe { queues.push(entry, index as u64) };
            sent += burst;
        }
        queues.enter()?;
        for completion in &mut queues.completions {
            if cqueue::notif(completion.flags()) {
                side.notified += 1;
                side.copied += u64::from(completion.result() as u32 & WAS_COPIED != 0);
            } else {
                succeeded(completion.result())?;
            }
            // A zero-copy send has its buffer until the notification.
            if !cqueue::more(completion.flags()) {
                free.push(completion.user_data() as usize);
            }
        }
    }
    side.calls = queues.calls;
    Ok(side)
}

/// Receives them.
pub(crate) fn receive(way: &Way, socket: &UdpSocket, total: u64, window: &Window) -> io::Result<Side> {
    // Before the ring, so that they outlive it.
    let mut buffers = Buffers::new();
    let mut messages: Vec<_> = match way.receive {
        // As many as there are provided buffers, so that the caches see the same.
        Receive::Own => (0..Buffers::COUNT).map(|_| Message::to_receive()).collect(),
        Receive::Multishot | Receive::Provided => vec![Message::template()],
    };
    let mut uring = build(way)?;
    // SAFETY: the page and the buffers outlive the ring, and nobody reads a buffer before its completion.
    unsafe {
        uring
            .submitter()
            .register_buf_ring_with_flags(buffers.address(), Buffers::COUNT, GROUP, 0)
    }?;
    let mut queues = Queues::new(&mut uring, way, socket.as_fd().as_raw_fd())?;
    let (mut armed, mut next) = (false, 0);
    let (mut arrived, mut told) = (0, 0);
    while arrived < total {
        if !armed {
            messages[next].rewind();
            arm(&mut queues, way, &mut messages[next], next);
            next = (next + 1) % messages.len();
            armed = true;
        }
        queues.enter()?;
        for completion in &mut queues.completions {
            let index = completion.user_data() as usize;
            armed = cqueue::more(completion.flags());
            // Out of buffers: it is armed again above, and the datagrams wait in the socket.
            if completion.result() == -libc::ENOBUFS {
                continue;
            }
            let filled = succeeded(completion.result())?;
            arrived += match (way.receive, cqueue::buffer_select(completion.flags())) {
                (Receive::Own, _) => filled,
                (Receive::Provided, Some(_)) => filled,
                (Receive::Multishot, Some(id)) => buffers
                    .payload_bytes(id, filled, &messages[index])
                    .ok_or_else(|| io::Error::other("a burst was cut short"))?,
                (_, None) => return Err(io::Error::other("a receive without its buffer")),
            } as u64;
            if let Some(id) = cqueue::buffer_select(completion.flags()) {
                buffers.provide(id);
            }
        }
        window.tell(arrived, &mut told, total);
    }
    let calls = queues.calls;
    disarm(&mut queues, armed)?;
    Ok(Side {
        calls,
        ..Side::default()
    })
}

fn arm(queues: &mut Queues<'_>, way: &Way, message: &mut Message, index: usize) {
    let header = message.header();
    let own = opcode::RecvMsg::new(queues.socket, header);
    let (entry, select) = match way.receive {
        Receive::Own => (own.build(), squeue::Flags::empty()),
        Receive::Provided => (own.buf_group(GROUP).build(), squeue::Flags::BUFFER_SELECT),
        // Selects a buffer by itself.
        Receive::Multishot => (
            opcode::RecvMsgMulti::new(queues.socket, header, GROUP).build(),
            squeue::Flags::empty(),
        ),
    };
    // SAFETY: messages and buffers stay where they are until the ring is closed.
    unsafe { queues.push(entry.flags(select), index as u64) };
}

/// Ends the receive that is armed, before its buffers go.
fn disarm(queues: &mut Queues<'_>, mut armed: bool) -> io::Result<()> {
    let all = opcode::AsyncCancel2::new(types::CancelBuilder::any()).build();
    queues.flags = squeue::Flags::empty();
    // SAFETY: a cancel points to nothing.
    unsafe { queues.push(all, CANCEL) };
    while armed {
        queues.enter()?;
        for completion in &mut queues.completions {
            armed &= completion.user_data() == CANCEL || cqueue::more(completion.flags());
        }
    }
    Ok(())
}

/// The count of bytes, or the errno.
fn succeeded(result: i32) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
}
