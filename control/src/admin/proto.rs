//! What is said on the admin socket: requests, events on the way, and the end. The same values run an embedded command, where
//! no socket is between. Decides no bytes (`codec`) and no effect (`jobs`).

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub(crate) use super::mounting::{Audience, Force, Modes, MountHow, Passthrough, Prefetch, Reach, Stay, Transport};
use crate::error::Failure;

/// Version of the protocol. A daemon answers another version with an error that says which one it speaks.
pub(crate) const VERSION: u32 = 1;

/// Bytes that need not be UTF-8: a string where they are, else `{"hex": ".."}`, so that ordinary names read well and none is lost.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "RawForm", into = "RawForm")]
pub(crate) struct Raw(pub Vec<u8>);

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum RawForm {
    Text(String),
    Hex { hex: String },
}

impl From<Raw> for RawForm {
    fn from(raw: Raw) -> Self {
        match String::from_utf8(raw.0) {
            Ok(text) => RawForm::Text(text),
            Err(e) => RawForm::Hex {
                hex: e.as_bytes().iter().map(|b| format!("{b:02x}")).collect(),
            },
        }
    }
}

impl From<RawForm> for Raw {
    fn from(form: RawForm) -> Self {
        match form {
            RawForm::Text(text) => Raw(text.into_bytes()),
            // Only our own client writes this form; digits that are none would make a name that is not found.
            RawForm::Hex { hex } => {
                let digit = |b: u8| char::from(b).to_digit(16).unwrap_or(0) as u8;
                Raw(hex
                    .as_bytes()
                    .chunks(2)
                    .map(|pair| pair.iter().fold(0, |n, b| (n << 4) | digit(*b)))
                    .collect())
            }
        }
    }
}

impl Raw {
    /// As a path.
    pub(crate) fn to_path(&self) -> PathBuf {
        PathBuf::from(OsString::from_vec(self.0.clone()))
    }

    /// For people: bytes that are not UTF-8 replaced.
    pub(crate) fn lossy(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }
}

impl From<&Path> for Raw {
    fn from(path: &Path) -> Self {
        Raw(path.as_os_str().as_bytes().to_vec())
    }
}

/// A link as it is sent: its token and the place inside apart, because the place need not be UTF-8.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WireLink {
    /// `ares:..` without a place inside.
    pub(crate) link: String,
    /// Names below the top, joined by `/`.
    pub(crate) inside: Raw,
}

/// What happens where something else stands at the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Overwrite {
    /// Stop with an error that names it.
    Refuse,
    /// Replace it.
    Replace,
}

/// Where the bytes of large published files are served from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LargeFiles {
    /// From the files themselves.
    #[default]
    InPlace,
    /// From a copy in the store.
    Copy,
}

/// What becomes of a file that changes while it is published, or may not be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Troubled {
    /// Nothing is published.
    #[default]
    Fail,
    /// It is left out.
    Skip,
}

/// Whether the release records what `b3sum` prints for each file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FileHash {
    #[default]
    Leave,
    Record,
}

/// How something is published.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ImportHow {
    pub(crate) large_files: LargeFiles,
    pub(crate) troubled: Troubled,
    pub(crate) file_hash: FileHash,
    /// Text of the access profile to attach.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) profile: Option<Raw>,
}

