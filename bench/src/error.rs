//! What can go wrong with a measurement, by the guilty.

use std::path::{Path, PathBuf};

/// Why there is no figure.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    /// The kernel or the disk refused.
    #[error("{what} {path}: {source}", path = path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// A size, list or name that was typed.
    #[error("{given:?} is not {wanted}")]
    Usage {
        /// As typed.
        given: String,
        /// What would do.
        wanted: &'static str,
    },
    /// A public tool that is not there.
    #[error("{tool} is missing; get it: {remedy}")]
    NoTool {
        /// Its name.
        tool: &'static str,
        /// How to install it.
        remedy: &'static str,
    },
    /// No machines to measure between.
    #[error("the kernel refuses network namespaces (run as root), so there is no link to measure")]
    NoLab,
    /// A run that ended, with the wrong result.
    #[error("{peer}: {what}")]
    WrongResult {
        /// Which program.
        peer: &'static str,
        /// What was wrong.
        what: String,
    },
    /// No memory to write to as to a file.
    #[error("the kernel refuses to mount a tmpfs (run as root), so there is nothing to write to")]
    NoTmpfs,
    /// The dataplane's ring.
    #[error(transparent)]
    Ring(#[from] ares_ring::RingError),
    /// A socket of the dataplane.
    #[error(transparent)]
    Socket(#[from] ares_ring::SocketError),
    /// A send or receive of the dataplane.
    #[error(transparent)]
    Operation(#[from] ares_ring::OpError),
    /// A receive buffer that would lose datagrams.
    #[error("the kernel grants a socket {granted_bytes} of {wanted_bytes} bytes: run as root, or raise net.core.rmem_max")]
    SmallSocket {
        /// What it grants.
        granted_bytes: u32,
        /// What was asked.
        wanted_bytes: u32,
    },
    /// A link that loses some: its figures would be another protocol's.
    #[error("datagrams were lost on a link that must not lose any: run it again with less load on the machine")]
    DatagramsLost,
    /// No MPTCP sockets.
    #[error(
        "the kernel refuses MPTCP: {0} (set net.mptcp.enabled = 1, on a kernel with CONFIG_MPTCP, or leave `mptcp` out of --readers)"
    )]
    NoMptcp(std::io::Error),
    /// A transfer over MPTCP.
    #[error("MPTCP: {0}")]
    Mptcp(std::io::Error),
    /// No place for BitTorrent's peers to meet.
    #[error("the tracker cannot listen: {0}")]
    Tracker(std::io::Error),
    /// Too much for a tmpfs.
    #[error("this takes {wanted_mib} MiB of memory and {available_mib} are available: take fewer --readers or less --mib")]
    NoMemory {
        /// For all readers.
        wanted_mib: u64,
        /// Now.
        available_mib: u64,
    },
    /// No handler for Ctrl-C.
    #[error("cannot watch for signals: {0}")]
    Signals(std::io::Error),
    /// Ctrl-C.
    #[error("interrupted: no figures")]
    Interrupted,
    /// The QUIC baseline's transport.
    #[error("quinn: {0}")]
    Quic(String),
}

/// For `map_err`: an I/O error with what was tried on which file.
pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> BenchError {
    let path = path.to_owned();
    move |source| BenchError::Io { what, path, source }
}

/// Shorthand of this program.
pub(crate) type Result<T> = std::result::Result<T, BenchError>;
