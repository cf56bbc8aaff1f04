//! Pods whose images come from a registry: policies, reasons, events, secrets.

use crate::build::sh;
use crate::instance::Instance;
use crate::proxy::{Fault, Proxy};
use crate::registry::{Registry, Setup};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Stdio;

/// An instance with a registry that has busybox in it; the registry goes first.
pub struct World {
    pub registry: Registry,
    pub proxy: Proxy,
    pub instance: Instance,
}

impl World {
    pub fn new(case: &str, setup: &Setup) -> Option<Self> {
        for tool in ["skopeo", "umoci"] {
            if std::process::Command::new(tool).arg("--version").output().is_err() {
                println!("SKIP {case}: {tool} is not installed");
                return None;
            }
        }
        let mut instance = Instance::new(case)?;
        sh("ip link set lo up", &[]);
        instance.look_again();
        let registry = Registry::with(setup);
        let layout = tempfile::tempdir().unwrap();
        busybox(layout.path());
        let creds = if setup.htpasswd.is_some() { "--dest-creds user:secret" } else { "" };
        registry.push(&layout.path().join("oci"), "bb:1", creds);
        let proxy = Proxy::before(registry.port);
        Some(Self { registry, proxy, instance })
    }

    pub fn image(&self, name: &str) -> String {
        format!("127.0.0.1:{}/{name}", self.proxy.port)
    }

    pub fn apply(&self, pod: &str, image: &str, policy: &str, more: &str) {
        self.instance.apply(&format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {pod}}}\nspec:\n  \
             terminationGracePeriodSeconds: 0\n{more}  containers:\n  - name: c\n    \
             image: \"{image}\"\n    imagePullPolicy: {policy}\n    command: [/bin/sleep, '1000']\n"
        ));
    }

    /// Waits until the container waits for that reason; its message.
    pub fn reason(&self, pod: &str, reason: &str) -> String {
        let waiting = |status: &Value| status["containerStatuses"][0]["state"]["waiting"].clone();
        let status = self.instance.wait_for(pod, |status| waiting(status)["reason"] == reason);
        waiting(&status)["message"].as_str().unwrap_or_default().to_owned()
    }

    pub fn events(&self, pod: &str) -> String {
        self.instance.podctl(&["describe", "pod", pod]).ok()
    }

    /// As [`Self::end`], with the images on a mount of their own.
    pub fn end_unmounted(self, pods: &[&str]) {
        for pod in pods {
            self.instance.force_delete(pod);
        }
        sh("umount \"$1\"", &[&self.instance.root().join("lib/images")]);
        self.end(&[]);
    }

    /// Deletes the pods, and the images with them.
    pub fn end(self, pods: &[&str]) {
        for pod in pods {
            self.instance.force_delete(pod);
        }
        drop(self.registry);
        fs::remove_dir_all(self.instance.root().join("lib/images")).unwrap();
        let objects = self.instance.root().join("lib/objects");
        if objects.exists() {
            fs::remove_dir_all(objects).unwrap();
        }
    }
}

/// A layout `oci` with a busybox image in `dir`.
fn busybox(dir: &Path) {
    sh(
        "cd \"$1\"; umoci init --layout oci; umoci new --image oci:1
        umoci unpack --image oci:1 b >/dev/null 2>&1; mkdir b/rootfs/bin; cp /bin/busybox b/rootfs/bin/
        ln -s busybox b/rootfs/bin/sleep; ln -s busybox b/rootfs/bin/sh
        umoci repack --image oci:1 b >/dev/null 2>&1",
        &[dir],
    );
    nameless(dir);
}

/// A layout `oci` in `dir` with an image of two layers, the upper of which hides a file of the lower.
fn data(dir: &Path) {
    sh(
        "cd \"$1\"; umoci init --layout oci; umoci new --image oci:1
        umoci unpack --image oci:1 b >/dev/null 2>&1; mkdir -p b/rootfs/etc/deep
        echo low > b/rootfs/etc/low; echo gone > b/rootfs/etc/gone; cp /bin/busybox b/rootfs/tool
        umoci repack --refresh-bundle --image oci:1 b >/dev/null 2>&1
        rm b/rootfs/etc/gone; echo high > b/rootfs/etc/deep/high
        umoci repack --image oci:1 b >/dev/null 2>&1",
        &[dir],
    );
    nameless(dir);
}

/// skopeo takes the one image of a layout that has no names.
fn nameless(dir: &Path) {
    let index = fs::read_to_string(dir.join("oci/index.json")).unwrap();
    let mut index: Value = serde_json::from_str(&index).unwrap();
    index["manifests"][0]["annotations"] = Value::Null;
    index["manifests"][0].as_object_mut().unwrap().remove("annotations");
    fs::write(dir.join("oci/index.json"), index.to_string()).unwrap();
}

