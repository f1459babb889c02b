//! What the user typed, as typed. Nothing here reads a file or the environment beyond clap's `env`; `config` turns it into what
//! the program needs.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use ares_core::path::LanePattern;
use clap::{Args, Parser, Subcommand};

use crate::config::{Seed, zone_label};

/// What is in this build, whatever the machine offers of it: `ares doctor` says that.
macro_rules! about {
    () => {
        concat!(
            "target ",
            env!("ARES_TARGET"),
            "\nfeatures: io_uring, FUSE (/dev/fuse, io_uring, passthrough), HTTP gateway, mDNS, DHT"
        )
    };
}
/// With the commit, where that is known: a plus after it says that files differed from it.
pub(crate) const VERSION: &str = if env!("ARES_COMMIT").is_empty() {
    env!("CARGO_PKG_VERSION")
} else {
    concat!(env!("CARGO_PKG_VERSION"), " (", env!("ARES_COMMIT"), ")")
};

/// And what it was built for.
const LONG_VERSION: &str = if env!("ARES_COMMIT").is_empty() {
    concat!(env!("CARGO_PKG_VERSION"), "\n", about!())
} else {
    concat!(env!("CARGO_PKG_VERSION"), " (", env!("ARES_COMMIT"), ")\n", about!())
};

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "ares",
    version = VERSION,
    long_version = LONG_VERSION,
    about = "Publish, serve, mount and get content over a verified swarm",
    after_help = "Exit codes: `ares help exit-codes`. First steps: `ares demo`, `ares doctor`.",
    disable_help_subcommand = true,
    propagate_version = true
)]
pub(crate) struct LowArgs {
    /// Flags of every subcommand.
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags of every subcommand; they may stand before or after its name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct GlobalArgs {
    /// State directory: identity, store, admin socket. Commands on one state directory share one daemon
    #[arg(long, value_name = "DIR", env = "ARES_STATE", global = true)]
    pub(crate) state: Option<PathBuf>,
    /// Config file (TOML) instead of the default one
    #[arg(long, value_name = "FILE", env = "ARES_CONFIG", global = true)]
    pub(crate) config: Option<PathBuf>,
    /// Use only interfaces or addresses like this: eth0, eth*, 10.0.1.2, 10.0.0.0/16; may be given several times
    #[arg(long, value_name = "LANE", global = true)]
    pub(crate) lane: Vec<LanePattern>,
    /// Leave interfaces or addresses like this alone; may be given several times
    #[arg(long, value_name = "LANE", global = true)]
    pub(crate) no_lane: Vec<LanePattern>,
    /// Ask this peer about every release, PEER as `ares status` there shows it; may be given several times
    #[arg(long, value_name = "PEER@IP:PORT", global = true)]
    pub(crate) seed: Vec<Seed>,
    /// Site that this machine is in, any name: what nobody there has is fetched from other sites once
    #[arg(long, value_name = "NAME", global = true, value_parser = zone_label)]
    pub(crate) zone: Option<String>,
    /// Neither look for peers on the local network nor be found there
    #[arg(long, global = true)]
    pub(crate) no_mdns: bool,
    /// Look for peers by the Mainline DHT, and `serve`: be found by it. Others of the DHT learn this machine's address
    #[arg(long, global = true)]
    pub(crate) dht: bool,
    /// `serve` and `mount`: answer HTTP here: /metrics for Prometheus, /healthz, /readyz
    #[arg(long, value_name = "IP:PORT", global = true)]
    pub(crate) http: Option<SocketAddr>,
    /// Print results and errors as JSON on stdout
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Log errors only, no notes
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Log more: -v info, -vv debug, -vvv trace. ARES_LOG takes a full filter
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// No progress bars, even on a terminal
    #[arg(long, global = true)]
    pub(crate) no_progress: bool,
    /// Progress bars even where stderr is no terminal
    #[arg(long, global = true, conflicts_with = "no_progress")]
    pub(crate) progress: bool,
}

impl GlobalArgs {
    /// The flags given that are settings of a node: one that runs already keeps its own.
    pub(crate) fn of_a_node(&self) -> Vec<&'static str> {
        let given = [
            ("--lane", !self.lane.is_empty()),
            ("--no-lane", !self.no_lane.is_empty()),
            ("--seed", !self.seed.is_empty()),
            ("--zone", self.zone.is_some()),
            ("--no-mdns", self.no_mdns),
            ("--dht", self.dht),
            ("--http", self.http.is_some()),
        ];
        given
            .into_iter()
            .filter_map(|(flag, is_given)| is_given.then_some(flag))
            .collect()
    }
}

