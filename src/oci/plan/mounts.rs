//! The root file system and `mounts`.

use super::namespaces;
use super::options::{self, MountOptions, SUPER_BLOCK};
use super::step::{
    At, Inherit, Mount, Origin, OwnerMap, Place, Source, SourcePath, Step, Target, TargetCheck,
};
use super::{OWN, Plan, Topic, cstring, inside, missing};
use crate::error::{Error, Result};
use crate::oci::cgroup::Mode as CgroupMode;
use crate::sys::types::{AttrChange, NsKind, Propagation, attr};
use oci_spec::runtime::Mount as SpecMount;
use std::borrow::Cow;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// The child's steps from the mount namespace as cloned to all mounts made.
pub(super) fn plan(cx: &Topic<'_>, plan: &mut Plan) -> Result<()> {
    let mounts = cx.spec.mounts().as_deref().unwrap_or_default();
    let mut rest = mounts.iter().enumerate().peekable();
    if cx.namespaces.has(NsKind::Mount) {
        let (at, root) = root_path(plan)?;
        let how = host_propagation(cx)?;
        plan.child(At::field("linux.rootfsPropagation"), Step::Propagate { how, root });
        match rest.next_if(|(_, mount)| mount.destination() == Path::new("/")) {
            Some((index, mount)) => root_mount(plan, mount, At::item("mounts", index))?,
            None => plan.child(at, Step::BindRoot(root_path(plan)?.1)),
        }
    }
    for (index, mount) in rest {
        one(cx, plan, mount, At::item("mounts", index))?;
    }
    if cx.namespaces.is_new(NsKind::Cgroup) && !has_unshared(plan) {
        plan.child(OWN, Step::EnterCgroup);
        plan.child(At::field("linux.namespaces"), Step::UnshareCgroup);
    }
    Ok(())
}

/// Without a mount namespace of its own, the container's mounts are the host's, on a copy of its
/// root file system's mounts that is the parent's to make and to record. What would change mounts of
/// others is refused.
pub(super) fn on_the_host(cx: &Topic<'_>, plan: &mut Plan) -> Result<()> {
    let any = |paths: &Option<Vec<String>>| paths.as_ref().is_some_and(|paths| !paths.is_empty());
    let cause = if any(cx.linux.masked_paths()) || any(cx.linux.readonly_paths()) {
        // In runc's words.
        "unable to restrict sys entries without a private MNT namespace"
    } else if cx.namespaces.has(NsKind::User) {
        "linux.namespaces: root of a user namespace may mount nothing in the host's mount namespace"
    } else if plain_path(&plan.rootfs) == Path::new("/") {
        "root.path: / takes a mount namespace"
    } else {
        let (at, root) = root_path(plan)?;
        plan.parent(at, Step::BindRoot(root));
        return Ok(());
    };
    Err(Error::user(cause).hint("add {\"type\": \"mount\"} to linux.namespaces"))
}

fn root_path(plan: &Plan) -> Result<(At, CString)> {
    let at = At::field("root.path");
    Ok((at, cstring(plan.rootfs.as_os_str().as_bytes(), at)?))
}

/// Shared only where the container is to share mounts with the host: otherwise nothing that is
/// mounted from here on may reach it.
fn host_propagation(cx: &Topic<'_>) -> Result<Propagation> {
    match root_propagation(cx)? {
        Some((Propagation::Shared, _)) => Ok(Propagation::Shared),
        Some((Propagation::Private, _)) => Ok(Propagation::Private),
        _ => Ok(Propagation::Slave),
    }
}

/// `linux.rootfsPropagation`; true for the recursive kind.
pub(super) fn root_propagation(cx: &Topic<'_>) -> Result<Option<(Propagation, bool)>> {
    let name = cx.linux.rootfs_propagation().as_deref().unwrap_or_default();
    match options::propagation(name) {
        None if name.is_empty() => Ok(None),
        None => {
            let cause = format!("linux.rootfsPropagation: {name:?} is no propagation");
            Err(Error::user(cause))
        }
        propagation => Ok(propagation),
    }
}

/// A first mount on `/` is the root file system.
fn root_mount(plan: &mut Plan, mount: &SpecMount, at: At) -> Result<()> {
    let options = parsed(mount, at)?;
    let path = cstring(plan.rootfs.as_os_str().as_bytes(), At::field("root.path"))?;
    if options.id_map.is_some() || options.remount || options.copy_up {
        return Err(Error::user(format!("{at}.options: not for the root")));
    }
    let made = made(mount, options, Target::Root(path), at)?;
    plan.child(at, Step::Mount(made));
    Ok(())
}

