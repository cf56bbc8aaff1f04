//! One instance of a container: image, user, bundle, process; and its removal.

use super::image::{Found, find, missing_secrets, of_volumes};
use super::inputs::{self, Mounted};
use super::{Place, sandbox};
use crate::error::{Context, Error, Result};
use crate::image::{self, Image};
use crate::kube::roster::{self, Role};
use crate::oci::bundle::Bundle;
use crate::oci::container::Container as Made;
use crate::oci::ops::{self, CreateOptions};
use crate::pod::event::{Event, StartStage};
use crate::pod::state::{self, ContainerState, PodState};
use crate::pod::store::{make_private_dir, remove_tree, write_json};
use crate::pod::translate::{self, Credentials, Input, Places, Sandbox};
use crate::pod::worker::Reply;
use crate::pod::{Paths, attached, fault, logs, stream};
use crate::sys::{fork, fs};
use k8s_openapi::api::core::v1::Container;
use nix::fcntl::OFlag;
use oci_spec::runtime::{LinuxSeccomp, Spec};
use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Starts an instance and reports each stage.
pub fn start(
    place: &Place,
    state: &PodState,
    (name, attempt): (&str, u32),
    reply: &mut Reply,
) -> Result<()> {
    let container = &*place.container(name)?;
    let missing = missing_secrets(place)?;
    if !missing.is_empty() {
        reply.send(&Event::SecretsMissing { names: missing })?;
    }
    let images = of_volumes(place, container, reply)
        .map_err(|(image, fault)| (Some(image), fault))
        .and_then(|volumes| {
            let own = find(place, container, reply).map_err(|fault| (None, fault))?;
            Ok((own, volumes))
        });
    let (found, volumes) = match images {
        Ok(images) => images,
        Err((volume, (fault, message))) => {
            let container = name.to_owned();
            return reply.send(&Event::ImageFailed { container, volume, fault, message });
        }
    };
    fault::worker("container: image found");
    reply.send(&Event::ImageReady {
        container: name.to_owned(),
        image: found.name.clone(),
        image_id: found.id.clone(),
        // One that nobody knows is as good as none.
        stop_signal: image::config::stop_signal(&found.image.config).unwrap_or(0),
        pulled: found.pulled.clone(),
    })?;
    let instance = Instance {
        place,
        state,
        container,
        id: state::container_id(&place.uid, name, attempt),
        attempt,
        found,
        volumes,
    };
    let container = name.to_owned();
    reply.send(&match instance.start() {
        Ok((pid, user)) => Event::ContainerStarted { container, attempt, pid, user },
        Err((stage, error)) => {
            let undone = clean(place, &instance.id);
            let undone = undone.err().map(|undo| format!("; then, undoing it: {undo}"));
            let message = error.to_string() + &undone.unwrap_or_default();
            Event::ContainerFailed { container, attempt, stage, message }
        }
    })
}

/// Removes what an instance leaves: OCI state, cgroup, bundle, writable layer, termination message.
pub fn clean(place: &Place, id: &str) -> Result<()> {
    let deleted = ops::delete(&place.config.paths.oci, id, true).map(drop);
    fault::worker("container: deleted");
    let mut removed = Ok(());
    for path in [place.bundle(id), overlay(place, id), place.termination_log(id)] {
        removed = removed.and(remove_tree(&path));
    }
    deleted.and(removed)
}

pub fn overlay(place: &Place, id: &str) -> PathBuf {
    place.dir.join("overlay").join(id)
}

struct Instance<'a> {
    place: &'a Place,
    state: &'a PodState,
    container: &'a Container,
    id: String,
    attempt: u32,
    found: Found,
    /// The images of volumes, by the volumes' names.
    volumes: BTreeMap<String, Image>,
}

/// What the manifest refers to, read and opened.
struct Given {
    env: Vec<(String, String)>,
    mounted: Mounted,
    seccomp: Option<LinuxSeccomp>,
    app_armor: Option<String>,
}

