//! The `ares` binary: reads what the user typed, hands it to one subcommand, and turns its end into an exit code. Decides nothing.

mod admin;
mod cancel;
mod cmd;
mod config;
mod daemon;
mod error;
mod export;
mod handed;
mod http;
mod jobs;
mod keeper;
mod kept;
mod log;
mod lowargs;
mod metrics;
mod mounts;
mod nearest;
mod notify;
mod pins;
mod remounter;
mod render;
mod repair;
mod scrub;
mod session;
mod signals;
mod stream;
mod survey;
mod timekeeper;
mod timetable;
mod tree;
mod unmount;

/// Faster across threads than the C library's: chunk buffers are made on one thread and dropped on another.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cmd::main()
}
