//! Mounts in place of a daemon that may not: a process of root with that one privilege, started for each request by `systemd/ares-mount.socket`,
//! and what the daemon says to it. One packet goes each way:
//!
//! ```text
//! daemon:  m | o (owner) or e (everyone) | source | NUL | dir      mount there
//!          u | i (if nobody uses it), l (whoever does) or b (and break its connection off) | dir      take that mount away
//! helper:  +  with the descriptor of /dev/fuse, if one was asked for
//!          -  | why not
//! ```
//!
//! The helper trusts nobody: the kernel says who asks (SO_PEERCRED, unix(7)). It mounts on directories that belong to whoever asks, read-only,
//! without devices and set-uid bits, and takes away what it has mounted for them alone. It goes by descriptors, so that no name can
//! come to mean something else between the look and the deed.

use std::ffi::OsStr;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::UnmountFlags;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, connect, recvmsg, sendmsg, socket_with, sockopt,
};

use super::attach;
use super::error::MountError;
use super::place::FSTYPE;
use crate::options::Access;

/// Where the helper listens.
const SOCKET: &str = "/run/ares-mount.sock";

/// A path and a few words.
const PACKET_BYTES_MAX: usize = 8192;

/// Mounts by the helper; `None` where none listens for this user.
pub(super) fn mount(dir: &Path, source: &str, access: Access) -> Option<Result<OwnedFd, MountError>> {
    let others = match access {
        Access::Mounter => "o",
        Access::Everyone => "e",
    };
    let packet = [b"m", others.as_bytes(), source.as_bytes(), b"\0", dir.as_os_str().as_bytes()].concat();
    let refused = |says: String| MountError::ServiceRefused { dir: dir.into(), says };
    Some(match ask(&helper()?, &packet) {
        Ok(Ok(Some(connection))) => Ok(connection),
        Ok(Ok(None)) => Err(refused("it sent no descriptor".to_owned())),
        Ok(Err(says)) => Err(refused(says)),
        Err(error) => Err(refused(error.to_string())),
    })
}

/// Takes a mount away that was made so, with `DETACH` whoever uses it, with `FORCE` besides so that its connection is broken off; `None` where
/// no helper listens for this user.
pub fn unmount_by_helper(dir: &Path, flags: UnmountFlags) -> Option<io::Result<()>> {
    let how = match flags {
        _ if flags.contains(UnmountFlags::FORCE) => b"ub",
        _ if flags.contains(UnmountFlags::DETACH) => b"ul",
        _ => b"ui",
    };
    let packet = [how, dir.as_os_str().as_bytes()].concat();
    Some(match ask(&helper()?, &packet) {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(says)) => Err(io::Error::other(says)),
        Err(error) => Err(error.into()),
    })
}

fn helper() -> Option<OwnedFd> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).ok()?;
    connect(&socket, &SocketAddrUnix::new(SOCKET).ok()?).ok()?;
    Some(socket)
}

/// The helper's answer: the descriptor, if one came, or why not.
fn ask(socket: &OwnedFd, packet: &[u8]) -> rustix::io::Result<Result<Option<OwnedFd>, String>> {
    sendmsg(
        socket,
        &[IoSlice::new(packet)],
        &mut SendAncillaryBuffer::default(),
        SendFlags::NOSIGNAL,
    )?;
    let mut answer = [0; PACKET_BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut answer)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    Ok(match answer[..received.bytes].split_first() {
        Some((b'+', _)) => Ok(attach::first_fd(&mut control)),
        Some((_, why)) => Err(String::from_utf8_lossy(why).into_owned()),
        None => Err("it ended without a word".to_owned()),
    })
}

