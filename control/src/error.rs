//! How the program fails: what the user is told and with which exit code. The one place where error types become codes; the
//! modules that fail know nothing of them.

mod map;

use std::fmt;

use serde::{Deserialize, Serialize};

/// What sort of thing went wrong. The exit code of the program is a function of it, and scripts may rely on both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// None of the others: `doctor` found a failure, the demo's comparison differed, a defect of ours.
    Failed,
    /// Bad arguments, config file or link.
    Usage,
    /// A path in a release, a daemon or a mount that is not there.
    NotFound,
    /// No source, unreachable or silent peers, port in use.
    Network,
    /// Store or destination: full, read-only, locked, damaged.
    Disk,
    /// The kernel or fusermount3 would not mount or unmount.
    Mount,
    /// Bytes or a manifest that do not verify.
    Content,
    /// A file changed or vanished while it was published.
    InputChanged,
    /// Ctrl-C, SIGTERM, or the daemon stopped under the command.
    Interrupted,
}

impl Kind {
    /// Every kind, in the order of the codes.
    pub(crate) const ALL: [Kind; 9] = [
        Kind::Failed,
        Kind::Usage,
        Kind::NotFound,
        Kind::Network,
        Kind::Disk,
        Kind::Mount,
        Kind::Content,
        Kind::InputChanged,
        Kind::Interrupted,
    ];

    /// The exit code.
    pub(crate) const fn exit_code(self) -> u8 {
        match self {
            Kind::Failed => 1,
            Kind::Usage => 2,
            Kind::NotFound => 3,
            Kind::Network => 4,
            Kind::Disk => 5,
            Kind::Mount => 6,
            Kind::Content => 7,
            Kind::InputChanged => 8,
            Kind::Interrupted => 130,
        }
    }

    /// Its line in the table of `ares help exit-codes`.
    pub(crate) const fn meaning(self) -> &'static str {
        match self {
            Kind::Failed => "failed in another way: doctor found a failure, the demo's comparison differed",
            Kind::Usage => "usage: bad arguments, bad config file, malformed link",
            Kind::NotFound => "not found: path in the release, file to publish, running daemon, mount",
            Kind::Network => "network: no source has it, peer unreachable or silent, time is up, port in use",
            Kind::Disk => "disk: store or destination is full, read-only, locked by another process or damaged",
            Kind::Mount => "mount: no FUSE, mount point missing, busy or not empty",
            Kind::Content => "bad content: bytes or a manifest that do not verify",
            Kind::InputChanged => "a file changed or vanished while it was published",
            Kind::Interrupted => "interrupted by SIGINT or SIGTERM, or the daemon stopped",
        }
    }

    /// As `--json` names it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Kind::Failed => "failed",
            Kind::Usage => "usage",
            Kind::NotFound => "not-found",
            Kind::Network => "network",
            Kind::Disk => "disk",
            Kind::Mount => "mount",
            Kind::Content => "content",
            Kind::InputChanged => "input-changed",
            Kind::Interrupted => "interrupted",
        }
    }
}

/// The table behind `ares help exit-codes`.
pub(crate) fn exit_code_table() -> String {
    let mut text = String::from("Exit codes:\n    0  ok\n");
    for kind in Kind::ALL {
        text.push_str(&format!("  {:>3}  {}\n", kind.exit_code(), kind.meaning()));
    }
    text
}

/// An error as the user sees it. Crosses the admin socket unchanged, so a command fails alike with a daemon and without.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    /// Decides the exit code.
    pub(crate) kind: Kind,
    /// What failed and why, with the values: one line without `ares:` before it.
    pub(crate) message: String,
    /// What to do about it, where there is something.
    pub(crate) help: Option<String>,
}

