//! Settings: file, environment and flags, merged once into a `Config` that cannot be wrong. What the user typed is in `lowargs`,
//! what the file says in `file`; nobody else reads either.

mod access;
mod file;
mod paths;
mod seed;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ares_core::admission::Access;
use ares_core::knobs::{Knob, Setting, Settings};
use ares_core::link::Link;
use ares_core::path::LaneRules;
use ares_node::api::EdgeConfig;

use crate::error::{Failure, Kind};
use crate::lowargs::GlobalArgs;
use crate::timetable::Row;

pub(crate) use file::keys;
pub(crate) use seed::Seed;

/// UDP port of `ares serve` where nobody chose another: fixed, so that a link stays valid when the daemon restarts.
pub(crate) const DEFAULT_PORT: u16 = 4227;

/// Shards where the file says nothing: one for each core, so many at most. Even where both sides of a transfer share two cores it costs
/// nothing: 2 GiB over veth, MTU 1500, to tmpfs on 2 cores of an AMD EPYC went at 814 MB/s (759-850) with two shards a side and at
/// 773 MB/s (731-789) with one, for the same 2.3 CPU s/GB (medians of 5, taking turns).
const SHARDS_MAX: usize = 16;

/// How much is logged where ARES_LOG and the file say nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verbosity {
    Quiet,
    Normal,
    Info,
    Debug,
    Trace,
}

/// Whether progress is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bars {
    /// Where stderr is a terminal.
    Auto,
    Always,
    Never,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    Json,
}

/// What a command prints and how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Output {
    pub(crate) format: Format,
    pub(crate) bars: Bars,
    pub(crate) verbosity: Verbosity,
}

impl Output {
    /// From the flags alone: known before the config file is read, so that its errors are printed as asked.
    pub(crate) fn of(args: &GlobalArgs) -> Self {
        let format = if args.json { Format::Json } else { Format::Text };
        let bars = match (args.progress, args.no_progress || args.quiet) {
            (true, _) => Bars::Always,
            (false, true) => Bars::Never,
            (false, false) => Bars::Auto,
        };
        let verbosity = match (args.quiet, args.verbose) {
            (true, _) => Verbosity::Quiet,
            (false, 0) => Verbosity::Normal,
            (false, 1) => Verbosity::Info,
            (false, 2) => Verbosity::Debug,
            (false, _) => Verbosity::Trace,
        };
        Self { format, bars, verbosity }
    }
}

/// Everything the program needs to know, resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    /// State directory, absolute.
    pub(crate) state: PathBuf,
    /// Where `serve` listens: `--listen`, else the file, else the default port on all addresses.
    pub(crate) listen: Vec<SocketAddr>,
    /// Filter for log lines; `None` leaves it to the verbosity.
    pub(crate) log: Option<String>,
    /// Shard threads.
    pub(crate) shards: usize,
    /// Hash-and-write threads.
    pub(crate) workers: usize,
    /// Whether other users are let into mounts.
    pub(crate) allow_other: bool,
    /// Which of the machine's addresses to use.
    pub(crate) lanes: LaneRules,
    /// Peers that are asked about every release.
    pub(crate) seeds: Vec<Seed>,
    /// Whether to find peers on the local network, and be found.
    pub(crate) mdns: bool,
    /// Label of the site that this machine is in; empty for none.
    pub(crate) zone: String,
    /// Whether to find peers by the DHT, and be found.
    pub(crate) dht: bool,
    /// `HOST:PORT` of nodes of the DHT to begin with; `None` for the public ones.
    pub(crate) dht_bootstrap: Option<Vec<String>>,
    /// UDP port where `serve` answers others of the DHT.
    pub(crate) dht_port: Option<u16>,
    /// What `serve` fetches because others ask for it.
    pub(crate) edge: Edge,
    /// Releases that `serve` keeps whole, beside those that `ares pin` names.
    pub(crate) pins: Vec<Link>,
    /// Which keys may what.
    pub(crate) access: Access,
    /// Where a daemon that stays answers HTTP; `None`: nowhere.
    pub(crate) http: Option<SocketAddr>,
    /// Whether releases may be read there.
    pub(crate) http_gateway: bool,
    /// What `ares set` may change while the daemon runs.
    pub(crate) settings: Settings,
    /// What it changes itself at times of the week.
    pub(crate) schedule: Vec<Row>,
    /// Whether a page there shows what is going on.
    pub(crate) http_status: bool,
    /// What is printed.
    pub(crate) output: Output,
    /// The config file: the one that was read, else the one that would be.
    pub(crate) file: PathBuf,
    /// The flags that it was made with.
    args: GlobalArgs,
    /// Whether `listen` was a flag.
    is_listen_given: bool,
}

