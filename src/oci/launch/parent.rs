//! The parent's steps.

use super::child::Tools;
use super::{Parent, barrier, hooks, idmap, process, rootfs};
use crate::error::{Context, Error, Kind, Result};
use crate::oci::container::{Status, start_time};
use crate::oci::plan::step::{Attribute, Barrier, HookPoint, Limits, Planned, Program, Side, Step};
use crate::oci::selfexe;
use crate::sys::mount::{self, Depth};
use crate::sys::types::{NsKind, Propagation};
use crate::sys::{Errno, clone, exec, fs, ns, seccomp};
use nix::fcntl::OFlag;
use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

impl<'a> Parent<'a> {
    pub(super) fn one(&mut self, planned: &'a Planned) -> Result<()> {
        let words = || planned.to_string();
        match &planned.step {
            Step::MakeCgroup => self.make_cgroup().doing(words),
            Step::Clone(kinds) => {
                self.clone(planned, kinds.iter().fold(0, |flags, kind| flags | kind.flag()))
            }
            Step::JoinNamespace(kind, path) => self.join_for_children(*kind, path).doing(words),
            Step::JoinContainer(kinds) => self.join_container(kinds).doing(words),
            Step::IdMaps { uids, gids, mapper } => {
                idmap::write(self.launched()?.pid, uids, gids, *mapper).doing(words)
            }
            Step::BindRoot(path) => self.bind_root(path).doing(words),
            Step::Record => self.record().doing(words),
            Step::Limit(which) => self.limit(*which),
            Step::Source(source) => {
                self.await_child(Barrier::Mounted)?;
                self.source(source).doing(words)
            }
            Step::NetDevice(device) => self.net_device(device).doing(words),
            // A failure of the child's is its own step's, not this one's.
            Step::Listener(listener) => {
                let number = self.report(Barrier::Ready)?.step;
                self.listener(listener, number as i32).doing(words)
            }
            Step::Hooks(point) => self.hooks(*point),
            Step::Attribute(attribute) => self.attribute(attribute).doing(words),
            Step::Send(barrier) => self.tell(*barrier).doing(words),
            Step::Await(barrier) => self.await_child(*barrier),
            _ => Err(Error::new(Kind::Bug, "not a step of the parent's")).doing(words),
        }
    }

    fn cgroup(&self) -> Result<&crate::oci::cgroup::Cgroup> {
        self.plan.cgroup.as_ref().ok_or_else(|| Error::new(Kind::Bug, "no cgroup"))
    }

    /// Children are born in the namespace from here on, until the clone has made the one. For a user
    /// namespace that is up to the clone itself.
    fn join_for_children(&mut self, kind: NsKind, path: &CStr) -> Result<()> {
        let namespace = open_namespace(path)?;
        if kind == NsKind::User {
            self.user_namespace = Some((namespace, kind.flag()));
            return Ok(());
        }
        if kind == NsKind::Network {
            self.not_the_hosts(&namespace)?;
        }
        let own = format!("/proc/self/ns/{}", kind.proc_name());
        let own = fs::open(Path::new(&own), OFlag::O_RDONLY, 0)?;
        ns::setns(namespace, kind.flag())?;
        self.own_namespaces.push(own.into());
        Ok(())
    }

    fn join_container(&mut self, kinds: &[NsKind]) -> Result<()> {
        let init = self.job.join.as_ref().ok_or(Errno::EBADF)?;
        if kinds.contains(&NsKind::User) {
            let flags = kinds.iter().fold(0, |flags, kind| flags | kind.flag());
            self.user_namespace = Some((init.try_clone()?, flags));
            return Ok(());
        }
        self.own_namespaces.push(open_namespace(c"/proc/self/ns/pid")?);
        match ns::setns(init, NsKind::Pid.flag()) {
            Err(Errno::ESRCH) => Err(Error::user("cannot exec in a stopped container")),
            joined => Ok(joined?),
        }
    }

    /// The container's mounts are the host's: recorded before they are there, so that `delete` takes
    /// them away whatever happens to this process.
    fn bind_root(&mut self, path: &CStr) -> Result<()> {
        let (tree, place) = rootfs::copy_of_root(path)?;
        let container = self.job.container.as_deref_mut();
        let container = container.ok_or_else(|| Error::new(Kind::Bug, "mounts of no container"))?;
        container.record.host_mount = Some(mount::mount_id(&tree)?);
        container.save()?;
        mount::move_mount(&tree, place)?;
        // On a shared mount it has become shared.
        mount::mount_propagate(&tree, c"", Propagation::Private, Depth::Tree)?;
        self.root = Some(tree);
        Ok(())
    }

