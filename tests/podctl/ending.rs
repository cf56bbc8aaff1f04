//! How pods end: requests in flight, host ports, stop signals, and what cannot be killed.

use super::instance::{Instance, PATIENCE};
use runp::sys::{clone, poll};
use serde_json::Value;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// An HTTP server whose every answer takes 2.5 s from its first byte to its last, or until there is
/// the file that it is told. `naive` ends upon SIGTERM, `graceful` once it has answered; neither
/// stops listening before.
const SERVER: &str = r#"
use IO::Socket::INET;
$| = 1;
my $stop = 0;
$SIG{TERM} = sub { exit 0 if $ARGV[0] eq "naive"; $stop = 1 };
my $server = IO::Socket::INET->new(LocalPort => 8080, Listen => 4096, ReuseAddr => 1) or die;
my $children = 0;
while (1) {
    my $client = $server->accept();
    if ($client) {
        if (fork() == 0) {
            $SIG{TERM} = "DEFAULT";
            my $line = <$client>;
            exit 0 unless defined $line;
            print $client "HTTP/1.1 200 OK\r\n";
            if (@ARGV > 1) { select(undef, undef, undef, 0.02) until -e $ARGV[1] }
            else { select(undef, undef, undef, 2.5) }
            print $client "Content-Length: 5\r\n\r\nhello";
            exit 0;
        }
        $children++;
    }
    while (waitpid(-1, 1) > 0) { $children-- }
    if ($stop) {
        $children-- while $children > 0 && waitpid(-1, 0) > 0;
        exit 0;
    }
}
"#;

fn server(name: &str, port: u16, how: &str, (grace, lifecycle): (u32, &str)) -> String {
    let script: String = SERVER.lines().map(|line| format!("      {line}\n")).collect();
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  terminationGracePeriodSeconds: {grace}
  containers:
  - name: web
    image: host
    command: [perl, -e, |
{script}
      , {how}]
    ports: [{{containerPort: 8080, hostPort: {port}}}]
    lifecycle: {{{lifecycle}}}
    readinessProbe: {{tcpSocket: {{port: 8080}}, periodSeconds: 1}}
---
"#
    )
    .replace("command: [perl, -e, |\n", "command:\n    - perl\n    - -e\n    - |\n")
    .replace(&format!("      , {how}]"), &format!("    - {how}"))
}

/// A request that has begun to be answered.
fn begin(port: u16) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut first = [0; 17];
    stream.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200 OK\r\n");
    stream
}

/// Asks nothing, and waits for the server to close, for a moment: it may never accept.
fn wait_closed(mut stream: TcpStream) {
    // It may be closed already.
    drop(stream.shutdown(Shutdown::Write));
    stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    drop(stream.read(&mut [0]));
}

/// Whether the rest of the answer came.
fn is_answered(mut stream: TcpStream) -> bool {
    let mut rest = String::new();
    stream.read_to_string(&mut rest).is_ok() && rest.ends_with("hello")
}

#[test]
fn requests_in_flight_and_the_three_remedies() {
    let Some(instance) = Instance::new("flight") else { return };
    let sleep = "preStop: {sleep: {seconds: 3}}";
    let cases = [
        // Name, host port, how, grace and hooks, whether the answer comes.
        ("naive", 18081, "naive", (10, ""), false),
        ("graceful", 18082, "graceful", (10, ""), true),
        ("sleeps", 18083, "naive", (10, sleep), true),
        ("short", 18084, "graceful", (1, ""), false),
        ("long", 18085, "graceful", (10, ""), true),
    ];
    let manifest: String =
        cases.iter().map(|(name, port, how, end, _)| server(name, *port, how, *end)).collect();
    instance.apply(&manifest);
    for (name, ..) in cases {
        instance.wait_for(name, |status| status["containerStatuses"][0]["ready"] == true);
    }
    let requests: Vec<_> = cases.iter().map(|(_, port, ..)| begin(*port)).collect();
    let mut args = vec!["delete", "pod"];
    args.extend(cases.iter().map(|(name, ..)| name));
    let deleting = instance.start(&args);
    // From the moment of its deletion a pod is unready, though it still serves.
    let status = instance.wait_for("graceful", |status| ready(status).0 == "False");
    assert_eq!(ready(&status).1, "PodTerminating");
    assert_eq!(status["containerStatuses"][0]["ready"], true);
    for ((name, .., answered), request) in cases.iter().zip(requests) {
        assert_eq!(is_answered(request), *answered, "{name}");
    }
    deleting.finish().ok();
    instance.assert_nothing_left();
}

fn ready(status: &Value) -> (&str, &str) {
    let all = status["conditions"].as_array().unwrap();
    let found = all.iter().find(|condition| condition["type"] == "Ready").unwrap();
    (found["status"].as_str().unwrap(), found["reason"].as_str().unwrap_or_default())
}

