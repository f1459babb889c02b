//! Files read through mounts, cold, over the network: ares beside sshfs, rclone and btfs, turn by turn, each mounted anew with nothing held. Then
//! once more from the page cache, beside the same files on the disk. Directories are listed, and each file in them is opened, read to its end
//! and closed, one after the other.

use std::fs::{self, File, Permissions};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use ares_tests::mount::Mounted;
use ares_tests::rng::Rng;
use ares_tests::run::Running;
use ares_tests::{Daemon, Lab, Node, tree, wait};
use rustix::process::Signal;
use serde_json::json;

use crate::error::{BenchError, Result, io};
use crate::peers::{Scheme, serve_nginx};
use crate::report::{Report, parse_size, say};
use crate::stats::{Spread, cell, table};
use crate::swarm::{Program, Publisher};

/// `beside`
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Files, 200 in a directory.
    #[arg(long, default_value_t = 20_000)]
    files: usize,
    /// Bytes of each; without it 0.5 to 16 KiB.
    #[arg(long, value_parser = parse_size)]
    size: Option<u64>,
    /// Runs of each.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Who mounts: ares, sshfs, rclone, btfs. The first is what the others are held against; btfs takes part with one file.
    #[arg(long, default_value = "ares,sshfs,rclone,btfs", value_delimiter = ',')]
    peers: Vec<String>,
    /// MTU of the cable, bytes.
    #[arg(long, default_value_t = 1500)]
    mtu: u16,
    /// Append one JSON line per run to this file.
    #[arg(long)]
    json: Option<PathBuf>,
}

const PATIENCE: Duration = Duration::from_secs(60);
const FILES_A_DIR: usize = 200;

pub(crate) fn run(args: &Args) -> Result<()> {
    let mut report = Report::open(args.json.as_deref())?;
    let lab = Lab::pair("bench-beside", args.mtu).ok_or(BenchError::NoLab)?;
    let (publisher, reader) = (lab.node(0), lab.node(1));
    let release = publisher.dir().join("release");
    let bytes = make(&release, args)?;
    let copy = reader.dir().join("copy");
    for dir in (0..args.files.div_ceil(FILES_A_DIR)).map(|n| copy.join(format!("d{n:03}"))) {
        fs::create_dir_all(&dir).map_err(io("cannot make", &dir))?;
    }
    for n in 0..args.files {
        fs::copy(release.join(name(n)), copy.join(name(n))).map_err(io("cannot copy to", &copy))?;
    }
    let server = Daemon::serve(publisher);
    let link = server.publish(&release).link;
    let peers: Vec<&str> = args
        .peers
        .iter()
        .map(String::as_str)
        .filter(|peer| takes_part(peer, args))
        .collect();
    let others = Others::start(publisher, &release, &peers)?;
    let dir = reader.dir().join("mounted");
    fs::create_dir(&dir).map_err(io("cannot make", &dir))?;
    let mut cold = vec![Vec::new(); peers.len()];
    let (mut again, mut disk) = (Vec::new(), Vec::new());
    let rate = |took: Duration| match args.files {
        1 => bytes as f64 / 1e6 / took.as_secs_f64(),
        files => files as f64 / took.as_secs_f64(),
    };
    for run in 1..=args.runs {
        say(&format!("run {run} of {}", args.runs));
        let state = reader.dir().join(format!("state-{run}"));
        for (&peer, cold) in peers.iter().zip(&mut cold) {
            let node = reader.with_state(&state);
            let mounted = others.mount(peer, &node, &link, &dir)?;
            let figure = rate(read_all(&dir, bytes)?);
            report.row(&json!({"row": "beside", "run": run, "files": args.files, "bytes": bytes, "peer": peer, "what": "cold", "figure": figure}));
            cold.push(figure);
            if peer == "ares" {
                let figure = rate(read_all(&dir, bytes)?);
                report.row(&json!({"row": "beside", "run": run, "files": args.files, "bytes": bytes, "peer": peer, "what": "again", "figure": figure}));
                again.push(figure);
            }
            mounted.end(reader, &dir);
        }
        read_all(&copy, bytes)?;
        disk.push(rate(read_all(&copy, bytes)?));
        let left = fs::remove_dir_all(&state);
        left.map_err(io("cannot remove", &state))?;
    }
    others.end();
    let unit = if args.files == 1 { "MB/s" } else { "files/s" };
    println!(
        "\n{} files, {bytes} bytes in all, over veth {}, {unit}, median of {} (min-max)",
        args.files, args.mtu, args.runs
    );
    let median = |figures: &[f64]| Spread::of(figures.iter().copied()).map_or(f64::NAN, |spread| spread.median);
    let mut rows = vec![["", "figure", "ares is"].map(str::to_owned).to_vec()];
    let mut row = |what: String, figures: &[f64], against: &[f64]| {
        let ratio = format!("{:.2}", median(against) / median(figures));
        rows.push(vec![what, cell(figures.iter().copied(), 0), ratio]);
    };
    for (peer, figures) in peers.iter().zip(&cold) {
        row(format!("{peer}, cold"), figures, &cold[0]);
    }
    row("ares, page cache".to_owned(), &again, &again);
    row("the disk, page cache".to_owned(), &disk, &again);
    print!("{}", table(&rows));
    Ok(())
}

