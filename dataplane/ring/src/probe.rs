//! What this kernel offers and why it does not: one text per cause, shared by `ares doctor` (through [`probe`]) and by
//! [`crate::Ring::new`]. It changes nothing and keeps nothing open.

use crate::buffer::{GROUP, ReceivePool};
use crate::socket::{Offload, enable_gro, enable_gso};
use crate::sys;
use io_uring::{IoUring, opcode};
use std::fmt;
use std::io;
use std::os::fd::AsFd;

/// Why a ring could not be made or entered.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// The kernel does not know the system call.
    #[error(
        "kernel {kernel} has no io_uring: Linux 6.1 or newer is needed, built with CONFIG_IO_URING=y (gVisor, WSL 1 and old kernels have none)"
    )]
    Absent {
        /// As `uname -r` prints it.
        kernel: String,
    },
    /// The administrator switched it off.
    #[error("io_uring is switched off on this machine (kernel.io_uring_disabled = {value}): {}", sysctl_remedy(*value))]
    SwitchedOff {
        /// Of the sysctl: 1 for processes without privilege, 2 for all.
        value: u32,
    },
    /// Not switched off, yet not permitted: a seccomp filter.
    #[error(
        "{call} is not permitted although kernel.io_uring_disabled is {}: a container runtime or service manager filters it; allow \
         io_uring_setup, io_uring_enter and io_uring_register (docker/podman: --security-opt seccomp=PROFILE; systemd: SystemCallFilter=@io-event)",
        sysctl_text(*value)
    )]
    Filtered {
        /// System call.
        call: &'static str,
        /// Of the sysctl, `None` before Linux 6.6.
        value: Option<u32>,
    },
    /// io_uring is there, but not all of it.
    #[error("kernel {kernel} refuses {call}: Linux {since} or newer is needed")]
    TooOld {
        /// As `uname -r` prints it.
        kernel: String,
        /// What was tried.
        call: &'static str,
        /// The first version that has it.
        since: &'static str,
    },
    /// No memory, or no permission to lock it.
    #[error("no memory for {call}: raise the limit on locked memory ({}; `ulimit -l`, LimitMEMLOCK=) or free some memory", limit_text(*memlock_bytes))]
    Memory {
        /// What was tried.
        call: &'static str,
        /// RLIMIT_MEMLOCK in bytes, `None` when unlimited.
        memlock_bytes: Option<u64>,
    },
    /// The limit on open files.
    #[error("no file descriptor left for {call}: raise the limit (`ulimit -n`, LimitNOFILE=)")]
    NoDescriptor {
        /// What was tried.
        call: &'static str,
    },
    /// The caller's configuration.
    #[error("ring configuration: {field} is {value} and must {must}")]
    Config {
        /// Of [`crate::RingConfig`].
        field: &'static str,
        /// As given.
        value: u32,
        /// What is allowed.
        must: &'static str,
    },
    /// All places for registered files are taken; the plain file does as well.
    #[error("all {slots} registered-file slots of the ring are taken")]
    SlotsFull {
        /// [`crate::RingConfig::file_slots`].
        slots: u32,
    },
    /// Anything else.
    #[error("kernel refused {call}: {source}")]
    Kernel {
        /// System call.
        call: &'static str,
        /// The errno.
        source: io::Error,
    },
}

fn sysctl_remedy(value: u32) -> &'static str {
    match value {
        1 => {
            "run as root, or join the group in kernel.io_uring_group, or as root: sysctl kernel.io_uring_disabled=0 (to keep it: a line in /etc/sysctl.d)"
        }
        _ => "as root: sysctl kernel.io_uring_disabled=0 (to keep it: a line in /etc/sysctl.d)",
    }
}

fn sysctl_text(value: Option<u32>) -> String {
    value.map_or_else(|| "unset".to_owned(), |v| v.to_string())
}

fn limit_text(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "unlimited now".to_owned(), |b| format!("{} KiB now", b / 1024))
}

/// What surrounds an errno and gives it its meaning.
struct Surroundings {
    kernel: String,
    io_uring_disabled: Option<u32>,
    memlock_bytes: Option<u64>,
}

