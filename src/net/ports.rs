//! The rules: masquerading and host ports, in one nftables table per bridge, `table ip <bridge>`,
//! so that removing the table removes all. A pod's host ports are elements of two maps, added
//! and deleted by key: no rule handles to remember.
//!
//! `127.0.0.1:<hostPort>` works on the host as well. The kernel routes such a packet to the bridge
//! only with `route_localnet`, which lets the other side reach services on the host's loopback
//! too (CVE-2020-8558). So it is set on the bridge alone, only once a pod has a host port, and
//! only after the `guard` chain stands, which drops whatever comes from the bridge for
//! 127.0.0.0/8. Links to other machines never get it.

use super::PortMapping;
use super::ipam::Network;
use crate::error::{Context, Error, Result};
use crate::sys::poll::poll_in;
use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long nft may take; it needs about 5 ms.
const DEADLINE: Duration = Duration::from_secs(10);
/// Where nft is, before the caller's own PATH: root's tools are not to come from anywhere.
pub(super) const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// The whole table of a network, with the host ports of the pods that have them, in one
/// transaction. What an earlier table holds is flushed rather than deleted: nft would wait some
/// milliseconds, at its exit, for the kernel to free it.
pub fn table(network: &Network, pods: &[(Ipv4Addr, Vec<PortMapping>)]) -> String {
    let Network { bridge, cidr, .. } = network;
    let mut script = format!(
        "table ip {bridge} {{
  map ports {{ type inet_proto . inet_service : ipv4_addr . inet_service; }}
  map ports_on {{ type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }}
  chain host_ports {{ }}
  chain guard {{ type filter hook prerouting priority raw; policy accept; }}
  chain from_outside {{ type nat hook prerouting priority dstnat; policy accept; }}
  chain from_host {{ type nat hook output priority -100; policy accept; }}
  chain postrouting {{ type nat hook postrouting priority srcnat; policy accept; }}
}}
flush table ip {bridge}
flush map ip {bridge} ports
flush map ip {bridge} ports_on
table ip {bridge} {{
  chain host_ports {{
    dnat ip to ip daddr . meta l4proto . th dport map @ports_on
    dnat ip to meta l4proto . th dport map @ports
  }}
  chain guard {{
    iifname \"{bridge}\" ip daddr 127.0.0.0/8 drop
  }}
  chain from_outside {{
    fib daddr type local jump host_ports
  }}
  chain from_host {{
    fib daddr type local jump host_ports
  }}
  chain postrouting {{
    ip saddr {cidr} ip daddr != {cidr} ip daddr != 224.0.0.0/4 masquerade
    oifname \"{bridge}\" ip saddr 127.0.0.0/8 masquerade
    oifname \"{bridge}\" ip saddr {cidr} ct status dnat masquerade
  }}
}}
"
    );
    for (ip, ports) in pods {
        script.push_str(&elements("add", bridge, *ip, ports));
    }
    script
}

/// The script that adds or deletes a pod's host ports.
fn elements(verb: &str, bridge: &str, ip: Ipv4Addr, ports: &[PortMapping]) -> String {
    let mut script = String::new();
    for port in ports {
        let PortMapping { protocol, host_ip, host_port, container_port } = port;
        let host_ip = host_ip.filter(|ip| !ip.is_unspecified());
        let (map, on) = match host_ip {
            Some(host) => ("ports_on", format!("{host} . ")),
            None => ("ports", String::new()),
        };
        let element = format!("{on}{protocol} . {host_port} : {ip} . {container_port}");
        // Writing to a String cannot fail.
        writeln!(script, "{verb} element ip {bridge} {map} {{ {element} }}").unwrap_or_default();
    }
    script
}

/// Opens a pod's host ports.
pub fn open(bridge: &str, ip: Ipv4Addr, ports: &[PortMapping]) -> Result<()> {
    Rules::start(&elements("add", bridge, ip, ports))
        .and_then(Rules::finish)
        .doing(|| format!("open host port {}", list(ports)))?;
    localhost(bridge)
}