/// The subcommands, in the order a new user meets them.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Publish, serve, mount and compare a directory between two nodes on this machine
    Demo(DemoArgs),
    /// Add a file or a directory to the store and print its link
    Publish(PublishArgs),
    /// Run the daemon: serve what was published, carry out other commands
    Serve(ServeArgs),
    /// Copy what a link names to DEST
    Get(GetArgs),
    /// Bring what a link names into the store, so that mounts read it without waiting
    Warm(WarmArgs),
    /// Show what a link names as a directory; bytes come when they are read
    Mount(MountArgs),
    /// Take a mount away, also a dead one
    Umount(UmountArgs),
    /// List a directory of a release
    Ls(LsArgs),
    /// Write a file of a release to stdout
    Cat(CatArgs),
    /// What the daemon is doing
    Status,
    /// A live picture of the daemon: rates, peers, paths, releases, the slowest read
    Top(TopArgs),
    /// The network paths of the daemon: state, round trip, rate, loss, share
    Paths,
    /// The peers of the daemon: paths, rates, bytes to and from each, what each says it holds
    #[command(
        long_about = "Who is connected, how it fares, and what it says it holds.\n\n\
            Each peer has two lines: its paths by state, the round trip of the best one, what comes and goes over all of them now (UDP payload), \
            and the chunk bytes fetched from it and served to it since the daemon's start; below, where it is and what it says it has of \
            releases. Of one that has a part, the chunks are counted that it has named: as it leaves out those that it knows to be here, \
            it has at least so many. Peers that were dropped come last, each with the reason.",
        after_long_help = "Examples:\n  ares peers\n  ares peers --json | jq '.peers[] | {peer, fetched_bytes, served_bytes, releases}'\n  \
            ares peers --json | jq '.away'"
    )]
    Peers,
    /// The releases of the daemon: how much of each is held, and who else has some
    Content(ContentArgs),
    /// Keep a release whole: fetch what is missing in the background, and let nothing take it away
    Pin(PinArgs),
    /// Take back `pin`
    Unpin(UnpinArgs),
    /// Read and hash all that the store holds again, and fetch what is wrong
    #[command(
        long_about = "Read all that the store holds from its disk and hash it again, files served in place included.\n\n\
            What is wrong is not believed and not served any more. Releases that were whole or are pinned and lack something by that are fetched \
            anew: what is wrong of them, and no more. It fails with exit code 5 where something is missing after that. The daemon serves on \
            meanwhile; without one the command does the work itself. The knob `scrub-rate` has the daemon do this all the time, in the background.",
        after_long_help = "Examples:\n  ares verify\n  ares verify --json | jq .bad_chunks\n  ares set scrub-rate 8MiB"
    )]
    Verify,
    /// Show what can be tuned in the running daemon, and tune it
    Set(SetArgs),
    /// Have the daemon read its config file again
    #[command(
        long_about = "Have the daemon of the state directory read its config file again, with the flags that it was started with.\n\n\
            What has changed there since it was last read is obeyed at once where a running daemon can: knobs under [set], caps under [lanes] and [peers], \
            and pins. The rest is named, and holds after a restart. A file that is wrong changes nothing.",
        after_long_help = "Examples:\n  ares reload\n  systemctl reload ares"
    )]
    Reload,
    /// Check this machine: kernel, limits, FUSE, disk, port; or say why a release is slow
    Doctor(DoctorArgs),
    /// Write down how this machine and the daemon are, without secrets, for whoever is to look into a fault
    Bugreport(BugreportArgs),
    /// Help on a subcommand, or on `exit-codes`
    Help(HelpArgs),
    /// Print what a shell needs to complete this program's command lines
    #[command(
        after_long_help = "Examples:\n  ares completions bash > /etc/bash_completion.d/ares\n  ares completions fish > ~/.config/fish/completions/ares.fish"
    )]
    Completions(CompletionsArgs),
    /// Mount for the daemon that asks on standard input; for systemd, not for people
    #[command(hide = true)]
    MountHelper,
    /// Print a manual page, or write all of them to a directory
    #[command(after_long_help = "Examples:\n  ares man mount | man -l -\n  ares man --dir /usr/local/share/man/man1")]
    Man(ManArgs),
}

