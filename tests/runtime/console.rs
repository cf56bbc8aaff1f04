//! Terminals: relayed by run and exec, or handed over by --console-socket.

use super::common::{Case, PATIENCE, has_exited};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use serde_json::json;
use std::fs::File;
use std::io::{IoSliceMut, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixListener;

fn session(case: &Case, args: &[&str]) -> rexpect::session::PtySession {
    let command = case.command(args);
    let mut plain = std::process::Command::new(command.get_program());
    plain.args(command.get_args()).current_dir(case.path("bundle"));
    rexpect::session::spawn_command(plain, Some(PATIENCE.as_millis() as u64)).unwrap()
}

fn exit_status(session: &rexpect::session::PtySession) -> i32 {
    use rexpect::process::WaitStatus;
    match session.process().wait().unwrap() {
        WaitStatus::Exited(_, status) => status,
        other => panic!("{other:?}"),
    }
}

#[test]
fn run_relays_its_terminal() {
    let script = "tty; stty size; test -t 0 -a -t 1 -a -t 2 && echo terminal; read -r line
        echo got $line; exit 9";
    let Some(mut case) = Case::script("tty", script) else { return };
    case.config["process"]["terminal"] = json!(true);
    case.config["process"]["consoleSize"] = json!({"height": 33, "width": 99});
    let mut session = session(&case, &["run", &case.id]);
    session.exp_string("/dev/pts/0").unwrap();
    session.exp_string("terminal").unwrap();
    session.send_line("hello").unwrap();
    session.exp_string("got hello").unwrap();
    session.exp_eof().unwrap();
    assert_eq!(exit_status(&session), 9);
    case.assert_nothing_left();
}

#[test]
fn exec_relays_its_terminal() {
    let Some(mut case) = Case::new("exec-tty") else { return };
    case.args(&["sleep", "1000"]);
    case.up();
    let script = "tty; read -r line; echo got $line; exit 8";
    let mut session = session(&case, &["exec", "-t", &case.id, "sh", "-c", script]);
    session.exp_string("/dev/pts/").unwrap();
    session.send_line("hello").unwrap();
    session.exp_string("got hello").unwrap();
    session.exp_eof().unwrap();
    assert_eq!(exit_status(&session), 8);
}

#[test]
fn control_c_reaches_the_container() {
    let Some(mut case) =
        Case::script("int", "trap 'exit 4' INT; echo ready; while :; do sleep 1; done")
    else {
        return;
    };
    case.config["process"]["terminal"] = json!(true);
    let mut session = session(&case, &["run", &case.id]);
    session.exp_string("ready").unwrap();
    session.send_control('c').unwrap();
    session.exp_eof().unwrap();
    assert_eq!(exit_status(&session), 4);
}

#[test]
fn create_hands_the_terminal_over() {
    let script = "tty; ls -l /dev/console | cut -c1; stat -L -c %t:%T /dev/console; read -r line; echo got $line";
    let Some(mut case) = Case::script("socket", script) else { return };
    case.config["process"]["terminal"] = json!(true);
    let path = case.path("console.sock");
    let listener = UnixListener::bind(&path).unwrap();
    case.runp(&["create", "--console-socket", path.to_str().unwrap(), &case.id]).ok();
    let mut terminal = receive(&listener);
    let pid = case.state()["pid"].as_i64().unwrap() as i32;
    case.start();
    terminal.write_all(b"hello\n").unwrap();
    assert!(has_exited(pid));
    let mut text = Vec::new();
    let mut chunk = [0; 4096];
    // A terminal whose other side is closed ends in EIO.
    while let Ok(n @ 1..) = terminal.read(&mut chunk) {
        text.extend_from_slice(&chunk[..n]);
    }
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("/dev/pts/0") && text.contains("got hello"), "{text}");
    assert!(text.contains("88:0"), "/dev/console is that terminal: {text}");
}

#[test]
fn a_terminal_needs_somewhere_to_go() {
    let Some(mut case) = Case::script("nowhere", "true") else { return };
    case.config["process"]["terminal"] = json!(true);
    let words = "cannot allocate tty if runc will detach without setting console socket";
    let said = words.replace("runc", "runp");
    case.runp(&["create", &case.id]).fails(1, &said);
    case.runp(&["run", "-d", &case.id]).fails(1, &said);
    let socket = case.path("not-there");
    let flags = ["create", "--console-socket", socket.to_str().unwrap(), &case.id];
    case.runp(&flags).fails(1, "not-there");
    case.config["process"]["terminal"] = json!(false);
    let words = "cannot use console socket if runc will not detach or allocate tty";
    case.runp(&flags).fails(1, &words.replace("runc", "runp"));
    case.assert_nothing_left();
}

fn receive(listener: &UnixListener) -> File {
    let (stream, _) = listener.accept().unwrap();
    let mut space = nix::cmsg_space!(OwnedFd);
    let mut byte = [0; 256];
    let mut parts = [IoSliceMut::new(&mut byte)];
    let fd = stream.as_raw_fd();
    let message =
        recvmsg::<()>(fd, &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC).unwrap();
    let fds = message.cmsgs().unwrap().find_map(|message| match message {
        ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
        _ => None,
    });
    own(fds.unwrap())
}

#[allow(unsafe_code, reason = "the socket call hands a bare number over")]
fn own(fd: i32) -> File {
    // SAFETY: recvmsg(2) has just made this descriptor for us.
    unsafe { File::from_raw_fd(fd) }
}

#[test]
fn newlines_are_relayed_as_they_were_written() {
    let Some(mut case) = Case::script("newlines", "echo one; printf 'two\\r\\n'") else { return };
    case.config["process"]["terminal"] = json!(true);
    assert_eq!(case.run().ok(), "one\ntwo\r\n");
}
