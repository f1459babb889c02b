//! The config file as written: TOML to typed fields, or an error that names the line and the nearest known key. Applies no default.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use ares_core::admission::Role;
use ares_core::chunk::{ChunkId, ReleaseId};
use ares_core::knobs::{Knob, ROWS, Setting};
use ares_core::link::{Link, LinkError};
use ares_core::path::{BadPattern, BadPeer, Cap, Caps, Direction, LaneCaps, LanePattern, LaneRules, PeerCaps};
use ares_core::peer::PeerId;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::access::{AccessTable, Keys};
use super::seed::{BadSeed, Seed};
use super::{ZONE_LABEL, zone_label};
use crate::error::Failure;
use crate::nearest::nearest;
use crate::timetable::{BadWhen, Row};

/// What the file says; `None` where it says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FileConfig {
    pub(crate) state: Option<PathBuf>,
    pub(crate) listen: Option<Vec<SocketAddr>>,
    pub(crate) log: Option<String>,
    pub(crate) shards: Option<usize>,
    pub(crate) workers: Option<usize>,
    pub(crate) dial_timeout: Option<Duration>,
    pub(crate) stall_timeout: Option<Duration>,
    pub(crate) patience: Option<Duration>,
    pub(crate) allow_other: Option<bool>,
    pub(crate) lanes_include: Option<Vec<LanePattern>>,
    pub(crate) lanes_exclude: Option<Vec<LanePattern>>,
    pub(crate) lanes_weight: Option<Vec<(LanePattern, u32)>>,
    pub(crate) lanes_caps: LaneCaps,
    pub(crate) peers_caps: PeerCaps,
    pub(crate) seeds: Option<Vec<Seed>>,
    pub(crate) mdns: Option<bool>,
    pub(crate) zone: Option<String>,
    pub(crate) pins: Option<Vec<Link>>,
    pub(crate) dht_enabled: Option<bool>,
    pub(crate) dht_bootstrap: Option<Vec<String>>,
    pub(crate) dht_port: Option<u16>,
    pub(crate) edge_releases: Option<Vec<Link>>,
    pub(crate) edge_upstreams: Option<Vec<Seed>>,
    pub(crate) http_listen: Option<SocketAddr>,
    pub(crate) schedule: Vec<Row>,
    pub(crate) access: AccessTable,
    pub(crate) http_gateway: Option<bool>,
    pub(crate) http_status: Option<bool>,
    /// Knobs, as `ares set` takes them.
    pub(crate) set: Vec<Setting>,
}

/// The table of the knobs, of which each has a key.
const KNOBS: &str = "set.";

/// Every key that a config file may have, and what it means. The help and the suggestion come from it.
pub(crate) fn keys() -> Vec<(String, &'static str)> {
    let own = KEYS.iter().map(|(key, meaning)| ((*key).to_owned(), *meaning));
    let knobs = ROWS.iter().map(|row| (format!("{KNOBS}{}", row.key), row.effect));
    own.chain(knobs).collect()
}