/// `ares demo`
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// What to publish; without it a sample tree is made
    pub(crate) dir: Option<PathBuf>,
}

/// `ares publish`
#[derive(Debug, Args)]
pub(crate) struct PublishArgs {
    /// A file or a directory
    pub(crate) path: PathBuf,
    /// Name in the link; without it the last part of PATH
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Stay in the foreground and serve it, where no daemon runs
    #[arg(long)]
    pub(crate) serve: bool,
    /// Copy large files into the store instead of serving them from where they are
    #[arg(long)]
    pub(crate) copy: bool,
    /// Leave out files that change while they are read or may not be read, instead of failing
    #[arg(long)]
    pub(crate) skip_changed: bool,
    /// Record each file's BLAKE3 (what b3sum prints) in the release; `ares ls --json` shows it
    #[arg(long)]
    pub(crate) b3: bool,
    /// Attach this access profile (`ares mount profile`): mounts fetch ahead what it names
    #[arg(long, value_name = "FILE")]
    pub(crate) profile: Option<PathBuf>,
}

/// `ares serve`
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Address to listen on (UDP); may be given several times
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) listen: Vec<SocketAddr>,
}

/// `ares get`
#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// A link, with an optional /path inside the release
    pub(crate) link: OsString,
    /// A file lands at DEST (in it, if DEST is a directory); the entries of a directory land in DEST
    #[arg(required_unless_present = "discard")]
    pub(crate) dest: Option<PathBuf>,
    /// Replace existing files that differ
    #[arg(long)]
    pub(crate) force: bool,
    /// Fetch and verify everything anew and keep nothing: tells what the network delivers
    #[arg(long, conflicts_with_all = ["dest", "force"])]
    pub(crate) discard: bool,
}

/// `ares warm`
#[derive(Debug, Args)]
#[command(
    long_about = "Bring a release, a directory or a file of one into the store, without writing it anywhere else: mounts and other commands on the \
        same state directory then read it from there, also offline.\n\n\
        It is fetched behind whatever somebody waits for. What is held already is not fetched again, so a command that was interrupted goes on \
        where it was. `ares pin` does the same in the background, and again whenever something is missing.",
    after_long_help = "Examples:\n  ares warm ares:...\n  ares warm ares:.../models/large\n  ares warm ares:... models/large\n  \
        ares warm ares:... --json | jq .fetched_bytes"
)]
pub(crate) struct WarmArgs {
    /// A link, with an optional /path inside the release
    pub(crate) link: OsString,
    /// A file or directory below what the link names
    pub(crate) path: Option<PathBuf>,
}

