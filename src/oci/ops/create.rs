//! `create`, and what it shares with `run`.

use super::delete::undo;
use super::{CreateOptions, Created};
use crate::error::{Context, Error, Result};
use crate::oci::SPEC_VERSION;
use crate::oci::bundle::Bundle;
use crate::oci::container::{Container, RECORD_VERSION, Record};
use crate::oci::host::Host;
use crate::oci::launch::console::Receiver;
use crate::oci::launch::{self, Job, Launched, after_start};
use crate::oci::notify;
use crate::oci::plan::step::Step;
use crate::oci::plan::{self, Mode, Options, Plan};
use crate::oci::seccomp::compile;
use crate::sys::{cred, fs, socket};
use nix::fcntl::OFlag;
use oci_spec::runtime::{Hook, Hooks, LinuxNamespace, LinuxNamespaceType, Spec};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Creates a container: namespaces, mounts, cgroups are there; the user's program waits for
/// `start`.
pub fn create(bundle: &Bundle, options: &CreateOptions) -> Result<Created> {
    let console = console_socket(&bundle.spec, options)?;
    let Up { launched, .. } = bring_up(bundle, options, Mode::Create, console)?;
    Ok(Created { pid: launched.pid, pidfd: launched.pidfd })
}

/// What of a bundle is passed over, to be told to the user before it is created.
pub fn warnings(bundle: &Bundle) -> Result<Vec<String>> {
    let mut warnings = bundle.warnings.clone();
    // In a user namespace of its own the container has all of them.
    let namespaces = bundle.spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
    let own = |all: &Vec<LinuxNamespace>| all.iter().any(|n| n.typ() == LinuxNamespaceType::User);
    if let Some(process) = bundle.spec.process() {
        let available = match namespaces.is_some_and(own) {
            true => u64::MAX,
            false => cred::permitted().doing(|| "read own capabilities")?,
        };
        warnings.extend(plan::missing_capabilities(process, available));
    }
    Ok(warnings)
}

/// What else of a bundle is worth a line to whoever asks for all (`--debug`).
pub fn remarks(bundle: &Bundle) -> Result<Vec<String>> {
    let profile = bundle.spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    let Some(profile) = profile else { return Ok(Vec::new()) };
    let filter = compile(profile).doing(|| "linux.seccomp")?;
    Ok(vec![format!("seccomp filter flags: {}", filter.all_flags())])
}

/// Where a detached container's terminal goes.
pub(super) fn console_socket(spec: &Spec, options: &CreateOptions) -> Result<Option<Receiver>> {
    let terminal = spec.process().as_ref().and_then(oci_spec::runtime::Process::terminal);
    connect_console(terminal == Some(true), options.console_socket.as_deref())
}

/// The connected console socket; runc's words for what does not fit together.
pub(super) fn connect_console(terminal: bool, path: Option<&Path>) -> Result<Option<Receiver>> {
    match (terminal, path) {
        (true, Some(path)) => socket::connect_stream(path, socket::ACCEPT_DEADLINE)
            .map(|socket| Some(Receiver::Caller(socket)))
            .doing(|| format!("connect to console socket {}", path.display())),
        (false, None) => Ok(None),
        (true, None) => Err(Error::user(
            "cannot allocate tty if runp will detach without setting console socket",
        )),
        (false, Some(_)) => {
            Err(Error::user("cannot use console socket if runp will not detach or allocate tty"))
        }
    }
}

/// A container that was made.
pub(super) struct Up {
    pub container: Container,
    pub launched: Launched,
    /// Where its program says that it is ready, if anybody is to know.
    pub notify: Option<OwnedFd>,
}

/// Reserves the name, does the plan and writes the pid file. On failure nothing is left.
pub(super) fn bring_up(
    bundle: &Bundle,
    options: &CreateOptions,
    mode: Mode,
    console: Option<Receiver>,
) -> Result<Up> {
    let plan = plan::plan(
        &bundle.spec,
        &Host::probe(options.rootless)?,
        &Options::new(bundle, options, mode),
    )?;
    let (mut container, lock) = Container::reserve(&options.root, record(bundle, options, &plan))?;
    let listening = options.notify_socket.is_some().then(|| notify::listen(&container.dir));
    let made = listening.transpose().and_then(|notify| {
        Ok((launch_in(&mut container, bundle, options, &plan, console)?, notify))
    });
    match made {
        Ok((launched, notify)) => Ok(Up { container, launched, notify }),
        // The one way down, from wherever it went wrong; locked, so that the name is still ours.
        Err(error) => Err(match undo(&container, lock) {
            Ok(warnings) => warnings.into_iter().fold(error, crate::error::Error::hint),
            Err(left) => error.hint(format!("removing what was made failed too: {left}")),
        }),
    }
}

