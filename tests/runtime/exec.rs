//! exec: a process more in a running container.

use super::common::{Case, field, has_exited, wait_until};
use serde_json::json;
use std::fs;

/// A running container.
fn up(name: &str) -> Option<(Case, i32)> {
    let mut case = Case::script(name, "sleep 1000")?;
    case.config["process"]["args"] = json!(["sleep", "1000"]);
    let pid = case.up();
    Some((case, pid))
}

#[test]
fn exit_statuses_and_streams() {
    let Some((case, _)) = up("exec") else { return };
    for (script, status) in [("exit 0", 0), ("exit 3", 3), ("exit 255", 255), ("kill -9 $$", 137)] {
        let done = case.exec(script);
        assert_eq!((done.status, done.err.as_str()), (status, ""), "{script}");
    }
    fs::write(case.path("in"), "input\n").unwrap();
    let mut command = case.command(&["exec", &case.id, "sh", "-c", "cat; echo error >&2"]);
    command.stdin(fs::File::open(case.path("in")).unwrap());
    let done = case.finish(&mut command);
    assert_eq!((done.status, done.out.as_str(), done.err.as_str()), (0, "input\n", "error\n"));
}

#[test]
fn it_is_in_all_namespaces_and_cgroups_of_the_container() {
    let Some((case, pid)) = up("joined") else { return };
    let script = "for n in pid net ipc uts mnt cgroup user; do readlink /proc/self/ns/$n; done
        cat /proc/self/cgroup";
    let out = case.exec(script).ok();
    for name in ["pid", "net", "ipc", "uts", "mnt", "cgroup", "user"] {
        let expected = fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap();
        assert!(out.contains(expected.to_str().unwrap()), "{name}: {out}");
    }
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert!(groups.lines().all(|line| out.contains(line)), "{groups}\nagainst\n{out}");
}

#[test]
fn it_has_the_rights_of_the_container_unless_told_otherwise() {
    let Some((case, _)) = up("rights") else { return };
    let exec = |flags: &[&str]| {
        let line: Vec<&str> = ["exec"]
            .iter()
            .chain(flags)
            .chain(&[case.id.as_str(), "cat", "/proc/self/status"])
            .copied()
            .collect();
        case.runp(&line).ok()
    };
    let status = exec(&[]);
    assert_eq!(field(&status, "CapEff"), "0000000020000420");
    assert_eq!(field(&status, "CapInh"), "0000000000000000");
    assert_eq!(field(&status, "NoNewPrivs"), "1");
    let status = exec(&["--cap", "CAP_NET_RAW"]);
    assert_eq!(field(&status, "CapEff"), "0000000020002420");
    assert_eq!(field(&status, "CapBnd"), "0000000020002420");
    for set in ["CapInh", "CapAmb"] {
        assert_eq!(field(&status, set), "0000000000000000", "CVE-2022-29162: {set}");
    }
    let table = [
        ("1", "1\t1\t1\t1", "0\t0\t0\t0"),
        ("1:2", "1\t1\t1\t1", "2\t2\t2\t2"),
        ("0", "0\t0\t0\t0", "0\t0\t0\t0"),
        ("65534:65534", "65534\t65534\t65534\t65534", "65534\t65534\t65534\t65534"),
    ];
    for (user, uid, gid) in table {
        let status = exec(&["--user", user, "-g", "11", "-g", "12"]);
        assert_eq!((field(&status, "Uid"), field(&status, "Gid")), (uid, gid), "{user}");
        assert_eq!(field(&status, "Groups"), "11 12");
    }
    for bad in [":2", "-1", "1x", "4294967296", "root", "1:"] {
        case.runp(&["exec", "--user", bad, &case.id, "id"]).fails(255, "exec failed: bad");
    }
}

