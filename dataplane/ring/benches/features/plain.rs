//! Both sides with a system call for each burst, and no ring. As many buffers take turns as with one, so that the caches
//! see the same.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};

use ares_ring::UdpSocket;
use ares_ring::socket::Offload;

use crate::message::{Buffers, Message};
use crate::window::Window;
use crate::{DEPTH, SEGMENT_BYTES, Side, Way};

/// Sends `total` bytes, whole bursts.
pub(crate) fn send(way: &Way, socket: &UdpSocket, to: SocketAddr, total: u64, window: &Window) -> io::Result<Side> {
    let fd = socket.as_fd().as_raw_fd();
    let segment = (way.gso == Offload::On).then_some(SEGMENT_BYTES as u16);
    let mut messages: Vec<_> = (0..DEPTH).map(|_| Message::to_send(to, way.burst_bytes(), segment)).collect();
    let (mut side, mut sent) = (Side::default(), 0);
    while sent < total {
        let message = &mut messages[side.calls as usize % DEPTH];
        window.wait(sent + way.burst_bytes() as u64);
        // SAFETY: the message and what it points to live in its box for the whole call.
        let took = unsafe { libc::sendmsg(fd, message.header(), 0) };
        side.calls += 1;
        sent += done(took)?;
    }
    Ok(side)
}

/// Receives them.
pub(crate) fn receive(socket: &UdpSocket, total: u64, window: &Window) -> io::Result<Side> {
    let fd = socket.as_fd().as_raw_fd();
    let mut messages: Vec<_> = (0..Buffers::COUNT).map(|_| Message::to_receive()).collect();
    let (mut side, mut arrived, mut told) = (Side::default(), 0, 0);
    while arrived < total {
        let message = &mut messages[side.calls as usize % usize::from(Buffers::COUNT)];
        message.rewind();
        // SAFETY: likewise; the kernel writes to the payload, the name and the control messages, whose sizes the message states.
        let took = unsafe { libc::recvmsg(fd, message.header(), 0) };
        side.calls += 1;
        arrived += done(took)?;
        window.tell(arrived, &mut told, total);
    }
    Ok(side)
}

fn done(took: isize) -> io::Result<u64> {
    u64::try_from(took).map_err(|_| io::Error::last_os_error())
}
