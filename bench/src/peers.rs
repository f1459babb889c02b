//! The programs that move the same file: ours, and the two it is measured against. Each is a server that is started once and a command
//! that is run again and again.

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
        }
    }

    /// Starts the server of `file`, which lies in a directory beside the certificate.
    pub(crate) fn serve(self, node: &Node, file: &Path, mtu: u16) -> Result<Server> {
        let dir = file.parent().unwrap_or(Path::new("/")).to_owned();
        let kind = match self {
            Self::Ares => {
                let daemon = Box::new(Daemon::serve(node));
                let link = daemon.publish(file).link;
                Kind::Ares { daemon, link }
            }
            Self::Nginx => Kind::Nginx(serve_nginx(node, &dir)?),
            Self::Quinn => Kind::Quinn(serve_quinn(node, file, mtu)?),
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
        }
    }

    /// The command that fetches the file to `dest` on the client; what it keeps of its own lies in `state`.
    pub(crate) fn fetch(&self, client: &Node, file: &str, state: &Path, dest: &Path) -> Command {
        let address = self.node.listen();
        match &self.kind {
            Kind::Ares { link, .. } => daemon::get(&client.with_state(state), link, dest),
            Kind::Nginx(_) => {
                let mut curl = client.command("curl");
                curl.args(["--silent", "--show-error", "--fail", "--tlsv1.3", "--cacert"])
                    .arg(self.dir.join("cert.pem"));
                curl.arg("--resolve")
                    .arg(format!("{SERVER_NAME}:{}:{}", address.port(), address.ip()));
                curl.arg("--output")
                    .arg(dest)
                    .arg(format!("https://{SERVER_NAME}:{}/{file}", address.port()));
                curl
            }
            Kind::Quinn(_) => {
                let mut get = client.command(own_program());
                get.arg("quinn-get")
                    .arg("--cert")
                    .arg(self.dir.join("cert.pem"))
                    .arg("--mtu")
                    .arg(self.mtu.to_string());
                get.arg("--connect").arg(address.to_string()).arg(dest);
                get
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

/// This program, to be started again for another role.
pub(crate) fn own_program() -> PathBuf {
    std::env::current_exe().unwrap_or_else(|_| PathBuf::from("bench"))
}

fn serve_nginx(node: &Node, dir: &Path) -> Result<Running> {
    let missing = BenchError::NoTool {
        tool: "nginx",
        remedy: "apt-get install nginx-light",
    };
    let programs = ["/usr/sbin/nginx", "/usr/local/sbin/nginx", "/usr/bin/nginx"];
    let nginx = programs.map(PathBuf::from).into_iter().find(|p| p.is_file()).ok_or(missing)?;
    let home = node.dir().join("nginx");
    std::fs::create_dir_all(&home).map_err(io("cannot make", &home))?;
    let config = home.join("nginx.conf");
    std::fs::write(&config, nginx_config(node, dir, &home)).map_err(io("cannot write", &config))?;
    let mut command = node.command(nginx);
    command.arg("-e").arg(home.join("error.log")).arg("-c").arg(&config);
    let running = node.start(command);
    wait::until(READY, "nginx to listen", || {
        assert!(running.is_running(), "nginx ended by itself:\n{}", running.stderr());
        let mut ask = node.command("curl");
        ask.args(["--silent", "--insecure", "--output", "/dev/null"])
            .arg(format!("https://{}/cert.pem", node.listen()));
        node.run(ask).status.success().then_some(())
    });
    Ok(running)
}

/// nginx as its manual would have it for one big file: sendfile, one worker, TLS 1.3 with the cipher the others use too.
fn nginx_config(node: &Node, dir: &Path, home: &Path) -> String {
    let (listen, dir, home) = (node.listen(), dir.display(), home.display());
    // The workers read what root wrote; the user directive is refused to others.
    let user = if rustix::process::geteuid().is_root() {
        "user root;"
    } else {
        ""
    };
    format!(
        "daemon off; {user} worker_processes 1; pid {home}/pid; error_log {home}/error.log;
events {{ worker_connections 64; }}
http {{
  access_log off; sendfile on; tcp_nopush on;
  client_body_temp_path {home}/body; proxy_temp_path {home}/proxy; fastcgi_temp_path {home}/fastcgi;
  uwsgi_temp_path {home}/uwsgi; scgi_temp_path {home}/scgi;
  ssl_protocols TLSv1.3; ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;
  ssl_certificate {dir}/cert.pem; ssl_certificate_key {dir}/key.pem;
  server {{ listen {listen} ssl; root {dir}; }}
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