#[test]
fn environment_and_directory() {
    let Some((case, _)) = up("env") else { return };
    let line =
        ["exec", "-e", "A=1", "--env", "B=x,y", "--cwd", "/tmp", &case.id, "sh", "-c", "pwd; env"];
    let out = case.runp(&line).ok();
    assert!(out.starts_with("/tmp\n"), "{out}");
    for expected in ["A=1", "B=x,y", "TERM=xterm", &format!("CASE={}", case.id)] {
        assert!(out.lines().any(|line| line == expected), "{expected}: {out}");
    }
    case.env.iter().for_each(|(key, _)| assert!(!out.contains(key.as_str())));
    case.runp(&["exec", "--cwd", "/proc/self/fd/7", &case.id, "pwd"]).fails(255, "exec failed");
}

#[test]
fn a_process_from_a_file() {
    let Some((case, _)) = up("file") else { return };
    let process = json!({
        "args": ["sh", "-c", "id -u; pwd; cat /proc/self/status"], "cwd": "/tmp",
        "env": ["PATH=/bin"], "user": {"uid": 5, "gid": 6},
    });
    fs::write(case.path("process.json"), process.to_string()).unwrap();
    let file = case.path("process.json");
    let out = case.runp(&["exec", "-p", file.to_str().unwrap(), &case.id]).ok();
    assert!(out.starts_with("5\n/tmp\n"), "{out}");
    assert_eq!(field(&out, "CapBnd"), "0000000020000420", "the container's own");
    fs::write(&file, "{").unwrap();
    case.runp(&["exec", "-p", file.to_str().unwrap(), &case.id]).fails(255, "process.json");
}

#[test]
fn detached() {
    let Some((case, _)) = up("detached") else { return };
    let pid_file = case.path("exec-pid");
    let script = "echo up; sleep 1000";
    case.runp(&[
        "exec",
        "-d",
        "--pid-file",
        pid_file.to_str().unwrap(),
        &case.id,
        "sh",
        "-c",
        script,
    ])
    .ok();
    let pid: i32 = fs::read_to_string(&pid_file).unwrap().parse().unwrap();
    let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert!(cgroup.contains(&case.id), "{cgroup}");
    wait_until(&case.path(""), || case.output_of(2).contains("up").then_some(()));
    case.runp(&["delete", "-f", &case.id]).ok();
    assert!(has_exited(pid), "it goes with its container");
}

#[test]
fn only_into_running_containers() {
    let Some(mut case) = Case::new("not-running") else { return };
    case.args(&["sleep", "1000"]);
    case.runp(&["exec", &case.id, "true"]).fails(255, "container does not exist");
    let pid = case.up();
    case.runp(&["kill", &case.id, "KILL"]).ok();
    assert!(has_exited(pid));
    case.runp(&["exec", &case.id, "true"]).fails(255, "cannot exec in a stopped container");
}

#[test]
fn into_a_created_container() {
    let Some(mut case) = Case::new("created-exec") else { return };
    case.args(&["true"]);
    case.create();
    assert_eq!(case.exec("echo inside").ok(), "inside\n");
}

#[test]
fn a_program_that_is_not_there_is_an_error_of_exec() {
    let Some((case, _)) = up("missing") else { return };
    for program in ["nowhere", "/nowhere", "/etc/passwd"] {
        case.runp(&["exec", &case.id, program]).fails(255, program);
    }
    case.runp(&["exec", &case.id]).fails(255, "exec args cannot be empty");
}

#[test]
fn descriptors() {
    let Some((case, _)) = up("exec-fds") else { return };
    let inner = case.command(&["exec", &case.id, "sh", "-c", "ls /proc/$$/fd; true"]);
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "exec 5</ 7</etc/passwd; exec \"$@\"", "sh"]);
    command.arg(inner.get_program()).args(inner.get_args()).stdin(std::process::Stdio::null());
    let out = case.finish(&mut command).ok();
    let numbers: Vec<u32> = out.lines().filter_map(|line| line.parse().ok()).collect();
    // The shell itself may hold one above 9.
    assert!(numbers.iter().all(|number| *number < 3 || *number > 9), "{out}");
}

