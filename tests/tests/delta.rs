//! A release that differs a little from an earlier one: what both have is not fetched again.

use std::fs;

use ares_tests::{Daemon, Lab, compare, daemon, tree};

/// An insertion costs itself and, for the cuts around it, about two chunks of 64 KiB.
const BYTES: u64 = 96 << 20;

/// Places in the file where something comes in.
const INSERTIONS: usize = 10;

/// What comes in, of all the file has.
const NEW_PERCENT: u64 = 5;

#[test]
fn of_a_file_with_insertions_little_more_than_those_is_fetched() {
    let Some(lab) = Lab::new("delta", 2) else { return };
    let (publisher, reader) = (lab.node(0), lab.node(1));
    let [first, second] = ["first", "second"].map(|name| publisher.dir().join(name));
    tree::big_file(&first, BYTES, 86);
    tree::big_file(&second, BYTES * NEW_PERCENT / 100, 87);
    let [old, new] = [&first, &second].map(|path| fs::read(path).expect("just written"));
    let piece = new.len() / INSERTIONS;
    let with_insertions: Vec<u8> = old
        .chunks(old.len().div_ceil(INSERTIONS))
        .zip(new.chunks(piece))
        // Where nothing is aligned to anything.
        .flat_map(|(old, new)| {
            let (before, behind) = old.split_at(old.len() / 3);
            [before, new, behind].concat()
        })
        .collect();
    fs::write(&second, with_insertions).expect("there is room");

    let server = Daemon::serve(publisher);
    let _reader = Daemon::serve(reader);
    let fetched = [&first, &second].map(|file| {
        let link = server.publish(file).link;
        let copy = reader.dir().join("copy").join(file.file_name().expect("it has one"));
        let mut get = daemon::get(reader, &link, &copy);
        get.arg("--json");
        let said = reader.run(get).expect_ok().json();
        compare::assert_same(file, &copy);
        let number = |name: &str| said[name].as_u64().unwrap_or_else(|| panic!("no {name}: {said}"));
        assert_eq!(number("fetched_bytes") + number("reused_bytes"), number("bytes"), "{said}");
        number("fetched_bytes")
    });
    assert_eq!(fetched[0], BYTES);
    let percent = 100.0 * fetched[1] as f64 / BYTES as f64;
    assert!(percent <= 8.0, "{percent:.1} % were fetched");
}
