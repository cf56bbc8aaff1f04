//! Hooks: programs of the host's (or, for `startContainer`, of the container's) that get the state
//! on stdin
//! ([config.md](https://github.com/opencontainers/runtime-spec/blob/main/config.md#posix-platform-hooks)).

use super::parent::vectors;
use super::{barrier, process};
use crate::error::{Context, Error, Result};
use crate::oci::container::State;
use crate::oci::plan::step::Program;
use crate::oci::selfexe;
use crate::sys::path::open_in_root;
use crate::sys::types::NsKind;
use crate::sys::{Errno, clone, cred, exec, fs, ns, poll};
use nix::fcntl::OFlag;
use oci_spec::runtime::{Hook, Process};
use std::ffi::{CString, OsString};
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

/// The container whose namespaces a hook runs in.
#[derive(Clone, Copy)]
pub struct Inside<'a> {
    /// Its init process.
    pub init: &'a OwnedFd,
    /// The namespaces that are its own.
    pub kinds: &'a [NsKind],
    /// Whose environment a hook has that is given none. As with runc: `startContainer` that of the
    /// container's process, `createContainer` none, those outside the caller's.
    pub process: Option<&'a Process>,
}

/// How much of a hook's output an error shows.
const OUTPUT_LIMIT: u64 = 4096;

/// Runs the hooks in turn; the first that fails ends it. `point` is their name in config.json.
pub fn run(hooks: &[Hook], point: &str, state: &State, inside: Option<Inside<'_>>) -> Result<()> {
    results(hooks, point, state, inside).collect()
}

/// Runs all hooks, also after one has failed; what went wrong.
pub fn run_all(hooks: &[Hook], point: &str, state: &State) -> Vec<String> {
    let results = results(hooks, point, state, None);
    results.filter_map(|result| result.err().map(|error| error.to_string())).collect()
}

fn results<'a>(
    hooks: &'a [Hook],
    point: &'a str,
    state: &'a State,
    inside: Option<Inside<'a>>,
) -> impl Iterator<Item = Result<()>> + 'a {
    hooks.iter().enumerate().map(move |(index, hook)| {
        one(hook, state, inside).map_err(|error| {
            let path = hook.path().display();
            error
                .doing(format!("run {path} (hooks.{point}[{index}])"))
                .doing(format!("error running {point} hook #{index}"))
        })
    })
}

fn one(hook: &Hook, state: &State, inside: Option<Inside<'_>>) -> Result<()> {
    let state = serde_json::to_vec(state).map_err(|error| Error::system(error.to_string()))?;
    let (control, childs) = barrier::pair().doing(|| "make a socket pair")?;
    let stdin = exec::memory_file(c"state", &state).doing(|| "make stdin")?;
    let output = exec::memory_file(c"output", b"").doing(|| "make stdout")?;
    let pidfd = spawn(hook, childs, [&stdin, &output], inside)?;
    if let Some(report) = barrier::receive(control).doing(|| "listen to the hook")? {
        clone::wait(&pidfd).doing(|| "reap the hook")?;
        return Err(Errno::from_raw(report.errno)).doing(|| "execute");
    }
    let status = wait(&pidfd, hook.timeout())?;
    if status == 0 {
        return Ok(());
    }
    let mut said = Vec::new();
    let mut output = std::fs::File::from(output);
    output.seek(SeekFrom::Start(0)).doing(|| "read the hook's output")?;
    output.take(OUTPUT_LIMIT).read_to_end(&mut said).doing(|| "read the hook's output")?;
    let said = String::from_utf8_lossy(&said);
    Err(Error::system(format!("exit status {status}, output: {}", said.trim_end())))
}

/// Waits for the hook; one that takes longer than it may is killed.
fn wait(pidfd: &OwnedFd, timeout: Option<i64>) -> Result<i32> {
    let Some(seconds) = timeout else { return clone::wait(pidfd).doing(|| "wait") };
    let limit = Duration::from_secs(seconds.max(0).unsigned_abs());
    let ended = poll::poll_in(&[pidfd.as_fd()], Some(limit)).doing(|| "wait")?;
    if ended.first() != Some(&true) {
        clone::pidfd_send_signal(pidfd, clone::SIGKILL).doing(|| "kill")?;
        clone::wait(pidfd).doing(|| "wait")?;
        return Err(Error::system(format!("hook ran past specified timeout of {seconds}.0s")));
    }
    clone::wait(pidfd).doing(|| "wait")
}

