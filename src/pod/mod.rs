//! The engine of pods, without a daemon: [`Engine`] is all that a front-end uses. Nothing here
//! prints, exits, or takes its caller for a terminal.

pub mod action;
mod admission;
pub mod apply;
pub mod attached;
mod brief;
pub mod change;
mod clock;
pub mod conditions;
mod debug;
pub mod effects;
pub mod event;
pub mod eviction;
pub mod fault;
pub mod gc;
pub mod image_gc;
mod life;
mod limits;
mod listing;
pub mod lock;
mod logchain;
pub mod logread;
pub mod logs;
pub mod machine;
pub mod monitor;
pub mod node;
pub mod objects;
mod order;
mod phase;
pub mod prober;
mod probes;
pub mod processes;
pub mod publish;
pub mod recorder;
pub mod references;
mod refresh;
mod restart;
mod restart_all;
mod salvage;
pub mod sandbox;
mod start;
pub mod state;
mod stop;
pub mod store;
pub mod stream;
mod termination;
pub mod translate;
mod usage;
pub mod volumes;
mod wake;
pub mod watch;
pub mod worker;

pub use crate::net::cni::Dirs as CniDirs;
pub use listing::Detail;
pub use usage::{NodeUsage, Usage};

use crate::error::{Error, Kind, Result};
use crate::image;
use crate::kube::{Decoded, Object, Pod, Resource};
use k8s_openapi::api::core::v1::{EphemeralContainer, Event};
use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;
use store::Store;

/// Where an instance keeps its things; two roots never share anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// Pods, images, network leases: `/var/lib/runp`, or `DIR/lib`.
    pub lib: PathBuf,
    /// Locks, pipes, bundles: `/run/runp-pods`, or `DIR/run`.
    pub run: PathBuf,
    /// Logs: `/var/log/runp/pods`, or `DIR/logs`.
    pub logs: PathBuf,
    /// The OCI state root, which `runp --root` shows: `/run/runp`, or `DIR/runp`.
    pub oci: PathBuf,
    /// The root as given, `None` for the default.
    pub root: Option<PathBuf>,
}

impl Paths {
    /// The default, `/var/lib/runp` and its kin.
    pub fn system() -> Self {
        Self {
            lib: "/var/lib/runp".into(),
            run: "/run/runp-pods".into(),
            logs: "/var/log/runp/pods".into(),
            oci: "/run/runp".into(),
            root: None,
        }
    }

    /// Everything below `root` (`--root`).
    pub fn below(root: &Path) -> Self {
        Self {
            lib: root.join("lib"),
            run: root.join("run"),
            logs: root.join("logs"),
            oci: root.join("runp"),
            root: Some(root.to_owned()),
        }
    }
}

/// How pods reach the network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// The built-in bridge.
    #[default]
    Bridge,
    /// Loopback only.
    None,
    /// The first network of a directory, by its plugins.
    Cni(CniDirs),
}

/// An instance's settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its directories.
    pub paths: Paths,
    /// The node's name.
    pub node: String,
    /// The pod network.
    pub network: Network,
    /// `--pod-cidr`.
    pub pod_cidr: Option<String>,
}

/// What `apply` did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// New.
    Created,
    /// Changed.
    Configured,
    /// As it was.
    Unchanged,
}

/// Which object a change is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its kind.
    pub resource: Resource,
    /// Its namespace; empty for what has none.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Key {
    /// The key of `object`.
    pub fn of(object: &Object) -> Self {
        let (namespace, name) = (object.namespace().to_owned(), object.name().to_owned());
        Self { resource: object.resource(), namespace, name }
    }
}

/// Whether a change is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// It is.
    Store,
    /// It is only checked (`--dry-run`).
    Check,
}

/// What `delete` takes.
#[derive(Clone, Copy, Debug, Default)]
pub struct DeleteOptions {
    /// `--grace-period`; `None` for the pod's own.
    pub grace_period: Option<i64>,
    /// `--force`.
    pub force: bool,
}

/// What `logs` takes.
#[derive(Clone, Debug, Default)]
pub struct LogOptions {
    /// `-f`.
    pub follow: bool,
    /// `--previous`.
    pub previous: bool,
    /// `--timestamps`.
    pub timestamps: bool,
    /// `--tail`.
    pub tail: Option<usize>,
    /// `--since`, `--since-time`: only lines from then on.
    pub since: Option<k8s_openapi::jiff::Timestamp>,
    /// `--limit-bytes`.
    pub limit_bytes: Option<u64>,
}

