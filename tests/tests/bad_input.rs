//! What a user can get wrong on the command line: each is told clearly, soon, by an exit code, and nothing is touched.

use std::fs;
use std::net::UdpSocket;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant};

use ares_tests::mount::{self, Mounted, is_mounted};
use ares_tests::{Daemon, Lab, Node, Outcome, daemon, lab, tree};

/// Debian's `nobody`.
const NOBODY: u32 = 65_534;

/// A link that cannot be right is told before anything is dialled.
const AT_ONCE: Duration = Duration::from_secs(5);

fn try_mount(node: &Node, link: &str, dir: &Path) -> Outcome {
    let mut command = node.ares(["mount", link]);
    command.arg(dir);
    node.run(command)
}

/// A small release, published, and its daemon.
fn small(node: &Node) -> (Daemon, String) {
    let release = node.dir().join("release");
    tree::source(&release, 20, 81);
    let server = Daemon::serve(node);
    let link = server.publish(&release).link;
    (server, link)
}

#[test]
fn a_bad_link_is_told_at_once_and_makes_nothing() {
    let lab = Lab::on_loopback("bad-link", 2);
    let (_server, link) = small(lab.node(0));
    let reader = lab.node(1);
    let swapped = |at: usize| {
        let mut bytes = link.clone().into_bytes();
        bytes[at] = if bytes[at] == b'a' { b'b' } else { b'a' };
        String::from_utf8(bytes).expect("links are ASCII")
    };
    let mut bad = [
        "",
        "ares:",
        "ares:a",
        "ares:!!!",
        "https://example.org/x",
        "magnet:?xt=urn:btih:00",
        "Ares",
        "/etc/passwd",
        "ares:\u{e9}",
        "ares:ares:ares:",
    ]
    .map(str::to_owned)
    .to_vec();
    bad.push("ares:".to_owned() + &"a".repeat(100_000));
    bad.extend((6..link.len()).step_by(9).map(|end| link[..end].to_owned()));
    bad.push(link[..link.len() - 1].to_owned());
    bad.extend((5..link.len()).step_by(13).map(swapped));
    bad.push(format!("{link}aaaa"));
    for link in &bad {
        let dest = reader.dir().join("dest");
        let start = Instant::now();
        reader.run(daemon::get(reader, link, &dest)).expect_error(&["link"]);
        assert!(start.elapsed() < AT_ONCE, "{link:?} took {:?}", start.elapsed());
        assert!(!dest.exists(), "{link:?} made a destination");
    }
    let dir = reader.dir().join("mounted");
    fs::create_dir(&dir).expect("a mount point");
    try_mount(reader, &link[..link.len() / 2], &dir).expect_error(&["link"]);
    assert!(!is_mounted(&dir));
}

#[test]
fn a_name_that_is_not_in_the_release_is_told() {
    let lab = Lab::on_loopback("bad-inside", 2);
    let (_server, link) = small(lab.node(0));
    let reader = lab.node(1);
    for inside in ["nowhere", "part-000/nowhere", "part-000/module-00/file-00000.rs/below"] {
        let dest = reader.dir().join("dest");
        reader
            .run(daemon::get(reader, &format!("{link}/{inside}"), &dest))
            .expect_error(&["no such|not found|not in|not a directory"]);
        assert!(!dest.exists(), "{inside} made a destination");
    }
    let cat = reader
        .run(reader.ares(["cat", &format!("{link}/part-000/module-00/file-00000.rs")]))
        .expect_ok();
    let file = lab.node(0).dir().join("release/part-000/module-00/file-00000.rs");
    assert_eq!(cat.stdout, fs::read(file).expect("readable"));
}