impl Surroundings {
    fn look() -> Self {
        let read = |path| std::fs::read_to_string(path).map(|text| text.trim().to_owned());
        Surroundings {
            kernel: read("/proc/sys/kernel/osrelease").unwrap_or_else(|_| "of unknown version".to_owned()),
            io_uring_disabled: read("/proc/sys/kernel/io_uring_disabled")
                .ok()
                .and_then(|text| text.parse().ok()),
            memlock_bytes: sys::memlock_limit_bytes(),
        }
    }

    fn explain(self, call: &'static str, source: io::Error) -> RingError {
        match (source.raw_os_error(), self.io_uring_disabled) {
            (Some(libc::ENOSYS), _) => RingError::Absent { kernel: self.kernel },
            (Some(libc::EPERM | libc::EACCES), Some(value @ 1..)) => RingError::SwitchedOff { value },
            (Some(libc::EPERM | libc::EACCES), value) => RingError::Filtered { call, value },
            (Some(libc::ENOMEM), _) => RingError::Memory {
                call,
                memlock_bytes: self.memlock_bytes,
            },
            (Some(libc::EMFILE | libc::ENFILE), _) => RingError::NoDescriptor { call },
            (Some(libc::EINVAL), _) => RingError::TooOld {
                kernel: self.kernel,
                call,
                since: since(call),
            },
            _ => RingError::Kernel { call, source },
        }
    }
}

/// The first version in which each of our calls works as we make it.
fn since(call: &'static str) -> &'static str {
    match call {
        "register_buf_ring" | "register_files_sparse" => "5.19",
        _ => "6.1",
    }
}

/// Names the cause behind an errno.
pub(crate) fn diagnose(call: &'static str, source: io::Error) -> RingError {
    Surroundings::look().explain(call, source)
}

/// Something the program needs of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// io_uring at all.
    IoUring,
    /// SINGLE_ISSUER and DEFER_TASKRUN.
    DeferTaskrun,
    /// Every operation that is submitted.
    Operations,
    /// Multishot recvmsg.
    MultishotReceive,
    /// Provided-buffer rings.
    BufferRings,
    /// Sparse tables of registered files.
    RegisteredFiles,
    /// Sending many datagrams at a time.
    UdpGso,
    /// Receiving many datagrams at a time.
    UdpGro,
    /// The limit on locked memory.
    LockedMemory,
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Feature::IoUring => "io_uring",
            Feature::DeferTaskrun => "io_uring single issuer with deferred task work",
            Feature::Operations => "io_uring operations",
            Feature::MultishotReceive => "io_uring multishot recvmsg",
            Feature::BufferRings => "io_uring buffer rings",
            Feature::RegisteredFiles => "io_uring registered files",
            Feature::UdpGso => "UDP segmentation offload (GSO)",
            Feature::UdpGro => "UDP receive offload (GRO)",
            Feature::LockedMemory => "locked memory",
        })
    }
}

/// Whether a feature is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// It is.
    Found,
    /// It is not, and the program does not run without it.
    Missing {
        /// Why, and what to do about it.
        remedy: String,
    },
    /// It is not there or low; the program runs, slower.
    Degraded {
        /// Why, and what to do about it.
        remedy: String,
    },
}

/// One line of a doctor's report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked for.
    pub feature: Feature,
    /// Whether it is there.
    pub status: Status,
}

/// Everything that was looked for, in the order in which to fix it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// As `uname -r` prints it.
    pub kernel: String,
    /// One per [`Feature`].
    pub findings: Vec<Finding>,
}

impl Probe {
    /// Whether a ring can be made here.
    pub fn usable(&self) -> bool {
        self.findings
            .iter()
            .all(|finding| !matches!(finding.status, Status::Missing { .. }))
    }
}