fn launch_in(
    container: &mut Container,
    bundle: &Bundle,
    options: &CreateOptions,
    plan: &Plan,
    console: Option<Receiver>,
) -> Result<Launched> {
    let tell = Tell::new(options.pid_file.as_deref(), options.pidfd_socket.as_deref())?;
    if !options.own_bundle {
        let path = container.dir.join("config.json");
        fs::write_atomic(&path, &bundle.json()?, 0o600)
            .doing(|| format!("write {}", path.display()))?;
    }
    let waits = plan.steps.iter().any(|planned| matches!(planned.step, Step::AwaitStart(_)));
    let start = if waits { Some(listen(&container.dir)?) } else { None };
    let hooks = bundle.spec.hooks().as_ref();
    let trace = options.trace.as_deref();
    let (container, owners) = (Some(container), options.joined.as_slice());
    let job = Job { container, owners, hooks, start, console, trace, ..Job::default() };
    let launched = launch::launch(plan, job)?;
    tell.of(&launched)?;
    Ok(launched)
}

fn listen(dir: &Path) -> Result<OwnedFd> {
    let what = || format!("make the socket {}/start", dir.display());
    let dir = fs::open(dir, OFlag::O_PATH | OFlag::O_DIRECTORY, 0).doing(what)?;
    socket::listen_at(dir.as_fd(), "start").doing(what)
}

/// Who is told of a process that was launched.
pub(super) struct Tell<'a> {
    pid_file: Option<&'a Path>,
    pidfd_socket: Option<OwnedFd>,
}

impl<'a> Tell<'a> {
    /// Connected before there is a process.
    pub(super) fn new(pid_file: Option<&'a Path>, pidfd_socket: Option<&Path>) -> Result<Self> {
        let connect = |path: &Path| {
            socket::connect_stream(path, socket::ACCEPT_DEADLINE)
                .doing(|| format!("connect to pidfd socket {}", path.display()))
        };
        Ok(Self { pid_file, pidfd_socket: pidfd_socket.map(connect).transpose()? })
    }

    pub(super) fn of(&self, launched: &Launched) -> Result<()> {
        if let Some(path) = self.pid_file {
            fs::write_atomic(path, launched.pid.to_string().as_bytes(), 0o644)
                .doing(|| format!("write pid file {}", path.display()))?;
        }
        if let Some(socket) = &self.pidfd_socket {
            socket::send_fd(socket, b"pidfd", &launched.pidfd)
                .doing(|| "send the pidfd to its socket")?;
        }
        Ok(())
    }
}

fn record(bundle: &Bundle, options: &CreateOptions, plan: &Plan) -> Record {
    let spec = &bundle.spec;
    let hooks = |list: fn(&Hooks) -> &Option<Vec<Hook>>| {
        spec.hooks().as_ref().and_then(|hooks| list(hooks).clone()).unwrap_or_default()
    };
    Record {
        version: RECORD_VERSION,
        oci_version: SPEC_VERSION.to_owned(),
        id: options.id.clone(),
        bundle: bundle.dir.clone(),
        rootfs: plan.rootfs.clone(),
        created: jiff::Timestamp::now().to_string(),
        owner: owner(),
        annotations: spec.annotations().clone().unwrap_or_default(),
        cgroup: plan.cgroup.clone(),
        namespaces: plan.namespaces.clone(),
        after_start: after_start(plan),
        start_container: hooks(Hooks::start_container),
        poststart: hooks(Hooks::poststart),
        poststop: hooks(Hooks::poststop),
        ..Record::default()
    }
}

/// The caller's name, or `#uid` where the host knows none.
fn owner() -> String {
    let uid = cred::geteuid();
    if uid == 0 {
        return "root".into();
    }
    let passwd = fs::read_limited(Path::new("/etc/passwd"), 1 << 20).unwrap_or_default();
    let passwd = String::from_utf8_lossy(&passwd);
    let named = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    named.unwrap_or_else(|| format!("#{uid}"))
}
