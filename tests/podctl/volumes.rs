//! Volumes: made, shared, checked, and gone.

use super::instance::Instance;
use nix::mount::{MsFlags, mount};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

#[test]
fn volumes_are_what_the_manifest_says() {
    let Some(instance) = Instance::new("volumes") else { return };
    let dir = instance.path("host");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("file"), "from the host\n").unwrap();
    let manifest = r#"
apiVersion: v1
kind: Pod
metadata: {name: volumes}
spec:
  terminationGracePeriodSeconds: 1
  securityContext: {fsGroup: 4242}
  containers:
  - name: c
    image: host
    command: [sleep, "1000"]
    volumeMounts:
    - {name: memory, mountPath: /memory}
    - {name: disk, mountPath: /disk}
    - {name: host, mountPath: /disk/nested, readOnly: true}
    - {name: new, mountPath: /new}
  volumes:
  - {name: memory, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
  - {name: disk, emptyDir: {}}
  - {name: host, hostPath: {path: DIR, type: Directory}}
  - {name: new, hostPath: {path: DIR/made/deep}}
"#;
    instance.apply(&manifest.replace("DIR", dir.to_str().unwrap()));
    instance.wait_running("volumes");
    let sh = |script: &str| instance.sh("volumes", "c", script);
    assert_eq!(sh("stat -c '%a %g' /disk /memory"), "2777 4242\n2777 4242\n");
    assert_eq!(sh("id -G").split_whitespace().filter(|id| *id == "4242").count(), 1);
    assert_eq!(sh("stat -f -c %T /memory"), "tmpfs\n");
    assert_eq!(sh("head -c 2000000 /dev/zero > /memory/big 2>/dev/null || echo full"), "full\n");
    assert_eq!(sh("cat /disk/nested/file"), "from the host\n");
    assert_eq!(sh("touch /disk/nested/x 2>/dev/null || echo read-only"), "read-only\n");
    sh("echo x > /new/x; touch /disk/y");
    assert_eq!(std::fs::read_to_string(dir.join("made/deep/x")).unwrap(), "x\n");
    assert_eq!(dir.metadata().unwrap().gid(), 0, "a host path keeps its group");
    instance.delete("volumes");
    instance.assert_nothing_left();
}

#[test]
fn a_wrong_host_path_is_an_event_and_not_the_end() {
    let Some(instance) = Instance::new("hostpath") else { return };
    let path = instance.path("later");
    let manifest = r#"
apiVersion: v1
kind: Pod
metadata: {name: waiting}
spec:
  containers:
  - {name: c, image: host, command: [sleep, "1000"], volumeMounts: [{name: v, mountPath: /v}]}
  volumes: [{name: v, hostPath: {path: DIR, type: Directory}}]
"#;
    instance.apply(&manifest.replace("DIR", path.to_str().unwrap()));
    let message = format!("hostPath type check failed: {} is not a directory", path.display());
    instance.wait_told("waiting", "FailedMount");
    instance.wait_told("waiting", &message);
    assert_eq!(instance.status("waiting").unwrap()["phase"], "Pending");
    instance.delete("waiting");
    instance.assert_nothing_left();
}

/// Makes `dir` a mount that passes on what is mounted below it.
fn share(dir: &Path) {
    let none = None::<&str>;
    mount(Some(dir), dir, none, MsFlags::MS_BIND, none).unwrap();
    mount(none, dir, none, MsFlags::MS_SHARED, none).unwrap();
}

#[test]
fn mounts_reach_as_far_as_the_manifest_says() {
    let Some(instance) = Instance::new("propagation") else { return };
    let dir = instance.path("shared");
    for name in ["both", "late", "precious"] {
        std::fs::create_dir_all(dir.join(name)).unwrap();
    }
    std::fs::write(dir.join("precious/file"), "kept\n").unwrap();
    share(&dir);
    let manifest = r#"
apiVersion: v1
kind: Pod
metadata: {name: propagation}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: mounter
    image: host
    command: [sleep, "1000"]
    securityContext: {privileged: true}
    volumeMounts: [{name: v, mountPath: /v, mountPropagation: Bidirectional}]
  - name: follower
    image: host
    command: [sleep, "1000"]
    volumeMounts: [{name: v, mountPath: /v, mountPropagation: HostToContainer}]
  - name: private
    image: host
    command: [sleep, "1000"]
    volumeMounts: [{name: v, mountPath: /v}]
  volumes: [{name: v, hostPath: {path: DIR}}]
"#;
    instance.apply(&manifest.replace("DIR", dir.to_str().unwrap()));
    instance.wait_running("propagation");
    let sh = |container: &str, script: &str| instance.sh("propagation", container, script);
    sh("mounter", "mount -t tmpfs t /v/both && touch /v/both/made");
    assert!(dir.join("both/made").exists(), "the host has it");
    assert_eq!(sh("follower", "ls /v/both"), "made\n");
    assert_eq!(sh("private", "ls /v/both"), "");
    let none = None::<&str>;
    mount(Some("t"), &dir.join("late"), Some("tmpfs"), MsFlags::empty(), none).unwrap();
    std::fs::write(dir.join("late/new"), "").unwrap();
    assert_eq!(sh("follower", "ls /v/late"), "new\n");
    assert_eq!(sh("mounter", "ls /v/late"), "new\n");
    assert_eq!(sh("private", "ls /v/late"), "");
    instance.delete("propagation");
    for name in ["both", "late", ""] {
        nix::mount::umount(&dir.join(name)).unwrap();
    }
    assert_eq!(std::fs::read_to_string(dir.join("precious/file")).unwrap(), "kept\n");
    instance.assert_nothing_left();
}

/// What a container mounts into its volume is not the volume's.
#[test]
fn a_mount_in_a_volume_outlives_the_pod_whole() {
    let Some(instance) = Instance::new("mounted") else { return };
    let (root, dir) = (instance.root(), instance.path("host"));
    for dir in [&root, &dir] {
        std::fs::create_dir(dir).unwrap();
    }
    std::fs::write(dir.join("precious"), "kept\n").unwrap();
    share(&root);
    let manifest = r#"
apiVersion: v1
kind: Pod
metadata: {name: mounted}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: c
    image: host
    command: [sleep, "1000"]
    securityContext: {privileged: true}
    volumeMounts:
    - {name: v, mountPath: /v, mountPropagation: Bidirectional}
    - {name: h, mountPath: /h}
  volumes: [{name: v, emptyDir: {}}, {name: h, hostPath: {path: DIR}}]
"#;
    instance.apply(&manifest.replace("DIR", dir.to_str().unwrap()));
    instance.wait_running("mounted");
    let script = "cd /v && mkdir 'a b' 'a b/c' && touch file && mount --bind /h/precious file && \
                  mount --bind /h 'a b/c' && mount -t tmpfs t 'a b/c' && touch 'a b/c/made'";
    instance.sh("mounted", "c", script);
    instance.delete("mounted");
    nix::mount::umount(&root).unwrap();
    assert_eq!(std::fs::read_to_string(dir.join("precious")).unwrap(), "kept\n");
    instance.assert_nothing_left();
}
