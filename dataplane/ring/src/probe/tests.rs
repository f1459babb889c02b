//! Each refusal of the kernel gets the remedy that fits it. Nothing of the machine is changed.

use super::*;

fn explain(errno: i32, call: &'static str, io_uring_disabled: Option<u32>, memlock_bytes: Option<u64>) -> String {
    let surroundings = Surroundings {
        kernel: "5.4.0-test".to_owned(),
        io_uring_disabled,
        memlock_bytes,
    };
    surroundings.explain(call, io::Error::from_raw_os_error(errno)).to_string()
}

#[test]
fn every_cause_names_its_remedy() {
    let check = |errno, call, disabled, memlock, parts: &[&str]| {
        let text = explain(errno, call, disabled, memlock);
        for part in parts {
            assert!(text.contains(part), "{text:?} lacks {part:?}");
        }
    };
    let setup = "io_uring_setup";
    check(
        libc::ENOSYS,
        setup,
        None,
        None,
        &["kernel 5.4.0-test has no io_uring", "Linux 6.1", "CONFIG_IO_URING"],
    );
    check(
        libc::EPERM,
        setup,
        Some(2),
        None,
        &["kernel.io_uring_disabled = 2", "sysctl kernel.io_uring_disabled=0"],
    );
    check(
        libc::EPERM,
        setup,
        Some(1),
        None,
        &["kernel.io_uring_disabled = 1", "kernel.io_uring_group", "as root"],
    );
    check(
        libc::EPERM,
        setup,
        Some(0),
        None,
        &["although kernel.io_uring_disabled is 0", "seccomp=", "SystemCallFilter"],
    );
    check(
        libc::EPERM,
        setup,
        None,
        None,
        &["although kernel.io_uring_disabled is unset", "container"],
    );
    check(libc::EACCES, setup, None, None, &["seccomp"]);
    check(libc::ENOMEM, setup, Some(0), Some(65536), &["64 KiB now", "LimitMEMLOCK"]);
    check(libc::ENOMEM, setup, Some(0), None, &["unlimited now", "free some memory"]);
    check(libc::EMFILE, setup, Some(0), None, &["ulimit -n"]);
    check(
        libc::EINVAL,
        setup,
        Some(0),
        None,
        &["5.4.0-test refuses io_uring_setup", "Linux 6.1"],
    );
    check(
        libc::EINVAL,
        "register_buf_ring",
        Some(0),
        None,
        &["register_buf_ring", "Linux 5.19"],
    );
    check(
        libc::EIO,
        setup,
        Some(0),
        None,
        &["kernel refused io_uring_setup", "os error 5"],
    );
}

#[test]
fn this_kernel_has_everything() {
    let probe = probe();
    assert!(probe.usable(), "{probe:?}");
    assert_eq!(probe.findings.len(), 9);
    assert!(
        probe.findings.iter().all(|finding| finding.status == Status::Found),
        "{probe:?}"
    );
    assert!(!probe.kernel.is_empty());
}
