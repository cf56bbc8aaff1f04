//! What the configuration of an image may say, and what comes of it in a pod: nonsense is told or
//! dropped, never obeyed.

use crate::build::{Member, skip, tar_of, write_layout};
use crate::instance::Instance;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// busybox, an account whose name is a number, and a link out of the image.
fn layer(canary: &Path) -> Vec<u8> {
    let busybox = fs::read("/bin/busybox").unwrap();
    tar_of(&[
        Member { mode: 0o755, ..Member::file("bin/busybox", &busybox) },
        Member::symlink("bin/sleep", "busybox"),
        Member::symlink("bin/env", "busybox"),
        Member::file("etc/passwd", b"root:x:0:0::/:\n1000000000000:x:0:0::/:\n"),
        Member::symlink("link", &canary.display().to_string()),
    ])
}

/// A pod `name` of an image whose `config` is that; `command` is the pod's.
fn start(instance: &Instance, name: &str, config: &Value, command: &str) {
    let layout = instance.path(&format!("layout-{name}"));
    let layer = layer(&instance.path("canary"));
    write_layout(&layout, &[layer], &json!({"config": config}));
    let (from, image) = (layout.display().to_string(), format!("{name}.test/image:1"));
    instance.podctl(&["load", "-i", &from, "--name", &image]).ok();
    instance.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  \
         terminationGracePeriodSeconds: 0\n  containers:\n  - name: c\n    image: {image}\n    \
         imagePullPolicy: Never\n{command}"
    ));
}

const SLEEP: &str = "    command: [/bin/sleep, '1000']\n";

#[test]
fn configurations_that_lie_start_nothing() {
    let Some(instance) = Instance::new("config-lies") else { return };
    let range = "uids and gids must be in range 0-2147483647";
    let cases = [
        ("ghost", json!({"User": "ghost"}), SLEEP, "unable to find user ghost"),
        ("group", json!({"User": "0:ghosts"}), SLEEP, "unable to find group ghosts"),
        ("large", json!({"User": "4294967296"}), SLEEP, range),
        ("negative", json!({"User": "-1"}), SLEEP, "unable to find user -1"),
        // An account of that name is root (CVE-2026-46680).
        ("number", json!({"User": "1000000000000"}), SLEEP, range),
        ("nothing", json!({"Entrypoint": null}), "", "no command specified"),
        ("empty", json!({"Cmd": [""]}), "", "no command specified"),
    ];
    fs::create_dir(instance.path("canary")).unwrap();
    for (name, config, command, _) in &cases {
        start(&instance, name, config, command);
    }
    for (name, _, _, told) in &cases {
        let waiting = |status: &Value| status["containerStatuses"][0]["state"]["waiting"].clone();
        let status = instance.wait_for(name, |status| {
            waiting(status)["message"].as_str().is_some_and(|message| message.contains(told))
        });
        let reason = waiting(&status)["reason"].clone();
        assert!(
            reason == "CreateContainerError" || reason == "CreateContainerConfigError",
            "{status}"
        );
        instance.force_delete(name);
    }
    fs::remove_dir_all(instance.root().join("lib/images")).unwrap();
}

#[test]
fn what_an_image_may_not_say_is_dropped() {
    let Some(instance) = Instance::new("config-drops") else { return };
    let canary = instance.path("canary");
    fs::create_dir(&canary).unwrap();
    let config = json!({
        "Env": ["HOME", "*", "=x", "RUNP_ROOT", "A=1", "A=2"],
        "WorkingDir": "/link/made",
        "Volumes": {"/../../etc": {}, "/link/volume": {}, "": {}},
        "Labels": {
            "io.kubernetes.cri.container-type": "sandbox",
            "org.systemd.property.ExecStartPre": "'/bin/false'",
            "run.oci.handler": "krun",
        },
        "ExposedPorts": {"99999/nonsense": {}},
        "StopSignal": "SIGFOO",
        "Cmd": ["/bin/sleep", "1000"],
    });
    start(&instance, "odd", &config, "");
    instance.wait_running("odd");
    let env = instance.podctl(&["exec", "odd", "--", "/bin/env"]).ok();
    assert!(env.lines().any(|line| line == "A=2"), "{env}");
    for wrong in ["RUNP_ROOT", "*", "=x", "A=1"] {
        assert!(!env.lines().any(|line| line.starts_with(wrong)), "{wrong}: {env}");
    }
    assert_eq!(fs::read_dir(&canary).unwrap().count(), 0);
    instance.force_delete("odd");
    fs::remove_dir_all(instance.root().join("lib/images")).unwrap();
}

#[test]
fn configurations_of_another_shape_are_not_taken() {
    if skip(&[]) {
        return;
    }
    let scene = crate::build::Scene::new();
    for (change, why) in [
        (json!({"config": {"User": 5}}), "invalid type: integer `5`, expected a string"),
        (json!({"config": {"Env": "A=1"}}), "invalid type: string \"A=1\", expected a sequence"),
        (json!({"config": {"Volumes": 7}}), "invalid type: integer `7`"),
        (json!({"config": {"Labels": {"a": 1}}}), "invalid type: integer `1`, expected a string"),
        (
            json!({"config": {"Cmd": "sleep"}}),
            "invalid type: string \"sleep\", expected a sequence",
        ),
        (json!({"architecture": "s390x"}), "no image for linux/amd64, only for linux/s390x"),
        (json!({"os": "windows"}), "no image for linux/amd64, only for windows/amd64"),
        (
            json!({"rootfs": {"type": "layers", "diff_ids": []}}),
            "manifest and configuration differ",
        ),
        (json!({"rootfs": {"type": "layers", "diff_ids": ["sha256:x"]}}), "is not a sha256 digest"),
    ] {
        let layout = tempfile::tempdir_in(scene.dir.path()).unwrap();
        write_layout(layout.path(), &[tar_of(&[Member::file("f", b"")])], &change);
        let error = scene.store.load(layout.path(), None).unwrap_err().to_string();
        assert!(error.contains(why), "{change}: {error}");
        assert!(scene.store.list().unwrap().is_empty());
    }
}