/// What `vectors` needs: a hook has one path, and its own `args[0]`.
fn program(hook: &Hook, inside: Option<Inside<'_>>) -> Result<Program> {
    let text =
        |string: &[u8]| CString::new(string).map_err(|_| Error::user("a hook holds a zero byte"));
    let all = |strings: &[String]| -> Result<Vec<CString>> {
        strings.iter().map(|string| text(string.as_bytes())).collect()
    };
    let path = text(hook.path().as_os_str().as_bytes())?;
    let args = all(hook.args().as_deref().unwrap_or_default())?;
    let process = inside.and_then(|inside| inside.process);
    let (env, home) = match (hook.env(), process) {
        (Some(env), None) => (all(env)?, false),
        (Some(env), _) if !env.is_empty() => (all(env)?, false),
        (_, Some(process)) => {
            let env = process.env().as_deref().unwrap_or_default();
            (all(env)?, !env.iter().any(|variable| variable.starts_with("HOME=")))
        }
        (None, None) if inside.is_some() => (Vec::new(), false),
        (None, None) => (callers_environment()?, false),
    };
    Ok(Program {
        args: if args.is_empty() { vec![path.clone()] } else { args },
        env,
        home,
        uid: process.map_or(0, |process| process.user().uid()),
        candidates: vec![path],
        ..Program::default()
    })
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
    control: OwnedFd,
    [stdin, output]: [&OwnedFd; 2],
    inside: Option<Inside<'_>>,
) -> Result<OwnedFd> {
    let program = program(hook, inside)?;
    let (argv, mut envp) = vectors(&control, 0, &program)?;
    let last = selfexe::last()?;
    let own = fs::open(std::path::Path::new("/proc/self/ns/pid"), OFlag::O_RDONLY, 0)
        .doing(|| "open the PID namespace")?;
    let pids = inside.filter(|inside| inside.kinds.contains(&NsKind::Pid));
    if let Some(inside) = pids {
        ns::setns(inside.init, NsKind::Pid.flag()).doing(|| "join the PID namespace")?;
    }
    cred::set_dumpable(false).doing(|| "become undumpable")?;
    let cloned = clone::clone3(0, None);
    if matches!(cloned, Ok(clone::Forked::Child)) {
        let failed = become_hook(inside, [stdin, output], &control)
            .and_then(|()| find_home(&program, &mut envp))
            .map_or_else(|errno| errno, |()| exec::execve_fd(last.as_fd(), &argv, &envp));
        barrier::send(&control, barrier::Report { step: 0, errno: failed as i32 })
            .unwrap_or_default();
        clone::exit(1);
    }
    cred::set_dumpable(true).doing(|| "become dumpable")?;
    if pids.is_some() {
        ns::setns(own, 0).doing(|| "return to the PID namespace")?;
    }
    match cloned.doing(|| "clone")? {
        clone::Forked::Parent { pidfd, .. } => Ok(pidfd),
        clone::Forked::Child => clone::exit(1),
    }
}

fn become_hook(
    inside: Option<Inside<'_>>,
    [stdin, output]: [&OwnedFd; 2],
    control: &OwnedFd,
) -> crate::sys::Result<()> {
    exec::reset_signals()?;
    if let Some(inside) = inside {
        let kinds = inside.kinds.iter().filter(|kind| **kind != NsKind::Pid);
        ns::setns_process(inside.init, kinds.fold(0, |flags, kind| flags | kind.flag()))?;
    }
    exec::dup_to_stdio(stdin, 0)?;
    exec::dup_to_stdio(output, 1)?;
    exec::dup_to_stdio(output, 2)?;
    exec::close_range_cloexec(3)?;
    debug_assert!(control.as_raw_fd() > 2, "standard descriptors are open");
    exec::keep_on_exec(control)
}

fn find_home(program: &Program, envp: &mut exec::CVec) -> crate::sys::Result<()> {
    if !program.home {
        return Ok(());
    }
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
    let root = open_in_root(nix::fcntl::AT_FDCWD, c"/", flags, 0)?;
    process::set_home(program.uid, envp, root.as_fd())
}
