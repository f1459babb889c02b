//! The judge judged: its comparer sees every difference it claims to see, its machines are apart and leave nothing behind.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use ares_tests::scratch::Scratch;
use ares_tests::{Lab, compare, procfs, tree, wait};

#[test]
fn a_copied_tree_is_the_same_and_a_seed_gives_one_tree() {
    let scratch = Scratch::new("same");
    let [first, second, copy] = ["first", "second", "copy"].map(|n| scratch.path().join(n));
    tree::odd(&first, 7);
    tree::odd(&second, 7);
    compare::copy_tree(&first, &copy);
    compare::assert_same(&first, &copy);
    compare::assert_same(&first, &second);
    let [first, second] = ["source", "another"].map(|n| scratch.path().join(n));
    tree::source(&first, 120, 7);
    tree::source(&second, 120, 7);
    compare::assert_same(&first, &second);
}

#[test]
fn every_kind_of_difference_is_seen() {
    /// What is done to a copy of the odd tree, and the word the comparer must say about it.
    type Row = (&'static str, fn(&Path) -> std::io::Result<()>);
    let rows: [Row; 10] = [
        ("missing", |d| fs::remove_file(d.join("sizes/bytes-1"))),
        ("must not be there", |d| fs::write(d.join("more"), "x")),
        ("kind", |d| {
            fs::remove_dir(d.join("empty/inside")).and_then(|()| fs::write(d.join("empty/inside"), ""))
        }),
        ("mode", |d| {
            fs::set_permissions(d.join("modes/file-644"), fs::Permissions::from_mode(0o645))
        }),
        ("mtime", |d| tree::set_mtime(&d.join("sizes/bytes-512"), (5, 6))),
        ("mtime", |d| tree::set_mtime(&d.join("symlinks/link-0"), (5, 6))),
        ("size", |d| fs::write(d.join("sizes/bytes-0"), "x")),
        ("another one at 350000", |d| {
            fs::copy(d.join("twins/almost"), d.join("twins/same")).map(drop)
        }),
        ("target", |d| {
            fs::remove_file(d.join("symlinks/link-5")).and_then(|()| symlink("...", d.join("symlinks/link-5")))
        }),
        ("missing", |d| fs::rename(d.join("names/a"), d.join("names/b"))),
    ];
    let scratch = Scratch::new("canary");
    let original = scratch.path().join("original");
    tree::odd(&original, 8);
    for (i, (word, change)) in rows.into_iter().enumerate() {
        let copy = scratch.path().join(format!("copy-{i}"));
        compare::copy_tree(&original, &copy);
        change(&copy).unwrap_or_else(|e| panic!("row {i} ({word}): {e}"));
        let seen = compare::differences(&original, &copy);
        assert!(
            seen.iter().any(|d| d.contains(word)),
            "row {i}: {word:?} must be seen, was {seen:?}"
        );
        fs::remove_dir_all(&copy).expect("a copy can be removed");
    }
}

#[test]
fn machines_reach_each_other_until_cut_and_leave_nothing() {
    let Some(lab) = Lab::new("machines", 2) else { return };
    // Nobody listens there: a machine that hears the question refuses at once (curl's exit code 7), a cut one is silent (28).
    let answers = |patience: &str| {
        let mut curl = lab.node(0).command("curl");
        curl.args(["--silent", "--max-time", patience])
            .arg(format!("http://{}/", lab.node(1).ip()));
        lab.node(0).run(curl).status.code() == Some(7)
    };
    assert!(answers("5"), "a machine must reach its neighbour");
    lab.node(1).cut("eth0");
    assert!(!answers("0.3"), "a cut machine must be silent");
    lab.node(1).mend("eth0");
    assert!(answers("5"), "a mended machine must answer again");
    let sleeper = lab.node(1).start({
        let mut sleep = lab.node(1).command("sleep");
        sleep.arg("600");
        sleep
    });
    assert!(sleeper.is_running());
    let (pid, path) = (sleeper.pid(), lab.path().to_owned());
    // As if the handle were lost: the lab must find the process by its mark.
    std::mem::forget(sleeper);
    drop(lab);
    assert!(!path.exists(), "the lab's directory must be gone");
    // A zombie of ours keeps its number, and has no memory any more.
    wait::until(Duration::from_secs(10), "the end of the lab's processes", || {
        procfs::rss_bytes(pid).is_none().then_some(())
    });
    let left = fs::read_dir("/run/netns")
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.file_name().to_string_lossy().into_owned());
    let own = format!("ares-judge-{}-", std::process::id());
    assert!(
        left.filter(|n| n.starts_with(&own) && n.contains("machines")).count() == 0,
        "namespaces must be gone"
    );
}

/// Between exec and the program's start a process has no environment, by which the lab knows its own.
#[test]
fn a_process_that_was_started_a_moment_ago_is_known_or_known_to_be_starting() {
    let lab = Lab::on_loopback("moment", 1);
    let mut sleep = lab.node(0).command("sleep");
    sleep.arg("600").env("ARES_MOMENT", "now");
    for _ in 0..100 {
        let mut sleeper = sleep.spawn().expect("sleep can be started");
        let is_starting = procfs::is_starting(sleeper.id());
        assert!(is_starting || procfs::environment(sleeper.id(), "ARES_MOMENT").is_some());
        wait::until(Duration::from_secs(10), "the program's start", || {
            (!procfs::is_starting(sleeper.id())).then_some(())
        });
        assert_eq!(procfs::environment(sleeper.id(), "ARES_MOMENT").as_deref(), Some("now"));
        sleeper.kill().and_then(|()| sleeper.wait()).expect("it is ours");
        assert!(!procfs::is_starting(sleeper.id()));
    }
    assert!(!procfs::is_starting(2), "a thread of the kernel's, if anything");
}

#[test]
fn a_command_past_its_deadline_is_told_with_what_it_printed() {
    let lab = Lab::on_loopback("deadline", 1);
    let mut command = lab.node(0).command("sh");
    command.args(["-c", "echo started; exec sleep 600"]);
    let running = lab.node(0).start(command);
    let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| running.wait(Duration::from_millis(300))));
    let told = told.expect_err("a command that hangs must fail the test");
    let told = told.downcast_ref::<String>().expect("a message");
    assert!(told.contains("still runs") && told.contains("started"), "{told}");
}
