//! The pod network on real links: each test in a network namespace of its own, as root.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use nix::sched::{CloneFlags, setns, unshare};
use runp::net::{Attachment, Bridge, PortMapping, loopback_up};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

/// Long enough for a busy machine.
const ANSWER: Duration = Duration::from_secs(30);
/// Short, for a packet that is dropped.
const NO_ANSWER: Duration = Duration::from_secs(1);

/// A network namespace, alive as long as this is.
struct Netns(File);

impl Netns {
    fn new() -> Self {
        std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            Self::current()
        })
        .join()
        .unwrap()
    }

    fn current() -> Self {
        Self(File::open("/proc/thread-self/ns/net").unwrap())
    }

    /// Runs `work` on a thread inside.
    fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let netns = self.0.try_clone().unwrap();
        let inside = move || {
            setns(netns, CloneFlags::CLONE_NEWNET).unwrap();
            work()
        };
        std::thread::spawn(inside).join().unwrap()
    }

    /// Answers every connection to `port` inside with `words`.
    fn serve(&self, port: u16, words: &'static str) {
        self.serve_on(Ipv4Addr::UNSPECIFIED, port, words);
    }

    fn serve_on(&self, ip: Ipv4Addr, port: u16, words: &'static str) {
        let netns = self.0.try_clone().unwrap();
        let (listening, wait) = mpsc::channel();
        std::thread::spawn(move || {
            setns(netns, CloneFlags::CLONE_NEWNET).unwrap();
            let listener = TcpListener::bind((ip, port)).unwrap();
            listening.send(()).unwrap();
            while let Ok((mut stream, _)) = listener.accept() {
                stream.write_all(words.as_bytes()).unwrap();
            }
        });
        wait.recv().unwrap();
    }

    /// What a connection from inside to that address is answered, `None` if there is no answer.
    fn ask(&self, ip: Ipv4Addr, port: u16) -> Option<String> {
        self.ask_within(ip, port, ANSWER)
    }

    fn is_refused(&self, ip: Ipv4Addr, port: u16) -> bool {
        self.ask_within(ip, port, NO_ANSWER).is_none()
    }

    fn ask_within(&self, ip: Ipv4Addr, port: u16, patience: Duration) -> Option<String> {
        self.run(move || {
            let mut stream =
                TcpStream::connect_timeout(&SocketAddrV4::new(ip, port).into(), patience).ok()?;
            let mut words = String::new();
            stream.set_read_timeout(Some(patience)).unwrap();
            stream.read_to_string(&mut words).ok()?;
            Some(words)
        })
    }

    fn attach(&self, bridge: &Bridge, uid: &str, ports: &[PortMapping]) -> Attachment {
        bridge.attach(uid, self.0.as_fd(), ports).unwrap()
    }
}

/// The calling test's own host: a namespace with `lo` up and a directory for leases.
struct Host {
    netns: Netns,
    dir: tempfile::TempDir,
}

