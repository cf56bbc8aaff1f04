//! Who a container's processes are, and what they may.

use super::instance::Instance;
use serde_json::json;

fn manifest(context: &str) -> String {
    r#"
apiVersion: v1
kind: Pod
metadata: {name: secure}
spec:
  terminationGracePeriodSeconds: 1
  securityContext: {runAsUser: 1000, runAsGroup: 2000, supplementalGroups: [3000]}
  containers:
  - name: c
    image: host
    command: [sleep, "1000"]
    securityContext: CONTEXT
"#
    .replace("CONTEXT", context)
}

#[test]
fn the_container_overrides_the_pod() {
    let Some(instance) = Instance::new("users") else { return };
    instance.apply(&manifest("{runAsUser: 1001}"));
    instance.wait_running("secure");
    let sh = |script: &str| instance.sh("secure", "c", script);
    assert_eq!(sh("id -u; id -g"), "1001\n2000\n");
    assert!(sh("id -G").split_whitespace().any(|group| group == "3000"));
    let user = &instance.get("secure")["status"]["containerStatuses"][0]["user"];
    let told = json!({"linux": {"uid": 1001, "gid": 2000, "supplementalGroups": [2000, 3000]}});
    assert_eq!(user, &told);
    assert_eq!(
        sh("grep CapEff /proc/self/status").split_whitespace().nth(1),
        Some("0000000000000000")
    );
    // What it prints reaches the log though the pipe was made by root.
    sh("echo through the name > /proc/1/fd/1");
    let follow = instance.start(&["logs", "-f", "secure"]);
    follow.wait_output("through the name");
    instance.delete("secure");
    follow.finish().ok();
}

#[test]
fn capabilities_and_roots_are_as_asked_for() {
    let Some(instance) = Instance::new("caps") else { return };
    let context = "{runAsUser: 0, readOnlyRootFilesystem: true, allowPrivilegeEscalation: false, \
                   capabilities: {drop: [ALL], add: [NET_ADMIN]}}";
    instance.apply(&manifest(context));
    instance.wait_running("secure");
    let sh = |script: &str| instance.sh("secure", "c", script);
    assert_eq!(
        sh("grep CapEff /proc/self/status").split_whitespace().nth(1),
        Some("0000000000001000")
    );
    assert_eq!(sh("grep NoNewPrivs /proc/self/status").split_whitespace().nth(1), Some("1"));
    assert_eq!(sh("touch /x 2>/dev/null || echo read-only"), "read-only\n");
    instance.delete("secure");
}

#[test]
fn the_host_image_hides_the_state_and_keeps_the_host_as_it_is() {
    let Some(instance) = Instance::new("hostimage") else { return };
    instance.apply(&manifest("{runAsUser: 0}"));
    instance.wait_running("secure");
    let lib = instance.root().join("lib");
    let shown = instance.sh("secure", "c", &format!("ls -A {} | wc -l", lib.display()));
    assert_eq!(shown.trim(), "0", "the store is masked");
    let name = format!("/etc/runp-test-{}", std::process::id());
    instance.sh("secure", "c", &format!("touch {name}"));
    assert!(!std::path::Path::new(&name).exists());
    instance.delete("secure");
}

