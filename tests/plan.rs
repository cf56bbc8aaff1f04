//! Plans as text, and what is refused before anything is done. No root, no kernel.
//!
//! `golden/plan/<case>/config.json` and `host.json` go in, `plan.txt` must come out;
//! `UPDATE_GOLDEN=1` rewrites it, to be reviewed as a diff.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use runp::oci::bundle::Bundle;
use runp::oci::cgroup::{Hierarchy, Layout, Mode as CgroupMode};
use runp::oci::host::Host;
use runp::oci::plan::step::{Side, Step};
use runp::oci::plan::{Mode, Options, Plan, plan};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/plan")
}

/// `{"mode": "v2", "hierarchies": {"/sys/fs/cgroup": ""}, "capabilities": […]}`
fn host(file: &Path) -> Host {
    let text = fs::read_to_string(file).unwrap();
    let value: Value = serde_json::from_str(&text).unwrap();
    let mode: CgroupMode = serde_json::from_value(value["mode"].clone()).unwrap();
    let hierarchies = value["hierarchies"].as_object().unwrap().iter();
    let hierarchies = hierarchies.map(|(mount, controllers)| Hierarchy {
        controllers: controllers
            .as_str()
            .unwrap()
            .split_terminator(',')
            .map(String::from)
            .collect(),
        mount: mount.into(),
        own: "".into(),
    });
    let cgroups = Some(Layout { mode, hierarchies: hierarchies.collect() });
    let apparmor = value["apparmor"] == true;
    let capabilities = (1 << 41) - 1;
    Host { euid: 0, egid: 0, owner: 0, capabilities, apparmor, cgroups, permitted: None }
}

fn options(mode: Mode) -> Options {
    Options {
        id: "web".into(),
        bundle: "/bundle".into(),
        mode,
        systemd_cgroup: false,
        no_pivot: false,
        no_new_keyring: false,
        preserve_fds: 0,
    }
}

fn planned(case: &Path, mode: Mode) -> Plan {
    let bundle = Bundle::load(case).unwrap();
    plan(&bundle.spec, &host(&case.join("host.json")), &options(mode)).unwrap()
}

#[test]
fn plans_are_as_written() {
    let mut differing = Vec::new();
    for case in fs::read_dir(cases()).unwrap() {
        let case = case.unwrap().path();
        let text = planned(&case, Mode::Create).to_string();
        let golden = case.join("plan.txt");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, &text).unwrap();
        }
        if fs::read_to_string(&golden).ok().as_deref() != Some(&text) {
            differing.push(format!("--- {}\n{text}", case.display()));
        }
    }
    assert!(differing.is_empty(), "UPDATE_GOLDEN=1 rewrites:\n{}", differing.join("\n"));
}

/// What the order of the list is there for.
#[test]
fn the_order_keeps_privilege_until_it_is_not_needed() {
    for case in ["v2", "userns", "seccomp-first"] {
        let plan = planned(&cases().join(case), Mode::Create);
        let at = |name: &str| {
            let found = plan.steps.iter().position(|planned| planned.step.name() == name);
            found.unwrap_or_else(|| panic!("{case}: no {name}"))
        };
        assert!(at("pivot-root") < at("bounding"), "{case}");
        assert!(at("bounding") < at("user"), "{case}");
        assert!(at("user") < at("capabilities"), "{case}");
        assert!(at("close-fds") < at("execve"), "{case}");
        assert!(at("clone") < at("record") && at("record") < at("limit"), "{case}");
        let privileged = plan.steps.iter().any(|p| matches!(p.step, Step::NoNewPrivileges));
        if plan.filter.is_some() {
            assert_eq!(privileged, at("user") < at("seccomp"), "{case}");
        }
        let last = plan.steps.last().unwrap();
        assert!(matches!((last.side, &last.step), (Side::Child, Step::Execve(_))), "{case}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn what_cannot_be_is_refused_with_its_place() {
    let case = cases().join("v2");
    let host = host(&case.join("host.json"));
    let config: Value =
        serde_json::from_slice(&fs::read(case.join("config.json")).unwrap()).unwrap();
    let sysctl = json!({"kernel.core_pattern": "|/x"});
    let proc = json!([{"destination": "/a/../proc/self", "type": "tmpfs", "source": "x"}]);
    let table = [
        ("/process/args", json!([]), "process.args property must not be empty"),
        ("/process/cwd", json!("tmp"), "process.cwd: \"tmp\" is no absolute path"),
        ("/process/user/uid", json!(u32::MAX), "process.user.uid: 4294967295 is no id"),
        ("/process/env", json!(["FOO"]), "process.env: \"FOO\" is not of the form NAME=value"),
        (
            "/process/scheduler",
            json!({"policy": "SCHED_BATCH", "nice": 20}),
            "process.scheduler.nice: 20 is not -20 to 19",
        ),
        (
            "/process/apparmorProfile",
            json!("x"),
            "process.apparmorProfile: apparmor: config provided but apparmor not supported",
        ),
        (
            "/process/selinuxLabel",
            json!("a:b:c:d"),
            "process.selinuxLabel: selinux label is specified in config, but selinux is not supported",
        ),
        (
            "/linux/intelRdt",
            json!({"closID": "x"}),
            "linux.intelRdt: intelRdt is specified in config, but Intel RDT is not supported",
        ),
        ("/linux/sysctl", sysctl, "\"kernel.core_pattern\" is not in a separate kernel namespace"),
        ("/linux/namespaces", json!([]), "unable to restrict sys entries without a private MNT"),
        (
            "/linux/maskedPaths",
            json!(["proc"]),
            "linux.maskedPaths[0]: \"proc\" is no absolute path",
        ),
        (
            "/linux/uidMappings",
            json!([{"containerID": 0, "hostID": 0, "size": 1}]),
            "isn't enabled",
        ),
        ("/mounts", proc, "mounts[0]: \"/a/../proc/self\" cannot be mounted because it is inside"),
        ("/mounts", json!([{"destination": "/a", "source": "x"}]), "mounts[0].type property"),
        (
            "/mounts",
            json!([{"destination": "/a", "type": "proc", "options": ["tmpcopyup"]}]),
            "mounts[0].options: tmpcopyup is for tmpfs only",
        ),
        (
            "/mounts",
            json!([{"destination": "/a", "source": "/", "options": ["bind", "size=1"]}]),
            "mounts[0].options: bind mounts cannot have any filesystem-specific options applied: size",
        ),
        (
            "/mounts",
            json!([{"destination": "/a", "source": "/", "options": ["bind", "idmap"]}]),
            "mounts[0]: id-mapped mounts must have both uid and gid mappings specified",
        ),
        (
            "/mounts",
            json!([{"destination": "/a", "type": "tmpfs", "options": ["idmap"]}]),
            "mounts[0]: id-mapped mounts are only supported for bind-mounts",
        ),
    ];
    for (place, value, expected) in table {
        let mut config = config.clone();
        let (parent, field) = place.rsplit_once('/').unwrap();
        config.pointer_mut(parent).unwrap()[field] = value;
        let spec = serde_json::from_value(config).unwrap();
        let error = plan(&spec, &host, &options(Mode::Run)).unwrap_err().to_string();
        assert!(error.contains(expected), "{place}: {error}");
    }
}
