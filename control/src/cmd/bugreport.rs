//! `ares bugreport`: one JSON file that says how this machine and the daemon are, to be read before it is sent. Names of releases and peers are cut
//! short, so that who has the report can fetch nothing by it; keys, links and the config file are not in it.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::{Context, doctor};
use crate::admin::proto::{Outcome, Request};
use crate::error::{Failure, Kind};
use crate::lowargs::{BugreportArgs, VERSION};
use crate::render::{self, blind};
use crate::session::Session;

/// What of the machine is in it: files that are the same for everybody on it.
const FILES: [&str; 12] = [
    "/proc/version",
    "/etc/os-release",
    "/proc/meminfo",
    "/proc/loadavg",
    "/proc/pressure/cpu",
    "/proc/pressure/io",
    "/proc/sys/net/core/rmem_max",
    "/proc/sys/net/core/wmem_max",
    "/proc/sys/kernel/io_uring_disabled",
    "/sys/module/fuse/parameters/enable_uring",
    "/proc/net/snmp",
    "/proc/net/softnet_stat",
];

/// Bytes of each that are taken.
const FILE_BYTES_MAX: usize = 16 << 10;

pub(super) fn run(context: &Context, args: BugreportArgs) -> Result<(), Failure> {
    let report = report(context);
    let text = format!("{report:#}\n");
    let Some(path) = args.file else {
        return render::stdout(text.as_bytes()).map(|_open| ());
    };
    write(&path, &text)?;
    let said = format!("wrote {}: read it before you send it", path.display());
    context.print(&said, &json!({"file": path.to_string_lossy()}))
}

fn report(context: &Context) -> Value {
    let read = |path: &str| {
        let text = std::fs::read(path).ok()?;
        let cut = &text[..text.len().min(FILE_BYTES_MAX)];
        Some((path.to_owned(), String::from_utf8_lossy(cut).into_owned()))
    };
    let files: BTreeMap<String, String> = FILES.into_iter().filter_map(read).collect();
    let mut daemon = daemon(context).unwrap_or_else(|failure| json!({"not_asked": failure.message}));
    blind(&mut daemon);
    json!({
        "ares": VERSION,
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "checks": doctor::checks(context),
        "daemon": daemon,
        "files": files,
    })
}

/// What the daemon says of itself.
fn daemon(context: &Context) -> Result<Value, Failure> {
    let mut daemon = Session::attach(&context.config)?;
    let mut said = serde_json::Map::new();
    for request in [Request::Status, Request::Knobs { key: None }] {
        match daemon.run(&request, &*context.sink(), &context.cancel)? {
            Outcome::Status { status } => {
                if let Some(pid) = status["pid"].as_u64() {
                    said.insert("limits".into(), of_process(pid, "limits"));
                    said.insert("process".into(), of_process(pid, "status"));
                }
                said.insert("status".into(), status);
            }
            Outcome::Knobs { knobs } => {
                said.insert("knobs".into(), json!(knobs));
            }
            other => return Err(super::unexpected(&other)),
        }
    }
    Ok(said.into())
}

fn of_process(pid: u64, file: &str) -> Value {
    std::fs::read_to_string(format!("/proc/{pid}/{file}")).map_or(Value::Null, Value::from)
}

/// A file that is there is somebody's.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    use std::io::Write as _;
    let made = std::fs::OpenOptions::new().write(true).create_new(true).open(path);
    made.and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|e| match e.kind() {
            std::io::ErrorKind::AlreadyExists => {
                Failure::new(Kind::Usage, format!("{} exists already", path.display())).help("name another file, or remove it")
            }
            _ => Failure::io("writing", path, &e),
        })
}
