//! `ares set` against a daemon: it lists, turns and refuses; what it says is what the daemon is at, whatever was asked.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Between looks at another process: it says nothing by itself.
const LOOK: Duration = Duration::from_millis(20);

/// Longest that a daemon may take to answer on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn ares(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ares"));
    command
        .env_clear()
        .env("HOME", dir)
        .arg("--state")
        .arg(dir.join("state"))
        .args(args)
        .stdin(Stdio::null());
    command
}

/// Runs and checks the exit code, and that stderr has each of `words`.
fn check(dir: &Path, args: &[&str], code: i32, words: &[&str]) -> Output {
    let output = ares(dir, args).output().expect("it runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
    for word in words {
        assert!(stderr.contains(word), "{args:?} must say {word:?}: {stderr}");
    }
    output
}

fn json_of(dir: &Path, args: &[&str]) -> Value {
    serde_json::from_slice(&check(dir, args, 0, &[]).stdout).expect("one object")
}

/// `ares serve` whose log is in `log`, killed when dropped.
struct Serve(Child);

impl Serve {
    fn start(dir: &Path, args: &[&str]) -> Self {
        let log = File::create(dir.join("log")).expect("a file");
        let mut command = ares(dir, args);
        command.args(["serve", "--listen", "127.0.0.1:0"]);
        let serve = Self(command.stdout(Stdio::null()).stderr(log).spawn().expect("it starts"));
        let start = Instant::now();
        while !ares(dir, &["status"]).output().expect("it runs").status.success() {
            assert!(start.elapsed() < PATIENCE, "no answer: {}", log_of(dir));
            std::thread::sleep(LOOK);
        }
        serve
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn log_of(dir: &Path) -> String {
    fs::read_to_string(dir.join("log")).expect("a log")
}

#[test]
fn it_lists_shows_and_turns() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = dir.path();
    let _serve = Serve::start(at, &[]);
    let listed = json_of(at, &["set", "--json"]);
    let knobs = listed["knobs"].as_array().expect("a list");
    let keys: Vec<&str> = knobs.iter().filter_map(|knob| knob["key"].as_str()).collect();
    for key in [
        "congestion",
        "socket-receive-buffer",
        "get-window",
        "serve-window",
        "path-mode",
        "log-level",
    ] {
        assert!(keys.contains(&key), "{keys:?}");
    }
    for knob in knobs {
        let unit = knob["unit"].as_str();
        let has_range = knob["range"].is_array() && matches!(unit, None | Some("bytes" | "bytes/s" | "ms"));
        assert!(has_range || knob["choices"].is_array(), "{knob}");
        assert!(
            !knob["value"].is_null() && !knob["default"].is_null() && knob["effect"].is_string(),
            "{knob}"
        );
        let one = json_of(at, &["set", knob["key"].as_str().expect("a key"), "--json"]);
        assert_eq!(&one, knob);
    }
    let text = check(at, &["set"], 0, &[]).stdout;
    let text = String::from_utf8_lossy(&text);
    assert_eq!(text.lines().count(), knobs.len() + 1, "{text}");

    let set = json_of(at, &["set", "congestion", "bbr", "--json"]);
    assert_eq!(set, json!({"key": "congestion", "old": "cubic", "value": "bbr"}));
    let text = check(at, &["set", "get-window=16MiB"], 0, &[]).stdout;
    assert_eq!(String::from_utf8_lossy(&text), "get-window: 64MiB -> 16MiB\n");
    assert_eq!(json_of(at, &["set", "get-window", "--json"])["value"], 16 << 20);
    for (key, value, json, shown) in [
        ("stall-timeout", "2s", 2000, "stall-timeout: 500ms -> 2s\n"),
        ("connections", "1024", 1024, "connections: 8192 -> 1024\n"),
    ] {
        let text = check(at, &["set", key, value], 0, &[]).stdout;
        assert_eq!(String::from_utf8_lossy(&text), shown);
        assert_eq!(json_of(at, &["set", key, "--json"])["value"], json);
    }
    // The buffers of all sockets, and as the kernel grants them: less than any system's cap.
    json_of(at, &["set", "socket-receive-buffer", "100000", "--json"]);
    assert_eq!(json_of(at, &["set", "socket-receive-buffer", "--json"])["value"], 100_000);
}

#[test]
fn caps_are_listed_once_they_are_set_and_that_of_each_peer_always() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = dir.path();
    let _serve = Serve::start(at, &[]);
    let before = json_of(at, &["set", "--json"]);
    assert_eq!(json_of(at, &["set", "cap-up.wg*", "--json"])["value"], "none");
    let text = check(at, &["set", "cap-up.wg*=20MiB"], 0, &[]).stdout;
    assert_eq!(String::from_utf8_lossy(&text), "cap-up.wg*: none -> 20MiB\n");
    let set = json_of(at, &["set", "cap-down.10.0.0.0/8", "300000", "--json"]);
    assert_eq!(set, json!({"key": "cap-down.10.0.0.0/8", "old": "none", "value": 300_000}));
    let of_one = format!("peer-cap-up.{}", "7a".repeat(32));
    check(at, &["set", &of_one, "1MiB"], 0, &[]);
    let listed = json_of(at, &["set", "--json"]);
    let caps: Vec<(&Value, &Value)> = (listed["knobs"].as_array().expect("a list").iter())
        .filter(|knob| knob["unit"] == "bytes/s")
        .map(|knob| (&knob["key"], &knob["value"]))
        .collect();
    assert_eq!(
        caps,
        [
            (&json!("peer-cap-up.*"), &json!("none")),
            (&json!("peer-cap-down.*"), &json!("none")),
            (&json!(of_one), &json!(1 << 20)),
            (&json!("cap-up.wg*"), &json!(20 << 20)),
            (&json!("cap-down.10.0.0.0/8"), &json!(300_000))
        ]
    );
    check(at, &["set", "weight.wg0", "7"], 0, &[]);
    assert_eq!(json_of(at, &["set", "weight.wg0", "--json"])["value"], "7");
    check(at, &["set", "weight.wg0", "1001"], 2, &["1001", "from 1 to 1000"]);
    check(at, &["set", "weight.wg0", "none"], 0, &[]);
    check(at, &["set", "cap-up.wg*", "none"], 0, &[]);
    check(at, &["set", "cap-down.10.0.0.0/8", "0"], 0, &[]);
    check(at, &["set", &of_one, "none"], 0, &[]);
    check(at, &["set", "peer-cap-up", "1MiB"], 2, &["which peer", "peer-cap-up.*"]);
    check(at, &["set", "peer-cap-down.7a", "1MiB"], 2, &["7a", "64 hex digits"]);
    assert_eq!(json_of(at, &["set", "--json"]), before);
    assert!(log_of(at).contains("set cap-up.wg*: none -> 20MiB"), "{}", log_of(at));
}

#[test]
fn what_is_wrong_is_refused_and_the_right_thing_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = dir.path();
    check(at, &["set"], 3, &["no daemon runs on", "ares serve"]);
    check(at, &["set", "congestion", "bbr"], 3, &["no daemon runs on"]);
    let _serve = Serve::start(at, &[]);
    let before = json_of(at, &["set", "--json"]);
    check(
        at,
        &["set", "congestoin", "bbr"],
        2,
        &["congestoin", "did you mean `congestion`?"],
    );
    check(at, &["set", "zzz"], 2, &["zzz", "knobs: congestion, ", "cap-up.LANES"]);
    check(at, &["set", "congestion", "reno"], 2, &["reno", "cubic, newreno, bbr"]);
    check(
        at,
        &["set", "get-window=2GiB"],
        2,
        &["`get-window` cannot be \"2GiB\"", "8MiB to 1GiB"],
    );
    check(at, &["set", "get-window", ""], 2, &["8MiB to 1GiB"]);
    check(at, &["set", "get-window=8MiB", "8MiB"], 2, &["one knob at a time"]);
    check(at, &["set", "get-window", "-1"], 2, &["-1"]);
    check(
        at,
        &["set", "cap-up", "1MiB"],
        2,
        &["does not say which lanes", "`cap-up.eth0`"],
    );
    check(at, &["set", "cap-up.", "1MiB"], 2, &["does not say which lanes"]);
    check(
        at,
        &["set", "cap-up.eth0", "10MB"],
        2,
        &["\"10MB\"", "256KiB to 128GiB", "`none`"],
    );
    check(
        at,
        &["set", "cap-down.10.0.0.0/40", "1MiB"],
        2,
        &["`10.0.0.0/40`", "10.0.0.0/16"],
    );
    assert_eq!(json_of(at, &["set", "--json"]), before);
    assert!(!log_of(at).contains("set get-window"), "{}", log_of(at));
}

