//! DO: the steps of a plan, one after the other.
//!
//! The parent walks the list and does its own steps; `Clone` makes the child, which walks the same
//! list and does the rest (`child`). They meet at barriers (`barrier`). A step that fails in the
//! child is reported as its number and an errno; the words are the plan's. There is no undoing here:
//! what was made is recorded before it is made, and `ops::delete` takes it down.

pub mod console;
pub mod hooks;

mod barrier;
mod birth;
mod child;
mod fault;
mod idmap;
mod listener;
mod netdev;
mod parent;
mod process;
mod rootfs;
mod source;
mod trace;
mod words;

pub use barrier::{Report, receive, send};
pub use trace::Steps;
pub use words::{after_start, exec_failed};

use super::cgroup::Placeholder;
use super::container::Container;
use super::plan::Plan;
use super::plan::step::{Barrier, OwnerMap, Side};
use crate::error::{Context, Error, Result};
use crate::sys::{clone, poll};
use fault::Fault;
use oci_spec::runtime::Hooks;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;
use trace::Trace;

/// How long the parent waits for the child to reach a barrier. Generous: a mount may wait for a
/// disk or a network.
const CHILD_DEADLINE: Duration = Duration::from_secs(120);

/// What a launch needs beside its plan.
#[derive(Default)]
pub struct Job<'a> {
    /// Whose record gets the pid, and whom hooks are told about.
    pub container: Option<&'a mut Container>,
    /// `exec`: the container to join.
    pub joined: Option<&'a Container>,
    /// Its init process.
    pub join: Option<OwnedFd>,
    /// Must still be there when the namespaces of the configuration have been opened.
    pub owners: &'a [OwnedFd],
    /// `exec --cgroup`: into that one or not at all.
    pub cgroup_named: bool,
    /// Hooks of the creation.
    pub hooks: Option<&'a Hooks>,
    /// `create`: where `start` will connect.
    pub start: Option<OwnedFd>,
    /// Where the terminal's master is sent.
    pub console: Option<console::Receiver>,
    /// Standard descriptors other than the caller's own.
    pub stdio: Option<[OwnedFd; 3]>,
    /// `--trace`.
    pub trace: Option<&'a Path>,
}

/// A process that is ready: it waits for `start`, or runs the user's program.
pub struct Launched {
    /// On the host.
    pub pid: i32,
    /// The same, free of pid reuse.
    pub pidfd: OwnedFd,
    control: OwnedFd,
}

impl Launched {
    /// Kills and reaps: what was to follow the launch has failed.
    pub fn abandon(self) -> Result<i32> {
        match clone::pidfd_send_signal(&self.pidfd, clone::SIGKILL) {
            Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
            Err(errno) => return Err(errno).doing(|| "kill the half-made process"),
        }
        clone::wait(&self.pidfd).doing(|| "reap the half-made process")
    }
}

/// What the parent has made so far.
struct Parent<'a> {
    plan: &'a Plan,
    job: Job<'a>,
    trace: Option<Trace>,
    fault: Fault,
    launched: Option<Launched>,
    /// Holds the container's systemd scope until the launch is over.
    placeholder: Option<Placeholder>,
    /// The parent's own namespaces, while its children are born in others.
    own_namespaces: Vec<OwnedFd>,
    /// What the child is to be born in, with a user namespace among it: a namespace, or a process
    /// and which of its namespaces.
    user_namespace: Option<(OwnedFd, u64)>,
    /// The container's root, where the parent has mounted it or `exec` goes to.
    root: Option<OwnedFd>,
    /// User namespaces made for their mappings.
    maps: Vec<(&'a OwnerMap, OwnedFd)>,
}

/// Does the plan. On failure no process is left; the rest is for the caller to tear down.
pub fn launch(plan: &Plan, job: Job<'_>) -> Result<Launched> {
    let trace = job.trace.map(|_| Trace::new(plan.steps.len())).transpose()?;
    let path = job.trace;
    let fault = Fault::from_env(&plan.steps)?;
    let mut parent = Parent {
        plan,
        job,
        trace,
        fault,
        launched: None,
        placeholder: None,
        own_namespaces: Vec::new(),
        user_namespace: None,
        root: None,
        maps: Vec::new(),
    };
    let done = parent.walk().and_then(|()| parent.await_program());
    let returned = parent.return_to_own_namespaces();
    let traced = match (&parent.trace, path) {
        (Some(trace), Some(path)) => trace.write(path, &plan.steps),
        _ => Ok(()),
    };
    match (done.and(returned).and(traced), parent.launched) {
        (Ok(()), Some(launched)) => Ok(launched),
        (Ok(()), None) => Err(Error::new(crate::error::Kind::Bug, "a plan without a clone")),
        (Err(error), Some(launched)) => {
            launched.abandon()?;
            Err(error)
        }
        (Err(error), None) => Err(error),
    }
}

