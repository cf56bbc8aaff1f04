//! Network devices of the host's that move into a container.

use super::common::Case;
use serde_json::json;
use std::io::Read;
use std::process::{Command, Stdio};

fn ip(args: &str) -> String {
    let out = Command::new("ip").args(args.split(' ')).output().unwrap();
    let err = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "ip {args}: {err}");
    String::from_utf8(out.stdout).unwrap()
}

/// Removes what is left of a pair at the end: with one end the other goes.
struct Pair(String);

impl Pair {
    fn new(name: &str) -> Self {
        ip(&format!("link add {name} type veth peer name {name}p"));
        Self(name.into())
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        let peer = format!("{}p", self.0);
        // Gone already where the container had the other end.
        drop(Command::new("ip").args(["link", "del", &peer]).output());
    }
}

#[test]
fn a_device_keeps_its_addresses_and_gets_its_name() {
    let Some(mut case) = Case::script("netdev", "ip -o addr; ip link") else { return };
    let pair = Pair::new("rnetdev1");
    ip("link set rnetdev1 mtu 1400 address 02:00:00:00:77:01");
    ip("addr add 10.99.77.1/24 dev rnetdev1");
    ip("addr add fd77::1/64 dev rnetdev1");
    ip("addr add 10.99.78.1/24 dev rnetdev1 scope link");
    case.config["linux"]["netDevices"] = json!({"rnetdev1": {"name": "inside"}});
    let out = case.run().ok();
    assert!(out.contains("inet 10.99.77.1/24") && out.contains("inet6 fd77::1/64"), "{out}");
    assert!(!out.contains("10.99.78.1"), "of the link's scope: {out}");
    let line = out.lines().find(|line| line.contains(": inside@")).unwrap();
    assert!(line.contains("UP") && line.contains("mtu 1400"), "{line}");
    assert!(out.contains("02:00:00:00:77:01"), "{out}");
    drop(pair);
    case.assert_nothing_left();
}

#[test]
fn a_device_in_a_namespace_of_somebody_elses() {
    let Some(mut case) =
        Case::script("netdev-path", "ip -o link; cat /proc/sys/net/ipv4/conf/own7/forwarding")
    else {
        return;
    };
    // A process whose network namespace the container joins.
    let mut holder = Command::new("unshare");
    holder.args(["-n", "sh", "-c", "echo ready; exec sleep 1000"]).stdout(Stdio::piped());
    let mut holder = holder.spawn().unwrap();
    let path = format!("/proc/{}/ns/net", holder.id());
    holder.stdout.take().unwrap().read_exact(&mut [0; 6]).unwrap();
    let _pair = Pair::new("rnetdev2");
    case.without_namespace("network");
    let namespaces = case.config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.push(json!({"type": "network", "path": path}));
    case.config["linux"]["netDevices"] = json!({"rnetdev2": {"name": "own7"}});
    case.config["linux"]["sysctl"] = json!({"net.ipv4.conf.own7.forwarding": "1"});
    let out = case.run().ok();
    assert!(out.contains(": own7@") && out.ends_with("\n1\n"), "{out}");
    // It stays with its new namespace; the next finds the name taken, unless it is a pattern.
    let _other = Pair::new("rnetdev3");
    case.config["linux"]["netDevices"] = json!({"rnetdev3": {"name": "own7"}});
    case.run().fails(
        1,
        "move network device rnetdev3 into the container as own7 (linux.netDevices): EEXIST",
    );
    case.config["linux"]["netDevices"] = json!({"rnetdev3": {"name": "own%d"}});
    assert!(case.run().ok().contains(": own0@"));
    holder.kill().unwrap();
    holder.wait().unwrap();
    case.assert_nothing_left();
}

#[test]
fn devices_that_cannot_be_moved() {
    let Some(mut case) = Case::script("netdev-bad", "true") else { return };
    for (devices, said) in [
        (json!({"not-there": {}}), "move network device not-there into the container"),
        (json!({"a/b": {}}), "linux.netDevices: invalid network device name \"a/b\""),
        (json!({"lo": {"name": "sixteen-letters-"}}), "invalid network device name"),
        (json!({"lo": {"name": "low"}}), "linux.netDevices"),
    ] {
        case.config["linux"]["netDevices"] = devices;
        case.run().fails(1, said);
        case.assert_nothing_left();
    }
    case.without_namespace("network");
    case.run().fails(1, "unable to move network devices without a private network namespace");
}
