//! An ordinary user mounts through fusermount3, with no capability and no group of note; and users of one machine do not trust each other.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ares_tests::{Daemon, Lab, Node, Published, lab, tree, wait};

/// Debian's `nobody`.
const NOBODY: u32 = 65_534;

/// Runs as root of a private mount namespace: gives users the device as udev does on any desktop, then becomes the user.
const SCRIPT: &str = r#"
set -eu
device=$1 user=$2; shift 2
if [ -n "$device" ]; then mount --bind "$device" /dev/fuse; fi
if [ "$user" != "$(id -u)" ]; then set -- setpriv --reuid="$user" --regid="$user" --clear-groups -- "$@"; fi
exec "$@"
"#;

/// What the user does: mounts, compares, unmounts.
const SESSION: &str = r#"
set -eu
ares=$1 state=$2 link=$3 dir=$4 release=$5
"$ares" --state "$state" mount "$link" "$dir" --detach
diff -r --no-dereference "$release" "$dir"
stat -f -c %T "$dir"
"$ares" --state "$state" umount "$dir"
test -z "$(ls -A "$dir")"
"#;

fn device_is_open_to_all() -> bool {
    fs::metadata("/dev/fuse").is_ok_and(|m| m.mode() & 0o006 == 0o006)
}

/// A device node like /dev/fuse that everybody may open; `None` where it is not needed, or the reason why there is none.
fn open_device(at: &Path) -> Result<Option<String>, String> {
    if device_is_open_to_all() {
        return Ok(None);
    }
    let device = fs::metadata("/dev/fuse").map_err(|e| format!("/dev/fuse: {e}"))?;
    rustix::fs::mknodat(
        rustix::fs::CWD,
        at,
        rustix::fs::FileType::CharacterDevice,
        0o666.into(),
        device.rdev(),
    )
    .map_err(|e| format!("/dev/fuse is closed to users, and the kernel refuses another node: {e}"))?;
    fs::set_permissions(at, Permissions::from_mode(0o666)).map_err(|e| e.to_string())?;
    Ok(Some(at.display().to_string()))
}

/// A copy of the binary that every user may run: the build directory may be closed to others.
fn open_binary(lab: &Lab) -> PathBuf {
    let ares = lab.path().join("ares");
    // By another process: one of ours that is started while we write it would have it open, and it could not be run.
    let copied = Command::new("cp").arg(lab::binary()).arg(&ares).status();
    assert!(copied.expect("a copy of the binary").success());
    ares
}

/// `ares --state STATE ARGS` as another user.
fn as_user(node: &Node, user: u32, ares: &Path, state: &Path, args: &[&str]) -> Command {
    let mut command = node.command("setpriv");
    command.args([format!("--reuid={user}"), format!("--regid={user}"), "--clear-groups".into()]);
    command
        .arg("--")
        .arg(ares)
        .arg("--state")
        .arg(state)
        .arg("--no-mdns")
        .args(args);
    command
}

#[test]
fn a_daemon_of_a_stranger_is_not_spoken_to() {
    const TEST: &str = "user-socket";
    const STRANGER: u32 = NOBODY - 1;
    if !rustix::process::geteuid().is_root() || !lab::may_become(NOBODY) || !lab::may_become(STRANGER) {
        return lab::skip(TEST, "only root becomes other users");
    }
    let lab = Lab::on_loopback(TEST, 1);
    let node = lab.node(0);
    let ares = open_binary(&lab);
    let state = lab.dir("stranger");
    chown(&state, Some(STRANGER), Some(STRANGER)).expect("root gives directories away");
    let serve = ["serve", "--listen", "127.0.0.1:0"];
    let daemon = node.start(as_user(node, STRANGER, &ares, &state, &serve));
    let status = |user| node.run(as_user(node, user, &ares, &state, &["status"]));
    wait::until(Duration::from_secs(30), "an answer to the daemon's own user", || {
        assert!(daemon.is_running(), "{}", daemon.stderr());
        status(STRANGER).status.success().then_some(())
    });
    // Root commands a service, which runs as the owner of its state directory.
    status(0).expect_ok();
    // A trap: everybody is let in.
    let socket = state.join("admin.sock");
    for (path, mode) in [(&state, 0o755), (&socket, 0o666)] {
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("root may");
    }
    let words = [socket.to_str().expect("ASCII"), &STRANGER.to_string(), "--state"];
    let refused = status(NOBODY).expect_error(&words);
    assert_eq!(refused.status.code(), Some(2));
    // Root is not led by a stranger who got a socket into root's directory, nor by one whose socket was given to root.
    chown(&state, Some(0), Some(0)).expect("root takes directories");
    status(0).expect_error(&words);
    chown(&socket, Some(0), Some(0)).expect("root takes sockets");
    status(0).expect_error(&words);
}

