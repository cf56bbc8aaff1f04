//! `podctl port-forward`: ports of this host that lead to a pod's.

use super::flags::parse_duration;
use super::write::usage;
use super::{Call, Outcome, print, resource, tell};
use crate::cli::report::go_words;
use crate::error::{Error, Result};
use crate::kube::Pod;
use crate::pod::stream::forward::{Forward, Happened, Tell};
use clap::Args;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

/// Flags of `port-forward`.
#[derive(Args)]
pub struct Flags {
    /// POD [LOCAL:]REMOTE…: a missing or zero LOCAL is any free port
    #[arg(value_name = "POD [LOCAL:]REMOTE")]
    words: Vec<String>,
    /// Addresses to listen at: localhost, or IP addresses
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',', default_value = "localhost")]
    address: Vec<String>,
    /// How long to wait until the pod runs
    #[arg(long, value_parser = parse_duration, value_name = "DURATION", default_value = "1m0s", hide_default_value = true)]
    pod_running_timeout: Duration,
}

/// Runs it, until it is interrupted or the pod ends.
pub fn run(call: &Call, flags: &Flags) -> Outcome {
    let Some((pod, ports)) = flags.words.split_first().filter(|(_, ports)| !ports.is_empty())
    else {
        let text = "TYPE/NAME and list of ports are required for port-forward";
        return Err(usage("port-forward", text).into());
    };
    let pod = call.engine.get(&call.namespace, &resource::name(pod)?)?;
    let ports = ports.iter().map(|port| read(port, &pod)).collect::<Result<Vec<_>>>()?;
    let pod = super::running::wait(call, pod, flags.pod_running_timeout)?;
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
    if phase != "Running" {
        let text = "unable to forward port because pod is not running. Current status=";
        return Err(Error::user(format!("{text}{phase}")).into());
    }
    let addresses = addresses(&flags.address)?;
    let mut forwards = Vec::new();
    for (local, remote) in &ports {
        forwards.extend(listen(&addresses, *local, *remote));
    }
    if forwards.is_empty() {
        let ports = ports.iter().map(|(local, remote)| format!("{{{local} {remote}}}"));
        let ports = ports.collect::<Vec<_>>().join(" ");
        let text = format!("unable to listen on any of the requested ports: [{ports}]");
        return Err(Error::user(text).into());
    }
    for forward in &forwards {
        let at = forward.listener.local_addr().map_or_else(|_| String::new(), |at| at.to_string());
        print(&format!("Forwarding from {at} -> {}\n", forward.remote))?;
    }
    let name = pod.metadata.name.clone().unwrap_or_default();
    let told: Tell = Arc::new(move |happened| say(&name, happened));
    call.engine.forward(&pod, &forwards, &told)?;
    Ok(0)
}

fn say(pod: &str, happened: Happened) {
    match happened {
        // A closed standard output does not end the connections.
        Happened::Taken(local) => drop(print(&format!("Handling connection for {local}\n"))),
        Happened::Failed(local, remote, why) => tell(&format!(
            "an error occurred forwarding {local} -> {remote}: error forwarding port {remote} to \
             pod {pod}: failed to connect to localhost:{remote} inside namespace: {}",
            go_words(&why)
        )),
    }
}

/// Reads `8080:80`, `80`, `:80`, `0:80`; the pod's port may be one of its ports' names.
fn read(text: &str, pod: &Pod) -> Result<(u16, u16)> {
    let wrong = |text: String| Error::user(text);
    let parts: Vec<&str> = text.split(':').collect();
    let (local, remote) = match parts.as_slice() {
        [remote] => (None, *remote),
        ["", remote] => (Some("0"), *remote),
        [local, remote] => (Some(*local), *remote),
        _ => return Err(wrong(format!("invalid port format '{text}'"))),
    };
    let named = || named(pod, remote);
    let remote = match remote.parse::<u16>() {
        Ok(0) => return Err(wrong("remote port must be > 0".to_owned())),
        Ok(port) => port,
        Err(_) => named().ok_or_else(|| {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            match remote.parse::<u64>() {
                Ok(_) if parts.len() == 1 => unparsed("local", remote),
                Ok(_) => unparsed("remote", remote),
                Err(_) => wrong(format!("Pod '{name}' does not have a named port '{remote}'")),
            }
        })?,
    };
    let local = match local {
        None => remote,
        Some(local) => local.parse().map_err(|_| unparsed("local", local))?,
    };
    Ok((local, remote))
}

/// Go's words for a number that is none, or that no port can have.
fn unparsed(which: &str, port: &str) -> Error {
    let number = port.parse::<u64>().is_ok();
    let why = if number { "value out of range" } else { "invalid syntax" };
    let text = format!("error parsing {which} port '{port}': strconv.ParseUint: parsing {port:?}");
    Error::user(format!("{text}: {why}"))
}

fn named(pod: &Pod, name: &str) -> Option<u16> {
    let ports = pod.spec.iter().flat_map(|spec| &spec.containers).flat_map(|one| one.ports.iter());
    let found = ports.flatten().find(|port| port.name.as_deref() == Some(name))?;
    u16::try_from(found.container_port).ok()
}

fn addresses(given: &[String]) -> Result<Vec<IpAddr>> {
    let mut addresses: Vec<IpAddr> = Vec::new();
    for text in given {
        if text == "localhost" {
            addresses.extend([IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()]);
            continue;
        }
        addresses.push(text.parse().map_err(|_| Error::user(format!("{text} is not a valid IP")))?);
    }
    addresses.dedup();
    Ok(addresses)
}

/// A listener at each address that can be had; one is enough. A free port that was found for the
/// first is asked for at the others.
fn listen(addresses: &[IpAddr], local: u16, remote: u16) -> Vec<Forward> {
    let (mut forwards, mut wrong) = (Vec::new(), Vec::new());
    let mut port = local;
    for address in addresses {
        match TcpListener::bind(SocketAddr::new(*address, port)) {
            Ok(listener) => {
                port = listener.local_addr().map_or(port, |at| at.port());
                forwards.push(Forward { listener, local: port, remote });
            }
            Err(error) => {
                let at = SocketAddr::new(*address, port);
                let why = go_words(&error);
                wrong
                    .push(format!("unable to create listener: Error listen tcp {at}: bind: {why}"));
            }
        }
    }
    if forwards.is_empty() {
        tell(&format!(
            "Unable to listen on port {local}: Listeners failed to create with the following \
             errors: [{}]",
            wrong.join(" ")
        ));
    }
    forwards
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_as_kubectl_reads_them() {
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "web"},
            "spec": {"containers": [{"name": "a", "ports": [{"name": "http", "containerPort": 80}]}]},
        }))
        .unwrap();
        let cases = [
            ("8080:80", Ok((8080, 80))),
            ("80", Ok((80, 80))),
            (":80", Ok((0, 80))),
            ("0:80", Ok((0, 80))),
            ("1:http", Ok((1, 80))),
            ("http", Ok((80, 80))),
            (
                "x:80",
                Err(
                    "error parsing local port 'x': strconv.ParseUint: parsing \"x\": invalid syntax",
                ),
            ),
            ("80:0", Err("remote port must be > 0")),
            ("1:2:3", Err("invalid port format '1:2:3'")),
            ("nope", Err("Pod 'web' does not have a named port 'nope'")),
        ];
        for (text, expected) in cases {
            let read = read(text, &pod).map_err(|error| error.to_string());
            assert_eq!(read, expected.map_err(str::to_owned), "{text}");
        }
    }
}