    /// The root of a container that has no mount namespace of its own.
    fn root_of_joined(&self) -> Result<Option<OwnedFd>> {
        let (Some(joined), Some(init)) = (self.job.joined, &self.job.join) else { return Ok(None) };
        if joined.record.namespaces.contains(&NsKind::Mount) {
            return Ok(None);
        }
        let path = format!("/proc/{}/root", joined.record.pid);
        let root = fs::open(Path::new(&path), OFlag::O_PATH | OFlag::O_DIRECTORY, 0);
        let root = root.doing(|| format!("open {path}"))?;
        // Still there, so it was its root and not that of a later process with its number.
        clone::pidfd_send_signal(init, 0).doing(|| "look for the container's process")?;
        Ok(Some(root.into()))
    }

    fn make_cgroup_dirs(&mut self) -> Result<()> {
        let cgroup = self.cgroup()?;
        let placeholder = cgroup.start_unit()?;
        cgroup.make(placeholder.is_some())?;
        if let Some(owner) = self.plan.cgroup_owner {
            cgroup.delegate(owner)?;
        }
        self.placeholder = placeholder;
        Ok(())
    }

    fn make_cgroup(&mut self) -> Result<()> {
        let made = self.make_cgroup_dirs();
        if let (Err(_), Some(container)) = (&made, self.job.container.as_mut()) {
            // It may be another container's: the teardown must not touch it.
            container.record.cgroup = None;
            container.save()?;
        }
        made?;
        // Before anybody is in it: cgroup v1 denies all for a moment before it allows again, and
        // mknod(2) in that moment would fail.
        if !self.plan.filter_devices {
            return Ok(());
        }
        let resources = self.plan.resources.as_ref();
        let rules = resources.and_then(|resources| resources.devices().as_deref());
        self.cgroup()?.set_devices(rules.unwrap_or_default())
    }

    /// From here on `delete` finds the process, whatever happens to this one.
    fn record(&mut self) -> Result<()> {
        let pid = self.launched()?.pid;
        let Some(container) = self.job.container.as_deref_mut() else { return Ok(()) };
        let time = start_time(pid).ok_or_else(|| Error::system("the process is gone already"))?;
        container.record.pid = pid;
        container.record.start_time = time;
        container.save()
    }

    fn limit(&self, which: Limits) -> Result<()> {
        let cgroup = self.cgroup()?;
        let resources = self.plan.resources.as_ref();
        match (which, resources) {
            (Limits::Memory, Some(resources)) => cgroup.set_memory(resources),
            (Limits::Others, Some(resources)) => cgroup.set_early(resources),
            (_, None) => Ok(()),
        }
    }

    fn hooks(&self, point: HookPoint) -> Result<()> {
        let Some(all) = self.job.hooks else { return Ok(()) };
        let list = match point {
            HookPoint::Prestart => all.prestart(),
            HookPoint::CreateRuntime => all.create_runtime(),
            HookPoint::CreateContainer => all.create_container(),
            HookPoint::StartContainer => all.start_container(),
        };
        let container = self.job.container.as_deref();
        let container = container.ok_or_else(|| Error::new(Kind::Bug, "hooks of no container"))?;
        // The specification had `prestart` after `create` once, and those who test for its state do
        // so still.
        let created = matches!(point, HookPoint::Prestart | HookPoint::StartContainer);
        let state = container.state(if created { Status::Created } else { Status::Creating });
        let place = match point {
            HookPoint::Prestart | HookPoint::CreateRuntime => hooks::Place::Host,
            HookPoint::CreateContainer => {
                hooks::Place::Namespaces(&self.launched()?.pidfd, &self.plan.namespaces)
            }
            HookPoint::StartContainer => hooks::Place::Container(container),
        };
        hooks::run(list.as_deref().unwrap_or_default(), point.name(), &state, place)
    }