impl Host {
    /// `None`, said on stderr, where the test cannot run.
    fn new() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("SKIP: needs root");
            return None;
        }
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let netns = Netns::current();
        loopback_up(netns.0.as_fd()).unwrap();
        Some(Self { netns, dir: tempfile::tempdir().unwrap() })
    }

    fn bridge(&self) -> Bridge {
        Bridge::open(&self.dir.path().join("net"), true, None).unwrap()
    }

    /// A machine next door, reached by a link with 192.0.2.1 here and 192.0.2.2 there.
    fn neighbour(&self) -> Netns {
        let other = Netns::new();
        run("ip link add out type veth peer name in");
        run("ip addr add 192.0.2.1/24 dev out");
        run("ip link set out up");
        let pid = std::process::id();
        let fd = std::os::fd::AsRawFd::as_raw_fd(&other.0);
        run(&format!("ip link set in netns /proc/{pid}/fd/{fd}"));
        other.run(|| {
            run("ip addr add 192.0.2.2/24 dev in");
            run("ip link set in up");
            run("ip link show in");
        });
        // Looking a link up makes the kernel notice its carrier.
        run("ip link show out");
        other
    }

    /// Does `work` twenty times at once, each with a uid of its own.
    fn each(&self, dir: &Path, work: fn(&Path, String) -> String) -> Vec<String> {
        let start = |number| {
            let (dir, netns) = (dir.to_owned(), self.netns.0.try_clone().unwrap());
            std::thread::spawn(move || {
                setns(netns, CloneFlags::CLONE_NEWNET).unwrap();
                work(&dir, format!("pod-{number}"))
            })
        };
        let threads: Vec<_> = (0..20).map(start).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    }

    /// Links, rules and files that are there.
    fn leftovers(&self) -> (String, String, Vec<std::ffi::OsString>) {
        let files = std::fs::read_dir(self.dir.path()).unwrap();
        let files = files.map(|entry| entry.unwrap().file_name()).collect();
        (links(), run("nft list ruleset"), files)
    }
}

fn run(command: &str) -> String {
    let mut words = command.split_whitespace();
    let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// Index and name of every link: their state changes as the kernel notices.
fn links() -> String {
    run("ip -o link").lines().map(|line| line.split(" <").next().unwrap_or(line)).collect()
}

fn port(host_port: u16, container_port: u16) -> PortMapping {
    PortMapping { protocol: "tcp".into(), host_ip: None, host_port, container_port }
}

const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 1);
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

#[test]
fn pods_reach_each_other_the_host_and_the_world_and_leave_nothing() {
    let Some(host) = Host::new() else { return };
    let neighbour = host.neighbour();
    let before = host.leftovers();
    let bridge = host.bridge();
    let (a, b) = (Netns::new(), Netns::new());
    let (at, bt) = (a.attach(&bridge, "a", &[]), b.attach(&bridge, "b", &[]));
    assert_eq!((at.ip, bt.ip), (Ipv4Addr::new(10, 88, 0, 2), Ipv4Addr::new(10, 88, 0, 3)));
    assert_eq!((at.gateway, at.prefix, at.warning), (GATEWAY, 16, None));

    a.serve(80, "a");
    host.netns.serve(81, "host");
    neighbour.serve(82, "neighbour");
    assert_eq!(b.ask(at.ip, 80).as_deref(), Some("a"), "pod to pod");
    assert_eq!(a.ask(Ipv4Addr::LOCALHOST, 80).as_deref(), Some("a"), "lo is up");
    assert_eq!(host.netns.ask(at.ip, 80).as_deref(), Some("a"), "host to pod");
    assert_eq!(b.ask(GATEWAY, 81).as_deref(), Some("host"), "pod to host");
    // The neighbour has no route back to pods: an answer proves masquerading.
    assert_eq!(b.ask(NEIGHBOUR, 82).as_deref(), Some("neighbour"), "pod to world");
    let ping =
        a.run(move || Command::new("busybox").args(["ping", "-c1", "-W5", "10.88.0.3"]).output());
    assert!(ping.unwrap().status.success(), "ping");

    bridge.detach("a").unwrap();
    assert_eq!(bridge.leases().unwrap(), ["b"]);
    bridge.detach("b").unwrap();
    bridge.detach("b").unwrap();
    assert_eq!(host.leftovers(), before);
}

#[test]
fn attaching_again_keeps_the_address_and_the_cable() {
    let Some(host) = Host::new() else { return };
    let bridge = host.bridge();
    let pod = Netns::new();
    let first = pod.attach(&bridge, "a", &[]);
    let before = links();
    assert_eq!(pod.attach(&host.bridge(), "a", &[]), first);
    assert_eq!(links(), before);
    // The sandbox was made anew while the old one's namespace is still there.
    let again = Netns::new();
    assert_eq!(again.attach(&bridge, "a", &[]), first);
    assert!(!pod.run(|| run("ip -br link")).contains("eth0"));
    host.netns.serve(81, "host");
    assert_eq!(again.ask(GATEWAY, 81).as_deref(), Some("host"));
    bridge.detach("a").unwrap();
}

