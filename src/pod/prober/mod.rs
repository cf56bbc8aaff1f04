//! Probes and lifecycle hooks, in the kubelet's words. Blocking, each with its deadline: called in
//! a process forked for one call, which it leaves inside the pod's network namespace. From there
//! the pod can be reached whatever its network is, and `localhost` is the pod's own.

mod connection;
mod exec;
mod grpc;
mod hpack;
mod http;

use super::event::{Hook, ProbeKind, ProbeResult};
use super::probes;
use super::translate::expand;
use crate::error::{Context, Error};
use crate::kube::Pod;
use crate::oci::container::Container;
use crate::sys::ns;
use http::{Request, Scheme};
use k8s_openapi::api::core::v1 as api;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use nix::libc::CLONE_NEWNET;
use oci_spec::runtime::Process;
use std::path::Path;
use std::time::{Duration, Instant};

/// How often a probe is tried that cannot be asked.
const TRIES: u32 = 3;
/// For a hook that nothing else limits: the container's end ends it, or the deletion of its pod.
const NO_LIMIT: Duration = Duration::from_secs(24 * 3600);

/// How Go's client puts it that a server does not speak TLS.
const PLAIN_ANSWER: &str = "server gave HTTP response to HTTPS client";

/// Where to ask.
#[derive(Clone, Debug)]
pub struct Target<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// The container's name.
    pub container: &'a str,
    /// The pod's address; on the host's network the node's.
    pub ip: Option<&'a str>,
    /// The sandbox's OCI id.
    pub sandbox: &'a str,
    /// The OCI state root.
    pub oci_root: &'a Path,
    /// The container's OCI id.
    pub id: &'a str,
    /// `process` of the container's config.json, which an exec starts from.
    pub process: &'a Process,
}

/// Runs a probe once, up to three times while it cannot be asked.
pub fn run_probe(target: &Target<'_>, kind: ProbeKind) -> ProbeResult {
    let Some((container, probe)) = target.spec().and_then(|it| Some((it, kind.of(it)?))) else {
        return ProbeResult::Unknown("the container has no such probe".into());
    };
    let timeout = Duration::from_secs(probes::timeout(probe).into());
    let mut result = ask(target, container, probe, timeout);
    for _ in 1..TRIES {
        if !matches!(result, ProbeResult::Unknown(_)) {
            break;
        }
        result = ask(target, container, probe, timeout);
    }
    result
}

/// Runs a lifecycle hook; the failure in the kubelet's words.
pub fn run_hook(target: &Target<'_>, which: Hook, timeout: Option<Duration>) -> Result<(), String> {
    let handler = target.spec().and_then(|container| {
        let lifecycle = container.lifecycle.as_ref()?;
        match which {
            Hook::PostStart => lifecycle.post_start.as_ref(),
            Hook::PreStop => lifecycle.pre_stop.as_ref(),
        }
    });
    let handler = handler.cloned().unwrap_or_default();
    if let Some(exec) = &handler.exec {
        let command = exec.command.as_deref().unwrap_or_default();
        return exec_hook(target, command, timeout);
    }
    if let Some(get) = &handler.http_get {
        let path = get.path.as_deref().unwrap_or_default();
        // Any answer will do, whatever its status.
        let answer = request(target, get, "kube-lifecycle/1.36").and_then(|request| {
            target.enter_network()?;
            let timeout = timeout.unwrap_or(NO_LIMIT);
            match http::get(&request, timeout) {
                // As before Kubernetes 1.25 took the scheme for what it says.
                Err(error) if error.ends_with(PLAIN_ANSWER) => {
                    let headers = request.headers.into_iter();
                    let headers = headers.filter(|(name, _)| name != "Authorization").collect();
                    http::get(&Request { scheme: Scheme::Http, headers, ..request }, timeout)
                }
                answer => answer,
            }
        });
        let story = format!("HTTP lifecycle hook ({path}) for {}", target.words());
        return answer.map(drop).map_err(|error| format!("{story} failed - error: {error}"));
    }
    if let Some(sleep) = &handler.sleep {
        let wanted = Duration::from_secs(sleep.seconds.unsigned_abs());
        std::thread::sleep(wanted.min(timeout.unwrap_or(wanted)));
        return Ok(());
    }
    Err("Cannot run handler: invalid handler".into())
}

impl Target<'_> {
    fn spec(&self) -> Option<&api::Container> {
        let spec = self.pod.spec.as_ref()?;
        let mut all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
        all.find(|container| container.name == self.container)
    }

    /// The container in the kubelet's messages.
    fn words(&self) -> String {
        let metadata = &self.pod.metadata;
        let part = |part: &Option<String>| part.clone().unwrap_or_default();
        let (name, namespace) = (part(&metadata.name), part(&metadata.namespace));
        let pod = format!("{name}_{namespace}({})", part(&metadata.uid));
        format!("Container {:?} in Pod {pod:?}", self.container)
    }

    /// Moves this process into the pod's network namespace; there is no way back.
    fn enter_network(&self) -> Result<(), String> {
        let pause = Container::open(self.oci_root, self.sandbox).and_then(|it| it.init());
        let entered = pause.and_then(|pause| {
            let pause = pause.ok_or_else(|| Error::system("the sandbox has ended"))?;
            // By the process itself: its number may be another's by now.
            Ok(ns::setns(pause, CLONE_NEWNET as u64)?)
        });
        let entered = entered.doing(|| "enter the pod's network namespace");
        entered.map_err(|error| error.to_string())
    }
}