#[test]
fn the_log_says_who_turned_what_and_follows_its_own_knob() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = dir.path();
    let _serve = Serve::start(at, &["-q"]);
    assert_eq!(json_of(at, &["set", "log-level", "--json"])["value"], "error");
    check(at, &["set", "log-level", "debug"], 0, &[]);
    check(at, &["status"], 0, &[]);
    check(at, &["set", "log-level", "off"], 0, &[]);
    check(at, &["status"], 0, &[]);
    check(at, &["set", "serve-window", "1MiB"], 0, &[]);
    let log = log_of(at);
    let uid = format!("uid={}", rustix::process::geteuid().as_raw());
    for expect in [
        "set log-level: error -> debug",
        "set log-level: debug -> off",
        "set serve-window: 64MiB -> 1MiB",
    ] {
        let line = log
            .lines()
            .find(|line| line.contains(expect))
            .unwrap_or_else(|| panic!("{expect}: {log}"));
        assert!(line.contains(&uid) && line.contains("pid="), "{line}");
    }
    let jobs = log
        .lines()
        .filter(|line| line.contains("begins") && line.contains("status"))
        .count();
    assert_eq!(jobs, 1, "written while it was debug, and not after: {log}");
}

#[test]
fn what_a_schedule_says_holds_while_it_does_and_is_gone_with_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = dir.path();
    let config = at.join("ares.toml");
    let file = config.to_str().expect("text").to_owned();
    let write = |schedule: &str| {
        let base = "[lanes]\ncap_up = { \"*\" = \"9MiB\" }\n[set]\nget-window = \"16MiB\"\n";
        fs::write(&config, format!("{base}{schedule}")).expect("written");
    };
    let always = "[[schedule]]\nwhen = \"mon-sun\"\nset = { \"cap-up.*\" = \"2MiB\", get-window = \"8MiB\" }\n";
    write(always);
    let _serve = Serve::start(at, &["--config", &file]);
    let value = |key: &str| json_of(at, &["set", key, "--json"]);
    assert_eq!(
        (value("cap-up.*")["value"].clone(), value("get-window")["value"].clone()),
        (json!(2 << 20), json!(8 << 20))
    );
    assert_eq!(value("get-window")["schedule"], "mon-sun");
    assert_eq!(value("serve-window")["schedule"], Value::Null);
    let shown = json_of(at, &["status", "--json"])["schedule"].clone();
    assert_eq!(
        (&shown["entries"], &shown["next_change"]),
        (&json!(1), &Value::Null),
        "{shown}"
    );
    assert_eq!(shown["set"].as_array().map(Vec::len), Some(2), "{shown}");
    let audit = log_of(at);
    assert!(audit.contains("set cap-up.*: 9MiB -> 2MiB"), "{audit}");

    // What the file says without it has changed meanwhile.
    let base = "[lanes]\ncap_up = { \"*\" = \"9MiB\" }\n[set]\nget-window = \"32MiB\"\n";
    fs::write(&config, base).expect("written");
    let reloaded = json_of(at, &["reload", "--json"]);
    assert!(reloaded["changed"].to_string().contains("0 schedules"), "{reloaded}");
    assert_eq!(
        (value("cap-up.*")["value"].clone(), value("get-window")["value"].clone()),
        (json!(9 << 20), json!(32 << 20))
    );
    assert_eq!(value("get-window")["schedule"], Value::Null);

    for (wrong, words) in [
        (
            "[[schedule]]\nwhen = \"noon\"\nset = {}\n",
            ["schedule.when", "no time of the week"],
        ),
        (
            "[[schedule]]\nwhen = \"mon\"\nset = { get-windw = 1 }\n",
            ["schedule.set.get-windw", "no knob"],
        ),
        (
            "[[schedule]]\nwhen = \"mon\"\nset = { get-window = \"x\" }\n",
            ["schedule.set.get-window", "x"],
        ),
        ("[[schedule]]\nwhen = \"mon\"\n", ["schedule", "`when` and `set`"]),
    ] {
        write(wrong);
        check(at, &["reload"], 2, &words);
    }
}

