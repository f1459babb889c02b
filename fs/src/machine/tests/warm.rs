//! Access profiles: recorded by one machine, fetched ahead by another.

use super::*;

/// A release and what is read of it: some files of a pack, the beginning of a large one and its middle, a file deep below.
fn read_here_and_there(rig: &mut Rig) -> Vec<u64> {
    let deep = rig.lookup(ROOT, b"deep").expect("there").ino;
    let [a, b, large] = [&b"a"[..], b"b", b"large"].map(|name| rig.lookup(deep, name).expect("there").ino);
    rig.read(b, 0, 10);
    rig.read(large, 20 << 20, 4096);
    rig.read(a, 0, 3000);
    rig.read(large, 0, 4096);
    vec![a, b, large]
}

fn here_and_there() -> Item {
    let inner = dir([
        ("a", noise(3000, 1)),
        ("b", noise(4000, 2)),
        ("large", noise(32 << 20, 3)),
        ("other", noise(1 << 20, 4)),
    ]);
    dir([("deep", inner), ("unread", noise(1 << 20, 5))])
}

#[test]
fn what_one_reader_recorded_the_next_need_not_wait_for() {
    let top = here_and_there();
    let mut first = Rig::of(&top);
    read_here_and_there(&mut first);
    let profile = String::from_utf8(first.machine.recorded().text()).expect("ASCII");
    let lines: Vec<&str> = profile.lines().collect();
    assert_eq!(lines.len(), 3, "the pack once: {profile}");
    assert!(
        lines[0] == "0-4000 deep/b" && lines[1].ends_with(" deep/large") && lines[2].starts_with("0-"),
        "{profile}"
    );
    // By paths, so that another release may be warmed by it; what is not there is passed over.
    let profile = format!("0- nothing\n0- deep/nothing/there\n0- deep\n{profile}");

    let mut next = Rig::with(&top, 64 << 20, &profile);
    next.pass(Duration::ZERO);
    next.deliver();
    assert!(
        next.wants
            .iter()
            .all(|want| want.class == Class::Bulk && want.patience <= PATIENCE)
    );
    let fetched: u64 = next.wants.iter().filter_map(|want| want.place).map(|_| 1).sum();
    assert!((1..8).contains(&fetched), "{fetched} chunks of the large file");
    next.wants.clear();
    read_here_and_there(&mut next);
    let waited = next.wants.iter().filter(|want| want.class == Class::Deadline).count();
    assert_eq!(waited, 0, "{:?}", next.wants);
    assert_eq!(next.machine.recorded().text(), first.machine.recorded().text());
    assert_eq!(
        next.machine.bulk_bytes,
        next.fetches.iter().map(|(_, want)| u64::from(want.chunk.len)).sum()
    );

    // What is held is not even read.
    let mut held = Rig::with(&top, 64 << 20, &profile);
    held.held = next.chunks.keys().copied().collect();
    held.pass(Duration::ZERO);
    held.deliver();
    assert!(held.wants.iter().all(|want| want.place.is_none()), "manifest nodes alone");
    assert_eq!((held.machine.bulk_bytes, held.machine.flights.len()), (0, 0));
}

#[test]
fn what_is_fetched_ahead_by_a_profile_is_bounded_and_gives_way() {
    let top = here_and_there();
    let mut rig = Rig::with(&top, 64 << 20, "0- deep/large\n0- unread\n");
    rig.pass(Duration::ZERO);
    rig.deliver_where(|want| want.place.is_none());
    let under_way = |rig: &Rig| rig.fetches.iter().map(|(_, want)| u64::from(want.chunk.len)).sum::<u64>();
    assert!((8 << 20..9 << 20).contains(&under_way(&rig)), "{}", under_way(&rig));
    let unread = rig.ask(Request::Lookup {
        parent: ROOT,
        name: b"unread".to_vec(),
    });
    rig.deliver_where(|want| want.class == Class::Deadline);
    assert!(rig.answers.contains_key(&unread), "nobody waits for it");
    assert_eq!(rig.machine.longest_wait(rig.now), Duration::ZERO);
    // Once it is unwanted no more is begun.
    rig.machine.stop_warming();
    let before = rig.wants.len();
    rig.deliver();
    assert_eq!(rig.wants.len(), before);
    assert!(rig.machine.jobs.is_empty() && rig.machine.bulk_bytes == 0);
}
