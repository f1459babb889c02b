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