/// What the label of a zone may be.
pub(crate) const ZONE_LABEL: &str = "a name of 1 to 64 letters, digits, `-`, `_`, `.`";

/// The label of a zone, if it is one.
pub(crate) fn zone_label(text: &str) -> Result<String, String> {
    let is_label = (1..=64).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    is_label.then(|| text.to_owned()).ok_or(format!("a zone is {ZONE_LABEL}"))
}

/// What an edge may fetch for others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Edge {
    /// These releases.
    pub(crate) releases: Vec<Link>,
    /// Whatever these peers have.
    pub(crate) upstreams: Vec<Seed>,
}

impl Edge {
    /// As the node takes it. Seeds are asked about these releases as they are about any.
    pub(crate) fn for_node(&self, seeds: &[Seed], access: &Access) -> EdgeConfig {
        let peers = |link: &Link| link.peers.iter().cloned().chain(seeds.iter().map(Seed::hint)).collect();
        EdgeConfig {
            releases: self.releases.iter().map(|link| (link.release, peers(link))).collect(),
            upstreams: self.upstreams.iter().map(Seed::hint).collect(),
            of_publishers: access.publishers().next().is_some(),
        }
    }
}

impl Config {
    /// `serve --listen`: the file does not count.
    pub(crate) fn listen_on(&mut self, listen: Vec<SocketAddr>) {
        self.is_listen_given = !listen.is_empty();
        if self.is_listen_given {
            self.listen = listen;
        }
    }

    /// As it would be if the program was started now, with the same flags.
    pub(crate) fn again(&self) -> Result<Self, Failure> {
        let mut new = resolve(&self.args, &|name| std::env::var_os(name))?;
        if self.is_listen_given {
            new.listen_on(self.listen.clone());
        }
        Ok(new)
    }

    /// Which log lines are written: as told, else by the verbosity.
    pub(crate) fn log_filter(&self) -> &str {
        let by_flags = match self.output.verbosity {
            Verbosity::Quiet => "error",
            Verbosity::Normal => "warn",
            Verbosity::Info => "info",
            Verbosity::Debug => "debug",
            Verbosity::Trace => "trace",
        };
        self.log.as_deref().unwrap_or(by_flags)
    }
}

