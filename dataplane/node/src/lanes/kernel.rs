//! The kernel's word on interfaces and addresses: a netlink socket (netlink(7), rtnetlink(7)) that keeps a table. Needs no privilege.
//!
//! The kernel tells of changes from the moment the socket is bound, and then everything once, first the interfaces, then the addresses. A
//! change that comes in between is told again or is newer, so the table is right when the last is told. When it could not tell a change
//! because the socket was full, everything is asked again.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use ares_core::path::Lane;
use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::LinkMessage;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::table::Table;

/// The kernel puts no more into one answer (`netlink_recvmsg`), and one interface with all its attributes into far less.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// How long the kernel may take to begin an answer. It gives it within the system call that asks; a sandbox may never.
const ANSWER_MAX: Timespec = Timespec { tv_sec: 2, tv_nsec: 0 };

/// The protocol of number 0, which rustix has no name for.
const NETLINK_ROUTE: Option<Protocol> = None;

/// Groups of changes (linux/rtnetlink.h): interfaces, IPv4 addresses, IPv6 addresses.
const RTMGRP_LINK: u32 = 0x1;
const RTMGRP_IPV4_IFADDR: u32 = 0x10;
const RTMGRP_IPV6_IFADDR: u32 = 0x100;

/// What is asked of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interest {
    /// How things are now.
    Now,
    /// And every change.
    Changes,
}

/// See the module.
pub(super) struct Kernel {
    socket: OwnedFd,
    table: Table,
    told: Told,
    /// What is told may not be all there is: it is asked again when the kernel has ended this answer.
    is_stale: bool,
    sequence: u32,
    buffer: Vec<u8>,
}

/// How far the kernel has told everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Links,
    Addresses,
    All,
}

impl Kernel {
    /// Opens the socket and reads everything.
    pub(super) fn open(interest: Interest) -> io::Result<Self> {
        let groups = match interest {
            Interest::Now => 0,
            Interest::Changes => RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR,
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, NETLINK_ROUTE)?;
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, groups))?;
        // From now on nobody but the kernel is heard.
        rustix::net::connect(&socket, &SocketAddrNetlink::new(0, 0))?;
        let mut kernel = Self {
            socket,
            table: Table::default(),
            told: Told::All,
            is_stale: false,
            sequence: 0,
            buffer: vec![0; ANSWER_BYTES_MAX],
        };
        kernel.ask_all()?;
        while kernel.told != Told::All {
            if poll(&mut [PollFd::new(&kernel.socket, PollFlags::IN)], Some(&ANSWER_MAX))? == 0 {
                return Err(io::ErrorKind::TimedOut.into());
            }
            kernel.read()?;
        }
        Ok(kernel)
    }

    /// Takes one datagram, if there is one. Whether there was.
    pub(super) fn read(&mut self) -> io::Result<bool> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let received = rustix::net::recv(&self.socket, buffer.as_mut_slice(), RecvFlags::DONTWAIT);
        let result = match received {
            Ok((bytes, _)) => self.on_datagram(&buffer[..bytes]).map(|()| true),
            Err(Errno::AGAIN) => Ok(false),
            Err(Errno::INTR) => Ok(true),
            Err(Errno::NOBUFS) => self.on_overrun().map(|()| true),
            Err(error) => Err(error.into()),
        };
        self.buffer = buffer;
        result
    }

    /// The machine's lanes, loopback last; `None` while the kernel is still telling.
    pub(super) fn lanes(&self) -> Option<Vec<Lane>> {
        (self.told == Told::All).then(|| self.table.lanes())
    }

    fn ask_all(&mut self) -> io::Result<()> {
        self.table = Table::default();
        self.is_stale = false;
        self.told = Told::Links;
        self.ask(RouteNetlinkMessage::GetLink(LinkMessage::default()))
    }

    fn ask(&mut self, what: RouteNetlinkMessage) -> io::Result<()> {
        self.sequence += 1;
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(what));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        rustix::net::send(&self.socket, &bytes, SendFlags::empty())?;
        Ok(())
    }

    /// Changes are lost. An answer that is under way must end first: the kernel gives one at a time.
    fn on_overrun(&mut self) -> io::Result<()> {
        tracing::debug!("the kernel had more changes of interfaces to tell than it keeps; all is read again");
        self.is_stale = true;
        if self.told == Told::All { self.ask_all() } else { Ok(()) }
    }

    fn on_datagram(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let header = NetlinkBuffer::new_checked(bytes).map_err(io::Error::other)?;
            let length = header.length() as usize;
            self.is_stale |= header.flags() & NLM_F_DUMP_INTR != 0;
            let (message, rest) = bytes.split_at(length);
            bytes = rest.get(length.next_multiple_of(4) - length..).unwrap_or_default();
            match NetlinkMessage::<RouteNetlinkMessage>::deserialize(message) {
                Ok(message) => self.on_message(message)?,
                // Of a kernel newer than the parser. What it was about stays as it was.
                Err(error) => tracing::debug!(%error, "a message of the kernel about interfaces was not understood"),
            }
        }
        Ok(())
    }

    fn on_message(&mut self, message: NetlinkMessage<RouteNetlinkMessage>) -> io::Result<()> {
        let is_answer = message.header.sequence_number == self.sequence;
        match message.payload {
            NetlinkPayload::InnerMessage(message) => self.table.on_message(&message),
            NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
            NetlinkPayload::Done(_) if is_answer => return self.on_answer_end(),
            _ => {}
        }
        Ok(())
    }

    fn on_answer_end(&mut self) -> io::Result<()> {
        match self.told {
            _ if self.is_stale => return self.ask_all(),
            Told::Links => {
                self.told = Told::Addresses;
                return self.ask(RouteNetlinkMessage::GetAddress(AddressMessage::default()));
            }
            Told::Addresses | Told::All => self.told = Told::All,
        }
        Ok(())
    }
}

impl AsFd for Kernel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads until everything is told.
    fn settle(kernel: &mut Kernel) -> Vec<Lane> {
        loop {
            if let Some(lanes) = kernel.lanes() {
                return lanes;
            }
            assert!(
                kernel.read().expect("the kernel answers"),
                "it answers within the call that asks"
            );
        }
    }

    #[test]
    fn after_an_overrun_everything_is_read_again() {
        let mut kernel = Kernel::open(Interest::Now).expect("netlink answers everybody");
        let before = settle(&mut kernel);
        assert!(before.iter().any(|lane| lane.ip.is_loopback()), "{before:?}");
        kernel.on_overrun().expect("it can be asked again");
        assert_eq!(kernel.lanes(), None, "it is being told");
        // One more in the middle of it: the answer goes on, and another follows.
        kernel.on_overrun().expect("it waits for the end");
        assert_eq!(settle(&mut kernel), before);
        assert!(!kernel.read().expect("silence"), "nothing more was asked for");
    }

    #[test]
    fn a_datagram_of_nonsense_is_an_error() {
        let mut kernel = Kernel::open(Interest::Now).expect("netlink answers everybody");
        for bytes in [&[1][..], &[0; 16], &[255; 40]] {
            assert!(kernel.on_datagram(bytes).is_err(), "{bytes:?}");
        }
    }
}
