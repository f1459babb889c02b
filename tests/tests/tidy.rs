//! The shape of the tree: what lies where, which crate may know which, what no file may contain. Rules are functions from text to
//! complaints, so that each is tried on bad examples too: a rule that finds nothing anywhere proves nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What lies at the top, dotfiles apart. Nothing else, and none of it missing.
const TOP: [&str; 12] = [
    "ARCHITECTURE.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "bench",
    "control",
    "dataplane",
    "fs",
    "systemd",
    "tests",
];

/// Which crate of ours may depend on which. The judge and the bench may on any.
const ARROWS: [(&str, &[&str]); 5] = [
    ("ares-core", &[]),
    ("ares-ring", &[]),
    ("ares-node", &["ares-core", "ares-ring"]),
    ("ares-fs", &["ares-core", "ares-ring"]),
    ("ares", &["ares-core", "ares-fs", "ares-node", "ares-ring"]),
];
const MAY_KNOW_ANY: [&str; 3] = ["ares-sim", "ares-tests", "bench"];

/// The one place of unsafe code.
const UNSAFE_HOME: &str = "dataplane/ring/";

/// Longest file, in lines, that needs no reason.
const LINES_MAX: usize = 800;

/// Longer files, each with the reason why a second subject was not found in it.
const LONG_FILES: [(&str, &str); 0] = [];

/// Prose lives in these files alone.
const PROSE: [&str; 4] = ["ARCHITECTURE.md", "README.md", "bench/README.md", "systemd/README.md"];

/// Words no file may hold, each with the reason. Split, so that this file holds none.
const FORBIDDEN: [(&str, &str, &str); 9] = [
    ("/wo", "rk/", "an absolute path of one machine"),
    ("/ro", "ot/", "an absolute path of one machine"),
    ("index.crates", ".io", "a registry host: cargo's own configuration names it"),
    ("static.crates", ".io", "a registry host: cargo's own configuration names it"),
    ("to", "do!(", "unfinished code"),
    ("unimple", "mented!(", "unfinished code"),
    ("db", "g!(", "debugging left behind"),
    ("#[ig", "nore", "a test that does not run does not judge"),
    (
        "#[al",
        "low(",
        "use #[expect(lint, reason)]: it complains when it is no longer needed",
    ),
];

/// What core's clippy.toml must disallow at least.
const CORE_FENCES: [&str; 6] = [
    "std::time::Instant::now",
    "std::thread::spawn",
    "std::fs::File::open",
    "std::net::UdpSocket",
    "std::sync::Mutex",
    "std::collections::HashMap",
];

struct File {
    path: String,
    text: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests lie in the workspace")
        .to_owned()
}

/// Every file of the tree that git knows or would add, sorted. Files that are not text come with empty text.
fn files() -> Vec<File> {
    let mut git = Command::new("git");
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root());
    let listed = git.output().expect("git lists the files of the tree");
    assert!(
        listed.status.success(),
        "git ls-files: {}",
        String::from_utf8_lossy(&listed.stderr)
    );
    let names = String::from_utf8(listed.stdout).expect("names in the tree are UTF-8");
    let paths: BTreeSet<&str> = names
        .split_terminator('\0')
        .filter(|p| root().join(p).symlink_metadata().is_ok())
        .collect();
    let text = |path: &str| fs::read_to_string(root().join(path)).unwrap_or_default();
    paths
        .into_iter()
        .map(|path| File {
            path: path.to_owned(),
            text: text(path),
        })
        .collect()
}