#[test]
fn a_host_port_takes_no_connection_after_the_pre_stop_hook() {
    let Some(instance) = Instance::new("ports") else { return };
    // Hook and answer last until the test lets them end, however slow the machine is.
    let gate = instance.path("gate");
    nix::unistd::mkfifo(&gate, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let hook = "preStop: {exec: {command: [sh, -c, \"read x < /gate/gate\"]}}";
    let manifest = server("web", 18090, "graceful\n    - /gate/answer", (25, hook));
    let volume = gate.parent().unwrap().to_str().unwrap();
    let mounts = "    volumeMounts: [{name: gate, mountPath: /gate}]\n---";
    let volumes = format!("\n  volumes: [{{name: gate, hostPath: {{path: {volume}}}}}]\n---");
    instance.apply(&manifest.replace("---", mounts).replace("\n---", &volumes));
    let status = instance.wait_for("web", |status| status["containerStatuses"][0]["ready"] == true);
    let pod: SocketAddr = format!("{}:8080", status["podIP"].as_str().unwrap()).parse().unwrap();
    let deleting = instance.start(&["delete", "pod", "web"]);
    instance.wait_for("web", |status| ready(status).0 == "False");
    // Begun while the hook runs, answered after SIGTERM.
    let request = begin(18090);
    fs::write(&gate, "go\n").unwrap();
    let deadline = Instant::now() + PATIENCE;
    let refused = loop {
        match TcpStream::connect(("127.0.0.1", 18090)) {
            Err(error) => break error.kind(),
            Ok(stream) => {
                assert!(Instant::now() < deadline, "still open");
                // Not faster than the server accepts: a full queue would let nobody in any more.
                wait_closed(stream);
            }
        }
    };
    assert_eq!(refused, ErrorKind::ConnectionRefused);
    assert!(TcpStream::connect(pod).is_ok(), "the server itself still listens");
    fs::write(instance.path("answer"), "").unwrap();
    assert!(is_answered(request));
    deleting.finish().ok();
    instance.assert_nothing_left();
}

const SIGNALLED: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: signalled}
spec:
  terminationGracePeriodSeconds: 300
  containers:
  - name: web
    image: host
    command: [sh, -c, "trap 'echo USR1 > /out/signal; exit 0' USR1; echo up > /out/up; while :; do sleep 1 & wait $!; done"]
    lifecycle: {stopSignal: SIGUSR1}
    volumeMounts: [{name: out, mountPath: /out}]
  volumes: [{name: out, hostPath: {path: DIR}}]
"#;

#[test]
fn the_stop_signal_is_the_containers_own() {
    let Some(instance) = Instance::new("signal") else { return };
    let dir = instance.path("out");
    fs::create_dir(&dir).unwrap();
    instance.apply(&SIGNALLED.replace("DIR", dir.to_str().unwrap()));
    let up = || dir.join("up").exists().then_some(());
    assert!(super::instance::wait_until(&dir, up).is_some());
    // Would be given up long before the grace period is over.
    instance.delete("signalled");
    assert_eq!(fs::read_to_string(dir.join("signal")).unwrap(), "USR1\n");
}

/// A frozen cgroup of the test's own, whose processes SIGKILL does not end (cgroup v1).
struct Freezer {
    dir: PathBuf,
    held: Option<OwnedFd>,
}

impl Freezer {
    fn new() -> Option<Self> {
        let dir = Path::new("/sys/fs/cgroup/freezer").join(format!("t-{}", std::process::id()));
        fs::create_dir(&dir).ok()?;
        dir.join("freezer.state").exists().then_some(Self { dir, held: None })
    }

    fn hold(&mut self, pid: i32) {
        self.held = Some(clone::pidfd_open(pid).unwrap());
        self.write("cgroup.procs", &pid.to_string());
        self.write("freezer.state", "FROZEN");
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.dir.join(file), text).unwrap();
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        self.write("freezer.state", "THAWED");
        if let Some(held) = &self.held {
            assert!(poll::poll_in(&[held.as_fd()], Some(PATIENCE)).unwrap()[0]);
        }
        fs::remove_dir(&self.dir).unwrap();
    }
}

#[test]
fn what_cannot_be_killed_is_named_and_the_command_ends() {
    let Some(instance) = Instance::new("stuck") else { return };
    let Some(mut freezer) = Freezer::new() else {
        eprintln!("SKIP stuck: needs the freezer of cgroup v1");
        return;
    };
    instance.apply(super::apply::TWO);
    let status = instance.wait_running("two");
    let pid = super::apply::init_pid(&instance, &status, "side");
    freezer.hold(pid);
    let delete = ["delete", "pod", "two", "--force", "--grace-period=0"];
    let done = instance.podctl(&delete);
    assert_eq!(done.status, 1, "{done:?}");
    for part in ["pod \"two\" cannot be removed", &format!("process {pid} (sh -c"), "state D"] {
        assert!(done.err.contains(part), "{part}: {done:?}");
    }
    assert!(instance.podctl(&["get", "pods"]).ok().contains("Terminating"));
    instance.wait_told("two", "FailedKillPod");
    // It goes by itself once it can.
    let uid = instance.get("two")["metadata"]["uid"].as_str().unwrap().to_owned();
    drop(freezer);
    instance.settle(&uid);
    instance.assert_nothing_left();
}