impl Instance<'_> {
    fn start(&self) -> std::result::Result<(i32, Credentials), (StartStage, Error)> {
        let at = |stage| move |error| (stage, error);
        let dir = self.place.bundle(&self.id);
        if dir.exists() {
            clean(self.place, &self.id).map_err(at(StartStage::Create))?;
        }
        self.verify_user().map_err(at(StartStage::Config))?;
        let ip = self.state.sandbox.ip.as_deref();
        let given = self.given(ip).map_err(at(StartStage::Config))?;
        sandbox::restore_hosts(self.place, ip.and_then(|ip| ip.parse().ok()))
            .map_err(at(StartStage::Config))?;
        fault::worker("container: inputs read");
        let user = self.user().map_err(at(StartStage::Create))?;
        self.make_places(&dir).map_err(at(StartStage::Create))?;
        fault::worker("container: places made");
        let spec = self.spec(&user, &given).map_err(at(StartStage::Create))?;
        write_json(&dir.join("config.json"), &spec).map_err(at(StartStage::Create))?;
        fault::worker("container: configured");
        self.take_stdio(&user).map_err(at(StartStage::Create))?;
        let console = self.place.fifos(&self.container.name).join(attached::CONSOLE_SOCKET);
        let options = CreateOptions {
            root: self.place.config.paths.oci.clone(),
            id: self.id.clone(),
            own_bundle: true,
            console_socket: (self.container.tty == Some(true)).then_some(console),
            joined: self.joined().map_err(at(StartStage::Start))?,
            ..Default::default()
        };
        let bundle = Bundle { dir, spec, text: None, warnings: Vec::new() };
        let started = ops::run_detached(&bundle, &options).map_err(at(StartStage::Start))?;
        fault::worker("container: started");
        Ok((started.pid, user))
    }

    fn given(&self, ip: Option<&str>) -> Result<Given> {
        let (place, container) = (self.place, self.container);
        let env = inputs::environment(place, container, ip)?;
        let mounted = inputs::mounts(place, container, &env, &self.volumes)?;
        let seccomp = inputs::seccomp(place, container)?;
        let app_armor = inputs::app_armor(place, container)?;
        Ok(Given { env, mounted, seccomp, app_armor })
    }

    fn verify_user(&self) -> Result<()> {
        let named = image::config::user(&self.found.image.config);
        translate::verify_non_root(&self.place.pod, self.container, named)
    }

    fn user(&self) -> Result<Credentials> {
        let image = &self.found.image;
        let named = image::config::user(&image.config);
        let wanted = translate::wanted_user(&self.place.pod, self.container, named);
        translate::credentials(&self.place.pod, image::rootfs::user(image, wanted)?)
    }

    /// The container whose processes an ephemeral one is to see.
    fn target(&self) -> Result<Option<&ContainerState>> {
        let all = self.place.pod.spec.iter().flat_map(|spec| spec.ephemeral_containers.iter());
        let own = all.flatten().find(|it| it.name == self.container.name);
        let Some(name) = own.and_then(|own| own.target_container_name.as_ref()) else {
            return Ok(None);
        };
        let target = self.state.container(name).filter(|target| target.pid > 0);
        target.map(Some).ok_or_else(|| {
            Error::user(format!("unable to find target container {name:?}: it does not run"))
        })
    }

    /// The sandbox's process and the target's, whose namespaces are found by their pids.
    fn joined(&self) -> Result<Vec<OwnedFd>> {
        let target = self.target()?.map(|target| target.id.as_str());
        let ids = target.into_iter().chain([self.state.sandbox.id.as_str()]);
        let process = |id| {
            let process = Made::open(&self.place.config.paths.oci, id)?.init()?;
            process.ok_or_else(|| {
                Error::system(format!("{id}, whose namespaces it is to join, has ended"))
            })
        };
        ids.map(process).collect()
    }

    fn make_places(&self, dir: &Path) -> Result<()> {
        make_private_dir(dir)?;
        make_private_dir(&self.place.rootfs())?;
        if !self.found.image.is_host() {
            let overlay = overlay(self.place, &self.id);
            make_private_dir(&overlay)?;
            image::rootfs::prepare(&self.found.image, &overlay)?;
        }
        let log = self.place.termination_log(&self.id);
        log.parent().map_or(Ok(()), make_private_dir)?;
        let flags = OFlag::O_CREAT | OFlag::O_WRONLY | OFlag::O_NOFOLLOW;
        fs::open(&log, flags, 0o666).doing(|| format!("make {}", log.display()))?;
        set_mode(&log, 0o666)
    }

    fn spec(&self, user: &Credentials, given: &Given) -> Result<Spec> {
        let place = self.place;
        let paths = &place.config.paths;
        let hidden = state_directories(paths);
        let devices =
            if is_privileged(self.container) { stream::host_devices()? } else { Vec::new() };
        let file = |name| place.dir.join(name);
        translate::spec(&Input {
            pod: &place.pod,
            container: self.container,
            id: &self.id,
            attempt: self.attempt,
            image: &self.found.image,
            env: &given.env,
            user,
            sandbox: &Sandbox {
                id: &self.state.sandbox.id,
                pid: self.state.sandbox.pid,
                target: self.target()?.map(|target| target.pid),
            },
            places: &Places {
                rootfs: &place.rootfs(),
                overlay: &overlay(place, &self.id),
                hosts: &file("hosts"),
                hostname: &file("hostname"),
                resolv_conf: &file("resolv.conf"),
                termination_log: &place.termination_log(&self.id),
                shm: &sandbox::shm(place),
                volumes: &given.mounted.sources,
                hidden: &hidden,
            },
            machine: &sandbox::machine()?,
            seccomp: given.seccomp.as_ref(),
            app_armor: given.app_armor.as_deref(),
            host_devices: &devices,
        })
    }

    /// /dev/null or a FIFO to read, FIFOs to write: the container gets this process's own.
    fn take_stdio(&self, user: &Credentials) -> Result<()> {
        let fifos = self.place.fifos(&self.container.name);
        let (stdin, tty) = (self.container.stdin == Some(true), self.container.tty == Some(true));
        let input = if stdin && !tty {
            // The monitor has it open for writing.
            logs::open_fifo(&fifos, attached::STDIN, OFlag::O_RDONLY)?
        } else {
            fs::open(Path::new("/dev/null"), OFlag::O_RDONLY, 0).doing(|| "open /dev/null")?
        };
        fork::dup_to(input.as_fd(), 0).doing(|| "give the container its stdin")?;
        let role = roster::find(&self.place.pod, &self.container.name).map(|(role, _)| role);
        let how = if role == Some(Role::Ephemeral) { OFlag::O_RDWR } else { OFlag::O_WRONLY };
        for (number, stream) in (1..).zip(logs::STREAMS) {
            // The monitor and pause read; without a reader this would wait for one. Pause has none
            // of an ephemeral container, which is its own reader while there is no monitor.
            let fifo = logs::open_fifo(&fifos, stream, how)?;
            // Programs open /dev/stdout anew, by the owner's right.
            std::os::unix::fs::fchown(&fifo, Some(user.uid), Some(user.gid))
                .doing(|| format!("give the container its {stream}"))?;
            fork::dup_to(fifo.as_fd(), number)
                .doing(|| format!("give the container its {stream}"))?;
        }
        Ok(())
    }
}

/// The state of this instance, and of the default one, which is there under another root too.
fn state_directories(own: &Paths) -> Vec<PathBuf> {
    let system = Paths::system();
    let all = [own, &system].map(|paths| [&paths.lib, &paths.run, &paths.logs, &paths.oci]);
    let mut dirs: Vec<PathBuf> = all.into_iter().flatten().cloned().collect();
    dirs.sort();
    dirs.dedup();
    dirs.retain(|dir| dir.is_dir());
    dirs
}

fn is_privileged(container: &Container) -> bool {
    let context = container.security_context.as_ref();
    context.is_some_and(|context| context.privileged == Some(true))
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    std::fs::set_permissions(path, Permissions::from_mode(mode))
        .doing(|| format!("change the mode of {}", path.display()))
}