/// Whether a peer is measured, which is said where it is not. What btfs takes grows with the number of files: 20,000 of them took it minutes.
fn takes_part(peer: &str, args: &Args) -> bool {
    let why = match peer {
        "btfs" if args.files > 1 => "it is measured with one file",
        "btfs" if !ares_tests::scratch::quiet(Command::new("btfs").arg("--version")) => "apt-get install btfs",
        _ => return true,
    };
    say(&format!("without btfs: {why}"));
    false
}

fn name(n: usize) -> String {
    format!("d{:03}/f{n:05}", n / FILES_A_DIR)
}

/// Makes the files; their bytes.
fn make(release: &Path, args: &Args) -> Result<u64> {
    let mut rng = Rng::new(7);
    let mut bytes = 0;
    for n in 0..args.files {
        let path = release.join(name(n));
        let dir = path.parent().unwrap_or(release);
        fs::create_dir_all(dir).map_err(io("cannot make", dir))?;
        let size = args.size.unwrap_or_else(|| 512 + rng.below((16 << 10) - 512));
        tree::big_file(&path, size, n as u64);
        bytes += size;
    }
    Ok(bytes)
}

/// How long it took to read all that is in `dir` and its directories, which must have so many bytes together. As those who copy a tree do it: list
/// a directory, then read what it has.
fn read_all(dir: &Path, bytes: u64) -> Result<Duration> {
    let list = |dir: &Path| {
        let entries =
            fs::read_dir(dir).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>());
        entries.map_err(io("cannot list", dir))
    };
    let mut buffer = vec![0; 1 << 20];
    let mut total = 0;
    let start = Instant::now();
    for path in list(dir)? {
        let files = if path.is_dir() { list(&path)? } else { vec![path] };
        for path in files {
            let mut file = File::open(&path).map_err(io("cannot open", &path))?;
            loop {
                match file.read(&mut buffer).map_err(io("cannot read", &path))? {
                    0 => break,
                    len => total += len as u64,
                }
            }
        }
    }
    let took = start.elapsed();
    let what = format!("{total} bytes in {} instead of {bytes}", dir.display());
    if total == bytes {
        Ok(took)
    } else {
        Err(BenchError::WrongResult { peer: "a mount", what })
    }
}

/// What else serves the same files, and how that is mounted.
struct Others {
    publisher: Node,
    release: PathBuf,
    home: PathBuf,
    nginx: Option<Running>,
    _sshd: Option<Running>,
    seeder: Option<Publisher>,
}

/// A mount that is there.
enum Mount {
    Ares(Mounted),
    Other(Running),
}

impl Others {
    fn start(publisher: &Node, release: &Path, peers: &[&str]) -> Result<Self> {
        let home = publisher.dir().join("ssh");
        fs::create_dir(&home).map_err(io("cannot make", &home))?;
        let nginx = peers
            .contains(&"rclone")
            .then(|| serve_nginx(publisher, release, 64, Scheme::Http))
            .transpose()?;
        let sshd = peers.contains(&"sshfs").then(|| sshd(publisher, &home)).transpose()?;
        let seeder = peers.contains(&"btfs").then(|| seed(publisher, release)).transpose()?;
        Ok(Self {
            publisher: publisher.clone(),
            release: release.to_owned(),
            home,
            nginx,
            _sshd: sshd,
            seeder,
        })
    }

