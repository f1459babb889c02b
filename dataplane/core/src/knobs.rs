//! The knobs of a running daemon: what each is called, what it may be, what turning it does. Decides which values can be meant; obeys none.
//!
//! One more knob is a variant of [`Knob`] with its row in [`ROWS`], and an arm where it is obeyed, which the compiler asks for.

use std::fmt;

use crate::limits::{CHUNK_BYTES_MAX, INFLIGHT_BYTES_MAX};
use crate::path::Mode;
use crate::store::{QUOTA_BYTES_MAX, QUOTA_BYTES_MIN};

/// Something that an operator may turn while the daemon runs. Peers need not agree on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Knob {
    /// See [`Congestion`].
    Congestion,
    /// Receive buffer of every socket.
    SocketReceiveBuffer,
    /// Send buffer of every socket.
    SocketSendBuffer,
    /// Bytes of all asks in flight.
    GetWindow,
    /// Chunk bytes in memory for answers, per shard.
    ServeWindow,
    /// See [`Mode`].
    PathMode,
    /// Chunk bytes in the store's own files.
    StoreQuota,
    /// Bytes that stay free on the store's filesystem.
    StoreFree,
    /// Bytes that go at once where one of both is reached.
    StoreEvict,
    /// Held bytes that are looked after a second.
    ScrubRate,
    /// Which log lines are written.
    LogLevel,
}

/// What a knob may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// A number of bytes, ends included.
    Bytes {
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// One of these words.
    Choice(&'static [&'static str]),
}

/// All there is to say about a knob.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Which.
    pub knob: Knob,
    /// Its name.
    pub key: &'static str,
    /// What it may be.
    pub domain: Domain,
    /// Bytes, or the place of a word in its choice.
    pub default: u64,
    /// What turning it does and to whom, in one line.
    pub effect: &'static str,
}

/// Every knob, in the order of [`Knob`].
pub static ROWS: [Row; 11] = [
    Row {
        knob: Knob::Congestion,
        key: "congestion",
        domain: Domain::Choice(&["cubic", "newreno", "bbr"]),
        default: 0,
        effect: "what holds back sending; new connections, and running ones, which feel their way anew",
    },
    Row {
        knob: Knob::SocketReceiveBuffer,
        key: "socket-receive-buffer",
        domain: SOCKET_BUFFER,
        // A few milliseconds of a fast link, so that a busy moment of the thread costs no datagram.
        default: 4 << 20,
        effect: "received bytes that wait for their thread, in each socket; all sockets at once",
    },
    Row {
        knob: Knob::SocketSendBuffer,
        key: "socket-send-buffer",
        domain: SOCKET_BUFFER,
        default: 4 << 20,
        effect: "sent bytes that wait for the interface, in each socket; all sockets at once",
    },
    Row {
        knob: Knob::GetWindow,
        key: "get-window",
        domain: Domain::Bytes {
            min: 8 * CHUNK_BYTES_MAX as u64,
            max: 1 << 30,
        },
        default: INFLIGHT_BYTES_MAX,
        effect: "chunk bytes asked of all peers and not yet written; what is under way comes",
    },
    Row {
        knob: Knob::ServeWindow,
        key: "serve-window",
        domain: Domain::Bytes {
            min: CHUNK_BYTES_MAX as u64,
            max: 16 << 30,
        },
        // Ten readers at 50 ms fill 10 Gbit/s with it.
        default: 64 << 20,
        effect: "chunk bytes in memory for answers, in each shard, divided among its readers at once",
    },
    Row {
        knob: Knob::PathMode,
        key: "path-mode",
        domain: Domain::Choice(&[Mode::ALL[0].name(), Mode::ALL[1].name(), Mode::ALL[2].name()]),
        default: 0,
        effect: "ways to a peer that are asked: all, one and a spare while it is silent, or the nearest",
    },
    Row {
        knob: Knob::StoreQuota,
        key: "store-quota",
        domain: Domain::Bytes {
            min: QUOTA_BYTES_MIN,
            max: QUOTA_BYTES_MAX,
        },
        default: QUOTA_BYTES_MAX,
        effect: "chunk bytes in the store's own files; what was not read for longest goes first",
    },
    Row {
        knob: Knob::StoreFree,
        key: "store-free",
        domain: Domain::Bytes {
            min: 0,
            max: QUOTA_BYTES_MAX,
        },
        default: 0,
        effect: "bytes that stay free on the store's disk: own files go first, then intake stops",
    },
    Row {
        knob: Knob::StoreEvict,
        key: "store-evict",
        domain: Domain::Bytes {
            min: 0,
            max: QUOTA_BYTES_MAX,
        },
        default: 256 << 20,
        effect: "bytes beyond what must go at the quota that go with it, half of the quota at most",
    },
    Row {
        knob: Knob::ScrubRate,
        key: "scrub-rate",
        domain: Domain::Bytes { min: 0, max: 16 << 30 },
        default: 0,
        effect: "held bytes a second that are hashed again in the background, all once a day; 0: none",
    },
    Row {
        knob: Knob::LogLevel,
        key: "log-level",
        domain: Domain::Choice(&["off", "error", "warn", "info", "debug", "trace"]),
        default: 2,
        effect: "log lines from this level up; takes the place of the whole filter that was",
    },
];

/// Less than 64 KiB would not hold one burst of datagrams; more than this the kernel cannot count when it doubles it.
const SOCKET_BUFFER: Domain = Domain::Bytes {
    min: 64 << 10,
    max: 512 << 20,
};

const _: () = {
    let mut at = 0;
    while at < ROWS.len() {
        assert!(ROWS[at].knob as usize == at, "rows stand in the order of the knobs");
        assert!(
            match ROWS[at].domain {
                Domain::Bytes { min, max } => min <= ROWS[at].default && ROWS[at].default <= max,
                Domain::Choice(words) => ROWS[at].default < words.len() as u64,
            },
            "a default is a value that may be"
        );
        at += 1;
    }
};

