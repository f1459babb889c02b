//! Peers that are not there, silent, someone else, or noise: a bounded, clear error that names them, and a server that serves on.

use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ares_tests::rng::Rng;
use ares_tests::{Daemon, Lab, compare, daemon, tree, wait};

/// Longest a command may take to say that nobody answers.
const BOUND: Duration = Duration::from_secs(60);

/// A link whose only publisher is gone, and what it had published.
fn orphaned(lab: &Lab) -> (String, PathBuf) {
    let release = lab.node(0).dir().join("release");
    tree::source(&release, 10, 101);
    let server = Daemon::serve(lab.node(0));
    let link = server.publish(&release).link;
    server.terminate().expect_ok();
    (link, release)
}

/// A socket at the address of the publisher that is gone.
fn in_its_place(lab: &Lab) -> UdpSocket {
    // The kernel gives the sockets of a dead io_uring back a moment after the process is gone.
    wait::until(Duration::from_secs(10), "the publisher's address to be free", || {
        UdpSocket::bind(lab.node(0).listen()).ok()
    })
}

/// `get` and `mount` must both fail, in time, naming the address that was tried.
fn both_fail(lab: &Lab, link: &str, words: &[&str]) {
    let reader = &lab.node(1).with_patience(8);
    let address = lab.node(0).listen().to_string();
    let words = [&[address.as_str()], words].concat();
    let dir = reader.dir().join("mounted");
    std::fs::create_dir(&dir).expect("a mount point");
    // At once, as two nodes: most of it is waiting.
    let mounter = reader.with_state(reader.dir().join("state-of-mount"));
    let mut mount = mounter.ares(["mount", link]);
    mount.arg(&dir);
    let mounting = mounter.start(mount);
    let getting = reader.start(daemon::get(reader, link, &reader.dir().join("dest")));
    getting.wait(BOUND).expect_error(&words);
    mounting.wait(BOUND).expect_error(&words);
    assert!(!ares_tests::mount::is_mounted(&dir));
}

#[test]
fn a_peer_that_is_gone_is_told() {
    let lab = Lab::on_loopback("peer-gone", 2);
    let (link, _) = orphaned(&lab);
    both_fail(&lab, &link, &[]);
}

#[test]
fn a_peer_that_is_silent_is_told() {
    let lab = Lab::on_loopback("peer-silent", 2);
    let (link, _) = orphaned(&lab);
    // Bound and never read: the kernel takes the datagrams, nobody answers.
    let _silent = in_its_place(&lab);
    both_fail(&lab, &link, &[]);
}

#[test]
fn a_peer_that_answers_noise_is_told() {
    let lab = Lab::on_loopback("peer-noise", 2);
    let (link, _) = orphaned(&lab);
    let socket = in_its_place(&lab);
    socket
        .set_read_timeout(Some(Duration::from_millis(100)))
        .expect("a timeout can be set");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut rng = Rng::new(102);
            let mut buffer = [0; 2048];
            while !stop.load(Ordering::Relaxed) {
                let Ok((len, from)) = socket.recv_from(&mut buffer) else {
                    continue;
                };
                // What was asked, echoed; its first bytes with another tail; and nonsense.
                let noise = rng.bytes(rng.clone().below(1400) as usize + 1);
                let mut mixed = buffer[..len].to_vec();
                mixed.truncate(30);
                mixed.extend(&noise);
                for answer in [&buffer[..len], &mixed, &noise] {
                    // The dialler may be gone by now.
                    let _ = socket.send_to(answer, from);
                }
            }
        });
        both_fail(&lab, &link, &[]);
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_peer_with_another_key_is_told_and_not_believed() {
    let lab = Lab::on_loopback("peer-key", 3);
    let (link, release) = orphaned(&lab);
    // Someone else at the publisher's address, who even holds the release.
    let impostor = lab.node(0).with_state(lab.node(2).dir().join("other-identity"));
    let server = Daemon::serve(&impostor);
    server.publish(&release);
    both_fail(&lab, &link, &["key|identity"]);
    assert_eq!(
        server.counter("served_bytes"),
        0,
        "not a byte may be asked from a peer that did not prove its key"
    );
}

/// Patience is for peers that were there: who was never there is told long before it ends.
#[test]
fn who_never_answered_is_told_long_before_patience_ends() {
    const PATIENCE: Duration = Duration::from_secs(600);
    let lab = Lab::on_loopback("peer-never", 2);
    let (link, _) = orphaned(&lab);
    let reader = lab
        .node(1)
        .with_config("quick", "[mount]\npatience = \"600s\"\n[node]\ndial_timeout = \"1s\"\n");
    let address = lab.node(0).listen().to_string();
    let words = [address.as_str(), "could be reached", "no answer within 1000 ms"];
    let dir = reader.dir().join("mounted");
    std::fs::create_dir(&dir).expect("a mount point");
    let dest = reader.dir().join("dest");
    let inside = format!("{link}/file");
    let rows: [(&str, Vec<&std::ffi::OsStr>); 4] = [
        ("get", vec![link.as_ref(), dest.as_ref()]),
        ("mount", vec![link.as_ref(), dir.as_ref()]),
        ("ls", vec![link.as_ref()]),
        ("cat", vec![inside.as_ref()]),
    ];
    let running = rows.map(|(name, args)| {
        let node = reader.with_state(reader.dir().join(format!("state-of-{name}")));
        let mut command = node.ares([name]);
        command.args(args);
        node.start(command)
    });
    for command in running {
        command.wait(PATIENCE / 10).expect_error(&words);
    }
    assert!(!ares_tests::mount::is_mounted(&dir));
}

#[test]
fn a_server_under_noise_serves_on() {
    let lab = Lab::on_loopback("peer-flood", 2);
    let release = lab.node(0).dir().join("release");
    tree::source(&release, 50, 103);
    let server = Daemon::serve(lab.node(0));
    let link = server.publish(&release).link;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let to: SocketAddr = lab.node(0).listen();
            let socket = UdpSocket::bind(SocketAddr::new(lab.node(1).ip(), 0)).expect("a port");
            let mut rng = Rng::new(104);
            while !stop.load(Ordering::Relaxed) {
                let mut datagram = vec![0; rng.below(1500) as usize];
                rng.fill(&mut datagram);
                // Half of it looks like the start of a QUIC v1 handshake (RFC 9000 section 17.2): long header, Initial.
                if datagram.len() > 6 && datagram[5] & 1 == 0 {
                    datagram[..5].copy_from_slice(&[0xc3, 0, 0, 0, 1]);
                }
                // A full socket buffer is what a flood is about.
                let _ = socket.send_to(&datagram, to);
            }
        });
        let reader = lab.node(1);
        let dest = reader.dir().join("dest");
        let outcome = reader.start(daemon::get(reader, &link, &dest)).wait(BOUND);
        stop.store(true, Ordering::Relaxed);
        outcome.expect_ok();
        compare::assert_same(&release, &dest);
    });
    let peak = ares_tests::procfs::peak_rss_bytes(server.pid()).expect("a living process");
    assert!(peak < 256 << 20, "noise must not fill the memory: {peak} bytes");
    server.terminate().expect_ok();
}
