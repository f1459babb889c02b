//! Tells the program which commit it is made from, for `ares --version`: in release builds, so that others are not made anew for a commit.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Who builds from a tarball says it so.
    println!("cargo::rerun-if-env-changed=ARES_COMMIT");
    let given = std::env::var("ARES_COMMIT").ok().filter(|commit| !commit.is_empty());
    let is_release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let commit = given.or_else(|| is_release.then(of_git).flatten()).unwrap_or_default();
    println!("cargo::rustc-env=ARES_COMMIT={commit}");
    let target = std::env::var("TARGET").unwrap_or_default();
    println!("cargo::rustc-env=ARES_TARGET={target}");
}

/// The commit that is checked out, and whether files differ from it.
fn of_git() -> Option<String> {
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"])?;
    println!("cargo::rerun-if-changed={log}");
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let differs = !git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty();
    Some(if differs { format!("{commit}+") } else { commit })
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .args(args)
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
