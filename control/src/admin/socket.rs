//! Where the admin socket is, who may speak on it, and to whom. Opens and closes it; reads and writes nothing.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::error::{Failure, Kind};

/// Its name in the state directory.
const NAME: &str = "admin.sock";

/// Longest path that `sockaddr_un.sun_path` takes with its NUL, in bytes (unix(7)).
const SUN_PATH_BYTES: usize = 108;

/// The socket's path, for people.
pub(crate) fn path(state: &Path) -> PathBuf {
    state.join(NAME)
}

/// Calls `with` on a path to the socket that fits `sun_path`: a long one is named through a descriptor of its directory.
fn short<T>(state: &Path, with: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let path = path(state);
    if path.as_os_str().len() < SUN_PATH_BYTES {
        return with(&path);
    }
    let dir = rustix::fs::open(state, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    with(Path::new(&format!("/proc/self/fd/{}/{NAME}", dir.as_raw_fd())))
}

/// Connects to the daemon of `state`; `None` where none listens. Whoever else listens there is not spoken to.
pub(crate) fn connect(state: &Path) -> Result<Option<UnixStream>, Failure> {
    match short(state, |path| UnixStream::connect(path)) {
        Ok(stream) => check_daemon(state, &stream).map(|()| Some(stream)),
        // A refusal is a socket that a killed daemon left behind.
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => Ok(None),
        Err(e) => {
            let failure = Failure::io("connecting to the daemon at", &path(state), &e);
            Err(failure.help("run as the user that the daemon runs as, or as root, or use another --state"))
        }
    }
}

/// Whose the socket is, and who listens on it: this user or root. Root also commands the daemon of the state directory's owner, who could
/// replace the daemon in any case: a service's user is such a one.
fn check_daemon(state: &Path, stream: &UnixStream) -> Result<(), Failure> {
    let path = path(state);
    let looking = |e: &io::Error| Failure::io("looking at the socket of the daemon,", &path, e);
    let socket = std::fs::symlink_metadata(&path).map_err(|e| looking(&e))?.uid();
    let listener = rustix::net::sockopt::socket_peercred(stream.as_fd())
        .map_err(|e| looking(&e.into()))?
        .uid
        .as_raw();
    let own = rustix::process::geteuid();
    let mut trusted = vec![own.as_raw(), 0];
    if own.is_root() {
        trusted.push(std::fs::metadata(state).map_err(|e| looking(&e))?.uid());
    }
    let Some(stranger) = [socket, listener].into_iter().find(|uid| !trusted.contains(uid)) else {
        return Ok(());
    };
    let message = format!(
        "{} belongs to user {stranger}, not to user {} who runs this command: it is not spoken to",
        path.display(),
        own.as_raw()
    );
    Err(Failure::new(Kind::Usage, message).help("run as that user, or use another --state"))
}

/// Listens for `state`, whose store lock the caller holds: so a socket that is there already is a dead one and goes.
pub(crate) fn listen(state: &Path) -> Result<UnixListener, Failure> {
    let path = path(state);
    match std::fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(Failure::io("removing the old admin socket", &path, &e)),
        _ => {}
    }
    let listener =
        short(state, |path| UnixListener::bind(path)).map_err(|e| Failure::io("opening the admin socket", &path, &e))?;
    // The state directory is 0700 already; the socket says it once more for those who loosen that.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&path, mode).map_err(|e| Failure::io("closing the admin socket to others at", &path, &e))?;
    listener
        .set_nonblocking(true)
        .map_err(|e| Failure::io("opening the admin socket", &path, &e))?;
    Ok(listener)
}

/// Who asked for something, as the kernel knows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) uid: u32,
    /// Zero where the process is in a namespace that this one cannot see into.
    pub(crate) pid: i32,
}

impl Caller {
    /// A command of this very process.
    pub(crate) fn own() -> Self {
        Self {
            uid: rustix::process::geteuid().as_raw(),
            pid: rustix::process::getpid().as_raw_nonzero().get(),
        }
    }
}

/// Lets in the daemon's own user and root, by what the kernel says of the caller (SO_PEERCRED, unix(7)).
pub(crate) fn check_peer(stream: &UnixStream) -> Result<Caller, Failure> {
    let peer = rustix::net::sockopt::socket_peercred(stream.as_fd())
        .map_err(|e| Failure::new(Kind::Failed, format!("the kernel does not say who connected: {e}")))?;
    let own = rustix::process::geteuid();
    if peer.uid == own || peer.uid.is_root() {
        return Ok(Caller {
            uid: peer.uid.as_raw(),
            pid: rustix::process::Pid::as_raw(Some(peer.pid)),
        });
    }
    Err(Failure::new(
        Kind::Usage,
        format!(
            "user {} may not command the daemon of user {}",
            peer.uid.as_raw(),
            own.as_raw()
        ),
    )
    .help("run as that user or as root, or use another --state"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_reached_under_a_path_longer_than_the_kernel_takes() {
        let dir = tempfile::tempdir().unwrap();
        for state in [dir.path().join("s"), dir.path().join("x".repeat(200))] {
            std::fs::create_dir(&state).unwrap();
            assert!(connect(&state).unwrap().is_none(), "nobody there yet");
            let first = listen(&state).unwrap();
            assert!(connect(&state).unwrap().is_some());
            drop(first);
            assert!(connect(&state).unwrap().is_none(), "a dead socket is nobody");
            let second = listen(&state).unwrap();
            let client = connect(&state).unwrap().unwrap();
            assert_eq!(check_peer(&client), Ok(Caller::own()), "ourselves");
            let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(path(&state)).unwrap());
            assert_eq!(mode & 0o777, 0o600);
            drop(second);
        }
    }
}
