//! What containers print.

use super::instance::Instance;

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
