//! A pod's monitor as a process: started, found, waited for. Whoever holds the pod's lock, a flock(2)
//! of `<run>/<uid>/lock`, is its monitor; the lock dies with its holder. Its workers die with it too,
//! but not at once: each holds a record lock of `<run>/<uid>/workers`, which the next monitor waits
//! for. A record lock, because a created container is a child of a worker that outlives it.

use super::Paths;
use super::store::{self, Store};
use super::{fault, wake};
use crate::error::{Context, Error, Kind, Result};
use crate::kube::Pod;
use crate::sys::clone::pidfd_open;
use crate::sys::fs::{open, try_lock_file, try_record_lock};
use crate::sys::poll::poll_in;
use crate::sys::{Errno, exec, fork};
use nix::fcntl::OFlag;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long the workers of a killed monitor may take to be killed too.
const WORKERS_END: Duration = Duration::from_secs(10);

/// The lock of a pod's monitor.
pub fn lock_path(paths: &Paths, uid: &str) -> PathBuf {
    paths.run.join(uid).join("lock")
}

/// Whether the pod has a monitor, as far as one look tells: a listing looks at many. A worker that a
/// monitor had just forked when it was killed may hold the lock for a moment longer, and is none.
pub fn is_held(paths: &Paths, uid: &str) -> Result<bool> {
    let path = lock_path(paths, uid);
    match open(&path, OFlag::O_RDONLY | OFlag::O_NOFOLLOW, 0) {
        Err(Errno::ENOENT) => Ok(false),
        opened => {
            let lock = opened.doing(|| format!("open {}", path.display()))?;
            if try_lock_file(&lock) != Err(Errno::EWOULDBLOCK) {
                return Ok(false);
            }
            let holder = holder(&lock).doing(|| format!("read {}", path.display()))?;
            let ended = holder.map_or(Ok(false), has_ended);
            Ok(!ended.doing(|| "look for the pod's monitor")?)
        }
    }
}

/// A monitor that was told of a change.
pub enum Told {
    /// It was started for it.
    Started(OwnedFd),
    /// It was woken, by this pipe (`pod::wake`); `None` if it is only just starting.
    Woken(Option<File>),
}

/// Has the pod's monitor take up a change of `pod.json`: it is woken, or started.
pub fn tell_monitor(paths: &Paths, pod: &Pod) -> Result<Told> {
    if let Some(monitor) = ensure_monitor(paths, pod)? {
        return Ok(Told::Started(monitor));
    }
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    if let Some(pipe) = wake::wake(&paths.run.join(uid))? {
        return Ok(Told::Woken(Some(pipe)));
    }
    // It is only just starting; or it was killed after it was seen to be there.
    Ok(ensure_monitor(paths, pod)?.map_or(Told::Woken(None), Told::Started))
}

/// Starts the pod's monitor unless it runs; the one that was started.
pub fn ensure_monitor(paths: &Paths, pod: &Pod) -> Result<Option<OwnedFd>> {
    let meta = &pod.metadata;
    let (Some(namespace), Some(name), Some(uid)) = (&meta.namespace, &meta.name, &meta.uid) else {
        return Err(Error::new(Kind::Bug, "a stored pod has no name"));
    };
    let run = paths.run.join(uid);
    let path = lock_path(paths, uid);
    let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NOFOLLOW;
    let opened = match open(&path, flags, 0o600) {
        Err(Errno::ENOENT) => {
            store::make_private_dir(&run)?;
            open(&path, flags, 0o600)
        }
        opened => opened,
    };
    let lock = opened.doing(|| format!("open {}", path.display()))?;
    if !take(&lock).doing(|| format!("lock {}", path.display()))? {
        return Ok(None);
    }
    // Until the new monitor has written its own, the file must not name an old one.
    lock.set_len(0).doing(|| format!("empty {}", path.display()))?;
    // A monitor that has just removed its pod held the lock until now.
    let dir = Store::new(&paths.lib).pod_dir(namespace, name)?;
    let stored: Option<Pod> = store::read_json(&dir.join("pod.json"))?;
    if stored.is_none_or(|stored| stored.metadata.uid.as_ref() != Some(uid)) {
        return store::remove_tree(&run).map(|()| None);
    }
    let started = spawn(paths, namespace, name, lock);
    started.map(Some).doing(|| format!("start the monitor of pod {name}"))
}

