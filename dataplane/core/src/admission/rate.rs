//! How often connections may begin from one network address. A handshake costs this side signatures and whoever opens it next to nothing, and
//! an address that is not proven is anybody's: so it has an account for when it is not and one for when it is, and what others do
//! in its name takes nothing from the second.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Net;
use crate::time::Instant;

/// Handshakes at once: a thousand readers behind one NAT come back when this node has restarted.
const BURST: u32 = 1024;

/// And so many more each second: a few hundredths of a core.
const PER_S: u32 = 128;

/// Addresses that are remembered. Beyond, one must be proven.
const NETS_MAX: usize = 4096;

/// When an account is full again, whatever was taken.
const FULL_AFTER: Duration = Duration::from_secs((BURST / PER_S) as u64);

/// How often those that are full again are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// What is to become of a connection that begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// Its handshake.
    Handshake,
    /// It proves its address first, which costs this side nothing (RFC 9000 section 8.1.2).
    Proof,
    /// It is refused.
    Refusal,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Rates {
    by_net: BTreeMap<Net, [Account; 2]>,
    swept_at: Option<Instant>,
}

/// Handshakes that may begin.
#[derive(Clone, Copy, Debug)]
struct Account {
    left: u32,
    at: Instant,
}

impl Account {
    fn take(&mut self, now: Instant) -> bool {
        let more = now.since(self.at).as_millis() * u128::from(PER_S) / 1000;
        if more > 0 {
            self.left = BURST.min(self.left.saturating_add(u32::try_from(more).unwrap_or(u32::MAX)));
            self.at = now;
        }
        let left = self.left.checked_sub(1);
        self.left = left.unwrap_or(0);
        left.is_some()
    }
}

impl Rates {
    /// A connection begins from there; `is_proven`: that address is.
    pub(super) fn on_begin(&mut self, now: Instant, net: Net, is_proven: bool) -> Begin {
        self.sweep(now);
        let is_full = self.by_net.len() >= NETS_MAX && !self.by_net.contains_key(&net);
        let may_begin = match is_full {
            true => is_proven,
            false => {
                let accounts = self.by_net.entry(net).or_insert([Account { left: BURST, at: now }; 2]);
                accounts[usize::from(is_proven)].take(now)
            }
        };
        match (may_begin, is_proven) {
            (true, _) => Begin::Handshake,
            (false, false) => Begin::Proof,
            (false, true) => Begin::Refusal,
        }
    }

    fn sweep(&mut self, now: Instant) {
        let is_due = self.swept_at.is_none_or(|at| now.since(at) >= SWEEP_EVERY);
        if is_due && self.by_net.len() >= NETS_MAX {
            self.swept_at = Some(now);
            let is_in_use = |account: &Account| now.since(account.at) < FULL_AFTER;
            self.by_net.retain(|_, accounts| accounts.iter().any(is_in_use));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(n: u32) -> Net {
        Net::V4(n.into())
    }

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    #[test]
    fn who_comes_too_often_proves_its_address_and_then_waits() {
        let mut rates = Rates::default();
        let mut count = |now, is_proven, expect| {
            let begun = (0..)
                .take_while(|_| rates.on_begin(now, net(1), is_proven) == Begin::Handshake)
                .count();
            assert_eq!(begun as u32, expect, "{now:?} {is_proven}");
            let then = if is_proven { Begin::Refusal } else { Begin::Proof };
            assert_eq!(rates.on_begin(now, net(1), is_proven), then);
            assert_eq!(rates.on_begin(now, net(2), true), Begin::Handshake, "another address");
        };
        count(at(0), false, BURST);
        count(at(0), true, BURST);
        count(at(500), true, PER_S / 2);
        count(at(1000), false, PER_S);
        count(at(1_000_000), true, BURST);
    }

    #[test]
    fn addresses_are_remembered_within_bounds_and_forgotten_when_they_rest() {
        let mut rates = Rates::default();
        let most = NETS_MAX as u32;
        let mut begin = |now, n, is_proven| rates.on_begin(now, net(n), is_proven);
        (0..most).for_each(|n| assert_eq!(begin(at(0), n, false), Begin::Handshake));
        assert_eq!(begin(at(1), most, false), Begin::Proof);
        assert_eq!(begin(at(1), most, true), Begin::Handshake);
        assert_eq!(begin(at(1), 0, false), Begin::Handshake, "a known one");
        let rested = at(FULL_AFTER.as_millis() as u64 + 2);
        assert_eq!(begin(rested, most, false), Begin::Handshake);
        assert_eq!(rates.by_net.len(), 1);
    }
}