impl<'a> Parent<'a> {
    fn walk(&mut self) -> Result<()> {
        let plan = self.plan;
        for (index, planned) in plan.steps.iter().enumerate() {
            if planned.side == Side::Child {
                continue;
            }
            self.trace.inspect(|trace| trace.begin(index));
            let struck = self.fault.strike(index).map_err(Error::from);
            let done = struck
                .map_err(|error| error.doing(planned.to_string()))
                .and_then(|()| self.one(planned));
            let result = match &done {
                Ok(()) => Ok(()),
                Err(error) => Err(error.errno().unwrap_or(nix::errno::Errno::EIO)),
            };
            self.trace.inspect(|trace| trace.end(index, result));
            done.map_err(|error| self.first_cause(words::hinted(error, planned)))?;
        }
        Ok(())
    }

    /// A step upon a child that has failed before fails too; the child's own reason is the first. It
    /// was sent before the child's end could make anything fail here, perhaps behind barriers that
    /// have not been read yet.
    fn first_cause(&self, error: Error) -> Error {
        let Some(launched) = &self.launched else { return error };
        let control = [launched.control.as_fd()];
        while poll::poll_in(&control, Some(Duration::ZERO)) == Ok(vec![true]) {
            match self.receive() {
                Ok(Some(report)) if report.errno != 0 => return self.failed(report),
                Ok(Some(_)) => {}
                _ => break,
            }
        }
        self.killed_for_memory().unwrap_or(error)
    }

    /// The kernel has ended the first process of a new container, as v2 does where v1 refuses a limit.
    fn killed_for_memory(&self) -> Option<Error> {
        let cgroup = self.plan.cgroup.as_ref().filter(|_| self.job.container.is_some())?;
        let killed = cgroup.oom_kills().is_ok_and(|kills| kills > 0);
        let cause = "container init was OOM-killed (memory limit too low?)";
        killed.then(|| Error::user(cause).doing("linux.resources.memory"))
    }

    /// Waits until the program has been executed, unless it waits for `start`.
    fn await_program(&self) -> Result<()> {
        if self.job.start.is_some() {
            return Ok(());
        }
        match self.receive()? {
            None => Ok(()),
            Some(report) => Err(self.failed(report)),
        }
    }

    /// Waits until the child has reached `barrier`.
    fn await_child(&self, barrier: Barrier) -> Result<()> {
        self.report(barrier).map(drop)
    }

    /// What the child reports; a failure or its end is an error.
    fn report(&self, before: Barrier) -> Result<Report> {
        match self.receive()? {
            Some(report) if report.errno == 0 => Ok(report),
            Some(report) => Err(self.failed(report)),
            None => Err(self.died(before)),
        }
    }

    fn receive(&self) -> Result<Option<Report>> {
        let launched = self.launched()?;
        match barrier::receive(&launched.control) {
            Err(nix::errno::Errno::EAGAIN) => {
                let seconds = CHILD_DEADLINE.as_secs();
                Err(Error::system(format!(
                    "the container's process has not answered for {seconds} s"
                )))
            }
            received => received.doing(|| "listen to the container's process"),
        }
    }

    fn failed(&self, report: Report) -> Error {
        match self.plan.steps.get(report.step as usize) {
            Some(planned) => words::failed(planned, report.errno),
            None => words::errno(report.errno),
        }
    }

    /// It is gone without a word: killed from outside.
    fn died(&self, barrier: Barrier) -> Error {
        let cause = format!("the container's process died before it was {}", barrier.name());
        Error::system(cause).hint("was it killed, or out of memory? see dmesg")
    }

    fn launched(&self) -> Result<&Launched> {
        self.launched.as_ref().ok_or_else(|| Error::new(crate::error::Kind::Bug, "no child yet"))
    }
}