/// Applies a rule to every file that `which` picks and fails with all complaints at once.
fn judge(which: impl Fn(&str) -> bool, rule: impl Fn(&File) -> Vec<String>) {
    let files = files();
    let picked: Vec<&File> = files.iter().filter(|f| which(&f.path)).collect();
    assert!(!picked.is_empty(), "a rule that picks no file judges nothing");
    let complaints: Vec<String> = picked.into_iter().flat_map(&rule).collect();
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

fn is_rust(path: &str) -> bool {
    path.ends_with(".rs")
}

fn is_manifest(path: &str) -> bool {
    path == "Cargo.toml" || path.ends_with("/Cargo.toml")
}

/// Complaints about lines, as `path:line: what`.
fn lines_that(file: &File, complain: impl Fn(usize, &str) -> Option<String>) -> Vec<String> {
    let numbered = file.text.lines().enumerate();
    numbered
        .filter_map(|(i, line)| complain(i, line).map(|what| format!("{}:{}: {what}", file.path, i + 1)))
        .collect()
}

fn forbidden_words(file: &File) -> Vec<String> {
    lines_that(file, |_, line| {
        let (a, b, why) = FORBIDDEN.iter().find(|(a, b, _)| line.contains(&format!("{a}{b}")))?;
        Some(format!("`{a}{b}`: {why}"))
    })
}

/// The file's code, with comments and what stands between quotes blanked out; lines stay where they are.
fn code_of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    let mut inside = Inside::Code;
    while let Some(c) = chars.next() {
        let next = chars.peek().copied();
        let keep = match (inside, c, next) {
            (_, '\n', _) => true,
            (Inside::Code, '/', Some('/')) => false,
            (Inside::Code, '"', _) => false,
            (Inside::Code, _, _) => true,
            _ => false,
        };
        inside = match (inside, c, next) {
            (Inside::Code, '/', Some('/')) => Inside::Comment,
            (Inside::Code, '"', _) => Inside::Text,
            (Inside::Comment, '\n', _) => Inside::Code,
            (Inside::Text, '\\', Some(_)) => {
                chars.next();
                Inside::Text
            }
            (Inside::Text, '"', _) => Inside::Code,
            // A quote as a character would open a string.
            (Inside::Code, '\'', Some('"')) => {
                chars.next();
                Inside::Code
            }
            (unchanged, _, _) => unchanged,
        };
        code.push(if keep { c } else { ' ' });
    }
    code
}

#[derive(Clone, Copy)]
enum Inside {
    Code,
    Comment,
    Text,
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_')
}

fn unsafe_code(file: &File) -> Vec<String> {
    let code = File {
        path: file.path.clone(),
        text: code_of(&file.text),
    };
    lines_that(&code, |_, line| {
        words(line)
            .any(|w| w == "unsafe")
            .then(|| format!("unsafe code outside {UNSAFE_HOME}"))
    })
}

fn too_long(file: &File) -> Vec<String> {
    let lines = file.text.lines().count();
    let excused = LONG_FILES.iter().any(|(path, _)| *path == file.path);
    let complaint = format!(
        "{}: {lines} lines: look for the second subject, or list it with a reason",
        file.path
    );
    if lines > LINES_MAX && !excused {
        vec![complaint]
    } else {
        Vec::new()
    }
}

fn opening(file: &File) -> Vec<String> {
    let opens = file.text.starts_with("//!");
    let placeholder = file
        .text
        .lines()
        .next()
        .is_some_and(|l| l.trim_end_matches('.').ends_with("Placeholder"));
    match (opens, placeholder) {
        (true, false) => Vec::new(),
        (false, _) => vec![format!(
            "{}: must open with `//!`: what it decides and what it never does",
            file.path
        )],
        (true, true) => vec![format!("{}: is still a placeholder", file.path)],
    }
}

/// A pause says beside it, or just above, why no condition can be waited for; or it is a named constant, which says it where it stands.
fn unexplained_pause(file: &File) -> Vec<String> {
    let lines: Vec<&str> = file.text.lines().collect();
    let code = File {
        path: file.path.clone(),
        text: code_of(&file.text),
    };
    lines_that(&code, |i, line| {
        let pauses = line.contains("sleep(") && !line.contains("fn ");
        let explained = lines[i.saturating_sub(2)..=i].iter().any(|l| l.contains("// "));
        let argument = line.split("sleep(").nth(1).unwrap_or_default();
        let named = argument.starts_with(|c: char| c.is_ascii_uppercase()) && !argument.contains("::");
        (pauses && !explained && !named).then(|| "a pause instead of a condition, and no comment says why".to_owned())
    })
}

/// Lines of a Cargo.toml that name a dependency, with their line index; tables `[dependencies.x]` are not used here and found as such.
fn dependency_lines(text: &str) -> Vec<(usize, &str)> {
    let mut inside = false;
    let mut found = Vec::new();
    for (i, line) in text.lines().enumerate() {
        if line.starts_with('[') {
            let table = line.trim_matches(['[', ']', ' ']);
            inside = table.ends_with("dependencies") && table != "workspace.dependencies";
            if table.contains("dependencies.") {
                found.push((i, line));
            }
        } else if inside && line.contains('=') && !line.trim_start().starts_with('#') {
            found.push((i, line));
        }
    }
    found
}

fn dependency_name(line: &str) -> &str {
    line.trim_start_matches(['[', ' '])
        .split(['.', '=', ' ', ']'])
        .next()
        .unwrap_or_default()
}

fn is_ours(name: &str) -> bool {
    ARROWS.iter().any(|(crate_name, _)| *crate_name == name) || MAY_KNOW_ANY.contains(&name)
}

