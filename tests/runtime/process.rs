//! The process that a container starts with: ids, capabilities, limits, environment, descriptors.

use super::common::{Case, field};
use serde_json::json;
use std::fs;
use std::path::Path;
use std::process::Command;

const STATUS: &str = "cat /proc/self/status";

#[test]
fn the_example_gives_few_capabilities_and_no_new_privileges() {
    let Some(case) = Case::script("default", STATUS) else { return };
    let status = case.run().ok();
    // CAP_KILL, CAP_NET_BIND_SERVICE, CAP_AUDIT_WRITE.
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        assert_eq!(field(&status, set), "0000000020000420", "{set}");
    }
    for set in ["CapInh", "CapAmb"] {
        assert_eq!(field(&status, set), "0000000000000000", "{set}");
    }
    assert_eq!(field(&status, "NoNewPrivs"), "1");
    assert_eq!(field(&status, "Uid"), "0\t0\t0\t0");
    assert_eq!(field(&status, "Seccomp"), "0");
    assert_eq!(field(&status, "SigBlk"), "0000000000000000");
    let ignored = u64::from_str_radix(field(&status, "SigIgn"), 16).unwrap();
    assert_eq!(ignored & 1 << 12, 0, "SIGPIPE is the runtime's own affair");
}

#[test]
fn the_inside_looks_as_with_the_installed_runc() {
    let Some(case) = Case::script("inside", STATUS) else { return };
    let ours = case.run().ok();
    let runc = Command::new("runc")
        .arg("--root")
        .arg(case.path("runc"))
        .args(["run", &case.id])
        .current_dir(case.path("bundle"))
        .output();
    let Ok(theirs) = runc else {
        eprintln!("SKIP the_inside_looks_as_with_the_installed_runc: runc is not installed");
        return;
    };
    let theirs = String::from_utf8(theirs.stdout).unwrap();
    let same = [
        "Umask",
        "PPid",
        "Uid",
        "Gid",
        "Groups",
        "NSpid",
        "NSpgid",
        "NSsid",
        "SigPnd",
        "SigBlk",
        "SigIgn",
        "SigCgt",
        "CapInh",
        "CapPrm",
        "CapEff",
        "CapBnd",
        "CapAmb",
        "NoNewPrivs",
        "Seccomp",
        "THP_enabled",
    ];
    for name in same {
        assert_eq!(field(&ours, name), field(&theirs, name), "{name}");
    }
}

#[test]
fn user_groups_and_umask() {
    let Some(mut case) = Case::script("user", "umask; cat /proc/self/status") else { return };
    case.config["process"]["user"] =
        json!({"uid": 1000, "gid": 1001, "umask": 0o077, "additionalGids": [5, 2000]});
    let text = case.run().ok();
    assert_eq!(text.lines().next(), Some("0077"));
    assert_eq!(field(&text, "Uid"), "1000\t1000\t1000\t1000");
    assert_eq!(field(&text, "Gid"), "1001\t1001\t1001\t1001");
    assert_eq!(field(&text, "Groups"), "5 2000");
    assert_eq!(field(&text, "CapEff"), "0000000000000000", "a user has none without ambient ones");
    assert_eq!(field(&text, "CapBnd"), "0000000020000420");
}

#[test]
fn groups_of_the_caller_are_not_inherited() {
    let Some(case) = Case::script("groups", STATUS) else { return };
    let line = format!("exec {} \"$@\"", env!("CARGO_BIN_EXE_runp"));
    let inner = case.command(&["run", &case.id]);
    let mut command = Command::new("setpriv");
    command.args(["--groups", "7,8", "sh", "-c", &line, "runp"]);
    command.args(inner.get_args()).current_dir(case.path("bundle"));
    assert_eq!(field(&case.finish(&mut command).ok(), "Groups"), "");
}

#[test]
fn a_number_is_a_number_even_if_the_image_has_a_user_of_that_name() {
    let Some(mut case) = Case::script("number", STATUS) else { return };
    fs::write(case.rootfs().join("etc/passwd"), "1000:x:0:0:root:/root:/bin/sh\n").unwrap();
    case.config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    assert_eq!(field(&case.run().ok(), "Uid"), "1000\t1000\t1000\t1000");
}

#[test]
fn capabilities_are_what_is_asked_for() {
    let Some(mut case) = Case::script("caps", STATUS) else { return };
    case.config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    case.config["process"]["capabilities"] = json!({
        "bounding": ["CAP_NET_RAW", "CAP_CHOWN"],
        "permitted": ["CAP_NET_RAW", "CAP_CHOWN"],
        "effective": ["CAP_NET_RAW"],
        "inheritable": ["CAP_NET_RAW"],
        "ambient": ["CAP_NET_RAW"],
    });
    let status = case.run().ok();
    assert_eq!(field(&status, "CapBnd"), "0000000000002001");
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(field(&status, set), "0000000000002000", "{set}");
    }
    let root = case.config["process"].as_object_mut().unwrap();
    root.remove("user");
    root.remove("capabilities");
    case.config["process"]["user"] = json!({"uid": 0, "gid": 0});
    let status = case.run().ok();
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(field(&status, set), "0000000000000000", "{set}: none asked for");
    }
}