/// Tries every feature for real where that is cheap.
pub fn probe() -> Probe {
    let surroundings = Surroundings::look();
    let mut findings = Vec::new();
    let mut note = |feature, status| findings.push(Finding { feature, status });
    match IoUring::new(4) {
        Ok(uring) => {
            note(Feature::IoUring, Status::Found);
            note(Feature::DeferTaskrun, required("io_uring_setup", deferred()));
            let (operations, multishot) = operations(&uring, &surroundings.kernel);
            note(Feature::Operations, operations);
            note(Feature::MultishotReceive, multishot);
            note(Feature::BufferRings, required("register_buf_ring", buffer_ring()));
            note(
                Feature::RegisteredFiles,
                required("register_files_sparse", uring.submitter().register_files_sparse(4)),
            );
        }
        Err(e) => {
            note(
                Feature::IoUring,
                Status::Missing {
                    remedy: diagnose("io_uring_setup", e).to_string(),
                },
            );
            let dependent = [
                Feature::DeferTaskrun,
                Feature::Operations,
                Feature::MultishotReceive,
                Feature::BufferRings,
                Feature::RegisteredFiles,
            ];
            for feature in dependent {
                note(
                    feature,
                    Status::Missing {
                        remedy: "cannot be looked for without io_uring".to_owned(),
                    },
                );
            }
        }
    }
    let socket = sys::socket(libc::AF_INET, libc::SOCK_DGRAM);
    let offload = |enable: fn(_) -> Offload, since| match &socket {
        Ok(socket) => match enable(socket.as_fd()) {
            Offload::On => Status::Found,
            Offload::Off => Status::Degraded {
                remedy: format!("kernel {} lacks it: Linux {since} has it", surroundings.kernel),
            },
        },
        Err(e) => Status::Degraded {
            remedy: format!("cannot be looked for without an IPv4 UDP socket: {e}"),
        },
    };
    note(Feature::UdpGso, offload(enable_gso, "4.18"));
    note(Feature::UdpGro, offload(enable_gro, "5.0"));
    note(Feature::LockedMemory, locked_memory(surroundings.memlock_bytes));
    Probe {
        kernel: surroundings.kernel,
        findings,
    }
}

fn required(call: &'static str, result: io::Result<()>) -> Status {
    match result {
        Ok(()) => Status::Found,
        Err(e) => Status::Missing {
            remedy: diagnose(call, e).to_string(),
        },
    }
}

fn deferred() -> io::Result<()> {
    let uring: IoUring = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .setup_submit_all()
        .build(4)?;
    drop(uring);
    Ok(())
}

fn buffer_ring() -> io::Result<()> {
    let uring: IoUring = IoUring::new(4)?;
    let pool = ReceivePool::new(1);
    // SAFETY: the memory is page-aligned and holds `count` entries; no operation of this ring ever takes a buffer from it, so it may be
    // freed whether or not it could be unregistered.
    unsafe {
        uring
            .submitter()
            .register_buf_ring_with_flags(pool.ring_addr(), pool.count(), GROUP, 0)
    }?;
    uring.submitter().unregister_buf_ring(GROUP)
}

/// All operations by name, and multishot recvmsg by the operation that came in the same version: the flag cannot be asked for.
fn operations(uring: &IoUring, kernel: &str) -> (Status, Status) {
    let mut probe = io_uring::Probe::new();
    if let Err(e) = uring.submitter().register_probe(&mut probe) {
        let remedy = diagnose("register_probe", e).to_string();
        return (Status::Missing { remedy: remedy.clone() }, Status::Missing { remedy });
    }
    let needed = [
        ("recvmsg", opcode::RecvMsg::CODE),
        ("sendmsg", opcode::SendMsg::CODE),
        ("read", opcode::Read::CODE),
        ("write", opcode::Write::CODE),
        ("fsync", opcode::Fsync::CODE),
        ("async cancel", opcode::AsyncCancel::CODE),
    ];
    let lacking: Vec<&str> = needed
        .iter()
        .filter(|(_, code)| !probe.is_supported(*code))
        .map(|(name, _)| *name)
        .collect();
    let operations = match lacking.as_slice() {
        [] => Status::Found,
        _ => Status::Missing {
            remedy: format!("kernel {kernel} lacks {}: Linux 5.6 has them", lacking.join(", ")),
        },
    };
    let multishot = match probe.is_supported(opcode::SendZc::CODE) {
        true => Status::Found,
        false => Status::Missing {
            remedy: format!("kernel {kernel} lacks it: Linux 6.0 has it"),
        },
    };
    (operations, multishot)
}

/// Since Linux 5.12 rings are charged to the memory cgroup; only pinned buffers, which we do not use, count against this limit.
fn locked_memory(limit: Option<u64>) -> Status {
    const ENOUGH_BYTES: u64 = 64 * 1024;
    match limit {
        Some(bytes) if bytes < ENOUGH_BYTES => Status::Degraded {
            remedy: format!(
                "limit is {} KiB: raise it to 64 KiB or more (`ulimit -l`, LimitMEMLOCK=)",
                bytes / 1024
            ),
        },
        _ => Status::Found,
    }
}

#[cfg(test)]
mod tests;
