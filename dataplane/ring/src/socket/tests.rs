//! Real sockets on loopback: what was asked is set, and what cannot be bound is named. Nothing is sent.

use super::*;
use std::os::fd::AsRawFd;

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn bind(text: &str, options: SocketOptions) -> Result<UdpSocket, SocketError> {
    UdpSocket::bind(addr(text), &options)
}

#[test]
fn a_bound_socket_knows_its_port_buffers_and_offloads() {
    for text in ["127.0.0.1:0", "[::1]:0"] {
        let options = SocketOptions {
            receive_buffer_bytes: Some(100_000),
            send_buffer_bytes: Some(50_000),
            ..SocketOptions::default()
        };
        let socket = bind(text, options).expect("bind");
        assert_ne!(socket.local_addr().port(), 0);
        assert_eq!(socket.local_addr().ip(), addr(text).ip());
        assert_eq!(
            socket.granted(),
            Granted {
                receive_buffer_bytes: 100_000,
                send_buffer_bytes: 50_000
            }
        );
        assert_eq!((socket.gso(), socket.gro()), (Offload::On, Offload::On));
    }
}

#[test]
fn a_buffer_is_resized_and_left_alone_where_the_kernel_grants_less() {
    let socket = bind("127.0.0.1:0", SocketOptions::default()).expect("bind");
    let now = |buffer| buffer_bytes(socket.as_fd(), buffer, None).expect("getsockopt");
    for buffer in [Buffer::Receive, Buffer::Send] {
        for bytes in [100_000, 70_000] {
            socket.resize(buffer, bytes).expect("less than any system's cap");
            assert_eq!(now(buffer), bytes);
        }
        // The kernel counts the double in an i32, whoever asks.
        let error = socket.resize(buffer, u32::MAX).expect_err("more than any kernel grants");
        assert!(
            matches!(error, SocketError::Capped { .. }) && error.to_string().contains(buffer.sysctl()),
            "{error}"
        );
        assert_eq!(now(buffer), 70_000);
    }
}

#[test]
fn refusals_name_the_remedy() {
    let taken = bind("127.0.0.1:0", SocketOptions::default()).expect("bind");
    let port = taken.local_addr().port();
    let check = |text: &str, options: SocketOptions, parts: &[&str]| {
        let error = bind(text, options).map(drop).expect_err(text).to_string();
        for part in parts {
            assert!(error.contains(part), "{error:?} lacks {part:?}");
        }
    };
    check(
        &format!("127.0.0.1:{port}"),
        SocketOptions::default(),
        &["in use", &format!("sport = :{port}"), "another port"],
    );
    check(
        "192.0.2.1:0",
        SocketOptions::default(),
        &["192.0.2.1:0 is not an address of this machine", "ip address"],
    );
    let options = SocketOptions {
        interface: Some("nosuch0".to_owned()),
        ..SocketOptions::default()
    };
    check("127.0.0.1:0", options, &["interface nosuch0", "ip link"]);
}

#[test]
fn errnos_map_to_the_guilty() {
    let check = |call, errno, part: &str| {
        let error = SocketError::new(call, addr("[::1]:80"), io::Error::from_raw_os_error(errno)).to_string();
        assert!(error.contains(part), "{error:?} lacks {part:?}");
    };
    check("bind", libc::EACCES, "CAP_NET_BIND_SERVICE");
    check("socket", libc::EAFNOSUPPORT, "no IPv6");
    check("socket", libc::EMFILE, "ulimit -n");
    check("IPV6_V6ONLY", libc::EPERM, "kernel refused IPV6_V6ONLY");
}

#[test]
fn a_shared_port_can_be_bound_twice_and_an_interface_chosen() {
    let options = SocketOptions {
        port: PortUse::Shared,
        interface: Some("lo".to_owned()),
        ..SocketOptions::default()
    };
    let first = bind("127.0.0.1:0", options.clone()).expect("bind");
    let second = UdpSocket::bind(first.local_addr(), &options).expect("bind again");
    assert_eq!(first.local_addr(), second.local_addr());
}

#[test]
fn sockets_are_blocking_so_that_the_ring_waits() {
    let socket = bind("127.0.0.1:0", SocketOptions::default()).expect("bind");
    let flags = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", socket.as_fd().as_raw_fd())).expect("fdinfo");
    let octal = flags
        .lines()
        .find_map(|line| line.strip_prefix("flags:"))
        .expect("flags")
        .trim()
        .to_owned();
    let flags = i32::from_str_radix(&octal, 8).expect("octal");
    assert_eq!(flags & libc::O_NONBLOCK, 0);
    assert_ne!(flags & libc::O_CLOEXEC, 0);
}
