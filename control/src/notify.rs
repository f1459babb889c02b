//! Tells systemd how the service is (sd_notify(3)): datagrams of `NAME=VALUE` lines to the socket in NOTIFY_SOCKET. Without one it
//! does nothing.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

/// The line to systemd, if there is one.
#[derive(Default)]
pub(crate) struct Notify {
    socket: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
    /// How many descriptors it keeps for us.
    room: usize,
    /// The names of those that it has.
    kept: Mutex<BTreeSet<String>>,
}

/// What became of a descriptor that was to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeping {
    /// The manager has it.
    Kept,
    /// There is no room for another, or nobody to keep it.
    Refused,
}

/// Whether somebody waits for the process to end when it is told to make room for the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manager {
    /// Nobody.
    None,
    /// It starts the next one, and keeps nothing for it.
    Plain,
    /// It keeps descriptors for the next one.
    Keeper,
}

impl Notify {
    /// From NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID and FDSTORE.
    pub(crate) fn from_env(env: &dyn Fn(&str) -> Option<OsString>) -> Self {
        let socket = env("NOTIFY_SOCKET").and_then(|name| match open(&name) {
            Ok(socket) => Some(socket),
            Err(e) => {
                tracing::warn!(
                    "systemd cannot be told how the service is: NOTIFY_SOCKET {}: {e}",
                    name.to_string_lossy()
                );
                None
            }
        });
        let number = |name: &str| env(name).and_then(|v| v.to_str().and_then(|v| v.parse::<u64>().ok()));
        let is_ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC")
            .filter(|us| *us > 0 && is_ours && socket.is_some())
            .map(Duration::from_micros);
        let room = number("FDSTORE").filter(|_| socket.is_some()).unwrap_or(0);
        Self {
            room: usize::try_from(room).unwrap_or(usize::MAX),
            kept: Mutex::default(),
            socket,
            watchdog,
        }
    }

    /// Who manages this service, if anybody does.
    pub(crate) fn manager(&self) -> Manager {
        match self.socket {
            None => Manager::None,
            Some(_) if self.room > 0 => Manager::Keeper,
            Some(_) => Manager::Plain,
        }
    }

    /// Has the manager keep a descriptor for the next of this service, also where this process is killed. It takes what is beyond its room, too, and
    /// closes that without a word, so it is not given any.
    pub(crate) fn keep(&self, name: &str, fd: &OwnedFd) -> Keeping {
        let mut kept = self.kept();
        let Some((_, to)) = self.socket.as_ref().filter(|_| kept.contains(name) || kept.len() < self.room) else {
            return Keeping::Refused;
        };
        // It is not to look whether there is something to read: it would be woken by every request of a mount.
        let message = format!("FDSTORE=1\nFDNAME={name}\nFDPOLL=0");
        if let Err(e) = send_with(fd, &message, to) {
            tracing::warn!("systemd was not given {name}: {e}");
            return Keeping::Refused;
        }
        kept.insert(name.to_owned());
        Keeping::Kept
    }

    /// The manager has that since an earlier one of this service.
    pub(crate) fn on_kept(&self, name: &str) {
        self.kept().insert(name.to_owned());
    }

    /// How many descriptors the manager keeps, at most.
    pub(crate) fn room(&self) -> usize {
        self.room
    }

    /// Has the manager keep it no more.
    pub(crate) fn let_go(&self, name: &str) {
        if self.room > 0 {
            self.kept().remove(name);
            self.say(&format!("FDSTOREREMOVE=1\nFDNAME={name}"));
        }
    }

    fn kept(&self) -> MutexGuard<'_, BTreeSet<String>> {
        // A name is inserted or removed whole.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often to say `WATCHDOG=1`: half of what systemd waits; `None` where it does not.
    pub(crate) fn watchdog_interval(&self) -> Option<Duration> {
        self.watchdog.map(|w| w / 2)
    }

    /// Sends one message.
    pub(crate) fn say(&self, message: &str) {
        if let Some((socket, to)) = &self.socket
            && let Err(e) = socket.send_to_addr(message.as_bytes(), to)
        {
            tracing::warn!("systemd was not told {message:?}: {e}");
        }
    }
}

fn send_with(fd: &OwnedFd, message: &str, to: &SocketAddr) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(to)?;
    let fds = [fd.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&fds));
    sendmsg(&socket, &[IoSlice::new(message.as_bytes())], &mut control, SendFlags::empty())?;
    Ok(())
}

/// The name is a path, or `@` and an abstract name (unix(7)).
fn open(name: &std::ffi::OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let addr = match name.as_bytes() {
        [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest)?,
        [b'/', ..] => SocketAddr::from_pathname(name)?,
        _ => {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "neither a path nor an abstract name",
            ));
        }
    };
    Ok((UnixDatagram::unbound()?, addr))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env<'a>(vars: &'a [(&'a str, OsString)]) -> impl Fn(&str) -> Option<OsString> + 'a {
        move |name| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| v.clone())
    }

    #[test]
    fn systemd_hears_over_a_path_and_an_abstract_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let by_path = UnixDatagram::bind(&path).unwrap();
        let name = format!("ares-notify-test-{}", std::process::id());
        let by_name = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        for (socket, value) in [(by_path, path.into_os_string()), (by_name, format!("@{name}").into())] {
            let vars = [("NOTIFY_SOCKET", value), ("WATCHDOG_USEC", "30000000".into())];
            let notify = Notify::from_env(&env(&vars));
            notify.say("READY=1");
            let mut buf = [0; 64];
            let n = socket.recv(&mut buf).unwrap();
            assert_eq!(&buf[..n], b"READY=1");
            assert_eq!(notify.watchdog_interval(), Some(Duration::from_secs(15)));
        }
    }

    #[test]
    fn the_watchdog_is_fed_only_where_it_is_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let _socket = UnixDatagram::bind(&path).unwrap();
        let check = |usec: &str, pid: &str, expect: Option<Duration>| {
            let vars = [
                ("NOTIFY_SOCKET", path.clone().into_os_string()),
                ("WATCHDOG_USEC", usec.into()),
                ("WATCHDOG_PID", pid.into()),
            ];
            assert_eq!(Notify::from_env(&env(&vars)).watchdog_interval(), expect, "{usec} {pid}");
        };
        check("2000000", &std::process::id().to_string(), Some(Duration::from_secs(1)));
        check("2000000", "1", None);
        check("0", "", None);
        check("nonsense", "", None);
        assert_eq!(
            Notify::from_env(&env(&[("WATCHDOG_USEC", "5".into())])).watchdog_interval(),
            None,
            "nobody to tell"
        );
    }

    #[test]
    fn no_more_is_given_than_there_is_room_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        let fd = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let of = |room: &str| {
            Notify::from_env(&env(&[
                ("NOTIFY_SOCKET", path.clone().into_os_string()),
                ("FDSTORE", room.into()),
            ]))
        };
        let notify = of("2");
        notify.on_kept("a");
        let check = |name: &str, expect: Keeping| {
            assert_eq!(notify.keep(name, &fd), expect, "{name}");
            let is_told = socket.recv(&mut [0; 64]).is_ok();
            assert_eq!(is_told, expect == Keeping::Kept, "{name}");
        };
        check("b", Keeping::Kept);
        check("c", Keeping::Refused);
        check("a", Keeping::Kept);
        notify.let_go("a");
        socket.recv(&mut [0; 64]).unwrap();
        check("c", Keeping::Kept);
        assert_eq!(of("0").keep("a", &fd), Keeping::Refused);
    }
}
