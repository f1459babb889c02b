//! The programs that move the same file: ours, and those it is measured against. Each is a server that is started once and a command
//! that is run again and again; `dd` needs no server.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ares_tests::{Daemon, Node, Running, daemon, wait};
use rustix::process::Signal;

use crate::error::{BenchError, Result, io};
use crate::meter;

/// Name that the certificate of the baselines is made out to.
pub(crate) const SERVER_NAME: &str = "bench.invalid";

const READY: Duration = Duration::from_secs(120);

/// A program under measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Peer {
    /// `ares serve` and `ares get`.
    Ares,
    /// nginx with TLS 1.3 (AES-128-GCM) and curl.
    Nginx,
    /// A plain program on `quinn` with tokio's sockets: `bench quinn-serve` and `bench quinn-get`.
    Quinn,
    /// `dd` from the page cache, no network: what the destination takes.
    Dd,
}

/// A server that is ready.
pub(crate) struct Server {
    kind: Kind,
    node: Node,
    dir: PathBuf,
    mtu: u16,
}

enum Kind {
    Ares { daemon: Box<Daemon>, link: String },
    Nginx(Running),
    Quinn(Running),
    Dd,
}

/// Readers in one process, as `bench readers` runs them.
pub(crate) struct Readers {
    /// How many.
    pub count: usize,
    /// How long, seconds.
    pub seconds: u64,
    /// Bytes each has asked for at any time, where it is the reader who decides.
    pub window: u64,
    /// Whether they ask nothing.
    pub idle: bool,
}

/// A certificate for the baselines, as PEM files in `dir`: `cert.pem`, `key.pem`.
pub(crate) fn make_certificate(dir: &Path) -> Result<()> {
    let made = rcgen::generate_simple_self_signed([SERVER_NAME.to_owned()]).map_err(|e| BenchError::Quic(e.to_string()))?;
    for (name, text) in [("cert.pem", made.cert.pem()), ("key.pem", made.signing_key.serialize_pem())] {
        std::fs::write(dir.join(name), text).map_err(io("cannot write", &dir.join(name)))?;
    }
    Ok(())
}

impl Peer {
    /// Name in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ares => "ares",
            Self::Nginx => "nginx+curl",
            Self::Quinn => "quinn",
            Self::Dd => "dd",
        }
    }

    /// Name in tables where the client is another.
    pub(crate) fn server_name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            other => other.name(),
        }
    }

    /// Starts the server of `file`, which lies in a directory beside the certificate, for so many clients at once.
    pub(crate) fn serve(self, node: &Node, file: &Path, mtu: u16, clients: usize) -> Result<Server> {
        let dir = file.parent().unwrap_or(Path::new("/")).to_owned();
        let kind = match self {
            Self::Ares => {
                let daemon = Box::new(Daemon::serve(node));
                let link = daemon.publish(file).link;
                Kind::Ares { daemon, link }
            }
            Self::Nginx => Kind::Nginx(serve_nginx(node, &dir, clients, Scheme::Https)?),
            Self::Quinn => Kind::Quinn(serve_quinn(node, file, mtu)?),
            Self::Dd => Kind::Dd,
        };
        Ok(Server {
            kind,
            node: node.clone(),
            dir,
            mtu,
        })
    }
}

impl Server {
    /// Its processes.
    pub(crate) fn pids(&self) -> Vec<u32> {
        match &self.kind {
            Kind::Ares { daemon, .. } => meter::family(daemon.pid()),
            Kind::Nginx(running) | Kind::Quinn(running) => meter::family(running.pid()),
            Kind::Dd => Vec::new(),
        }
    }

    /// The command that reads `file` as many at once, from these addresses of the client where that matters.
    pub(crate) fn readers(&self, client: &Node, file: &Path, from: &[IpAddr], readers: &Readers) -> Result<Command> {
        let mut command = client.command(own_program());
        command.arg("readers");
        command.arg("--readers").arg(readers.count.to_string());
        command.arg("--seconds").arg(readers.seconds.to_string());
        if readers.idle {
            command.arg("--idle-on").arg(listed(&self.pids()));
        }
        match &self.kind {
            Kind::Ares { link, .. } => {
                command.arg("ares").arg(link).arg("--from").arg(listed(from));
                command.arg("--window").arg(readers.window.to_string());
                command.arg("--mtu").arg(self.mtu.to_string());
            }
            Kind::Nginx(_) => {
                let size = file.metadata().map_err(io("cannot look at", file))?.len();
                command.arg("https").arg(self.node.listen().to_string());
                command.arg(file.file_name().unwrap_or_default());
                command.arg("--cert").arg(self.dir.join("cert.pem"));
                command.arg("--size").arg(size.to_string());
            }
            Kind::Quinn(_) | Kind::Dd => {
                return Err(BenchError::Usage {
                    given: "a peer without readers".to_owned(),
                    wanted: "a server with readers here: ares, nginx",
                });
            }
        }
        Ok(command)
    }

