//! Hooks: programs that get the state on stdin
//! ([config.md](https://github.com/opencontainers/runtime-spec/blob/main/config.md#posix-platform-hooks)).
//!
//! All are the host's and run with its rights but those of `startContainer`: these are files of the
//! container, which its image may have replaced, and get no more than the container's own process.

use super::parent::vectors;
use super::{Job, barrier};
use crate::error::{Context, Error, Result};
use crate::oci::container::{Container, State};
use crate::oci::plan::step::Program;
use crate::oci::{plan, selfexe};
use crate::sys::types::NsKind;
use crate::sys::{Errno, clone, cred, exec, fs, ns, poll};
use nix::fcntl::OFlag;
use oci_spec::runtime::Hook;
use std::ffi::{CStr, CString, OsString};
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Where hooks run.
#[derive(Clone, Copy)]
pub enum Place<'a> {
    /// Where the runtime runs, in the bundle's directory and with the caller's environment.
    Host,
    /// In these namespaces of the container's init process, in the root file system's directory,
    /// with no environment but their own.
    Namespaces(&'a OwnedFd, &'a [NsKind]),
    /// As another process of the container, with the user, rights, limits and environment of the
    /// configured one.
    Container(&'a Container),
}

/// How much of a hook's output an error shows.
const OUTPUT_LIMIT: u64 = 4096;

/// Runs the hooks in turn; the first that fails ends it. `point` is their name in config.json.
pub fn run(hooks: &[Hook], point: &str, state: &State, place: Place<'_>) -> Result<()> {
    results(hooks, point, state, place).collect()
}

/// Runs all hooks, also after one has failed; what went wrong.
pub fn run_all(hooks: &[Hook], point: &str, state: &State) -> Vec<String> {
    let results = results(hooks, point, state, Place::Host);
    results.filter_map(|result| result.err().map(|error| error.to_string())).collect()
}

fn results<'a>(
    hooks: &'a [Hook],
    point: &'a str,
    state: &'a State,
    place: Place<'a>,
) -> impl Iterator<Item = Result<()>> + 'a {
    hooks.iter().enumerate().map(move |(index, hook)| {
        one(hook, state, place).map_err(|error| {
            let path = hook.path().display();
            error
                .doing(format!("run {path} (hooks.{point}[{index}])"))
                .doing(format!("error running {point} hook #{index}"))
        })
    })
}

fn one(hook: &Hook, state: &State, place: Place<'_>) -> Result<()> {
    let json = serde_json::to_vec(state).map_err(|error| Error::system(error.to_string()))?;
    let stdin = exec::memory_file(c"state", &json).doing(|| "make stdin")?;
    let output = exec::memory_file(c"output", b"").doing(|| "make stdout")?;
    let pidfd = match place {
        Place::Host => spawn(hook, &state.bundle, [&stdin, &output], None)?,
        Place::Namespaces(init, kinds) => {
            spawn(hook, &state.rootfs, [&stdin, &output], Some((init, kinds)))?
        }
        Place::Container(container) => spawn_in(container, hook, [stdin, output.try_clone()?])?,
    };
    let status = wait(&pidfd, hook.timeout())?;
    if status == 0 {
        return Ok(());
    }
    let mut said = Vec::new();
    let mut output = std::fs::File::from(output);
    output.seek(SeekFrom::Start(0)).doing(|| "read the hook's output")?;
    output.take(OUTPUT_LIMIT).read_to_end(&mut said).doing(|| "read the hook's output")?;
    let said = String::from_utf8_lossy(&said);
    Err(Error::system(format!("{}, output: {}", ending(status), said.trim_end())))
}

/// How it ended, in the words of Go's programs. 128+N is what shells too say of signal N.
fn ending(status: i32) -> String {
    let signal = match status - 128 {
        libc::SIGHUP => "hangup",
        libc::SIGINT => "interrupt",
        libc::SIGILL => "illegal instruction",
        libc::SIGABRT => "aborted",
        libc::SIGBUS => "bus error",
        libc::SIGFPE => "floating point exception",
        libc::SIGKILL => "killed",
        libc::SIGSEGV => "segmentation fault",
        libc::SIGPIPE => "broken pipe",
        libc::SIGTERM => "terminated",
        libc::SIGSYS => "bad system call",
        _ => return format!("exit status {status}"),
    };
    format!("signal: {signal}")
}

/// The hook as a process of the container's.
fn spawn_in(container: &Container, hook: &Hook, [stdin, output]: [OwnedFd; 2]) -> Result<OwnedFd> {
    let init = container.init()?.ok_or_else(|| Error::user("the container has stopped"))?;
    let spec = container.config()?;
    let mut process = spec.process().clone().unwrap_or_default();
    process.set_terminal(None).set_args(Some(arguments(hook)));
    if let Some(env) = hook.env().as_ref().filter(|env| !env.is_empty()) {
        process.set_env(Some(env.clone()));
    }
    let available = cred::permitted().doing(|| "read own capabilities")?;
    let mut plan = plan::exec(&container.record, &spec, &process, 0, available)?;
    plan.set_program(hook.path())?;
    let stdio = Some([stdin, output.try_clone()?, output]);
    let job = Job { joined: Some(container), join: Some(init), stdio, ..Job::default() };
    Ok(super::launch(&plan, job)?.pidfd)
}

/// Its arguments, of which the first is its name.
fn arguments(hook: &Hook) -> Vec<String> {
    match hook.args() {
        Some(args) if !args.is_empty() => args.clone(),
        _ => vec![hook.path().to_string_lossy().into_owned()],
    }
}

