//! UDP sockets as the ring wants them: every option that the control messages of `msg` depend on is set here. It never sends or receives.
//!
//! A socket has one family: an IPv6 socket is always V6ONLY, so an address never needs mapping; to listen on both, bind two.

use crate::msg::encode_addr;
use crate::op::Target;
use crate::sys;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// What to ask for beyond the address. The default asks for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SocketOptions {
    /// Receive buffer in bytes of payload, before the kernel's own doubling; `None` leaves the system's default.
    pub receive_buffer_bytes: Option<u32>,
    /// Send buffer, likewise.
    pub send_buffer_bytes: Option<u32>,
    /// Whether several sockets may share the port.
    pub port: PortUse,
    /// Send and receive over this interface only, whatever the routing table says.
    pub interface: Option<String>,
}

/// Whether a port may be shared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PortUse {
    /// This socket alone.
    #[default]
    Exclusive,
    /// The kernel spreads remote addresses over all sockets bound to it (SO_REUSEPORT); all must belong to one user.
    Shared,
}

/// What the kernel granted of the asked buffers, in the same unit as asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// Receive buffer in bytes; capped by net.core.rmem_max unless the process has CAP_NET_ADMIN.
    pub receive_buffer_bytes: u32,
    /// Send buffer in bytes; capped by net.core.wmem_max likewise.
    pub send_buffer_bytes: u32,
}

/// One of a socket's two buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Buffer {
    /// What came and was not taken yet.
    Receive,
    /// What was sent and the interface did not take yet.
    Send,
}

impl Buffer {
    /// The options that set it, past the system's cap and up to it (socket(7)); the second one also reads it.
    const fn options(self) -> (i32, i32) {
        match self {
            Self::Receive => (libc::SO_RCVBUFFORCE, libc::SO_RCVBUF),
            Self::Send => (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF),
        }
    }

    /// The sysctl that caps it.
    const fn sysctl(self) -> &'static str {
        match self {
            Self::Receive => "net.core.rmem_max",
            Self::Send => "net.core.wmem_max",
        }
    }
}

/// Whether the kernel does some work for many datagrams at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offload {
    /// It does.
    On,
    /// Too old: every datagram is its own system call's worth of work, about 15 times the cost.
    Off,
}

/// A bound UDP socket; clones are the same socket.
#[derive(Clone, Debug)]
pub struct UdpSocket {
    socket: Arc<std::net::UdpSocket>,
    local_addr: SocketAddr,
    granted: Granted,
    gso: Offload,
    gro: Offload,
}

/// Why a socket could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another program, or another instance of this one, has the port.
    #[error("{addr} is in use: stop what listens there (`ss -ulpn sport = :{}`) or choose another port", addr.port())]
    InUse {
        /// The address asked for.
        addr: SocketAddr,
    },
    /// No interface has this address.
    #[error("{addr} is not an address of this machine: use one that `ip address` lists, or 0.0.0.0 or [::] for all of them")]
    NotLocal {
        /// The address asked for.
        addr: SocketAddr,
    },
    /// A port that only privileged processes may have.
    #[error(
        "not permitted to bind {addr}: ports below net.ipv4.ip_unprivileged_port_start need CAP_NET_BIND_SERVICE, or choose a port above 1023"
    )]
    NotPermitted {
        /// The address asked for.
        addr: SocketAddr,
    },
    /// The kernel was built or booted without this family.
    #[error(
        "this machine has no {} (asked for {addr}): enable it, or listen on the other family only",
        family_name(addr)
    )]
    NoFamily {
        /// The address asked for.
        addr: SocketAddr,
    },
    /// The named interface cannot be used.
    #[error("cannot use interface {name}: {source}: choose one that `ip link` lists")]
    Interface {
        /// As given.
        name: String,
        /// The errno.
        source: io::Error,
    },
    /// The limit on open files.
    #[error("no file descriptor left for a socket on {addr}: raise the limit (`ulimit -n`, LimitNOFILE=)")]
    NoDescriptor {
        /// The address asked for.
        addr: SocketAddr,
    },
    /// The system's cap is lower than what was asked.
    #[error(
        "the kernel grants {granted} of {wanted} bytes; raise its cap (`sysctl -w {sysctl}={wanted}`), give the process CAP_NET_ADMIN, or ask for less"
    )]
    Capped {
        /// What was asked, in bytes.
        wanted: u32,
        /// What would be had, in bytes.
        granted: u32,
        /// Where the cap is set.
        sysctl: &'static str,
    },
    /// Anything else, with the call that failed.
    #[error("kernel refused {call} for a UDP socket on {addr}: {source}")]
    Kernel {
        /// System call or option.
        call: &'static str,
        /// The address asked for.
        addr: SocketAddr,
        /// The errno.
        source: io::Error,
    },
}

fn family_name(addr: &SocketAddr) -> &'static str {
    if addr.is_ipv4() { "IPv4" } else { "IPv6" }
}

impl SocketError {
    fn new(call: &'static str, addr: SocketAddr, source: io::Error) -> Self {
        match source.raw_os_error() {
            Some(libc::EADDRINUSE) => SocketError::InUse { addr },
            Some(libc::EADDRNOTAVAIL) => SocketError::NotLocal { addr },
            Some(libc::EACCES) if call == "bind" => SocketError::NotPermitted { addr },
            Some(libc::EAFNOSUPPORT) => SocketError::NoFamily { addr },
            Some(libc::EMFILE | libc::ENFILE) => SocketError::NoDescriptor { addr },
            _ => SocketError::Kernel { call, addr, source },
        }
    }
}