fn one(cx: &Topic<'_>, plan: &mut Plan, mount: &SpecMount, at: At) -> Result<()> {
    let destination = mount.destination();
    if destination.as_os_str().is_empty() {
        return Err(missing(&format!("{at}.destination")));
    }
    let options = parsed(mount, at)?;
    if destination == Path::new("/") && !options.remount {
        let cause = format!("{at}: only the first mount can be on /");
        return Err(Error::user(cause));
    }
    let destination = below(destination, &plan.rootfs);
    let destination = destination.as_deref().unwrap_or(mount.destination());
    let target = inside(destination, at)?;
    let kind = mount.typ().as_deref().unwrap_or_default();
    if options.bind.is_none() && matches!(kind, "cgroup" | "cgroup2") {
        return cgroup(cx, plan, &options, &target, at);
    }
    let map = owner_map(cx, mount, &options, at)?;
    let check = check(mount, destination, options.bind.is_some())
        .map_err(|error| error.doing(at.to_string()))?;
    let mut made = made(mount, options, Target::Inside(target.clone()), at)?;
    made.check = check;
    if !cx.namespaces.has(NsKind::Mount) {
        // What is mounted below a copy of the host's mounts is not to appear there too.
        made.propagation.insert(0, (Propagation::Private, true));
    }
    if let Origin::Bind { path, .. } = &mut made.origin {
        *path = source_path(cx, plan, mount, at)?;
    }
    // Root of a user namespace may not reach what root of the host does, and only the latter may
    // map owners of the host's file systems. And what a descriptor of this process leads to is in
    // this process's mount namespace alone.
    let reach = cx.namespaces.has(NsKind::User) && cx.host.euid == 0;
    let is_open = mount.source().as_ref().is_some_and(|it| it.starts_with("/proc/self/fd/"));
    if reach || is_open || map.is_some() {
        made.origin = match made.origin {
            Origin::Bind { path, recursive } => {
                plan.parent(at, Step::Source(Source { path, recursive, map }));
                Origin::Sent
            }
            other => other,
        };
    }
    // What later steps put into it needs it writable until then.
    let late = kind == "tmpfs" && made.attr.set & attr::RDONLY != 0;
    if late {
        made.attr.set &= !attr::RDONLY;
    }
    plan.child(at, Step::Mount(made));
    if late {
        plan.late.push((at, target));
    }
    Ok(())
}

/// As runc has it: relative to the bundle, where the runtime need not be. What lies below the root
/// is looked up in there, or a link of the image's would lead to the host.
fn source_path(cx: &Topic<'_>, plan: &Plan, mount: &SpecMount, at: At) -> Result<SourcePath> {
    let source = mount.source().as_deref().unwrap_or(Path::new(""));
    let source = cx.options.bundle.join(source);
    match below(&source, &plan.rootfs) {
        Some(inner) => inside(&inner, at).map(SourcePath::Inside),
        None => cstring(source.as_os_str().as_bytes(), at).map(SourcePath::Host),
    }
}

/// What is left of an absolute path below the root file system's directory on the host, by their
/// names alone: a destination or source may say either.
fn below(path: &Path, rootfs: &Path) -> Option<PathBuf> {
    let rootfs = plain_path(rootfs);
    if !path.is_absolute() || rootfs == Path::new("/") {
        return None;
    }
    plain_path(path).strip_prefix(rootfs).ok().map(|inner| Path::new("/").join(inner))
}

/// The path without `.` and `..`.
fn plain_path(path: &Path) -> PathBuf {
    let mut plain = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => plain.push(name),
            Component::ParentDir => drop(plain.pop()),
            _ => {}
        }
    }
    plain
}

fn parsed(mount: &SpecMount, at: At) -> Result<MountOptions<'_>> {
    let list = mount.options().as_deref().unwrap_or_default();
    let mut parsed =
        options::parse(list).map_err(|cause| Error::user(cause).doing(format!("{at}.options")))?;
    if parsed.bind.is_none() && mount.typ().as_deref() == Some("bind") {
        parsed.bind = Some(false);
    }
    Ok(parsed)
}

