//! Why a release is slow: looks at the daemon for a second and names what holds the release up, with numbers and a remedy each. `look` asks
//! and reads, `judge` decides.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::super::{Context, unexpected};
use super::Finding;
use crate::admin::client::Client;
use crate::admin::proto::{KnobValue, Outcome, Request};
use crate::error::Failure;
use crate::render::{Bytes, count, short};
use crate::session::Session;

/// How long it looks.
const LOOK: Duration = Duration::from_secs(1);

/// How often the daemon's threads are looked at meanwhile.
const SAMPLE: Duration = Duration::from_millis(20);

/// A thread that has a core for itself so much of the time has no more to give.
const BUSY: f64 = 0.9;

/// Threads that wait for the disk so much of the time are held up by it.
const WAITING: f64 = 0.3;

/// Of a cap or a window: so full it is what holds up.
const FULL: f64 = 0.85;

/// Lost packets of a path, in percent, that make CUBIC slow down on a long one.
const LOSSY_PERCENT: f64 = 1.0;

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The daemon's status.
    pub(super) status: Value,
    /// What `ares content RELEASE` says, when the look began.
    pub(super) content: Value,
    /// Bytes of the release that came while it was looked at, a second.
    pub(super) fetched_bytes_per_s: u64,
    /// Most bytes asked and not yet written.
    pub(super) window_bytes: u64,
    /// Most bytes asked a second for downloads; 0 without a limit.
    pub(super) bulk_bytes_per_s: u64,
    /// By kind of thread: part of a core that the busiest of them had, and part of the time that one waited for a disk at most.
    pub(super) threads: BTreeMap<String, (f64, f64)>,
}

/// Looks at the release, and judges.
pub(super) fn why(context: &Context, release: String) -> Result<Vec<Finding>, Failure> {
    let mut daemon = Session::attach(&context.config)?;
    Ok(judge(&look(context, &mut daemon, release)?))
}

fn look(context: &Context, daemon: &mut Client, release: String) -> Result<Seen, Failure> {
    let mut ask = |request: &Request| daemon.run(request, &*context.sink(), &context.cancel);
    let content = |outcome: Outcome| match outcome {
        Outcome::Content { content } => Ok(content),
        other => Err(unexpected(&other)),
    };
    let of_release = Request::Content { release };
    let before = content(ask(&of_release)?)?;
    let mut number = |key: &str| match ask(&Request::Knobs {
        key: Some(key.to_owned()),
    })? {
        Outcome::Knobs { knobs } => match knobs.first().map(|knob| &knob.value) {
            Some(KnobValue::Number(number)) => Ok(*number),
            _ => Ok(0),
        },
        other => Err(unexpected(&other)),
    };
    let (window_bytes, bulk_bytes_per_s) = (number("get-window")?, number("bulk-rate")?);
    let status = |outcome: Outcome| match outcome {
        Outcome::Status { status } => Ok(status),
        other => Err(unexpected(&other)),
    };
    let pid = status(ask(&Request::Status)?)?["pid"].as_u64().unwrap_or(0);
    let began = Instant::now();
    let threads = threads(pid, &|time| context.cancel.wait(time));
    let status = status(ask(&Request::Status)?)?;
    let after = content(ask(&of_release)?)?;
    let fetched = |content: &Value| content["fetched_bytes"].as_u64().unwrap_or(0);
    let came = fetched(&after).saturating_sub(fetched(&before));
    Ok(Seen {
        status,
        content: before,
        fetched_bytes_per_s: (came as f64 / began.elapsed().as_secs_f64()) as u64,
        window_bytes,
        bulk_bytes_per_s,
        threads,
    })
}