impl UdpSocket {
    /// Binds `addr` (port 0: the kernel picks one) and turns on what the ring's receives read: GRO, destination addresses, ECN. Packets
    /// are never fragmented and the kernel's own path MTU memory is ignored: QUIC probes by itself (RFC 9000 section 14).
    pub fn bind(addr: SocketAddr, options: &SocketOptions) -> Result<UdpSocket, SocketError> {
        let family = if addr.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        // Left blocking: io_uring answers EAGAIN on a non-blocking socket instead of waiting.
        let fd = sys::socket(family, libc::SOCK_DGRAM).map_err(|e| SocketError::new("socket", addr, e))?;
        let must = |call, level, name, value: i32| {
            sys::set_option(fd.as_fd(), level, name, &value.to_ne_bytes()).map_err(|e| SocketError::new(call, addr, e))
        };
        match addr {
            SocketAddr::V4(_) => {
                must("IP_PKTINFO", libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?;
                must("IP_RECVTOS", libc::IPPROTO_IP, libc::IP_RECVTOS, 1)?;
                must(
                    "IP_MTU_DISCOVER",
                    libc::IPPROTO_IP,
                    libc::IP_MTU_DISCOVER,
                    libc::IP_PMTUDISC_PROBE,
                )?;
            }
            SocketAddr::V6(_) => {
                must("IPV6_V6ONLY", libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
                must("IPV6_RECVPKTINFO", libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
                must("IPV6_RECVTCLASS", libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS, 1)?;
                must(
                    "IPV6_MTU_DISCOVER",
                    libc::IPPROTO_IPV6,
                    libc::IPV6_MTU_DISCOVER,
                    libc::IP_PMTUDISC_PROBE,
                )?;
            }
        }
        if options.port == PortUse::Shared {
            must("SO_REUSEPORT", libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
        }
        if let Some(name) = &options.interface {
            sys::set_option(fd.as_fd(), libc::SOL_SOCKET, libc::SO_BINDTODEVICE, name.as_bytes()).map_err(|source| {
                SocketError::Interface {
                    name: name.clone(),
                    source,
                }
            })?;
        }
        let buffer = |which, wanted| buffer_bytes(fd.as_fd(), which, wanted).map_err(|e| SocketError::new("SO_*BUF", addr, e));
        let granted = Granted {
            receive_buffer_bytes: buffer(Buffer::Receive, options.receive_buffer_bytes)?,
            send_buffer_bytes: buffer(Buffer::Send, options.send_buffer_bytes)?,
        };
        let (gso, gro) = (enable_gso(fd.as_fd()), enable_gro(fd.as_fd()));
        sys::bind(fd.as_fd(), encode_addr(addr).bytes()).map_err(|e| SocketError::new("bind", addr, e))?;
        let socket = std::net::UdpSocket::from(fd);
        let local_addr = socket.local_addr().map_err(|e| SocketError::new("getsockname", addr, e))?;
        Ok(UdpSocket {
            socket: Arc::new(socket),
            local_addr,
            granted,
            gso,
            gro,
        })
    }

    /// The bound address, with the real port.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The buffers the kernel granted when the socket was bound; compare with what was asked and warn.
    pub fn granted(&self) -> Granted {
        self.granted
    }

    /// Makes a buffer larger or smaller while the socket is in use; what is in it stays. Where the kernel grants less than `bytes` the
    /// buffer is left as it was.
    pub fn resize(&self, buffer: Buffer, bytes: u32) -> Result<(), SocketError> {
        let set =
            |wanted| buffer_bytes(self.as_fd(), buffer, wanted).map_err(|e| SocketError::new("SO_*BUF", self.local_addr, e));
        let before = set(None)?;
        let granted = set(Some(bytes))?;
        if granted >= bytes {
            return Ok(());
        }
        set(Some(before))?;
        Err(SocketError::Capped {
            wanted: bytes,
            granted,
            sysctl: buffer.sysctl(),
        })
    }

    /// Whether one send can carry many datagrams. `Off`: never give [`crate::Op::Send`] a `segment_bytes`.
    pub fn gso(&self) -> Offload {
        self.gso
    }

    /// Whether one receive can carry many datagrams.
    pub fn gro(&self) -> Offload {
        self.gro
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl From<&UdpSocket> for Target {
    fn from(socket: &UdpSocket) -> Self {
        Target::Open(socket.socket.clone())
    }
}

/// Whether the kernel knows UDP_SEGMENT (Linux 4.18); it stays off for the socket, each send carries its own segment size.
pub(crate) fn enable_gso(fd: BorrowedFd<'_>) -> Offload {
    match sys::int_option(fd, libc::SOL_UDP, libc::UDP_SEGMENT) {
        Ok(_) => Offload::On,
        Err(_) => Offload::Off,
    }
}

/// Turns UDP_GRO on (Linux 5.0).
pub(crate) fn enable_gro(fd: BorrowedFd<'_>) -> Offload {
    match sys::set_option(fd, libc::SOL_UDP, libc::UDP_GRO, &1i32.to_ne_bytes()) {
        Ok(()) => Offload::On,
        Err(_) => Offload::Off,
    }
}

/// Asks past the system's cap first, then up to it; answers what is granted. The kernel doubles what it is asked and reports the double.
fn buffer_bytes(fd: BorrowedFd<'_>, buffer: Buffer, wanted: Option<u32>) -> io::Result<u32> {
    let (force, plain) = buffer.options();
    if let Some(wanted) = wanted {
        let wanted = i32::try_from(wanted).unwrap_or(i32::MAX).to_ne_bytes();
        sys::set_option(fd, libc::SOL_SOCKET, force, &wanted)
            .or_else(|_| sys::set_option(fd, libc::SOL_SOCKET, plain, &wanted))?;
    }
    Ok(sys::int_option(fd, libc::SOL_SOCKET, plain)?.max(0) as u32 / 2)
}

#[cfg(test)]
mod tests;
