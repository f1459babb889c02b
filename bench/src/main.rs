//! Measures what Ares costs, with the programs people use today in the same run on the same machine: `cargo run -p bench --release --
//! transfer`. Figures go to stdout as tables and, with `--json FILE`, one line per run; it decides nothing and keeps nothing.

mod beside;
mod demo_tree;
mod error;
mod failover;
mod far;
mod gateway;
mod host;
mod interrupt;
mod limits;
mod meter;
mod mount;
mod peers;
mod publish;
mod quinn_peer;
mod readers;
mod reads;
mod report;
mod scrape;
mod serve;
mod sink;
mod soak;
mod stats;
mod swarm;
mod transfer;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Measures Ares and its peers. Build `ares` with the same profile first: cargo build --release -p ares.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    job: Job,
}

#[derive(Debug, Subcommand)]
enum Job {
    /// One incompressible file from one network namespace to another: MB/s, CPU s/GB, memory, system calls.
    Transfer(transfer::Args),
    /// Publishing warm files against hashing them with b3sum.
    Publish(publish::Args),
    /// From `ares mount` to the first byte, and a cold sequential read against `get`.
    Mount(mount::Args),
    /// Files read through mounts over the network, cold, beside sshfs, rclone and btfs.
    Beside(beside::Args),
    /// A mount over a long link: random reads of what is not held, and a start with and without an access profile.
    Far(far::Args),
    /// Reading what is held through the mount, against the same file on the disk itself: cold, warm, mapped, in small pieces.
    Reads(reads::Args),
    /// Mounts read for minutes while daemons are killed and the network is cut: wrong bytes, late reads, leaks.
    Soak(soak::Args),
    /// A real tree (the Rust sysroot) published once, fetched by one machine, mounted on another, compared.
    DemoTree(demo_tree::Args),
    /// What the machine allows: memory, ciphers, hashing, tmpfs, UDP and TCP by themselves.
    Limits(limits::Args),
    /// One end of a link; started by `limits`.
    #[command(hide = true)]
    LimitsFlow(limits::FlowArgs),
    /// One server, many readers: rate, fairness, memory; and connections that ask nothing.
    Serve(serve::Args),
    /// Two paths, two peers: how long nothing arrives when one of them dies, against MPTCP.
    Failover(failover::Args),
    /// A file that is held whole, read over plain HTTP from `ares serve` and from nginx.
    Gateway(gateway::Args),
    /// Scrapes of /metrics with many peers connected: how long they take, how large they are.
    Scrape(scrape::Args),
    /// One publisher and many readers who start at the same time, against BitTorrent and the least possible time.
    Swarm(swarm::Args),
    /// A sender over MPTCP; started by `failover`.
    #[command(hide = true)]
    MptcpServe(failover::MptcpServe),
    /// A receiver over MPTCP; started by `failover`.
    #[command(hide = true)]
    MptcpGet(failover::MptcpGet),
    /// Many readers in one process; started by `serve`.
    #[command(hide = true)]
    Readers(readers::Args),
    /// The QUIC baseline's server; started by `transfer`.
    #[command(hide = true)]
    QuinnServe(quinn_peer::Serve),
    /// The QUIC baseline's client; started by `transfer`.
    #[command(hide = true)]
    QuinnGet(quinn_peer::Get),
    /// Hashes files as b3sum does; started by `publish` where b3sum is not installed.
    #[command(hide = true)]
    B3(publish::B3Args),
}

fn main() -> ExitCode {
    let ended = match Cli::parse().job {
        Job::Transfer(args) => transfer::run(&args),
        Job::Publish(args) => publish::run(&args),
        Job::Mount(args) => mount::run(&args),
        Job::Beside(args) => beside::run(&args),
        Job::Far(args) => far::run(&args),
        Job::Reads(args) => reads::run(&args),
        Job::Soak(args) => soak::run(&args),
        Job::DemoTree(args) => demo_tree::run(&args),
        Job::Limits(args) => limits::run(&args),
        Job::LimitsFlow(args) => limits::run_flow(&args),
        Job::Serve(args) => serve::run(&args),
        Job::Failover(args) => failover::run(&args),
        Job::Gateway(args) => gateway::run(&args),
        Job::Scrape(args) => scrape::run(&args),
        Job::Swarm(args) => swarm::run(&args),
        Job::MptcpServe(args) => failover::mptcp_serve(&args),
        Job::MptcpGet(args) => failover::mptcp_get(&args),
        Job::Readers(args) => readers::run(&args),
        Job::QuinnServe(args) => quinn_peer::serve(&args),
        Job::QuinnGet(args) => quinn_peer::get(&args),
        Job::B3(args) => publish::b3(&args),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}