/// What the threads of a process did while it was looked at (proc_pid_stat(5)).
fn threads(pid: u64, wait: &dyn Fn(Duration) -> bool) -> BTreeMap<String, (f64, f64)> {
    let began = Instant::now();
    let mut first: BTreeMap<String, Thread> = BTreeMap::new();
    let mut last: BTreeMap<String, Thread> = BTreeMap::new();
    let (mut waited, mut samples): (BTreeMap<String, u32>, u32) = (BTreeMap::new(), 0);
    while began.elapsed() < LOOK {
        samples += 1;
        for task in std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            let Some(thread) = Thread::parse(&stat) else { continue };
            let id = task.file_name().to_string_lossy().into_owned();
            *waited.entry(id.clone()).or_default() += u32::from(thread.waits);
            first.entry(id.clone()).or_insert_with(|| thread.clone());
            last.insert(id, thread);
        }
        if wait(SAMPLE) {
            break;
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let mut kinds: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    for (id, thread) in &last {
        let ticks = thread.ticks - first[id].ticks;
        let busy = ticks as f64 / rustix::param::clock_ticks_per_second() as f64 / seconds;
        let kind = kinds.entry(thread.kind.clone()).or_default();
        *kind = (kind.0.max(busy), kind.1.max(f64::from(waited[id]) / f64::from(samples)));
    }
    kinds
}

/// A thread at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Thread {
    /// Its name without the number at its end.
    kind: String,
    /// It waits for a disk.
    waits: bool,
    /// Time it has had a core, in the kernel's ticks.
    ticks: u64,
}

impl Thread {
    fn parse(stat: &str) -> Option<Self> {
        let (head, rest) = stat.rsplit_once(')')?;
        let name = head.split_once('(')?.1;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        Some(Self {
            kind: name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-').to_owned(),
            waits: fields.first() == Some(&"D"),
            ticks: number(11)? + number(12)?,
        })
    }
}

/// What holds the release up, the likeliest first; at the end how fast it comes.
pub(super) fn judge(seen: &Seen) -> Vec<Finding> {
    let number = |value: &Value, key: &str| value[key].as_u64().unwrap_or(0);
    let (content, status) = (&seen.content, &seen.status);
    let rate = format!("{}/s", Bytes(seen.fetched_bytes_per_s));
    if content["complete"] == true {
        return vec![Finding::ok(
            "release",
            "all of it is here: nothing is fetched, and reads are as fast as this machine's disk",
        )];
    }
    let mut found = Vec::new();
    if let Some(why) = status["store"]["intake_stopped"].as_str() {
        found.push(Finding::fail(
            "disk",
            why,
            "free some space, or raise `ares set store-quota`; `ares status` says when it goes on",
        ));
    }
    found.extend(sources(content, status));
    let of_kind = |kind: &str| seen.threads.get(kind).copied().unwrap_or_default();
    let ((shard, _), (work, disk), (hub, _)) = (of_kind("ares-shard"), of_kind("ares-work"), of_kind("ares-hub"));
    if disk > WAITING {
        let what = format!("writers wait for it {:.0} % of the time", 100.0 * disk);
        found.push(Finding::warn(
            "disk",
            what,
            "a faster disk, or one that nobody else uses; `iostat -x 1` says who does",
        ));
    }
    let cpu = [
        ("network threads", shard, "node.shards"),
        ("hashing threads", work, "node.workers"),
        ("the one that chooses", hub, ""),
    ];
    for (what, busy, knob) in cpu.into_iter().filter(|(_, busy, _)| *busy > BUSY) {
        let remedy = match knob {
            "" => "fewer peers and paths, or a faster core".to_owned(),
            knob => format!("more of them (`{knob}` in the config file) where there are cores, or a faster machine"),
        };
        found.push(Finding::warn(
            "cpu",
            format!("of the {what} one is busy {:.0} % of the time", 100.0 * busy),
            remedy,
        ));
    }
    let peers = || list(&status["peers"]);
    let paths = || peers().flat_map(|peer| list(&peer["paths"]));
    let inflight: u64 = paths().map(|path| number(path, "inflight_bytes")).sum();
    if seen.window_bytes > 0 && inflight as f64 > FULL * seen.window_bytes as f64 {
        let what = format!(
            "{} of {} are asked and not yet written",
            Bytes(inflight),
            Bytes(seen.window_bytes)
        );
        found.push(Finding::warn(
            "window",
            what,
            format!("ares set get-window {}", 2 * seen.window_bytes),
        ));
    }
    let (came, most) = (seen.fetched_bytes_per_s, seen.bulk_bytes_per_s);
    if came as f64 > FULL * most as f64 && most > 0 {
        found.push(Finding::warn(
            "rate",
            format!("{rate} of the {}/s that downloads may have", Bytes(most)),
            "ares set bulk-rate 0",
        ));
    }
    found.extend(peers().filter_map(of_peer));
    found.extend(paths().filter_map(of_path));
    if found.is_empty() && came == 0 && inflight == 0 {
        let what = "nothing of it came, and nobody is asked for any: nobody reads or fetches it just now";
        return vec![Finding::warn("rate", what, "look again while somebody does (`ares warm`)")];
    }
    if found.is_empty() {
        let what = format!("{rate}: nothing on this machine holds it up; it is what peers and the network between give");
        let remedy = "`ares doctor` there; more peers (links, seeds, --dht) and more lanes to them";
        return vec![Finding::warn("network", what, remedy)];
    }
    found.push(Finding::ok(
        "rate",
        format!("{rate}, {} missing", Bytes(number(content, "missing_bytes"))),
    ));
    found
}