/// `ares mount`
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    subcommand_value_name = "add|remove",
    long_about = "Show what a link names as a directory, read-only; bytes come when they are read. It stays in the foreground until it is \
        unmounted, or with --detach in the running daemon, else in the background.\n\n\
        With --root it is a directory of names that has none at first: `ares mount add` shows a release under one, `ares mount remove` takes it \
        away, `ares mount add --replace` gives it to another release at once. Files and directories that are open stay on the release that they \
        were opened in.",
    after_long_help = "Examples:\n  ares mount ares:... /mnt/release\n  ares mount ares:.../models /mnt/models --detach --allow-other --umask 022\n  \
        ares mount ares:... /mnt/release --offline\n  ares mount --root /mnt/all --detach\n  ares mount add ares:... /mnt/all/v1\n  \
        ares mount add --replace ares:... /mnt/all/current\n  ares mount remove /mnt/all/v1"
)]
pub(crate) struct MountArgs {
    /// What to do to a mount that was made with --root
    #[command(subcommand)]
    pub(crate) action: Option<MountAction>,
    /// A link, with an optional /path to a directory inside the release
    #[arg(required_unless_present = "root")]
    pub(crate) link: Option<OsString>,
    /// An empty directory
    #[arg(required_unless_present = "root")]
    pub(crate) dir: Option<PathBuf>,
    /// Make a mount of names at DIR, an empty directory, for `ares mount add` to fill
    #[arg(long, value_name = "DIR", conflicts_with_all = ["link", "dir"])]
    pub(crate) root: Option<PathBuf>,
    /// Return once the mount answers, and leave it to the background
    #[arg(long)]
    pub(crate) detach: bool,
    /// Let other users in (needs root, or user_allow_other in /etc/fuse.conf)
    #[arg(long)]
    pub(crate) allow_other: bool,
    /// Read what is held and nothing else: no peer is asked, and what is not held fails with EIO at once
    #[arg(long)]
    pub(crate) offline: bool,
    /// Whose everything in it is shown to be, as a number; without it yours
    #[arg(long, value_name = "NUMBER")]
    pub(crate) uid: Option<u32>,
    /// The same for the group
    #[arg(long, value_name = "NUMBER")]
    pub(crate) gid: Option<u32>,
    /// Permission bits, octal, that are taken away from all files and directories
    #[arg(long, value_name = "OCTAL", value_parser = parse_mode)]
    pub(crate) umask: Option<u16>,
    /// Permission bits of all files in place of the release's
    #[arg(long, value_name = "OCTAL", value_parser = parse_mode)]
    pub(crate) fmode: Option<u16>,
    /// Permission bits of all directories in place of the release's
    #[arg(long, value_name = "OCTAL", value_parser = parse_mode)]
    pub(crate) dmode: Option<u16>,
    /// How long a read may wait for a source before it fails with EIO [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = crate::config::parse_duration)]
    pub(crate) patience: Option<std::time::Duration>,
    /// Name shown by `df` and in /proc/mounts; without it the release's name
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Whether the kernel reads files that are held whole by itself; auto: where the release's files are large
    #[arg(long, value_enum, value_name = "WHEN", default_value = "auto")]
    pub(crate) passthrough: When,
    /// How the kernel is spoken with; fuser: by another program's hand, which cannot be interrupted while it waits
    #[arg(long, value_enum, value_name = "WAY", default_value = "dev")]
    pub(crate) transport: Way,
    /// An access profile (`ares mount profile`) whose parts are fetched ahead, in place of the release's own
    #[arg(long, value_name = "FILE", conflicts_with = "no_profile")]
    pub(crate) profile: Option<PathBuf>,
    /// Fetch nothing ahead but what goes on where somebody reads
    #[arg(long)]
    pub(crate) no_profile: bool,
    /// Set by --detach on the process it starts; not for people.
    #[arg(long, hide = true)]
    pub(crate) detached_child: bool,
}

/// Permission bits as chmod(1) has them: `022`, `0755`.
fn parse_mode(text: &str) -> Result<u16, String> {
    let is_octal = !text.is_empty() && text.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
    let mode = u16::from_str_radix(text, 8).ok().filter(|mode| is_octal && *mode <= 0o777);
    mode.ok_or_else(|| format!("`{text}` is no mode: write octal digits up to 777, such as 022"))
}

/// What is done to a mount of names.
#[derive(Debug, Subcommand)]
pub(crate) enum MountAction {
    /// Show a release under a name
    Add {
        /// A link, with an optional /path to a directory inside the release
        link: OsString,
        /// A mount that was made with --root, and the name in it
        #[arg(value_name = "DIR/NAME")]
        at: PathBuf,
        /// Give the name to this release where another has it: what is open stays on that
        #[arg(long)]
        replace: bool,
    },
    /// Print what was read so far and what came first, for `--profile` of the next mount or of `ares publish`
    Profile {
        /// A mount, or DIR/NAME
        #[arg(value_name = "DIR")]
        at: PathBuf,
    },
    /// Show a name no more: what is open of it stays readable
    #[command(visible_alias = "rm")]
    Remove {
        /// The mount and the name in it
        #[arg(value_name = "DIR/NAME")]
        at: PathBuf,
    },
}

/// When a means is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum When {
    Auto,
    Always,
    Never,
}

