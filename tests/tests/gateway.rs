//! The HTTP gateway: any part of any file of a release, exactly, from the swarm while it arrives; and nothing else.

use std::fs;
use std::io::Read as _;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::time::Duration;

use ares_tests::http::{Answer, address, ask, begin, get, metrics, total};
use ares_tests::rng::Rng;
use ares_tests::{Daemon, Lab, Node, compare, procfs, tree, wait};
use rustix::process::Signal;

const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes of the large file; more than its chunk list fits into an entry.
const BIG: u64 = 24 << 20;

/// A publisher with a tree, and an edge that was told to serve it and answers HTTP. What it lacks it fetches as it is asked.
struct Scene {
    lab: Lab,
    publisher: Daemon,
    edge: Daemon,
    reader: Node,
    at: SocketAddr,
    release: String,
}

impl Scene {
    fn new(test: &str) -> Option<Self> {
        let lab = Lab::new(test, 2)?;
        let (publisher, reader) = (lab.node(0), lab.node(1));
        let top = publisher.dir().join("tree");
        fs::create_dir(&top).expect("a directory");
        tree::odd(&top.join("odd"), 95);
        tree::big_file(&top.join("big"), BIG, 96);
        fs::write(top.join("small & <odd> %41?#.txt"), "small").expect("a file");
        fs::write(top.join("empty"), "").expect("a file");
        symlink("big", top.join("link")).expect("a symlink");
        let serving = Daemon::serve(publisher);
        let published = serving.publish(&top);
        let config = format!(
            "[http]\nlisten = \"127.0.0.1:0\"\ngateway = true\n[edge]\nreleases = [\"{}\"]\n[mount]\npatience = \"2s\"\n",
            published.link
        );
        let reader = reader.with_config("gateway", &config);
        let edge = Daemon::serve(&reader);
        let at = address(&reader).expect("it runs");
        Some(Self {
            lab,
            publisher: serving,
            edge,
            reader,
            at,
            release: published.release,
        })
    }

    fn top(&self) -> std::path::PathBuf {
        self.lab.node(0).dir().join("tree")
    }

    /// The path of an entry of the release.
    fn target(&self, inside: &[u8]) -> String {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
        let encode = |byte: &u8| match plain(*byte) {
            true => char::from(*byte).to_string(),
            false => format!("%{byte:02x}"),
        };
        format!("/r/{}/{}", self.release, inside.iter().map(encode).collect::<String>())
    }

    fn ask(&self, method: &str, inside: &str, fields: &[(&str, &str)]) -> Answer {
        ask(&self.reader, self.at, method, &self.target(inside.as_bytes()), fields)
    }

    /// Until the edge waits for nothing any more.
    fn rests(&self) {
        wait::until(PATIENCE, "nothing to be wanted any more", || {
            (total(&metrics(&self.reader, self.at), "ares_wants_outstanding") == 0.0).then_some(())
        });
    }
}

