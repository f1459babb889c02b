//! The binary as a user types it, where it needs no network: exit codes, errors on stderr, objects on stdout.

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// A run with nothing of this user's environment.
fn ares(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ares"));
    command
        .env_clear()
        .env("HOME", dir)
        .current_dir(dir)
        .stdin(Stdio::null())
        .args(args);
    command.output().expect("the binary runs")
}

/// Runs and checks the exit code, and that stderr has each of `words`.
fn check(dir: &Path, args: &[&str], code: i32, words: &[&str]) -> Output {
    let output = ares(dir, args);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
    for word in words {
        assert!(stderr.contains(word), "{args:?} must say {word:?}: {stderr}");
    }
    output
}

/// A link that parses: version 1, a release of zeros, the name `n`, no peers, made by the encoding's definition.
fn a_link() -> String {
    let mut bytes = vec![1_u8];
    bytes.extend([0; 32]);
    bytes.extend([1, b'n', 0]);
    let checksum = blake3::hash(&bytes);
    bytes.extend(&checksum.as_bytes()[..4]);
    let mut text = String::from("ares:");
    let (mut bits, mut count) = (0_u32, 0);
    for byte in bytes {
        bits = bits << 8 | u32::from(byte);
        count += 8;
        while count >= 5 {
            count -= 5;
            text.push(char::from(b"abcdefghijklmnopqrstuvwxyz234567"[(bits >> count) as usize & 31]));
        }
    }
    if count > 0 {
        text.push(char::from(
            b"abcdefghijklmnopqrstuvwxyz234567"[(bits << (5 - count)) as usize & 31],
        ));
    }
    text
}

#[test]
fn what_cannot_be_meant_ends_with_2_and_says_why() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = dir.path();
    check(at, &["sevre"], 2, &["sevre", "serve"]);
    check(at, &["serve", "--listen", "here"], 2, &["here"]);
    check(at, &["help", "nothing"], 2, &["nothing"]);
    check(at, &["--config", "missing.toml", "status"], 2, &["missing.toml"]);
    std::fs::write(at.join("bad.toml"), "\n[node]\nshard = 2\n").expect("writable");
    check(
        at,
        &["--config", "bad.toml", "status"],
        2,
        &[
            "bad.toml, line 3",
            "unknown key `node.shard`",
            "help: did you mean `node.shards`?",
        ],
    );
    check(at, &["get", "https://example.org/x", "out"], 2, &["not an ares link"]);
    check(at, &["get", "", "out"], 2, &["link"]);
    let link = a_link();
    for end in (5..link.len()).step_by(7) {
        check(at, &["get", &link[..end], "out"], 2, &["link"]);
        check(at, &["mount", &link[..end], "out"], 2, &["link"]);
        check(at, &["ls", &link[..end]], 2, &["link"]);
        check(at, &["cat", &link[..end]], 2, &["link"]);
    }
    assert!(!at.join("out").exists(), "nothing is made");
    assert!(
        !at.join(".local").exists(),
        "no state directory is made for a link that is none"
    );
}

#[test]
fn what_is_not_there_ends_with_3() {
    let dir = tempfile::tempdir().expect("a directory");
    for of_daemon in [&["status"][..], &["paths"], &["peers"], &["content"], &["content", "ab"]] {
        check(dir.path(), of_daemon, 3, &["no daemon runs on", "ares serve"]);
    }
    check(dir.path(), &["publish", "missing"], 3, &["missing", "No such file"]);
    std::fs::create_dir(dir.path().join("plain")).expect("a directory");
    check(dir.path(), &["umount", "plain"], 3, &["not a mount point"]);
    check(dir.path(), &["umount", "missing"], 3, &["not a mount point"]);
    check(dir.path(), &["demo", "missing"], 3, &["missing"]);
}

#[test]
fn help_and_version_end_with_0() {
    let dir = tempfile::tempdir().expect("a directory");
    for (args, word) in [
        (&["--help"][..], "publish"),
        (&["help"], "mount"),
        (&["help", "exit-codes"], "130"),
        (&["help", "config"], "node.stall_timeout"),
        (&["help", "get"], "--force"),
        (&["get", "--help"], "DEST"),
        (&["--version"], env!("CARGO_PKG_VERSION")),
    ] {
        let output = ares(dir.path(), args);
        assert!(output.status.success(), "{args:?}");
        assert!(
            String::from_utf8_lossy(&output.stdout).contains(word),
            "{args:?} must say {word}"
        );
    }
}

#[test]
fn json_errors_are_one_object_on_stdout_and_words_on_stderr() {
    let dir = tempfile::tempdir().expect("a directory");
    for (args, kind, code) in [
        (&["status", "--json"][..], "not-found", 3),
        (&["get", "ares:x", "out", "--json"], "usage", 2),
        (&["serve", "--listen", "here", "--json"], "usage", 2),
    ] {
        let output = ares(dir.path(), args);
        let said: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one object");
        assert_eq!(
            (said["error"]["kind"].as_str(), said["error"]["exit_code"].as_i64()),
            (Some(kind), Some(code)),
            "{args:?}"
        );
        assert!(said["error"]["message"].as_str().is_some_and(|m| !m.is_empty()));
        assert_eq!(output.status.code(), Some(code as i32));
        assert!(!output.stderr.is_empty(), "{args:?} also in words");
    }
    let output = ares(dir.path(), &["cat", "ares:x", "--json"]);
    assert!(
        output.stdout.is_empty(),
        "what cat prints is the file's bytes and nothing else"
    );
}

#[test]
fn a_state_directory_that_will_not_do_ends_with_5() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("file"), "keep").expect("writable");
    check(
        dir.path(),
        &["--state", "file", "serve", "--listen", "127.0.0.1:0"],
        5,
        &["file"],
    );
    check(dir.path(), &["--state", "file", "ls", &a_link()], 5, &["file"]);
}

#[test]
fn doctor_looks_and_changes_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let output = ares(dir.path(), &["doctor", "--json"]);
    let first = String::from_utf8_lossy(&output.stdout);
    let said: serde_json::Value = serde_json::from_str(first.lines().next().unwrap_or_default()).expect("a report");
    assert!(said["checks"].as_array().is_some_and(|checks| checks.len() > 8), "{said}");
    assert!(matches!(output.status.code(), Some(0 | 1)));
    assert_eq!(std::fs::read_dir(dir.path()).expect("listed").count(), 0);
}