/// Merges flags (which clap has filled from ARES_STATE and ARES_CONFIG), the config file and the defaults.
pub(crate) fn resolve(args: &GlobalArgs, env: &dyn Fn(&str) -> Option<std::ffi::OsString>) -> Result<Config, Failure> {
    let path = paths::config_file(args.config.as_deref(), env);
    let file = match &path {
        Some(path) => file::read(path).map_err(|error| {
            let failure = Failure::new(Kind::Usage, error.to_string());
            match error.help() {
                Some(help) => failure.help(help),
                None => failure,
            }
        })?,
        None => file::FileConfig::default(),
    };
    let state = paths::state_dir(args.state.clone().or(file.state), env)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let output = Output::of(args);
    let mut settings = Settings::default();
    let times = [
        (Knob::DialTimeout, file.dial_timeout),
        (Knob::StallTimeout, file.stall_timeout),
        (Knob::ReadPatience, file.patience),
    ];
    for (knob, time) in times {
        if let Some(time) = time {
            settings.set(Setting::clamped(knob, u64::try_from(time.as_millis()).unwrap_or(u64::MAX)));
        }
    }
    // The same by the name that a running daemon knows it by counts more.
    for setting in &file.set {
        settings.set(*setting);
    }
    let level = file.set.iter().rfind(|setting| setting.knob() == Knob::LogLevel);
    let by_file = file.log.or(level.map(ToString::to_string));
    let log = env("ARES_LOG").and_then(|v| v.into_string().ok()).filter(|v| !v.is_empty());
    Ok(Config {
        state,
        listen: file.listen.filter(|l| !l.is_empty()).unwrap_or_else(default_listen),
        // -v and -q are closer to the user than the file, the environment is closer than both.
        log: log.or(by_file.filter(|_| output.verbosity == Verbosity::Normal)),
        shards: file.shards.unwrap_or(cores.min(SHARDS_MAX)),
        workers: file.workers.unwrap_or(cores.clamp(2, 8)),
        allow_other: file.allow_other.unwrap_or(false),
        lanes: LaneRules {
            include: given(&args.lane).or(file.lanes_include).unwrap_or_default(),
            exclude: given(&args.no_lane).or(file.lanes_exclude).unwrap_or_default(),
            weights: file.lanes_weight.unwrap_or_default(),
            caps: file.lanes_caps,
            peer_caps: file.peers_caps,
        },
        seeds: given(&args.seed).or(file.seeds).unwrap_or_default(),
        zone: args.zone.clone().or(file.zone).unwrap_or_default(),
        mdns: !args.no_mdns && file.mdns.unwrap_or(true),
        dht: args.dht || file.dht_enabled.unwrap_or(false),
        dht_bootstrap: file.dht_bootstrap,
        dht_port: file.dht_port,
        edge: Edge {
            releases: file.edge_releases.unwrap_or_default(),
            upstreams: file.edge_upstreams.unwrap_or_default(),
        },
        pins: file.pins.unwrap_or_default(),
        access: file.access.resolve(),
        http: args.http.or(file.http_listen),
        http_gateway: file.http_gateway.unwrap_or(false),
        http_status: file.http_status.unwrap_or(false),
        settings,
        schedule: file.schedule,
        output,
        file: path.unwrap_or_else(|| paths::config_file_to_make(env)),
        args: args.clone(),
        is_listen_given: false,
    })
}

/// A flag that was given at all.
fn given<T: Clone>(flags: &[T]) -> Option<Vec<T>> {
    (!flags.is_empty()).then(|| flags.to_vec())
}

/// All IPv4 addresses, and all IPv6 addresses where the kernel has IPv6 at all: binding `[::]` without it is an error.
fn default_listen() -> Vec<SocketAddr> {
    let mut listen = vec![SocketAddr::from((IpAddr::from(Ipv4Addr::UNSPECIFIED), DEFAULT_PORT))];
    if std::fs::metadata("/proc/net/if_inet6").is_ok() {
        listen.push(SocketAddr::from((IpAddr::from(Ipv6Addr::UNSPECIFIED), DEFAULT_PORT)));
    }
    listen
}