fn ask(
    target: &Target<'_>,
    container: &api::Container,
    probe: &api::Probe,
    timeout: Duration,
) -> ProbeResult {
    let asked = if let Some(get) = &probe.http_get {
        http_probe(target, get, timeout)
    } else if let Some(socket) = &probe.tcp_socket {
        tcp_probe(target, socket, timeout)
    } else if let Some(check) = &probe.grpc {
        grpc_probe(target, check, timeout)
    } else if let Some(exec) = &probe.exec {
        exec_probe(target, container, exec, timeout)
    } else {
        Err("missing probe handler".into())
    };
    asked.unwrap_or_else(ProbeResult::Unknown)
}

fn http_probe(
    target: &Target<'_>,
    get: &api::HTTPGetAction,
    timeout: Duration,
) -> Result<ProbeResult, String> {
    let request = request(target, get, "kube-probe/1.36")?;
    target.enter_network()?;
    Ok(match http::get(&request, timeout) {
        Err(error) => ProbeResult::Failure(error),
        Ok(response) => match response.status {
            200..300 => ProbeResult::Success,
            // One that leads elsewhere: that it was given is good enough.
            300..400 => ProbeResult::Warning(format!(
                "Probe terminated redirects, Response body: {}",
                response.body
            )),
            status => ProbeResult::Failure(format!("HTTP probe failed with statuscode: {status}")),
        },
    })
}

fn tcp_probe(
    target: &Target<'_>,
    socket: &api::TCPSocketAction,
    timeout: Duration,
) -> Result<ProbeResult, String> {
    let authority = authority(target, socket.host.as_deref(), &socket.port)?;
    target.enter_network()?;
    Ok(match connection::connect(&authority, Instant::now() + timeout) {
        Ok(_) => ProbeResult::Success,
        Err(error) => ProbeResult::Failure(error),
    })
}

fn grpc_probe(
    target: &Target<'_>,
    check: &api::GRPCAction,
    timeout: Duration,
) -> Result<ProbeResult, String> {
    let authority = authority(target, None, &IntOrString::Int(check.port))?;
    target.enter_network()?;
    let service = check.service.as_deref().unwrap_or_default();
    Ok(match grpc::check(&authority, service, timeout) {
        Ok(()) => ProbeResult::Success,
        Err(why) => ProbeResult::Failure(why),
    })
}

fn exec_probe(
    target: &Target<'_>,
    container: &api::Container,
    exec: &api::ExecAction,
    timeout: Duration,
) -> Result<ProbeResult, String> {
    let literal = |variable: &api::EnvVar| Some((variable.name.clone(), variable.value.clone()?));
    let variables: Vec<_> = container.env.iter().flatten().filter_map(literal).collect();
    let command = exec.command.iter().flatten().map(|word| expand(word, &variables));
    let command: Vec<String> = command.collect();
    let deadline = Instant::now() + timeout;
    let ended = exec::run(target, &command, Some(deadline)).map_err(|error| error.to_string())?;
    Ok(match ended.status {
        Some(0) => ProbeResult::Success,
        Some(_) => ProbeResult::Failure(ended.stdout + &ended.stderr),
        None => ProbeResult::Failure(format!(
            "command timed out: {:?} timed out after {}s",
            command.join(" "),
            timeout.as_secs()
        )),
    })
}

fn exec_hook(
    target: &Target<'_>,
    command: &[String],
    timeout: Option<Duration>,
) -> Result<(), String> {
    let line = command.join(" ");
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    let (error, output) = match exec::run(target, command, deadline) {
        Ok(ended) => match ended.status {
            Some(0) => return Ok(()),
            Some(code) => {
                let error = format!("command '{line}' exited with {code}: {}", ended.stderr);
                (error, ended.stdout + &ended.stderr)
            }
            None => ("context deadline exceeded".into(), ended.stdout + &ended.stderr),
        },
        Err(error) => (error.to_string(), String::new()),
    };
    let story = format!("Exec lifecycle hook ([{line}]) for {}", target.words());
    Err(format!("{story} failed - error: {error}, message: {output:?}"))
}