#[test]
fn it_starts_with_what_its_config_file_says() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = dir.path();
    let config = at.join("c.toml");
    fs::write(
        &config,
        "[set]\ncongestion = \"newreno\"\nserve-window = \"8MiB\"\nlog-level = \"info\"\n",
    )
    .expect("writable");
    let config = config.to_str().expect("a plain name");
    let _serve = Serve::start(at, &["--config", config]);
    for (key, value) in [
        ("congestion", json!("newreno")),
        ("serve-window", json!(8 << 20)),
        ("log-level", json!("info")),
    ] {
        assert_eq!(json_of(at, &["set", key, "--json"])["value"], value);
    }
    fs::write(config, "[set]\ncongestion = \"reno\"\n").expect("writable");
    check(
        at,
        &["--config", config, "status"],
        2,
        &["line 2", "`set.congestion` must be one of cubic, newreno, bbr"],
    );
}

/// A connection to the admin socket, as any program could make one.
struct Socket(BufReader<UnixStream>);

impl Socket {
    fn open(dir: &Path) -> Self {
        Self(BufReader::new(
            UnixStream::connect(dir.join("state/admin.sock")).expect("a daemon"),
        ))
    }

    fn ask(&mut self, request: &Value) -> Value {
        let line = json!({"v": 1, "request": request});
        writeln!(self.0.get_mut(), "{line}").expect("it takes a line");
        let mut answer = String::new();
        self.0.read_line(&mut answer).expect("it answers");
        serde_json::from_str(&answer).unwrap_or_else(|e| panic!("{e}: {answer:?} to {line}"))
    }