#[test]
fn a_mount_point_that_will_not_do_is_told() {
    const TEST: &str = "bad-mount-point";
    if !mount::is_possible(TEST) {
        return;
    }
    let lab = Lab::on_loopback(TEST, 2);
    let (_server, link) = small(lab.node(0));
    let reader = lab.node(1);
    let [missing, file, full, busy] = ["missing", "file", "full", "busy"].map(|n| reader.dir().join(n));
    fs::write(&file, "keep").expect("writable");
    fs::create_dir(&full).expect("writable");
    fs::write(full.join("mine"), "keep").expect("writable");
    fs::create_dir(&busy).expect("writable");
    let mounted = Mounted::new(reader, &link, &busy);
    // A node of its own: the first mount holds the lock of the first state.
    let second = reader.with_state(reader.dir().join("second-state"));
    let rows = [
        (&missing, "missing|not exist|no such|not found"),
        (&file, "not a directory"),
        (&full, "not empty"),
        (&busy, "already|busy|mounted"),
    ];
    for (dir, word) in rows {
        try_mount(&second, &link, dir).expect_error(&[&dir.display().to_string(), word]);
    }
    assert_eq!(fs::read(&file).expect("kept"), b"keep");
    assert_eq!(fs::read(full.join("mine")).expect("kept"), b"keep");
    assert!(fs::read_dir(&busy).expect("still mounted").count() > 0);
    drop(mounted);
    let mut umount = reader.ares(["umount"]);
    umount.arg(&full);
    reader.run(umount).expect_error(&["not mounted|no mount|not a mount"]);
}

/// Mounts a FUSE filesystem of another type. Its server ends at once: nobody can look into it, and it stays mounted.
const FOREIGN: &str = r#"
exec 3<>/dev/fuse
mount -i -t fuse.other -o fd=3,rootmode=40000,user_id=0,group_id=0 other "$1"
"#;

#[test]
fn a_fuse_mount_of_another_program_is_not_taken_away() {
    const TEST: &str = "bad-foreign-mount";
    if !mount::is_possible(TEST) {
        return;
    }
    let lab = Lab::on_loopback(TEST, 1);
    let node = lab.node(0);
    let dir = lab.dir("foreign");
    let mut command = node.command("sh");
    command.args(["-c", FOREIGN, "sh"]).arg(&dir);
    if !node.run(command).status.success() {
        return lab::skip(TEST, "the kernel lets only root mount another filesystem");
    }
    for args in [["umount"].as_slice(), &["umount", "--lazy"]] {
        let mut umount = node.ares(args);
        umount.arg(&dir);
        let refused = node
            .run(umount)
            .expect_error(&[&dir.display().to_string(), "fuse.other", "umount(8)"]);
        assert_eq!(refused.status.code(), Some(2));
        assert!(mount::is_mounted(&dir));
    }
}

#[test]
fn a_machine_without_fuse_is_told() {
    const TEST: &str = "bad-no-fuse";
    if !rustix::process::geteuid().is_root() {
        return lab::skip(TEST, "only root can hide /dev/fuse from a program");
    }
    let lab = Lab::on_loopback(TEST, 2);
    let (_server, link) = small(lab.node(0));
    let reader = lab.node(1);
    let dir = reader.dir().join("mounted");
    fs::create_dir(&dir).expect("a mount point");
    let plain = reader.dir().join("empty-file");
    fs::write(&plain, "").expect("writable");
    let mut command = reader.command("unshare");
    let script = r#"mount --bind "$1" /dev/fuse; shift; exec "$@""#;
    command
        .args(["--mount", "--propagation", "private", "--", "sh", "-c", script, "sh"])
        .arg(&plain);
    command
        .arg(lab::binary())
        .arg("--state")
        .arg(reader.state())
        .args(["mount", &link])
        .arg(&dir);
    reader.run(command).expect_error(&["/dev/fuse|fuse"]);
}

#[test]
fn an_address_in_use_is_named() {
    let lab = Lab::on_loopback("bad-port", 1);
    let node = lab.node(0);
    let _taken = UdpSocket::bind(node.listen()).expect("a free address");
    let mut serve = node.ares(["serve", "--listen"]);
    serve.arg(node.listen().to_string());
    node.run(serve).expect_error(&[&node.listen().to_string(), "in use"]);
    let mut foreign = node.ares(["serve", "--listen"]);
    // TEST-NET-1 (RFC 5737) is nobody's address.
    foreign.arg("192.0.2.1:7411");
    node.run(foreign).expect_error(&["192.0.2.1:7411"]);
    let mut nonsense = node.ares(["serve", "--listen"]);
    nonsense.arg("here");
    node.run(nonsense).expect_error(&["here"]);
}

