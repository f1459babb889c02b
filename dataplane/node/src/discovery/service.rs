//! Multicast DNS by `mdns-sd`, whose thread has the sockets: on the lanes that may be used, what this node tells and what others do.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ares_core::path::{Lane, LaneRules};
use crossbeam::channel::{Receiver, bounded, never};
use mdns_sd::{IfKind, IfPredicate, ResolvedService, ServiceDaemon, ServiceEvent, ServiceInfo, TxtProperty};

use super::neighbours::Neighbour;
use super::notice::Notice;
use crate::lanes::sends_from;

/// The service (RFC 6763 section 7): QUIC of this program, at the port that the record names.
const SERVICE: &str = "_ares._udp.local.";

/// What was heard and is not yet looked at. Beyond it `mdns-sd` keeps some, and then ends.
const HEARD_MAX: usize = 64;

/// Records of others that are kept; a network of a thousand nodes has fewer. `mdns-sd` has no limit of its own.
const RECORDS_MAX: i64 = 8192;

/// Ports that are told of: one for IPv4 and one for IPv6 where the kernel chose them.
const PORTS_MAX: usize = 4;

/// How long `mdns-sd` may take to answer: it does within one round of its loop.
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// How often `mdns-sd` looks for new addresses, seconds.
const ADDRESSES_EVERY_S: u32 = 10;

/// Open multicast sockets. Dropping it says goodbye.
pub(super) struct Service {
    mdns: ServiceDaemon,
    /// What others tell. Ends where `mdns-sd` does.
    pub(super) heard: Receiver<Heard>,
    hearer: Option<JoinHandle<()>>,
    /// What this node tells, by port.
    told: BTreeMap<u16, Told>,
}

/// One announcement of this node.
struct Told {
    notice: Notice,
    ips: Vec<IpAddr>,
    full_name: String,
}

