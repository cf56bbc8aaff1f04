//! Pods on the networks of plugins: those of Debian's containernetworking-plugins.

use super::instance::{Instance, PATIENCE};
use std::fs;
use std::process::Command;

const POD: &str = "\
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: server
    image: host
    command: [busybox, httpd, -f, -p, '8080', -h, /etc]
    ports: [{containerPort: 8080, hostPort: 18080}]
    readinessProbe: {httpGet: {path: /hostname, port: 8080}, periodSeconds: 1}
  - name: client
    image: host
    command: [sleep, '1000']
";

/// A bridge with addresses of its own, masquerading and host ports.
fn network(case: &Instance) -> String {
    format!(
        r#"{{"cniVersion": "1.0.0", "name": "pods", "plugins": [
            {{"type": "bridge", "bridge": "cni-test", "isGateway": true, "ipMasq": true,
              "ipam": {{"type": "host-local", "dataDir": "{}",
                        "ranges": [[{{"subnet": "10.199.0.0/24"}}]],
                        "routes": [{{"dst": "0.0.0.0/0"}}]}}}},
            {{"type": "portmap", "capabilities": {{"portMappings": true}}}}]}}"#,
        case.path("addresses").display()
    )
}

fn output(program: &str, args: &[&str]) -> String {
    let done = Command::new(program).args(args).output().unwrap();
    assert!(done.status.success(), "{program} {args:?}: {done:?}");
    String::from_utf8(done.stdout).unwrap()
}

/// What the plugins keep of pods: leases, and chains of rules.
fn kept_by_plugins(case: &Instance) -> (usize, usize) {
    let leases = fs::read_dir(case.path("addresses/pods")).into_iter().flatten().flatten();
    let is_lease = |name: &str| name.starts_with("10.199.0.");
    let leases = leases.filter(|entry| is_lease(&entry.file_name().to_string_lossy())).count();
    let rules = output("iptables-save", &["-t", "nat"]);
    // The first two are the plugin's own, for all pods there will be.
    let own = |line: &&str| line.contains("CNI-") && !line.contains("HOSTPORT-");
    (leases, rules.lines().filter(own).count())
}

fn apply(case: &Instance) -> String {
    let (conf, manifest) = (case.path("net.d"), case.manifest(POD));
    let conf = conf.to_str().unwrap();
    let out =
        case.podctl(&["apply", "-f", &manifest, "--network=cni", "--cni-conf-dir", conf]).ok();
    case.remember_uids();
    out
}