/// What `exec` takes.
#[derive(Clone, Debug, Default)]
pub struct ExecOptions {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Pass stdin on.
    pub stdin: bool,
    /// Give it a terminal, relayed to the caller's.
    pub tty: bool,
}

/// One process of a pod's tree.
#[derive(Clone, Debug)]
pub struct ProcessNode {
    /// On the host.
    pub pid: i32,
    /// Its name (`comm`).
    pub name: String,
    /// Its command line.
    pub command: String,
    /// The container it belongs to; empty for the sandbox's pause.
    pub container: String,
    /// Its children.
    pub children: Vec<ProcessNode>,
}

/// A change seen by [`Engine::watch`].
#[derive(Clone, Debug)]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// The object as it is then; of one that is gone, its last state.
    pub object: Object,
}

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It was there when the watch began.
    Present,
    /// It appeared.
    Added,
    /// It changed.
    Modified,
    /// It is gone, or is not among the chosen ones any more.
    Deleted,
}

/// What [`Engine::watch`] looks at.
pub struct WatchOptions<'a> {
    /// The kind.
    pub resource: Resource,
    /// One namespace, or all.
    pub namespace: Option<&'a str>,
    /// When to end; `None` never.
    pub timeout: Option<Duration>,
    /// Which objects count.
    pub chosen: &'a dyn Fn(&Object) -> bool,
}

/// The one API of the engine.
pub struct Engine {
    /// Its settings.
    pub config: Config,
    /// Told once of each thing that is wrong with a pod, while others are looked at.
    pub warn: fn(&Error),
    warned: Mutex<HashSet<String>>,
    /// Pods that were told to go, by uid.
    ending: Mutex<HashMap<String, apply::Ending>>,
}

impl Engine {
    /// Opens an instance; makes no directory until something is applied.
    pub fn open(config: Config) -> Result<Self> {
        let (warned, ending) = (Mutex::default(), Mutex::default());
        Ok(Self { config, warn: |_| (), warned, ending })
    }

    /// kubectl's apply: makes the object that a manifest describes, or merges it into the one there
    /// is. A pod's monitor is made sure to run.
    pub fn apply(&self, manifest: &Decoded, commit: Commit) -> Result<apply::Merged> {
        apply::apply(&self.config, manifest, commit)
    }

    /// Stores what `decide` makes of the object there is, which nobody else changes meanwhile.
    /// Defaults, validation and what only the server sets are seen to here.
    pub fn change(
        &self,
        key: &Key,
        commit: Commit,
        decide: change::Decide<'_>,
    ) -> Result<(Applied, Object)> {
        change::change(&self.config, key, commit, decide)
    }

    /// One object of any kind; `NotFound` in kubectl's words.
    pub fn get_object(&self, resource: Resource, namespace: &str, name: &str) -> Result<Object> {
        if resource == Resource::Pods {
            return self.get(namespace, name).map(|pod| Object::Pod(Box::new(pod)));
        }
        let found = match resource {
            Resource::Nodes => Some(self.node()?).filter(|node| node.name() == name),
            Resource::Events => {
                let mut events = self.list_objects(resource, Some(namespace))?.into_iter();
                events.find(|event| event.name() == name)
            }
            _ => objects::get(&self.config.paths, resource, namespace, name)?,
        };
        found.ok_or_else(|| resource.not_found(name))
    }

    /// The objects of a kind in a namespace, or all, sorted by namespace and name.
    pub fn list_objects(&self, resource: Resource, namespace: Option<&str>) -> Result<Vec<Object>> {
        if resource == Resource::Pods {
            let pods = self.list(namespace)?.into_iter();
            return Ok(pods.map(|pod| Object::Pod(Box::new(pod))).collect());
        }
        match resource {
            Resource::Nodes => Ok(vec![self.node()?]),
            Resource::Events => {
                let mut events = Vec::new();
                for (namespace, name) in self.store().names(namespace)? {
                    match self.store().events(&namespace, &name) {
                        Ok(of_pod) => {
                            events.extend(of_pod.into_iter().map(|it| Object::Event(Box::new(it))))
                        }
                        Err(error) => self.warn_once(&error),
                    }
                }
                Ok(events)
            }
            _ => {
                let all = objects::list(&self.config.paths, resource, namespace)?;
                all.damaged.iter().for_each(|error| self.warn_once(error));
                Ok(all.objects)
            }
        }
    }

    /// This machine.
    fn node(&self) -> Result<Object> {
        node::node(&self.config).map(|node| Object::Node(Box::new(node)))
    }

    /// Removes an object that is not a pod, at once; `NotFound` in kubectl's words.
    pub fn remove_object(&self, resource: Resource, namespace: &str, name: &str) -> Result<()> {
        match objects::remove(&self.config.paths, resource, namespace, name)? {
            true => Ok(()),
            false => Err(resource.not_found(name)),
        }
    }

