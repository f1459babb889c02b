//! Who is spoken with and may what: keys on a list alone, or none of a list, changed while connections are up; releases for some; handshakes
//! that were recorded or altered; users of the same machine.

use std::fs::{self, Permissions};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ares_core::link::Link;
use ares_tests::datagrams::Between;
use ares_tests::http::{address, metrics};
use ares_tests::{Daemon, Lab, Node, compare, daemon, lab, tree, wait};

const PATIENCE: Duration = Duration::from_secs(60);

fn key_of(daemon: &Daemon) -> String {
    daemon.status()["peer"].as_str().expect("status names the peer").to_owned()
}

/// The reader tries to get it, by its own daemon.
fn bring(reader: &Node, link: &str, name: &str) -> ares_tests::Outcome {
    reader.run(daemon::get(reader, link, &reader.dir().join(name)))
}

#[test]
fn a_closed_swarm_lets_in_whom_it_names_and_tells_strangers_nothing() {
    let lab = Lab::on_loopback("access", 3);
    let hasty = "[mount]\npatience = \"3s\"\n[node]\ndial_timeout = \"500ms\"\n";
    let [member, stranger] = [1, 2].map(|i| lab.node(i).with_config("hasty", hasty));
    let daemons = [&member, &stranger].map(Daemon::serve);
    let [member_key, stranger_key] = daemons.each_ref().map(key_of);
    let write = |access: &str| lab.node(0).with_config("access", &format!("[access]\n{access}\n"));
    let publisher = write(&format!("reader = [\"{member_key}\"]"));
    let origin = Daemon::serve(&publisher);
    let file = publisher.dir().join("file");
    tree::big_file(&file, 1 << 20, 401);
    let link = origin.publish(&file).link;

    bring(&member, &link, "copy").expect_ok();
    compare::assert_same(&file, &member.dir().join("copy"));
    for _ in 0..2 {
        let refused = bring(&stranger, &link, "copy");
        assert_eq!(refused.status.code(), Some(4), "{}", refused.describe());
        refused.expect_error(&["not let in"]);
    }
    assert!(origin.counter("refused_keys") >= 2);
    assert_eq!(
        origin.log().matches("a key was not let in").count(),
        1,
        "not one line for each"
    );
    assert_eq!(daemons[1].counter("fetched_bytes"), 0);

    write(&format!("reader = [\"{member_key}\", \"{stranger_key}\"]"));
    origin.tell(&["reload"]);
    bring(&stranger, &link, "copy").expect_ok();
    let connected = |key: &str| {
        let peers = origin.tell(&["peers"])["peers"].clone();
        peers.as_array().expect("a list").iter().any(|peer| peer["peer"] == key)
    };
    wait::until(PATIENCE, "both to be connected", || {
        (connected(&stranger_key) && connected(&member_key)).then_some(())
    });

    // The emergency stop: also who is there already.
    write(&format!("block = [\"{stranger_key}\"]"));
    origin.tell(&["reload"]);
    wait::until(PATIENCE, "the connection to end", || {
        (!connected(&stranger_key)).then_some(())
    });
    assert!(connected(&member_key), "nobody else's");

    // And the stop of everybody but admins.
    write(&format!(
        "admin = [\"{member_key}\"]\nreader = [\"{stranger_key}\"]\nblock = \"any\""
    ));
    origin.tell(&["reload"]);
    let more = publisher.dir().join("more");
    tree::big_file(&more, 1 << 20, 406);
    let more = origin.publish(&more).link;
    let refused = bring(&stranger, &more, "more");
    assert_eq!(refused.status.code(), Some(4), "{}", refused.describe());
    bring(&member, &more, "more").expect_ok();

    write("reader = [\"nonsense\"]");
    let refused = publisher.run(publisher.ares(["reload"]));
    assert_eq!(refused.status.code(), Some(2), "{}", refused.describe());
    refused.expect_error(&["access.reader", "64 hex digits"]);
}

#[test]
fn a_release_that_is_for_some_is_not_given_to_others_until_the_config_says_so() {
    let lab = Lab::on_loopback("access-release", 3);
    let hasty = "[mount]\npatience = \"3s\"\n[node]\ndial_timeout = \"500ms\"\n";
    let [member, other] = [1, 2].map(|i| lab.node(i).with_config("hasty", hasty));
    let daemons = [&member, &other].map(Daemon::serve);
    let origin = Daemon::serve(&lab.node(0).with_config("access", ""));
    let write = |access: &str| {
        lab.node(0).with_config("access", &format!("[access]\n{access}\n"));
        origin.tell(&["reload"]);
    };
    let [secret, open] = ["secret", "open"].map(|name| {
        let file = lab.node(0).dir().join(name);
        tree::big_file(&file, 1 << 20, 402 + name.len() as u64);
        (origin.publish(&file), file)
    });
    write(&format!(
        "releases = {{ {} = [\"{}\"] }}",
        secret.0.release,
        key_of(&daemons[0])
    ));
    for _ in 0..2 {
        let refused = bring(&other, &secret.0.link, "copy");
        assert_eq!(refused.status.code(), Some(4), "{}", refused.describe());
    }
    assert!(origin.counter("refused_releases") >= 2);
    let said = origin.log().matches("`access.releases` gives to others").count();
    assert_eq!(said, 1, "once a minute");
    assert_eq!(daemons[1].counter("fetched_bytes"), 0);
    for (node, (release, file), name) in [(&other, &open, "open"), (&member, &secret, "secret")] {
        bring(node, &release.link, name).expect_ok();
        compare::assert_same(file, &node.dir().join(name));
    }
    write("");
    bring(&other, &secret.0.link, "secret").expect_ok();
    compare::assert_same(&secret.1, &other.dir().join("secret"));
}