/// Those of them that are no knobs: table, key and meaning.
const KEYS: [(&str, &str); 35] = [
    ("state", "directory of identity, store and admin socket"),
    ("listen", "addresses to serve on, [\"IP:PORT\", ..]"),
    ("log", "log filter, as in ARES_LOG"),
    ("pins", "releases that `serve` fetches whole and keeps, [\"ares:..\", ..]"),
    (
        "schedule",
        "what `ares set` would say at times of the week, [{ when = \"mon-fri 08:00-18:00\", set = { \"cap-up.*\" = \"2MiB\" } }, ..]",
    ),
    ("node.shards", "threads that drive sockets"),
    ("node.workers", "threads that hash and write"),
    ("node.dial_timeout", "`set.dial-timeout`, unless that is there: \"5s\""),
    ("node.stall_timeout", "`set.stall-timeout`, unless that is there: \"500ms\""),
    ("mount.patience", "`set.read-patience`, unless that is there: \"30s\""),
    ("mount.allow_other", "let other users into mounts"),
    ("lanes.include", "interfaces or addresses to use, [\"eth*\", \"10.0.0.0/16\"]"),
    ("lanes.exclude", "interfaces or addresses to leave alone"),
    ("lanes.weight", "which lanes `path-mode` standby prefers, { eth0 = 2 }"),
    (
        "lanes.cap_up",
        "bytes a second that lanes send at most, { \"eth*\" = \"20MiB\" }",
    ),
    (
        "lanes.cap_down",
        "bytes a second that come over lanes at most, { wg0 = \"4MiB\" }",
    ),
    (
        "peers.cap_up",
        "bytes a second that each peer is sent at most, { \"*\" = \"4MiB\" }, or one by its key",
    ),
    (
        "peers.cap_down",
        "bytes a second that come from each peer at most, or from one by its key",
    ),
    ("swarm.seeds", "peers to ask about every release, [\"PEER@IP:PORT\", ..]"),
    ("dht.enabled", "find peers by the Mainline DHT, and be found"),
    (
        "dht.bootstrap",
        "nodes of the DHT to begin with, [\"HOST:PORT\", ..]; [] for the first of your own",
    ),
    ("dht.port", "UDP port where `serve` answers other nodes of the DHT"),
    (
        "access.reader",
        "keys of peers that are served what is here, [\"PEER\", ..] or \"any\"; with any role given, others are strangers",
    ),
    ("access.edge", "and for which an edge fetches what it has not"),
    (
        "access.publisher",
        "and whose word that they have a release is enough for an edge to fetch it for others",
    ),
    (
        "access.admin",
        "and that may have every release, also while `block` is \"any\"",
    ),
    (
        "access.block",
        "keys of peers that are not spoken with, [\"PEER\", ..] or \"any\" for all but admins",
    ),
    (
        "access.releases",
        "releases that are for some keys alone, { RELEASE = [\"PEER\", ..] }",
    ),
    ("edge.releases", "releases to fetch for whoever asks, [\"ares:..\", ..]"),
    (
        "edge.upstreams",
        "peers of whose releases any is fetched for whoever asks, [\"PEER@IP:PORT\", ..]",
    ),
    (
        "http.listen",
        "where `serve` and `mount` answer HTTP (/metrics, /healthz, /readyz), \"127.0.0.1:9464\"",
    ),
    (
        "http.gateway",
        "let whoever asks there read the releases that are known here, /r/RELEASE/PATH",
    ),
    (
        "http.status",
        "show whoever asks there who sends what to whom, as a page at /",
    ),
    ("swarm.mdns", "find peers on the local network, and be found"),
    (
        "swarm.zone",
        "site that this machine is in, any name; what nobody there has is fetched from other sites once",
    ),
];

/// What is wrong with a config file.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FileError {
    /// Cannot be read.
    #[error("config {}: {why}", path.display())]
    Unreadable { path: PathBuf, why: String },
    /// Not TOML.
    #[error("config {}, line {line}: {why}", path.display())]
    Syntax { path: PathBuf, line: usize, why: String },
    /// A key that does not exist.
    #[error("config {}, line {line}: unknown key `{key}`", path.display())]
    UnknownKey {
        path: PathBuf,
        line: usize,
        key: String,
        nearest: Option<String>,
    },
    /// A key with a value that cannot be meant.
    #[error("config {}, line {line}: `{key}` must be {expected}", path.display())]
    BadValue {
        path: PathBuf,
        line: usize,
        key: String,
        expected: String,
    },
    /// A pattern, cap, link or seed that is none; `why` names it and says what to write.
    #[error("config {}, line {line}: `{key}`: {why}", path.display())]
    Refused {
        path: PathBuf,
        line: usize,
        key: String,
        why: String,
    },
}

impl FileError {
    /// What to do about it.
    pub(crate) fn help(&self) -> Option<String> {
        match self {
            FileError::UnknownKey { nearest: Some(key), .. } => Some(format!("did you mean `{key}`?")),
            FileError::UnknownKey { nearest: None, .. } => {
                let keys: Vec<String> = keys().into_iter().map(|(key, _)| key).collect();
                Some(format!("known keys: {}", keys.join(", ")))
            }
            FileError::Unreadable { .. } => Some("give another file with --config, or make it readable".to_owned()),
            FileError::Syntax { .. } | FileError::BadValue { .. } | FileError::Refused { .. } => None,
        }
    }
}

/// Reads `path`.
pub(crate) fn read(path: &Path) -> Result<FileConfig, FileError> {
    let text = std::fs::read_to_string(path).map_err(|e| FileError::Unreadable {
        path: path.to_owned(),
        why: crate::error::plain(&e),
    })?;
    parse(path, &text)
}

/// Parses the text of `path`, which is only named in errors.
pub(crate) fn parse(path: &Path, text: &str) -> Result<FileConfig, FileError> {
    let source = Source { path, text };
    let root = DeTable::parse(text).map_err(|e| FileError::Syntax {
        path: path.to_owned(),
        line: source.line(e.span().map_or(0, |s| s.start)),
        why: e.message().lines().next().unwrap_or("not TOML").to_owned(),
    })?;
    let mut config = FileConfig::default();
    source.table("", root.get_ref(), &mut config)?;
    Ok(config)
}

