//! The one clone3. Everything the child needs is made before it.
//!
//! To be born in an existing user namespace takes two: namespaces belong to the user namespace of
//! who makes them, and this process could not come back from there. A helper joins it, clones the
//! child as its sibling (`CLONE_PARENT`), hands over the pidfd and ends.

use super::child::{self, Tools};
use super::{CHILD_DEADLINE, Launched, Parent, barrier};
use crate::error::{Context, Error, Result};
use crate::oci::plan::step::{Mapper, Planned, Step};
use crate::sys::clone::{self, Forked};
use crate::sys::{Errno, cred, fs, ns, socket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

const CLONE_PARENT: u64 = 0x8000;

impl Parent<'_> {
    pub(super) fn clone(&mut self, planned: &Planned, flags: u64) -> Result<()> {
        let (control, childs) = barrier::pair().doing(|| "make a socket pair")?;
        socket::set_receive_timeout(&control, CHILD_DEADLINE).doing(|| "set a deadline")?;
        let tools = self.tools(childs)?;
        for owner in self.job.owners {
            let what = || "look for the process whose namespaces are joined";
            clone::pidfd_send_signal(owner, 0).doing(what)?;
        }
        let cgroup = self.cgroup_to_be_born_in(tools.container.as_ref())?;
        let cgroup = cgroup.as_ref().map(AsFd::as_fd);
        // Nobody in the container gets at this process or its copy; see selfexe.
        let hidden = !self.maps_without_privilege();
        cred::set_dumpable(!hidden).doing(|| "become undumpable")?;
        let born = match self.user_namespace.take() {
            None => self.directly(flags, cgroup, tools, control),
            Some(joined) => self.through_helper(flags, cgroup, tools, control, &joined),
        };
        cred::set_dumpable(true).doing(|| "become dumpable")?;
        self.return_to_own_namespaces()?;
        let born = self.launched.insert(born.doing(|| planned.to_string())?);
        self.plan.cgroup.as_ref().map_or(Ok(()), |cgroup| cgroup.attach(born.pid))
    }

    pub(super) fn return_to_own_namespaces(&mut self) -> Result<()> {
        for own in self.own_namespaces.drain(..) {
            ns::setns(own, 0).doing(|| "return to the own namespaces")?;
        }
        Ok(())
    }

    /// The files in /proc/<pid> of an undumpable process are root's, so only the privileged could
    /// write its maps. Such a child is in a user namespace where nobody else is, and a process of
    /// another one needs privilege over it to look into it.
    fn maps_without_privilege(&self) -> bool {
        self.plan.steps.iter().any(|planned| match planned.step {
            Step::IdMaps { mapper, .. } => mapper != Mapper::Privileged,
            _ => false,
        })
    }

    fn cgroup_to_be_born_in(&self, init: Option<&OwnedFd>) -> Result<Option<OwnedFd>> {
        let Some(cgroup) = &self.plan.cgroup else { return Ok(None) };
        match cgroup.clone_into() {
            // The container has moved elsewhere, and somebody has removed what it left.
            Err(error) if error.errno() == Some(Errno::ENOENT) => {
                self.cgroup_of(init).map(Some).ok_or(error)
            }
            opened => opened,
        }
    }

    /// `exec` without a cgroup named: the one that the container's first process is in.
    fn cgroup_of(&self, init: Option<&OwnedFd>) -> Option<OwnedFd> {
        let init = init.filter(|_| !self.job.cgroup_named)?;
        self.plan.cgroup.as_ref()?.of_process(pid_of(init).ok()?)
    }

    fn directly(
        &self,
        flags: u64,
        cgroup: Option<BorrowedFd<'_>>,
        mut tools: Tools,
        control: OwnedFd,
    ) -> Result<Launched> {
        let born = match clone::clone3(flags, cgroup) {
            // v2: the container has handed out controllers from its cgroup, which no process can be
            // in from then on, and has moved its own processes down.
            Err(Errno::EBUSY) if let Some(own) = self.cgroup_of(tools.container.as_ref()) => {
                clone::clone3(flags, Some(own.as_fd()))?
            }
            born => born?,
        };
        match born {
            Forked::Parent { pid, pidfd } => Ok(Launched { pid, pidfd, control }),
            Forked::Child => {
                // Else the child would hold its own line open when the parent is killed.
                drop(control);
                child::run(&self.plan.steps, &mut tools)
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "as `directly`, and where to")]
    fn through_helper(
        &self,
        flags: u64,
        cgroup: Option<BorrowedFd<'_>>,
        mut tools: Tools,
        control: OwnedFd,
        joined: &(OwnedFd, u64),
    ) -> Result<Launched> {
        // One of its own: on the child's, the child may have its say first.
        let (handed, helpers) = barrier::pair().doing(|| "make a socket pair")?;
        let helper = match clone::clone3(0, None)? {
            Forked::Parent { pidfd, .. } => pidfd,
            Forked::Child => {
                drop(control);
                let entered = ns::setns_process(&joined.0, joined.1);
                match entered.and_then(|()| clone::clone3(flags | CLONE_PARENT, cgroup)) {
                    Ok(Forked::Child) => child::run(&self.plan.steps, &mut tools),
                    Ok(Forked::Parent { pidfd, .. }) => {
                        // Unsent, the parent sees the helper's end instead.
                        socket::send_fd(&helpers, b"born", pidfd).unwrap_or_default();
                        clone::exit(0)
                    }
                    Err(errno) => clone::exit(errno as i32),
                }
            }
        };
        // This end closes, so that an end of the child's is seen.
        drop(tools);
        drop(helpers);
        match clone::wait(&helper).doing(|| "wait for the helper")? {
            0 => {}
            status => return Err(nix::errno::Errno::from_raw(status).into()),
        }
        let pidfd = socket::receive_fd(&handed).doing(|| "receive the process")?;
        let pidfd = pidfd.ok_or_else(|| Error::system("the helper has sent no process"))?;
        Ok(Launched { pid: pid_of(&pidfd)?, pidfd, control })
    }
}

/// The pid as this process sees it; the helper may have been in another PID namespace.
fn pid_of(pidfd: &OwnedFd) -> Result<i32> {
    let path = format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd());
    let info = fs::read_kernel_file(Path::new(&path)).doing(|| format!("read {path}"))?;
    let pid = info.lines().find_map(|line| line.strip_prefix("Pid:"));
    pid.and_then(|pid| pid.trim().parse().ok())
        .filter(|pid| *pid > 0)
        .ok_or_else(|| Error::system("the process is gone already"))
}