/// A service was stopped, and its administrator asks on: files of root in the store would keep the service from starting again.
#[test]
fn root_writes_nothing_into_the_store_of_another_user() {
    const TEST: &str = "user-store";
    if !rustix::process::geteuid().is_root() || !lab::may_become(NOBODY) {
        return lab::skip(TEST, "only root becomes other users");
    }
    let lab = Lab::on_loopback(TEST, 1);
    let node = lab.node(0);
    let ares = open_binary(&lab);
    let state = lab.dir("service");
    chown(&state, Some(NOBODY), Some(NOBODY)).expect("root gives directories away");
    let release = lab.dir("release");
    tree::source(&release.join("a"), 5, 72);
    let publish = ["publish", release.to_str().expect("ASCII")];
    let refused = |state: &Path| {
        let words = [state.to_str().expect("ASCII"), &NOBODY.to_string(), "sudo -u", "--state"];
        let refused = node.run(as_user(node, 0, &ares, state, &publish)).expect_error(&words);
        assert_eq!(refused.status.code(), Some(5));
    };
    refused(&state);
    assert_eq!(
        fs::read_dir(&state).expect("listed").count(),
        0,
        "nothing is made in a new one"
    );
    node.run(as_user(node, NOBODY, &ares, &state, &publish)).expect_ok();
    refused(&state);
    let alias = lab.path().join("alias");
    std::os::unix::fs::symlink(&state, &alias).expect("a link");
    refused(&alias);
    let mut todo = vec![state.clone()];
    while let Some(path) = todo.pop() {
        let meta = fs::symlink_metadata(&path).expect("there");
        assert_eq!(meta.uid(), NOBODY, "{}", path.display());
        if meta.is_dir() {
            todo.extend(
                fs::read_dir(&path)
                    .expect("listed")
                    .map(|entry| entry.expect("listed").path()),
            );
        }
    }
    // Its owner goes on with it.
    node.run(as_user(node, NOBODY, &ares, &state, &publish)).expect_ok();
}

#[test]
fn an_ordinary_user_mounts_and_unmounts() {
    const TEST: &str = "user-mount";
    let is_root = rustix::process::geteuid().is_root();
    if is_root && !lab::may_become(NOBODY) {
        return lab::skip(TEST, "root of a user namespace is no ordinary user and cannot become one");
    }
    let lab = Lab::on_loopback(TEST, 2);
    let device = match open_device(&lab.path().join("fuse")) {
        Ok(device) => device.unwrap_or_default(),
        Err(reason) => return lab::skip(TEST, &reason),
    };
    let (publisher, reader) = (lab.node(0), lab.node(1));
    let release = publisher.dir().join("release");
    tree::source(&release, 100, 71);
    let server = Daemon::serve(publisher);
    let Published { link, .. } = server.publish(&release);

    let home = lab.dir("home");
    let dir = home.join("mounted");
    fs::create_dir(&dir).expect("a mount point");
    let ares = open_binary(&lab);
    let user = if is_root {
        NOBODY
    } else {
        rustix::process::geteuid().as_raw()
    };
    if is_root {
        for path in [&home, &dir] {
            chown(path, Some(NOBODY), Some(NOBODY)).expect("root gives directories away");
        }
    }
    let mut command = if device.is_empty() {
        reader.command("sh")
    } else {
        reader.command("unshare")
    };
    if !device.is_empty() {
        command.args(["--mount", "--propagation", "private", "--", "sh"]);
    }
    command.args(["-c", SCRIPT, "sh", &device, &user.to_string(), "sh", "-c", SESSION, "sh"]);
    command.args([
        ares.as_os_str(),
        home.join("state").as_os_str(),
        link.as_ref(),
        dir.as_os_str(),
        release.as_os_str(),
    ]);
    let outcome = reader.run(command).expect_ok();
    assert!(
        outcome.text().contains("fuse"),
        "must have looked at a FUSE mount: {}",
        outcome.text()
    );
}