fn unexplained_dependency(file: &File) -> Vec<String> {
    let found = dependency_lines(&file.text).into_iter();
    let silent = found.filter(|(_, line)| !is_ours(dependency_name(line)) && !line.contains("# "));
    silent
        .map(|(i, line)| format!("{}:{}: say beside it why: {line}", file.path, i + 1))
        .collect()
}

/// The value of `key = "value"` in the text's first table that has it.
fn value_of<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let line = text.lines().find(|l| l.split('=').next().is_some_and(|k| k.trim() == key))?;
    line.split('"').nth(1)
}

fn wrong_arrow(file: &File) -> Vec<String> {
    let Some(name) = value_of(&file.text, "name") else {
        return Vec::new();
    };
    if MAY_KNOW_ANY.contains(&name) {
        return Vec::new();
    }
    let Some((_, allowed)) = ARROWS.iter().find(|(crate_name, _)| *crate_name == name) else {
        return vec![format!("{}: a crate `{name}` is not in the plan", file.path)];
    };
    let ours = dependency_lines(&file.text)
        .into_iter()
        .map(|(_, line)| dependency_name(line))
        .filter(|n| is_ours(n));
    ours.filter(|n| !allowed.contains(n))
        .map(|n| format!("{}: {name} must not know {n}", file.path))
        .collect()
}

/// Every crate takes the workspace's lints, which forbid unsafe code; the home of unsafe states its own.
fn lints_not_shared(file: &File) -> Vec<String> {
    let shares = file.text.contains("[lints]\nworkspace = true");
    let fault = if file.path == "Cargo.toml" {
        (value_of(&file.text, "unsafe_code") != Some("forbid")).then_some("the workspace must forbid unsafe code")
    } else if file.path.starts_with(UNSAFE_HOME) {
        let strict = value_of(&file.text, "undocumented_unsafe_blocks") == Some("deny");
        (!strict).then_some("unsafe blocks without a SAFETY fact must be denied")
    } else {
        (!shares).then_some("must take the workspace's lints")
    };
    fault.map(|f| format!("{}: {f}", file.path)).into_iter().collect()
}

#[test]
fn the_top_level_is_as_fixed() {
    let top: BTreeSet<String> = files()
        .iter()
        .filter_map(|f| f.path.split('/').next().map(str::to_owned))
        .collect();
    let seen: BTreeSet<&str> = top.iter().map(String::as_str).filter(|n| !n.starts_with('.')).collect();
    assert_eq!(seen, BTreeSet::from(TOP));
    for file in [".ci/run", "tests/run", "systemd/ares.service"] {
        assert!(root().join(file).is_file(), "{file} is missing");
    }
}

#[test]
fn prose_lives_in_few_places() {
    let prose: Vec<String> = files()
        .into_iter()
        .map(|f| f.path)
        .filter(|p| p.ends_with(".md") && !PROSE.contains(&p.as_str()))
        .collect();
    assert_eq!(prose, Vec::<String>::new());
}

#[test]
fn crates_know_only_whom_they_may() {
    judge(|p| is_manifest(p) && p != "Cargo.toml", wrong_arrow);
}

#[test]
fn every_dependency_says_why() {
    judge(is_manifest, unexplained_dependency);
}

#[test]
fn the_lock_file_names_one_registry() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).expect("Cargo.lock is part of the tree");
    let sources: BTreeSet<&str> = lock.lines().filter(|l| l.starts_with("source = ")).collect();
    assert!(sources.len() == 1, "dependencies come from one registry: {sources:?}");
}

#[test]
fn unsafe_code_has_one_home() {
    judge(|p| is_rust(p) && !p.starts_with(UNSAFE_HOME), unsafe_code);
    judge(is_manifest, lints_not_shared);
}

#[test]
fn core_is_fenced_from_the_world() {
    judge(
        |p| p == "dataplane/core/clippy.toml",
        |file| {
            CORE_FENCES
                .iter()
                .filter(|f| !file.text.contains(&format!("\"{f}\"")))
                .map(|f| format!("{f} must be disallowed"))
                .collect()
        },
    );
}

#[test]
fn no_file_holds_a_forbidden_word() {
    judge(|p| p != "Cargo.lock", forbidden_words);
}

#[test]
fn files_are_short_and_say_what_they_are_about() {
    judge(is_rust, too_long);
    judge(is_rust, opening);
    for (path, reason) in LONG_FILES {
        assert!(
            !reason.is_empty() && root().join(path).is_file(),
            "{path} is listed as long and is not there, or without a reason"
        );
    }
}