/// Takes a monitor's lock; false if there is a monitor. One that was killed may leave the lock to a
/// worker that it had just forked: that is waited for.
fn take(lock: &File) -> Result<bool> {
    let deadline = Instant::now() + WORKERS_END;
    loop {
        match try_lock_file(lock) {
            Ok(()) => return Ok(true),
            Err(Errno::EWOULDBLOCK) => {}
            Err(errno) => return Err(errno.into()),
        }
        let Some(holder) = holder(lock)? else { return Ok(false) };
        if !has_ended(holder)? || Instant::now() > deadline {
            return Ok(false);
        }
        poll_in(&[], Some(Duration::from_millis(1)))?;
    }
}

/// What a worker does first: holds off the next monitor by a lock of its own, then lets go of its
/// copy of the monitor's. For `free` see [`hold_off`].
pub fn become_worker(run: &Path, lock: &File, free: i32) -> Result<()> {
    hold_off(run, free)?;
    Ok(fork::close_copy(lock.as_fd())?)
}

/// Holds off the next monitor for as long as this process lives. Descriptors below `free` may be
/// overwritten from then on.
pub fn hold_off(run: &Path, free: i32) -> Result<()> {
    // Closing any descriptor of the file would give up the lock: this one stays, out of the way of
    // the numbers that a container's own descriptors are put to.
    let opened = open_workers(run)?;
    let file = fork::dup_above(opened.as_fd(), free).doing(|| "keep a lock")?;
    drop(opened);
    let file = File::from(file);
    try_record_lock(&file, false).doing(|| "lock out other monitors")?;
    std::mem::forget(file);
    Ok(())
}

/// Waits for the workers of an earlier monitor, which are being killed.
pub fn await_workers(run: &Path) -> Result<()> {
    let deadline = Instant::now() + WORKERS_END;
    let file = open_workers(run)?;
    while let Err(errno) = try_record_lock(&file, true) {
        if !matches!(errno, Errno::EAGAIN | Errno::EACCES) || Instant::now() > deadline {
            return Err(errno).doing(|| "wait for the workers of an earlier monitor");
        }
        // There is no event for the end of somebody's record lock.
        poll_in(&[], Some(Duration::from_millis(1)))?;
    }
    Ok(())
}

fn open_workers(run: &Path) -> Result<File> {
    let path = run.join("workers");
    let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NOFOLLOW;
    open(&path, flags, 0o600).doing(|| format!("open {}", path.display()))
}

/// The pid that a monitor has written into its lock; none while it starts.
fn holder(lock: &File) -> Result<Option<i32>> {
    let mut text = [0; 16];
    let read = lock.read_at(&mut text, 0)?;
    let text = std::str::from_utf8(text.get(..read).unwrap_or_default()).unwrap_or_default();
    Ok(text.trim().parse().ok())
}

fn has_ended(pid: i32) -> crate::sys::Result<bool> {
    match pidfd_open(pid) {
        Ok(process) => Ok(poll_in(&[process.as_fd()], Some(Duration::ZERO))? == [true]),
        Err(_) => Ok(true),
    }
}

/// A descriptor of the monitor of the pod `uid`; `None` if none runs.
pub fn monitor_pidfd(paths: &Paths, uid: &str) -> Result<Option<OwnedFd>> {
    let path = lock_path(paths, uid);
    let lock = match open(&path, OFlag::O_RDWR | OFlag::O_NOFOLLOW, 0) {
        Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(None),
        opened => opened.doing(|| format!("open {}", path.display()))?,
    };
    let deadline = Instant::now() + WORKERS_END;
    loop {
        if try_lock_file(&lock).is_ok() {
            return Ok(None);
        }
        // It writes its pid first thing; until then it can only be seen to hold the lock.
        let pid = holder(&lock).doing(|| format!("read {}", path.display()))?;
        let pidfd = pid.and_then(|pid| pidfd_open(pid).ok());
        if pidfd.is_some() || lock_is_gone(&lock)? {
            return Ok(pidfd);
        }
        if Instant::now() > deadline {
            let what = format!("{} is locked by none that is a monitor", path.display());
            return Err(Error::system(what).hint("look for the process that has it open: fuser"));
        }
        poll_in(&[], Some(Duration::from_millis(1))).doing(|| "wait for the pod's monitor")?;
    }
}

fn lock_is_gone(lock: &File) -> Result<bool> {
    Ok(lock.metadata().doing(|| "look at a monitor's lock")?.nlink() == 0)
}