/// How the kernel is spoken with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Way {
    Dev,
    Uring,
    Fuser,
}

/// `ares umount`
#[derive(Debug, Args)]
pub(crate) struct UmountArgs {
    /// The mount point
    pub(crate) dir: PathBuf,
    /// Take it away even where files are open: they stay readable, no new ones can be opened
    #[arg(long, short = 'z')]
    pub(crate) lazy: bool,
}

/// `ares ls`
#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// A link, with an optional /path inside the release
    pub(crate) link: OsString,
    /// Mode, size and time before each name
    #[arg(short, long)]
    pub(crate) long: bool,
}

/// `ares cat`
#[derive(Debug, Args)]
pub(crate) struct CatArgs {
    /// A link, with the /path of a file where the release is not a single file
    pub(crate) link: OsString,
}

/// `ares content`
#[derive(Debug, Args)]
#[command(
    long_about = "What the store has of releases, and who else has some.\n\n\
        Without RELEASE it lists all. Of one that is not complete, HELD is what has come since the daemon's start or was asked for and found \
        to be here, manifest included: there may be more. With RELEASE it looks through that release's manifest, as far as it is here, and \
        says exactly which of its chunks are, each counted once: how many bytes in the store's own files, how many in place in the \
        publisher's, how many are missing.\n\n\
        FETCHED is what came from peers since the daemon's start. What was served is not told apart by release, for peers ask by chunk.",
    after_long_help = "Examples:\n  ares content\n  ares content 65f4a17319\n  \
        ares content ares:... --json | jq '{held_bytes, missing_bytes, peers}'"
)]
pub(crate) struct ContentArgs {
    /// A release by the first digits of its hash, by its name or by its link
    pub(crate) release: Option<OsString>,
}

/// `ares pin`
#[derive(Debug, Args)]
#[command(
    long_about = "Keep a release whole, by the running daemon of the state directory.\n\n\
        It returns as soon as the pin is on stable storage: from then on it survives a restart and a power cut. The daemon fetches what is \
        missing in the background, behind what somebody waits for, and serves what has come; while nobody has the release it tries again, \
        more and more seldom, at least every five minutes. Pinning it again tries at once, and takes the addresses of the new link.\n\n\
        Without LINK it lists what is pinned and how far each is. Pins that stand in the config file (`pins`) last as long as they stand there.",
    after_long_help = "Examples:\n  ares pin ares:...\n  ares pin\n  ares pin --json | jq '.pins[] | {name, state, held_bytes, bytes, why}'"
)]
pub(crate) struct PinArgs {
    /// A link to a whole release
    pub(crate) link: Option<OsString>,
}

/// `ares unpin`
#[derive(Debug, Args)]
#[command(
    long_about = "Take back `ares pin`. What is being fetched for it stops; what is here of the release stays until something else takes its place."
)]
pub(crate) struct UnpinArgs {
    /// A pinned release by the first digits of its hash, by its name or by its link
    pub(crate) release: OsString,
}

/// `ares set`
#[derive(Debug, Args)]
#[command(
    long_about = "Show what can be tuned in the running daemon of the state directory, and tune it.\n\n\
        Without KEY it lists every knob: its value, its default, what it may be, and what turning it does. With KEY it shows that one. \
        With a value it turns it, at once: nothing is restarted and transfers go on. The daemon's log says who turned what.\n\n\
        A change lasts until the daemon ends, unless --persist writes it to the config file as well. What it starts with stands there under [set], \
        with the same keys and values.\n\n\
        `cap-up.LANES` and `cap-down.LANES` are how much lanes like these may carry, in bytes per second: `cap-up.eth0`, `cap-down.wg*`, \
        `cap-up.10.0.0.0/16`. All lanes that are like one share it. `none` lifts it. The config file has them under [lanes].\n\n\
        `peer-cap-up.*` and `peer-cap-down.*` are how much each peer may be sent and may send, over all of its paths; with the 64 digits that \
        `ares peers --json` has in place of `*` it is that peer alone, whatever holds for each. The config file has them under [peers].",
    after_long_help = "Examples:\n  ares set\n  ares set congestion\n  ares set congestion bbr\n  ares set get-window=128MiB --persist\n  \
        ares set path-mode standby --release ares:...\n  ares set cap-up.eth0 20MiB\n  ares set cap-up.eth0 none\n  ares set 'peer-cap-up.*' 4MiB\n  \
        ares set --json | jq '.knobs[] | {key, value}'"
)]
pub(crate) struct SetArgs {
    /// A knob, or KEY=VALUE
    #[arg(value_name = "KEY")]
    pub(crate) key: Option<String>,
    /// What to turn it to: one of its words, or bytes such as 4194304, 4096KiB, 4MiB, 1GiB
    pub(crate) value: Option<String>,
    /// Turn it for the release of this link alone (`path-mode`)
    #[arg(long, value_name = "LINK")]
    pub(crate) release: Option<OsString>,
    /// Write it to the daemon's config file too, so that it holds after a restart
    #[arg(long, requires = "key", conflicts_with = "release")]
    pub(crate) persist: bool,
}

