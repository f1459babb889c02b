//! Small files that are read one after the other.

use super::*;

/// Directories of many small files: some packs each.
fn shelves() -> (Item, Vec<Vec<Bytes>>) {
    let bytes: Vec<Vec<Bytes>> = (0..3_u64)
        .map(|d| (0..120).map(|n| random_bytes(20_000 + n as usize, d * 1000 + n)).collect())
        .collect();
    let of = |files: &Vec<Bytes>| dir(files.iter().enumerate().map(|(n, bytes)| (format!("f{n:03}"), file(bytes))));
    let top = dir(bytes.iter().enumerate().map(|(d, files)| (format!("d{d}"), of(files))));
    (top, bytes)
}

/// What is in a directory, which the kernel is told of.
fn known(rig: &mut Rig, dir: u64) -> Vec<u64> {
    let names = rig.list_all(dir, 1000).into_iter();
    names.map(|(name, ..)| rig.lookup(dir, &name).expect("listed").ino).collect()
}

#[test]
fn who_reads_one_small_file_after_the_other_is_given_the_rest_of_each_pack() {
    let (top, bytes) = shelves();
    let mut rig = Rig::of(&top);
    let dirs: Vec<u64> = (0..3)
        .map(|d| rig.lookup(ROOT, format!("d{d}").as_bytes()).expect("there").ino)
        .collect();
    let (mut asked, mut given_to) = (0, HashSet::new());
    for (dir, files) in dirs.iter().zip(&bytes) {
        for (ino, want) in known(&mut rig, *dir).iter().zip(files) {
            // As the kernel does: what it was given it does not ask for.
            if !given_to.contains(ino) {
                asked += 1;
                assert_eq!(rig.read(*ino, 0, 64 << 10), &want[..]);
            }
            for (given, part) in rig.given.drain(..) {
                let (d, n) = dirs
                    .iter()
                    .enumerate()
                    .rev()
                    .find_map(|(d, dir)| (given > *dir).then(|| (d, given - dir - 1)))
                    .expect("of a directory");
                assert!(part == bytes[d][n as usize], "what was given is the file");
                assert!(given_to.insert(given), "once");
            }
        }
    }
    let packs = rig.wants.iter().filter(|want| want.chunk.len > 64 << 10).count();
    assert!(packs >= 6 && asked <= packs + 2, "{asked} questions for {packs} packs");
    let waited = rig
        .wants
        .iter()
        .filter(|want| want.chunk.len > 64 << 10 && want.class == Class::Deadline)
        .count();
    assert_eq!(waited, 1, "for the first pack, and for none of the directories that follow");
    // And all of it again, for a kernel that has forgotten it.
    let first = known(&mut rig, dirs[0]);
    rig.read(first[0], 0, 100);
    assert!(rig.given.is_empty());
    rig.read(first[1], 0, 100);
    assert!(!rig.given.is_empty());
}

#[test]
fn who_reads_here_and_there_is_given_nothing() {
    let (top, _) = shelves();
    let mut rig = Rig::of(&top);
    let dir = rig.lookup(ROOT, b"d1").expect("there").ino;
    let files = known(&mut rig, dir);
    for at in [60, 5, 100, 30, 99, 5, 5, 61] {
        rig.read(files[at], 0, 64 << 10);
    }
    assert!(rig.given.is_empty());
    assert!(rig.wants.iter().all(|want| want.class == Class::Deadline));
}
