//! Messages and buffers at addresses that stay put, as the kernel wants them, and the few system calls without a safe form.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use io_uring::types::BufRingEntry;

/// As the ring of this crate asks for: room for an address, and for stride, ECN and destination.
const NAME_BYTES: usize = 32;
const CONTROL_BYTES: usize = 144;

/// The largest burst GRO can build.
const PAYLOAD_BYTES: usize = 65_536;

/// Multishot recvmsg puts a header, the address and the control messages before the payload.
const BUFFER_BYTES: usize = 16 + NAME_BYTES + CONTROL_BYTES + PAYLOAD_BYTES;

/// Provided buffers, as many as the ring of this crate has.
const BUFFERS: u16 = 64;

#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

/// One `msghdr` and all it points to. Only made in a box, which is not moved out of.
pub(crate) struct Message {
    header: libc::msghdr,
    payload_at: libc::iovec,
    name: [u64; NAME_BYTES / 8],
    control: Control,
    payload: Vec<u8>,
}

impl Message {
    fn boxed(payload_bytes: usize) -> Box<Self> {
        // SAFETY: msghdr is a C struct of integers and pointers, for all of which zero is a value.
        let header = unsafe { std::mem::zeroed() };
        let mut message = Box::new(Message {
            header,
            payload_at: libc::iovec {
                iov_base: ptr::null_mut(),
                iov_len: payload_bytes,
            },
            name: [0; NAME_BYTES / 8],
            control: Control([0; CONTROL_BYTES]),
            payload: vec![1; payload_bytes],
        });
        message.payload_at.iov_base = message.payload.as_mut_ptr().cast();
        message.header.msg_iov = &raw mut message.payload_at;
        message.header.msg_iovlen = 1;
        message.header.msg_name = message.name.as_mut_ptr().cast();
        message.header.msg_control = message.control.0.as_mut_ptr().cast();
        message
    }

    /// `payload_bytes` to an IPv4 address, to be cut into datagrams of `segment_bytes` where given.
    ///
    /// # Panics
    /// On an IPv6 address: both sockets are on 127.0.0.1.
    pub(crate) fn to_send(to: SocketAddr, payload_bytes: usize, segment_bytes: Option<u16>) -> Box<Self> {
        let mut message = Self::boxed(payload_bytes);
        let SocketAddr::V4(to) = to else {
            panic!("the loopback of IPv4")
        };
        // struct sockaddr_in: family, port and address, the latter two in network order.
        let mut name = [0u8; 8];
        name[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
        name[2..4].copy_from_slice(&to.port().to_be_bytes());
        name[4..].copy_from_slice(&to.ip().octets());
        message.name[0] = u64::from_ne_bytes(name);
        message.header.msg_namelen = 16;
        if let Some(segment_bytes) = segment_bytes {
            // struct cmsghdr: length with the data, level, type; then the data, padded to a word.
            let control = &mut message.control.0;
            control[..8].copy_from_slice(&18usize.to_ne_bytes());
            control[8..12].copy_from_slice(&libc::SOL_UDP.to_ne_bytes());
            control[12..16].copy_from_slice(&libc::UDP_SEGMENT.to_ne_bytes());
            control[16..18].copy_from_slice(&segment_bytes.to_ne_bytes());
            message.header.msg_controllen = 24;
        }
        message
    }

    /// Room for a burst, its address and its control messages.
    pub(crate) fn to_receive() -> Box<Self> {
        let mut message = Self::boxed(PAYLOAD_BYTES);
        message.rewind();
        message
    }

    /// Room for an address and control messages, for a payload that goes to a provided buffer.
    pub(crate) fn template() -> Box<Self> {
        let mut message = Self::boxed(0);
        message.header.msg_iovlen = 0;
        message.rewind();
        message
    }

    /// Gives the kernel the whole room again, of which it notes how much it used.
    pub(crate) fn rewind(&mut self) {
        self.header.msg_namelen = NAME_BYTES as u32;
        self.header.msg_controllen = CONTROL_BYTES as _;
    }

    pub(crate) fn header(&mut self) -> *mut libc::msghdr {
        &raw mut self.header
    }
}

/// A page of entries, through which the kernel takes buffers.
#[repr(align(4096))]
struct Page(#[expect(dead_code, reason = "the kernel reads it")] [u8; 4096]);

const _: () = assert!(size_of::<BufRingEntry>() * BUFFERS as usize <= size_of::<Page>());

/// A ring of provided buffers.
pub(crate) struct Buffers {
    entries: Box<Page>,
    memory: Vec<u8>,
    tail: u16,
}

impl Buffers {
    pub(crate) const COUNT: u16 = BUFFERS;

    pub(crate) fn new() -> Self {
        let mut buffers = Buffers {
            entries: Box::new(Page([0; 4096])),
            // Touched, so that no run pays for the first use of a page.
            memory: vec![1; BUFFER_BYTES * usize::from(BUFFERS)],
            tail: 0,
        };
        (0..BUFFERS).for_each(|id| buffers.provide(id));
        buffers
    }

    /// Where the kernel finds the entries.
    pub(crate) fn address(&self) -> u64 {
        (&raw const *self.entries) as u64
    }

    /// The payload's size of a burst that multishot recvmsg put into buffer `id`; `None` where it is not whole.
    pub(crate) fn payload_bytes(&self, id: u16, filled: usize, template: &Message) -> Option<usize> {
        let at = usize::from(id) * BUFFER_BYTES;
        let filled = &self.memory[at..][..filled];
        let message = io_uring::types::RecvMsgOut::parse(filled, &template.header).ok()?;
        (!message.is_payload_truncated()).then(|| message.payload_data().len())
    }

    /// Gives buffer `id` to the kernel.
    pub(crate) fn provide(&mut self, id: u16) {
        let base = (&raw mut *self.entries).cast::<BufRingEntry>();
        let address = self.memory.as_mut_ptr() as u64 + (usize::from(id) * BUFFER_BYTES) as u64;
        // SAFETY: the page holds `BUFFERS` entries (asserted above), and the index is below that.
        let place = unsafe { base.add(usize::from(self.tail % BUFFERS)) };
        // SAFETY: zeroed memory is an entry; the kernel does not read it before the store of the tail below, since a buffer is provided
        // only when it has none or has given it back; nobody else has a reference to it.
        let entry = unsafe { &mut *place };
        entry.set_addr(address);
        entry.set_len(BUFFER_BYTES as u32);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: `base` points at the first entry of the page.
        let tail = unsafe { BufRingEntry::tail(base) };
        // SAFETY: the tail lies in the page, aligned to two bytes, and is only accessed atomically.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }
}

/// UDP_GRO off again, on a socket that [`ares_ring::UdpSocket::bind`] has turned it on for.
pub(crate) fn turn_gro_off(socket: &impl AsFd) -> io::Result<()> {
    let off = 0i32;
    let bytes = size_of_val(&off) as libc::socklen_t;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the kernel reads one int, which lives on this stack for the whole call.
    let set = unsafe { libc::setsockopt(fd, libc::SOL_UDP, libc::UDP_GRO, (&raw const off).cast(), bytes) };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Processor time of this process, kernel threads of its rings included.
pub(crate) fn process_cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one timespec, which lives on this stack.
    let got = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    assert_eq!(got, 0, "every kernel has this clock");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
