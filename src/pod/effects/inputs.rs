//! What containers are made of besides their image: the pod's volumes, and their environment.

use super::Place;
use super::sandbox::{memory_dir, node_memory};
use crate::error::{Context, Error, Result};
use crate::image::Image;
use crate::pod::node::host_ip;
use crate::pod::references::{Names, Objects};
use crate::pod::translate::downward::Node;
use crate::pod::translate::env::{Files, Sources, resolve};
use crate::pod::translate::{Source, expand_strictly, seccomp};
use crate::pod::volumes::{self, Dirs, Setup};
use crate::sys::path::{fd_path, open_beneath};
use crate::sys::{Errno, fs};
use k8s_openapi::api::core::v1::{Container, Volume};
use nix::fcntl::OFlag;
use oci_spec::runtime::LinuxSeccomp;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Larger files are no profiles.
const MAX_PROFILE: u64 = 4 << 20;
/// What a program can be given as its environment, more or less.
const MAX_ENV: u64 = 1 << 20;

/// What a container's `volumeMounts` mount. Some are descriptors, which the runtime must inherit.
#[derive(Debug, Default)]
pub struct Mounted {
    /// In the order of the manifest.
    pub sources: Vec<Source>,
    /// Held until the container is made.
    held: Vec<OwnedFd>,
}

/// Makes every volume of the pod; an error comes with the name of the volume.
pub fn make_volumes(place: &Place) -> std::result::Result<(), (String, Error)> {
    let volumes = volumes_of(place);
    let named = |volume: &Volume| {
        let name = volume.name.clone();
        move |error| (name, error)
    };
    let Some(first) = volumes.first() else { return Ok(()) };
    let names = Names::of_volumes(volumes);
    let objects = Objects::read(&place.config.paths, &place.pod, &names).map_err(named(first))?;
    let memory_dir = if volumes.iter().any(volumes::is_read_only) {
        super::sandbox::make_memory_dir(place).map_err(named(first))?
    } else {
        memory_dir(place)
    };
    let (disk, memory) = (place.dir.join("volumes"), memory_dir.join("volumes"));
    let setup = Setup {
        pod: &place.pod,
        dirs: Dirs { disk: &disk, memory: &memory },
        memory: node_memory(),
        objects: &objects,
        node: &node(place),
    };
    for volume in volumes {
        volumes::prepare(volume, &setup).map_err(named(volume))?;
    }
    Ok(())
}

/// The container's own environment; the errors are the kubelet's.
pub fn environment(
    place: &Place,
    container: &Container,
    ip: Option<&str>,
) -> Result<Vec<(String, String)>> {
    let names = Names::of_container(container);
    let objects = Objects::read(&place.config.paths, &place.pod, &names)?;
    let files = env_files(place, container)?;
    let is_told = container.env.iter().flatten().any(|variable| variable.value_from.is_some());
    let node = if is_told { node(place) } else { Node::default() };
    resolve(&place.pod, container, &Sources { objects: &objects, files: &files, ip, node: &node })
}

/// The files that variables are taken from, by volume and path. They are the containers' own, so
/// whatever stands in their place is no reason to wait or to grow.
fn env_files(place: &Place, container: &Container) -> Result<Files> {
    let (disk, memory) = (place.dir.join("volumes"), memory_dir(place).join("volumes"));
    let dirs = Dirs { disk: &disk, memory: &memory };
    let mut files = Files::new();
    for variable in container.env.iter().flatten() {
        let source = variable.value_from.as_ref().and_then(|from| from.file_key_ref.as_ref());
        let Some(source) = source else { continue };
        let volume = volumes_of(place).iter().find(|it| it.name == source.volume_name);
        let volume = volume.filter(|it| it.empty_dir.is_some()).ok_or_else(|| {
            Error::user(format!("there is no emptyDir volume {:?} in the pod", source.volume_name))
        })?;
        let read = volumes::read(&volumes::path(volume, dirs), Path::new(&source.path), MAX_ENV);
        let text =
            match read {
                Err(error) if error.errno() == Some(Errno::ENOENT) => None,
                read => Some(read.doing(|| {
                    format!("failed to open environment variable file {:?}", source.path)
                })?),
            };
        files.insert((source.volume_name.clone(), source.path.clone()), text);
    }
    Ok(files)
}

/// The seccomp profile in a file that the container names. It lies below the instance's directory of
/// profiles whatever it says (CVE-2023-2431), and is a profile of the runtime specification.
pub fn seccomp(place: &Place, container: &Container) -> Result<Option<LinuxSeccomp>> {
    let seccomp::Wanted::File(file) = seccomp::wanted(&place.pod, container) else {
        return Ok(None);
    };
    let dir = place.config.paths.lib.join("seccomp");
    let load = || -> Result<LinuxSeccomp> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
        let dir = fs::open(&dir, flags, 0)?;
        let file = open_beneath(dir, Path::new(&file), OFlag::O_RDONLY | OFlag::O_NONBLOCK, 0)?;
        let text = fs::read_file_limited(&file.into(), MAX_PROFILE)?;
        serde_json::from_slice(&text).map_err(|error| Error::user(error.to_string()))
    };
    let loaded = load().doing(|| {
        let path = dir.join(&file);
        format!("cannot load seccomp profile {:?}", path.display().to_string())
    });
    loaded.map(Some)
}

