//! What containers are told: environment, files made of objects, names, namespaces, users.

use super::instance::Instance;

const OBJECTS: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: cm}
data: {greeting: "hello $(NAME)", "app.conf": "a=1\n"}
---
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {pw: hunter2}
"#;

const POD: &str = r#"
apiVersion: v1
kind: Pod
metadata:
  name: told
  labels: {app: web, tier: front}
  annotations: {note: "say \"hi\""}
spec:
  terminationGracePeriodSeconds: 1
  hostname: box
  subdomain: sub
  hostAliases: [{ip: 192.0.2.7, hostnames: [seven, sept]}]
  dnsPolicy: None
  dnsConfig: {nameservers: [192.0.2.53], searches: [a.example], options: [{name: ndots, value: "2"}]}
  securityContext:
    fsGroup: 4242
    sysctls: [{name: net.ipv4.ip_unprivileged_port_start, value: "81"}]
  containers:
  - name: c
    image: host
    command: [sh, -c, "echo '$(GREETING)' > /proc/1/fd/1; exec sleep 1000"]
    envFrom:
    - {configMapRef: {name: cm}}
    - {secretRef: {name: keys}, prefix: KEY_}
    - {configMapRef: {name: none, optional: true}}
    env:
    - {name: NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: GREETING, value: "$(greeting) from $(NAME), $$(NAME)"}
    - {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    - {name: PW, valueFrom: {secretKeyRef: {name: keys, key: pw}}}
    - {name: CPU, valueFrom: {resourceFieldRef: {resource: limits.cpu, divisor: 1m}}}
    resources: {limits: {cpu: 250m}}
    volumeMounts:
    - {name: map, mountPath: /map}
    - {name: map, mountPath: /one.conf, subPath: app.conf}
    - {name: all, mountPath: /all}
    - {name: data, mountPath: /data, subPathExpr: "$(NAME)/deep"}
    - {name: data, mountPath: /whole}
    - {name: nested, mountPath: /nested, readOnly: true, recursiveReadOnly: Enabled}
  volumes:
  - {name: map, configMap: {name: cm, defaultMode: 0600}}
  - name: all
    projected:
      sources:
      - secret: {name: keys, items: [{key: pw, path: secrets/pw, mode: 0400}]}
      - downwardAPI:
          items:
          - {path: labels, fieldRef: {fieldPath: metadata.labels}}
          - {path: cpu, resourceFieldRef: {containerName: c, resource: limits.cpu, divisor: 1m}}
  - {name: data, emptyDir: {}}
  - {name: nested, hostPath: {path: DIR}}
"#;

#[test]
fn containers_are_told_what_the_manifest_says() {
    let Some(instance) = Instance::new("fields") else { return };
    let dir = instance.path("host");
    std::fs::create_dir_all(dir.join("below")).unwrap();
    let tmpfs = Some("tmpfs");
    let flags = nix::mount::MsFlags::empty();
    nix::mount::mount(tmpfs, &dir.join("below"), tmpfs, flags, None::<&str>).unwrap();
    instance.apply(OBJECTS);
    instance.apply(&POD.replace("DIR", dir.to_str().unwrap()));
    let status = instance.wait_running("told");
    let ip = status["podIP"].as_str().unwrap();
    let sh = |script: &str| instance.sh("told", "c", script);
    assert_eq!(
        sh("echo \"$GREETING|$KEY_pw|$PW|$IP|$CPU|$HOSTNAME\""),
        format!("hello $(NAME) from told, $(NAME)|hunter2|hunter2|{ip}|250|box\n")
    );
    assert_eq!(instance.podctl(&["logs", "told"]).ok(), "hello $(NAME) from told, $(NAME)\n");
    assert_eq!(sh("cat /map/app.conf /one.conf"), "a=1\na=1\n");
    assert_eq!(
        sh("readlink /map/app.conf; stat -L -c '%a %g' /map/app.conf"),
        "..data/app.conf\n640 4242\n"
    );
    assert_eq!(
        sh("cat /all/labels; echo; cat /all/cpu; echo; cat /all/secrets/pw; stat -f -c %T /all"),
        "app=\"web\"\ntier=\"front\"\n250\nhunter2tmpfs\n"
    );
    assert_eq!(sh("touch /map/x /all/x 2>/dev/null || echo read-only"), "read-only\n");
    assert_eq!(sh("echo 1 > /data/f; cat /whole/told/deep/f"), "1\n");
    assert_eq!(sh("touch /nested/below/x 2>/dev/null || echo read-only"), "read-only\n");
    assert_eq!(sh("hostname; cat /etc/hostname"), "box\nbox\n");
    let hosts = sh("cat /etc/hosts");
    assert!(hosts.contains(&format!("{ip}\tbox.sub.default.svc.cluster.local\tbox\n")), "{hosts}");
    assert!(hosts.ends_with("192.0.2.7\tseven\tsept\n"), "{hosts}");
    assert_eq!(
        sh("cat /etc/resolv.conf"),
        "search a.example\nnameserver 192.0.2.53\noptions ndots:2\n"
    );
    assert_eq!(sh("cat /proc/sys/net/ipv4/ip_unprivileged_port_start"), "81\n");
    assert_eq!(sh("echo x >> /etc/hosts && echo written"), "written\n");
    nix::mount::umount(&dir.join("below")).unwrap();
    instance.delete("told");
    for (kind, name) in [("configmap", "cm"), ("secret", "keys")] {
        instance.podctl(&["delete", kind, name]).ok();
    }
    instance.assert_nothing_left();
}

#[test]
fn what_a_container_lacks_is_named_as_the_kubelet_does() {
    let Some(instance) = Instance::new("lacks") else { return };
    let manifest = r#"
apiVersion: v1
kind: Pod
metadata: {name: lacks}
spec:
  terminationGracePeriodSeconds: 1
  volumes: [{name: v, emptyDir: {}}]
  containers:
  - name: c
    image: host
    command: [sleep, "1000"]
"#;
    let cases = [
        (
            "env: [{name: X, valueFrom: {configMapKeyRef: {name: x, key: k}}}]",
            "configmap \"x\" not found",
        ),
        ("envFrom: [{secretRef: {name: none}}]", "secret \"none\" not found"),
        (
            "securityContext: {runAsNonRoot: true}",
            "container has runAsNonRoot and image will run as root (pod: \"lacks_default(UID)\", container: c)",
        ),
        (
            "volumeMounts: [{name: v, mountPath: /v, subPathExpr: $(NONE)}]",
            "missing value for NONE",
        ),
    ];
    for (field, message) in cases {
        instance.apply(&format!("{manifest}    {field}\n"));
        let status = instance.wait_for("lacks", |status| {
            let waiting = &status["containerStatuses"][0]["state"]["waiting"];
            waiting["reason"] == "CreateContainerConfigError"
        });
        let uid = instance.get("lacks")["metadata"]["uid"].as_str().unwrap().to_owned();
        let waiting = &status["containerStatuses"][0]["state"]["waiting"];
        assert_eq!(waiting["message"], message.replace("UID", &uid).as_str());
        instance.delete("lacks");
    }
    instance.assert_nothing_left();
}

#[test]
fn a_part_of_a_volume_never_lies_outside() {
    let Some(instance) = Instance::new("subpath") else { return };
    let dir = instance.path("volume");
    std::fs::create_dir(&dir).unwrap();
    std::os::unix::fs::symlink("/", dir.join("out")).unwrap();
    let manifest = r#"
apiVersion: v1
kind: Pod
metadata: {name: out}
spec:
  containers:
  - {name: c, image: host, command: [sleep, "9"], volumeMounts: [{name: v, mountPath: /v, subPath: out/etc}]}
  volumes: [{name: v, hostPath: {path: DIR}}]
"#;
    instance.apply(&manifest.replace("DIR", dir.to_str().unwrap()));
    let status = instance.wait_for("out", |status| {
        status["containerStatuses"][0]["state"]["waiting"]["reason"] == "CreateContainerConfigError"
    });
    let message = status["containerStatuses"][0]["state"]["waiting"]["message"].as_str().unwrap();
    let story = "failed to prepare subPath for volumeMount \"v\" of container \"c\"";
    assert!(message.starts_with(story), "{message}");
    instance.delete("out");
    instance.assert_nothing_left();
}

#[test]
fn a_volume_waits_for_its_objects() {
    let Some(instance) = Instance::new("waits") else { return };
    let manifest = r#"
apiVersion: v1
kind: Pod
metadata: {name: waits}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: c, image: host, command: [sleep, "1000"], volumeMounts: [{name: v, mountPath: /v}]}]
  volumes: [{name: v, secret: {secretName: keys}}]
