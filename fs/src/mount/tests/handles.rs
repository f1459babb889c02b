//! File handles, as who exports a mount keeps them: they outlive what the kernel remembers, and the mount; and they lead to nothing else.

use super::*;

/// Prints the handle of each path, in hexadecimal; or opens each handle at the first argument and prints what it reads, or the error.
const PROGRAM: &str = "
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
class Handle(ctypes.Structure):
    _fields_ = [('bytes', ctypes.c_uint), ('type', ctypes.c_int), ('data', ctypes.c_ubyte * 128)]
what, args = sys.argv[1], sys.argv[2:]
if what == 'name':
    for path in args:
        handle, mount = Handle(128), ctypes.c_int()
        if libc.name_to_handle_at(-100, os.fsencode(path), ctypes.byref(handle), ctypes.byref(mount), 0): sys.exit(os.strerror(ctypes.get_errno()))
        print(bytes(handle)[:8 + handle.bytes].hex())
else:
    top = os.open(args[0], os.O_RDONLY)
    for handle in args[1:]:
        raw = bytes.fromhex(handle)
        handle = Handle.from_buffer_copy(raw.ljust(ctypes.sizeof(Handle), bytes(1)))
        fd = libc.open_by_handle_at(top, ctypes.byref(handle), os.O_RDONLY)
        print(os.read(fd, 100).decode() if fd >= 0 else os.strerror(ctypes.get_errno()))
";

fn lines(args: &[&str]) -> Vec<String> {
    let output = Command::new("python3")
        .args(["-c", PROGRAM])
        .args(args)
        .output()
        .expect("python3");
    let (text, error) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{error}");
    text.lines().map(str::to_owned).collect()
}

fn handles_of(transport: Transport) {
    let of = |text: &str| Release::of(&dir([("a", file("first")), ("sub", dir([("below", file(text))]))]));
    let mount = |release: &Release| {
        Rig::with(
            release,
            MemorySource::slow(release, Duration::ZERO),
            &MountOptions { transport, ..options() },
        )
    };
    let rig = mount(&of("one"));
    let paths = ["a", "sub/below"].map(|name| rig.path(name));
    let paths = paths.each_ref().map(|path| path.to_str().expect("text"));
    let handles = lines(&[&["name"], &paths[..]].concat());
    drop(rig);
    let open = |rig: &Rig| {
        let top = rig.dir.path().to_str().expect("text");
        let handles = handles.iter().map(String::as_str);
        lines(&["open", top].into_iter().chain(handles).collect::<Vec<_>>())
    };
    assert_eq!(open(&mount(&of("one"))), ["first", "one"], "the same release, mounted anew");
    assert_eq!(open(&mount(&of("two"))), ["Stale file handle"; 2], "another one");
}

#[test]
fn a_file_handle_outlives_the_mount_and_leads_to_no_other_release() {
    if can_mount() && rustix::process::geteuid().is_root() {
        over_each(handles_of);
    }
}

/// More files than are kept in memory, which the kernel knows all the same.
fn a_file_of_long_ago(transport: Transport) {
    const FILES: usize = 2_500;
    let files = (0..FILES).map(|n| {
        let text = file(n.to_string());
        (format!("f{n:04}"), marked(text, 0o644, &[("user.note", "mine")]))
    });
    let release = Release::of(&dir([("d", dir(files))]));
    let source = MemorySource::slow(&release, Duration::ZERO);
    let rig = Rig::with(&release, source, &MountOptions { transport, ..options() });
    // By descriptors: where a path leads to what we do not know, the kernel looks it up again.
    let open = |n: usize| fs::File::open(rig.path(&format!("d/f{n:04}"))).expect("open");
    let files: Vec<fs::File> = (0..FILES).step_by(100).map(open).collect();
    assert_eq!(fs::read_dir(rig.path("d")).expect("a listing").count(), FILES);
    for (n, file) in files.iter().enumerate() {
        let mut keys = [0; 64];
        let len = rustix::fs::flistxattr(file, &mut keys).expect("a list");
        assert_eq!(&keys[..len], b"user.note\0");
        assert_eq!(io::read_to_string(file).expect("readable"), (n * 100).to_string());
    }
}

#[test]
fn what_the_kernel_was_told_of_long_ago_is_found_again() {
    if can_mount() {
        over_each(a_file_of_long_ago);
    }
}