/// `ares doctor`
#[derive(Debug, Args)]
#[command(
    long_about = "Check this machine, and name the remedy for what is in the way.\n\n\
        With RELEASE it looks at the running daemon for a second, and says what holds that release up: the disk, the processor, a path, \
        too few sources, or the window of what is asked at a time; with numbers, and the remedy.",
    after_long_help = "Examples:\n  ares doctor\n  ares doctor 65f4a17319\n  ares doctor --json | jq '.checks[] | select(.verdict != \"ok\")'"
)]
pub(crate) struct DoctorArgs {
    /// A release by the first digits of its hash, by its name or by its link
    pub(crate) release: Option<OsString>,
}

/// `ares bugreport`
#[derive(Debug, Args)]
#[command(
    long_about = "Write down how this machine and the daemon are, as one JSON file: version, checks, status, knobs, limits, kernel.\n\n\
        Names of releases and peers are cut short, so that nobody can fetch anything by it; keys, links and the config file are not in it. \
        Addresses of peers and names of releases are: read it before you send it.",
    after_long_help = "Examples:\n  ares bugreport report.json\n  ares bugreport | less"
)]
pub(crate) struct BugreportArgs {
    /// Where to; without it, stdout
    pub(crate) file: Option<PathBuf>,
}

/// `ares top`
#[derive(Debug, Args)]
#[command(
    long_about = "A live picture of the daemon of the state directory, for a terminal of 80 columns or more: bytes that come and go now and in the \
        minutes before, the store and its quota, peers and paths with the busiest first, releases, and the read of a mount that has waited \
        longest. It asks once a second; q ends it.\n\nWith --once or --json it prints one moment of that.",
    after_long_help = "Examples:\n  ares top\n  ares top --once\n  ares top --json | jq '{rx_bytes_per_s, tx_bytes_per_s}'"
)]
pub(crate) struct TopArgs {
    /// Print one moment and end
    #[arg(long)]
    pub(crate) once: bool,
}

/// `ares completions`
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// Which shell
    pub(crate) shell: clap_complete::Shell,
}

/// `ares man`
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// The page of this subcommand; without it that of the program
    pub(crate) command: Option<String>,
    /// Write all pages to this directory
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    pub(crate) dir: Option<PathBuf>,
}

/// `ares help`
#[derive(Debug, Args)]
pub(crate) struct HelpArgs {
    /// A subcommand, or `exit-codes`
    pub(crate) topic: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<LowArgs, clap::error::ErrorKind> {
        LowArgs::try_parse_from(line.split_whitespace()).map_err(|e| e.kind())
    }