#[test]
fn policies_decide_what_is_asked_of_the_registry() {
    let Some(world) = World::new("policies", &Setup::default()) else { return };
    let image = world.image("bb:1");
    world.apply("never", &image, "Never", "");
    let told = world.reason("never", "ErrImageNeverPull");
    assert_eq!(
        told,
        format!("Container image \"{image}\" is not present with pull policy of Never")
    );
    assert!(world.proxy.seen("").is_empty());

    world.apply("first", &image, "IfNotPresent", "");
    let status = world.instance.wait_running("first");
    let id = status["containerStatuses"][0]["imageID"].as_str().unwrap();
    assert!(id.starts_with(&format!("{}@sha256:", image.trim_end_matches(":1"))), "{id}");
    let events = world.events("first");
    assert!(events.contains(&format!("Pulling image \"{image}\"")), "{events}");
    let pulled =
        events.split(&format!("Successfully pulled image \"{image}\" in ")).nth(1).unwrap();
    let line = pulled.lines().next().unwrap();
    assert!(line.contains("s including waiting). Image size: "), "{line}");
    assert!(line.ends_with(" bytes."), "{line}");

    // The second pod finds it, and touches neither registry nor layers.
    let seen = world.proxy.seen("").len();
    let layers = world.instance.root().join("lib/images/layers");
    let changed = || fs::metadata(&layers).unwrap().ctime_nsec();
    let before = changed();
    world.apply("second", &image, "IfNotPresent", "");
    world.instance.wait_running("second");
    assert_eq!((world.proxy.seen("").len(), changed()), (seen, before));
    let events = world.events("second");
    assert!(
        events.contains("already present on machine and can be accessed by the pod"),
        "{events}"
    );

    // Always asks what the tag means now, and no more.
    world.apply("always", &image, "Always", "");
    world.instance.wait_running("always");
    assert_eq!(world.proxy.seen("HEAD /v2/bb/manifests/1").len(), 1);
    assert_eq!(world.proxy.seen("").len(), seen + 1);

    let used = world.instance.podctl(&["rmi", &image]);
    used.fails(1, "is in use by pod default/always");
    world.end(&["never", "first", "second", "always"]);
}

#[test]
fn failures_have_the_kubelets_reasons() {
    let Some(world) = World::new("reasons", &Setup::default()) else { return };
    world.apply("name", "Bad//Name", "IfNotPresent", "");
    assert!(
        world.reason("name", "InvalidImageName").starts_with("Failed to apply default image tag")
    );
    let missing = world.image("bb:nope");
    world.apply("tag", &missing, "IfNotPresent", "");
    let told = world.reason("tag", "ImagePullBackOff");
    let cause = format!("failed to resolve reference \"{missing}\": {missing}: not found");
    assert_eq!(
        told,
        format!(
            "Back-off pulling image \"{missing}\": ErrImagePull: \
             failed to pull and unpack image \"{missing}\": {cause}"
        )
    );
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let nowhere = format!("127.0.0.1:{free}/bb:1");
    world.apply("nowhere", &nowhere, "IfNotPresent", "");
    let told = world.reason("nowhere", "ImagePullBackOff");
    let begin =
        format!("Back-off pulling image \"{nowhere}\": RegistryUnavailable: image pull failed for");
    assert!(told.starts_with(&begin), "{told}");
    assert!(told.contains("because the registry is unavailable: "), "{told}");
    assert!(world.events("nowhere").contains("Error: RegistryUnavailable"));
    // A store that cannot be read.
    let index = world.instance.root().join("lib/images/index.json");
    fs::write(&index, "{").unwrap();
    world.apply("store", &world.image("bb:1"), "IfNotPresent", "");
    let told = world.reason("store", "ImageInspectError");
    assert!(told.starts_with("Failed to inspect image"), "{told}");
    fs::remove_file(&index).unwrap();
    world.end(&["name", "tag", "nowhere", "store"]);
}