struct Source<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Source<'_> {
    fn line(&self, offset: usize) -> usize {
        self.text.bytes().take(offset).filter(|b| *b == b'\n').count() + 1
    }

    /// Walks one table; `prefix` is its dotted name with a trailing dot, or empty.
    fn table(&self, prefix: &str, table: &DeTable<'_>, config: &mut FileConfig) -> Result<(), FileError> {
        for (name, value) in table.iter() {
            let key = format!("{prefix}{}", name.get_ref());
            let is_table_name = keys().iter().any(|(known, _)| known.starts_with(&format!("{key}.")));
            match value.get_ref() {
                DeValue::Table(inner) if is_table_name => self.table(&format!("{key}."), inner, config)?,
                _ if is_table_name => return Err(self.bad(&key, value, "a table")),
                _ => self.setting(&key, name.span().start, value, config)?,
            }
        }
        Ok(())
    }

    fn setting(&self, key: &str, at: usize, value: &Spanned<DeValue<'_>>, config: &mut FileConfig) -> Result<(), FileError> {
        match key {
            "state" => config.state = Some(PathBuf::from(self.string(key, value)?)),
            "listen" => config.listen = Some(self.addrs(key, value)?),
            "pins" => config.pins = Some(self.links(key, value)?),
            "log" => config.log = Some(self.string(key, value)?.to_owned()),
            "node.shards" => config.shards = Some(self.count(key, value)?),
            "node.workers" => config.workers = Some(self.count(key, value)?),
            "node.dial_timeout" => config.dial_timeout = Some(self.duration(key, value)?),
            "node.stall_timeout" => config.stall_timeout = Some(self.duration(key, value)?),
            "mount.patience" => config.patience = Some(self.duration(key, value)?),
            "mount.allow_other" => config.allow_other = Some(self.switch(key, value)?),
            "lanes.include" => config.lanes_include = Some(self.patterns(key, value)?),
            "lanes.exclude" => config.lanes_exclude = Some(self.patterns(key, value)?),
            "lanes.weight" => config.lanes_weight = Some(self.weights(key, value)?),
            "lanes.cap_up" => self.lane_caps(key, Direction::Up, value, config)?,
            "schedule" => config.schedule = self.schedule(key, value)?,
            "lanes.cap_down" => self.lane_caps(key, Direction::Down, value, config)?,
            "peers.cap_up" => self.peer_caps(key, Direction::Up, value, config)?,
            "peers.cap_down" => self.peer_caps(key, Direction::Down, value, config)?,
            "swarm.seeds" => config.seeds = Some(self.seeds(key, value)?),
            "dht.enabled" => config.dht_enabled = Some(self.switch(key, value)?),
            "dht.bootstrap" => config.dht_bootstrap = Some(self.hosts(key, value)?),
            "dht.port" => config.dht_port = Some(self.port(key, value)?),
            "access.block" => config.access.block = Some(self.keys_or_any(key, value)?),
            "access.releases" => config.access.releases = self.limited(key, value)?,
            "edge.releases" => config.edge_releases = Some(self.links(key, value)?),
            "edge.upstreams" => config.edge_upstreams = Some(self.seeds(key, value)?),
            "http.listen" => config.http_listen = Some(self.addr(key, value)?),
            "http.gateway" => config.http_gateway = Some(self.switch(key, value)?),
            "swarm.zone" => config.zone = Some(self.zone(key, value)?),
            "http.status" => config.http_status = Some(self.switch(key, value)?),
            "swarm.mdns" => config.mdns = Some(self.switch(key, value)?),
            _ => {
                let role = Role::ALL
                    .into_iter()
                    .find(|role| key.strip_prefix("access.") == Some(role.name()));
                if let Some(role) = role {
                    config.access.roles.insert(role, self.keys_or_any(key, value)?);
                    return Ok(());
                }
                if let Some(knob) = key.strip_prefix(KNOBS).and_then(Knob::named) {
                    config.set.push(self.knob(key, knob, value)?);
                    return Ok(());
                }
                return Err(FileError::UnknownKey {
                    path: self.path.to_owned(),
                    line: self.line(at),
                    key: key.to_owned(),
                    nearest: nearest(key, keys().iter().map(|(known, _)| known.as_str())).map(str::to_owned),
                });
            }
        }
        Ok(())
    }

    fn bad(&self, key: &str, value: &Spanned<DeValue<'_>>, expected: impl Into<String>) -> FileError {
        FileError::BadValue {
            path: self.path.to_owned(),
            line: self.line(value.span().start),
            key: key.to_owned(),
            expected: expected.into(),
        }
    }

    fn refused(&self, key: &str, at: usize, why: impl std::error::Error) -> FileError {
        FileError::Refused {
            path: self.path.to_owned(),
            line: self.line(at),
            key: key.to_owned(),
            why: why.to_string(),
        }
    }

    /// A number stands for itself, whatever else is written as `ares set` takes it.
    fn knob(&self, key: &str, knob: Knob, value: &Spanned<DeValue<'_>>) -> Result<Setting, FileError> {
        let setting = text_of(value).and_then(|text| Setting::parse(knob, text).ok());
        setting.ok_or_else(|| self.bad(key, value, knob.row().domain.to_string()))
    }

    fn string<'v>(&self, key: &str, value: &'v Spanned<DeValue<'_>>) -> Result<&'v str, FileError> {
        value
            .get_ref()
            .as_str()
            .filter(|s| !s.is_empty())
            .ok_or_else(|| self.bad(key, value, "a string that is not empty"))
    }

    fn switch(&self, key: &str, value: &Spanned<DeValue<'_>>) -> Result<bool, FileError> {
        let switch = value.get_ref().as_bool();
        switch.ok_or_else(|| self.bad(key, value, "true or false"))
    }

    fn duration(&self, key: &str, value: &Spanned<DeValue<'_>>) -> Result<Duration, FileError> {
        let expected = "a time such as \"30s\" or \"500ms\"";
        let text = value.get_ref().as_str().ok_or_else(|| self.bad(key, value, expected))?;
        super::parse_duration(text).map_err(|_| self.bad(key, value, expected))
    }

    fn count(&self, key: &str, value: &Spanned<DeValue<'_>>) -> Result<usize, FileError> {
        integer(value)
            .filter(|n| (1..=1024).contains(n))
            .ok_or_else(|| self.bad(key, value, "a number from 1 to 1024"))
    }

    /// A list of strings, each of which `parse` takes or refuses.
    fn list<T>(
        &self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        expected: &str,
        parse: impl Fn(&Spanned<DeValue<'_>>, &str) -> Result<T, FileError>,
    ) -> Result<Vec<T>, FileError> {
        let list = value.get_ref().as_array().ok_or_else(|| self.bad(key, value, expected))?;
        let parse = |item: &Spanned<DeValue<'_>>| {
            let entry = item.get_ref().as_str().ok_or_else(|| self.bad(key, item, expected))?;
            parse(item, entry)
        };
        list.iter().map(parse).collect()
    }

    fn addrs(&self, key: &str, value: &Spanned<DeValue<'_>>) -> Result<Vec<SocketAddr>, FileError> {
        let expected = "a list of addresses such as [\"0.0.0.0:4227\"]";
        self.list(key, value, expected, |item, entry| {
            entry.parse().map_err(|_| self.bad(key, item, expected))
        })
    }

    fn addr(&self, key: &str, value: &Spanned<DeValue<'_>>) -> Result<SocketAddr, FileError> {
        let addr = value.get_ref().as_str().and_then(|text| text.parse().ok());
        addr.ok_or_else(|| self.bad(key, value, "an address such as \"127.0.0.1:9464\""))
    }

    fn seeds(&self, key: &str, value: &Spanned<DeValue<'_>>) -> Result<Vec<Seed>, FileError> {
        let expected = "a list of peers and addresses such as [\"PEER@192.0.2.7:4227\"], PEER as `ares status` shows it";
        self.list(key, value, expected, |item, entry| {
            entry
                .parse()
                .map_err(|why: BadSeed| self.refused(key, item.span().start, why))
        })
    }

    fn keys(&self, key: &str, value: &Spanned<DeValue<'_>>) -> Result<Vec<PeerId>, FileError> {
        let expected = "a list of peers' keys, 64 hex digits each, as `ares status` there shows them";
        self.list(key, value, expected, |item, entry| {
            PeerId::from_hex(entry).ok_or_else(|| self.bad(key, item, expected))
        })
    }

    fn keys_or_any(&self, key: &str, value: &Spanned<DeValue<'_>>) -> Result<Keys, FileError> {
        match value.get_ref().as_str() {
            Some("any") => Ok(Keys::Any),
            _ => self.keys(key, value).map(Keys::These),
        }
    }

    fn limited(&self, key: &str, value: &Spanned<DeValue<'_>>) -> Result<BTreeMap<ReleaseId, BTreeSet<PeerId>>, FileError> {
        let expected = "a table of releases, 64 hex digits each, and of the keys that they are for";
        let DeValue::Table(table) = value.get_ref() else {
            return Err(self.bad(key, value, expected));
        };
        let parse = |(name, value): (&Spanned<Cow<'_, str>>, &Spanned<DeValue<'_>>)| {
            let key = format!("{key}.{}", name.get_ref());
            let release = ChunkId::from_hex(name.get_ref()).ok_or_else(|| self.bad(&key, value, expected))?;
            let peers = self.keys(&key, value)?;
            Ok((ReleaseId(release), peers.into_iter().collect()))
        };
        table.iter().map(parse).collect()
    }

    fn port(&self, key: &str, value: &Spanned<DeValue<'_>>) -> Result<u16, FileError> {
        let port = integer(value).filter(|port| *port > 0);
        port.ok_or_else(|| self.bad(key, value, "a UDP port, from 1 to 65535"))
    }

    /// Names or addresses with ports. Names are looked up when they are needed.
    fn hosts(&self, key: &str, value: &Spanned<DeValue<'_>>) -> Result<Vec<String>, FileError> {
        let expected = "a list of hosts and ports such as [\"dht.example.org:6881\", \"192.0.2.7:6881\"]";
        self.list(key, value, expected, |item, entry| {
            let parts = entry.rsplit_once(':');
            let is_host = parts.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0));
            is_host.then(|| entry.to_owned()).ok_or_else(|| self.bad(key, item, expected))
        })
    }

    fn zone(&self, key: &str, value: &Spanned<DeValue<'_>>) -> Result<String, FileError> {
        let text = self.string(key, value)?;
        zone_label(text).map_err(|_| self.bad(key, value, ZONE_LABEL))
    }

    /// Links to whole releases.
    fn links(&self, key: &str, value: &Spanned<DeValue<'_>>) -> Result<Vec<Link>, FileError> {
        let expected = "a list of links to whole releases, [\"ares:..\", ..], as `ares publish` prints them";
        self.list(key, value, expected, |item, entry| {
            let link = entry
                .parse()
                .map_err(|why: LinkError| self.refused(key, item.span().start, why));
            let is_whole = |link: &Link| link.inside.is_empty();
            link.and_then(|link| Some(link).filter(is_whole).ok_or_else(|| self.bad(key, item, expected)))
        })
    }

    fn patterns(&self, key: &str, value: &Spanned<DeValue<'_>>) -> Result<Vec<LanePattern>, FileError> {
        let expected = "a list of interfaces and addresses such as [\"eth*\", \"10.0.0.0/16\"]";
        self.list(key, value, expected, |item, entry| {
            self.pattern(key, item.span().start, entry)
        })
    }

    fn weights(&self, key: &str, value: &Spanned<DeValue<'_>>) -> Result<Vec<(LanePattern, u32)>, FileError> {
        let DeValue::Table(table) = value.get_ref() else {
            return Err(self.bad(key, value, "a table of interfaces or addresses, such as { eth0 = 2 }"));
        };
        let parse = |(name, value): (&Spanned<Cow<'_, str>>, &Spanned<DeValue<'_>>)| {
            let pattern = self.pattern(key, name.span().start, name.get_ref())?;
            // As `ares set --persist` writes it, too.
            let weight = text_of(value).and_then(|text| LaneRules::parse_weight(text).ok().flatten());
            let key = format!("{key}.{}", name.get_ref());
            let weight = weight.ok_or_else(|| self.bad(&key, value, "a number from 1 to 1000"))?;
            Ok((pattern, weight))
        };
        table.iter().map(parse).collect()
    }

    fn lane_caps(
        &self,
        key: &str,
        way: Direction,
        value: &Spanned<DeValue<'_>>,
        config: &mut FileConfig,
    ) -> Result<(), FileError> {
        let expected = "a table of interfaces or addresses, such as { eth0 = \"20MiB\" }";
        let parse = |at, entry: &str| self.pattern(key, at, entry);
        self.caps(key, way, value, expected, parse, &mut config.lanes_caps)
    }

    fn peer_caps(
        &self,
        key: &str,
        way: Direction,
        value: &Spanned<DeValue<'_>>,
        config: &mut FileConfig,
    ) -> Result<(), FileError> {
        let expected = "a table of `*` and keys of peers, such as { \"*\" = \"4MiB\" }";
        let parse = |at, entry: &str| entry.parse().map_err(|why: BadPeer| self.refused(key, at, why));
        self.caps(key, way, value, expected, parse, &mut config.peers_caps)
    }

    /// A number stands for itself, whatever else is written as `ares set` takes it.
    fn caps<P: PartialEq>(
        &self,
        key: &str,
        direction: Direction,
        value: &Spanned<DeValue<'_>>,
        expected: &str,
        parse: impl Fn(usize, &str) -> Result<P, FileError>,
        caps: &mut Caps<P>,
    ) -> Result<(), FileError> {
        let DeValue::Table(table) = value.get_ref() else {
            return Err(self.bad(key, value, expected));
        };
        for (name, value) in table.iter() {
            let pattern = parse(name.span().start, name.get_ref())?;
            let key = format!("{key}.{}", name.get_ref());
            let text = text_of(value).ok_or_else(|| self.bad(&key, value, "bytes per second, such as \"20MiB\""))?;
            let set = Cap::parse(text).and_then(|cap| caps.set(direction, pattern, cap));
            set.map_err(|why| self.refused(&key, value.span().start, why))?;
        }
        Ok(())
    }

    fn schedule(&self, key: &str, value: &Spanned<DeValue<'_>>) -> Result<Vec<Row>, FileError> {
        let expected =
            "tables with `when` and `set`, such as { when = \"mon-fri 08:00-18:00\", set = { \"cap-up.*\" = \"2MiB\" } }";
        let list = value.get_ref().as_array().ok_or_else(|| self.bad(key, value, expected))?;
        let row = |item: &Spanned<DeValue<'_>>| {
            let table = item.get_ref().as_table().filter(|table| table.len() == 2);
            let table = table.ok_or_else(|| self.bad(key, item, expected))?;
            let (Some(when), Some(DeValue::Table(set))) = (table.get("when"), table.get("set").map(Spanned::get_ref)) else {
                return Err(self.bad(key, item, expected));
            };
            let text = self.string("schedule.when", when)?;
            let parsed = text
                .parse()
                .map_err(|why: BadWhen| self.refused("schedule.when", when.span().start, why))?;
            let set = set.iter().map(|(name, value)| {
                let at = format!("schedule.set.{}", name.get_ref());
                let text = text_of(value).ok_or_else(|| self.bad(&at, value, "a value as `ares set` takes it"))?;
                let refused = |failure: Failure| FileError::Refused {
                    path: self.path.to_owned(),
                    line: self.line(value.span().start),
                    key: at,
                    why: failure.message,
                };
                crate::jobs::check_setting(name.get_ref(), text).map_err(refused)?;
                Ok((name.get_ref().to_string(), text.to_owned()))
            });
            let set = set.collect::<Result<_, FileError>>()?;
            Ok(Row { when: parsed, set })
        };
        list.iter().map(row).collect()
    }

    fn pattern(&self, key: &str, at: usize, entry: &str) -> Result<LanePattern, FileError> {
        entry.parse().map_err(|why: BadPattern| self.refused(key, at, why))
    }
}

