//! The kernel keeps small files that it did not ask for, and keeps them right.

use super::*;

/// Tells whether all pages of a file are in the page cache, and brings none there.
const PROGRAM: &str = "
import ctypes, mmap, sys
file = open(sys.argv[1], 'rb')
mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
pages = (ctypes.c_ubyte * (len(mapped) // mmap.PAGESIZE + 1))()
at = ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(mapped)))
failed = ctypes.CDLL(None).mincore(at, ctypes.c_size_t(len(mapped)), pages)
count = -(-len(mapped) // mmap.PAGESIZE)
sys.exit(0 if not failed and all(page & 1 for page in pages[:count]) else 1)
";

fn is_kept(path: &Path) -> bool {
    let status = Command::new("python3").args(["-c", PROGRAM]).arg(path).status();
    status.expect("python3").success()
}

fn files_are_given(transport: Transport) {
    let bytes: Vec<Bytes> = (0..150_u64).map(|n| random_bytes(5_000 + n as usize, n)).collect();
    let release = Release::of(&dir(bytes
        .iter()
        .enumerate()
        .map(|(n, bytes)| (format!("f{n:03}"), file(bytes)))));
    let options = MountOptions {
        transport,
        figures: Arc::default(),
        ..options()
    };
    let rig = Rig::with(&release, MemorySource::slow(&release, Duration::ZERO), &options);
    // With attributes, so that the kernel knows them all.
    assert_eq!(fs::read_dir(rig.dir.path()).expect("a listing").count(), bytes.len());
    let read = |n: usize| assert!(fs::read(rig.path(&format!("f{n:03}"))).expect("readable") == bytes[n], "{n}");
    read(0);
    read(1);
    let begin = Instant::now();
    while !is_kept(&rig.path("f040")) {
        assert!(begin.elapsed() < Duration::from_secs(20), "nothing was given");
    }
    let before = options.figures.requests(Op::Read);
    read(40);
    assert_eq!(options.figures.requests(Op::Read), before, "nobody was asked");
    (0..bytes.len()).for_each(read);
    let asked = options.figures.requests(Op::Read);
    assert!(asked < bytes.len() as u64, "{asked}");
    assert!(rig.mount.unmount().is_ok());
}

#[test]
fn small_files_beside_those_that_are_read_are_in_the_page_cache() {
    if can_mount() {
        let own = [Transport::Device, Transport::Ring];
        for transport in own {
            let _ring = (transport == Transport::Ring).then(OpenRing::new);
            files_are_given(transport);
        }
    }
}
