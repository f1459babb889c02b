//! Whether a path still carries bytes both ways, judged by what comes over it while something is expected.
//!
//! ```text
//!           nothing heard for a while            no answer within a probe timeout
//!   well ------------------------------> quiet ------------------------------------> suspect
//!    ^ ^        (pings go out)             |                                          |   ^
//!    | +------- an answer -----------------+                        an answer         |   |
//!    +------------------------- answers for the whole trial -------- on trial <-------+   |
//!                                                                       +-- no answer ----+
//! ```
//!
//! Only an acknowledgement counts as an answer: a path that is cut in one direction still brings what the peer repeats, and it cannot be
//! asked anything. But as long as something comes, the answer may be in the queue behind it. Silence while nothing is expected means
//! nothing. A suspicion that was wrong costs duplicates, so it may be quick.

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::Instant;

/// How a path fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pulse {
    /// What is expected comes.
    Well,
    /// What is expected does not come; the peer is being pinged. Nothing more should be risked on it.
    Quiet,
    /// The pings were not answered: what was asked over it is to be asked elsewhere.
    Suspect,
}

/// What the owner of the path is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send something that the peer acknowledges at once (two packets: RFC 9000 section 13.2.2).
    Ping,
    /// Tell whoever asks over it.
    Tell(Pulse),
}

/// Silence that is never remarkable: what a busy machine keeps a thread waiting.
const QUIET_MIN: Duration = Duration::from_millis(10);

/// Silence is remarkable beyond so many times the usual gap between arrivals.
const GAPS: u32 = 8;

/// The least time an answer to a ping may take.
const PROBE_MIN: Duration = Duration::from_millis(20);

/// On a path that brings a burst and is silent until it has brought the next, an answer waits behind so many of them: its round trip was
/// measured when it carried less.
const BURSTS: u32 = 3;

/// Gaps beyond this are none of bursts.
const GAP_MAX: Duration = Duration::from_millis(100);

/// Times the patience doubles with a peer that answers pings and sends nothing else: it is alive, and its disk is slow.
const VAIN_MAX: u32 = 4;

/// Longest time between two pings to a suspect peer, unless its answer takes longer. That is the first sign that the path is back.
const PROBE_PAUSE_MAX: Duration = Duration::from_millis(250);

/// A path that was suspect twice within this time is on trial before it is well again: first for `TRIAL_MIN`, and twice as long each
/// time, up to `TRIAL_MAX`.
const FALL_MEMORY: Duration = Duration::from_secs(10);
const TRIAL_MIN: Duration = Duration::from_millis(200);
const TRIAL_MAX: Duration = Duration::from_millis(1600);

/// The health of one path.
#[derive(Debug)]
pub struct Health {
    rtt: Duration,
    rttvar: Duration,
    /// Whether the peer owes something.
    is_expecting: bool,
    /// When something last came, or was first expected.
    heard_at: Instant,
    /// When something last came of what is expected; `None` until then.
    came_at: Option<Instant>,
    /// The usual time between such arrivals, on the long side.
    gap: Duration,
    /// The two before the last packet, which may turn out to be a mere answer to a ping.
    before: Option<(Option<Instant>, Duration)>,
    /// Pings in a row that were answered and brought nothing else.
    vain: u32,
    phase: Phase,
    /// When to look again. Not moved by what comes, so that it costs nothing.
    check_at: Option<Instant>,
    /// Suspicions within `FALL_MEMORY` of each other, and the last one.
    falls: u32,
    fell_at: Instant,
    actions: VecDeque<Action>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Well,
    /// Pinged, for the first time then. The answer has the timeout of then: what comes late while it is awaited makes it no longer.
    Quiet {
        since: Instant,
        timeout: Duration,
        is_pinged_again: bool,
    },
    Suspect {
        pause: Duration,
    },
    /// Answered since then without fail; `ping` has not been answered yet.
    Trial {
        since: Instant,
        ping: Option<Instant>,
    },
}

impl Health {
    /// A path that has just been opened, after a round trip of `rtt`.
    pub fn new(now: Instant, rtt: Duration) -> Self {
        Self {
            rtt,
            rttvar: rtt / 2,
            is_expecting: false,
            heard_at: now,
            came_at: None,
            gap: Duration::ZERO,
            before: None,
            vain: 0,
            phase: Phase::Well,
            check_at: None,
            falls: 0,
            fell_at: Instant::ZERO,
            actions: VecDeque::new(),
        }
    }

    /// The transport measured: smoothed round-trip time and its mean deviation (RFC 9002 section 5.3).
    pub fn on_rtt(&mut self, rtt: Duration, rttvar: Duration) {
        self.rtt = rtt;
        self.rttvar = rttvar;
    }

    /// Whether the peer owes something now.
    pub fn on_expecting(&mut self, now: Instant, is_expecting: bool) {
        if self.is_expecting == is_expecting {
            return;
        }
        self.is_expecting = is_expecting;
        if is_expecting {
            self.heard_at = now;
            self.came_at = None;
            self.vain = 0;
        }
        match self.phase {
            Phase::Well => self.check_at = is_expecting.then(|| now + self.patience()),
            Phase::Quiet { .. } if !is_expecting => self.recover(now),
            // A suspect path is probed whether it is wanted or not: somebody may want it again.
            Phase::Quiet { .. } | Phase::Suspect { .. } | Phase::Trial { .. } => {}
        }
    }

    /// A packet came. Several at one time are one arrival.
    pub fn on_heard(&mut self, now: Instant) {
        if now == self.heard_at {
            return;
        }
        if self.is_expecting && matches!(self.phase, Phase::Well | Phase::Quiet { .. }) {
            self.before = Some((self.came_at, self.gap));
            if let Some(last) = self.came_at {
                self.gap = now.since(last).min(GAP_MAX).max(self.gap - self.gap / 32);
            }
            self.came_at = Some(now);
        }
        if self.phase == Phase::Well {
            self.vain = 0;
        }
        self.heard_at = now;
    }