#[test]
fn a_capability_that_cannot_be_ambient_is_warned_of() {
    let Some(mut case) = Case::script("ambient", STATUS) else { return };
    let sets = &mut case.config["process"]["capabilities"];
    sets["inheritable"] = json!(["CAP_KILL"]);
    sets["ambient"] = json!(["CAP_KILL", "CAP_CHOWN"]);
    let done = case.run();
    assert!(done.err.contains("can't raise ambient capability CAP_CHOWN: "), "{done:?}");
    assert!(!done.err.contains("CAP_KILL"), "{done:?}");
    assert_eq!(field(&done.out, "CapAmb"), "0000000000000020");
}

#[test]
fn new_privileges_may_be_allowed() {
    let Some(mut case) = Case::script("privs", STATUS) else { return };
    case.config["process"]["noNewPrivileges"] = json!(false);
    assert_eq!(field(&case.run().ok(), "NoNewPrivs"), "0");
}

#[test]
fn limits_and_oom_score() {
    let script = "cat /proc/self/limits; echo oom $(cat /proc/self/oom_score_adj)";
    let Some(mut case) = Case::script("limits", script) else { return };
    case.config["process"]["rlimits"] = json!([
        {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
    ]);
    case.config["process"]["oomScoreAdj"] = json!(321);
    let text = case.run().ok();
    let row = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line[name.len()..].split_whitespace().take(2).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(row("Max open files"), "100 200");
    assert_eq!(row("Max core file size"), "0 0");
    assert!(text.ends_with("oom 321\n"), "{text}");
}

#[test]
fn the_environment_is_the_configured_one() {
    let Some(mut case) = Case::script("env", "env") else { return };
    case.env.push(("LEAK".into(), "1".into()));
    case.config["process"]["env"] = json!(["PATH=/bin", "A=b=c", "EMPTY=", "A=last"]);
    let text = case.run().ok();
    let mut lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with("PWD=") && !line.starts_with("SHLVL="))
        .collect();
    lines.sort_unstable();
    assert_eq!(lines, ["A=last", "EMPTY=", "HOME=/root", "PATH=/bin"]);
}

#[test]
fn the_working_directory_is_inside_whatever_it_is_called() {
    let Some(mut case) = Case::script("cwd", "pwd; ls -d /proc/self/cwd/bin/busybox") else {
        return;
    };
    case.config["process"]["cwd"] = json!("/tmp/new/dir");
    let done = case.run();
    assert_eq!(done.out, "/tmp/new/dir\n", "it is made: {done:?}");

    // CVE-2024-21626: a descriptor of the host as the working directory.
    let host = fs::read_dir("/").unwrap().count();
    case.args(&["sh", "-c", "ls -a ../../../../.. | wc -l; ls -d ../../../etc/hostname"]);
    for n in 3..24 {
        case.config["process"]["cwd"] = json!(format!("/proc/self/fd/{n}"));
        let done = case.run();
        assert!(done.status != 0, "cwd /proc/self/fd/{n} of {host}: {done:?}");
        assert!(!done.out.contains("hostname"), "{done:?}");
        case.assert_nothing_left();
    }
    case.config["process"]["cwd"] = json!("/proc/1/root/../../..");
    assert!(!case.run().out.contains("hostname"));
}

#[test]
fn descriptors_of_the_caller_stay_outside() {
    let Some(case) = Case::script("fds", "ls -l /proc/1/fd; true") else { return };
    let list = case.finish(&mut leaky(&case, &["run", &case.id])).ok();
    let numbers: Vec<&str> =
        list.lines().filter_map(|line| line.split(" -> ").next()?.split(' ').next_back()).collect();
    assert!(list.contains("0 -> ") && numbers.len() <= 4, "{list}");
    for number in numbers.iter().filter(|number| number.parse::<u32>().is_ok()) {
        assert!(matches!(*number, "0" | "1" | "2"), "{list}");
    }
    // Not even while it waits for its start, with a log among them.
    let (log, pid_file) = (case.path("log"), case.path("pid"));
    let [log, pid_file] = [&log, &pid_file].map(|path| path.to_str().unwrap());
    let create = ["--log", log, "create", "--pid-file", pid_file, &case.id];
    case.finish(&mut leaky(&case, &create)).ok();
    let pid = fs::read_to_string(pid_file).unwrap();
    let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let files: Vec<_> = open.filter_map(|fd| fs::read_link(fd.unwrap().path()).ok()).collect();
    assert!(
        files.len() > 3 && files.iter().all(|file| file != Path::new("/etc/passwd")),
        "{files:?}"
    );
    case.runp(&["delete", "-f", &case.id]).ok();
    case.assert_nothing_left();
}

