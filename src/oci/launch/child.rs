//! The child, from clone3 to execve. System calls only: whatever needs memory was made before, as
//! the clone of a process that may have had threads must not allocate, and as each page touched
//! here counts against the container's memory limit.

use super::barrier::{self, Report};
use super::console::Receiver;
use super::trace::Trace;
use super::{process, rootfs};
use crate::oci::cgroup;
use crate::oci::plan::step::{Barrier, Origin, Planned, Side, Step, UtsField};
use crate::sys::types::NsKind;
use crate::sys::{Errno, Result, clone, cred, exec, fs, mount, ns, seccomp, socket};
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// All that the child works with, made by the parent.
pub struct Tools {
    /// To the parent; after `start`, to whoever started it.
    pub control: OwnedFd,
    /// Where `start` connects.
    pub start: Option<OwnedFd>,
    /// Where the terminal's master goes.
    pub console: Option<Receiver>,
    /// Standard descriptors other than the caller's own.
    pub stdio: Option<[OwnedFd; 3]>,
    /// Namespaces to join, in the order of the steps.
    pub namespaces: Vec<(NsKind, OwnedFd)>,
    /// The container's root, where it is there already.
    pub root: Option<OwnedFd>,
    /// The container to join: its init process.
    pub container: Option<OwnedFd>,
    /// The v1 cgroups to enter.
    pub tasks: Vec<OwnedFd>,
    /// The seccomp filter and its flags.
    pub filter: Option<(Vec<seccomp::Instruction>, u32)>,
    /// What executes the program, with its arguments and environment.
    pub last: OwnedFd,
    /// Arguments of `last`, the program's own at their end.
    pub argv: exec::CVec,
    /// The program's environment.
    pub envp: exec::CVec,
    /// Times of the steps, if they are wanted.
    pub trace: Option<Trace>,
    /// Steps that are to go wrong.
    pub fault: super::fault::Fault,
}

/// What steps leave for later ones.
#[derive(Default)]
pub struct Slots {
    /// The container's root.
    pub root: Option<OwnedFd>,
    /// A procfs of the container's own that is mounted nowhere.
    pub proc: Option<OwnedFd>,
    /// The empty directory that hides others.
    pub empty: Option<OwnedFd>,
}

impl Slots {
    /// The root, once there is one.
    pub fn root(&self) -> Result<BorrowedFd<'_>> {
        self.root.as_ref().map(AsFd::as_fd).ok_or(Errno::EBADF)
    }
}

/// Does the child's steps. Returns to nobody: it ends as the user's program or with a report.
pub fn run(steps: &[Planned], tools: &mut Tools) -> ! {
    let mut slots = Slots { root: tools.root.take(), ..Slots::default() };
    // Nothing depends on it before execve, and it cannot fail.
    exec::reset_signals().unwrap_or_default();
    for (standard, fd) in (0..).zip(tools.stdio.iter().flatten()) {
        exec::dup_to_stdio(fd, standard).unwrap_or_else(|_| clone::exit(1));
    }
    // Modes are meant as they are configured; the program's mask is set with its user.
    cred::umask(0);
    for (index, planned) in steps.iter().enumerate().filter(|(_, p)| p.side == Side::Child) {
        tools.trace.as_ref().inspect(|trace| trace.begin(index));
        let done =
            tools.fault.strike(index).and_then(|()| one(&planned.step, index, tools, &mut slots));
        tools.trace.as_ref().inspect(|trace| trace.end(index, done));
        if let Err(errno) = done {
            let report = Report { step: index as u32, errno: errno as i32 };
            // If nobody listens any more, nobody wants to know.
            barrier::send(&tools.control, report).unwrap_or_default();
            clone::exit(1);
        }
    }
    clone::exit(1)
}

fn one(step: &Step, index: usize, tools: &mut Tools, slots: &mut Slots) -> Result<()> {
    match step {
        Step::Send(_) => barrier::send(&tools.control, Report { step: index as u32, errno: 0 }),
        Step::Await(barrier) => await_parent(tools, *barrier),
        Step::ExitOnSignals => {
            exec::exit_on(&[Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM])
        }
        Step::AwaitStart(first) => await_start(tools, slots, *first),
        Step::JoinNamespace(kind, _) => join(tools, *kind),
        Step::JoinContainer(kinds) => join_container(tools, kinds, slots),
        Step::EnterCgroup => cgroup::enter(&tools.tasks),
        Step::UnshareCgroup => ns::unshare(NsKind::Cgroup.flag()),
        Step::UnshareTime(offsets) => unshare_time(offsets),
        Step::BecomeRoot => become_root(),
        Step::Session => nix::unistd::setsid().map(drop),
        Step::Keyring(name) => match ns::join_session_keyring(name) {
            // A kernel without keys has none that could leak.
            Err(Errno::ENOSYS) => Ok(()),
            joined => joined,
        },
        Step::Loopback => ns::loopback_up(),
        Step::UtsName(UtsField::Hostname, name) => ns::sethostname(name),
        Step::UtsName(UtsField::Domainname, name) => ns::setdomainname(name),
        Step::NoNewPrivileges => cred::no_new_privileges(),
        Step::Bounding(keep) => cred::drop_bounding(*keep),
        Step::Attribute(attribute) => process::attribute(attribute, 0),
        Step::User(user) => process::user(user),
        Step::Capabilities(sets) => {
            cred::capset(*sets)?;
            cred::raise_ambient(sets.ambient)
        }
        Step::CloseFds(first) => {
            exec::close_range_cloexec(*first)?;
            // For `last`, which reports on it. Now, as a filter may refuse it later.
            exec::keep_on_exec(&tools.control)
        }
        Step::Seccomp => load_filter(tools),
        Step::FindProgram(candidates) => process::find(candidates),
        Step::Execve(program) => process::execute(program, tools, slots),
        Step::Chdir(path) => process::chdir(slots.root()?, path),
        Step::Console { size, bind, uid } => process::console(*size, *bind, *uid, tools, slots),
        Step::Mount(mount) => {
            let sent = match mount.origin {
                Origin::Sent => Some(ask(tools, index)?),
                _ => None,
            };
            rootfs::make_mount(mount, sent, slots)
        }
        other => rootfs::one(other, slots),
    }
}

