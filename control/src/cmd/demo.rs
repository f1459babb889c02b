//! `ares demo`: the whole job on one machine, by two nodes that share nothing but the network: publish, serve, mount, read
//! back, compare. Each step is a child process of this program, as a user would type it. Cleans up after itself whatever happens.

mod compare;
mod sample;
mod steps;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use self::steps::{Child, Stage};
use super::Context;
use crate::error::{Failure, Kind};
use crate::lowargs::DemoArgs;
use crate::render::{Bytes, Seconds, count, rate};

/// How long a node may take to start, and a mount to answer.
const START_MAX: Duration = Duration::from_secs(30);

/// For nodes that do not listen on loopback alone: what is shown comes from this machine.
const ALONE: &str = "--no-mdns";

pub(super) fn run(context: &Context, args: DemoArgs) -> Result<(), Failure> {
    let stage = Stage::new()?;
    let start = Instant::now();
    let result = play(context, args.dir.as_deref(), &stage);
    // Before anything is printed: what follows must not depend on it.
    let cleaned = stage.clean();
    let figures = result?;
    cleaned?;
    let text = format!(
        "all bytes equal; everything cleaned up, {} in all",
        Seconds(start.elapsed().as_secs_f64())
    );
    context.print(&text, &figures)
}

fn say(context: &Context, text: &str) {
    context.terminal.note(text);
}

fn play(context: &Context, dir: Option<&Path>, stage: &Stage) -> Result<Value, Failure> {
    let source = source(context, dir, stage)?;
    let publisher = stage.node("publisher");
    let reader = stage.node("reader");

    say(
        context,
        "2. a node serves on 127.0.0.1, UDP, with a state directory of its own",
    );
    let mut serve = Child::start(&publisher, &["serve", "--listen", "127.0.0.1:0"])?;
    let status = serve.until_ready(context, START_MAX)?;
    say(
        context,
        &format!(
            "   peer {} listens on {}",
            short(&status["peer"]),
            status["listen"][0].as_str().unwrap_or("?")
        ),
    );

    say(
        context,
        "3. publish: cut into chunks, name each by its BLAKE3 hash, build the manifest",
    );
    let begin = Instant::now();
    let published = steps::run_json(context, &publisher, &["publish".as_ref(), source.as_os_str()])?;
    let publish_time = begin.elapsed();
    let bytes = published["bytes"].as_u64().unwrap_or(0);
    let entries = published["entries"].as_u64().unwrap_or(0);
    let link = published["link"]
        .as_str()
        .ok_or_else(|| steps::garbled("publish"))?
        .to_owned();
    say(
        context,
        &format!(
            "   {} in {}, {} ({})",
            Bytes(bytes),
            count(entries, "entry"),
            Seconds(publish_time.as_secs_f64()),
            rate(bytes, publish_time)
        ),
    );
    say(context, &format!("   release {}", short(&published["release"])));
    say(context, &format!("   {link}"));

    let Brought {
        way,
        target,
        begin,
        mut mount,
    } = bring(context, stage, &reader, &link)?;
    let compared = compare::trees(&source, &target, &context.cancel)?;
    let read_time = begin.elapsed();
    say(
        context,
        &format!(
            "   {} files and {} compared byte by byte with the original, {} ({})",
            compared.files,
            Bytes(compared.bytes),
            Seconds(read_time.as_secs_f64()),
            rate(compared.bytes, read_time)
        ),
    );
    let moved = serve.status(context)?;
    let served = moved["counters"]["served_bytes"].as_u64().unwrap_or(0);
    say(
        context,
        &format!(
            "   the first node served {} over QUIC; every chunk was verified before it was used",
            Bytes(served)
        ),
    );

    say(context, "6. end: unmount, stop both nodes, remove what the demo made");
    if let Some(mount) = &mut mount {
        mount.end(START_MAX)?;
    }
    serve.end(START_MAX)?;
    if let Some(difference) = compared.difference {
        return Err(Failure::new(Kind::Failed, format!("the copy differs: {difference}"))
            .help("this is a defect of ares: please report it"));
    }
    Ok(json!({
        "way": way, "bytes": bytes, "entries": entries, "release": published["release"], "served_bytes": served,
        "publish_s": publish_time.as_secs_f64(), "read_s": read_time.as_secs_f64(), "equal": true,
    }))
}

/// What is published: the user's directory, or a sample.
fn source(context: &Context, dir: Option<&Path>, stage: &Stage) -> Result<PathBuf, Failure> {
    if let Some(dir) = dir {
        if !dir.is_dir() {
            return Err(Failure::new(
                Kind::NotFound,
                format!("{} is not a directory that can be read", dir.display()),
            ));
        }
        say(context, &format!("1. publish {}", dir.display()));
        return super::absolute(dir);
    }
    let sample = stage.dir().join("sample");
    say(
        context,
        "1. make a sample: small files, one of 64 MiB, symlinks, empty directories, odd names",
    );
    sample::make(&sample, &context.cancel)?;
    Ok(sample)
}

/// How the second node came to the bytes.
struct Brought<'a> {
    way: &'static str,
    target: PathBuf,
    /// When the bytes began to come.
    begin: Instant,
    mount: Option<Child<'a>>,
}

/// Mounts on the second node; gets where this machine cannot mount.
fn bring<'a>(context: &Context, stage: &Stage, reader: &'a steps::Node, link: &str) -> Result<Brought<'a>, Failure> {
    let target = stage.dir().join("mounted");
    std::fs::create_dir(&target).map_err(|e| Failure::io("making", &target, &e))?;
    let Some(obstacle) = obstacle() else {
        say(context, "4. mount the link on a second node with a store of its own");
        let begin = Instant::now();
        let mut mount = Child::start(reader, &["mount", ALONE, link, &target.to_string_lossy()])?;
        mount.until_mounted(context, &target, START_MAX)?;
        say(
            context,
            &format!(
                "   answers after {}: nothing but the manifest's root was fetched",
                Seconds(begin.elapsed().as_secs_f64())
            ),
        );
        say(
            context,
            "5. read every byte back through the mount; chunks come as they are read",
        );
        return Ok(Brought {
            way: "mount",
            target,
            begin: Instant::now(),
            mount: Some(mount),
        });
    };
    say(context, &format!("4. this machine cannot mount: {obstacle}"));
    say(context, "5. so the second node gets a copy instead");
    let begin = Instant::now();
    steps::run_json(
        context,
        reader,
        &["get".as_ref(), ALONE.as_ref(), link.as_ref(), target.as_os_str()],
    )?;
    Ok(Brought {
        way: "get",
        target,
        begin,
        mount: None,
    })
}

/// Why this user cannot mount here, with what to install.
fn obstacle() -> Option<String> {
    if let Err(e) = std::fs::OpenOptions::new().read(true).write(true).open("/dev/fuse") {
        let why = crate::error::plain(&e);
        return Some(format!(
            "/dev/fuse: {why}. As root: modprobe fuse; chmod 666 /dev/fuse (in a container: --device /dev/fuse)"
        ));
    }
    let may_mount = rustix::process::geteuid().is_root() || super::doctor::find_program("fusermount3").is_some();
    (!may_mount).then(|| "fusermount3 is not installed. Install fuse3: apt install fuse3, dnf install fuse3".to_owned())
}

fn short(value: &Value) -> String {
    value.as_str().unwrap_or("?").chars().take(10).collect()
}
