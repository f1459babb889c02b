//! A service manager as far as a service sees one (sd_notify(3), sd_listen_fds(3)): it hears what the service says, keeps descriptors for it, and
//! starts it anew with them.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rustix::io::{Errno, FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use crate::lab::Node;
use crate::run::Running;
use crate::wait;

/// How long a service may take to say that it is ready.
const READY: Duration = Duration::from_secs(60);
/// Descriptors that are kept are numbered from here on, out of the way of those that the service gets.
const HIGH: i32 = 200;

/// The manager of one service.
#[derive(Debug)]
pub struct Manager {
    path: PathBuf,
    socket: UnixDatagram,
    kept: Vec<(String, OwnedFd)>,
    room: usize,
    refused: usize,
    is_ready: bool,
}

impl Manager {
    /// Of a service that is yet to be started.
    ///
    /// # Panics
    /// Where there can be no socket.
    pub fn new(node: &Node) -> Self {
        Self::with_room(node, 64)
    }

    /// As `new`, but it keeps no more descriptors than that.
    ///
    /// # Panics
    /// Where there can be no socket.
    pub fn with_room(node: &Node, room: usize) -> Self {
        let path = node.dir().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        Self {
            path,
            socket,
            kept: Vec::new(),
            room,
            refused: 0,
            is_ready: false,
        }
    }

    /// Starts `ares serve` with all that is kept for it, and waits until it says that it is ready.
    ///
    /// # Panics
    /// Where it does not.
    pub fn start(&mut self, node: &Node) -> Running {
        let mut serve = node.ares(["serve", "--listen"]);
        serve.arg(node.listen().to_string());
        // The kernel gives the number of the process to itself alone, so a shell says it and becomes the service.
        let mut script = String::from("LISTEN_PID=$$ exec \"$@\"");
        for (number, (_, fd)) in (3..).zip(&self.kept) {
            let kept = fd.as_raw_fd();
            script.push_str(&format!(" {number}<&{kept} {kept}<&-"));
        }
        let names: Vec<&str> = self.kept.iter().map(|(name, _)| name.as_str()).collect();
        let mut command = Command::new("bash");
        command
            .args(["-c", &script, "manager"])
            .arg(serve.get_program())
            .args(serve.get_args());
        for (name, value) in serve.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
            .env("NOTIFY_SOCKET", &self.path)
            .env("FDSTORE", self.room.to_string())
            .env("LISTEN_FDS", self.kept.len().to_string())
            .env("LISTEN_FDNAMES", names.join(":"));
        self.is_ready = false;
        let inherit = |flags| {
            for (_, fd) in &self.kept {
                fcntl_setfd(fd, flags).expect("a flag of our own descriptor");
            }
        };
        inherit(FdFlags::empty());
        let running = node.start(command);
        inherit(FdFlags::CLOEXEC);
        wait::until(READY, "the service to say that it is ready", || {
            assert!(running.is_running(), "the service ended by itself:\n{}", running.stderr());
            self.hear();
            self.is_ready.then_some(())
        });
        running
    }

    /// The names of what it keeps, by what the service has said so far.
    pub fn kept(&mut self) -> Vec<&str> {
        self.hear();
        self.kept.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// How many descriptors it was given and had no room for: it closes them without a word.
    pub fn refused(&mut self) -> usize {
        self.hear();
        self.refused
    }

    /// The service will not be started again: what was kept for it is closed.
    pub fn give_up(&mut self) {
        self.hear();
        self.kept.clear();
    }

    fn hear(&mut self) {
        let mut text = [0; 4096];
        loop {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
            let heard = match recvmsg(&self.socket, &mut [IoSliceMut::new(&mut text)], &mut control, flags) {
                Ok(heard) => heard,
                Err(Errno::AGAIN) => return,
                Err(e) => panic!("hearing the service: {e}"),
            };
            let fds = control.drain().filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(fds) => Some(fds),
                _ => None,
            });
            let fds: Vec<OwnedFd> = fds.flatten().collect();
            self.obey(&String::from_utf8_lossy(&text[..heard.bytes]), fds);
        }
    }

    fn obey(&mut self, message: &str, fds: Vec<OwnedFd>) {
        let value = |key: &str| message.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        self.is_ready |= value("READY") == Some("1");
        let name = value("FDNAME").unwrap_or("stored").to_owned();
        if value("FDSTOREREMOVE") == Some("1") {
            self.kept.retain(|(kept, _)| *kept != name);
        }
        if value("FDSTORE") == Some("1") {
            let high = |fd: OwnedFd| fcntl_dupfd_cloexec(&fd, HIGH).expect("a number");
            self.kept.retain(|(kept, _)| *kept != name);
            if self.kept.len() == self.room {
                self.refused += fds.len();
                return;
            }
            self.kept.extend(fds.into_iter().map(|fd| (name.clone(), high(fd))));
        }
    }
}
