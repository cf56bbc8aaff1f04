//! Device nodes and the rules of the device cgroup.

use super::common::Case;
use serde_json::json;

#[test]
fn the_default_devices_and_links() {
    let script = "cd /dev; for n in null zero full random urandom tty ptmx; do
        stat -L -c '%n %t:%T %a %u' $n; done; for l in fd stdin stdout stderr ptmx; do
        echo $l $(readlink $l); done; echo x > null; head -c 3 zero | wc -c";
    let Some(case) = Case::script("dev", script) else { return };
    let expected = "null 1:3 666 0\nzero 1:5 666 0\nfull 1:7 666 0\nrandom 1:8 666 0\n\
        urandom 1:9 666 0\ntty 5:0 666 0\nptmx 5:2 666 0\nfd /proc/self/fd\n\
        stdin /proc/self/fd/0\nstdout /proc/self/fd/1\nstderr /proc/self/fd/2\nptmx pts/ptmx\n3\n";
    assert_eq!(case.run().ok(), expected);
}

#[test]
fn devices_of_the_configuration() {
    let script =
        "for n in /dev/mine /dev/deep/er/zero /dev/pipe; do stat -c '%n %F %t:%T %a %u %g' $n; done
        head -c 2 /dev/mine | wc -c";
    let Some(mut case) = Case::script("devices", script) else { return };
    case.config["linux"]["devices"] = json!([
        {"path": "/dev/mine", "type": "c", "major": 1, "minor": 5, "fileMode": 0o640, "uid": 0, "gid": 7},
        {"path": "/dev/deep/er/zero", "type": "u", "major": 1, "minor": 5, "fileMode": 0o600},
        {"path": "/dev/pipe", "type": "p", "fileMode": 0o622},
    ]);
    case.config["linux"]["resources"]["devices"] = json!([
        {"allow": false, "access": "rwm"},
        {"allow": true, "type": "c", "major": 1, "minor": 5, "access": "rw"},
    ]);
    assert_eq!(
        case.run().ok(),
        "/dev/mine character special file 1:5 640 0 7\n\
         /dev/deep/er/zero character special file 1:5 600 0 0\n\
         /dev/pipe fifo 0:0 622 0 0\n2\n"
    );
}

#[test]
fn what_is_not_allowed_cannot_be_opened() {
    // 1:11 is the kernel's log: harmless to open, and on no list of defaults.
    let script = "mknod /dev/log c 1 11 && (head -c 1 /dev/log >/dev/null) 2>&1; echo; echo > /dev/null && echo null";
    let Some(mut case) = Case::script("denied", script) else { return };
    case.config["process"]["capabilities"]["bounding"] = json!(["CAP_MKNOD", "CAP_SYSLOG"]);
    for set in ["permitted", "effective"] {
        case.config["process"]["capabilities"][set] = json!(["CAP_MKNOD", "CAP_SYSLOG"]);
    }
    let denied = case.run();
    assert!(
        denied.out.contains("Operation not permitted") && denied.out.ends_with("null\n"),
        "{denied:?}"
    );
    case.config["linux"]["resources"]["devices"] = json!([
        {"allow": false, "access": "rwm"},
        {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"},
    ]);
    let allowed = case.run();
    assert!(!allowed.out.contains("Operation not permitted"), "{allowed:?}");
}
