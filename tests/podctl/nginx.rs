//! The real job: the manifest of a production nginx, as its user wrote it, on a real nginx.

use super::instance::{Instance, PATIENCE};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

#[path = "../common/nginx.rs"]
mod archive;

/// Its probe begins a minute after the start.
const FIRST_PROBES: Duration = Duration::from_secs(300);

fn manifest() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/kube/nginx.yaml");
    fs::read_to_string(path).unwrap()
}

fn get(ip: &str) -> String {
    let deadline = Instant::now() + PATIENCE;
    let mut stream = loop {
        match TcpStream::connect((ip, 80)) {
            // It runs, and may not listen yet.
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
            Ok(stream) => break stream,
        }
    };
    write!(stream, "GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn nginx_lives_and_is_restarted_as_its_manifest_says() {
    // Before the case leaves the network that packages come from.
    let archive = archive::nginx_archive();
    let Some(instance) = Instance::new("nginx") else { return };
    let loaded = instance.podctl(&["load", "-i", archive.to_str().unwrap()]).ok();
    assert!(loaded.contains("nginx:1.15.2"), "{loaded}");
    let broken = manifest().replace("  name: nginx #", "  name: broken #");
    assert_eq!(instance.apply(&manifest()), "pod/nginx created\n");
    assert_eq!(instance.apply(&broken), "pod/broken created\n");
    let status = instance.wait_running("nginx");
    let ip = instance.wait_running("broken")["podIP"].clone();
    // Its liveness probe asks for the page that is not there any more.
    instance.sh("broken", "nginx", "rm /var/www/html/index.html");

    assert!(get(status["podIP"].as_str().unwrap()).contains("Welcome to nginx!"));
    let sh = |script: &str| instance.sh("nginx", "nginx", script);
    assert_eq!(
        sh("echo $TZ $LANG; pwd; date +%Z"),
        "Asia/Shanghai en_US.utf8\n/usr/share/nginx/html\nCST\n"
    );
    assert_eq!(sh("test -d /data && echo made by postStart"), "made by postStart\n");
    assert!(sh("touch x 2>&1; true").contains("Read-only file system"));
    let log = ["logs", "-f", "nginx"];
    let mut log = instance.command(&log).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(log.stdout.take().unwrap()).lines().map(Result::unwrap);
    let probe = lines.find(|line| line.contains("kube-probe/")).expect("the log goes on");
    assert!(probe.contains("\"GET / HTTP/1.1\" 200"), "{probe}");

    let restarted = instance.wait_longer(FIRST_PROBES, "broken", |status| {
        let container = &status["containerStatuses"][0];
        container["restartCount"] == 1 && container["state"]["running"].is_object()
    });
    assert_eq!(restarted["podIP"], ip, "the sandbox lives on");
    let described = instance.podctl(&["describe", "pod", "broken"]).ok();
    for event in [
        "Liveness probe failed: HTTP probe failed with statuscode: 403",
        "Container nginx failed liveness probe, will be restarted",
    ] {
        assert!(described.contains(event), "{event} is not in {described}");
    }
    assert_eq!(instance.status("nginx").unwrap()["containerStatuses"][0]["restartCount"], 0);

    instance.delete("nginx");
    let hook = lines.find(|line| line.contains("kube-lifecycle/")).expect("preStop asked nginx");
    assert!(hook.contains("\"GET / HTTP/1.1\" 200"), "{hook}");
    assert!(log.wait().unwrap().success());
    instance.delete("broken");
    fs::remove_dir_all(instance.root().join("lib/images")).unwrap();
    instance.assert_nothing_left();
}