/// Closes a pod's host ports; those not open are passed over.
pub fn close(bridge: &str, ip: Ipv4Addr, ports: &[PortMapping]) -> Result<()> {
    // Adding what is there already is no error, deleting what is not there is one.
    let script = elements("add", bridge, ip, ports) + &elements("delete", bridge, ip, ports);
    Rules::start(&script)
        .and_then(Rules::finish)
        .doing(|| format!("close host port {}", list(ports)))
}

/// Starts removing the table, if it is there.
pub fn remove_table(bridge: &str) -> Result<Rules> {
    Rules::start(&format!("add table ip {bridge}\ndelete table ip {bridge}\n"))
}

/// Lets the host's own 127.0.0.1 lead to pods; see the module's words on CVE-2020-8558.
fn localhost(bridge: &str) -> Result<()> {
    super::bridge::sysctl(&format!("ipv4/conf/{bridge}/route_localnet"), "1")
}

fn list(ports: &[PortMapping]) -> String {
    let one = |port: &PortMapping| format!("{}/{}", port.host_port, port.protocol);
    ports.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// A running nft, so that links can be made meanwhile.
pub struct Rules {
    child: Child,
    until: Instant,
}

impl Rules {
    /// Hands nft a script, which the kernel takes as a whole or not at all.
    pub fn start(script: &str) -> Result<Self> {
        let path = std::env::var("PATH").unwrap_or_default();
        let spawned = Command::new("nft")
            .args(["-f", "-"])
            .env_clear()
            .env("PATH", format!("{PATH}:{path}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = match spawned {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(Error::system("the program nft is not installed")
                    .hint("install nftables (apt install nftables)"));
            }
            other => other.doing(|| "run nft")?,
        };
        let until = Instant::now() + DEADLINE;
        if let Some(mut stdin) = child.stdin.take() {
            // An nft that refuses early closes its end; its own words come with `finish`.
            match stdin.write_all(script.as_bytes()) {
                Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                    return Err(error).doing(|| "write to nft");
                }
                _ => {}
            }
        }
        Ok(Self { child, until })
    }

    /// Waits for it.
    pub fn finish(mut self) -> Result<()> {
        let mut words = Vec::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            let mut part = [0; 4096];
            loop {
                let left = self.until.saturating_duration_since(Instant::now());
                let ready = poll_in(&[stderr.as_fd()], Some(left)).doing(|| "wait for nft")?;
                if left.is_zero() {
                    self.child.kill().doing(|| "stop nft")?;
                    self.child.wait().doing(|| "wait for nft")?;
                    return Err(Error::system(format!("nft took longer than {DEADLINE:?}")));
                }
                if ready != [true] {
                    continue;
                }
                match stderr.read(&mut part).doing(|| "read from nft")? {
                    0 => break,
                    length => words.extend_from_slice(part.get(..length).unwrap_or_default()),
                }
            }
        }
        let status = self.child.wait().doing(|| "wait for nft")?;
        if status.success() {
            return Ok(());
        }
        let words = String::from_utf8_lossy(&words);
        let first = words.lines().next().unwrap_or("no error text").trim();
        Err(Error::system(format!("nft failed ({status}): {first}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_ports_are_elements_keyed_by_what_they_listen_on() {
        let port = |protocol: &str, host_ip: Option<Ipv4Addr>| PortMapping {
            protocol: protocol.into(),
            host_ip,
            host_port: 8080,
            container_port: 80,
        };
        let ports = [
            port("tcp", None),
            port("udp", Some(Ipv4Addr::UNSPECIFIED)),
            port("sctp", Some(Ipv4Addr::LOCALHOST)),
        ];
        let expected = "\
add element ip runp0 ports { tcp . 8080 : 10.88.0.2 . 80 }
add element ip runp0 ports { udp . 8080 : 10.88.0.2 . 80 }
add element ip runp0 ports_on { 127.0.0.1 . sctp . 8080 : 10.88.0.2 . 80 }
";
        assert_eq!(elements("add", "runp0", Ipv4Addr::new(10, 88, 0, 2), &ports), expected);
    }
}