/// Between a reader and a publisher: remembers what the reader sends, and may change a bit of each datagram.
struct Meddler {
    relay: Between,
    server: SocketAddr,
    heard: Arc<Mutex<Vec<Vec<u8>>>>,
    alters: Arc<AtomicBool>,
}

impl Meddler {
    fn start(ip: IpAddr, server: SocketAddr) -> Self {
        let heard: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let alters = Arc::new(AtomicBool::new(false));
        let (hears, may_alter) = (heard.clone(), alters.clone());
        let inward = move |datagram: &mut [u8]| {
            if may_alter.load(Ordering::Relaxed) {
                alter(datagram);
            }
            hears.lock().expect("nobody panics with it").push(datagram.to_vec());
        };
        let relay = Between::start(ip, server, inward, |_| true);
        Self {
            relay,
            server,
            heard,
            alters,
        }
    }

    /// The link with this in place of its peer's address.
    fn by_way_of(&self, link: &str) -> String {
        let mut link: Link = link.parse().expect("a link as core reads it");
        link.peers.iter_mut().for_each(|peer| peer.addrs = vec![self.relay.address()]);
        link.to_string()
    }

    /// Sends all that the client has sent, from another port and in the same order.
    fn replay(&self) {
        let socket = UdpSocket::bind((self.relay.address().ip(), 0)).expect("a port");
        for datagram in self.heard.lock().expect("nobody panics with it").iter() {
            socket.send_to(datagram, self.server).expect("sent");
        }
    }
}

/// Far behind what QUIC leaves in the clear: what is flipped is of the handshake, or of the tag that seals it.
fn alter(datagram: &mut [u8]) {
    if let Some(byte) = datagram.last_mut() {
        *byte ^= 1;
    }
    if let Some(byte) = datagram.get_mut(600) {
        *byte ^= 0x10;
    }
}

#[test]
fn a_hello_that_was_recorded_or_altered_leads_nowhere_and_is_counted() {
    let lab = Lab::on_loopback("access-hello", 3);
    let hasty = "[mount]\npatience = \"3s\"\n[node]\ndial_timeout = \"1s\"\n";
    let reader = lab.node(1).with_config("hasty", hasty);
    let origin = Daemon::serve(lab.node(0));
    let file = lab.node(0).dir().join("file");
    tree::big_file(&file, 1 << 20, 405);
    let link = origin.publish(&file).link;

    let honest = Meddler::start(lab.node(2).ip(), lab.node(0).listen());
    bring(&reader, &honest.by_way_of(&link), "copy").expect_ok();
    compare::assert_same(&file, &reader.dir().join("copy"));
    let is_gone = || {
        origin.tell(&["peers"])["peers"]
            .as_array()
            .is_some_and(Vec::is_empty)
            .then_some(())
    };
    wait::until(PATIENCE, "the reader to be gone", is_gone);
    let (served, before) = (origin.counter("served_bytes"), origin.counter("failed_handshakes"));
    wait::until(PATIENCE, "a recorded conversation to be counted", || {
        honest.replay();
        (origin.counter("failed_handshakes") > before).then_some(())
    });
    is_gone().expect("whoever repeats it is no peer");

    let before = origin.counter("failed_handshakes");
    let altering = Meddler::start(lab.node(2).ip(), lab.node(0).listen());
    altering.alters.store(true, Ordering::Relaxed);
    let other = reader.with_state(reader.dir().join("other"));
    let failed = bring(&other, &altering.by_way_of(&link), "altered");
    assert_eq!(failed.status.code(), Some(4), "{}", failed.describe());
    assert!(origin.counter("failed_handshakes") > before);
    assert_eq!(origin.counter("served_bytes"), served, "nobody was sent anything");
    let said = origin.log().matches("did not come to a key").count();
    assert!((1..=2).contains(&said), "one line a minute, not {said}");
    bring(&other, &link, "right").expect_ok();
}

/// Debian's `nobody`.
const NOBODY: &str = "65534";

#[test]
fn a_user_who_may_not_command_the_daemon_is_told_so_counted_and_logged_once() {
    const TEST: &str = "access-user";
    if !rustix::process::geteuid().is_root() {
        return lab::skip(TEST, "only root can become another user");
    }
    let lab = Lab::on_loopback(TEST, 1);
    let node = lab.node(0);
    let daemon = Daemon::serve_with(node, ["--http", "127.0.0.1:0"]);
    // An operator who opens what is closed: the kernel's word for who asks is left.
    let open = |path: &std::path::Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).expect("ours");
    let mut dir = Some(node.state());
    while let Some(above) = dir.filter(|dir| dir.starts_with(lab.path())) {
        open(above, 0o755);
        dir = above.parent();
    }
    open(&node.state().join("admin.sock"), 0o666);
    // The build directory may be closed to others.
    let ares = lab.path().join("ares");
    let mut copy = node.command("cp");
    copy.arg(lab::binary()).arg(&ares);
    node.run(copy).expect_ok();
    open(&ares, 0o755);
    for _ in 0..3 {
        let mut ask = node.command("setpriv");
        ask.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"]).arg(&ares);
        ask.arg("--state").arg(node.state()).arg("status");
        let refused = node.run(ask).expect_error(&["user 65534 may not command"]);
        assert_eq!(refused.status.code(), Some(2), "{}", refused.describe());
    }
    let refused = metrics(node, address(node).expect("it runs"))["ares_refused_total{cause=\"command\"}"];
    assert_eq!(refused, 3.0);
    assert_eq!(daemon.log().matches("a command was refused").count(), 1, "{}", daemon.log());
}