    /// Something was acknowledged that was sent with a ping or after it.
    pub fn on_answer(&mut self, now: Instant) {
        match self.phase {
            Phase::Well => {}
            Phase::Quiet { .. } => {
                if let Some(before) = self.before.take() {
                    (self.came_at, self.gap) = before;
                }
                self.vain = (self.vain + 1).min(VAIN_MAX);
                self.recover(now);
            }
            Phase::Suspect { .. } if self.trial().is_zero() => self.recover(now),
            Phase::Suspect { .. } => {
                self.phase = Phase::Trial { since: now, ping: None };
                self.check_at = Some(now + self.probe_timeout() / 2);
            }
            Phase::Trial { since, .. } if now.since(since) >= self.trial() => self.recover(now),
            Phase::Trial { since, .. } => {
                self.phase = Phase::Trial { since, ping: None };
                self.check_at = Some(now + self.probe_timeout() / 2);
            }
        }
    }

    /// How it fares.
    pub fn pulse(&self) -> Pulse {
        match self.phase {
            Phase::Well => Pulse::Well,
            Phase::Quiet { .. } => Pulse::Quiet,
            Phase::Suspect { .. } | Phase::Trial { .. } => Pulse::Suspect,
        }
    }

    /// The next thing to do. To be called until `None` after every event and at every deadline.
    pub fn poll(&mut self, now: Instant) -> Option<Action> {
        if self.actions.is_empty() && self.check_at.is_some_and(|at| at <= now) {
            self.check(now);
        }
        self.actions.pop_front()
    }

    /// When `poll` has something to do though nothing happened; `None` if never.
    pub fn deadline(&self) -> Option<Instant> {
        self.check_at
    }

    fn check(&mut self, now: Instant) {
        match self.phase {
            Phase::Well if !self.is_expecting => self.check_at = None,
            Phase::Well => {
                let due = self.heard_at + self.patience();
                if due > now {
                    self.check_at = Some(due);
                } else {
                    let timeout = self.probe_timeout();
                    self.phase = Phase::Quiet {
                        since: now,
                        timeout,
                        is_pinged_again: false,
                    };
                    self.actions.extend([Action::Ping, Action::Tell(Pulse::Quiet)]);
                    self.check_at = Some(now + timeout / 2);
                }
            }
            // Twice, since the loss of a ping is no death.
            Phase::Quiet {
                since,
                timeout,
                is_pinged_again: false,
            } => {
                self.phase = Phase::Quiet {
                    since,
                    timeout,
                    is_pinged_again: true,
                };
                self.actions.push_back(Action::Ping);
                self.check_at = Some((since + timeout).max(now));
            }
            Phase::Quiet { since, timeout, .. } => {
                // As long as something comes, the answer may be behind it.
                let due = (since + timeout).max(self.heard_at + QUIET_MIN);
                if due > now {
                    self.check_at = Some(due);
                } else {
                    self.fall(now);
                }
            }
            Phase::Suspect { pause } => self.probe(now, pause),
            Phase::Trial { ping: Some(_), .. } => self.probe(now, self.probe_timeout()),
            Phase::Trial { since, ping: None } => {
                self.phase = Phase::Trial { since, ping: Some(now) };
                self.actions.push_back(Action::Ping);
                self.check_at = Some(now + self.probe_timeout());
            }
        }
    }

    /// The peer did not answer.
    fn fall(&mut self, now: Instant) {
        let is_again = self.falls > 0 && now.since(self.fell_at) < FALL_MEMORY;
        self.falls = if is_again { self.falls + 1 } else { 1 };
        self.fell_at = now;
        // What is silent now is no gap.
        self.came_at = None;
        self.actions.push_back(Action::Tell(Pulse::Suspect));
        self.probe(now, self.probe_timeout());
    }

    /// Pings a suspect peer, and again after the pause, which grows.
    fn probe(&mut self, now: Instant, pause: Duration) {
        self.actions.push_back(Action::Ping);
        self.check_at = Some(now + pause);
        self.phase = Phase::Suspect {
            pause: (pause + pause / 2).min(PROBE_PAUSE_MAX.max(self.probe_timeout())),
        };
    }

    fn recover(&mut self, now: Instant) {
        self.phase = Phase::Well;
        self.heard_at = now;
        self.actions.push_back(Action::Tell(Pulse::Well));
        self.check_at = self.is_expecting.then(|| now + self.patience());
    }

    /// Silence that is remarkable: many times the usual gap and no more than a round trip, unless the gap itself is; or where nothing has
    /// come yet, what an answer may take.
    fn patience(&self) -> Duration {
        let usual = match self.came_at {
            Some(_) => (self.gap * GAPS).min(self.rtt).max(self.gap * 3 / 2),
            None => self.probe_timeout(),
        };
        usual.max(QUIET_MIN) * (1 << self.vain)
    }

    /// How long an answer to a ping may take: RFC 9002 section 6.2.1, without the peer's delay of acknowledgements, which two packets at
    /// once do not meet, but with the bursts before it.
    fn probe_timeout(&self) -> Duration {
        (self.rtt + self.rttvar * 4).max(self.gap * BURSTS).max(PROBE_MIN)
    }

    /// How long a path must answer before it is well again. A path that flaps is hardly used, one that was cut once is used at once.
    fn trial(&self) -> Duration {
        match self.falls {
            0 | 1 => Duration::ZERO,
            n => (TRIAL_MIN * (1 << (n - 2).min(8))).min(TRIAL_MAX),
        }
    }
}

#[cfg(test)]
mod tests;