/// What a command wants of the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cmd", rename_all = "kebab-case")]
pub(crate) enum Request {
    /// What is going on.
    Status,
    /// What is held of a release, given by its name or the first digits of its hash.
    Content { release: String },
    /// Take a file or directory into the store and make a link.
    Publish {
        path: Raw,
        name: Option<String>,
        options: ImportHow,
    },
    /// Bring what a link names into the store and write it to `dest`, which is absolute.
    Get {
        link: WireLink,
        dest: Raw,
        overwrite: Overwrite,
    },
    /// Bring what a link names into the store.
    Warm { link: WireLink },
    /// Mount a release, or without one a directory of names, at `dir`, which is absolute.
    Mount {
        link: Option<WireLink>,
        dir: Raw,
        stay: Stay,
        how: MountHow,
    },
    /// Show a release under a name in the directory of names that is mounted at `dir`.
    Show {
        dir: Raw,
        name: Raw,
        link: WireLink,
        overwrite: Overwrite,
    },
    /// Show that name no more.
    Hide { dir: Raw, name: Raw },
    /// What was read so far of the mount at `at`, or of the name that `at` is in a mount.
    Profile { at: Raw },
    /// Take the mount at `dir`, which is absolute, away.
    Umount { dir: Raw, force: Force },
    /// Keep a release whole, and fetch what is missing.
    Pin { link: WireLink },
    /// No longer. The release by its name or the first digits of its hash.
    Unpin { release: String },
    /// List a directory, or the one entry that a link names.
    Ls { link: WireLink },
    /// Send a file's bytes in order.
    Cat { link: WireLink },
    /// Read and hash all that is held again, and fetch what is wrong.
    Verify,
    /// Read the config file again.
    Reload,
    /// What all knobs are at, or the one of that key.
    Knobs { key: Option<String> },
    /// Turn a knob, for all there is or for one release.
    Set {
        key: String,
        value: String,
        #[serde(default)]
        release: Option<WireLink>,
    },
}

impl Request {
    /// For people, in lists of running jobs.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Request::Status => "status",
            Request::Content { .. } => "content",
            Request::Publish { .. } => "publish",
            Request::Get { .. } => "get",
            Request::Warm { .. } => "warm",
            Request::Mount { .. } => "mount",
            Request::Show { .. } => "show",
            Request::Hide { .. } => "hide",
            Request::Profile { .. } => "profile",
            Request::Umount { .. } => "umount",
            Request::Pin { .. } => "pin",
            Request::Unpin { .. } => "unpin",
            Request::Ls { .. } => "ls",
            Request::Cat { .. } => "cat",
            Request::Verify => "verify",
            Request::Reload => "reload",
            Request::Knobs { .. } => "knobs",
            Request::Set { .. } => "set",
        }
    }
}

/// A request with the version of the protocol it is written in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Envelope {
    pub(crate) v: u32,
    pub(crate) request: Request,
}

/// A part of a job that has a progress bar of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Phase {
    /// Walking a tree to learn its size.
    Scan,
    /// Reading, cutting and hashing files.
    Publish,
    /// Getting chunks from peers.
    Fetch,
    /// Writing files to the destination.
    Write,
    /// Hashing what is held.
    Verify,
}

/// How far a phase is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Progress {
    pub(crate) phase: Phase,
    pub(crate) bytes_done: u64,
    /// Zero while unknown.
    pub(crate) bytes_total: u64,
    pub(crate) items_done: u64,
    /// Zero while unknown.
    pub(crate) items_total: u64,
}

/// What an entry is, as `ls` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ListedKind {
    Dir,
    File,
    Symlink,
}

/// A line of `ls`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Listed {
    pub(crate) name: Raw,
    pub(crate) kind: ListedKind,
    /// Permission bits.
    pub(crate) mode: u16,
    /// Bytes of a file, of all files in a directory, of a symlink's target.
    pub(crate) bytes: u64,
    /// Seconds since 1970.
    pub(crate) mtime_s: i64,
    pub(crate) mtime_ns: u32,
    /// Where a symlink leads.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) target: Option<Raw>,
    /// Whole-file BLAKE3, where the release has it: what `b3sum` prints.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) b3: Option<String>,
}

/// Something that happens while a job runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(crate) enum Event {
    /// May be dropped when the reader is slow: the next one says more.
    Progress(Progress),
    /// A line for the person at the terminal.
    Note { text: String },
    /// A line of `ls`.
    Entry(Listed),
    /// The mount at `dir` answers; without a release where it is a directory of names.
    Mounted { dir: Raw, release: Option<String> },
    /// A piece of a file. On the socket the line carries the number of bytes, and they follow it raw.
    Data {
        #[serde(with = "data_length", rename = "bytes")]
        data: Bytes,
    },
}

/// On the wire a `Data` line holds only a length: `codec` puts the bytes behind it and back.
mod data_length {
    use bytes::Bytes;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(data: &Bytes, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(data.len() as u64)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
        u64::deserialize(from).map(|_| Bytes::new())
    }
}