/// A string, or a number as it is written.
fn text_of<'v>(value: &'v Spanned<DeValue<'_>>) -> Option<&'v str> {
    let written = value.get_ref();
    written
        .as_str()
        .or_else(|| written.as_integer().filter(|n| n.radix() == 10).map(|n| n.as_str()))
}

fn integer<N: FromStr>(value: &Spanned<DeValue<'_>>) -> Option<N> {
    value.get_ref().as_integer()?.as_str().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: &str = "76634e1668a1f2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b@192.0.2.7:4227";

    const PEER: &str = "76634e1668a1f2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b";

    const LINK: &str = "ares:afepy4q7xpaxfyesl6rhv4lhdxrclousoe2iakmywefbk2fbrbsswaaan5qpmlq";

    fn fails(text: &str) -> FileError {
        parse(Path::new("f"), text).expect_err(text)
    }

    #[test]
    fn every_key_is_read() {
        let text = "state = \"/s\"\npins = [\"{LINK}\"]\nlisten = [\"0.0.0.0:1\", \"[::]:2\"]\nlog = \"debug\"\n[node]\nshards = 2\nworkers = 3\n\
                    dial_timeout = \"5s\"\nstall_timeout = \"500ms\"\n[mount]\npatience = \"1m\"\nallow_other = true\n\
                    [lanes]\ninclude = [\"eth*\"]\nexclude = [\"10.0.0.0/8\", \"wg0\"]\nweight = { eth0 = 2, \"eth0.7\" = 1000 }\n\
                    cap_up = { \"eth*\" = \"20MiB\", wg0 = 1000000 }\ncap_down = { eth0 = \"none\", \"10.0.0.0/8\" = \"1GiB\" }\n\
                    [peers]\ncap_up = { \"*\" = \"4MiB\", {PEER} = 1000000 }\ncap_down = {}\n[swarm]\nseeds = [\"{SEED}\"]\nmdns = false\nzone = \"berlin-2\"\n[dht]\nenabled = true\nbootstrap = [\"a.example:6881\", \"192.0.2.7:1\"]\nport = 6881\n[edge]\nreleases = [\"{LINK}\"]\nupstreams = [\"{SEED}\"]\n[access]\nreader = \"any\"\nedge = [\"{PEER}\"]\npublisher = []\nadmin = [\"{PEER}\"]\nblock = []\nreleases = { {PEER} = [\"{PEER}\"] }\n[http]\nlisten = \"[::1]:9464\"\ngateway = true\nstatus = true\n[set]\ncongestion = \"bbr\"\nget-window = 8388608\n\
                    [[schedule]]\nwhen = \"mon-fri 08:00-18:00\"\nset = { \"cap-up.*\" = \"2MiB\", scrub-rate = 1048576 }\n";
        let config = parse(
            Path::new("f"),
            &text.replace("{SEED}", SEED).replace("{LINK}", LINK).replace("{PEER}", PEER),
        )
        .unwrap();
        let pattern = |entry: &str| entry.parse().unwrap();
        let peer = PeerId::from_hex(PEER).expect("a key");
        let expect = FileConfig {
            state: Some("/s".into()),
            listen: Some(vec!["0.0.0.0:1".parse().unwrap(), "[::]:2".parse().unwrap()]),
            log: Some("debug".into()),
            shards: Some(2),
            workers: Some(3),
            dial_timeout: Some(Duration::from_secs(5)),
            stall_timeout: Some(Duration::from_millis(500)),
            patience: Some(Duration::from_secs(60)),
            allow_other: Some(true),
            schedule: vec![Row {
                when: "mon-fri 08:00-18:00".parse().unwrap(),
                set: [("cap-up.*", "2MiB"), ("scrub-rate", "1048576")]
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
                    .to_vec(),
            }],
            lanes_include: Some(vec![pattern("eth*")]),
            lanes_exclude: Some(vec![pattern("10.0.0.0/8"), pattern("wg0")]),
            lanes_weight: Some(vec![(pattern("eth0"), 2), (pattern("eth0.7"), 1000)]),
            lanes_caps: {
                let mut caps = LaneCaps::default();
                for (direction, entry, cap) in [
                    (Direction::Down, "10.0.0.0/8", "1GiB"),
                    (Direction::Up, "eth*", "20MiB"),
                    (Direction::Up, "wg0", "1000000"),
                ] {
                    caps.set(direction, pattern(entry), Cap::parse(cap).unwrap()).unwrap();
                }
                caps
            },
            peers_caps: {
                let mut caps = PeerCaps::default();
                for (of, cap) in [("*", "4MiB"), (PEER, "1000000")] {
                    caps.set(Direction::Up, of.parse().unwrap(), Cap::parse(cap).unwrap())
                        .unwrap();
                }
                caps
            },
            seeds: Some(vec![SEED.parse().unwrap()]),
            mdns: Some(false),
            zone: Some("berlin-2".to_owned()),
            pins: Some(vec![LINK.parse().unwrap()]),
            dht_enabled: Some(true),
            dht_bootstrap: Some(vec!["a.example:6881".to_owned(), "192.0.2.7:1".to_owned()]),
            dht_port: Some(6881),
            edge_releases: Some(vec![LINK.parse().unwrap()]),
            edge_upstreams: Some(vec![SEED.parse().unwrap()]),
            http_listen: Some("[::1]:9464".parse().unwrap()),
            access: AccessTable {
                roles: [
                    (Role::Reader, Keys::Any),
                    (Role::Edge, Keys::These(vec![peer])),
                    (Role::Publisher, Keys::These(Vec::new())),
                    (Role::Admin, Keys::These(vec![peer])),
                ]
                .into(),
                block: Some(Keys::These(Vec::new())),
                releases: [(ReleaseId(ChunkId::from_hex(PEER).expect("a hash")), [peer].into())].into(),
            },
            http_gateway: Some(true),
            http_status: Some(true),
            set: [(Knob::Congestion, "bbr"), (Knob::GetWindow, "8MiB")]
                .map(|(knob, value)| Setting::parse(knob, value).unwrap())
                .to_vec(),
        };
        assert_eq!(config, expect);
        assert_eq!(
            parse(Path::new("f"), "node.shards = 2").unwrap().shards,
            Some(2),
            "dotted keys are the same keys"
        );
        assert_eq!(parse(Path::new("f"), "").unwrap(), FileConfig::default());
        for (key, _) in keys() {
            let error = fails(&format!("{key} = 1979-05-27"));
            assert!(
                matches!(&error, FileError::BadValue { key: k, .. } if *k == key),
                "{key} is known: {error}"
            );
        }
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_neighbour() {
        let check = |text: &str, line: usize, key: &str, nearest: Option<&str>| {
            let FileError::UnknownKey {
                line: l,
                key: k,
                nearest: n,
                ..
            } = fails(text)
            else {
                panic!("{text}: another error");
            };
            assert_eq!((l, k.as_str(), n.as_deref()), (line, key, nearest), "{text}");
        };
        check("\n\nlisen = []", 3, "lisen", Some("listen"));
        check("[node]\nshard = 2", 2, "node.shard", Some("node.shards"));
        check("shards = 2", 1, "shards", Some("node.shards"));
        check("[mount]\npatients = \"1s\"", 2, "mount.patients", Some("mount.patience"));
        check("[set]\ncongestoin = \"bbr\"", 2, "set.congestoin", Some("set.congestion"));
        check("get-window = 1", 1, "get-window", Some("set.get-window"));
        check("[swarm]\nseed = []", 2, "swarm.seed", Some("swarm.seeds"));
        check("zzz = 1", 1, "zzz", None);
        check("[xyzzy]\na = 1", 1, "xyzzy", None);
    }

    #[test]
    fn a_bad_value_is_named_with_its_line() {
        let check = |text: &str, line: usize, key: &str| {
            let error = fails(text);
            assert!(
                matches!(&error, FileError::BadValue { line: l, key: k, .. } if *l == line && k == key),
                "{text}: {error}"
            );
        };
        check("listen = [\"0.0.0.0:1\",\n \"nonsense\"]", 2, "listen");
        check("listen = \"0.0.0.0:1\"", 1, "listen");
        check("[node]\nshards = 0", 2, "node.shards");
        check("[node]\nshards = -1", 2, "node.shards");
        check("[node]\nshards = \"2\"", 2, "node.shards");
        check("node = 1", 1, "node");
        check("[mount]\npatience = 5", 2, "mount.patience");
        check("state = \"\"", 1, "state");
        check("[lanes]\ninclude = \"eth0\"", 2, "lanes.include");
        check("[lanes]\nexclude = [\"eth0\",\n7]", 3, "lanes.exclude");
        check("[lanes]\nweight = { eth0 = 0 }", 2, "lanes.weight.eth0");
        check("[lanes.weight]\neth0 = 1\nwg0 = 1001", 3, "lanes.weight.wg0");
        let check_pattern = |text: &str, line: &str, entry: &str| {
            let said = fails(text).to_string();
            assert!(said.contains(line) && said.contains(entry), "{text}: {said}");
        };
        check_pattern(
            "[lanes]\ninclude = [\"eth0\",\n\"10.0.0.300\"]",
            "line 3: `lanes.include`",
            "`10.0.0.300`",
        );
        check_pattern(
            "[lanes]\nexclude = [\"10.0.0.0/40\"]",
            "line 2: `lanes.exclude`",
            "`10.0.0.0/40`",
        );
        check("[lanes]\ncap_up = 7", 2, "lanes.cap_up");
        check("[lanes]\ncap_down = { eth0 = true }", 2, "lanes.cap_down.eth0");
        check_pattern("[lanes.cap_up]\n\"a b\" = 1000000", "line 2: `lanes.cap_up`", "`a b`");
        check_pattern("[lanes.cap_down]\neth0 = \"10MB\"", "line 2: `lanes.cap_down.eth0`", "256KiB");
        check_pattern("[lanes.weight]\n\"a b\" = 2", "line 2: `lanes.weight`", "`a b`");
        check("[peers]\ncap_up = \"4MiB\"", 2, "peers.cap_up");
        check_pattern(
            "[peers.cap_down]\neth0 = \"1MiB\"",
            "line 2: `peers.cap_down`",
            "64 hex digits",
        );
        check("[swarm]\nseeds = \"a@b\"", 2, "swarm.seeds");
        check("[swarm]\nseeds = [\n7]", 3, "swarm.seeds");
        check("[swarm]\nmdns = \"off\"", 2, "swarm.mdns");
        check("[swarm]\nzone = \"two words\"", 2, "swarm.zone");
        check("[dht]\nbootstrap = [\"a\",\n\"b:0\"]", 2, "dht.bootstrap");
        check("[dht]\nbootstrap = [\"a:1\",\n\"b:0\"]", 3, "dht.bootstrap");
        check("[dht]\nport = 65536", 2, "dht.port");
        check("[http]\nlisten = \"localhost:9464\"", 2, "http.listen");
        check("http.listen = 9464", 1, "http.listen");
        check("[access]\nedge = \"all\"", 2, "access.edge");
        check("[access]\nblock = [\"ab\"]", 2, "access.block");
        check("[access.releases]\nab = []", 2, "access.releases.ab");
        check("pins = \"ares:a\"", 1, "pins");
        check(&format!("pins = [\n\"{LINK}/part\"]"), 2, "pins");
        let said = fails("pins = [\"ares:zzz\"]").to_string();
        assert!(said.contains("line 1: `pins`") && said.contains("copy it again"), "{said}");
        let said = fails(&format!("[swarm]\nseeds = [\"{SEED}\",\n\"here:4227\"]")).to_string();
        for word in ["line 3: `swarm.seeds`", "`here:4227`", "ares status", "@192.0.2.7:4227"] {
            assert!(said.contains(word), "{word}: {said}");
        }
        check("[set]\ncongestion = \"reno\"", 2, "set.congestion");
        check("[set]\nget-window = -1", 2, "set.get-window");
        check("set = 1", 1, "set");
        assert!(matches!(fails("a = \nb = 1"), FileError::Syntax { line: 1, .. }));
        assert!(matches!(
            fails("state = \"a\"\nstate = \"b\""),
            FileError::Syntax { line: 2, .. }
        ));
    }
}