#[test]
fn a_state_directory_that_will_not_do_is_named() {
    let lab = Lab::on_loopback("bad-state", 2);
    let (server, _) = small(lab.node(0));
    // In use by a living daemon: the other one must not touch it.
    let mut second = lab.node(0).ares(["serve", "--listen"]);
    second.arg(lab.node(1).listen().to_string());
    lab.node(0)
        .run(second)
        .expect_error(&[&lab.node(0).state().display().to_string()]);
    assert!(server.is_running());
    server.status();

    let file = lab.node(1).dir().join("file");
    fs::write(&file, "keep").expect("writable");
    let node = lab.node(1).with_state(&file);
    let mut serve = node.ares(["serve", "--listen"]);
    serve.arg(node.listen().to_string());
    node.run(serve).expect_error(&[&file.display().to_string()]);
    assert_eq!(fs::read(&file).expect("kept"), b"keep");
}

#[test]
fn a_question_to_no_daemon_is_told() {
    let lab = Lab::on_loopback("bad-no-daemon", 1);
    let start = Instant::now();
    lab.node(0)
        .run(lab.node(0).ares(["status", "--json"]))
        .expect_error(&["daemon|serve|running"]);
    assert!(start.elapsed() < AT_ONCE);
}

#[test]
fn flags_that_come_too_late_for_a_daemon_are_named() {
    let lab = Lab::on_loopback("bad-late-flags", 1);
    let node = lab.node(0).with_mdns();
    let server = Daemon::serve(&node);
    let seed = format!("{}@127.0.0.1:1", "ab".repeat(32));
    let publish = |flags: &[&str]| {
        let mut command = node.ares(["publish"]);
        command.arg(lab::binary()).args(flags);
        node.run(command).expect_ok().stderr
    };
    assert!(!publish(&[]).contains("ignored"), "nothing is");
    let said = publish(&["--seed", &seed, "--no-mdns", "--lane", "eth0"]);
    for word in ["ignored: --lane, --seed, --no-mdns.", "restart", "--state"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    drop(server);
}

#[test]
fn what_cannot_be_published_is_named() {
    let lab = Lab::on_loopback("bad-publish", 1);
    let node = lab.node(0);
    let publish = |path: &Path| {
        let mut command = node.ares(["publish"]);
        command.arg(path).arg("--json");
        node.run(command)
    };
    publish(&node.dir().join("missing")).expect_error(&["missing", "no such|not found|not exist"]);

    // A pipe would block whoever opens it, a socket cannot be opened: told by name, skipped or refused, never waited for.
    let special = node.dir().join("special");
    tree::source(&special, 5, 82);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        special.join("a-pipe"),
        rustix::fs::FileType::Fifo,
        0o644.into(),
        0,
    )
    .expect("a pipe");
    let _socket = UnixListener::bind(special.join("a-socket")).expect("a socket");
    let outcome = publish(&special);
    for name in ["a-pipe", "a-socket"] {
        assert!(outcome.stderr.contains(name), "must name {name}\n{}", outcome.describe());
    }
    if !outcome.status.success() {
        outcome.expect_error(&[]);
    }
}

#[test]
fn a_file_the_publisher_may_not_read_is_named() {
    const TEST: &str = "bad-unreadable";
    if !lab::may_become(NOBODY) {
        return lab::skip(TEST, "only root of the machine can become another user");
    }
    let lab = Lab::on_loopback(TEST, 1);
    let home = lab.dir("home");
    std::os::unix::fs::chown(&home, Some(NOBODY), Some(NOBODY)).expect("root gives directories away");
    let release = lab.node(0).dir().join("release");
    tree::source(&release, 5, 83);
    fs::write(release.join("private"), "of root").expect("writable");
    tree::set_mode(&release.join("private"), 0o600);
    let ares = home.join("ares");
    fs::copy(lab::binary(), &ares).expect("a copy of the binary");
    let node = lab.node(0).as_user(NOBODY).with_state(home.join("state"));
    let mut command = node.command(&ares);
    command
        .arg("--state")
        .arg(node.state())
        .arg("publish")
        .arg(&release)
        .arg("--json");
    node.run(command).expect_error(&["private", "permission"]);
}