/// The AppArmor profile that the container names, its own before the pod's; `None` if it is to be
/// unconfined. It has to be loaded: else the runtime says so.
pub fn app_armor(place: &Place, container: &Container) -> Result<Option<String>> {
    let own = container.security_context.as_ref().and_then(|own| own.app_armor_profile.as_ref());
    let spec = place.pod.spec.as_ref();
    let of_pod = spec.and_then(|spec| spec.security_context.as_ref()?.app_armor_profile.as_ref());
    let Some(profile) = own.or(of_pod).filter(|profile| profile.type_ == "Localhost") else {
        return Ok(None);
    };
    let enabled = fs::read_kernel_file(Path::new("/sys/module/apparmor/parameters/enabled"));
    if !enabled.is_ok_and(|enabled| enabled.starts_with('Y')) {
        let why = "Cannot enforce AppArmor: AppArmor is not enabled on the host";
        return Err(Error::user(why));
    }
    Ok(profile.localhost_profile.clone())
}

/// What the container mounts; the errors are the kubelet's. `images` are those of its volumes.
pub fn mounts(
    place: &Place,
    container: &Container,
    env: &[(String, String)],
    images: &BTreeMap<String, Image>,
) -> Result<Mounted> {
    let (disk, memory) = (place.dir.join("volumes"), memory_dir(place).join("volumes"));
    let dirs = Dirs { disk: &disk, memory: &memory };
    let mut mounted = Mounted::default();
    for (index, mount) in container.volume_mounts.iter().flatten().enumerate() {
        let volume = volumes_of(place).iter().find(|volume| volume.name == mount.name);
        let volume = volume.ok_or_else(|| {
            let field = format!("volumeMounts[{index}].name");
            Error::user(format!("{field}: there is no volume {:?} in the pod", mount.name))
        })?;
        let layers = images.get(&volume.name).map(|image| image.layers.clone()).unwrap_or_default();
        let path = match layers.as_slice() {
            [only] => only.clone(),
            _ => volumes::path(volume, dirs),
        };
        let read_only = volumes::is_read_only(volume);
        let expression = mount.sub_path_expr.as_deref().filter(|text| !text.is_empty());
        let sub_path = match expression {
            Some(expression) => Some(expand_strictly(expression, env)?),
            None => mount.sub_path.clone().filter(|path| !path.is_empty()),
        };
        let path = match sub_path {
            None => path,
            Some(sub_path) => {
                let sub_path = Path::new(&sub_path);
                volumes::check_sub_path(sub_path)?;
                let opened = match layers.len() {
                    0 => volumes::open_sub_path(&path, sub_path),
                    1 => volumes::find_sub_path(&path, sub_path),
                    _ => Err(Error::user("the image has more than one layer")
                        .hint("mount the image without a subPath")),
                };
                let opened = opened.doing(|| {
                    let (volume, container) = (&mount.name, &container.name);
                    format!(
                        "failed to prepare subPath for volumeMount {volume:?} of container \
                         {container:?}"
                    )
                })?;
                let path = fd_path(opened.as_fd());
                mounted.held.push(opened);
                path
            }
        };
        mounted.sources.push(Source { path, read_only, layers });
    }
    Ok(mounted)
}

fn volumes_of(place: &Place) -> &[Volume] {
    place.pod.spec.as_ref().and_then(|spec| spec.volumes.as_deref()).unwrap_or_default()
}

/// Brings the volumes up to date that are made of objects, of a pod whose metadata or whose
/// ConfigMaps and Secrets have changed.
pub fn refresh_volumes(place: &Place) -> Result<()> {
    let volumes = volumes_of(place);
    if !volumes.iter().any(volumes::is_read_only) {
        return Ok(());
    }
    let names = Names::of_volumes(volumes);
    let objects = Objects::read(&place.config.paths, &place.pod, &names)?;
    let (disk, memory) = (place.dir.join("volumes"), memory_dir(place).join("volumes"));
    let setup = Setup {
        pod: &place.pod,
        dirs: Dirs { disk: &disk, memory: &memory },
        memory: node_memory(),
        objects: &objects,
        node: &node(place),
    };
    let mut refreshed = Ok(());
    for volume in volumes {
        // An object that is gone leaves what it made, as under the kubelet; the others go on.
        refreshed = refreshed.and(volumes::refresh(volume, &setup).map(drop));
    }
    refreshed
}

/// The node, as containers are told about it.
fn node(place: &Place) -> Node {
    let cpus = std::thread::available_parallelism().map_or(1, |cpus| cpus.get() as u64);
    let storage = rustix::fs::statvfs(&place.config.paths.lib)
        .map_or(0, |is| is.f_blocks.saturating_mul(is.f_frsize));
    Node { ip: host_ip().unwrap_or_default(), cpus, memory: node_memory(), storage }
}