    #[test]
    fn what_people_type_parses() {
        let ok = [
            "ares --state /s serve --listen 10.0.0.1:4227 --listen [::1]:4227",
            "ares serve --state /s --json",
            "ares get --lane eth* --lane 10.0.0.0/8 --no-lane wg0 ares:abc out",
            "ares mount a b --no-mdns --seed 76634e1668a1f2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b@[::1]:1",
            "ares publish /srv/x --name v1 --json",
            "ares publish --serve --copy --skip-changed --b3 /srv/x",
            "ares get ares:abc out --force --no-progress",
            "ares get ares:abc --discard --json",
            "ares mount ares:abc /mnt --detach --allow-other --patience 500ms --passthrough never",
            "ares mount ares:abc /mnt --transport fuser",
            "ares mount --root /mnt --detach --allow-other",
            "ares mount add ares:abc /mnt/v1 --json",
            "ares mount add --replace ares:abc /mnt/v1",
            "ares mount remove /mnt/v1",
            "ares mount ares:abc /mnt --offline --uid 1000 --gid 0 --umask 022 --fmode 0444 --dmode=555",
            "ares umount -z /mnt",
            "ares warm ares:abc --json",
            "ares warm ares:abc/dir some/file --progress",
            "ares ls -l ares:abc/dir",
            "ares cat ares:abc/file -vv",
            "ares status --json",
            "ares paths --json",
            "ares peers",
            "ares peers --json",
            "ares content",
            "ares content 65f4a17319 --json",
            "ares get ares:abc out --dht",
            "ares serve --http 127.0.0.1:9464",
            "ares pin",
            "ares pin ares:abc --json",
            "ares unpin 65f4a17319",
            "ares verify --json",
            "ares set",
            "ares set congestion --json",
            "ares set get-window 8MiB",
            "ares set get-window=8MiB",
            "ares -q doctor",
            "ares doctor 65f4a17319",
            "ares bugreport out.json",
            "ares set get-window 8MiB --persist",
            "ares demo",
            "ares help exit-codes",
            "ares reload --json",
            "ares top --once --json",
            "ares completions bash",
            "ares man mount",
            "ares man --dir /tmp/man",
        ];
        for line in ok {
            assert!(parse(line).is_ok(), "{line}: {:?}", parse(line).err());
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        use clap::error::ErrorKind as E;
        let check = |line: &str, kind: E| assert_eq!(parse(line).err(), Some(kind), "{line}");
        check("ares", E::DisplayHelpOnMissingArgumentOrSubcommand);
        check("ares sevre", E::InvalidSubcommand);
        check("ares publish", E::MissingRequiredArgument);
        check("ares serve --listen 10.0.0.1", E::ValueValidation);
        check("ares serve --listen host:1", E::ValueValidation);
        check("ares serve --lane 10.0.0.0/33", E::ValueValidation);
        check("ares serve --http localhost:9464", E::ValueValidation);
        check("ares serve --seed 76634e1668@10.0.0.1:4227", E::ValueValidation);
        check("ares mount a b --patience 5", E::ValueValidation);
        check("ares mount a b --patience=-5s", E::ValueValidation);
        check("ares mount a b --uid root", E::ValueValidation);
        check("ares mount a", E::MissingRequiredArgument);
        check("ares mount --root /m a b", E::ArgumentConflict);
        check("ares mount add ares:abc", E::MissingRequiredArgument);
        check("ares mount remove", E::MissingRequiredArgument);
        check("ares mount remove a --replace", E::UnknownArgument);
        check("ares mount a b --umask 888", E::ValueValidation);
        check("ares mount a b --fmode +7", E::ValueValidation);
        check("ares mount a b --dmode 1777", E::ValueValidation);
        check("ares status --quiet -v", E::ArgumentConflict);
        check("ares get ares:abc", E::MissingRequiredArgument);
        check("ares get a b c", E::UnknownArgument);
        check("ares set a b c", E::UnknownArgument);
        check("ares set --persist", E::MissingRequiredArgument);
        check("ares bugreport a b", E::UnknownArgument);
        check("ares pin a b", E::UnknownArgument);
        check("ares unpin", E::MissingRequiredArgument);
        check("ares warm", E::MissingRequiredArgument);
        check("ares warm a b c", E::UnknownArgument);
        check("ares peers a", E::UnknownArgument);
        check("ares verify a", E::UnknownArgument);
        check("ares completions csh", E::InvalidValue);
        check("ares man mount --dir x", E::ArgumentConflict);
        check("ares content a b", E::UnknownArgument);
        check("ares set get-window -1", E::UnknownArgument);
        check("ares get a b --discard", E::ArgumentConflict);
        check("ares get a --discard --force", E::ArgumentConflict);
    }

    #[test]
    fn definitions_are_sound() {
        use clap::CommandFactory as _;
        LowArgs::command().debug_assert();
    }
}
