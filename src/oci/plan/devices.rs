//! `/dev`: the default devices and links, and `linux.devices`.

use super::step::{At, Device, Place, Step};
use super::{OWN, Plan, Topic, cstring, inside};
use crate::error::{Error, Result};
use oci_spec::runtime::{LinuxDevice, LinuxDeviceType};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Devices that every container has, with their numbers
/// ([config-linux](https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#default-devices)).
const DEFAULT: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// Links that every container has.
const LINKS: [(&std::ffi::CStr, &std::ffi::CStr); 6] = [
    (c"fd", c"/proc/self/fd"),
    (c"stdin", c"/proc/self/fd/0"),
    (c"stdout", c"/proc/self/fd/1"),
    (c"stderr", c"/proc/self/fd/2"),
    (c"core", c"/proc/kcore"),
    (c"ptmx", c"pts/ptmx"),
];

pub(super) fn plan(cx: &Topic<'_>, plan: &mut Plan) -> Result<()> {
    // A /dev that is bound from elsewhere belongs to somebody else, and has what it has.
    if cx.spec.mounts().iter().flatten().any(is_bound_dev) {
        return Ok(());
    }
    let wanted = cx.linux.devices().as_deref().unwrap_or_default();
    for (path, major, minor) in DEFAULT {
        if wanted.iter().any(|device| device.path() == Path::new(path)) {
            continue;
        }
        let device = Device {
            place: place(Path::new(path), OWN)?,
            host: cstring(path, OWN)?,
            mode: libc::S_IFCHR | 0o666,
            number: (major, minor),
            owner: (0, 0),
        };
        plan.child(OWN, Step::Device(device));
    }
    for (index, device) in wanted.iter().enumerate() {
        let at = At::item("linux.devices", index);
        plan.child(at, Step::Device(configured(device, at)?));
    }
    for (name, target) in LINKS {
        let place = Place { dir: c"dev".into(), name: name.into() };
        plan.child(OWN, Step::Symlink { place, target: target.into() });
    }
    Ok(())
}

fn is_bound_dev(mount: &oci_spec::runtime::Mount) -> bool {
    let bind = |option: &String| option == "bind" || option == "rbind";
    mount.destination() == Path::new("/dev")
        && (mount.typ().as_deref() == Some("bind") || mount.options().iter().flatten().any(bind))
}

fn configured(device: &LinuxDevice, at: At) -> Result<Device> {
    let kind = match device.typ() {
        LinuxDeviceType::B => libc::S_IFBLK,
        LinuxDeviceType::C | LinuxDeviceType::U => libc::S_IFCHR,
        LinuxDeviceType::P => libc::S_IFIFO,
        LinuxDeviceType::A => return Err(Error::user(format!("{at}.type: \"a\" is no device"))),
    };
    let number = |number: i64, field: &str| {
        u32::try_from(number)
            .map_err(|_| Error::user(format!("{at}.{field}: {number} is out of range")))
    };
    Ok(Device {
        place: place(device.path(), at)?,
        host: cstring(device.path().as_os_str().as_bytes(), at)?,
        mode: kind | (device.file_mode().unwrap_or(0o666) & 0o7777),
        number: (number(device.major(), "major")?, number(device.minor(), "minor")?),
        owner: (device.uid().unwrap_or(0), device.gid().unwrap_or(0)),
    })
}

/// A path of the container as its directory and its name.
fn place(path: &Path, at: At) -> Result<Place> {
    let name = path.file_name().filter(|_| path.is_absolute());
    let name =
        name.ok_or_else(|| Error::user(format!("{at}.path: {path:?} is no absolute path")))?;
    let dir = path.parent().unwrap_or(Path::new("/"));
    Ok(Place { dir: inside(dir, at)?, name: cstring(name.as_bytes(), at)? })
}