    fn knobs(&mut self) -> Vec<Value> {
        let listed = self.ask(&json!({"cmd": "knobs", "key": null}));
        listed["ok"]["knobs"].as_array().expect("a list").clone()
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Rng(u64);

impl Rng {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// A value that may or may not be meant: a word of the knob, a number near an end of its range, either of them maimed, or noise.
fn value(rng: &mut Rng, knob: &Value) -> String {
    let mut text = match (rng.below(4), &knob["range"], &knob["choices"]) {
        (0, ..) => (0..rng.below(12))
            .map(|_| *rng.pick(&['0', '9', 'M', 'i', 'B', '-', '=', ' ', '\n', '\0', 'é', '💥']))
            .collect(),
        (_, Value::Array(ends), _) => {
            let end = rng.pick(ends).as_u64().expect("a number");
            let near = end.wrapping_add(rng.below(3) as u64).wrapping_sub(1);
            match (rng.below(3), knob["unit"].as_str()) {
                (0, Some("ms")) => format!("{}s", near / 1000),
                (1, Some("ms")) => format!("{}m", near / 60_000),
                (_, Some("ms")) => format!("{near}ms"),
                (0, _) => format!("{}KiB", near >> 10),
                (1, Some(_)) => format!("{}MiB", near >> 20),
                _ => near.to_string(),
            }
        }
        (_, _, choices) => rng
            .pick(choices.as_array().expect("words"))
            .as_str()
            .expect("a word")
            .to_owned(),
    };
    match rng.below(8) {
        0 => text.push(*rng.pick(&['0', 'x', ' ', 'B', '\u{7f}'])),
        1 => drop(text.pop()),
        2 => text = text.to_uppercase(),
        3 => text = text.repeat(1 + rng.below(300)),
        _ => {}
    }
    text
}

#[test]
fn after_any_request_the_listed_value_is_the_asked_one_or_unchanged_with_an_error() {
    const ROUNDS: u64 = 1000;
    let dir = tempfile::tempdir().expect("a directory");
    let serve = Serve::start(dir.path(), &[]);
    let mut socket = Socket::open(dir.path());
    let (mut taken, mut refused) = (0, 0);
    for seed in 0..ROUNDS {
        let mut rng = Rng(seed);
        let before = socket.knobs();
        let knob = rng.pick(&before);
        let mut key = knob["key"].as_str().expect("a key").to_owned();
        match rng.below(10) {
            0 => drop(key.pop()),
            1 => key.push(*rng.pick(&['s', '=', '\n', 'é'])),
            _ => {}
        }
        // Now and then one that another knob may be.
        let meant_for = if rng.below(4) == 0 { rng.pick(&before) } else { knob };
        let value = value(&mut rng, meant_for);
        let answer = socket.ask(&json!({"cmd": "set", "key": key, "value": value}));
        let after = socket.knobs();
        let told = &answer["ok"]["value"];
        let is_taken = !told.is_null();
        for (was, is) in before.iter().zip(&after) {
            let expect = if is_taken && is["key"] == key.as_str() {
                told
            } else {
                &was["value"]
            };
            assert_eq!(&is["value"], expect, "seed {seed}: {key:?} = {value:?}: {answer}");
        }
        if is_taken {
            taken += 1;
            let units = [
                ("GiB", 1u64 << 30),
                ("MiB", 1 << 20),
                ("KiB", 1 << 10),
                ("ms", 1),
                ("s", 1000),
                ("m", 60_000),
                ("h", 3_600_000),
            ];
            let (digits, scale) = units
                .iter()
                .find_map(|(unit, scale)| Some((value.strip_suffix(unit)?, *scale)))
                .unwrap_or((&value, 1));
            let meant = match digits.parse::<u64>() {
                // No cap, which is shown as such.
                Ok(0) if key.starts_with("peer-cap") => json!("none"),
                number => number.map_or(json!(value), |number| json!(number * scale)),
            };
            assert_eq!(told, &meant, "seed {seed}: {key:?} = {value:?}");
        } else {
            refused += 1;
            assert_eq!(answer["error"]["kind"], "usage", "seed {seed}: {answer}");
            assert!(answer["error"]["help"].is_string(), "seed {seed}: {answer}");
        }
    }
    assert!(taken > 50 && refused > 50, "{taken} taken, {refused} refused");
    assert!(!log_of(dir.path()).contains("panicked"), "{}", log_of(dir.path()));
    drop(serve);
}