/// What others tell.
pub(super) enum Heard {
    /// Somebody is there, or tells something else than before.
    Neighbour {
        /// The announcement's own name.
        name: String,
        /// Who.
        neighbour: Neighbour,
    },
    /// An announcement was taken back or has run out.
    Gone {
        /// Its name.
        name: String,
    },
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub(super) enum ServiceError {
    /// Sockets, or the limits of the record.
    #[error("multicast DNS: {0}")]
    Mdns(#[from] mdns_sd::Error),
    /// The kernel gave no thread.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] std::io::Error),
}

impl Service {
    /// Listens on the lanes that the rules leave to sockets bound to `bound`.
    pub(super) fn open(rules: LaneRules, bound: Vec<SocketAddr>) -> Result<Self, ServiceError> {
        let mdns = ServiceDaemon::new()?;
        let (hears, heard) = bounded(HEARD_MAX);
        let mut service = Self {
            mdns,
            heard,
            hearer: None,
            told: BTreeMap::new(),
        };
        let mdns = &service.mdns;
        mdns.disable_interface(IfKind::All)?;
        mdns.enable_interface(IfKind::Predicate(IfPredicate::new(move |interface| {
            let lane = Lane {
                interface: interface.index.unwrap_or(0),
                name: interface.name.clone(),
                ip: interface.ip(),
                prefix_bits: 0,
                is_up: true,
            };
            let is_bound = bound.iter().any(|addr| sends_from(addr.ip(), lane.ip));
            !interface.is_loopback() && is_bound && rules.admits(&lane)
        })))?;
        mdns.set_ip_check_interval(ADDRESSES_EVERY_S)?;
        let events = mdns.browse(SERVICE)?;
        let hear = move || {
            // It ends with `mdns`, or with whoever would hear.
            while let Ok(event) = events.recv() {
                if heard_of(event).is_some_and(|heard| hears.send(heard).is_err()) {
                    return;
                }
            }
        };
        let hearer = thread::Builder::new().name("ares-lan".to_owned()).spawn(hear);
        service.hearer = Some(hearer.map_err(ServiceError::Thread)?);
        Ok(service)
    }

    /// Tells of this node at these addresses, and no longer at others. What is told already is not told again.
    pub(super) fn tell(&mut self, notice: &Notice, addrs: &[SocketAddr]) -> Result<(), ServiceError> {
        let mut by_port: BTreeMap<u16, Vec<IpAddr>> = BTreeMap::new();
        for addr in addrs {
            if by_port.len() < PORTS_MAX || by_port.contains_key(&addr.port()) {
                by_port.entry(addr.port()).or_default().push(addr.ip());
            }
        }
        let gone = self.told.extract_if(.., |port, _| !by_port.contains_key(port));
        for (_, told) in gone {
            self.mdns.unregister(&told.full_name)?;
        }
        for (port, ips) in by_port {
            let known = self.told.get(&port);
            if known.is_none_or(|told| told.notice != *notice || told.ips != ips) {
                let info = info(notice, &ips, port)?;
                let full_name = info.get_fullname().to_owned();
                self.mdns.register(info)?;
                let notice = notice.clone();
                self.told.insert(port, Told { notice, ips, full_name });
            }
        }
        Ok(())
    }

    /// Whether others have told more than can be meant.
    pub(super) fn is_flooded(&self) -> bool {
        let metrics = self.mdns.get_metrics().ok();
        let metrics = metrics.and_then(|answer| answer.recv_timeout(ANSWER_MAX).ok());
        let cached = |(name, count): (&String, &i64)| name.starts_with("cached-").then_some(*count);
        metrics.is_some_and(|metrics| metrics.iter().filter_map(cached).sum::<i64>() > RECORDS_MAX)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // The hearer, told that nobody hears, ends with the next word, or with `mdns-sd`.
        self.heard = never();
        let ended = self.mdns.shutdown().map(|ended| ended.recv_timeout(ANSWER_MAX));
        if let Ok(Err(mdns_sd::RecvTimeoutError::Timeout)) = ended {
            tracing::debug!("multicast DNS does not end; it is not waited for");
            return;
        }
        if self.hearer.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that hears the local network had panicked");
        }
    }
}

/// The record. Its names are made of the key, which nobody else has, so they need not be probed for (RFC 6762 section 8.1).
fn info(notice: &Notice, ips: &[IpAddr], port: u16) -> Result<ServiceInfo, ServiceError> {
    let name = format!("{}-{port}", notice.peer.short());
    let host = format!("ares-{name}.local.");
    let properties: Vec<TxtProperty> = notice.to_properties().into_iter().map(TxtProperty::from).collect();
    let mut info = ServiceInfo::new(SERVICE, &name, &host, ips, port, properties)?;
    info.set_requires_probe(false);
    Ok(info)
}

fn heard_of(event: ServiceEvent) -> Option<Heard> {
    match event {
        ServiceEvent::ServiceResolved(service) => {
            let neighbour = neighbour(&service)?;
            let name = service.fullname;
            Some(Heard::Neighbour { name, neighbour })
        }
        ServiceEvent::ServiceRemoved(_, name) => Some(Heard::Gone { name }),
        _ => None,
    }
}

fn neighbour(service: &ResolvedService) -> Option<Neighbour> {
    let notice = Notice::from_properties(|key| service.get_property_val(key).flatten())?;
    let ips = service.addresses.iter().map(mdns_sd::ScopedIp::to_ip_addr);
    Neighbour::new(notice, ips, service.port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ares_core::chunk::{ChunkId, ReleaseId};
    use ares_core::peer::PeerId;

    use crate::discovery::notice::Blinded;

    #[test]
    fn a_record_is_read_as_it_was_meant() {
        let blinded = |n: u8| Blinded::of(ReleaseId(ChunkId::of(&[n])));
        let notice = Notice {
            peer: PeerId::from_bytes([0xa7; 32]),
            releases: (0..64).map(blinded).collect(),
        };
        let ips: Vec<IpAddr> = vec![[10, 0, 0, 1].into(), [10, 0, 0, 2].into()];
        let record = info(&notice, &ips, 4227).expect("within all limits").as_resolved_service();
        assert!(record.fullname.ends_with(SERVICE), "{}", record.fullname);
        assert_eq!(neighbour(&record), Neighbour::new(notice, ips, 4227));
    }

    #[test]
    fn what_is_dropped_has_ended() {
        // No lane is left: nothing is sent from this machine.
        let rules = LaneRules {
            exclude: vec!["*".parse().expect("a pattern")],
            ..LaneRules::default()
        };
        let Ok(service) = Service::open(rules, vec![SocketAddr::from(([0, 0, 0, 0], 4227))]) else {
            return; // No sockets for multicast here.
        };
        assert!(!service.is_flooded());
        drop(service);
    }
}