"#;
    instance.apply(manifest);
    let story = "MountVolume.SetUp failed for volume \\\"v\\\" : secret \\\"keys\\\" not found";
    instance.wait_told("waits", story);
    instance.apply(OBJECTS);
    instance.wait_running("waits");
    assert_eq!(instance.sh("waits", "c", "cat /v/pw"), "hunter2");
    instance.delete("waits");
    for (kind, name) in [("configmap", "cm"), ("secret", "keys")] {
        instance.podctl(&["delete", kind, name]).ok();
    }
    instance.assert_nothing_left();
}

#[test]
fn files_follow_their_objects() {
    let Some(instance) = Instance::new("follow") else { return };
    let manifest = r#"
apiVersion: v1
kind: Pod
metadata: {name: follow, labels: {v: "1"}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: c
    image: host
    command: [sleep, "1000"]
    volumeMounts: [{name: map, mountPath: /map}, {name: me, mountPath: /me}]
  volumes:
  - {name: map, configMap: {name: cm}}
  - {name: me, downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}}
"#;
    instance.apply(OBJECTS);
    instance.apply(manifest);
    instance.wait_running("follow");
    let sh = |script: &str| instance.sh("follow", "c", script);
    assert_eq!(sh("cat /map/app.conf /me/labels"), "a=1\nv=\"1\"");
    instance.apply(&OBJECTS.replace("a=1", "a=2"));
    instance.apply(&manifest.replace("v: \"1\"", "v: \"2\""));
    assert_eq!(sh("cat /map/app.conf /me/labels"), "a=2\nv=\"2\"");
    instance.delete("follow");
    for (kind, name) in [("configmap", "cm"), ("secret", "keys")] {
        instance.podctl(&["delete", kind, name]).ok();
    }
    instance.assert_nothing_left();
}