#[test]
fn any_part_of_a_file_is_exactly_that_part() {
    let Some(scene) = Scene::new("gateway-ranges") else { return };
    let big = fs::read(scene.top().join("big")).expect("bytes");
    let whole = scene.ask("GET", "big", &[]);
    assert!(whole.status == 200 && whole.body == big);
    let tag = whole.field("etag").expect("a tag").to_owned();
    let mut rng = Rng::new(97);
    for _ in 0..150 {
        let from = rng.below(BIG);
        // Short ones and long ones alike.
        let most = 1_u64 << rng.below(23);
        let to = (from + rng.below(most)).min(BIG - 1);
        let (range, expect) = match rng.below(4) {
            0 => (format!("bytes=-{}", BIG - from), from..BIG),
            1 => (format!("bytes={from}-"), from..BIG),
            _ => (format!("bytes={from}-{to}"), from..to + 1),
        };
        let part = scene.ask("GET", "big", &[("range", &range), ("if-range", &tag)]);
        assert_eq!(part.status, 206, "{range}");
        assert!(part.body == big[expect.start as usize..expect.end as usize], "{range}");
        let within = format!("bytes {}-{}/{BIG}", expect.start, expect.end - 1);
        assert_eq!(part.field("content-range"), Some(within.as_str()), "{range}");
        let length = (expect.end - expect.start).to_string();
        assert_eq!(part.field("content-length"), Some(length.as_str()), "{range}");
    }
    let beyond = scene.ask("GET", "big", &[("range", &format!("bytes={BIG}-"))]);
    assert_eq!(
        (beyond.status, beyond.field("content-range")),
        (416, Some(format!("bytes */{BIG}").as_str()))
    );
    for (fields, status) in [
        (&[("range", "bytes=0-1,5-6")][..], 200),
        (&[("range", "bytes=0-1"), ("if-range", "\"other\"")], 200),
        (&[("if-none-match", tag.as_str())], 304),
        (&[("if-none-match", tag.as_str()), ("range", "bytes=0-1")], 304),
        (&[("if-match", "\"other\"")], 412),
    ] {
        let answer = scene.ask("GET", "big", fields);
        assert_eq!(answer.status, status, "{fields:?}");
        assert!(
            (status == 200) == (answer.body == big) && (status == 200 || answer.body.is_empty()),
            "{fields:?}"
        );
    }
    for fields in [&[][..], &[("range", "bytes=0-1")]] {
        let head = scene.ask("HEAD", "big", fields);
        assert_eq!(
            (head.status, head.body.len(), head.field("etag")),
            (200, 0, Some(tag.as_str()))
        );
        assert_eq!(head.field("content-length"), Some(BIG.to_string().as_str()));
        assert_eq!(head.field("accept-ranges"), Some("bytes"));
    }
    let known = scene.ask("HEAD", "big", &[("if-none-match", &tag)]);
    assert_eq!(
        (known.status, known.field("content-length"), known.field("etag")),
        (304, None, Some(tag.as_str()))
    );
    let small = scene.ask("GET", "small & <odd> %41?#.txt", &[("range", "bytes=-2")]);
    assert_eq!((small.status, small.text()), (206, "ll"));
    // As `printf small | b3sum` has it.
    let hash = "\"b0f55908f814f26164dc4b644ff892b4e0e000fa087d66497e7b06d27cf4a669\"";
    assert_eq!(small.field("etag"), Some(hash));
    let empty = scene.ask("GET", "empty", &[]);
    assert_eq!(
        (empty.status, empty.field("content-length"), empty.body.len()),
        (200, Some("0"), 0)
    );
    assert_eq!(scene.ask("GET", "empty", &[("range", "bytes=0-")]).status, 416);
}

#[test]
fn curl_and_wget_bring_what_was_published() {
    let Some(scene) = Scene::new("gateway-tools") else { return };
    let big = fs::read(scene.top().join("big")).expect("bytes");
    let url = format!("http://{}{}", scene.at, scene.target(b"big"));
    let mut curl = scene.reader.command("curl");
    curl.args(["--silent", "--show-error", "--fail", "--range", "1000000-4999999", &url]);
    let outcome = scene.reader.run(curl).expect_ok();
    assert!(outcome.stdout == big[1_000_000..5_000_000]);
    // An interrupted download goes on where it was.
    let copy = scene.reader.dir().join("copy");
    fs::write(&copy, &big[..7_000_000]).expect("a file");
    let mut curl = scene.reader.command("curl");
    curl.args(["--silent", "--show-error", "--fail", "--continue-at", "-", "--output"]);
    scene.reader.run({
        curl.arg(&copy).arg(&url);
        curl
    });
    assert!(fs::read(&copy).expect("bytes") == big);
    if ares_tests::scratch::quiet(std::process::Command::new("wget").arg("--version")) {
        // Of the whole file there is nothing left to bring.
        for begun in [9_000_000, big.len()] {
            fs::write(&copy, &big[..begun]).expect("a file");
            let mut wget = scene.reader.command("wget");
            wget.args(["--quiet", "--no-proxy", "--continue", "--output-document"])
                .arg(&copy)
                .arg(&url);
            scene.reader.run(wget).expect_ok();
            assert!(fs::read(&copy).expect("bytes") == big);
        }
    }
}