/// Waits for the hook; one that takes longer than it may is killed.
fn wait(pidfd: &OwnedFd, timeout: Option<i64>) -> Result<i32> {
    let Some(seconds) = timeout else { return clone::wait(pidfd).doing(|| "wait") };
    let begun = Instant::now();
    let limit = Duration::from_secs(seconds.max(0).unsigned_abs());
    let mut ended = false;
    // A signal ends a wait early.
    while let (false, Some(left)) = (ended, limit.checked_sub(begun.elapsed())) {
        ended = poll::poll_in(&[pidfd.as_fd()], Some(left)).doing(|| "wait")? == [true];
    }
    if !ended {
        clone::pidfd_send_signal(pidfd, clone::SIGKILL).doing(|| "kill")?;
        clone::wait(pidfd).doing(|| "wait")?;
        return Err(Error::system(format!("hook ran past specified timeout of {seconds}.0s")));
    }
    clone::wait(pidfd).doing(|| "wait")
}

/// What `vectors` needs: a hook has one path, and its own `args[0]`.
fn program(hook: &Hook, inside: bool) -> Result<Program> {
    let text =
        |string: &[u8]| CString::new(string).map_err(|_| Error::user("a hook holds a zero byte"));
    let all = |strings: &[String]| -> Result<Vec<CString>> {
        strings.iter().map(|string| text(string.as_bytes())).collect()
    };
    let env = match hook.env() {
        Some(env) => all(env)?,
        None if inside => Vec::new(),
        None => callers_environment()?,
    };
    let candidates = vec![text(hook.path().as_os_str().as_bytes())?];
    Ok(Program { args: all(&arguments(hook))?, env, candidates, ..Program::default() })
}

fn callers_environment() -> Result<Vec<CString>> {
    let join = |(name, value): (OsString, OsString)| {
        CString::new([name.as_bytes(), b"=", value.as_bytes()].concat())
            .map_err(|_| Error::user("the environment holds a zero byte"))
    };
    std::env::vars_os().map(join).collect()
}

fn spawn(
    hook: &Hook,
    dir: &Path,
    stdio: [&OwnedFd; 2],
    inside: Option<(&OwnedFd, &[NsKind])>,
) -> Result<OwnedFd> {
    let (control, childs) = barrier::pair().doing(|| "make a socket pair")?;
    let (argv, envp) = vectors(&childs, 0, &program(hook, inside.is_some())?)?;
    let last = selfexe::last()?;
    let dir = CString::new(dir.as_os_str().as_bytes()).unwrap_or_default();
    let own = fs::open(Path::new("/proc/self/ns/pid"), OFlag::O_RDONLY, 0)
        .doing(|| "open the PID namespace")?;
    let pids = inside.filter(|(_, kinds)| kinds.contains(&NsKind::Pid));
    if let Some((init, _)) = pids {
        ns::setns(init, NsKind::Pid.flag()).doing(|| "join the PID namespace")?;
    }
    cred::set_dumpable(false).doing(|| "become undumpable")?;
    let cloned = clone::clone3(0, None);
    if matches!(cloned, Ok(clone::Forked::Child)) {
        let failed = become_hook(inside, &dir, stdio, &childs)
            .map_or_else(|errno| errno, |()| exec::execve_fd(last.as_fd(), &argv, &envp));
        barrier::send(&childs, barrier::Report { step: 0, errno: failed as i32 })
            .unwrap_or_default();
        clone::exit(1);
    }
    cred::set_dumpable(true).doing(|| "become dumpable")?;
    if pids.is_some() {
        ns::setns(own, 0).doing(|| "return to the PID namespace")?;
    }
    let pidfd = match cloned.doing(|| "clone")? {
        clone::Forked::Parent { pidfd, .. } => pidfd,
        clone::Forked::Child => clone::exit(1),
    };
    // This end closes, so that an end of the hook's is seen.
    drop(childs);
    if let Some(report) = barrier::receive(control).doing(|| "listen to the hook")? {
        clone::wait(&pidfd).doing(|| "reap the hook")?;
        return Err(Errno::from_raw(report.errno)).doing(|| "execute");
    }
    Ok(pidfd)
}

fn become_hook(
    inside: Option<(&OwnedFd, &[NsKind])>,
    dir: &CStr,
    [stdin, output]: [&OwnedFd; 2],
    control: &OwnedFd,
) -> crate::sys::Result<()> {
    exec::reset_signals()?;
    if let Some((init, kinds)) = inside {
        let kinds = kinds.iter().filter(|kind| **kind != NsKind::Pid);
        ns::setns_process(init, kinds.fold(0, |flags, kind| flags | kind.flag()))?;
    }
    match nix::unistd::chdir(dir) {
        // The bundle of a container that is deleted may be gone.
        Err(Errno::ENOENT) if inside.is_none() => {}
        changed => changed?,
    }
    exec::dup_to_stdio(stdin, 0)?;
    exec::dup_to_stdio(output, 1)?;
    exec::dup_to_stdio(output, 2)?;
    exec::close_range_cloexec(3)?;
    debug_assert!(control.as_raw_fd() > 2, "standard descriptors are open");
    exec::keep_on_exec(control)
}

#[cfg(test)]
mod tests {
    use super::ending;

    #[test]
    fn endings_in_gos_words() {
        assert_eq!(ending(3), "exit status 3");
        assert_eq!(ending(128 + libc::SIGSYS), "signal: bad system call");
        assert_eq!(ending(255), "exit status 255");
    }
}
