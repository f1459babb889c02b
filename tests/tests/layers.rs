//! What people lay on a mount: an overlay whose lower directory it is, and bind mounts, as containers make them.

use std::fs;

use ares_tests::mount::{self, Mounted, is_mounted, unmount};
use ares_tests::{Daemon, Lab, compare, lab, tree};

/// Run with the mount, an overlay's directory of three, and where to bind to. Its mounts are its own and end with it.
const SCRIPT: &str = "set -e
mount -t overlay overlay -o lowerdir=$1,upperdir=$2/upper,workdir=$2/work $2/merged
diff -r $1 $2/merged
cmp $2/merged/big $3/big
echo more >> $2/merged/top
mv $2/merged/big $2/merged/moved
rm -r $2/merged/dir
cmp $2/merged/moved $3/big
mount --bind $1/dir $4
cmp $4/below $3/dir/below
mount --bind $1 $4
diff -r $4 $3
umount $4 $4 $2/merged";

#[test]
fn an_overlay_and_bind_mounts_lie_on_a_mount() {
    if !mount::is_possible("layers") {
        return;
    }
    let Some(lab) = Lab::new("layers", 2) else { return };
    let has_overlay = fs::read_to_string("/proc/filesystems").is_ok_and(|text| text.contains("\toverlay\n"));
    if !has_overlay {
        return lab::skip("layers", "the kernel has no overlayfs");
    }
    let (publisher, reader) = (lab.node(0), lab.node(1));
    let release = publisher.dir().join("release");
    fs::create_dir_all(release.join("dir")).expect("made");
    fs::write(release.join("top"), "top\n").expect("writable");
    tree::big_file(&release.join("dir/below"), 3000, 1);
    tree::big_file(&release.join("big"), 9 << 20, 2);
    let server = Daemon::serve(publisher);
    let link = server.publish(&release).link;
    let [dir, layers, bound] = ["mounted", "layers", "bound"].map(|name| reader.dir().join(name));
    for made in [
        &dir,
        &layers.join("upper"),
        &layers.join("work"),
        &layers.join("merged"),
        &bound,
    ] {
        fs::create_dir_all(made).expect("made");
    }
    // What is held whole is read by the kernel itself the second time, where it is let.
    for (when, passthrough) in [("never", "never"), ("before", "always"), ("once it is whole", "always")] {
        let mounted = Mounted::with(reader, &link, &dir, &["--passthrough", passthrough]);
        let mut script = reader.command("unshare");
        script.args(["--mount", "--propagation", "private", "sh", "-c", SCRIPT, "sh"]);
        script.arg(&dir).arg(&layers).arg(&release).arg(&bound);
        reader.run(script).expect_ok();
        assert_eq!(
            fs::read_to_string(layers.join("upper/top")).expect("copied up"),
            "top\nmore\n",
            "{when}"
        );
        compare::assert_same(&release, &dir);
        unmount(reader, &dir).expect_ok();
        mounted.gone().expect_ok();
        assert!(!is_mounted(&dir), "{when}");
        for layer in ["upper", "work"] {
            fs::remove_dir_all(layers.join(layer)).expect("ours");
            fs::create_dir(layers.join(layer)).expect("made");
        }
    }
}
