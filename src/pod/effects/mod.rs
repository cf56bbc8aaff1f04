//! DO: one function per [`Action`], called in a process forked for it (see [`super::worker`]).
//!
//! Each can be cut short anywhere and be given out again: it removes what an earlier try left under
//! the same id, then does its work from the start. Ids, directories and cgroups follow from the
//! pod's uid, so nothing has to be remembered to find them.

mod container;
mod image;
pub mod inputs;
mod network;
mod sandbox;
mod storage;
mod stuck;
mod teardown;

use super::action::Action;
use super::event::{Event, ProbeResult};
use super::prober::{self, Target};
use super::state::{self, PodState};
use super::worker::Reply;
use super::{Config, admission, fault, logs};
use crate::error::{Context, Error, Result};
use crate::kube::{Pod, roster};
use crate::oci::bundle::Bundle;
use crate::oci::ops;
use k8s_openapi::api::core::v1::Container;
use std::borrow::Cow;
use std::path::PathBuf;

pub use network::detach;
pub use teardown::{clean_up, forget};

/// A pod, and where its things are.
#[derive(Clone, Debug)]
pub struct Place {
    /// The instance.
    pub config: Config,
    /// The pod as wanted.
    pub pod: Pod,
    /// Its uid.
    pub uid: String,
    /// Its directory in the store: record, volumes, writable layers.
    pub dir: PathBuf,
    /// Its directory below `run`: lock, FIFOs, bundles.
    pub run: PathBuf,
}

impl Place {
    /// The bundle of an OCI container of the pod.
    pub fn bundle(&self, id: &str) -> PathBuf {
        self.run.join("bundles").join(id)
    }

    /// An empty directory, over which every container of the pod mounts its root, each in a mount
    /// namespace of its own.
    pub fn rootfs(&self) -> PathBuf {
        self.run.join("rootfs")
    }

    /// The FIFOs of a container.
    pub fn fifos(&self, container: &str) -> PathBuf {
        self.run.join("output").join(container)
    }

    /// The log of one instance of a container.
    pub fn log(&self, container: &str, attempt: u32) -> PathBuf {
        let attempt = i32::try_from(attempt).unwrap_or(i32::MAX);
        logs::file(&self.logs(), container, attempt)
    }

    /// The pod's logs.
    pub fn logs(&self) -> PathBuf {
        let meta = &self.pod.metadata;
        let part = |name: &Option<String>| name.clone().unwrap_or_default();
        let (namespace, name) = (part(&meta.namespace), part(&meta.name));
        logs::pod_dir(&self.config.paths.logs, &namespace, &name, &self.uid)
    }

    /// What an instance writes as its termination message.
    pub fn termination_log(&self, id: &str) -> PathBuf {
        self.dir.join("termination").join(id)
    }

    /// The containers of the spec, of every kind.
    pub fn containers(&self) -> Vec<Cow<'_, Container>> {
        roster::all(&self.pod).into_iter().map(|(_, container)| container).collect()
    }

    /// The first descriptor above those that pause inherits: two for each container.
    pub fn free_fd(&self) -> i32 {
        let held = self.containers().len() * logs::STREAMS.len();
        i32::try_from(held).unwrap_or(i32::MAX).saturating_add(sandbox::FIRST_EXTRA_FD)
    }

    fn container(&self, name: &str) -> Result<Cow<'_, Container>> {
        let found = roster::find(&self.pod, name).map(|(_, container)| container);
        found.ok_or_else(|| Error::user(format!("the pod has no container {name}")))
    }

    fn is_on_host_network(&self) -> bool {
        self.pod.spec.as_ref().is_some_and(|spec| spec.host_network == Some(true))
    }
}