impl Knob {
    /// The knob of that name.
    pub fn named(key: &str) -> Option<Self> {
        ROWS.iter().find(|row| row.key == key).map(|row| row.knob)
    }

    /// Its row.
    pub const fn row(self) -> &'static Row {
        &ROWS[self as usize]
    }
}

/// A knob with a value that it may have; only [`Setting::parse`], [`Setting::bytes_of`] and the defaults make one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    knob: Knob,
    value: u64,
}

/// A value that the knob cannot have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` cannot be {shown:?}; give {}", knob.row().key, knob.row().domain)]
pub struct BadValue {
    /// Which knob.
    pub knob: Knob,
    /// The value, cut where it is long.
    pub shown: String,
}

impl Setting {
    /// From a value as written: a word of the choice, or bytes as `4194304`, `4096KiB`, `4MiB`, `1GiB`.
    pub fn parse(knob: Knob, text: &str) -> Result<Self, BadValue> {
        /// Characters of a wrong value that are worth repeating.
        const SHOWN_MAX: usize = 40;
        let value = match knob.row().domain {
            Domain::Bytes { min, max } => parse_bytes(text).filter(|bytes| (min..=max).contains(bytes)),
            Domain::Choice(words) => words.iter().position(|word| *word == text).map(|at| at as u64),
        };
        let shown = || text.chars().take(SHOWN_MAX).collect();
        value
            .map(|value| Self { knob, value })
            .ok_or_else(|| BadValue { knob, shown: shown() })
    }

    /// What a knob of bytes has come to be, where the kernel and not a value as written decides: kept within the range.
    pub fn bytes_of(knob: Knob, bytes: u64) -> Self {
        let Domain::Bytes { min, max } = knob.row().domain else {
            panic!("{knob:?} has no bytes")
        };
        let value = bytes.clamp(min, max);
        Self { knob, value }
    }

    /// What the knob is at first.
    pub const fn default_of(knob: Knob) -> Self {
        Self {
            knob,
            value: knob.row().default,
        }
    }

    /// Which knob.
    pub const fn knob(self) -> Knob {
        self.knob
    }

    /// The word of a choice, or `None` where the knob has bytes.
    pub const fn word(self) -> Option<&'static str> {
        match self.knob.row().domain {
            Domain::Choice(words) => Some(words[self.value as usize]),
            Domain::Bytes { .. } => None,
        }
    }

    /// The bytes, or the place of the word in its choice.
    pub const fn value(self) -> u64 {
        self.value
    }
}

/// As it may be written again.
impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.word() {
            Some(word) => f.pad(word),
            None => f.pad(&show_bytes(self.value)),
        }
    }
}

/// What may be given, after `give`.
impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes { min, max } => write!(f, "{} to {}", show_bytes(*min), show_bytes(*max)),
            Self::Choice(words) => write!(f, "one of {}", words.join(", ")),
        }
    }
}

const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

pub(crate) fn parse_bytes(text: &str) -> Option<u64> {
    let unit = UNITS
        .iter()
        .find_map(|(unit, scale)| Some((text.strip_suffix(unit)?, *scale)));
    let (digits, scale) = unit.unwrap_or((text, 1));
    // What `u64` takes beside digits is a sign.
    let is_number = digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse::<u64>().ok().filter(|_| is_number)?.checked_mul(scale)
}

/// Bytes in the largest unit that divides them, as [`Setting::parse`] takes them.
pub fn show_bytes(bytes: u64) -> String {
    match UNITS.iter().find(|(_, scale)| bytes > 0 && bytes.is_multiple_of(*scale)) {
        Some((unit, scale)) => format!("{}{unit}", bytes / scale),
        None => bytes.to_string(),
    }
}

/// The value of every knob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings([u64; ROWS.len()]);

impl Default for Settings {
    fn default() -> Self {
        Self(ROWS.each_ref().map(|row| row.default))
    }
}

impl Settings {
    /// One of them.
    pub const fn get(&self, knob: Knob) -> Setting {
        Setting {
            knob,
            value: self.0[knob as usize],
        }
    }

    /// Turns one; what it was before.
    pub fn set(&mut self, setting: Setting) -> Setting {
        let value = std::mem::replace(&mut self.0[setting.knob as usize], setting.value);
        Setting { value, ..setting }
    }

    /// Bytes that a knob of bytes stands at.
    pub const fn bytes(&self, knob: Knob) -> u64 {
        assert!(matches!(knob.row().domain, Domain::Bytes { .. }), "a knob of bytes");
        self.0[knob as usize]
    }
}

/// How a path decides how much it may carry at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Congestion {
    /// CUBIC (RFC 9438), held to about twice what the path delivers in a round trip.
    #[default]
    Cubic,
    /// NewReno (RFC 9002 section 7), unbounded.
    NewReno,
    /// BBR version 1 (draft-cardwell-iccrg-bbr-congestion-control-00).
    Bbr,
}

impl Congestion {
    /// In the order of the knob's words.
    pub const ALL: [Self; 3] = [Self::Cubic, Self::NewReno, Self::Bbr];

    /// As the knob stands.
    pub fn of(setting: Setting) -> Self {
        assert_eq!(setting.knob, Knob::Congestion, "another knob");
        Self::ALL[setting.value as usize]
    }

    /// Its word.
    pub const fn name(self) -> &'static str {
        match Knob::Congestion.row().domain {
            Domain::Choice(words) => words[self as usize],
            Domain::Bytes { .. } => unreachable!(),
        }
    }
}

#[cfg(test)]
mod tests;