#[test]
fn pull_secrets_open_the_registry() {
    let users = sh("htpasswd -Bbn user secret", &[]);
    let setup = Setup { htpasswd: Some(users), tls: false };
    let Some(world) = World::new("secrets", &setup) else { return };
    // The proxy strips credentials on the way, so the registry is asked directly.
    let host = format!("127.0.0.1:{}", world.registry.port);
    let image = format!("{host}/bb:1");
    world.apply("without", &image, "IfNotPresent", "");
    let told = world.reason("without", "ErrImagePull");
    assert!(
        told.ends_with("the registry wants name and password, and there are none for it"),
        "{told}"
    );
    let config = format!(r#"{{"auths":{{"{host}":{{"auth":"dXNlcjpzZWNyZXQ="}}}}}}"#);
    let legacy = format!(r#"{{"{host}":{{"username":"user","password":"secret"}}}}"#);
    let secret = |name: &str, kind: &str, key: &str, text: &str| {
        let data = sh("printf %s \"$1\" | base64 -w0", &[Path::new(text)]);
        world.instance.apply(&format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\n\
             type: kubernetes.io/{kind}\ndata: {{{key}: {data}}}\n"
        ));
    };
    secret("new", "dockerconfigjson", ".dockerconfigjson", &config);
    secret("old", "dockercfg", ".dockercfg", &legacy);
    for name in ["new", "old"] {
        let more = format!("  imagePullSecrets: [{{name: gone}}, {{name: {name}}}]\n");
        // Each has to ask.
        world.apply(name, &image, "Always", &more);
        world.instance.wait_running(name);
    }
    world.end(&["without", "new", "old"]);
}

#[test]
fn pods_that_start_together_share_one_pull() {
    let Some(world) = World::new("shared", &Setup::default()) else { return };
    world.proxy.fault(
        "GET /v2/bb/manifests/",
        1,
        Fault::Answer("429 Too Many Requests", "Retry-After: 1\r\n".into(), String::new()),
    );
    let image = world.image("bb:1");
    for pod in ["a", "b", "c"] {
        world.apply(pod, &image, "IfNotPresent", "");
    }
    for pod in ["a", "b", "c"] {
        world.instance.wait_running(pod);
    }
    let blobs = world.proxy.seen("GET /v2/bb/blobs/").len();
    assert_eq!(blobs, 2, "one layer, one configuration, whatever the number of pods");
    world.end(&["a", "b", "c"]);
}

/// `rmi` while a pod starts: it finds the image in use, or is first and the pod finds none; never a
/// container without its layers.
#[test]
fn an_image_is_not_removed_under_a_pod_that_starts() {
    let Some(world) = World::new("rmi", &Setup::default()) else { return };
    let image = world.image("bb:1");
    let podctl = |args: &[&str]| world.instance.podctl(args);
    let remove = || {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_podctl"));
        command.env("RUNP_ROOT", world.instance.root()).args(["rmi", &image]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    for round in 0..8 {
        podctl(&["pull", "-q", &image]).ok();
        let before = (round % 2 == 0).then(remove);
        world.apply("p", &image, "Never", "");
        before.unwrap_or_else(remove).wait().unwrap();
        let waiting = |status: &Value| status["containerStatuses"][0]["state"]["waiting"].clone();
        let status = world.instance.wait_for("p", |status| {
            status["phase"] == "Running" || waiting(status)["reason"] == "ErrImageNeverPull"
        });
        let is_there = podctl(&["images", "-q"]).ok().lines().count() == 1;
        assert_eq!(is_there, status["phase"] == "Running", "{status}");
        let events = world.events("p");
        assert!(
            !events.contains("Error: ") || events.contains("Error: ErrImageNeverPull"),
            "{events}"
        );
        world.instance.force_delete("p");
    }
    world.end(&[]);
}

#[test]
fn an_image_may_be_a_volume() {
    let Some(world) = World::new("imagevolume", &Setup::default()) else { return };
    let layout = tempfile::tempdir().unwrap();
    data(layout.path());
    world.registry.push(&layout.path().join("oci"), "data:1", "");
    let (image, missing) = (world.image("data:1"), world.image("none:1"));
    let own = world.image("bb:1");
    let manifest = r#"
apiVersion: v1
kind: Pod
metadata: {name: POD}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: "OWN"
    imagePullPolicy: IfNotPresent
    command: [/bin/sleep, '1000']
    volumeMounts: [{name: many, mountPath: /data}, {name: one, mountPath: /bin2, subPath: bin}]
  volumes:
  - {name: many, image: {reference: "MANY"}}
  - {name: one, image: {reference: "OWN", pullPolicy: IfNotPresent}}
"#;
    let of = |pod: &str, many: &str| {
        manifest.replace("POD", pod).replace("MANY", many).replace("OWN", &own)
    };
    world.instance.apply(&of("volume", &image));
    world.instance.wait_running("volume");
    let run = |script: &str| world.instance.sh("volume", "c", script);
    let b = "/bin/busybox";
    assert_eq!(run(&format!("{b} cat /data/etc/low /data/etc/deep/high")), "low\nhigh\n");
    assert_eq!(run(&format!("{b} ls /data/etc")), "deep\nlow\n");
    assert_eq!(run(&format!("{b} ls /bin2")), run(&format!("{b} ls /bin")));
    let denied = "(echo > /data/x) 2>/dev/null || echo no; (echo > /bin2/x) 2>/dev/null || echo no; \
                  /data/tool true 2>/dev/null || echo no; /bin2/busybox true 2>/dev/null || echo no";
    assert_eq!(run(denied), "no\n".repeat(4), "read-only, and nothing to execute");
    let events = world.events("volume");
    for text in [
        format!("Pulling image \"{image}\""),
        format!("Reference:   {image}"),
        "PullPolicy:  IfNotPresent".to_owned(),
    ] {
        assert!(events.contains(&text), "{text}: {events}");
    }
    let instance = &world.instance;
    instance.podctl(&["rmi", &image]).fails(1, "is in use by pod default/volume");

    instance.apply(&of("none", &missing));
    let status = instance.wait_for("none", |status| {
        status["containerStatuses"][0]["state"]["waiting"]["reason"] == "ImagePullBackOff"
    });
    let message = &status["containerStatuses"][0]["state"]["waiting"]["message"];
    let story = format!("Back-off pulling image \"{missing}\": ErrImagePull: ");
    assert!(message.as_str().unwrap().starts_with(&story), "{message}");

    instance.apply(&of("host", "host"));
    world.reason("host", "InvalidImageName");
    world.end(&["volume", "none", "host"]);
}
