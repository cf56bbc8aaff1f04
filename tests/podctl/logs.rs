//! What containers print.

use super::instance::{Instance, PATIENCE};
use std::process::{Command, Stdio};

const TALKING: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: talking}
spec:
  restartPolicy: Never
  containers:
  - name: c
    image: host
    command: [sh, -c, "echo one; echo two >&2; read x < /data/go; echo $x; printf unended"]
    volumeMounts: [{name: data, mountPath: /data}]
  volumes: [{name: data, hostPath: {path: DIR}}]
"#;

#[test]
fn following_ends_with_the_container() {
    let Some(instance) = Instance::new("logs") else { return };
    let dir = instance.path("shared");
    std::fs::create_dir(&dir).unwrap();
    nix::unistd::mkfifo(&dir.join("go"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    instance.podctl(&["logs", "talking"]).fails(1, "pods \"talking\" not found");
    instance.apply(&TALKING.replace("DIR", dir.to_str().unwrap()));
    instance.wait_running("talking");
    let follow = instance.start(&["logs", "-f", "talking"]);
    follow.wait_output("two");
    std::fs::write(dir.join("go"), "three\n").unwrap();
    let mut lines: Vec<String> = follow.finish().ok().lines().map(str::to_owned).collect();
    // The order of two streams is nobody's promise.
    lines[..2].sort();
    assert_eq!(lines, ["one", "two", "three", "unended"]);
    let tail = instance.podctl(&["logs", "talking", "--tail=2"]).ok();
    assert_eq!(tail, "three\nunended");
    let stamped = instance.podctl(&["logs", "talking", "--timestamps", "--tail=1"]).ok();
    assert!(stamped.ends_with("Z unended") && stamped.len() == "unended".len() + 31, "{stamped}");
    instance
        .podctl(&["logs", "talking", "--previous"])
        .fails(1, "previous terminated container \"c\" in pod \"talking\" not found");
    instance.delete("talking");
}

#[test]
fn a_flood_is_complete_and_rotated() {
    let Some(instance) = Instance::new("flood") else { return };
    instance.apply(
        r#"
apiVersion: v1
kind: Pod
metadata: {name: flood}
spec:
  restartPolicy: Never
  containers:
  - {name: c, image: host, command: [sh, -c, "seq 1 400000; echo end"]}
"#,
    );
    instance.wait_for("flood", |status| status["phase"] == "Succeeded");
    let dir =
        std::fs::read_dir(instance.root().join("logs")).unwrap().next().unwrap().unwrap().path();
    let mut files: Vec<_> =
        std::fs::read_dir(dir.join("c")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() > 1, "{files:?}");
    files.sort();
    // The live file is the newest and sorts first.
    files.rotate_left(1);
    let texts = files.iter().map(|file| std::fs::read_to_string(file).unwrap());
    let mut next = 1;
    for line in texts.collect::<String>().lines() {
        let text = line.split(' ').nth(3).unwrap();
        assert!(text == "end" || text.parse::<u32>() == Ok(next), "{line}, not {next}");
        next += 1;
    }
    assert_eq!(next, 400_002);
    instance.delete("flood");
}

/// Numbered lines of 1 KiB, twice what all files hold, as fast as they can be said.
#[test]
fn a_follower_misses_nothing_through_rotations() {
    let Some(instance) = Instance::new("rotate") else { return };
    let dir = instance.path("shared");
    std::fs::create_dir(&dir).unwrap();
    nix::unistd::mkfifo(&dir.join("go"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let manifest = r#"
apiVersion: v1
kind: Pod
metadata: {name: loud}
spec:
  restartPolicy: Never
  containers:
  - name: c
    image: host
    command:
    - sh
    - -c
    - >-
      echo ready; read x < /data/go;
      yes $(head -c 1000 /dev/zero | tr '\0' x) | head -n LINES | nl -w 8 -n rz
    volumeMounts: [{name: data, mountPath: /data}]
  volumes: [{name: data, hostPath: {path: DIR}}]
"#;
    let lines = 100_000;
    let manifest = manifest.replace("LINES", &lines.to_string());
    instance.apply(&manifest.replace("DIR", dir.to_str().unwrap()));
    instance.wait_running("loud");
    let follower = instance.start(&["logs", "-f", "loud"]);
    follower.wait_output("ready");
    std::fs::write(dir.join("go"), "go\n").unwrap();
    let out = follower.finish().ok();
    let mut said = out.lines().skip(1);
    for number in 1..=lines {
        let line = said.next().unwrap_or_else(|| panic!("no line {number}"));
        assert!(line.starts_with(&format!("{number:08}\tx")) && line.len() == 1009, "{line}");
    }
    assert_eq!(said.next(), None);
    instance.delete("loud");
    instance.assert_nothing_left();
}

#[test]
fn the_end_of_the_log_stands_in_for_a_message() {
    let Some(instance) = Instance::new("message") else { return };
    let manifest = r#"
apiVersion: v1
kind: Pod
metadata: {name: message}
spec:
  restartPolicy: Never
  containers:
  - {name: log, image: host, command: [sh, -c, "seq 100; exit 3"], terminationMessagePolicy: FallbackToLogsOnError}
  - {name: file, image: host, command: [sh, -c, "echo why > /dev/why; exit 3"], terminationMessagePath: /dev/why}
  - {name: fine, image: host, command: [echo, x], terminationMessagePolicy: FallbackToLogsOnError}
"#;
    instance.apply(manifest);
    let status = instance.wait_for("message", |status| status["phase"] == "Failed");
    let message = |index: usize| {
        let terminated = &status["containerStatuses"][index]["state"]["terminated"];
        terminated["message"].as_str().unwrap_or_default().to_owned()
    };
    let expected: String = (21..=100).map(|number| format!("{number}\n")).collect();
    // By name: file, fine, log.
    assert_eq!((message(0), message(1), message(2)), ("why\n".into(), String::new(), expected));
    instance.delete("message");
    instance.assert_nothing_left();
}

/// Bytes that compress to nothing and repeat nowhere, in lines of `width`, the same each time.
fn noise(width: u32, bytes: u64) -> String {
    format!(
        "openssl enc -aes-128-ctr -K 00 -iv 00 -in /dev/zero 2>/dev/null | base64 -w {width} | \
         head -c {bytes}"
    )
}

fn sum_of(script: &str) -> String {
    let done = Command::new("sh").args(["-c", &format!("{script} | sha256sum")]).output().unwrap();
    String::from_utf8(done.stdout).unwrap()
}

/// 1 GiB as fast as it can be said, through a hundred rotations.
#[test]
fn a_gibibyte_is_complete_to_the_byte() {
    let Some(instance) = Instance::new("gibibyte") else { return };
    let dir = instance.path("shared");
    std::fs::create_dir(&dir).unwrap();
    nix::unistd::mkfifo(&dir.join("go"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let noise = noise(1000, 1 << 30);
    let manifest = r#"
apiVersion: v1
kind: Pod
metadata: {name: loud}
spec:
  restartPolicy: Never
  containers:
  - name: c
    image: host
    command: [sh, -c, "read x < /data/go; NOISE"]
    volumeMounts: [{name: data, mountPath: /data}]
  volumes: [{name: data, hostPath: {path: DIR}}]
"#;
    let manifest = manifest.replace("DIR", dir.to_str().unwrap()).replace("NOISE", &noise);
    instance.apply(&manifest);
    instance.wait_running("loud");
    let mut follower = instance.command(&["logs", "-f", "loud"]);
    let mut follower = follower.stdout(Stdio::piped()).spawn().unwrap();
    let said = follower.stdout.take().unwrap();
    let sum = Command::new("sha256sum").stdin(said).stdout(Stdio::piped()).spawn().unwrap();
    std::fs::write(dir.join("go"), "go\n").unwrap();
    let expected = sum_of(&noise);
    // Of this alone: a machine under load takes its time for 1 GiB.
    instance.wait_longer(4 * PATIENCE, "loud", |status| status["phase"] == "Succeeded");
    let said = String::from_utf8(sum.wait_with_output().unwrap().stdout).unwrap();
    assert!(follower.wait().unwrap().success());
    assert_eq!(said, expected);
    instance.delete("loud");
    instance.assert_nothing_left();
}

#[test]
fn streams_are_apart_and_long_lines_are_cut() {
    let Some(instance) = Instance::new("streams") else { return };
    let (long, short) = (noise(40_000, 3 << 20), noise(70, 2 << 20));
    let manifest = format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: streams}}
spec:
  restartPolicy: Never
  containers:
  - {{name: c, image: host, command: [sh, -c, "({long}) & ({short}) >&2; wait"]}}
"#
    );
    instance.apply(&manifest);
    instance.wait_for("streams", |status| status["phase"] == "Succeeded");
    let uid = instance.get("streams")["metadata"]["uid"].as_str().unwrap().to_owned();
    let log = instance.root().join(format!("logs/default_streams_{uid}/c/0.log"));
    let log = std::fs::read_to_string(log).unwrap();
    for (stream, script) in [("stdout", long), ("stderr", short)] {
        let mut said = String::new();
        for line in log.lines() {
            let (head, text) = line.split_at(31 + "stdout F ".len());
            let tag = head.strip_suffix(' ').unwrap();
            if !tag[31..].starts_with(stream) {
                continue;
            }
            said += text;
            match tag.ends_with('F') {
                true => said.push('\n'),
                // A line's pieces are whole, but for the end of what has no end.
                false => assert!(text.len() == 16 << 10 || said.len() >= 2 << 20, "{}", text.len()),
            }
        }
        let path = instance.path(stream);
        std::fs::write(&path, said).unwrap();
        assert_eq!(sum_of(&format!("cat {}", path.display())), sum_of(&script), "{stream}");
    }
    instance.delete("streams");
    instance.assert_nothing_left();
}