#[test]
fn nothing_pauses_without_a_reason() {
    judge(is_rust, unexplained_pause);
}

#[test]
fn the_rules_see_what_they_are_for() {
    let check = |rule: &dyn Fn(&File) -> Vec<String>, path: &str, text: &str, complaints: usize| {
        let file = File {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        let found = rule(&file);
        assert_eq!(found.len(), complaints, "{path}: {text:?}: {found:?}");
    };
    for (a, b, _) in FORBIDDEN {
        check(&forbidden_words, "a.rs", &format!("x {a}{b} y"), 1);
    }
    check(&forbidden_words, "a.rs", "a work of art in the root directory", 0);
    check(&unsafe_code, "a.rs", "let x = unsafe { 1 };", 1);
    check(&unsafe_code, "a.rs", "let quote = '\"'; unsafe fn f() {}", 1);
    check(
        &unsafe_code,
        "a.rs",
        "// unsafe\nlet s = \"unsafe \\\" unsafe\"; unsafe_code();",
        0,
    );
    check(&too_long, "a.rs", &"x\n".repeat(LINES_MAX + 1), 1);
    check(&too_long, "a.rs", &"x\n".repeat(LINES_MAX), 0);
    check(&opening, "a.rs", "//! Decides.\n", 0);
    check(&opening, "a.rs", "use std::fs;\n", 1);
    check(&opening, "a.rs", "//! Placeholder.\n", 1);
    check(&unexplained_pause, "a.rs", "thread::sleep(x);", 1);
    check(
        &unexplained_pause,
        "a.rs",
        "// The kernel has no event for it.\nthread::sleep(x);",
        0,
    );
    check(&unexplained_pause, "a.rs", "thread::sleep(LOOK);", 0);
    check(&unexplained_pause, "a.rs", "thread::sleep(Duration::from_secs(1));", 1);
    check(&unexplained_pause, "a.rs", "\"sleep(1)\"", 0);
    check(&unexplained_dependency, "Cargo.toml", "[dependencies]\nserde = \"1\"\n", 1);
    check(
        &unexplained_dependency,
        "Cargo.toml",
        "[dependencies.serde]\nversion = \"1\"\n",
        1,
    );
    check(
        &unexplained_dependency,
        "Cargo.toml",
        "[dependencies]\nserde = \"1\"  # parses\nares-core.workspace = true\n",
        0,
    );
    check(&unexplained_dependency, "Cargo.toml", "[lints]\nworkspace = true\n", 0);
    for (name, dependency, complaints) in [
        ("ares-core", "ares-ring", 1),
        ("ares-fs", "ares-node", 1),
        ("ares-fs", "ares-core", 0),
        ("ares-ring", "ares-core", 1),
        ("ares-node", "ares-fs", 1),
        ("ares", "ares-node", 0),
        ("bench", "ares", 0),
    ] {
        for table in [
            "dependencies",
            "dev-dependencies",
            "build-dependencies",
            "target.'cfg(unix)'.dependencies",
        ] {
            check(
                &wrong_arrow,
                "Cargo.toml",
                &format!("[package]\nname = \"{name}\"\n[{table}]\n{dependency}.workspace = true\n"),
                complaints,
            );
        }
    }
    check(&wrong_arrow, "Cargo.toml", "[package]\nname = \"ares-extra\"\n", 1);
    check(&lints_not_shared, "fs/Cargo.toml", "[package]\n", 1);
    check(&lints_not_shared, "fs/Cargo.toml", "[lints]\nworkspace = true\n", 0);
}

#[test]
fn names_of_crates_are_as_planned() {
    let manifests = files().into_iter().filter(|f| is_manifest(&f.path) && f.path != "Cargo.toml");
    let names: BTreeMap<String, String> = manifests
        .map(|f| (f.path.clone(), value_of(&f.text, "name").unwrap_or_default().to_owned()))
        .collect();
    let expected = [
        ("bench/Cargo.toml", "bench"),
        ("control/Cargo.toml", "ares"),
        ("dataplane/core/Cargo.toml", "ares-core"),
        ("dataplane/node/Cargo.toml", "ares-node"),
        ("dataplane/ring/Cargo.toml", "ares-ring"),
        ("fs/Cargo.toml", "ares-fs"),
        ("tests/Cargo.toml", "ares-tests"),
        ("tests/sim/Cargo.toml", "ares-sim"),
    ];
    assert_eq!(names, expected.map(|(path, name)| (path.to_owned(), name.to_owned())).into());
}