/// Carries out `action`, and reports.
pub fn run(place: &Place, state: &PodState, action: &Action, reply: &mut Reply) -> Result<()> {
    match action.clone() {
        Action::CreateSandbox { attempt } => create_sandbox(place, attempt, reply),
        Action::StopSandbox { attempt } => {
            let failure = sandbox::stop(place, attempt).err().map(|error| error.to_string());
            reply.send(&Event::SandboxStopped { attempt, failure })
        }
        Action::StartContainer { container, attempt } => {
            container::start(place, state, (&container, attempt), reply)
        }
        Action::KillContainer { container, attempt } => {
            let id = state::container_id(&place.uid, &container, attempt);
            ops::kill(&place.config.paths.oci, &id, 9, true)
        }
        Action::ClosePorts { container } => network::close_ports(place, &container),
        Action::Examine { container, attempt } => {
            let id = state::container_id(&place.uid, &container, attempt);
            let init = state.container(&container).map(|container| container.pid);
            let message = stuck::describe(place, (&id, &container), init)?;
            reply.send(&Event::KillFailed { container, attempt, message })
        }
        Action::CleanContainer { container, attempt } => {
            container::clean(place, &state::container_id(&place.uid, &container, attempt))
        }
        Action::RunHook { container, attempt, which, timeout } => {
            fault::worker("hook: begun");
            let failure = with_target(place, state, (&container, attempt), |target| {
                prober::run_hook(target, which, timeout)
            });
            let failure = failure.unwrap_or_else(|error| Err(error.to_string())).err();
            reply.send(&Event::HookDone { container, attempt, which, failure })
        }
        Action::Probe { container, attempt, kind } => {
            fault::worker("probe: begun");
            let result = with_target(place, state, (&container, attempt), |target| {
                prober::run_probe(target, kind)
            });
            let result = result.unwrap_or_else(|error| ProbeResult::Unknown(error.to_string()));
            reply.send(&Event::ProbeDone { container, attempt, kind, result })
        }
        Action::Measure => reply.send(&Event::Measured { usage: storage::measure(place, state)? }),
        Action::Teardown => {
            let failure = teardown::tear_down(place).err().map(|error| error.to_string());
            reply.send(&Event::TornDown { failure })
        }
        // The monitor's own.
        Action::Signal { .. }
        | Action::Dismiss { .. }
        | Action::CancelPull { .. }
        | Action::RecordEvent(_)
        | Action::Remove
        | Action::Exit => Ok(()),
    }
}

/// Asks first whether this machine runs the pod at all.
fn create_sandbox(place: &Place, attempt: u32, reply: &mut Reply) -> Result<()> {
    if attempt == 0
        && let Err((reason, message)) = admission::judge(&place.pod, &machine(place))
    {
        return reply.send(&Event::Rejected { reason, message });
    }
    let event = match sandbox::create(place, attempt, reply) {
        Ok((pid, ip)) => Event::SandboxReady { attempt, pid, ip },
        Err((fault, error)) => Event::SandboxFailed { attempt, fault, message: error.to_string() },
    };
    reply.send(&event)
}

/// What this machine has, as far as it decides whether a pod is run here.
fn machine(place: &Place) -> admission::Machine {
    let (cpus, storage) = (super::node::cpus(), super::node::storage(&place.config.paths.lib));
    let memory = i64::try_from(sandbox::node_memory()).unwrap_or(i64::MAX);
    let name = place.config.node.clone();
    let labels = super::node::labels(&name);
    admission::Machine { cpus, memory, storage, name, labels }
}

/// Calls `ask` with what hooks and probes of an instance need.
fn with_target<T>(
    place: &Place,
    state: &PodState,
    (container, attempt): (&str, u32),
    ask: impl FnOnce(&Target<'_>) -> T,
) -> Result<T> {
    let id = state::container_id(&place.uid, container, attempt);
    let bundle = Bundle::load(&place.bundle(&id))?;
    let process = bundle.spec.process().as_ref();
    let process = process.ok_or_else(|| Error::user("config.json has no process"));
    Ok(ask(&Target {
        pod: &place.pod,
        container,
        ip: state.sandbox.ip.as_deref(),
        sandbox: &state.sandbox.id,
        oci_root: &place.config.paths.oci,
        id: &id,
        process: process.doing(|| format!("find out how {container} runs"))?,
    }))
}
