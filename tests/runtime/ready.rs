//! `NOTIFY_SOCKET`: readiness is passed on to who called, sd_notify(3).

use super::common::{Case, PATIENCE, has_exited, wait_until};
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

/// A container that waits, and the socket of its caller.
fn notified(name: &str) -> Option<(Case, UnixDatagram)> {
    let script = "echo $NOTIFY_SOCKET; touch /run/notify/x; exec sleep 1000";
    let mut case = Case::script(name, script)?;
    fs::create_dir(case.path("state")).unwrap();
    let path = case.path("caller.sock");
    let caller = UnixDatagram::bind(&path).unwrap();
    caller.set_read_timeout(Some(PATIENCE)).unwrap();
    case.env = vec![("NOTIFY_SOCKET".into(), path.to_str().unwrap().into())];
    Some((case, caller))
}

/// Speaks as the program in the container would, once there is somebody who listens.
fn say(case: &Case, message: &str) {
    let mut dir = case.path("state");
    for name in [&case.id, "notify"] {
        wait_until(&dir, || dir.join(name).exists().then_some(()));
        dir.push(name);
    }
    let speaker = UnixDatagram::unbound().unwrap();
    let said = || speaker.send_to(message.as_bytes(), dir.join("notify.sock")).ok();
    assert_eq!(wait_until(&dir, said), message.len());
}

fn heard(caller: &UnixDatagram) -> String {
    let mut message = [0; 256];
    let length = caller.recv(&mut message).unwrap();
    String::from_utf8_lossy(&message[..length]).into_owned()
}

#[test]
fn start_waits_until_the_program_is_ready() {
    let Some((case, caller)) = notified("ready") else { return };
    let pid = case.create();
    std::thread::scope(|scope| {
        let start = scope.spawn(|| case.runp(&["start", &case.id]));
        let running = case.path("state").join(&case.id);
        wait_until(&running, || fs::metadata(running.join("start")).is_err().then_some(()));
        say(&case, "STATUS=soon");
        assert!(!start.is_finished());
        say(&case, "STATUS=up\nREADY=1\nMAINPID=7");
        assert_eq!(heard(&caller), "READY=1\n");
        assert_eq!(heard(&caller), format!("MAINPID={pid}\n"));
        assert_eq!(heard(&caller), "BARRIER=1");
        start.join().unwrap().ok();
    });
    assert_eq!(case.status(), "running");
    let done = case.exec("ls -l /run/notify/notify.sock; readlink /proc/1/ns/pid");
    assert!(done.out.starts_with("srwxrwxrwx"), "{done:?}");
}

#[test]
fn run_tells_of_the_container_or_of_itself() {
    let Some((case, caller)) = notified("ready-run") else { return };
    let pid_file = case.path("pid");
    let read = |path: &PathBuf| fs::read_to_string(path).unwrap();
    for detach in [true, false] {
        let pid_file = pid_file.to_str().unwrap();
        let mut args = vec!["run", "--pid-file", pid_file];
        args.extend(detach.then_some("--detach"));
        let mut command = case.command(&[&args[..], &[&case.id]].concat());
        let log = fs::File::create(case.path("log")).unwrap();
        command.stdout(log.try_clone().unwrap()).stderr(log);
        let mut runtime = command.spawn().unwrap();
        say(&case, "READY=1");
        assert_eq!(heard(&caller), "READY=1\n");
        let watch = heard(&caller);
        assert_eq!(heard(&caller), "BARRIER=1");
        let own = format!("MAINPID={}\n", runtime.id());
        match detach {
            true => assert!(runtime.wait().unwrap().success()),
            false => assert_eq!(watch, own),
        }
        let init: i32 = read(&PathBuf::from(pid_file)).parse().unwrap();
        assert_eq!(detach, watch == format!("MAINPID={init}\n"));
        let log = case.path("log");
        wait_until(log.parent().unwrap(), || {
            read(&log).contains("Read-only file system").then_some(())
        });
        assert!(read(&log).starts_with("/run/notify/notify.sock\n"));
        case.runp(&["delete", "--force", &case.id]).ok();
        assert!(has_exited(init) && has_exited(runtime.id() as i32));
        runtime.wait().unwrap();
    }
    case.assert_nothing_left();
}

#[test]
fn a_program_that_ends_unready_ends_the_wait() {
    let Some((mut case, caller)) = notified("unready") else { return };
    case.args(&["true"]);
    case.runp(&["run", "--detach", &case.id]).ok();
    case.runp(&["delete", &case.id]).ok();
    case.runp(&["run", &case.id]).ok();
    caller.set_nonblocking(true).unwrap();
    assert!(caller.recv(&mut [0; 8]).is_err(), "nothing was said");
    case.env[0].1 = "/not/there".into();
    case.runp(&["run", "--detach", &case.id]).fails(1, "notify /not/there: ENOENT");
    case.assert_nothing_left();
}