/// How the owners of an id-mapped mount are mapped: by its own mappings, or else as the container's
/// user namespace does.
fn owner_map(
    cx: &Topic<'_>,
    mount: &SpecMount,
    options: &MountOptions<'_>,
    at: At,
) -> Result<Option<(OwnerMap, bool)>> {
    let (uids, gids) = (mount.uid_mappings().as_deref(), mount.gid_mappings().as_deref());
    if uids.is_none() && gids.is_none() && options.id_map.is_none() {
        return Ok(None);
    }
    if options.bind.is_none() {
        let cause = format!("{at}: id-mapped mounts are only supported for bind-mounts");
        return Err(Error::user(cause));
    }
    let recursive = options.id_map == Some(true);
    let (uids, gids) = match (uids, gids, cx.namespaces.path(NsKind::User)) {
        (None, None, Some(path)) => {
            let path = cstring(path.as_os_str().as_bytes(), at)?;
            return Ok(Some((OwnerMap::Namespace(path), recursive)));
        }
        (None, None, None) if cx.namespaces.is_new(NsKind::User) => {
            (cx.linux.uid_mappings().as_deref(), cx.linux.gid_mappings().as_deref())
        }
        (uids, gids, _) => (uids, gids),
    };
    let both = uids.is_some_and(|map| !map.is_empty()) && gids.is_some_and(|map| !map.is_empty());
    if !both {
        let cause = format!("{at}: id-mapped mounts must have both uid and gid mappings specified");
        return Err(Error::user(cause).hint("without a user namespace they have none of their own"));
    }
    let uids = namespaces::map(uids, &format!("{at}.uidMappings"))?;
    let gids = namespaces::map(gids, &format!("{at}.gidMappings"))?;
    Ok(Some((OwnerMap::Ids { uids, gids }, recursive)))
}

fn made(mount: &SpecMount, options: MountOptions<'_>, target: Target, at: At) -> Result<Mount> {
    let source = mount.source().as_ref();
    let kind = mount.typ().as_deref().unwrap_or_default();
    let scratch = options.scratch;
    let foreign = options.data.iter().find(|(name, _)| !SUPER_BLOCK.contains(name));
    if let (Some(_), Some((name, _))) = (options.bind, foreign) {
        // The kernel would pass them over.
        let cause = "bind mounts cannot have any filesystem-specific options applied";
        return Err(Error::user(format!("{cause}: {name}")).doing(format!("{at}.options")));
    }
    if options.copy_up && kind != "tmpfs" {
        return Err(Error::user(format!("{at}.options: tmpcopyup is for tmpfs only")));
    }
    let origin = match options.bind {
        bind if options.remount => Origin::There {
            data: if bind.is_none() {
                data(&overlay_options(&options, &target), at)?
            } else {
                vec![]
            },
        },
        Some(recursive) => {
            let path = source.ok_or_else(|| missing(&format!("{at}.source")))?;
            let path = SourcePath::Host(cstring(path.as_os_str().as_bytes(), at)?);
            Origin::Bind { path, recursive }
        }
        None if kind.is_empty() => return Err(missing(&format!("{at}.type"))),
        None => {
            let inherit = inherit(kind, &options, &target);
            let options = overlay_options(&options, &target);
            Origin::Fs {
                kind: cstring(kind, at)?,
                source: source.map(|s| cstring(s.as_os_str().as_bytes(), at)).transpose()?,
                data: data(&options, at)?,
                whole: (kind == "overlay").then(|| whole(&options, at)).transpose()?,
                scratch,
                inherit,
            }
        }
    };
    let (attr, attr_locked) = match origin {
        Origin::Bind { .. } => options.of_bind(),
        _ => (options.attr, None),
    };
    Ok(Mount {
        origin,
        target,
        check: TargetCheck::OutsideProc,
        attr,
        attr_locked,
        tree_attr: options.tree_attr,
        propagation: options.propagation,
    })
}

/// A tmpfs has the mode of the directory that it covers unless it says another, as with runc.
fn inherit(kind: &str, options: &MountOptions<'_>, target: &Target) -> Inherit {
    let mode = options.data.iter().any(|(key, _)| *key == "mode");
    match (kind, target) {
        ("tmpfs", Target::Inside(_)) if options.copy_up => Inherit::All,
        ("tmpfs", Target::Inside(_)) if !mode => Inherit::Mode,
        _ => Inherit::Nothing,
    }
}

/// What of procfs may be covered, as runc has it.
const COVERABLE: [&str; 11] = [
    "cpuinfo",
    "diskstats",
    "loadavg",
    "meminfo",
    "net/dev",
    "slabinfo",
    "stat",
    "swaps",
    "sys/crypto/fips_enabled",
    "sys/kernel/ns_last_pid",
    "uptime",
];