fn is_ready(status: &serde_json::Value) -> bool {
    let conditions = status["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|it| it["type"] == "Ready" && it["status"] == "True")
}

#[test]
fn a_network_of_plugins_is_waited_for_and_used() {
    let Some(case) = Instance::new("cni") else { return };
    apply(&case);
    case.wait_told(
        "web",
        "network is not ready: container runtime network not ready: NetworkReady=false \
         reason:NetworkPluginNotReady message:Network plugin returns error: no network config found",
    );
    assert_eq!(
        case.get("web")["status"]["containerStatuses"][0]["state"]["waiting"]["reason"],
        "ContainerCreating"
    );
    fs::create_dir(case.path("net.d")).unwrap();
    fs::write(case.path("net.d/10-pods.conflist"), network(&case)).unwrap();

    // Ready: the probe has reached its address.
    let status = case.wait_for("web", is_ready);
    let ip = status["podIP"].as_str().unwrap().to_owned();
    assert!(ip.starts_with("10.199.0."), "{ip}");
    assert_eq!(status["podIPs"][0]["ip"], ip.as_str());
    assert!(case.sh("web", "client", "cat /etc/hosts").contains(&format!("{ip}\tweb\n")));
    let name = case.sh("web", "client", "busybox wget -qO- http://127.0.0.1:8080/hostname");
    assert_eq!(name, case.sh("web", "client", "cat /etc/hostname"));
    assert_eq!(name, output("busybox", &["wget", "-qO-", &format!("http://{ip}:8080/hostname")]));
    // The host port, by the address of the bridge: the rules of portmap.
    assert_eq!(name, output("busybox", &["wget", "-qO-", "http://10.199.0.1:18080/hostname"]));
    let (leases, rules) = kept_by_plugins(&case);
    assert_eq!(leases, 1);
    assert!(rules > 0);

    case.delete("web");
    assert_eq!(kept_by_plugins(&case), (0, 0));

    // The sandbox anew: the address of the old one is given back. Its rules are not: the bridge plugin
    // finds them by what is in the namespace, which has gone with pause.
    apply(&case);
    case.wait_for("web", is_ready);
    case.kill_pause("web");
    let other = |status: &serde_json::Value| {
        is_ready(status) && status["containerStatuses"][0]["restartCount"] == 1
    };
    case.wait_longer(PATIENCE * 2, "web", other);
    assert_eq!(kept_by_plugins(&case).0, 1);

    case.delete("web");
    assert_eq!(kept_by_plugins(&case).0, 0);
    // The bridge and the chains that portmap shares stay, as they do under any other runtime.
    output("ip", &["link", "delete", "cni-test"]);
    for table in ["nat", "filter"] {
        output("iptables", &["-t", table, "-F"]);
        output("iptables", &["-t", table, "-X"]);
    }
    output("nft", &["flush", "ruleset"]);
    case.assert_nothing_left();
}

#[test]
fn what_a_plugin_cannot_do_is_said() {
    let Some(case) = Instance::new("cni-refused") else { return };
    fs::create_dir(case.path("net.d")).unwrap();
    let write = |text: &str| fs::write(case.path("net.d/few.conf"), text).unwrap();
    write(r#"{"cniVersion": "0.4.0", "name": "few", "type": "loopback"}"#);
    apply(&case);
    case.wait_told("web", "Failed to create pod sandbox: open host ports on the network");
    case.wait_told("web", "no plugin of it has the capability portMappings");
    case.delete("web");

    write(
        r#"{"cniVersion": "0.4.0", "name": "few", "type": "bridge", "bridge": "too-long-for-a-link"}"#,
    );
    let manifest = case.manifest(&POD.replace(", hostPort: 18080", ""));
    let conf = case.path("net.d").display().to_string();
    let flags = ["--network=cni", "--cni-conf-dir", &conf];
    case.podctl(&[&["apply", "-f", &manifest][..], &flags].concat()).ok();
    case.wait_told(
        "web",
        "sandbox: plugin type=\\\"bridge\\\" failed (add): failed to create bridge",
    );
    let doctor = case.podctl(&[&["doctor"][..], &flags].concat());
    assert!(doctor.out.contains("ok    CNI network: few, in "), "{doctor:?}");
    case.delete("web");
}

/// A plugin of the case's own: it gives an address, and gives it back unless a file is there.
const STUBBORN: &str = r#"#!/bin/sh
[ "$CNI_COMMAND" = DEL ] && [ -e "${0%/*}/stuck" ] && {
    echo '{"cniVersion": "1.0.0", "code": 11, "msg": "try again later", "details": "stuck"}'
    exit 1
}
[ "$CNI_COMMAND" = DEL ] || echo '{"cniVersion": "1.0.0", "ips": [{"address": "192.0.2.9/24"}]}'
"#;

#[test]
fn what_a_plugin_cannot_undo_holds_up_no_forced_deletion() {
    use std::os::unix::fs::PermissionsExt;
    let Some(case) = Instance::new("cni-stuck") else { return };
    for dir in ["net.d", "plugins"] {
        fs::create_dir(case.path(dir)).unwrap();
    }
    let config = r#"{"cniVersion": "1.0.0", "name": "stuck", "type": "stubborn"}"#;
    fs::write(case.path("net.d/stuck.conf"), config).unwrap();
    fs::write(case.path("plugins/stubborn"), STUBBORN).unwrap();
    fs::set_permissions(case.path("plugins/stubborn"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(case.path("plugins/stuck"), "").unwrap();
    let (conf, plugins) = (case.path("net.d"), case.path("plugins"));
    let (conf, plugins) = (conf.to_str().unwrap(), plugins.to_str().unwrap());
    let manifest = case.manifest(
        "{apiVersion: v1, kind: Pod, metadata: {name: held}, spec: {terminationGracePeriodSeconds: 1,
          containers: [{name: main, image: host, command: [sleep, '1000']}]}}",
    );
    let flags = ["--network=cni", "--cni-conf-dir", conf, "--cni-bin-dir", plugins];
    case.podctl(&[&["apply", "-f", &manifest][..], &flags].concat()).ok();
    case.remember_uids();
    assert_eq!(case.wait_running("held")["podIP"], "192.0.2.9");

    case.podctl(&["delete", "pod", "held", "--timeout=3s"])
        .fails(1, "timed out waiting for the condition");
    case.wait_told("held", "plugin type=\\\"stubborn\\\" failed (del): try again later; stuck");
    case.force_delete("held");
    assert!(case.root().join("lib/cni").exists(), "to be tried again");
    fs::remove_file(case.path("plugins/stuck")).unwrap();
    case.podctl(&["get", "pods"]).ok();
    case.assert_nothing_left();
}