    /// Before there is a child, of this process: the child will have it too.
    fn attribute(&self, attribute: &Attribute) -> Result<()> {
        let pid = self.launched.as_ref().map_or(0, |launched| launched.pid);
        match attribute {
            // By the parent, who sees it through the host's own procfs.
            Attribute::OomScore(score) => {
                let path = format!("/proc/{pid}/oom_score_adj");
                Ok(fs::write_kernel_file(Path::new(&path), score.to_string().as_bytes())?)
            }
            other => Ok(process::attribute(other, pid)?),
        }
    }

    fn tell(&self, barrier: Barrier) -> Result<()> {
        let report = barrier::Report { step: barrier as u32, errno: 0 };
        Ok(barrier::send(&self.launched()?.control, report)?)
    }

    /// A path may lead to the runtime's own network namespace, whose sysctls are not the container's.
    fn not_the_hosts(&self, network: &OwnedFd) -> Result<()> {
        let net = |planned: &&Planned| match &planned.step {
            Step::Sysctl { path, .. } => path.to_bytes().starts_with(b"net/"),
            _ => false,
        };
        match self.plan.steps.iter().find(net) {
            Some(planned) if is_own(network, c"/proc/self/ns/net")? => {
                let cause = "not allowed in host network namespace";
                Err(Error::user(cause).doing(planned.to_string()))
            }
            _ => Ok(()),
        }
    }

    /// All that the child will use.
    pub(super) fn tools(&mut self, control: OwnedFd) -> Result<Tools> {
        let plan = self.plan;
        let mut namespaces = Vec::new();
        for planned in &plan.steps {
            if let (Side::Child, Step::JoinNamespace(kind, path)) = (planned.side, &planned.step) {
                let namespace = open_namespace(path).doing(|| planned.to_string())?;
                if *kind == NsKind::Network {
                    self.not_the_hosts(&namespace)?;
                }
                namespaces.push((*kind, namespace));
            }
        }
        let root = match self.root.take() {
            None => self.root_of_joined()?,
            mounted => mounted,
        };
        let tasks = plan.cgroup.as_ref().map(|cgroup| cgroup.tasks()).transpose()?;
        let (index, program) = plan.program()?;
        let (argv, envp) = vectors(&control, index, program)?;
        Ok(Tools {
            control,
            start: self.job.start.as_ref().map(OwnedFd::try_clone).transpose()?,
            console: self.job.console.take(),
            stdio: self.job.stdio.take(),
            namespaces,
            root,
            container: self.job.join.take(),
            tasks: tasks.unwrap_or_default(),
            filter: plan.filter.as_ref().map(filter),
            last: selfexe::last()?,
            argv,
            envp,
            trace: self.trace,
            fault: self.fault,
        })
    }
}

/// Namespaces are the same if their files are.
fn is_own(namespace: &OwnedFd, own: &CStr) -> Result<bool> {
    let own = nix::sys::stat::stat(own)?;
    let other = nix::sys::stat::fstat(namespace)?;
    Ok((own.st_dev, own.st_ino) == (other.st_dev, other.st_ino))
}

fn open_namespace(path: &CStr) -> Result<OwnedFd> {
    let path = Path::new(OsStr::from_bytes(path.to_bytes()));
    Ok(fs::open(path, OFlag::O_RDONLY, 0)?.into())
}

fn filter(filter: &crate::oci::seccomp::Filter) -> (Vec<seccomp::Instruction>, u32) {
    let program = filter.program.iter().map(|insn| seccomp::Instruction {
        code: insn.code,
        jt: insn.jt,
        jf: insn.jf,
        k: insn.k,
    });
    (program.collect(), filter.all_flags())
}

/// The arguments of `last` (pause/last.rs) and the program's environment.
pub(super) fn vectors(
    control: &OwnedFd,
    step: usize,
    program: &Program,
) -> Result<(exec::CVec, exec::CVec)> {
    let count = program.candidates.len();
    let mut arguments = vec![c"last".to_owned()];
    for number in [control.as_raw_fd() as usize, step, count] {
        arguments.push(CString::new(number.to_string()).unwrap_or_default());
    }
    arguments.extend(program.candidates.iter().cloned());
    arguments.extend(program.args.iter().cloned());
    let env = program.env.clone();
    let envp = if program.home { exec::CVec::with_spare(env) } else { exec::CVec::new(env) };
    Ok((exec::CVec::new(arguments), envp))
}