/// The helper's side of one conversation: does what the other end of `socket` asks, if it may.
pub fn help_to_mount(socket: BorrowedFd<'_>) -> io::Result<()> {
    let caller = sockopt::socket_peercred(socket)?;
    let mut packet = [0; PACKET_BYTES_MAX];
    let mut none = RecvAncillaryBuffer::default();
    let received = recvmsg(socket, &mut [IoSliceMut::new(&mut packet)], &mut none, RecvFlags::empty())?;
    let user = User {
        user: caller.uid.as_raw(),
        group: caller.gid.as_raw(),
    };
    let done = user.obey(&packet[..received.bytes]);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let text = match &done {
        Ok(_) => "+".to_owned(),
        Err(why) => format!("-{why}"),
    };
    let fds: Vec<BorrowedFd<'_>> = done.iter().flatten().map(AsFd::as_fd).collect();
    if !fds.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(&fds)), "one fits");
    }
    sendmsg(socket, &[IoSlice::new(text.as_bytes())], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Who asks.
#[derive(Clone, Copy)]
struct User {
    user: u32,
    group: u32,
}

impl User {
    fn obey(self, packet: &[u8]) -> Result<Option<OwnedFd>, String> {
        let nonsense = || "that is no request".to_owned();
        match packet.split_first().ok_or_else(nonsense)? {
            (b'm', [others, rest @ ..]) => {
                let access = match others {
                    b'o' => Access::Mounter,
                    b'e' => Access::Everyone,
                    _ => return Err(nonsense()),
                };
                let end = rest.iter().position(|byte| *byte == 0).ok_or_else(nonsense)?;
                let (source, dir) = (&rest[..end], Path::new(OsStr::from_bytes(&rest[end + 1..])));
                self.mount(dir, source, access).map(Some)
            }
            (b'u', [how, dir @ ..]) => {
                let flags = match how {
                    b'i' => UnmountFlags::empty(),
                    b'l' => UnmountFlags::DETACH,
                    // Whoever asks could do that by fusectl, where it is mounted.
                    b'b' => UnmountFlags::DETACH | UnmountFlags::FORCE,
                    _ => return Err(nonsense()),
                };
                self.unmount(Path::new(OsStr::from_bytes(dir)), flags).map(|()| None)
            }
            _ => Err(nonsense()),
        }
    }

    fn mount(self, dir: &Path, source: &[u8], access: Access) -> Result<OwnedFd, String> {
        let place = open(CWD, dir)?;
        let failed = |what: &str, error: io::Error| format!("{what}: {error}");
        let meta = rustix::fs::fstat(&place).map_err(|e| failed("looking at it", e.into()))?;
        let User { user, group } = self;
        if meta.st_uid != user && user != 0 {
            let dir = dir.display();
            return Err(format!(
                "it belongs to user {}, not to user {user} who asks: `chown {user} {dir}`",
                meta.st_uid
            ));
        }
        let device = attach::open_device().map_err(|e| failed("/dev/fuse", e))?;
        attach::mount(by_descriptor(&place), source, &device, meta.st_mode, (user, group), access)
            .map_err(|e| failed("mount(2)", e.into()))?;
        Ok(device)
    }

    fn unmount(self, dir: &Path, flags: UnmountFlags) -> Result<(), String> {
        let (above, name) = dir.parent().zip(dir.file_name()).ok_or("it has no name")?;
        let above = open(CWD, above)?;
        let place = open(above.as_fd(), Path::new(name))?;
        let read = |file: String| std::fs::read_to_string(&file).map_err(|e| format!("reading {file}: {e}"));
        let info = read(format!("/proc/self/fdinfo/{}", place.as_raw_fd()))?;
        let id = info
            .lines()
            .find_map(|line| line.strip_prefix("mnt_id:"))
            .unwrap_or_default()
            .trim();
        let table = read("/proc/self/mountinfo".to_owned())?;
        let is_theirs = table.lines().any(|line| is_mount_of(line, id, self.user));
        if !is_theirs {
            return Err(format!("it is no mount of ares for user {}", self.user));
        }
        // It would be in use by us. What is mounted on cannot be renamed meanwhile.
        drop(place);
        let place = Path::new(&by_descriptor(&above)).join(name);
        let unmounted = rustix::mount::unmount(place, flags | UnmountFlags::NOFOLLOW);
        unmounted.map_err(|e| format!("umount(2): {}", io::Error::from(e)))
    }
}

/// Looks nothing up in what may be mounted there.
fn open(at: BorrowedFd<'_>, dir: &Path) -> Result<OwnedFd, String> {
    if at.as_raw_fd() == CWD.as_raw_fd() && !dir.is_absolute() {
        return Err("its name does not begin at the root".to_owned());
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, dir, flags, Mode::empty()).map_err(|e| format!("opening it: {}", io::Error::from(e)))
}

fn by_descriptor(place: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", place.as_raw_fd())
}

/// Whether the line of mountinfo is of the mount with this number, and made for the user.
fn is_mount_of(line: &str, id: &str, user: u32) -> bool {
    let Some((head, tail)) = line.split_once(" - ") else {
        return false;
    };
    let mut tail = tail.split(' ');
    let (fstype, options) = (tail.next(), tail.nth(1).unwrap_or_default());
    let of_user = format!("user_id={user}");
    head.split(' ').next() == Some(id)
        && fstype == Some(FSTYPE)
        && (user == 0 || options.split(',').any(|option| option == of_user))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use rustix::net::socketpair;

    use super::*;

    /// What a helper of this very process answers to a packet.
    fn answer(packet: &[u8]) -> Result<Option<OwnedFd>, String> {
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).expect("a pair");
        let helper = std::thread::spawn(move || help_to_mount(theirs.as_fd()));
        let answer = ask(&ours, packet).expect("an answer");
        helper.join().expect("no panic").expect("it has answered");
        answer
    }

    #[test]
    fn a_mount_is_made_and_taken_away_by_descriptor() {
        let dir = tempfile::tempdir().expect("a directory");
        let dir = dir.path();
        if !rustix::process::geteuid().is_root() || attach::open_device().is_err() {
            return println!("skipped: it takes root and /dev/fuse");
        }
        let name = dir.as_os_str().as_bytes();
        let made = answer(&[b"moares:test\0", name].concat()).expect("made");
        let line = super::super::info::at(dir).expect("it is there");
        assert_eq!((line.fstype.as_str(), line.source.as_str()), (FSTYPE, "ares:test"));
        // Nobody serves it, so nobody may look into it.
        assert_eq!(answer(&[b"ui", name].concat()).map(|fd| fd.is_none()), Ok(true));
        assert!(super::super::info::at(dir).is_none());
        assert!(made.is_some());
        for how in [b"ul", b"ub"] {
            assert!(answer(&[how, name].concat()).is_err(), "nothing is mounted there");
        }
    }

    #[test]
    fn a_mount_that_is_in_use_is_broken_off() {
        let dir = tempfile::tempdir().expect("a directory");
        if !rustix::process::geteuid().is_root() || attach::open_device().is_err() {
            return println!("skipped: it takes root and /dev/fuse");
        }
        let name = dir.path().as_os_str().as_bytes();
        let made = answer(&[b"moares:test\0", name].concat())
            .expect("made")
            .expect("a descriptor");
        let _in_use = open(CWD, dir.path()).expect("it is there");
        let busy = answer(&[b"ui", name].concat()).expect_err("in use");
        assert!(busy.contains("busy"), "{busy}");
        assert_eq!(answer(&[b"ub", name].concat()).map(|fd| fd.is_none()), Ok(true));
        assert!(super::super::info::at(dir.path()).is_none());
        // Else the kernel's first word were to be read.
        let ended = rustix::io::read(&made, &mut [0; 64 << 10]);
        assert_eq!(ended, Err(rustix::io::Errno::NODEV));
    }

    #[test]
    fn who_asks_gets_mounts_on_their_own_directories_and_no_others() {
        let somebody = User {
            user: 65_533,
            group: 65_533,
        };
        let refused = somebody.obey(b"moares:test\0/usr").expect_err("root's");
        assert!(refused.contains("`chown 65533 /usr`"), "{refused}");
        let nonsense = [
            "",
            "m",
            "mo",
            "mx\0/",
            "moares\0relative",
            "mo/usr",
            "x/usr",
            "u",
            "ui",
            "uirelative",
            "ui/",
            "ui/usr",
            "ux/usr",
        ];
        for nonsense in nonsense {
            assert!(somebody.obey(nonsense.as_bytes()).is_err(), "{nonsense:?}");
        }
    }

    #[test]
    fn only_mounts_that_were_made_for_the_user_are_theirs() {
        let line = "36 35 0:52 / /a ro,nosuid shared:1 - fuse.ares ares:1 ro,user_id=7,group_id=7,default_permissions";
        let check = |line: &str, id, user, expect| assert_eq!(is_mount_of(line, id, user), expect, "{line} {id} {user}");
        check(line, "36", 7, true);
        check(line, "36", 0, true);
        check(line, "36", 70, false);
        check(line, "35", 7, false);
        check(line, "", 7, false);
        check("36 35 0:52 / /a ro - fuse.sshfs x ro,user_id=7", "36", 7, false);
        check("36 35 0:52 / /a ro", "36", 7, false);
    }
}
