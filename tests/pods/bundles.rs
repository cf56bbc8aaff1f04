//! The bundles that pods become: `tests/golden/bundles/<case>.yaml` is a pod, its first container's
//! config.json stands beside it. `UPDATE_GOLDEN=1` rewrites them.

use super::first_difference;
use oci_spec::runtime::{LinuxDevice, LinuxDeviceBuilder, LinuxDeviceType};
use runp::image::{Image, config, users};
use runp::kube::{Object, decode, set_defaults};
use runp::pod::references::Objects;
use runp::pod::translate::downward::Node;
use runp::pod::translate::env::{self, Sources};
use runp::pod::translate::{self, Input, Machine, Places, Sandbox, Source};
use serde_json::{Value, json};
use std::path::Path;

const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33::/var/www:/\n";
const GROUP: &[u8] = b"root:x:0:\nwww-data:x:33:\ntape:x:26:www-data\n";

#[test]
fn containers_become_bundles_as_recorded() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/bundles");
    let mut cases = 0;
    for entry in std::fs::read_dir(&dir).unwrap() {
        let case = entry.unwrap().path();
        if case.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        cases += 1;
        let manifest = std::fs::read_to_string(&case).unwrap();
        let bundle = format!("{:#}\n", bundle(&manifest));
        let golden = case.with_extension("json");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&golden, &bundle).unwrap();
        }
        let recorded = std::fs::read_to_string(&golden).unwrap();
        let difference = || first_difference(&recorded, &bundle);
        assert!(bundle == recorded, "{}:\n{}", golden.display(), difference());
    }
    assert_eq!(cases, 3, "{} holds the cases", dir.display());
}

fn bundle(manifest: &str) -> Value {
    let Object::Pod(mut pod) = decode("pod.yaml", manifest).unwrap().remove(0).object else {
        panic!("no pod in the manifest");
    };
    set_defaults(&mut pod);
    pod.metadata.uid = Some("00000000-0000-4000-8000-000000000001".into());
    let container = &pod.spec.as_ref().unwrap().containers[0];
    let image = image(container.image.as_deref() == Some("host"));
    let wanted = translate::wanted_user(&pod, container, config::user(&image.config));
    let user = users::resolve(wanted, PASSWD, GROUP).unwrap();
    let user = translate::credentials(&pod, user).unwrap();
    let path = Path::new;
    let objects = Objects::default();
    let files = env::Files::new();
    let sources =
        Sources { objects: &objects, files: &files, ip: Some("10.88.0.5"), node: &Node::default() };
    let env = env::resolve(&pod, container, &sources).unwrap();
    let mounts = container.volume_mounts.iter().flatten();
    let mounted = mounts.map(|mount| Source {
        path: if mount.name == "etc" { "/etc".into() } else { path("/volumes").join(&mount.name) },
        read_only: false,
        layers: Vec::new(),
    });
    let mounted: Vec<Source> = mounted.collect();
    let machine = Machine {
        memory: 8 << 30,
        unified: false,
        least_oom_score_adj: -1000,
        huge_pages: vec!["2MB".into()],
    };
    let spec = translate::spec(&Input {
        pod: &pod,
        container,
        id: "c0ffee",
        attempt: 2,
        image: &image,
        env: &env,
        user: &user,
        sandbox: &Sandbox { id: "5a4db0c5", pid: 4711, target: None },
        places: &Places {
            rootfs: path("/bundle/rootfs"),
            overlay: path("/overlay"),
            hosts: path("/pod/hosts"),
            hostname: path("/pod/hostname"),
            resolv_conf: path("/pod/resolv.conf"),
            termination_log: path("/pod/termination-log"),
            shm: path("/pod/shm"),
            volumes: &mounted,
            hidden: &["/var/lib/runp".into()],
        },
        machine: &machine,
        seccomp: None,
        app_armor: None,
        host_devices: &[device()],
    });
    let mut spec = serde_json::to_value(spec.unwrap()).unwrap();
    // oci-spec keeps them unordered.
    for set in ["bounding", "effective", "permitted"] {
        let names = spec["process"]["capabilities"][set].as_array_mut().unwrap();
        names.sort_by_key(|name| name.to_string());
    }
    spec
}

fn image(is_host: bool) -> Image {
    if is_host {
        return runp::image::host();
    }
    let config = json!({
        "architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []},
        "config": {
            "User": "www-data",
            "Env": ["PATH=/usr/sbin:/usr/bin", "MALFORMED", "LANG=C"],
            "Entrypoint": ["/entrypoint"],
            "Cmd": ["nginx", "-g", "daemon off;"],
            "WorkingDir": "srv",
        },
    });
    let config = serde_json::from_value(config).unwrap();
    let layers = vec!["/layers/low".into(), "/layers/high".into()];
    Image { id: "sha256:1d".into(), config, layers, ..runp::image::host() }
}

fn device() -> LinuxDevice {
    let device = LinuxDeviceBuilder::default().path("/dev/kvm").typ(LinuxDeviceType::C);
    device.major(10).minor(232).file_mode(0o660_u32).uid(0_u32).gid(104_u32).build().unwrap()
}