/// What its workers need of the environment to pull images: proxies, and where credentials,
/// certificates and the registries' settings are.
const PULLS_NEED: &[&str] = &[
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
    "NO_PROXY",
    "no_proxy",
    "HOME",
    "PATH",
    "DOCKER_CONFIG",
    "REGISTRY_AUTH_FILE",
    "XDG_RUNTIME_DIR",
    "CONTAINERS_REGISTRIES_CONF",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// The monitor is a fresh process, so that it holds nothing of this one. The lock goes with it as
/// its stdin: held without a gap, by whoever is alive.
fn spawn(paths: &Paths, namespace: &str, name: &str, lock: File) -> Result<OwnedFd> {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("podctl");
    if let Some(root) = &paths.root {
        command.arg("--root").arg(root);
    }
    command.args(["monitor", "--namespace", namespace, "--name", name]);
    let kept = PULLS_NEED.iter().chain(fault::ENVIRONMENT);
    let kept = kept.filter_map(|name| Some((name, std::env::var_os(name)?)));
    command.env_clear().envs(kept).stdin(lock).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn()?;
    // Our child, and not waited for: the pid is its own.
    Ok(pidfd_open(i32::try_from(child.id()).map_err(|_| Errno::ESRCH)?)?)
}

/// Becomes a process of its own: session, directory, umask, signals, no descriptors but the lock that
/// the starter passes as stdin.
pub fn leave_caller() -> Result<File> {
    fork::close_from(3).doing(|| "close inherited descriptors")?;
    exec::ignore_no_signals().doing(|| "take back the ignored signals")?;
    // Fails only for the leader of a group, which is as good.
    if nix::unistd::setsid().is_err() {
        nix::unistd::setpgid(nix::unistd::Pid::from_raw(0), nix::unistd::Pid::from_raw(0))
            .doing(|| "leave the process group")?;
    }
    // Executed as /proc/self/exe, it would be called `exe`.
    nix::sys::prctl::set_name(c"podctl").doing(|| "set the process's name")?;
    std::env::set_current_dir("/").doing(|| "change to /")?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    super::limits::take_from_init()?;
    fork::set_child_subreaper().doing(|| "become the reaper of the pod's processes")?;
    let stdin = std::io::stdin().as_fd().try_clone_to_owned().doing(|| "keep the lock")?;
    let null = open(Path::new("/dev/null"), OFlag::O_RDWR, 0).doing(|| "open /dev/null")?;
    fork::dup_to(null.as_fd(), 0).doing(|| "replace stdin")?;
    Ok(stdin.into())
}

/// The pod's lock: `inherited` if it is that, else taken anew; `None` if another monitor has it.
pub fn take_lock(inherited: File, path: &Path) -> Result<Option<File>> {
    let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NOFOLLOW;
    let opened = open(path, flags, 0o600).doing(|| format!("open {}", path.display()))?;
    let inode = |file: &File| file.metadata().map(|is| (is.dev(), is.ino()));
    let same = inode(&inherited).and_then(|one| inode(&opened).map(|other| one == other));
    let mut lock = if same.doing(|| "look at the lock")? { inherited } else { opened };
    match try_lock_file(&lock) {
        Err(Errno::EWOULDBLOCK) => return Ok(None),
        locked => locked.doing(|| format!("lock {}", path.display()))?,
    }
    // For those who wait for this process's end.
    lock.set_len(0)
        .and_then(|()| writeln!(lock, "{}", std::process::id()))
        .doing(|| format!("write {}", path.display()))?;
    Ok(Some(lock))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worker_of_a_killed_monitor_is_no_monitor() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::below(dir.path());
        let path = lock_path(&paths, "uid");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        assert!(!is_held(&paths, "uid").unwrap(), "never locked");
        let worker = crate::sys::fs::lock(&path).unwrap();
        assert!(is_held(&paths, "uid").unwrap(), "it is just starting");
        std::fs::write(&path, std::process::id().to_string()).unwrap();
        assert!(is_held(&paths, "uid").unwrap());
        let mut ended = Command::new("true").spawn().unwrap();
        std::fs::write(&path, ended.id().to_string()).unwrap();
        ended.wait().unwrap();
        assert!(!is_held(&paths, "uid").unwrap());
        drop(worker);
    }

    #[test]
    fn the_lock_of_a_worker_is_above_what_a_container_is_given() {
        let dir = tempfile::tempdir().unwrap();
        let free = 3 + 2 * 300;
        hold_off(dir.path(), free).unwrap();
        let workers = dir.path().join("workers");
        let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        let open = open.filter(|it| std::fs::read_link(it.path()).is_ok_and(|to| to == workers));
        let numbers: Vec<i32> =
            open.map(|it| it.file_name().to_str().unwrap().parse().unwrap()).collect();
        assert!(matches!(numbers.as_slice(), [only] if *only >= free), "{numbers:?}");
    }
}