#[test]
fn seccomp_profiles_are_the_runtimes_and_of_files() {
    let Some(instance) = Instance::new("seccomp") else { return };
    let dir = instance.root().join("lib/seccomp");
    std::fs::create_dir_all(&dir).unwrap();
    let profile = r#"{"defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}"#;
    std::fs::write(dir.join("own.json"), profile).unwrap();
    let manifest = r#"
apiVersion: v1
kind: Pod
metadata: {name: filtered}
spec:
  terminationGracePeriodSeconds: 1
  securityContext: {seccompProfile: {type: RuntimeDefault}}
  containers:
  - {name: default, image: host, command: [sleep, "1000"]}
  - name: own
    image: host
    command: [sleep, "1000"]
    securityContext: {seccompProfile: {type: Localhost, localhostProfile: own.json}}
  - name: none
    image: host
    command: [sleep, "1000"]
    securityContext: {seccompProfile: {type: Unconfined}}
"#;
    instance.apply(manifest);
    instance.wait_running("filtered");
    let sh = |container: &str, script: &str| instance.sh("filtered", container, script);
    let mode = "sed -n 's/^Seccomp:.//p' /proc/self/status";
    assert_eq!(sh("default", mode), "2\n");
    assert_eq!(sh("none", mode), "0\n");
    assert_eq!(sh("default", "unshare -U true 2>/dev/null || echo denied"), "denied\n");
    assert_eq!(sh("default", "mkdir /tmp/x && ls / > /dev/null && echo fine"), "fine\n");
    assert_eq!(sh("own", "mkdir /tmp/x 2>/dev/null || echo denied"), "denied\n");
    instance.delete("filtered");
    instance.apply(&manifest.replace("own.json", "none.json"));
    let status = instance.wait_for("filtered", |status| {
        let waiting = &status["containerStatuses"][2]["state"]["waiting"];
        waiting["reason"] == "CreateContainerConfigError"
    });
    let message = &status["containerStatuses"][2]["state"]["waiting"]["message"];
    assert!(message.as_str().unwrap().starts_with("cannot load seccomp profile"), "{message}");
    instance.delete("filtered");
    std::fs::remove_dir_all(&dir).unwrap();
    instance.assert_nothing_left();
}

#[test]
fn strict_groups_are_those_of_the_manifest() {
    let Some(instance) = Instance::new("groups") else { return };
    // The image `host` has the host's files, which are this thread's own here.
    for (name, content) in [
        ("/etc/passwd", "root:x:0:0::/:/bin/sh\nwww:x:1000:1000::/:/bin/sh\n"),
        ("/etc/group", "root:x:0:\nwww:x:1000:\nextra:x:50000:www\n"),
    ] {
        let path = instance.path(&name.replace('/', "_"));
        std::fs::write(&path, content).unwrap();
        let bind = nix::mount::MsFlags::MS_BIND;
        nix::mount::mount(Some(&path), name, None::<&str>, bind, None::<&str>).unwrap();
    }
    for (policy, groups) in [("Merge", "1000 3000 50000\n"), ("Strict", "1000 3000\n")] {
        let manifest = format!(
            r#"
apiVersion: v1
kind: Pod
metadata: {{name: groups}}
spec:
  terminationGracePeriodSeconds: 1
  securityContext:
    {{runAsUser: 1000, supplementalGroups: [3000], supplementalGroupsPolicy: {policy}}}
  containers: [{{name: c, image: host, command: [sleep, "1000"]}}]
"#
        );
        instance.apply(&manifest);
        instance.wait_running("groups");
        assert_eq!(instance.sh("groups", "c", "id -G"), groups, "{policy}");
        instance.delete("groups");
    }
    for name in ["/etc/passwd", "/etc/group"] {
        nix::mount::umount(name).unwrap();
    }
    instance.assert_nothing_left();
}

#[test]
fn an_app_armor_profile_needs_a_kernel_that_has_them() {
    let Some(instance) = Instance::new("apparmor") else { return };
    let context = "{appArmorProfile: {type: Localhost, localhostProfile: runp-test-none}}";
    instance.apply(&manifest(context));
    let enabled = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    let (reason, story) = match enabled.is_ok_and(|enabled| enabled.starts_with('Y')) {
        true => ("RunContainerError", "apply AppArmor profile: exec runp-test-none"),
        false => (
            "CreateContainerConfigError",
            "Cannot enforce AppArmor: AppArmor is not enabled on the host",
        ),
    };
    let status = instance.wait_for("secure", |status| {
        status["containerStatuses"][0]["state"]["waiting"]["reason"] == reason
    });
    let message = &status["containerStatuses"][0]["state"]["waiting"]["message"];
    assert!(message.as_str().unwrap().contains(story), "{message}");
    instance.delete("secure");
    instance.apply(&manifest("{appArmorProfile: {type: Unconfined}}"));
    instance.wait_running("secure");
    instance.delete("secure");
    let context = manifest("{appArmorProfile: {type: RuntimeDefault}}");
    let refused = "spec.containers[0].securityContext.appArmorProfile.type: Forbidden: \
                   \"RuntimeDefault\" is not supported by runp yet, only \"Localhost\", \
                   \"Unconfined\": runp brings no profile of its own";
    instance.podctl(&["apply", "-f", &instance.manifest(&context)]).fails(1, refused);
    instance.assert_nothing_left();
}
