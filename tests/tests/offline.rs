//! What is held is read without anybody, and what is not is refused at once; how large and whose it is shown to be; how it comes to be held.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ares_tests::mount::{self, Mounted};
use ares_tests::{Daemon, Lab, Node, compare, tree, wait};
use rustix::process::Signal;
use serde_json::Value;

const BIG: u64 = 24 << 20;

struct Scene {
    lab: Lab,
    server: Daemon,
    release: PathBuf,
    link: String,
    dir: PathBuf,
}

fn scene(test: &str) -> Option<Scene> {
    if !mount::is_possible(test) {
        return None;
    }
    let lab = Lab::new(test, 2)?;
    let release = lab.node(0).dir().join("release");
    tree::source(&release, 60, 91);
    tree::big_file(&release.join("big"), BIG, 92);
    let server = Daemon::serve(lab.node(0));
    let link = server.publish(&release).link;
    let dir = lab.node(1).dir().join("mounted");
    fs::create_dir(&dir).expect("a mount point");
    Some(Scene {
        lab,
        server,
        release,
        link,
        dir,
    })
}

/// What `ares warm ARGS --json` prints.
fn warm(node: &Node, args: &[&str]) -> Value {
    let mut command = node.ares(["warm"]);
    command.args(args).arg("--json");
    node.run(command).expect_ok().json()
}

/// Bytes that `df` shows as the size and as used.
fn size_and_used(dir: &Path) -> (u64, u64) {
    let stat = rustix::fs::statvfs(dir).expect("figures");
    (stat.f_blocks * stat.f_frsize, (stat.f_blocks - stat.f_bfree) * stat.f_frsize)
}

#[test]
fn an_offline_mount_reads_what_is_held_and_asks_nobody_for_the_rest() {
    let Some(Scene {
        lab,
        server,
        release,
        link,
        dir,
    }) = scene("offline")
    else {
        return;
    };
    // Far longer than anything below may take.
    let reader = &lab.node(1).with_patience(300);
    let mut nothing_held = reader.ares(["mount", &link]);
    nothing_held.arg(&dir).arg("--offline");
    let refused = reader.run(nothing_held);
    assert_eq!(refused.status.code(), Some(4), "{}", refused.stderr);
    assert!(refused.stderr.contains("offline"), "{}", refused.stderr);

    let part = warm(reader, &[&link, "part-000"]);
    assert!(part["fetched_bytes"].as_u64() > Some(0), "{part}");
    let before = server.counter("served_bytes");
    let start = Instant::now();
    let mounted = Mounted::with(reader, &link, &dir, &["--offline"]);
    compare::assert_same(&release.join("part-000"), &dir.join("part-000"));
    let file = File::open(dir.join("big")).expect("its entry is held");
    for _ in 0..2 {
        let read = file.read_exact_at(&mut [0; 4096], 9 << 20);
        assert_eq!(read.map_err(|e| e.raw_os_error()), Err(Some(5)), "EIO");
    }
    assert!(start.elapsed() < Duration::from_secs(150), "it waited for somebody");
    let log = mounted.log();
    assert!(
        log.contains("/big") && log.contains("offline"),
        "the log must name why:\n{log}"
    );
    mounted.end_by(Signal::TERM).expect_ok();
    assert_eq!(server.counter("served_bytes"), before, "nobody was asked");

    // The same through a daemon, which has the network.
    let daemon = Daemon::serve(reader);
    let mut detached = reader.ares(["mount", &link]);
    detached.arg(&dir).args(["--offline", "--detach"]);
    reader.run(detached).expect_ok();
    let file = File::open(dir.join("big")).expect("its entry is held");
    let read = file.read_exact_at(&mut [0; 4096], 3 << 20);
    assert_eq!(read.map_err(|e| e.raw_os_error()), Err(Some(5)), "EIO");
    assert_eq!(server.counter("served_bytes"), before, "nobody was asked");
    // What comes otherwise is read, once the failure is forgotten.
    warm(reader, &[&format!("{link}/big")]);
    let mut got = vec![0; BIG as usize];
    wait::until(Duration::from_secs(60), "what is held now", || {
        file.read_exact_at(&mut got, 0).ok()
    });
    assert!(got == fs::read(release.join("big")).expect("readable"));
    drop(file);
    daemon.terminate().expect_ok();
}