fn join_container(tools: &Tools, kinds: &[NsKind], slots: &mut Slots) -> Result<()> {
    let flags = kinds.iter().fold(0, |flags, kind| flags | kind.flag());
    ns::setns_process(tools.container.as_ref().ok_or(Errno::EBADF)?, flags)?;
    if let Some(root) = &slots.root {
        // Without a mount namespace to join.
        nix::unistd::fchdir(root)?;
        return mount::chroot(c".");
    }
    let root = OFlag::O_PATH | OFlag::O_DIRECTORY;
    slots.root = Some(crate::sys::path::open_in_root(AT_FDCWD, c"/", root, 0)?);
    Ok(())
}

fn become_root() -> Result<()> {
    match cred::setgroups(&[]) {
        // Denied along with the maps that an unprivileged user wrote.
        Err(Errno::EPERM) => {}
        set => set?,
    }
    cred::setresgid(0)?;
    cred::setresuid(0)
}

/// Has the parent open the source of a mount.
fn ask(tools: &Tools, index: usize) -> Result<OwnedFd> {
    barrier::send(&tools.control, Report { step: index as u32, errno: 0 })?;
    match socket::receive_fd(&tools.control)? {
        Some(source) => Ok(source),
        None => clone::exit(1),
    }
}

/// unshare(2) makes the namespace for children only. So far nobody is in it, and its clocks can be
/// set; then this process follows.
fn unshare_time(offsets: &CStr) -> Result<()> {
    ns::unshare(NsKind::Time.flag())?;
    let open = |path: &CStr, flags| openat(AT_FDCWD, path, flags | OFlag::O_CLOEXEC, Mode::empty());
    let file = open(c"/proc/self/timens_offsets", OFlag::O_WRONLY)?;
    fs::write_once(file.as_fd(), offsets.to_bytes())?;
    ns::setns(open(c"/proc/self/ns/time_for_children", OFlag::O_RDONLY)?, NsKind::Time.flag())
}

fn await_parent(tools: &Tools, barrier: Barrier) -> Result<()> {
    match barrier::receive(&tools.control)? {
        Some(report) if report.step == barrier as u32 => Ok(()),
        Some(_) => Err(Errno::EBADMSG),
        None => clone::exit(1),
    }
}

/// Waits for `start`, which connects and says go. If it is killed before it does, so is this: the
/// container has stopped then, and nothing hangs. What it will not need is not left open meanwhile,
/// the host's cgroups among it.
fn await_start(tools: &Tools, slots: &Slots, first: u32) -> Result<()> {
    let listener = tools.start.as_ref().ok_or(Errno::EBADF)?;
    let number = |fd: &Option<OwnedFd>| fd.as_ref().map_or(0, AsRawFd::as_raw_fd);
    let needed = [listener, &tools.control, &tools.last].map(AsRawFd::as_raw_fd);
    let [listening, control, last] = needed;
    let mut needed = [listening, control, last, number(&slots.root), number(&slots.proc)];
    exec::close_all_but(first, &mut needed)?;
    let starter = socket::accept(listener)?;
    exec::dup_onto(starter, &tools.control)?;
    await_parent(tools, Barrier::Go)
}

fn join(tools: &mut Tools, kind: NsKind) -> Result<()> {
    let namespace = tools.namespaces.iter().find(|(have, _)| *have == kind);
    ns::setns(&namespace.ok_or(Errno::EBADF)?.1, kind.flag())
}

/// With a listener, waits until the parent has a copy of it: from then on any call may wait for
/// whoever listens.
fn load_filter(tools: &Tools) -> Result<()> {
    let Some((program, flags)) = &tools.filter else { return Ok(()) };
    match seccomp::seccomp_load(program, *flags)? {
        Some(listener) => barrier::announce(&tools.control, listener.as_raw_fd() as u32),
        None => Ok(()),
    }
}
