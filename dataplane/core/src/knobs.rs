//! The knobs of a running daemon: what each is called, what it may be, what turning it does. Decides which values can be meant; obeys none.
//!
//! One more knob is a variant of [`Knob`] with its row in [`ROWS`], and an arm where it is obeyed, which the compiler asks for.

use std::fmt;
use std::time::Duration;

use crate::admission::{CONNECTIONS_MAX, IDLE_MIN, PER_NET_MAX, PER_PEER_MAX};
use crate::limits::{CHUNK_BYTES_MAX, INFLIGHT_BYTES_MAX};
use crate::path::Mode;
use crate::store::{QUOTA_BYTES_MAX, QUOTA_BYTES_MIN};
use crate::swarm::{GIVING_MIN, LINKS, LINKS_MAX, SOURCE_BYTES_MAX};

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
    /// Bytes of all asks in flight over one path.
    SourceWindow,
    /// Bytes of asks in flight for what is asked of another already, which is slow and not silent.
    HedgeWindow,
    /// Chunk bytes a second that are asked for downloads and ahead of need.
    BulkRate,
    /// Chunk bytes a second that are asked for repair.
    HealRate,
    /// Silence of a path with asks in flight that is never a stall.
    StallTimeout,
    /// How long a dial may take.
    DialTimeout,
    /// Peers of a release that are gone to because others told of them.
    Links,
    /// Chunk bytes in memory for answers, per shard.
    ServeWindow,
    /// Peers that are given a chunk at a time, at least.
    GivePeers,
    /// Connections that others may have, per shard.
    Connections,
    /// Of these, from one address.
    ConnectionsPerAddress,
    /// Of these, with one key.
    ConnectionsPerKey,
    /// Time without a request after which a connection may have to make room.
    ConnectionsIdle,
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
    /// How long requests of mounts wait for bytes.
    ReadPatience,
    /// Bytes of chunks that a mount keeps in memory.
    MountCache,
    /// Bytes that are fetched ahead of a reader of a mount.
    Lookahead,
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
    /// How many, ends included.
    Count {
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// A time in milliseconds, ends included.
    Time {
        /// The least.
        min_ms: u64,
        /// The most.
        max_ms: u64,
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
    /// Bytes, how many, milliseconds, or the place of a word in its choice.
    pub default: u64,
    /// What turning it does and to whom, in one line.
    pub effect: &'static str,
}

/// Every knob, in the order of [`Knob`].
pub static ROWS: [Row; 26] = [
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
        knob: Knob::SourceWindow,
        key: "source-window",
        domain: Domain::Bytes {
            min: 4 * CHUNK_BYTES_MAX as u64,
            max: 1 << 30,
        },
        default: SOURCE_BYTES_MAX,
        effect: "of these, over one path to one peer at most; what is under way comes",
    },
    Row {
        knob: Knob::HedgeWindow,
        key: "hedge-window",
        domain: Domain::Bytes { min: 0, max: 1 << 30 },
        default: INFLIGHT_BYTES_MAX,
        effect: "of these, for what another peer owes and is late with; not of what a silent one owes",
    },
    Row {
        knob: Knob::BulkRate,
        key: "bulk-rate",
        domain: RATE,
        default: 0,
        effect: "chunk bytes a second asked for downloads and ahead of readers, of all peers; 0: no limit",
    },
    Row {
        knob: Knob::HealRate,
        key: "heal-rate",
        domain: RATE,
        default: 0,
        effect: "chunk bytes a second asked for repair, of all peers; 0: no limit",
    },
    Row {
        knob: Knob::StallTimeout,
        key: "stall-timeout",
        domain: Domain::Time {
            min_ms: 10,
            max_ms: 60_000,
        },
        default: 500,
        effect: "silence of a path that owes something after which others are asked; all at once",
    },
    Row {
        knob: Knob::DialTimeout,
        key: "dial-timeout",
        domain: Domain::Time {
            min_ms: 100,
            max_ms: 60_000,
        },
        default: 5000,
        effect: "how long an address has to answer; dials from now on",
    },
    Row {
        knob: Knob::Links,
        key: "links",
        domain: Domain::Count {
            min: 1,
            max: LINKS_MAX as u64,
        },
        default: LINKS as u64,
        effect: "peers gone to on others' word, more where those are too few; from the next word on",
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
        knob: Knob::GivePeers,
        key: "give-peers",
        domain: Domain::Count { min: 1, max: 4096 },
        default: GIVING_MIN as u64,
        effect: "peers that are given a chunk at a time, at least; four in each shard at least",
    },
    Row {
        knob: Knob::Connections,
        key: "connections",
        domain: CONNECTIONS,
        default: CONNECTIONS_MAX as u64,
        effect: "connections of others in each shard; who is in stays, idle ones make room",
    },
    Row {
        knob: Knob::ConnectionsPerAddress,
        key: "connections-per-address",
        domain: CONNECTIONS,
        default: PER_NET_MAX as u64,
        effect: "of these, from one IPv4 address or one IPv6 /64; who is in stays",
    },
    Row {
        knob: Knob::ConnectionsPerKey,
        key: "connections-per-key",
        domain: CONNECTIONS,
        default: PER_PEER_MAX as u64,
        effect: "of these, with one key; who is in stays",
    },
    Row {
        knob: Knob::ConnectionsIdle,
        key: "connections-idle",
        domain: Domain::Time {
            min_ms: 0,
            max_ms: 86_400_000,
        },
        default: IDLE_MIN.as_millis() as u64,
        effect: "time without a request after which a connection may have to make room",
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
        knob: Knob::ReadPatience,
        key: "read-patience",
        domain: Domain::Time {
            min_ms: 1,
            max_ms: 86_400_000,
        },
        default: 30_000,
        effect: "how long requests wait for bytes, from the next on; not of mounts with `--patience`",
    },
    Row {
        knob: Knob::MountCache,
        key: "mount-cache",
        domain: Domain::Bytes { min: 0, max: 16 << 30 },
        default: 64 << 20,
        effect: "chunk bytes in memory of each mount, half of it for each name of one that has names",
    },
    Row {
        knob: Knob::Lookahead,
        key: "lookahead",
        domain: Domain::Bytes { min: 0, max: 1 << 30 },
        default: 32 << 20,
        effect: "bytes fetched ahead of who reads on in a large file; half of `mount-cache` in all",
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

/// Bytes a second, 0 for no limit.
const RATE: Domain = Domain::Bytes { min: 0, max: 16 << 30 };

/// An operator may let in fewer than the program is built for, or more.
const CONNECTIONS: Domain = Domain::Count { min: 1, max: 65_536 };

const _: () = {
    let mut at = 0;
    while at < ROWS.len() {
        assert!(ROWS[at].knob as usize == at, "rows stand in the order of the knobs");
        assert!(ROWS[at].domain.has(ROWS[at].default), "a default is a value that may be");
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

/// A knob with a value that it may have; only [`Setting::parse`], [`Setting::clamped`] and the defaults make one.
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
    /// From a value as written: a word of the choice, bytes as `4194304`, `4096KiB`, `4MiB`, `1GiB`, how many as `16`, or a time as `500ms`, `30s`,
    /// `5m`, `1h`.
    pub fn parse(knob: Knob, text: &str) -> Result<Self, BadValue> {
        /// Characters of a wrong value that are worth repeating.
        const SHOWN_MAX: usize = 40;
        let value = match knob.row().domain {
            Domain::Bytes { .. } => parse_bytes(text),
            Domain::Count { .. } => parse_number(text),
            Domain::Time { .. } => parse_scaled(text, &TIMES),
            Domain::Choice(words) => words.iter().position(|word| *word == text).map(|at| at as u64),
        };
        let shown = || text.chars().take(SHOWN_MAX).collect();
        value
            .filter(|value| knob.row().domain.has(*value))
            .map(|value| Self { knob, value })
            .ok_or_else(|| BadValue { knob, shown: shown() })
    }

    /// A knob of numbers, where the kernel or another key of the config file and not a value as written decides: kept within the range. Bytes,
    /// how many, or milliseconds.
    pub fn clamped(knob: Knob, number: u64) -> Self {
        let Some([min, max]) = knob.row().domain.range() else {
            panic!("{knob:?} has no number")
        };
        let value = number.clamp(min, max);
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

    /// The word of a choice, or `None` where the knob has a number.
    pub const fn word(self) -> Option<&'static str> {
        match self.knob.row().domain {
            Domain::Choice(words) => Some(words[self.value as usize]),
            _ => None,
        }
    }

    /// Bytes, how many, milliseconds, or the place of the word in its choice.
    pub const fn value(self) -> u64 {
        self.value
    }
}

/// As it may be written again.
impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.word() {
            Some(word) => f.pad(word),
            None => f.pad(&self.knob.row().domain.show(self.value)),
        }
    }
}

impl Domain {
    /// The least and the most, where it is one of numbers.
    pub const fn range(&self) -> Option<[u64; 2]> {
        match *self {
            Self::Bytes { min, max } | Self::Count { min, max } => Some([min, max]),
            Self::Time { min_ms, max_ms } => Some([min_ms, max_ms]),
            Self::Choice(_) => None,
        }
    }

    /// Whether a knob may stand at this: a number, or the place of a word.
    const fn has(&self, value: u64) -> bool {
        match (self.range(), self) {
            (Some([min, max]), _) => min <= value && value <= max,
            (None, Self::Choice(words)) => value < words.len() as u64,
            (None, _) => false,
        }
    }

    /// What its numbers count: `bytes`, `ms`, or nothing in particular.
    pub const fn unit(&self) -> Option<&'static str> {
        match self {
            Self::Bytes { .. } => Some("bytes"),
            Self::Time { .. } => Some("ms"),
            Self::Count { .. } | Self::Choice(_) => None,
        }
    }

    fn show(&self, number: u64) -> String {
        show_number(number, self.unit())
    }
}