    /// One pod, metadata, spec and status; `NotFound` in kubectl's words.
    pub fn get(&self, namespace: &str, name: &str) -> Result<Pod> {
        let mut pod = self.store().get(namespace, name)?;
        revive(&self.config.paths, &mut pod);
        Ok(pod)
    }

    /// The pods of a namespace, or all, sorted by namespace and name. One that cannot be read is left
    /// out and warned of.
    pub fn list(&self, namespace: Option<&str>) -> Result<Vec<Pod>> {
        self.list_in(namespace, Detail::All)
    }

    /// All pods, for who removes what none uses: an error if one cannot be read.
    pub fn list_whole(&self) -> Result<Vec<Pod>> {
        let mut all = listing::list(&self.store(), None, Detail::All, &|pod| pod)?;
        all.damaged.pop().map_or(Ok(all.pods), Err)
    }

    /// As [`Engine::list`], with no more of each pod than a table shows: five times as fast.
    pub fn list_brief(&self, namespace: Option<&str>) -> Result<Vec<Pod>> {
        self.list_in(namespace, Detail::Brief)
    }

    fn list_in(&self, namespace: Option<&str>, detail: Detail) -> Result<Vec<Pod>> {
        self.map_pods(namespace, detail, &|pod| pod)
    }

    /// What `each` makes of the pods of a namespace, or of all, sorted by namespace and name. It is
    /// called on any thread; a pod that it drops makes room for the next.
    pub fn map_pods<T: Send>(
        &self,
        namespace: Option<&str>,
        detail: Detail,
        each: &(impl Fn(Pod) -> T + Sync),
    ) -> Result<Vec<T>> {
        let paths = &self.config.paths;
        let revived = |mut pod: Pod| {
            revive(paths, &mut pod);
            each(pod)
        };
        let all = listing::list(&self.store(), namespace, detail, &revived)?;
        for leftover in all.others {
            if let Err(error) = gc::sweep(&self.config, &leftover) {
                self.warn_once(&error.doing(format!("sweep {}", leftover.display())));
            }
        }
        all.damaged.iter().for_each(|error| self.warn_once(error));
        Ok(all.pods)
    }

    fn warn_once(&self, error: &Error) {
        if self.warned.lock().is_ok_and(|mut warned| warned.insert(error.to_string())) {
            (self.warn)(error);
        }
    }

    /// Makes an object whose files cannot be read one that can be deleted: it says no more than who
    /// it is.
    pub fn salvage(&self, resource: Resource, namespace: &str, name: &str) -> Result<()> {
        let paths = &self.config.paths;
        match resource {
            Resource::Pods => salvage::salvage(paths, namespace, name),
            Resource::ConfigMaps | Resource::Secrets | Resource::Namespaces => {
                objects::salvage(paths, resource, namespace, name)
            }
            Resource::Events | Resource::Nodes => Ok(()),
        }
    }

    /// The events of one pod, oldest first.
    pub fn events(&self, namespace: &str, name: &str) -> Result<Vec<Event>> {
        self.store().events(namespace, name)
    }

    /// Calls `seen` for every change of the chosen objects, those there are first, until it returns
    /// false or the time is over. Woken by the store, no polling.
    pub fn watch(
        &self,
        options: &WatchOptions<'_>,
        seen: &mut dyn FnMut(Change) -> Result<bool>,
    ) -> Result<()> {
        watch::watch(self, options, seen)
    }

    /// Adds an ephemeral container to a pod; its monitor starts it. Returns the pod as wanted now.
    pub fn add_ephemeral(
        &self,
        namespace: &str,
        name: &str,
        container: EphemeralContainer,
    ) -> Result<Pod> {
        debug::add_ephemeral(&self.config, (namespace, name), container)
    }

    /// Marks a pod for deletion and makes sure its monitor acts; returns without waiting.
    pub fn delete(&self, namespace: &str, name: &str, options: DeleteOptions) -> Result<()> {
        let (uid, ending) = apply::delete(&self.config, namespace, name, options)?;
        if let Ok(mut endings) = self.ending.lock() {
            endings.insert(uid, ending);
        }
        Ok(())
    }

