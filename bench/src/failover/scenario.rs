//! What happens to the paths, and to which of them: the rows of the table.

use std::time::Duration;

use ares_tests::paths::{Direction, Servers};
use ares_tests::relay::Shape;

use super::reading::Reader;

const MS: Duration = Duration::from_millis(1);

/// Half a period of flapping.
const FLAP: Duration = Duration::from_millis(500);

/// How long a path that heals was cut.
const CUT: Duration = Duration::from_secs(2);

/// Share of the packets that a lossy path loses, percent.
const LOSS_PERCENT: f64 = 1.0;

/// A row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Scenario {
    /// The busier path silently carries nothing to the reader any more.
    CutToReader,
    /// Nothing to the server.
    CutToServer,
    /// Nothing either way.
    Cut,
    /// The reader's interface loses its carrier.
    LinkDown,
    /// Two servers hold the data; the one at the end of the busier path dies (SIGKILL).
    Kill,
    /// The same, stopped (SIGSTOP).
    Stop,
    /// Cut both ways for 2 s; how long until the path is in use again.
    Heal,
    /// The busier path is cut and lifted every 500 ms.
    Flap,
    /// Both paths, of one rate.
    Rate,
    /// 200 Mbit/s with an RTT of 10 ms and 50 with 40.
    RateUnequal,
    /// Path B is cut from the start: what one path gives.
    Alone,
    /// Path A loses 1 % of its packets.
    Loss,
    /// A mount without readers, then one.
    Idle,
}

/// What strikes a path while it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strike {
    Nothing,
    Cut(Direction),
    LinkDown,
    Kill,
    Stop,
    Flap(Duration),
}

impl Scenario {
    /// As on the command line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::CutToReader => "cut-to-reader",
            Self::CutToServer => "cut-to-server",
            Self::Cut => "cut",
            Self::LinkDown => "link-down",
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::Heal => "heal",
            Self::Flap => "flap",
            Self::Rate => "rate",
            Self::RateUnequal => "rate-unequal",
            Self::Alone => "alone",
            Self::Loss => "loss",
            Self::Idle => "idle",
        }
    }

    pub(super) fn strike(self) -> Strike {
        match self {
            Self::CutToReader => Strike::Cut(Direction::ToReader),
            Self::CutToServer => Strike::Cut(Direction::ToServer),
            Self::Cut | Self::Heal => Strike::Cut(Direction::Both),
            Self::LinkDown => Strike::LinkDown,
            Self::Kill => Strike::Kill,
            Self::Stop => Strike::Stop,
            Self::Flap => Strike::Flap(FLAP),
            Self::Rate | Self::RateUnequal | Self::Alone | Self::Loss | Self::Idle => Strike::Nothing,
        }
    }

    /// How long after the strike it is taken back.
    pub(super) fn heals_after(self) -> Option<Duration> {
        (self == Self::Heal).then_some(CUT)
    }

    pub(super) fn servers(self) -> Servers {
        match self {
            Self::Kill | Self::Stop => Servers::Two,
            _ => Servers::One,
        }
    }

    /// Both links, of this rate with this round trip; losses by this seed.
    pub(super) fn shapes(self, mbit_per_s: u32, rtt: Duration, seed: u64) -> [Shape; 2] {
        let mut shapes = [Shape::new(mbit_per_s, rtt / 2); 2];
        match self {
            Self::RateUnequal => shapes = [Shape::new(200, 5 * MS), Shape::new(50, 20 * MS)],
            Self::Loss => shapes[0].loss_percent = LOSS_PERCENT,
            _ => {}
        }
        shapes[0].seed = seed;
        shapes[1].seed = seed.wrapping_add(1 << 32);
        shapes
    }

    /// Whether its links are its own, whatever round trip is asked for.
    pub(super) fn is_of_one_rtt(self) -> bool {
        matches!(self, Self::RateUnequal)
    }

    /// Whether it is a question to this reader at all: MPTCP has one peer, and silence is measured with a mount.
    pub(super) fn asks(self, reader: Reader) -> bool {
        match self {
            Self::Kill | Self::Stop => reader != Reader::Mptcp,
            Self::Idle => reader == Reader::Mount,
            _ => true,
        }
    }

    /// What the rate is held against, Mbit/s: both paths where both are there, else the one that is left.
    pub(super) fn bound_mbit_per_s(self, shapes: [Shape; 2], struck: usize) -> u32 {
        match self {
            Self::Rate | Self::RateUnequal => shapes[0].mbit_per_s + shapes[1].mbit_per_s,
            Self::Alone => shapes[0].mbit_per_s,
            Self::Loss => shapes[1].mbit_per_s,
            _ => shapes[1 - struck].mbit_per_s,
        }
    }
}
