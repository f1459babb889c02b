//! The links: two namespaces on a veth cable of either MTU, and this host's loopback. A sample is two processes, one at each end.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use ares_tests::{Lab, Outcome, wait};

use super::flow::{Figures, Flow, Side, Transport, ready_at};
use super::limit::{Limit, Sample, Sides};
use crate::error::{BenchError, Result};

/// How long a process may take to listen or to end, beside the bytes.
const PATIENCE: Duration = Duration::from_secs(60);

/// No link is slower than this while it works.
const SLOWEST_BYTES_PER_S: u64 = 100_000_000;

/// Rows of one link.
struct Wire {
    lab: Rc<Lab>,
    name: &'static str,
    /// Datagrams of one send: how many, of how many bytes.
    bursts: Vec<(u16, u16)>,
}

/// The rows, each of whose samples moves so many bytes. `host` is this machine under two loopback addresses.
pub(crate) fn limits(host: &Rc<Lab>, bytes: u64) -> Result<Vec<Limit>> {
    let pair = |label, mtu| Lab::pair(label, mtu).ok_or(BenchError::NoLab);
    let wires = [
        Wire {
            lab: Rc::new(pair("limits-1500", 1500)?),
            name: "veth 1500",
            bursts: vec![(44, 1_452)],
        },
        Wire {
            lab: Rc::new(pair("limits-9000", 9000)?),
            name: "veth 9000",
            bursts: vec![(7, 8_952)],
        },
        Wire {
            lab: host.clone(),
            name: "loopback",
            // The same burst as on Ethernet, and what path MTU discovery arrives at.
            bursts: vec![(44, 1_452), (1, 65_487)],
        },
    ];
    Ok(wires.iter().flat_map(|wire| wire.limits(bytes)).collect())
}

impl Wire {
    fn limits(&self, bytes: u64) -> Vec<Limit> {
        let row = |what, by, bounds, transport| {
            let (lab, flow) = (self.lab.clone(), Flow { transport, bytes });
            Limit::new(what, by, bounds, move || sample(&lab, &flow))
        };
        let udp = self.bursts.iter().map(|&(count, segment)| {
            let what = format!("UDP {}, {count} x {segment} B", self.name);
            row(
                what,
                "ring",
                "QUIC without its protocol and ciphers",
                Transport::Udp { segment, count },
            )
        });
        let tcp = row(
            format!("TCP {}, 256 KiB writes", self.name),
            "std",
            "HTTP without TLS, one connection",
            Transport::Tcp,
        );
        udp.chain([tcp]).collect()
    }
}

fn sample(lab: &Lab, flow: &Flow) -> Result<Sample> {
    let (sender, receiver) = (lab.node(0), lab.node(1));
    let any_port = SocketAddr::new(receiver.ip(), 0);
    let receiving = receiver.start(flow.command(receiver, Side::Receive, any_port));
    wait::within(PATIENCE, || {
        (ready_at(&receiving.stdout()).is_some() || !receiving.is_running()).then_some(())
    });
    let Some(address) = ready_at(&receiving.stdout()) else {
        return Err(failure(&receiving.kill().stderr));
    };
    let patience = PATIENCE + Duration::from_secs(flow.bytes / SLOWEST_BYTES_PER_S);
    let sending = sender.start(flow.command(sender, Side::Send, address));
    let sent = figures(sending.wait(patience))?;
    let received = figures(receiving.wait(PATIENCE))?;
    if sent.bytes != received.bytes {
        return Err(failure(&format!(
            "{} bytes were sent, {} arrived",
            sent.bytes, received.bytes
        )));
    }
    Ok(Sample {
        bytes: sent.bytes,
        seconds: sent.seconds,
        cpu: Some(Sides {
            sender_s: sent.cpu_s,
            receiver_s: received.cpu_s,
        }),
    })
}

fn figures(outcome: Outcome) -> Result<Figures> {
    if !outcome.status.success() {
        return Err(failure(&outcome.stderr));
    }
    let text = outcome.text();
    let line = text.lines().last().unwrap_or_default();
    Figures::parse(line).ok_or_else(|| failure(&format!("no figures in {text:?}")))
}

/// What one end printed before it failed, without the name of this program, which is printed again.
fn failure(said: &str) -> BenchError {
    BenchError::WrongResult {
        peer: "link",
        what: said.trim_start_matches("bench: ").trim_end().to_owned(),
    }
}
