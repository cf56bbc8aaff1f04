//! Readiness as systemd has it, sd_notify(3), passed on from a container as runc does.
//!
//! Whoever calls the runtime with `NOTIFY_SOCKET` waits to be told. The container gets a socket of
//! its own, in a directory beside its record that it sees read-only at `/run/notify`; when its program
//! says there that it is ready, the caller's socket is told so and which process to watch. Only
//! these two things pass: the container's other messages, and any descriptors, do not.

use super::launch::Launched;
use crate::error::{Context, Error, Result};
use crate::sys::{clone, fs, poll, socket};
use nix::fcntl::OFlag;
use oci_spec::runtime::{MountBuilder, Spec};
use std::fs::{DirBuilder, Permissions};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the container has its socket.
const INSIDE: &str = "/run/notify";
const NAME: &str = "notify.sock";

/// How long systemd may take to close its end of a barrier; the protocol is not everyone's.
const BARRIER_DEADLINE: Duration = Duration::from_secs(30);

/// The directory of the socket, `dir` being the container's own.
fn directory(dir: &Path) -> PathBuf {
    dir.join("notify")
}

/// Shows the socket to the container whose directory will be `dir`.
pub fn configure(spec: &mut Spec, dir: &Path) -> Result<()> {
    let options = ["bind", "nosuid", "noexec", "nodev", "ro"].map(String::from);
    let mount = MountBuilder::default()
        .destination(INSIDE)
        .source(directory(dir))
        .options(options)
        .build()
        .map_err(|error| Error::system(error.to_string()))?;
    spec.mounts_mut().get_or_insert_default().push(mount);
    if let Some(process) = spec.process_mut() {
        let env = process.env_mut().get_or_insert_default();
        env.push(format!("NOTIFY_SOCKET={INSIDE}/{NAME}"));
    }
    Ok(())
}

/// The container's socket, which must be there before its program is.
pub fn listen(dir: &Path) -> Result<OwnedFd> {
    let dir = directory(dir);
    let what = || format!("make the socket {}/{NAME}", dir.display());
    match DirBuilder::new().mode(0o755).create(&dir) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        made => made.doing(what)?,
    }
    // `create` leaves one that nobody reads.
    match std::fs::remove_file(dir.join(NAME)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        removed => removed.doing(what)?,
    }
    let opened = fs::open(&dir, OFlag::O_PATH | OFlag::O_DIRECTORY, 0).doing(what)?;
    let socket = socket::bind_datagram_at(opened.as_fd(), NAME).doing(what)?;
    // Whatever user the program runs as.
    std::fs::set_permissions(dir.join(NAME), Permissions::from_mode(0o777)).doing(what)?;
    Ok(socket)
}

/// Waits until the program is ready, and tells the caller at `host` that `main` is the process to
/// watch. Returns without a word when the container's init process has ended first.
pub fn pass_on(socket: &OwnedFd, host: &Path, init: &OwnedFd, main: i32) -> Result<()> {
    let what = || format!("notify {}", host.display());
    let caller = socket::connect_datagram(host).doing(what)?;
    let mut message = [0; 4096];
    loop {
        let ready = poll::poll_in(&[socket.as_fd(), init.as_fd()], None).doing(what)?;
        match ready.as_slice() {
            [true, _] => {
                let length = socket::receive(socket, &mut message).doing(what)?;
                if let Some(line) = ready_line(message.get(..length).unwrap_or_default()) {
                    return announce(&caller, line, main).doing(what);
                }
            }
            [_, true] => return Ok(()),
            _ => {}
        }
    }
}

/// [`pass_on`] by a process of its own, for a caller that has else to do; it ends with the
/// container. The process to watch is the caller's.
pub fn pass_on_beside(socket: &OwnedFd, host: &Path, launched: &Launched) -> Result<()> {
    let main = nix::unistd::getpid().as_raw();
    match clone::clone3(0, None).doing(|| "make a process for NOTIFY_SOCKET")? {
        clone::Forked::Parent { .. } => Ok(()),
        clone::Forked::Child => {
            let passed = pass_on(socket, host, &launched.pidfd, main);
            clone::exit(i32::from(passed.is_err()))
        }
    }
}

/// `READY=1` may stand among other lines.
fn ready_line(message: &[u8]) -> Option<&[u8]> {
    message.split(|byte| *byte == b'\n').find(|line| line.starts_with(b"READY="))
}

fn announce(caller: &OwnedFd, ready: &[u8], main: i32) -> crate::sys::Result<()> {
    socket::send(caller, &[ready, b"\n"].concat())?;
    socket::send(caller, format!("MAINPID={main}\n").as_bytes())?;
    // Until it has been read nobody may end: systemd asks who the sender is by its process.
    let (ours, theirs) = socket::stream_pair()?;
    socket::send_fd(caller, b"BARRIER=1", theirs)?;
    poll::poll_in(&[ours.as_fd()], Some(BARRIER_DEADLINE)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::ready_line;

    #[test]
    fn readiness_among_other_lines() {
        assert_eq!(ready_line(b"STATUS=up\nREADY=1"), Some(&b"READY=1"[..]));
        assert_eq!(ready_line(b"READY=1\nMAINPID=1"), Some(&b"READY=1"[..]));
        assert_eq!(ready_line(b"STATUS=READY=1"), None);
    }
}