    /// Deletes a namespace with all that is in it; returns its pods, which were told to go.
    pub fn delete_namespace(&self, name: &str, options: DeleteOptions) -> Result<Vec<Pod>> {
        if name == "default" {
            let text = "namespaces \"default\" is forbidden: this namespace may not be deleted";
            return Err(Error::new(Kind::Forbidden, text));
        }
        let found = objects::get(&self.config.paths, Resource::Namespaces, "", name)?;
        found.ok_or_else(|| Resource::Namespaces.not_found(name))?;
        let pods = self.list(Some(name))?;
        for pod in &pods {
            match self.delete(name, pod.metadata.name.as_deref().unwrap_or_default(), options) {
                Err(error) if error.kind() != Kind::NotFound => return Err(error),
                _ => {}
            }
        }
        for kind in [Resource::ConfigMaps, Resource::Secrets] {
            for (_, object) in objects::names(&self.config.paths, kind, Some(name))? {
                objects::remove(&self.config.paths, kind, name, &object)?;
            }
        }
        objects::remove(&self.config.paths, Resource::Namespaces, "", name)?;
        Ok(pods)
    }

    /// Waits until the pod of that uid is gone, with all that it had; false if `timeout` passed first.
    /// One that this engine deleted by force is gone with its record: its network may still be
    /// going down.
    pub fn wait_deleted(
        &self,
        namespace: &str,
        name: &str,
        uid: &str,
        timeout: Option<Duration>,
    ) -> Result<bool> {
        let ending = self.ending.lock().ok().and_then(|mut endings| endings.remove(uid));
        let ending = ending.unwrap_or_default();
        apply::wait_deleted(&self.config, (namespace, name, uid), ending, timeout)
    }

    /// Writes a container's log to `out`; with `follow` until the container has ended for good.
    pub fn logs(
        &self,
        pod: &Pod,
        container: &str,
        options: &LogOptions,
        out: &mut dyn Write,
    ) -> Result<()> {
        let meta = &pod.metadata;
        let part = |name: &Option<String>| name.clone().unwrap_or_default();
        let (namespace, name, uid) = (part(&meta.namespace), part(&meta.name), part(&meta.uid));
        let dir = logs::pod_dir(&self.config.paths.logs, &namespace, &name, &uid);
        let source = logread::source(pod, container, &dir, options.previous)?;
        let pod_dir = self.store().pod_dir(&namespace, &name)?;
        logread::copy(&source, &pod_dir, options, out)
    }

    /// Runs a command in a container, with the caller's stdio; its exit status.
    pub fn exec(&self, pod: &Pod, container: &str, options: &ExecOptions) -> Result<i32> {
        stream::exec(&self.config, pod, container, options)
    }

    /// Passes a container's own streams on until it ends; returns how many bytes it has written.
    /// With `from_start` an instance that has ended already writes none: its log has them.
    pub fn attach(
        &self,
        pod: &Pod,
        container: &str,
        options: &stream::attach::AttachOptions,
    ) -> Result<u64> {
        stream::attach::attach(&self.config, pod, container, options)
    }

    /// Starts a command in a container, one of its streams a pipe of the caller's.
    pub fn exec_piped(
        &self,
        pod: &Pod,
        container: &str,
        command: &[String],
        held: stream::piped::Held,
    ) -> Result<stream::piped::Piped> {
        stream::piped::start(&self.config, pod, container, command, held)
    }

    /// Carries connections of local ports into the pod's network until the pod ends. This process
    /// is in that network from then on.
    pub fn forward(
        &self,
        pod: &Pod,
        forwards: &[stream::forward::Forward],
        tell: &stream::forward::Tell,
    ) -> Result<()> {
        stream::forward::forward(&self.config, pod, forwards, tell)
    }

    /// The pod as its processes, pause at the root.
    pub fn processes(&self, pod: &Pod) -> Result<ProcessNode> {
        stream::processes(&self.config, pod)
    }

    /// What the pod's containers use.
    pub fn usage(&self, pod: &Pod) -> Result<Vec<Usage>> {
        usage::usage(&self.config, pod)
    }

    /// The image store.
    pub fn images(&self) -> Result<image::Store> {
        image::Store::open(&self.config.paths.lib.join("images"))
    }

    /// The pod's monitor: runs until the pod is gone. Called in the process made for it.
    pub fn monitor(&self, namespace: &str, name: &str) -> Result<()> {
        monitor::run(&self.config, namespace, name)
    }

    fn store(&self) -> Store {
        Store::new(&self.config.paths.lib)
    }
}

/// Starts the monitor of a pod that has lost its own. Where that cannot be done nobody knows what
/// the pod is by now.
fn revive(paths: &Paths, pod: &mut Pod) {
    if let Err(error) = apply::revive(paths, pod) {
        let status = pod.status.get_or_insert_default();
        status.phase = Some("Unknown".into());
        status.message = Some(error.to_string());
    }
}