#[test]
fn a_half_made_bridge_and_a_lost_one_are_made_whole() {
    let Some(host) = Host::new() else { return };
    let neighbour = host.neighbour();
    let bridge = host.bridge();
    // As a kill leaves it before the address and the rules.
    run("ip link add runp0 type bridge");
    let pod = Netns::new();
    pod.attach(&bridge, "a", &[port(8080, 80)]);
    // As a reboot leaves it: the leases are there, links and rules are not.
    run("ip link del runp0");
    run("nft flush ruleset");
    let other = Netns::new();
    assert_eq!(other.attach(&bridge, "b", &[]).ip, Ipv4Addr::new(10, 88, 0, 3));
    neighbour.serve(82, "neighbour");
    assert_eq!(other.ask(NEIGHBOUR, 82).as_deref(), Some("neighbour"));
    let ports = run("nft list map ip runp0 ports");
    assert!(ports.contains("tcp . 8080 : 10.88.0.2 . 80"), "{ports}");
    bridge.detach("a").unwrap();
    bridge.detach("b").unwrap();
}

#[test]
fn a_host_port_leads_to_the_pod_from_everywhere_and_exposes_no_loopback() {
    let Some(host) = Host::new() else { return };
    let neighbour = host.neighbour();
    let before = host.leftovers();
    let bridge = host.bridge();
    let (web, other) = (Netns::new(), Netns::new());
    let ports = [
        port(8080, 80),
        PortMapping { host_ip: Some(OUTSIDE), ..port(8081, 80) },
        PortMapping { host_ip: Some(Ipv4Addr::LOCALHOST), ..port(8082, 80) },
    ];
    web.attach(&bridge, "web", &ports);
    other.attach(&bridge, "other", &[]);
    web.serve(80, "web");
    let web_is = Some("web");
    assert_eq!(neighbour.ask(OUTSIDE, 8080).as_deref(), web_is, "neighbour");
    assert_eq!(neighbour.ask(OUTSIDE, 8081).as_deref(), web_is, "neighbour, by hostIP");
    assert!(neighbour.is_refused(OUTSIDE, 8082), "hostIP 127.0.0.1 is not for neighbours");
    assert_eq!(host.netns.ask(OUTSIDE, 8080).as_deref(), web_is, "host, own address");
    assert_eq!(host.netns.ask(Ipv4Addr::LOCALHOST, 8080).as_deref(), web_is, "host, localhost");
    assert!(host.netns.is_refused(Ipv4Addr::LOCALHOST, 8081), "another hostIP");
    assert_eq!(host.netns.ask(Ipv4Addr::LOCALHOST, 8082).as_deref(), web_is, "hostIP 127.0.0.1");
    assert_eq!(other.ask(OUTSIDE, 8080).as_deref(), web_is, "another pod");
    assert_eq!(web.ask(OUTSIDE, 8080).as_deref(), web_is, "the pod itself");
    assert!(host.netns.is_refused(OUTSIDE, 80), "only the mapped port");

    // CVE-2020-8558: a pod and a neighbour that route 127.0.0.0/8 to us get nowhere.
    host.netns.serve_on(Ipv4Addr::LOCALHOST, 9999, "private");
    assert_eq!(host.netns.ask(Ipv4Addr::LOCALHOST, 9999).as_deref(), Some("private"));
    for (from, link, via) in [(&other, "eth0", "10.88.0.1"), (&neighbour, "in", "192.0.2.1")] {
        from.run(move || {
            std::fs::write(format!("/proc/sys/net/ipv4/conf/{link}/route_localnet"), "1").unwrap();
            run("ip addr flush dev lo");
            run(&format!("ip route add 127.0.0.1 via {via} dev {link}"));
        });
        assert!(from.is_refused(Ipv4Addr::LOCALHOST, 9999), "{link}");
    }

    // Taken: nothing of the second pod is left.
    let late = Netns::new();
    let error = bridge.attach("late", late.0.as_fd(), &ports[..1]).unwrap_err().to_string();
    assert_eq!(error, "host port 8080/tcp is taken by pod web");
    assert_eq!(bridge.leases().unwrap(), ["other", "web"]);
    bridge.detach("web").unwrap();
    late.attach(&bridge, "late", &ports[..1]);
    late.serve(80, "late");
    assert_eq!(neighbour.ask(OUTSIDE, 8080).as_deref(), Some("late"));
    assert!(neighbour.is_refused(OUTSIDE, 8081));
    bridge.detach("late").unwrap();
    bridge.detach("other").unwrap();
    assert_eq!(host.leftovers(), before);
}