/// How a job ended well.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub(crate) enum Outcome {
    /// The daemon's status, as `ares status --json` prints it.
    Status {
        status: serde_json::Value,
    },
    /// What `ares content RELEASE --json` prints.
    Content {
        content: serde_json::Value,
    },
    Published {
        link: String,
        release: String,
        name: String,
        bytes: u64,
        entries: u64,
        elapsed_s: f64,
        /// Entries that are no files, directories or symlinks, and were left out.
        skipped: u64,
        /// Addresses in the link, `IP:PORT`.
        addrs: Vec<String>,
    },
    Got {
        release: String,
        /// Bytes of the files written or found there.
        bytes: u64,
        entries: u64,
        /// Chunk bytes that came from peers.
        fetched_bytes: u64,
        /// Chunk bytes that the store held already.
        reused_bytes: u64,
        /// Files that were at the destination already, equal.
        unchanged: u64,
        elapsed_s: f64,
    },
    /// All of it is in the store.
    Warmed {
        release: String,
        /// Bytes of the files.
        bytes: u64,
        entries: u64,
        /// Chunk bytes that came from peers.
        fetched_bytes: u64,
        /// Chunk bytes that the store held already.
        reused_bytes: u64,
        elapsed_s: f64,
    },
    /// The mount has ended, or stays without this command.
    Mounted {
        release: Option<String>,
        dir: Raw,
        stay: Stay,
    },
    Shown {
        release: String,
        /// What had the name before.
        former: Option<String>,
    },
    Hidden {
        release: String,
    },
    /// What was read, as the text of an access profile.
    Recorded {
        profile: Raw,
    },
    Unmounted {
        dir: Raw,
    },
    /// The release is to be kept whole; that is on stable storage.
    Pinned {
        release: String,
        name: String,
        /// Whether it was before.
        already: bool,
    },
    Unpinned {
        release: String,
        name: String,
    },
    Listed {
        entries: u64,
    },
    Sent {
        bytes: u64,
    },
    Verified {
        chunks: u64,
        bytes: u64,
        /// Of these chunks, those that were wrong.
        bad_chunks: u64,
        /// Releases that were whole and were found to lack something, and how many of them are whole again.
        lacking_releases: u64,
        mended_releases: u64,
        /// Why the others are not.
        whys: Vec<String>,
        elapsed_s: f64,
    },
    Reloaded {
        /// What is obeyed now.
        changed: Vec<String>,
        /// What is not, with the reason of each.
        refused: Vec<String>,
        /// Keys that are read at the start alone.
        needs_restart: Vec<String>,
    },
    Knobs {
        knobs: Vec<KnobState>,
    },
    Set {
        key: String,
        old: KnobValue,
        value: KnobValue,
        /// As in `KnobState`.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        unit: Option<String>,
    },
}

/// A number, or a word of a choice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum KnobValue {
    Number(u64),
    Word(String),
}

/// What a knob is at and may be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KnobState {
    pub(crate) key: String,
    pub(crate) value: KnobValue,
    pub(crate) default: KnobValue,
    /// `bytes`, `bytes/s` or `ms`; absent where values are words or count something.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) unit: Option<String>,
    /// The least and the most, where values are numbers.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) range: Option<[u64; 2]>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) choices: Option<Vec<String>>,
    /// What turning it does and to whom.
    pub(crate) effect: String,
    /// The times of the week for which the config file says this value, where it is one of them now.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) schedule: Option<String>,
}

/// A line from the daemon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Reply {
    /// On the way.
    Event(Event),
    /// The end.
    Done { ok: Outcome },
    /// The end.
    Failed { error: Failure },
    /// The end: the daemon stops, and has not begun what was asked. It may be asked of the next one.
    Stopping { stopping: String },
}

/// Nobody listens to a job any more; it should stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gone;

/// Takes what happens while a job runs: draws it, prints it or sends it.
pub(crate) trait Sink: Send + Sync {
    /// Takes one event. May block while the reader is slow, except for progress.
    fn event(&self, event: Event) -> Result<(), Gone>;
}

/// A sink that several threads of a job share.
pub(crate) type SharedSink = Arc<dyn Sink>;