    fn mount(&self, peer: &str, node: &Node, link: &str, dir: &Path) -> Result<Mount> {
        let address = self.publisher.listen();
        let mut command = match peer {
            "ares" => {
                fs::create_dir_all(node.state()).map_err(io("cannot make", node.state()))?;
                return Ok(Mount::Ares(Mounted::new(node, link, dir)));
            }
            "sshfs" => {
                let mut sshfs = node.command("sshfs");
                sshfs
                    .arg(format!("root@{}:{}", address.ip(), self.release.display()))
                    .arg(dir);
                sshfs.args([
                    "-f",
                    "-o",
                    "ro,StrictHostKeyChecking=no,UserKnownHostsFile=/dev/null,Ciphers=aes128-gcm@openssh.com",
                ]);
                sshfs
                    .arg("-o")
                    .arg(format!("port={SSH_PORT},IdentityFile={}", self.home.join("user").display()));
                sshfs
            }
            "rclone" => {
                let mut rclone = node.command("rclone");
                rclone
                    .args(["mount", ":http:"])
                    .arg(dir)
                    .arg("--http-url")
                    .arg(format!("http://{address}/"));
                rclone.args(["--config", "/dev/null", "--read-only", "--vfs-cache-mode", "off"]);
                rclone
            }
            "btfs" => {
                let mut btfs = node.command("btfs");
                btfs.arg("-f").arg(format!("--data-directory={}", node.state().display()));
                btfs.args(self.seeder.iter().filter_map(Publisher::torrent)).arg(dir);
                btfs
            }
            other => {
                return Err(BenchError::Usage {
                    given: other.to_owned(),
                    wanted: "ares, sshfs, rclone or btfs",
                });
            }
        };
        command.env("HOME", &self.home);
        let running = node.start(command);
        wait::until(PATIENCE, "the mount", || {
            assert!(running.is_running(), "{peer} ended by itself:\n{}", running.stderr());
            fs::read_dir(dir).ok()?.next().map(drop)
        });
        Ok(Mount::Other(running))
    }

    fn end(self) {
        // Killed, it would leave its worker behind.
        if let Some(nginx) = self.nginx {
            nginx.signal(Signal::TERM);
            nginx.ended_within(PATIENCE);
        }
    }
}

impl Mount {
    fn end(self, node: &Node, dir: &Path) {
        match self {
            Self::Ares(mounted) => drop(mounted.end_by(Signal::TERM).expect_ok()),
            Self::Other(running) => {
                let mut umount = node.command("umount");
                umount.arg(dir);
                node.run(umount).expect_ok();
                running.wait(PATIENCE);
            }
        }
    }
}

/// One who has the only file of `release` and gives it by BitTorrent, for who comes by a tracker beside it.
fn seed(node: &Node, release: &Path) -> Result<Publisher> {
    Program::Aria2.find()?;
    Publisher::start(Program::Aria2, node, node, &release.join(name(0)), node.dir())
}

const SSH_PORT: u16 = 4222;

/// A server of sftp that lets root in by a key of `home`.
fn sshd(node: &Node, home: &Path) -> Result<Running> {
    let sshd = Path::new("/usr/sbin/sshd");
    let (tool, remedy) = ("sshd", "apt-get install openssh-server sshfs");
    if !sshd.is_file() {
        return Err(BenchError::NoTool { tool, remedy });
    }
    fs::create_dir_all("/run/sshd").map_err(io("cannot make", Path::new("/run/sshd")))?;
    for key in ["host", "user"] {
        let mut make = node.command("ssh-keygen");
        make.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(home.join(key));
        node.run(make).expect_ok();
    }
    let config = home.join("sshd_config");
    let text = format!(
        "Port {SSH_PORT}\nHostKey {home}/host\nAuthorizedKeysFile {home}/user.pub\nPermitRootLogin yes\nStrictModes no\nUsePAM no\n\
         PidFile none\nSubsystem sftp internal-sftp\n",
        home = home.display()
    );
    fs::write(&config, text).map_err(io("cannot write", &config))?;
    fs::set_permissions(home.join("user"), Permissions::from_mode(0o600)).map_err(io("cannot guard", home))?;
    let mut command = node.command(sshd);
    command.args(["-D", "-e", "-f"]).arg(&config);
    let running = node.start(command);
    wait::until(PATIENCE, "sshd to listen", || {
        assert!(running.is_running(), "sshd ended by itself:\n{}", running.stderr());
        running.stderr().contains("Server listening").then_some(())
    });
    Ok(running)
}