/// `30s`, `500ms`, `2m`, `1.5s`, `1h`: a number and a unit, more than zero and at most a day.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let scale_s = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("`{text}` is no time: write a number and ms, s, m or h, such as 30s")),
    };
    match number.trim_end().parse::<f64>().ok().map(|n| n * scale_s) {
        Some(seconds) if (0.001..=86_400.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        Some(_) => Err(format!("`{text}` is out of range: 1ms to 24h")),
        None => Err(format!("`{text}` is no time: write a number and ms, s, m or h, such as 30s")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ares_core::path::LanePattern;

    #[test]
    fn times_are_numbers_with_units() {
        let check = |text: &str, ms: Option<u128>| assert_eq!(parse_duration(text).ok().map(|d| d.as_millis()), ms, "{text}");
        check("30s", Some(30_000));
        check("500ms", Some(500));
        check("1.5s", Some(1_500));
        check("2m", Some(120_000));
        check("24h", Some(86_400_000));
        check("25h", None);
        check("0s", None);
        check("-1s", None);
        check("nans", None);
        check("infs", None);
        check("30", None);
        check("", None);
        check("s", None);
        check("3 days", None);
    }

    #[test]
    fn flags_beat_the_file_and_the_file_beats_defaults() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.toml");
        let lanes = "[lanes]\ninclude = [\"eth0\"]\nexclude = [\"wg0\"]\n";
        let written = |n: u8| format!("{}@192.0.2.{n}:4227", "ab".repeat(32));
        let seed = |n: u8| written(n).parse::<Seed>().unwrap();
        let swarm = format!("[swarm]\nseeds = [\"{}\"]\n", written(1));
        let text = format!(
            "state = \"/from-file\"\nlog = \"debug\"\n[node]\nshards = 3\n{lanes}{swarm}[http]\nlisten = \"127.0.0.1:1\"\n"
        );
        std::fs::write(&path, text).unwrap();
        let mut args = GlobalArgs {
            config: Some(path),
            ..GlobalArgs::default()
        };
        let no_env = |_: &str| None;
        let config = resolve(&args, &no_env).unwrap();
        assert_eq!(
            (config.state, config.shards, config.log.as_deref()),
            ("/from-file".into(), 3, Some("debug"))
        );
        assert!(config.listen.iter().all(|a| a.port() == DEFAULT_PORT));
        let named = |entry: &str| vec![entry.parse::<LanePattern>().unwrap()];
        assert_eq!((config.lanes.include, config.lanes.exclude), (named("eth0"), named("wg0")));
        args.lane = named("eth1");
        args.state = Some("/from-flag".into());
        args.verbose = 1;
        let config = resolve(&args, &no_env).unwrap();
        assert_eq!(
            (config.state, config.log),
            ("/from-flag".into(), None),
            "-v beats the file's log"
        );
        assert_eq!((config.lanes.include, config.lanes.exclude), (named("eth1"), named("wg0")));
        assert_eq!((config.seeds, config.mdns), (vec![seed(1)], true));
        assert_eq!(config.http.map(|at| at.port()), Some(1));
        args.seed = vec![seed(2)];
        args.no_mdns = true;
        args.http = Some(([127, 0, 0, 1], 2).into());
        let config = resolve(&args, &no_env).unwrap();
        assert_eq!((config.seeds, config.mdns), (vec![seed(2)], false));
        assert_eq!(config.http.map(|at| at.port()), Some(2));
        let config = resolve(&args, &|name| (name == "ARES_LOG").then(|| "trace".into())).unwrap();
        assert_eq!(config.log.as_deref(), Some("trace"));
    }

    #[test]
    fn knobs_are_set_by_the_file_and_its_log_beats_its_log_level() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.toml");
        let resolve = |text: &str| {
            std::fs::write(&path, text).unwrap();
            let args = GlobalArgs {
                config: Some(path.clone()),
                state: Some("/s".into()),
                ..GlobalArgs::default()
            };
            super::resolve(&args, &|_| None).unwrap()
        };
        let config = resolve("[set]\nget-window = \"8MiB\"\nlog-level = \"debug\"\n");
        assert_eq!(
            (config.settings.bytes(Knob::GetWindow), config.log_filter()),
            (8 << 20, "debug")
        );
        let config = resolve("log = \"info\"\nset.log-level = \"debug\"\n");
        assert_eq!(config.log_filter(), "info");
        assert_eq!(resolve("").log_filter(), "warn");
    }
}