/// Whether anybody has it.
fn sources(content: &Value, status: &Value) -> Option<Finding> {
    let peers = content["peers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let whole = peers.iter().filter(|peer| peer["state"] == "complete").count() as u64;
    match (whole, peers.len() as u64) {
        (0, 0) => {
            let away = status["away"].as_array().map(Vec::as_slice).unwrap_or_default();
            let why = away.first().and_then(|peer| peer["failures"][0]["why"].as_str());
            let what = match why {
                Some(why) => format!(
                    "nobody who is connected has any of it; of {} known and not connected: {why}",
                    count(away.len() as u64, "peer")
                ),
                None => "nobody who is connected has any of it".to_owned(),
            };
            let remedy = "is `ares serve` running where it was published, and is UDP to its port let through? a fresh link names where it is now";
            Some(Finding::fail("sources", what, remedy))
        }
        (0, some) => {
            let what = format!("nobody has all of it, {} some", count(some, "peer"));
            Some(Finding::warn(
                "sources",
                what,
                "wait for one of them to have more, or bring one back that has all",
            ))
        }
        _ => None,
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Whether a peer may not send more.
fn of_peer(peer: &Value) -> Option<Finding> {
    let cap = peer["cap_down_bytes_per_s"].as_u64()?;
    let rate: u64 = list(&peer["paths"]).filter_map(|path| path["rx_bytes_per_s"].as_u64()).sum();
    (rate as f64 > FULL * cap as f64).then(|| {
        let what = format!(
            "{}: {}/s of the {}/s that may come from it",
            short(&peer["peer"]),
            Bytes(rate),
            Bytes(cap)
        );
        Finding::warn(
            "peer",
            what,
            "ares set peer-cap-down.PEER to more, or 'peer-cap-down.*' to none where that binds it; `ares set` lists the caps",
        )
    })
}

/// What is wrong with a path, if anything.
fn of_path(path: &Value) -> Option<Finding> {
    let remote = path["remote"].as_str().unwrap_or("?");
    let rate = path["rx_bytes_per_s"].as_u64().unwrap_or(0);
    if let Some(cap) = path["cap_down_bytes_per_s"]
        .as_u64()
        .filter(|cap| rate as f64 > FULL * *cap as f64)
    {
        let what = format!(
            "to {remote}: {}/s of the {}/s that its lane may carry",
            Bytes(rate),
            Bytes(cap)
        );
        return Some(Finding::warn(
            "path",
            what,
            "ares set cap-down.LANE none, or more; `ares set` lists the caps",
        ));
    }
    if path["state"] == "suspect" {
        let what = format!("to {remote}: it is silent");
        return Some(Finding::warn(
            "path",
            what,
            "`ares paths` says since when; another lane or peer takes over where there is one",
        ));
    }
    let (loss, rtt) = (
        path["loss_percent"].as_f64().unwrap_or(0.0),
        path["rtt_ms"].as_f64().unwrap_or(0.0),
    );
    (loss > LOSSY_PERCENT).then(|| {
        let what = format!(
            "to {remote}: {loss:.1} % of its packets are lost, round trip {rtt:.1} ms, {}/s",
            Bytes(rate)
        );
        Finding::warn(
            "path",
            what,
            "`ares set congestion bbr` where the loss is not by congestion (there: at the sender); see whether its link is sound",
        )
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Verdict;
    use super::*;

    #[test]
    fn a_thread_is_known_by_its_kind_whatever_it_is_called() {
        let stat = |name: &str, state: &str| format!("42 ({name}) {state} 1 2 3 4 5 6 7 8 9 10 70 30 0 0 20 0 1 0 9");
        let thread = |kind: &str, waits| {
            Some(Thread {
                kind: kind.to_owned(),
                waits,
                ticks: 100,
            })
        };
        assert_eq!(Thread::parse(&stat("ares-work-12", "D")), thread("ares-work", true));
        assert_eq!(Thread::parse(&stat("odd) (name", "R")), thread("odd) (name", false));
        assert_eq!(Thread::parse(""), None);
    }

    /// One peer that has all, over one path on which something comes; `change` makes it slow.
    fn seen(change: impl Fn(&mut Seen)) -> Seen {
        let mut seen = Seen {
            content: json!({"complete": false, "missing_bytes": 1000, "peers": [{"peer": "a", "state": "complete"}]}),
            status: json!({"store": {"intake_stopped": null}, "away": [], "peers": [{"paths": [{
                "remote": "10.0.0.1:4227", "state": "up", "rtt_ms": 20.0, "loss_percent": 0.0, "rx_bytes_per_s": 1_000_000,
                "cap_down_bytes_per_s": null, "inflight_bytes": 1_000_000,
            }]}]}),
            fetched_bytes_per_s: 1_000_000,
            window_bytes: 64 << 20,
            bulk_bytes_per_s: 0,
            threads: BTreeMap::from([("ares-work".to_owned(), (0.1, 0.0)), ("ares-shard".to_owned(), (0.2, 0.0))]),
        };
        change(&mut seen);
        seen
    }

    #[test]
    fn what_holds_it_up_is_named_first_with_numbers_and_a_remedy() {
        let check = |expect: &str, words: &[&str], change: &dyn Fn(&mut Seen)| {
            let found = judge(&seen(change));
            let first = &found[0];
            assert_eq!(first.what, expect, "{found:?}");
            let said = format!("{} {}", first.found, first.remedy);
            words.iter().for_each(|word| assert!(said.contains(word), "{word} in {said}"));
            assert!(!first.remedy.is_empty() || first.verdict == Verdict::Ok, "{found:?}");
        };
        check("network", &["1.00 MB/s", "ares doctor"], &|_| {});
        check("release", &["all of it is here"], &|seen| {
            seen.content["complete"] = true.into()
        });
        check("disk", &["no room", "store-quota"], &|seen| {
            seen.status["store"]["intake_stopped"] = "no room".into()
        });
        let threads = |kind: &'static str, figures: (f64, f64)| {
            move |seen: &mut Seen| {
                seen.threads.insert(kind.to_owned(), figures);
            }
        };
        check("disk", &["50 %"], &threads("ares-work", (0.2, 0.5)));
        check(
            "cpu",
            &["network", "97 %", "node.shards"],
            &threads("ares-shard", (0.97, 0.0)),
        );
        check("cpu", &["hashing", "node.workers"], &threads("ares-work", (0.97, 0.0)));
        check("window", &["get-window 2000000"], &|seen| seen.window_bytes = 1_000_000);
        check("rate", &["1.00 MB/s of the 1.05 MB/s", "bulk-rate 0"], &|seen| {
            seen.bulk_bytes_per_s = 1_050_000
        });
        check("rate", &["nobody reads or fetches it"], &|seen| {
            seen.fetched_bytes_per_s = 0;
            seen.status["peers"][0]["paths"][0]["inflight_bytes"] = 0.into();
        });
        let path =
            |key: &'static str, value: Value| move |seen: &mut Seen| seen.status["peers"][0]["paths"][0][key] = value.clone();
        check(
            "path",
            &["1.00 MB/s of the 1.05 MB/s", "cap-down"],
            &path("cap_down_bytes_per_s", 1_050_000.into()),
        );
        check(
            "peer",
            &["0123456789: 1.00 MB/s of the 1.05 MB/s", "peer-cap-down"],
            &|seen| {
                let peer = &mut seen.status["peers"][0];
                (peer["peer"], peer["cap_down_bytes_per_s"]) = ("0123456789abcdef".into(), 1_050_000.into());
            },
        );
        check("path", &["silent"], &path("state", "suspect".into()));
        check("path", &["2.5 %", "20.0 ms", "bbr"], &path("loss_percent", 2.5.into()));
        check("sources", &["nobody has all of it, 1 peer some"], &|seen| {
            seen.content["peers"][0]["state"] = "partial".into()
        });
        check("sources", &["refused", "ares serve"], &|seen| {
            seen.content["peers"] = json!([]);
            seen.status["away"] = json!([{"failures": [{"why": "refused"}]}]);
        });
    }

    #[test]
    fn whatever_is_missing_harms_nobody() {
        assert_eq!(judge(&Seen::default())[0].what, "sources");
    }
}