impl Failure {
    /// A failure of `kind`.
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            help: None,
        }
    }

    /// With a remedy.
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// With what was being done, before the reason: `what: why`.
    pub(crate) fn context(mut self, what: impl fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// From an error of another crate: these end with their remedy after a semicolon, where they have one.
    pub(crate) fn told(kind: Kind, text: &str) -> Self {
        match text.split_once("; ") {
            Some((message, help)) => Self::new(kind, message).help(help),
            None => Self::new(kind, text),
        }
    }

    /// The user or a signal ended it.
    pub(crate) fn interrupted() -> Self {
        Self::new(Kind::Interrupted, "interrupted")
    }

    /// A system call on `path` failed while `doing` something.
    pub(crate) fn io(doing: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        let (kind, help) = classify_io(error);
        let failure = Self::new(kind, format!("{doing} {}: {}", path.display(), plain(error)));
        match help {
            Some(help) => failure.help(help),
            None => failure,
        }
    }

    /// The object that `--json` prints.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        serde_json::json!({"error": {
            "kind": self.kind.name(), "message": self.message, "help": self.help, "exit_code": self.kind.exit_code(),
        }})
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ares: {}", self.message)?;
        match &self.help {
            Some(help) => write!(f, "\nhelp: {help}"),
            None => Ok(()),
        }
    }
}

/// The error without Rust's ` (os error N)` tail, which tells a user nothing.
pub(crate) fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error ") {
        Some(at) => text[..at].to_owned(),
        None => text,
    }
}

fn classify_io(error: &std::io::Error) -> (Kind, Option<&'static str>) {
    use std::io::ErrorKind as E;
    match error.kind() {
        E::NotFound => (Kind::NotFound, None),
        // A filesystem in user space ends a call with it when a signal comes; one on a disk never does.
        E::Interrupted => (Kind::Interrupted, None),
        E::AddrInUse => (
            Kind::Network,
            Some("choose another address with --listen IP:PORT, or stop the process that has it"),
        ),
        E::StorageFull | E::QuotaExceeded => (
            Kind::Disk,
            Some("free some space, or choose another place with --state or DEST"),
        ),
        E::ReadOnlyFilesystem => (Kind::Disk, Some("choose a place that can be written to")),
        E::PermissionDenied => (Kind::Disk, Some("choose a place that this user may use, or run as its owner")),
        _ => (Kind::Disk, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_the_documented_ones_and_distinct() {
        let codes: Vec<u8> = Kind::ALL.iter().map(|k| k.exit_code()).collect();
        assert_eq!(codes, [1, 2, 3, 4, 5, 6, 7, 8, 130]);
        for kind in Kind::ALL {
            assert_eq!(
                serde_json::to_value(kind).unwrap(),
                kind.name(),
                "{kind:?} has one name in --json and on the socket"
            );
            assert!(exit_code_table().contains(kind.meaning()));
        }
    }

    #[test]
    fn io_errors_map_to_the_guilty() {
        let check = |errno: i32, kind: Kind| {
            let failure = Failure::io(
                "writing",
                std::path::Path::new("/x"),
                &std::io::Error::from_raw_os_error(errno),
            );
            assert_eq!(failure.kind, kind, "errno {errno}");
            assert!(!failure.message.contains("os error"), "{}", failure.message);
        };
        check(2, Kind::NotFound); // ENOENT
        check(98, Kind::Network); // EADDRINUSE
        check(28, Kind::Disk); // ENOSPC
        check(30, Kind::Disk); // EROFS
        check(13, Kind::Disk); // EACCES
        check(5, Kind::Disk); // EIO
        check(4, Kind::Interrupted); // EINTR
    }

    #[test]
    fn shows_what_why_and_remedy() {
        let failure = Failure::new(Kind::Usage, "why").context("what").help("do this");
        assert_eq!(failure.to_string(), "ares: what: why\nhelp: do this");
        assert_eq!(
            failure.to_json(),
            serde_json::json!({"error": {"kind": "usage", "message": "what: why", "help": "do this", "exit_code": 2}})
        );
    }
}
