//! Seccomp filters that ask somebody (`SCMP_ACT_NOTIFY`).
#![allow(unsafe_code, reason = "the agent's two ioctls")]

use super::common::Case;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use serde_json::{Value, json};
use std::io::{IoSliceMut, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};

/// Listens at `path`: refuses to make directories for want of a medium, lets the rest pass, and
/// passes on what it is told about each filter.
fn agent(path: &Path) -> Receiver<Value> {
    let listener = UnixListener::bind(path).unwrap();
    let (told, all) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (text, filter) = receive(stream.unwrap());
            let told_last = told.send(serde_json::from_str(&text).unwrap());
            std::thread::spawn(move || answer(&filter));
            if told_last.is_err() {
                return;
            }
        }
    });
    all
}

fn receive(mut stream: UnixStream) -> (String, OwnedFd) {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut text = vec![0; 64];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let got = rustix::net::recvmsg(&stream, &mut [IoSliceMut::new(&mut text)], &mut control, flags);
    text.truncate(got.unwrap().bytes);
    stream.read_to_end(&mut text).unwrap();
    let filter = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut all) => all.next(),
        _ => None,
    });
    (String::from_utf8(text).unwrap(), filter.unwrap())
}

const RECEIVE: u64 = 0xc050_2100;
const SEND: u64 = 0xc018_2101;

fn answer(filter: &OwnedFd) {
    loop {
        // SAFETY: plain data, for which zero is valid and asked for by the kernel.
        let mut asked: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: SECCOMP_IOCTL_NOTIF_RECV writes one such struct.
        if unsafe { libc::ioctl(filter.as_raw_fd(), RECEIVE, &raw mut asked) } != 0 {
            match nix::errno::Errno::last() {
                // Whoever asked is gone, or was interrupted.
                nix::errno::Errno::EINTR => continue,
                // So are all who could.
                _ => return,
            }
        }
        let number = i64::from(asked.data.nr);
        let refused = number == libc::SYS_mkdir || number == libc::SYS_mkdirat;
        let (error, flags) = if refused { (-libc::ENOMEDIUM, 0) } else { (0, 1) };
        let answer = libc::seccomp_notif_resp { id: asked.id, val: 0, error, flags };
        // SAFETY: SECCOMP_IOCTL_NOTIF_SEND reads one such struct.
        unsafe { libc::ioctl(filter.as_raw_fd(), SEND, &raw const answer) };
    }
}

fn asking(case: &mut Case, names: &[&str], no_new_privileges: bool) -> std::path::PathBuf {
    let path = case.path("agent");
    case.config["process"]["noNewPrivileges"] = json!(no_new_privileges);
    case.config["annotations"] = json!({"is": "told"});
    case.config["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": path,
        "listenerMetadata": "meta",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", "SECCOMP_FILTER_FLAG_TSYNC"],
        "syscalls": [{"names": names, "action": "SCMP_ACT_NOTIFY"}],
    });
    path
}

const SCRIPT: &str = "mkdir /tmp/x; echo $?; ls /proc/self/fd | wc -l";

#[test]
fn an_agent_answers_for_the_container() {
    for no_new_privileges in [false, true] {
        let Some(mut case) = Case::script("notify", SCRIPT) else { return };
        // Some of these the runtime itself calls on the way.
        let names = [
            "mkdir", "mkdirat", "execve", "openat", "open", "read", "close", "fcntl", "sendmsg",
            "capset",
        ];
        let told = agent(&asking(&mut case, &names, no_new_privileges));
        let done = case.run();
        assert!(done.err.contains("No medium found"), "{done:?}");
        assert_eq!(done.out, "1\n4\n", "no descriptor is left to the program");
        let state = told.recv().unwrap();
        assert_eq!(state["fds"], json!(["seccompFd"]));
        assert_eq!(state["metadata"], "meta");
        assert_eq!(state["state"]["id"], *case.id);
        assert_eq!(state["state"]["status"], "creating");
        assert_eq!(state["state"]["annotations"]["is"], "told");
        assert_eq!(state["pid"], state["state"]["pid"]);
        case.args(&["sleep", "1000"]);
        let pid = case.up();
        assert_eq!(told.recv().unwrap()["pid"], pid, "when it was created");
        let done = case.exec(SCRIPT);
        assert!(done.err.contains("No medium found") && done.out.starts_with("1\n"), "{done:?}");
        let state = told.recv().unwrap();
        assert_eq!(
            (&state["state"]["status"], &state["state"]["pid"]),
            (&json!("running"), &json!(pid))
        );
        assert_ne!(state["pid"], pid);
        case.runp(&["delete", "-f", &case.id]).ok();
        case.assert_nothing_left();
    }
}

#[test]
fn without_an_agent_there_is_no_container() {
    let Some(mut case) = Case::script("no-agent", "true") else { return };
    let path = asking(&mut case, &["mkdir"], false);
    let said = format!(
        "pass the seccomp listener to {} (linux.seccomp.listenerPath): \
         failed to connect with seccomp agent: ENOENT",
        path.display()
    );
    case.run().fails(1, &said);
    case.assert_nothing_left();
    case.config["linux"]["seccomp"]["listenerPath"] = json!("");
    case.run().fails(1, "linux.seccomp.listenerPath: seccomp listenerPath is not set");
    // Of no concern where nothing is asked.
    case.config["linux"]["seccomp"]["syscalls"] = json!([]);
    case.run().ok();
    asking(&mut case, &["write"], false);
    case.run().fails(1, "SCMP_ACT_NOTIFY cannot be used for the write syscall");
}