#[test]
fn descriptors_are_preserved_on_demand() {
    let Some(case) = Case::script("preserve", "cat <&3; [ ! -e /proc/self/fd/7 ] && echo closed")
    else {
        return;
    };
    fs::write(case.path("given"), "given\n").unwrap();
    let out = case.finish(&mut leaky(&case, &["run", "--preserve-fds", "1", &case.id])).ok();
    assert_eq!(out, "given\nclosed\n");
    case.runp(&["run", "--preserve-fds", "200", &case.id]).fails(1, "preserved-fd");
    case.assert_nothing_left();
}

/// `runp` started with descriptors that do not close on exec: 3 a file, 7 and 8 of the host.
fn leaky(case: &Case, args: &[&str]) -> Command {
    let inner = case.command(args);
    let line = "exec 3<\"$0\" 7</ 8</etc/passwd; exec \"$@\"";
    let given = case.path("given");
    if !given.exists() {
        fs::write(&given, "").unwrap();
    }
    let mut command = Command::new("sh");
    command.arg("-c").arg(line).arg(given).arg(inner.get_program()).args(inner.get_args());
    command.current_dir(case.path("bundle")).stdin(std::process::Stdio::null());
    command
}

#[test]
fn sysctls_of_the_namespaces() {
    let script =
        "cat /proc/sys/kernel/msgmax /proc/sys/net/ipv4/ip_forward /proc/sys/net/core/somaxconn";
    let Some(mut case) = Case::script("sysctl", script) else { return };
    case.config["linux"]["sysctl"] =
        json!({"kernel.msgmax": "12345", "net.ipv4.ip_forward": "1", "net/core/somaxconn": "77"});
    assert_eq!(case.run().ok(), "12345\n1\n77\n");
}

#[test]
fn sysctls_of_the_host_are_refused() {
    let Some(mut case) = Case::script("host-sysctl", "true") else { return };
    let before = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    let table = [
        ("kernel.core_pattern", "|/bin/x"),
        ("kernel/core_pattern", "x"),
        ("net.../kernel/core_pattern", "x"),
        ("net/../kernel/core_pattern", "x"),
        ("kernel.hostname", "x"),
        ("vm.swappiness", "1"),
        ("", "1"),
        ("fs.mqueue.../../kernel/core_pattern", "x"),
    ];
    for (key, value) in table {
        case.config["linux"]["sysctl"] = json!({ key: value });
        let done = case.run();
        assert_eq!(done.status, 1, "{key}: {done:?}");
        assert!(done.err.contains("sysctl"), "{key}: {done:?}");
        case.assert_nothing_left();
    }
    case.without_namespace("network");
    case.config["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"});
    case.run().fails(1, "net.ipv4.ip_forward");
    assert_eq!(fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap(), before);
}

#[test]
fn host_and_domain_name() {
    let script = "hostname; cat /proc/sys/kernel/domainname";
    let Some(mut case) = Case::script("names", script) else { return };
    case.config["hostname"] = json!("a-name");
    case.config["domainname"] = json!("a.domain");
    assert_eq!(case.run().ok(), "a-name\na.domain\n");
    case.without_namespace("uts");
    case.run().fails(1, "UTS namespace");
}

#[test]
fn a_program_is_found_in_path_or_named() {
    let Some(mut case) = Case::new("program") else { return };
    case.config["process"]["env"] = json!(["PATH=/nowhere:/bin"]);
    case.args(&["echo", "found"]);
    assert_eq!(case.run().ok(), "found\n");
    for (name, content) in [("script", "#!/not/there\n"), ("garbage", "\x7fELF?")] {
        fs::write(case.rootfs().join(name), content).unwrap();
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(case.rootfs().join(name), executable).unwrap();
    }
    for (args, message) in [
        ("nowhere", "executable file not found in $PATH"),
        ("/nowhere", "no such file or directory"),
        ("/etc/passwd", "permission denied"),
        ("/etc", "permission denied"),
        ("/script", "exec /script: no such file or directory"),
        ("/garbage", "exec /garbage: exec format error"),
    ] {
        case.args(&[args]);
        let done = case.run();
        assert_eq!(done.status, 1, "{args}: {done:?}");
        let said = done.err.to_lowercase();
        assert!(said.contains(args) && said.contains(&message.to_lowercase()), "{args}: {done:?}");
        case.assert_nothing_left();
    }
}
