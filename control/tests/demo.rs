//! README's first command: it shows the whole job, and leaves nothing behind, also when it is interrupted or its input is bad.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Between looks at another process: it says nothing by itself.
const LOOK: Duration = Duration::from_millis(20);

/// Longest that the demo may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(240);

fn demo(tmp: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ares"));
    command
        .env("TMPDIR", tmp)
        .env("HOME", tmp)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .args(["demo", "--json"]);
    command
}

fn is_clean(tmp: &Path) -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mounts").expect("the kernel lists mounts");
    let is_mounted = mounts.contains(&*tmp.to_string_lossy());
    !is_mounted && std::fs::read_dir(tmp).expect("listed").count() == 0
}

fn wait(mut child: Child) -> Output {
    let start = Instant::now();
    while child.try_wait().expect("our own child").is_none() {
        assert!(start.elapsed() < PATIENCE, "the demo does not end");
        std::thread::sleep(LOOK);
    }
    child.wait_with_output().expect("our own child")
}

#[test]
fn it_shows_the_whole_job_and_cleans_up() {
    let tmp = tempfile::tempdir().expect("a directory");
    let output = wait(demo(tmp.path()).spawn().expect("it starts"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let figures: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!(figures["equal"], true);
    assert!(figures["bytes"].as_u64().is_some_and(|bytes| bytes > 64 << 20), "{figures}");
    assert!(
        figures["served_bytes"].as_u64() >= figures["bytes"].as_u64().map(|b| b / 2),
        "it went over the network: {figures}"
    );
    for step in ["1. ", "2. ", "3. ", "4. ", "5. ", "6. "] {
        assert!(said.contains(step), "step {step:?} in {said}");
    }
    assert!(is_clean(tmp.path()));
}

#[test]
fn interrupted_at_any_step_it_cleans_up() {
    for word in ["1. ", "2. ", "3. ", "5. "] {
        let tmp = tempfile::tempdir().expect("a directory");
        let mut child = demo(tmp.path()).spawn().expect("it starts");
        let stderr = child.stderr.take().expect("piped");
        let lines = std::io::BufRead::lines(std::io::BufReader::new(stderr));
        for line in lines.map_while(Result::ok) {
            if line.starts_with(word) {
                let pid = rustix::process::Pid::from_raw(child.id() as i32).expect("a process id");
                rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("our own child");
                break;
            }
        }
        let output = wait(child);
        assert_eq!(output.status.code(), Some(130), "after step {word:?}");
        assert!(is_clean(tmp.path()), "after step {word:?}");
    }
}
