//! What is simulated: who takes part over which links, who misbehaves, what goes wrong and when.

use std::time::Duration;

use ares_core::limits::WANTED_WINDOWS;
use ares_core::swarm::{GIVING_MIN, SchedulerConfig};

/// How a node behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Temper {
    /// It takes what it needs and gives what it has.
    Honest,
    /// It takes what it needs, says nothing of what it has and is too busy to give any of it.
    FreeRider,
    /// It says that it holds everything, and sends wrong bytes.
    WrongBytes,
    /// It says that it holds everything, and when asked that it lacks it.
    FalseHaves,
    /// It says that it holds everything, and never answers.
    Stalls,
}

impl Temper {
    /// Whether it is in the swarm to read.
    pub const fn is_reader(self) -> bool {
        matches!(self, Self::Honest | Self::FreeRider)
    }

    /// Whether it claims what it has not.
    pub const fn is_liar(self) -> bool {
        !self.is_reader()
    }
}

/// A node's line to the network, in bytes per second.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// What it can send.
    pub up: u64,
    /// What it can receive.
    pub down: u64,
}

impl Line {
    /// The same both ways, in megabits (10^6) per second.
    pub const fn mbit(mbit: u64) -> Self {
        Self::both(mbit, mbit)
    }

    /// In megabits (10^6) per second.
    pub const fn both(up: u64, down: u64) -> Self {
        Self {
            up: up * 125_000,
            down: down * 125_000,
        }
    }
}

/// What a node is kept from doing, so that a test can see that it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Nobody knows of zones.
    NoZones,
    /// Nobody hears what others hold.
    NoHaves,
    /// Everybody gives whatever it is asked for: nobody is sent to others.
    NoSpread,
    /// Who lags behind others goes to no more of them.
    NoFurther,
    /// Chunks are wanted one after the other.
    InOrder,
}

/// One simulation. The same scenario gives the same trace.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What the table calls it.
    pub name: String,
    /// Of all that is random.
    pub seed: u64,
    /// Nodes that want the release, liars among them.
    pub readers: u32,
    /// Chunks of the release.
    pub chunks: u32,
    /// Length of each.
    pub chunk_bytes: u32,
    /// Bytes that leave and arrive at once: less is nearer to packets and costs more events.
    pub piece_bytes: u32,
    /// The publisher's line.
    pub publisher: Line,
    /// The readers' lines, in turn.
    pub lines: Vec<Line>,
    /// What a node's line adds to the time between it and any other, one way: at least and at most.
    pub latency: [Duration; 2],
    /// Pieces of a million that are lost and sent again.
    pub loss_ppm: u32,
    /// Readers come one after the other within this time.
    pub join_within: Duration,
    /// Readers of a hundred that leave within a minute, each replaced by a new one.
    pub churn_percent_per_minute: u32,
    /// Readers of a hundred that behave like this.
    pub tempers: Vec<(Temper, u32)>,
    /// The publisher is killed as soon as others hold all of it between them.
    pub publisher_leaves: bool,
    /// From when until when one half of the nodes cannot reach the other.
    pub parted: Option<[Duration; 2]>,
    /// Nodes are in so many zones by turns.
    pub zones: u32,
    /// All that leaves a zone shares a link of so many bytes per second.
    pub between_zones: Option<u64>,
    /// Bytes that a reader wants at a time, in the order of the release.
    pub wanted_bytes_max: u64,
    /// Readers read from the beginning to the end, as through a mount: each waits for the next chunk, and wants so many bytes behind it.
    pub reads_ahead: Option<u64>,
    /// Connections that a node gives a chunk at a time, at least, of what others may have.
    pub width: usize,
    /// Bytes of answers under way at which a node says that it is busy, to asks for what others may have.
    pub busy_bytes: u64,
    /// What is broken on purpose.
    pub fault: Fault,
    /// Settings of the scheduler.
    pub scheduler: SchedulerConfig,
    /// When to give up.
    pub time_max: Duration,
}

impl Scenario {
    /// Equal lines of 100 Mbit/s, all at once, nothing wrong.
    pub fn plain(readers: u32, chunks: u32) -> Self {
        let scheduler = SchedulerConfig::default();
        Self {
            name: format!("plain {readers}x{chunks}"),
            seed: 1,
            readers,
            chunks,
            chunk_bytes: 512 << 10,
            piece_bytes: 16 << 10,
            publisher: Line::mbit(100),
            lines: vec![Line::mbit(100)],
            latency: [Duration::from_micros(250), Duration::from_micros(2500)],
            loss_ppm: 0,
            join_within: Duration::ZERO,
            churn_percent_per_minute: 0,
            tempers: Vec::new(),
            publisher_leaves: false,
            parted: None,
            zones: 2,
            between_zones: None,
            wanted_bytes_max: WANTED_WINDOWS * scheduler.inflight_bytes_max,
            reads_ahead: None,
            width: GIVING_MIN,
            busy_bytes: u64::MAX,
            fault: Fault::None,
            scheduler,
            time_max: Duration::from_secs(3600),
        }
    }

    /// The eight readers of `bench swarm`: 64 MiB over lines of 100 Mbit/s on one switch.
    pub fn bench() -> Self {
        Self {
            name: "as bench swarm".to_owned(),
            latency: [Duration::from_micros(50); 2],
            ..Self::plain(8, 128)
        }
    }

    /// The same by another name.
    pub fn named(self, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..self
        }
    }

    /// Length of the release.
    pub fn bytes(&self) -> u64 {
        u64::from(self.chunks) * u64::from(self.chunk_bytes)
    }

    pub(crate) fn temper_of(&self, reader: u32) -> Temper {
        // Spread over all: a hundred in a row hold as many of each as the percentages say.
        let mut at = reader * 37 % 100;
        for (temper, percent) in &self.tempers {
            match at.checked_sub(*percent) {
                None => return *temper,
                Some(rest) => at = rest,
            }
        }
        Temper::Honest
    }

    pub(crate) fn line_of(&self, reader: u32) -> Line {
        self.lines[reader as usize % self.lines.len()]
    }

    /// The least time any swarm can take until all have it: `max(F/u_s, F/d_min, N F/(u_s + sum of u_i))` (Kumar, Ross: Peer-assisted file
    /// distribution: the minimum distribution time, 2006). Who gives nothing adds nothing, and who does not read takes nothing.
    pub fn bound(&self) -> Duration {
        let bytes = self.bytes() as f64;
        let (mut count, mut up, mut down_min) = (0_u32, self.publisher.up, u64::MAX);
        for reader in 0..self.readers {
            let (line, temper) = (self.line_of(reader), self.temper_of(reader));
            if temper.is_reader() {
                count += 1;
                down_min = down_min.min(line.down);
            }
            if temper == Temper::Honest {
                up += line.up;
            }
        }
        let times = [
            bytes / self.publisher.up as f64,
            bytes / down_min as f64,
            f64::from(count) * bytes / up as f64,
        ];
        Duration::from_secs_f64(times.into_iter().fold(0.0, f64::max))
    }
}