    /// The command that fetches the file to `dest` on the client, or verifies and drops it; what it keeps of its own lies in `state`.
    pub(crate) fn fetch(&self, client: &Node, file: &str, state: &Path, dest: Option<&Path>) -> Command {
        let address = self.node.listen();
        let or_null = dest.unwrap_or(Path::new("/dev/null"));
        match (&self.kind, dest) {
            (Kind::Ares { link, .. }, Some(dest)) => daemon::get(&client.with_state(state), link, dest),
            (Kind::Ares { link, .. }, None) => daemon::discard(client, link),
            (Kind::Nginx(_), _) => {
                let mut curl = client.command("curl");
                curl.args(["--silent", "--show-error", "--fail", "--tlsv1.3", "--cacert"])
                    .arg(self.dir.join("cert.pem"));
                curl.arg("--resolve")
                    .arg(format!("{SERVER_NAME}:{}:{}", address.port(), address.ip()));
                curl.arg("--output")
                    .arg(or_null)
                    .arg(format!("https://{SERVER_NAME}:{}/{file}", address.port()));
                curl
            }
            (Kind::Quinn(_), dest) => {
                let mut get = client.command(own_program());
                get.arg("quinn-get")
                    .arg("--cert")
                    .arg(self.dir.join("cert.pem"))
                    .arg("--mtu")
                    .arg(self.mtu.to_string());
                get.arg("--connect").arg(address.to_string()).args(dest);
                get
            }
            (Kind::Dd, _) => {
                let [mut from, mut to] = ["if=", "of="].map(std::ffi::OsString::from);
                from.push(self.dir.join(file));
                to.push(or_null);
                let mut dd = client.command("dd");
                dd.args([from, to]).args(["bs=1M", "status=none"]);
                dd
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Kind::Nginx(running) = &self.kind {
            // Killed, it would leave its worker behind, on the address the next one needs.
            running.signal(Signal::TERM);
            running.ended_within(READY);
        }
    }
}

/// As a command line takes a list.
fn listed(items: &[impl ToString]) -> String {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    items.join(",")
}

/// This program, to be started again for another role.
pub(crate) fn own_program() -> PathBuf {
    std::env::current_exe().unwrap_or_else(|_| PathBuf::from("bench"))
}

/// How nginx is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Http,
    /// With the certificate in the directory that is served.
    Https,
}

impl Scheme {
    fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// nginx with the files of `dir` at the node's address, for so many clients at once. It is to be ended by SIGTERM: killed, it would leave its
/// worker behind.
pub(crate) fn serve_nginx(node: &Node, dir: &Path, clients: usize, scheme: Scheme) -> Result<Running> {
    let missing = BenchError::NoTool {
        tool: "nginx",
        remedy: "apt-get install nginx-light",
    };
    let programs = ["/usr/sbin/nginx", "/usr/local/sbin/nginx", "/usr/bin/nginx"];
    let nginx = programs.map(PathBuf::from).into_iter().find(|p| p.is_file()).ok_or(missing)?;
    let home = node.dir().join("nginx");
    std::fs::create_dir_all(&home).map_err(io("cannot make", &home))?;
    let config = home.join("nginx.conf");
    std::fs::write(&config, nginx_config(node, dir, &home, clients, scheme)).map_err(io("cannot write", &config))?;
    let mut command = node.command(nginx);
    command.arg("-e").arg(home.join("error.log")).arg("-c").arg(&config);
    let running = node.start(command);
    wait::until(READY, "nginx to listen", || {
        assert!(running.is_running(), "nginx ended by itself:\n{}", running.stderr());
        let mut ask = node.command("curl");
        ask.args(["--silent", "--insecure", "--output", "/dev/null"])
            .arg(format!("{}://{}/", scheme.name(), node.listen()));
        node.run(ask).status.success().then_some(())
    });
    Ok(running)
}

/// nginx as its manual would have it for one big file: sendfile, one worker; TLS 1.3 with the cipher the others use too.
fn nginx_config(node: &Node, dir: &Path, home: &Path, clients: usize, scheme: Scheme) -> String {
    // Its listener, the channel to its master and log files take a place or a descriptor each; an answer takes one for the file.
    let (connections, files) = (clients + 64, 2 * clients + 64);
    let (listen, dir, home) = (node.listen(), dir.display(), home.display());
    let tls = match scheme {
        Scheme::Http => String::new(),
        Scheme::Https => format!(
            "ssl_protocols TLSv1.3; ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;
  ssl_certificate {dir}/cert.pem; ssl_certificate_key {dir}/key.pem;"
        ),
    };
    let ssl = match scheme {
        Scheme::Http => "",
        Scheme::Https => " ssl",
    };
    // The workers read what root wrote; the user directive is refused to others.
    let user = if rustix::process::geteuid().is_root() {
        "user root;"
    } else {
        ""
    };
    format!(
        "daemon off; {user} worker_processes 1; pid {home}/pid; error_log {home}/error.log;
worker_rlimit_nofile {files};
events {{ worker_connections {connections}; }}
http {{
  access_log off; sendfile on; tcp_nopush on;
  client_body_temp_path {home}/body; proxy_temp_path {home}/proxy; fastcgi_temp_path {home}/fastcgi;
  uwsgi_temp_path {home}/uwsgi; scgi_temp_path {home}/scgi;
  {tls}
  server {{ listen {listen}{ssl}; root {dir}; autoindex on; }}
}}
"
    )
}

fn serve_quinn(node: &Node, file: &Path, mtu: u16) -> Result<Running> {
    let dir = file.parent().unwrap_or(Path::new("/"));
    let mut command = node.command(own_program());
    command
        .arg("quinn-serve")
        .arg("--cert")
        .arg(dir.join("cert.pem"))
        .arg("--key")
        .arg(dir.join("key.pem"));
    command
        .arg("--mtu")
        .arg(mtu.to_string())
        .arg("--listen")
        .arg(node.listen().to_string())
        .arg(file);
    let running = node.start(command);
    wait::until(READY, "the QUIC baseline to listen", || {
        assert!(
            running.is_running(),
            "the QUIC baseline ended by itself:\n{}",
            running.stderr()
        );
        running.stdout().contains("ready").then_some(())
    });
    Ok(running)
}