#[test]
fn limits_are_not_those_of_whoever_applies() {
    let Some(instance) = Instance::new("limits") else { return };
    let manifest = r#"
apiVersion: v1
kind: Pod
metadata: {name: limits}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: c, image: host, command: [sleep, "1000"]}]
"#;
    let path = instance.manifest(manifest);
    let mut command = std::process::Command::new("sh");
    let podctl = instance.command(&["apply", "-f", &path]);
    let script = "ulimit -S -n 77; ulimit -S -c 0; exec \"$@\"";
    command.args(["-c", script, "sh"]).arg(podctl.get_program()).args(podctl.get_args());
    assert!(command.status().unwrap().success());
    instance.remember_uids();
    instance.wait_running("limits");
    let limits = |text: &str| -> (u64, u64) {
        let line = text.lines().find(|line| line.starts_with("Max open files")).unwrap();
        let mut words = line[26..].split_whitespace().map(|word| word.parse().unwrap_or(u64::MAX));
        (words.next().unwrap(), words.next().unwrap())
    };
    let of = |pid: &str| limits(&std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap());
    // No further than this process may go.
    let expected = of("1").0.min(of("self").1);
    assert_eq!(limits(&instance.sh("limits", "c", "cat /proc/1/limits")).0, expected);
    instance.delete("limits");
    instance.assert_nothing_left();
}

/// A pod does not become what it is by who applies it, nor by how long its names are.
#[test]
fn names_and_callers_do_not_matter() {
    let Some(instance) = Instance::new("callers") else { return };
    let name = "a-name-so-long-that-no-socket-address-has-room-for-its-path-x";
    let manifest = instance.manifest(&format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: callers}}
spec:
  terminationGracePeriodSeconds: 1
  restartPolicy: Never
  containers:
  - {{name: {name}, image: host, tty: true, command: [grep, SigIgn, /proc/self/status]}}
"#
    ));
    let podctl = instance.command(&["apply", "-f", &manifest]);
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "trap '' HUP INT TERM CHLD USR1; exec \"$@\"", "sh"]);
    shell.arg(podctl.get_program()).args(podctl.get_args());
    assert!(shell.status().unwrap().success());
    instance.remember_uids();
    instance.wait_for("callers", |status| status["phase"] == "Succeeded");
    let logs = instance.podctl(&["logs", "callers"]).ok();
    let ignored = u64::from_str_radix(logs.split_whitespace().last().unwrap(), 16).unwrap();
    // Those above are the C library's own.
    assert_eq!(ignored & 0x7fff_ffff, 0, "{logs}");
    instance.delete("callers");
    instance.assert_nothing_left();
}

#[test]
fn variables_come_from_a_file_that_an_init_container_wrote() {
    let Some(instance) = Instance::new("envfile") else { return };
    let manifest = r#"
apiVersion: v1
kind: Pod
metadata: {name: envfile}
spec:
  terminationGracePeriodSeconds: 1
  initContainers:
  - name: writer
    image: host
    command:
    - sh
    - -c
    - mkdir /data/conf && printf '%s\n' "KEY='a \$value'" > /data/conf/env && ln -s /etc /data/out
    volumeMounts: [{name: data, mountPath: /data}]
  containers:
  - name: c
    image: host
    command: [sleep, "1000"]
    env:
    - name: FROM_FILE
      valueFrom: {fileKeyRef: {volumeName: data, path: conf/env, key: KEY}}
    - name: NONE
      valueFrom: {fileKeyRef: {volumeName: data, path: conf/none, key: KEY, optional: true}}
    - {name: BOTH, value: "<$(FROM_FILE)>"}
  volumes: [{name: data, emptyDir: {}}]
"#;
    instance.apply(manifest);
    instance.wait_running("envfile");
    let said = instance.sh("envfile", "c", "echo \"$FROM_FILE|$BOTH|${NONE-unset}\"");
    assert_eq!(said, "a $value|<a $value>|unset\n");
    instance.delete("envfile");
    for (path, key, story) in [
        ("conf/env", "none", "environment variable key \"none\" not found in file \"conf/env\""),
        // What leads out of the volume is not followed.
        (
            "out/passwd",
            "KEY",
            "failed to open environment variable file \"out/passwd\": EXDEV: cross-device link",
        ),
    ] {
        let wanted = format!("path: {path}, key: {key}}}}}");
        instance.apply(&manifest.replacen("path: conf/env, key: KEY}}", &wanted, 1));
        let status = instance.wait_for("envfile", |status| {
            let waiting = &status["containerStatuses"][0]["state"]["waiting"];
            waiting["reason"] == "CreateContainerConfigError"
        });
        assert_eq!(status["containerStatuses"][0]["state"]["waiting"]["message"], story);
        instance.delete("envfile");
    }
    instance.assert_nothing_left();
}
