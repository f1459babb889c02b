//! The program under the name by which mount(8) looks for it.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use ares_tests::mount::{self, answers, is_mounted, unmount};
use ares_tests::{Daemon, Lab, Node, compare, lab, tree, wait};

/// As mount(8) calls it.
fn helper(node: &Node, link: &str, dir: &Path, options: &str) -> Command {
    let program = node.dir().join("mount.ares");
    if !program.exists() {
        symlink(lab::binary(), &program).expect("a link");
    }
    let mut command = node.command(program);
    let state = node.state().display();
    command
        .arg(link)
        .arg(dir)
        .args(["-o", &format!("rw,state={state},no_mdns,{options}")]);
    command
}

#[test]
fn mount_and_fstab_mount_by_it_and_hear_how_it_ended() {
    if !mount::is_possible("helper") {
        return;
    }
    let Some(lab) = Lab::new("helper", 2) else { return };
    let (publisher, reader) = (lab.node(0), lab.node(1));
    let release = publisher.dir().join("release");
    tree::source(&release, 40, 5);
    let server = Daemon::serve(publisher);
    let link = server.publish(&release).link;
    let dir = reader.dir().join("a mount");
    fs::create_dir(&dir).expect("a mount point");

    for (link, options, code) in [
        (link.as_str(), "colour=red", 1),
        ("ares:nothing", "", 32),
        (link.as_str(), "uid=root", 32),
    ] {
        let refused = reader.run(helper(reader, link, &dir, options));
        assert_eq!(refused.status.code(), Some(code), "{options}: {}", refused.stderr);
        assert!(!is_mounted(&dir) && !refused.stderr.is_empty());
    }
    reader
        .run(helper(reader, &link, &dir, "uid=1234,_netdev,x-systemd.automount"))
        .expect_ok();
    assert!(answers(&dir), "when the helper has ended");
    assert_eq!(fs::metadata(&dir).expect("there").uid(), 1234);
    compare::assert_same(&release, &dir);
    unmount(reader, &dir).expect_ok();
    wait::until(Duration::from_secs(30), "the end of the mount", || {
        (!is_mounted(&dir)).then_some(())
    });

    reader.run(helper(reader, "none", &dir, "")).expect_ok();
    let mut add = reader.ares(["mount", "add", &link]);
    add.arg(dir.join("v1"));
    reader.run(add).expect_ok();
    compare::assert_same(&release, &dir.join("v1"));
    // As umount(8) does, which knows nothing of us.
    let mut tool = reader.command("umount");
    tool.arg(&dir);
    reader.run(tool).expect_ok();
}
