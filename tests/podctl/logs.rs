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