#[test]
fn twenty_at_once_get_twenty_addresses_and_leave_nothing() {
    let Some(host) = Host::new() else { return };
    let before = host.leftovers();
    let dir = host.dir.path().join("net");
    for _ in 0..3 {
        let mut addresses = host.each(&dir, |dir, uid| {
            let bridge = Bridge::open(dir, true, None).unwrap();
            Netns::new().attach(&bridge, &uid, &[]).ip.to_string()
        });
        addresses.sort_unstable();
        addresses.dedup();
        assert_eq!(addresses.len(), 20);
        host.each(&dir, |dir, uid| {
            Bridge::open(dir, true, None).unwrap().detach(&uid).unwrap();
            uid
        });
        assert_eq!(host.leftovers(), before);
    }
}

#[test]
fn two_roots_stand_side_by_side_and_a_taken_subnet_is_refused() {
    let Some(host) = Host::new() else { return };
    let before = host.leftovers();
    let at = |name: &str, cidr| Bridge::open(&host.dir.path().join(name), false, cidr);
    let (one, two) = (at("one", None).unwrap(), at("two", None).unwrap());
    let (a, b) = (Netns::new(), Netns::new());
    let (at_one, at_two) = (a.attach(&one, "a", &[port(80, 80)]), b.attach(&two, "a", &[]));
    assert_ne!(at_one.gateway, at_two.gateway);
    let taken = format!("{}/16", at_one.gateway);
    let error = at("three", Some(&taken)).unwrap().attach("a", b.0.as_fd(), &[]).unwrap_err();
    assert!(error.to_string().contains("is in use: 10."), "{error}");
    let error = at("one", Some("10.1.0.0/16")).unwrap().attach("b", b.0.as_fd(), &[]).unwrap_err();
    assert!(error.to_string().contains("was asked for, but the pods"), "{error}");
    one.detach("a").unwrap();
    b.serve(80, "b");
    assert_eq!(host.netns.ask(at_two.ip, 80).as_deref(), Some("b"));
    two.detach("a").unwrap();
    assert_eq!(host.leftovers(), before);
}

#[test]
fn twenty_roots_at_once_get_twenty_subnets() {
    let Some(host) = Host::new() else { return };
    let before = host.leftovers();
    let open = |dir: &Path, uid: &str| Bridge::open(&dir.join(uid), false, None).unwrap();
    let mut gateways = host.each(host.dir.path(), |dir, uid| {
        let bridge = Bridge::open(&dir.join(&uid), false, None).unwrap();
        Netns::new().attach(&bridge, "a", &[]).gateway.to_string()
    });
    gateways.sort_unstable();
    gateways.dedup();
    assert_eq!(gateways.len(), 20);
    (0..20).for_each(|n| open(host.dir.path(), &format!("pod-{n}")).detach("a").unwrap());
    assert_eq!(host.leftovers(), before);
}