#[test]
fn signals_are_forwarded() {
    let Some((case, _)) = up("exec-signal") else { return };
    let out = case.path("exec-out");
    let script = "trap 'kill $!; exit 6' TERM; echo ready; while :; do sleep 1000 & wait; done";
    let mut command = case.command(&["exec", &case.id, "sh", "-c", script]);
    let mut child = command.stdout(fs::File::create(&out).unwrap()).spawn().unwrap();
    wait_until(&case.path(""), || {
        fs::read_to_string(&out).unwrap().contains("ready").then_some(())
    });
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert!(has_exited(pid.as_raw()));
    assert_eq!(child.wait().unwrap().code(), Some(6));
}

#[test]
fn into_a_cgroup_below_the_containers() {
    let Some((case, _)) = up("exec-cgroup") else { return };
    let exec = |cgroups: &[&str]| {
        let flags = cgroups.iter().flat_map(|cgroup| ["--cgroup", cgroup]);
        let line: Vec<&str> = ["exec"]
            .into_iter()
            .chain(flags)
            .chain([case.id.as_str(), "cat", "/proc/self/cgroup"])
            .collect();
        case.runp(&line)
    };
    let path = format!(":/{}\n", case.id);
    assert!(exec(&["/"]).ok().contains(&path));
    exec(&[".."]).fails(255, "bad sub cgroup path: ..");
    exec(&["nowhere"]).fails(255, "error adding pid of the new process to cgroups");
    exec(&["a:b", "c"]).fails(255, "");
    exec(&["whaaat:/"]).fails(255, "unknown controller whaaat");
    let v2 = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let (made, named) = match v2 {
        true => (format!("/sys/fs/cgroup/{}/inner", case.id), "inner"),
        false => (format!("/sys/fs/cgroup/pids/{}/inner", case.id), "pids:inner"),
    };
    fs::create_dir(&made).unwrap();
    let out = exec(&[named]).ok();
    assert!(out.contains(&format!(":/{}/inner\n", case.id)), "{out}");
    exec(&[named, named]).fails(255, if v2 { "prefix" } else { "specified multiple times" });
}

/// v2: once the container has handed out a controller from its own cgroup, no process can be there.
#[test]
fn into_the_cgroup_that_init_has_moved_to() {
    let Some((case, pid)) = up("exec-moved") else { return };
    let dir = format!("/sys/fs/cgroup/{}", case.id);
    if !std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        eprintln!("SKIP into_the_cgroup_that_init_has_moved_to: needs cgroup v2");
        return;
    }
    fs::create_dir(format!("{dir}/inner")).unwrap();
    fs::write(format!("{dir}/inner/cgroup.procs"), pid.to_string()).unwrap();
    fs::write(format!("{dir}/cgroup.subtree_control"), "+memory").unwrap();
    let out = case.exec("cat /proc/self/cgroup").ok();
    assert!(out.contains("/inner"), "{out}");
    case.runp(&["exec", "--cgroup", "/", &case.id, "true"]).fails(255, "EBUSY");
}

#[test]
fn a_pidfd_is_sent() {
    use std::os::unix::net::UnixListener;
    let Some((case, _)) = up("pidfd") else { return };
    let path = case.path("pidfd.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let socket = path.to_str().unwrap();
    case.runp(&["exec", "-d", "--pidfd-socket", socket, &case.id, "sleep", "1000"]).ok();
    let (connection, _) = listener.accept().unwrap();
    let pidfd = runp::sys::socket::receive_fd(connection).unwrap().expect("a descriptor");
    runp::sys::clone::pidfd_send_signal(&pidfd, 9).unwrap();
    let ended = runp::sys::poll::poll_in(
        &[std::os::fd::AsFd::as_fd(&pidfd)],
        Some(super::common::PATIENCE),
    );
    assert_eq!(ended.unwrap(), [true]);
    let nowhere = ["exec", "--pidfd-socket", "/nowhere", &case.id, "true"];
    case.runp(&nowhere).fails(255, "connect to pidfd socket /nowhere");
}