/// The request of an `httpGet`.
fn request(
    target: &Target<'_>,
    get: &api::HTTPGetAction,
    user_agent: &str,
) -> Result<Request, String> {
    let is_https = get.scheme.as_deref() == Some("HTTPS");
    let scheme = if is_https { Scheme::Https } else { Scheme::Http };
    let authority = authority(target, get.host.as_deref(), &get.port)?;
    let path = get.path.as_deref().unwrap_or_default();
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let given = get.http_headers.iter().flatten();
    let of = |name: &str| {
        given
            .clone()
            .filter(|it| it.name.eq_ignore_ascii_case(name))
            .map(|it| &it.value)
            .next_back()
    };
    let host = of("Host").unwrap_or(&authority).clone();
    let mut headers = vec![("Host".to_owned(), host)];
    for (name, default) in [("User-Agent", user_agent), ("Accept", "*/*")] {
        // An empty one of the user's is how to send none.
        match of(name).map(String::as_str).unwrap_or(default) {
            "" => {}
            value => headers.push((name.to_owned(), value.to_owned())),
        }
    }
    for header in given {
        let is_sent = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(&header.name));
        if !is_sent && !header.value.is_empty() {
            headers.push((canonical(&header.name), header.value.clone()));
        }
    }
    // Whoever writes the manifest chooses headers, not further requests.
    let is_clean = |text: &str| !text.contains(['\r', '\n', '\0']);
    if !is_clean(&path) || !headers.iter().all(|(name, value)| is_clean(name) && is_clean(value)) {
        return Err("net/http: invalid header field value or path".into());
    }
    Ok(Request { scheme, authority, path: path.replace(' ', "%20"), headers })
}

/// Host and port to ask. The pod itself answers on its loopback where it has no address.
fn authority(
    target: &Target<'_>,
    host: Option<&str>,
    port: &IntOrString,
) -> Result<String, String> {
    let host = host.filter(|host| !host.is_empty()).or(target.ip).unwrap_or("127.0.0.1");
    let ports = target.spec().and_then(|container| container.ports.as_deref()).unwrap_or_default();
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => {
            let named = ports.iter().find(|port| port.name.as_ref() == Some(name));
            named.map(|port| port.container_port).or_else(|| name.parse().ok())
        }
    };
    let shown = || match port {
        IntOrString::Int(number) => number.to_string(),
        IntOrString::String(name) => name.clone(),
    };
    let number = number.ok_or_else(|| format!("port {} not found", shown()))?;
    if !(1..=65535).contains(&number) {
        return Err(format!("invalid port number: {number}"));
    }
    Ok(if host.contains(':') { format!("[{host}]:{number}") } else { format!("{host}:{number}") })
}

/// `x-custom-header` as Go sends it: `X-Custom-Header`.
fn canonical(name: &str) -> String {
    let word = |word: &str| {
        let mut chars = word.chars();
        let first = chars.next().map(|first| first.to_ascii_uppercase());
        first.into_iter().chain(chars.map(|c| c.to_ascii_lowercase())).collect::<String>()
    };
    name.split('-').map(word).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn with_target(get: Value, check: impl FnOnce(&Target<'_>, &api::HTTPGetAction)) {
        let pod = json!({"spec": {"containers": [{
            "name": "web", "ports": [{"name": "http", "containerPort": 8080}],
        }]}});
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let get = serde_json::from_value(get).unwrap();
        let target = Target {
            pod: &pod,
            container: "web",
            ip: Some("10.88.0.2"),
            sandbox: "",
            oci_root: Path::new(""),
            id: "",
            process: &Process::default(),
        };
        check(&target, &get);
    }

    fn sent(get: Value) -> String {
        let mut text = String::new();
        with_target(get, |target, get| {
            text = match request(target, get, "kube-probe/1.36") {
                Ok(Request { authority, path, headers, .. }) => {
                    let headers = headers.iter().map(|(name, value)| format!(" {name}={value}"));
                    format!("{authority} {path}{}", headers.collect::<String>())
                }
                Err(error) => error,
            }
        });
        text
    }

    #[test]
    fn requests_are_made_as_the_kubelet_does() {
        assert_eq!(
            sent(json!({"port": 80, "path": "/"})),
            "10.88.0.2:80 / Host=10.88.0.2:80 User-Agent=kube-probe/1.36 Accept=*/*"
        );
        let headers = json!([
            {"name": "host", "value": "a.example"}, {"name": "Accept", "value": ""},
            {"name": "user-agent", "value": "me"}, {"name": "x-my-header", "value": "1"},
        ]);
        assert_eq!(
            sent(json!({"port": "http", "path": "ok?x=1", "host": "::1", "httpHeaders": headers})),
            "[::1]:8080 /ok?x=1 Host=a.example User-Agent=me X-My-Header=1"
        );
        assert_eq!(sent(json!({"port": "nope"})), "port nope not found");
        assert_eq!(sent(json!({"port": 0})), "invalid port number: 0");
        let split = json!([{"name": "A", "value": "b\r\n\r\nGET /evil"}]);
        assert!(sent(json!({"port": 1, "httpHeaders": split})).starts_with("net/http: invalid"));
    }
}