#[test]
fn df_shows_the_release_and_what_is_here_of_it() {
    let Some(Scene {
        lab, server, link, dir, ..
    }) = scene("statfs")
    else {
        return;
    };
    let reader = lab.node(1);
    let mounted = Mounted::new(reader, &link, &dir);
    let (size, used) = size_and_used(&dir);
    assert!(size > BIG && used < BIG / 2, "{used} of {size}");
    fs::read(dir.join("big")).expect("readable");
    wait::until(Duration::from_secs(60), "the file to be counted", || {
        let (size, used) = size_and_used(&dir);
        (used >= BIG && used < size).then_some(())
    });
    let entries = warm(reader, &[&link])["entries"].as_u64();
    let stat = rustix::fs::statvfs(&dir).expect("figures");
    assert_eq!((Some(stat.f_files), stat.f_ffree, stat.f_bavail), (entries, 0, 0));
    wait::until(Duration::from_secs(60), "all to be counted", || {
        let (size, used) = size_and_used(&dir);
        (used == size).then_some(())
    });
    mounted.end_by(Signal::TERM).expect_ok();
    drop(server);
}

#[test]
fn owner_and_modes_are_as_the_mount_is_told() {
    let Some(Scene {
        lab, server, link, dir, ..
    }) = scene("modes")
    else {
        return;
    };
    let reader = lab.node(1);
    for transport in ["dev", "fuser"] {
        let how = [
            "--uid=1234",
            "--gid=77",
            "--dmode=751",
            "--umask=002",
            "--transport",
            transport,
        ];
        let mounted = Mounted::with(reader, &link, &dir, &how);
        let look = |path: &Path| {
            fs::symlink_metadata(path)
                .map(|m| (m.uid(), m.gid(), m.mode() & 0o7777))
                .expect("there")
        };
        assert_eq!(look(&dir), (1234, 77, 0o751));
        // Known from a listing, and from a lookup.
        assert!(fs::read_dir(&dir).expect("listed").count() > 0);
        assert_eq!(look(&dir.join("part-000")), (1234, 77, 0o751));
        assert_eq!(look(&dir.join("big")), (1234, 77, 0o644));
        mounted.end_by(Signal::TERM).expect_ok();
    }
    drop(server);
}

#[test]
fn warming_goes_on_where_it_was_and_is_through_when_all_is_held() {
    let Some(Scene {
        lab,
        server,
        release,
        link,
        dir,
    }) = scene("warm")
    else {
        return;
    };
    let reader = lab.node(1);
    reader.limit_arrivals(60);
    let mut command = reader.ares(["warm", &link, "--progress"]);
    command.arg("big");
    let running = reader.start(command);
    wait::until(Duration::from_secs(60), "a third of the file", || {
        (server.counter("served_bytes") > BIG / 3).then_some(())
    });
    running.signal(Signal::INT);
    let interrupted = running.wait(Duration::from_secs(30));
    assert_eq!(interrupted.status.code(), Some(130), "{}", interrupted.stderr);
    assert!(interrupted.stderr.contains('%'), "a progress bar: {}", interrupted.stderr);
    reader.lift_limit();
    let rest = warm(reader, &[&link, "big"]);
    let (fetched, reused) = (
        rest["fetched_bytes"].as_u64().unwrap_or(0),
        rest["reused_bytes"].as_u64().unwrap_or(0),
    );
    assert!(reused > BIG / 4 && fetched + reused >= BIG && fetched < BIG, "{rest}");

    let whole = warm(reader, &[&link]);
    assert!(whole["reused_bytes"].as_u64() >= Some(BIG), "{whole}");
    let before = server.counter("served_bytes");
    warm(reader, &[&link]);
    assert_eq!(server.counter("served_bytes"), before, "all is held");
    for (args, code) in [
        ([link.as_str(), "absent"], 3),
        ([link.as_str(), "big/below"], 3),
        (["ares:x", "a"], 2),
    ] {
        let mut command = reader.ares(["warm"]);
        command.args(args);
        assert_eq!(reader.run(command).status.code(), Some(code), "{args:?}");
    }
    drop(server);
    // Through a daemon, with nobody else: all is there.
    let daemon = Daemon::serve(reader);
    warm(reader, &[&link]);
    let mounted = Mounted::with(reader, &link, &dir, &["--offline"]);
    compare::assert_same(&release, &dir);
    drop(mounted);
    daemon.terminate().expect_ok();
}