#[test]
fn every_file_is_there_under_its_name_and_listed_and_nothing_else_is() {
    let Some(scene) = Scene::new("gateway-tree") else { return };
    let top = scene.top();
    for path in compare::files_below(&top) {
        let inside = path.strip_prefix(&top).expect("below").as_os_str().as_bytes();
        let answer = get(&scene.reader, scene.at, &scene.target(inside));
        let shown = String::from_utf8_lossy(inside);
        assert_eq!(answer.status, 200, "{shown}");
        assert!(answer.body == fs::read(&path).expect("bytes"), "{shown}");
    }
    let listing = scene.ask("GET", "", &[]);
    let page = listing.text();
    assert_eq!(
        (listing.status, listing.field("content-type")),
        (200, Some("text/html; charset=utf-8"))
    );
    for part in [
        "<a href=\"./odd/\">odd/</a>",
        "<a href=\"./big\">big</a>",
        "<tr><td>link &rarr; big<td>",
        "<a href=\"./small%20%26%20%3Codd%3E%20%2541%3F%23.txt\">small &amp; &lt;odd&gt; %41?#.txt</a>",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let names = fs::read_dir(&top).expect("a listing").count();
    assert_eq!(page.matches("<tr>").count(), names);
    let tag = listing.field("etag").expect("a tag");
    assert_eq!(scene.ask("GET", "", &[("if-none-match", tag)]).status, 304);
    let head = scene.ask("HEAD", "", &[]);
    assert_eq!((head.status, head.body.len(), head.field("content-length")), (200, 0, None));
    assert_eq!(head.field("etag"), Some(tag));

    let moved = scene.ask("GET", "odd", &[]);
    let to = scene.target(b"odd/");
    assert_eq!((moved.status, moved.field("location")), (301, Some(to.as_str())));
    for inside in ["big/", "link", "none", "odd//", "../identity", "odd/../big", ".", "big/none"] {
        assert_eq!(scene.ask("GET", inside, &[]).status, 404, "{inside}");
    }
    let other = scene.target(b"big").replace(&scene.release, &"0".repeat(64));
    let encoded = scene.target(b"odd/").replace("odd/", "odd%2f");
    for target in [other.as_str(), encoded.as_str(), "/r/", "/r/zz/big", "/r", "/r/%zz"] {
        assert_eq!(get(&scene.reader, scene.at, target).status, 404, "{target}");
    }
    // As a program may ask that takes care of nothing.
    for inside in [
        "%2e%2e/",
        "%2e%2e/identity",
        "odd/%2E%2E/big",
        "big%00",
        "%00",
        "b%",
        "b%6",
        "b%6g",
        "%2562ig",
        "odd%2f..%2fbig",
    ] {
        let target = format!("/r/{}/{inside}", scene.release);
        assert_eq!(get(&scene.reader, scene.at, &target).status, 404, "{target}");
    }
    let spelled = format!("/r/{}/b%69%67?x=1#y", scene.release);
    assert_eq!(ask(&scene.reader, scene.at, "HEAD", &spelled, &[]).status, 200);
}

/// What the publisher has besides is not to be had by its name.
#[test]
fn what_the_edge_was_not_told_to_serve_is_not_looked_for() {
    let Some(scene) = Scene::new("gateway-other") else { return };
    let other = scene.lab.node(0).dir().join("other");
    tree::big_file(&other, 1 << 20, 98);
    let other = scene.publisher.publish(&other);
    assert_eq!(scene.ask("GET", "big", &[("range", "bytes=0-9")]).status, 206);
    let fetched = || total(&metrics(&scene.reader, scene.at), "ares_chunk_received_bytes_total");
    scene.rests();
    let before = fetched();
    let target = format!("/r/{}", other.release);
    assert_eq!(get(&scene.reader, scene.at, &target).status, 404);
    assert_eq!(fetched(), before);
    scene.edge.tell(&["pin", &other.link]);
    assert_eq!(get(&scene.reader, scene.at, &target).status, 200);
}

#[test]
fn what_does_not_come_is_an_error_and_never_other_bytes() {
    let Some(scene) = Scene::new("gateway-silent") else { return };
    let big = fs::read(scene.top().join("big")).expect("bytes");
    let half = scene.ask("GET", "big", &[("range", &format!("bytes=0-{}", BIG / 2))]);
    assert_eq!(half.status, 206);
    scene.rests();
    scene.publisher.signal(Signal::STOP);
    let last = scene.ask("GET", "big", &[("range", "bytes=-10")]);
    assert_eq!(last.status, 504, "{last:?}");
    let cut = scene.ask("GET", "big", &[]);
    assert_eq!(
        (cut.status, cut.field("content-length")),
        (200, Some(BIG.to_string().as_str()))
    );
    let came = cut.body.len();
    assert!((BIG / 2..BIG).contains(&(came as u64)) && cut.body == big[..came], "{came}");
    // Who leaves meanwhile takes with him what he waits for.
    let waiting = begin(
        &scene.reader,
        scene.at,
        "GET",
        &scene.target(b"big"),
        &[("range", "bytes=-10")],
    );
    wait::until(PATIENCE, "the end of the file to be wanted", || {
        (total(&metrics(&scene.reader, scene.at), "ares_wants_outstanding") > 0.0).then_some(())
    });
    drop(waiting);
    scene.rests();
    scene.publisher.signal(Signal::CONT);
    let last = scene.ask("GET", "big", &[("range", "bytes=-10")]);
    assert!(last.body == big[big.len() - 10..]);
}

#[test]
fn a_client_that_leaves_leaves_nothing_behind() {
    let Some(scene) = Scene::new("gateway-leave") else { return };
    for _ in 0..20 {
        let mut stream = begin(&scene.reader, scene.at, "GET", &scene.target(b"big"), &[]);
        stream.read_exact(&mut [0; 1000]).expect("it has begun");
    }
    scene.rests();
    let big = fs::read(scene.top().join("big")).expect("bytes");
    assert!(scene.ask("GET", "big", &[]).body == big);
}

/// Readers who ask for all and take nothing cost what is asked for ahead of them, and no fetch waits for them.
#[test]
fn readers_who_take_nothing_are_held_to_their_share_of_memory() {
    /// Of the 64 connections there are.
    const READERS: u64 = 56;
    /// What all may ask for ahead, three chunks of each, and buffers.
    const MEMORY: u64 = (64 << 20) + READERS * (3 << 20) + (48 << 20);
    let Some(scene) = Scene::new("gateway-slow") else { return };
    let big = fs::read(scene.top().join("big")).expect("bytes");
    assert!(scene.ask("GET", "big", &[]).body == big);
    scene.rests();
    let memory = || procfs::rss_bytes(scene.edge.pid()).expect("it runs");
    let before = memory();
    let slow: Vec<_> = (0..READERS)
        .map(|_| begin(&scene.reader, scene.at, "GET", &scene.target(b"big"), &[]))
        .collect();
    for mut stream in &slow {
        stream.read_exact(&mut [0; 100]).expect("it has begun");
    }
    assert!(scene.ask("GET", "big", &[]).body == big);
    scene.rests();
    let more = memory().saturating_sub(before);
    assert!(more < MEMORY && MEMORY < READERS * BIG / 2, "{more} bytes more");
}