fn check(mount: &SpecMount, destination: &Path, bind: bool) -> Result<TargetCheck> {
    let plain = plain_path(destination);
    let kind = mount.typ().as_deref().unwrap_or_default();
    if !bind && matches!(kind, "proc" | "sysfs") {
        return Ok(TargetCheck::Ordinary);
    }
    match plain.strip_prefix("/proc") {
        Err(_) => Ok(TargetCheck::OutsideProc),
        Ok(below) if below.as_os_str().is_empty() && bind => Ok(TargetCheck::SourceIsProc),
        Ok(below) if COVERABLE.iter().any(|path| below == Path::new(path)) => {
            Ok(TargetCheck::AllowedInProc)
        }
        Ok(_) => {
            let destination = destination.display();
            let cause = format!("{destination:?} cannot be mounted because it is inside /proc");
            Err(Error::user(cause))
        }
    }
}

/// With `runp.upper=tmpfs`, upper and work directory are those that the launch makes on the tmpfs
/// below the root's own mount.
fn overlay_options<'a>(
    options: &'a MountOptions<'_>,
    target: &Target,
) -> Vec<(&'a str, Option<Cow<'a, str>>)> {
    let given = options.data.iter().map(|(key, value)| (*key, value.map(Cow::Borrowed)));
    let mut all: Vec<_> = given.collect();
    if let (true, Target::Root(root)) = (options.scratch, target) {
        // As in each of an overlay's directories, backslashes escape.
        let root = root.to_string_lossy().replace('\\', "\\\\");
        for (key, name) in [("upperdir", "upper"), ("workdir", "work")] {
            all.push((key, Some(format!("{root}/{name}").into())));
        }
    }
    all
}