/// What may be given, after `give`.
impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Choice(words) => write!(f, "one of {}", words.join(", ")),
            _ => {
                let [min, max] = self.range().unwrap_or_default();
                write!(f, "{} to {}", self.show(min), self.show(max))
            }
        }
    }
}

const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
/// `ms` stands before `s`, with which it ends.
const TIMES: [(&str, u64); 4] = [("h", 3_600_000), ("ms", 1), ("m", 60_000), ("s", 1000)];

pub(crate) fn parse_bytes(text: &str) -> Option<u64> {
    parse_scaled(text, &UNITS).or_else(|| parse_number(text))
}

/// A number with one of these units behind it.
fn parse_scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (digits, scale) = (units.iter()).find_map(|(unit, scale)| Some((text.strip_suffix(unit)?, *scale)))?;
    parse_number(digits)?.checked_mul(scale)
}

fn parse_number(digits: &str) -> Option<u64> {
    // What `u64` takes beside digits is a sign.
    let is_number = digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse::<u64>().ok().filter(|_| is_number)
}

/// Bytes in the largest unit that divides them, as [`Setting::parse`] takes them.
pub fn show_bytes(bytes: u64) -> String {
    show_number(bytes, Some("bytes"))
}

/// A number of this unit, as [`Setting::parse`] takes it: bytes (or bytes per second) and times in the largest unit that divides them.
pub fn show_number(number: u64, unit: Option<&str>) -> String {
    let units: &[(&str, u64)] = match unit {
        Some("ms") => &[TIMES[0], TIMES[2], TIMES[3], TIMES[1]],
        Some(_) => &UNITS,
        None => &[],
    };
    let divides = |(unit, scale): &&(&str, u64)| *unit == "ms" || (number > 0 && number.is_multiple_of(*scale));
    match units.iter().find(divides) {
        Some((unit, scale)) => format!("{}{unit}", number / scale),
        None => number.to_string(),
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

    /// How many a knob of numbers stands at.
    pub const fn count(&self, knob: Knob) -> usize {
        assert!(matches!(knob.row().domain, Domain::Count { .. }), "a knob of numbers");
        self.0[knob as usize] as usize
    }

    /// The time that a knob of times stands at.
    pub const fn time(&self, knob: Knob) -> Duration {
        assert!(matches!(knob.row().domain, Domain::Time { .. }), "a knob of times");
        Duration::from_millis(self.0[knob as usize])
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
            _ => unreachable!(),
        }
    }
}

#[cfg(test)]
mod tests;