/// `key=value,flag`; an overlay takes escaped commas for those of a name.
fn whole(options: &[(&str, Option<Cow<'_, str>>)], at: At) -> Result<CString> {
    let one = |(key, value): &(&str, Option<Cow<'_, str>>)| match value {
        Some(value) => format!("{key}={}", value.replace(',', "\\,")),
        None => (*key).to_owned(),
    };
    cstring(options.iter().map(one).collect::<Vec<_>>().join(","), at)
}

/// fsconfig(2) takes values of up to 256 bytes, so the layers of an overlay go in one by one
/// (`lowerdir+`, Linux 6.8) when together they are longer.
fn data(
    options: &[(&str, Option<Cow<'_, str>>)],
    at: At,
) -> Result<Vec<(CString, Option<CString>)>> {
    let mut data = Vec::new();
    for (key, value) in options {
        match value {
            Some(layers) if *key == "lowerdir" && layers.len() > 250 => {
                for layer in split_layers(layers) {
                    data.push((c"lowerdir+".to_owned(), Some(cstring(layer, at)?)));
                }
            }
            _ => {
                let value = value.as_deref().map(|value| cstring(value, at)).transpose()?;
                data.push((cstring(key, at)?, value));
            }
        }
    }
    Ok(data)
}

/// Colons separate, backslashes escape.
fn split_layers(layers: &str) -> Vec<String> {
    let mut split = vec![String::new()];
    let mut chars = layers.chars();
    while let Some(c) = chars.next() {
        match (c, split.last_mut()) {
            (':', _) => split.push(String::new()),
            ('\\', Some(last)) => last.extend(chars.next()),
            (_, Some(last)) => last.push(c),
            (_, None) => {}
        }
    }
    split
}

fn has_unshared(plan: &Plan) -> bool {
    plan.steps.iter().any(|planned| matches!(planned.step, Step::UnshareCgroup))
}

/// The container's own cgroups: one mount on v2, a tmpfs with one mount for each hierarchy on v1.
fn cgroup(
    cx: &Topic<'_>,
    plan: &mut Plan,
    options: &MountOptions<'_>,
    target: &CString,
    at: At,
) -> Result<()> {
    let own_view = cx.namespaces.is_new(NsKind::Cgroup);
    if own_view && !has_unshared(plan) {
        plan.child(OWN, Step::EnterCgroup);
        plan.child(At::field("linux.namespaces"), Step::UnshareCgroup);
    }
    let Some(layout) = &cx.host.cgroups else { return Ok(()) };
    if layout.mode == CgroupMode::V2 {
        // Root of a user namespace may mount the view of its own cgroup namespace only.
        let shared = !own_view && cx.namespaces.has(NsKind::User);
        let mount = match layout.hierarchies.first().filter(|_| shared) {
            Some(host) => {
                let path = cstring(host.mount.as_os_str().as_bytes(), at)?;
                bind(path, target.clone(), options)
            }
            None => fs(c"cgroup2", target.clone(), options, Vec::new()),
        };
        plan.child(at, Step::Mount(mount));
        return Ok(());
    }
    let mut base =
        fs(c"tmpfs", target.clone(), options, vec![(c"mode".into(), Some(c"755".into()))]);
    base.attr.set &= !attr::RDONLY;
    plan.child(at, Step::Mount(base));
    let dirs = plan.cgroup.as_ref().map(|cgroup| cgroup.dirs.clone()).unwrap_or_default();
    for dir in dirs.iter().filter(|dir| !dir.is_v2()) {
        let Some(name) = dir.mount.file_name() else {
            continue;
        };
        let path = [target.as_bytes(), b"/", name.as_bytes()].concat();
        let path = cstring(path, at)?;
        let mount = if own_view {
            let keys = dir.controllers.iter();
            let keys = keys.map(|c| controller_option(c, at)).collect::<Result<_>>()?;
            fs(c"cgroup", path, options, keys)
        } else {
            bind(cstring(dir.path().as_os_str().as_bytes(), at)?, path, options)
        };
        plan.child(at, Step::Mount(mount));
        for controller in dir.controllers.iter().filter(|c| name != c.as_str()) {
            if !controller.contains('=') {
                let place = Place { dir: target.clone(), name: cstring(controller, at)? };
                plan.child(at, Step::Symlink { place, target: cstring(name.as_bytes(), at)? });
            }
        }
    }
    if options.attr.set & attr::RDONLY != 0 {
        plan.late.push((at, target.clone()));
    }
    Ok(())
}

fn controller_option(controller: &str, at: At) -> Result<(CString, Option<CString>)> {
    match controller.split_once('=') {
        // A named hierarchy: `none,name=systemd`; the kernel finds the existing one by its name.
        Some((key, value)) => Ok((cstring(key, at)?, Some(cstring(value, at)?))),
        None => Ok((cstring(controller, at)?, None)),
    }
}

fn fs(
    kind: &std::ffi::CStr,
    target: CString,
    options: &MountOptions<'_>,
    data: Vec<(CString, Option<CString>)>,
) -> Mount {
    let source = Some(c"cgroup".into());
    let (whole, scratch, inherit) = (None, false, Inherit::Nothing);
    let origin = Origin::Fs { kind: kind.into(), source, data, whole, scratch, inherit };
    plain(origin, target, options)
}

fn bind(path: CString, target: CString, options: &MountOptions<'_>) -> Mount {
    plain(Origin::Bind { path: SourcePath::Host(path), recursive: false }, target, options)
}

fn plain(origin: Origin, target: CString, options: &MountOptions<'_>) -> Mount {
    Mount {
        origin,
        target: Target::Inside(target),
        check: TargetCheck::OutsideProc,
        attr: options.attr,
        attr_locked: None,
        tree_attr: AttrChange::default(),
        propagation: options.propagation.clone(),
    }
}

/// The mounts that had to stay writable until everything was in them.
pub(super) fn late(plan: &mut Plan) {
    for (at, path) in std::mem::take(&mut plan.late) {
        plan.child(at, Step::ReadOnly(path));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upper_directory_on_tmpfs_lies_below_the_root() {
        let options = ["lowerdir=/".to_owned(), "volatile".into(), "runp.upper=tmpfs".into()];
        let options = options::parse(&options).unwrap();
        let target = Target::Root(c"/a\\b,c/rootfs".into());
        let whole = whole(&overlay_options(&options, &target), At::default()).unwrap();
        let expected =
            c"lowerdir=/,volatile,upperdir=/a\\\\b\\,c/rootfs/upper,workdir=/a\\\\b\\,c/rootfs/work";
        assert_eq!(whole.as_c_str(), expected);
    }

    #[test]
    fn paths_below_the_root_are_found_by_name() {
        let below = |path: &str, root: &str| {
            below(Path::new(path), Path::new(root)).map(|path| path.display().to_string())
        };
        assert_eq!(below("/b/rootfs/mnt/x", "/b/./rootfs/").as_deref(), Some("/mnt/x"));
        assert_eq!(below("/b/rootfs/../rootfs/a/../../rootfs", "/b/rootfs").as_deref(), Some("/"));
        assert_eq!(below("/b/rootfs2", "/b/rootfs"), None);
        assert_eq!(below("/b/rootfs/../x", "/b/rootfs"), None);
        assert_eq!(below("rootfs/x", "/rootfs"), None);
        assert_eq!(below("/etc", "/"), None);
    }

    #[test]
    fn layers() {
        assert_eq!(split_layers("/a:/b\\:c:/d\\\\"), ["/a", "/b:c", "/d\\"]);
        let long = "x".repeat(300);
        let lower = Some(format!("/{long}:/b").into());
        let data = data(&[("lowerdir", lower), ("volatile", None)], At::default());
        let keys: Vec<_> = data.unwrap().into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, [c"lowerdir+".to_owned(), c"lowerdir+".into(), c"volatile".into()]);
    }
}
