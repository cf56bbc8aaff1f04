//! Sources of bind mounts that the child cannot open itself: from its user namespace it may not
//! reach them, and only the owner of a file system may map the owners of its files.
//!
//! The parent goes into the container's mount namespace for that long, where it sees the mounts made
//! so far, as the source may be one of them.

use super::{Parent, barrier, rootfs};
use crate::error::{Context, Result};
use crate::oci::plan::step::{OwnerMap, Source, SourcePath};
use crate::sys::clone::{self, Forked};
use crate::sys::mount::{self, Depth};
use crate::sys::types::NsKind;
use crate::sys::{Errno, Result as SysResult, fs, ns, socket};
use nix::fcntl::{AT_FDCWD, OFlag};
use std::ffi::{CStr, OsStr};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

impl<'a> Parent<'a> {
    /// The child has asked for it.
    pub(super) fn source(&mut self, source: &'a Source) -> Result<()> {
        let depth = |recursive| if recursive { Depth::Tree } else { Depth::One };
        let map = match &source.map {
            Some((map, recursive)) => Some((self.owner_map(map)?, depth(*recursive))),
            None => None,
        };
        let launched = self.launched()?;
        let depth_of_tree = depth(source.recursive);
        let tree = match &source.path {
            SourcePath::Host(path) => {
                let open = || mount::open_tree(AT_FDCWD, path, depth_of_tree);
                // A descriptor of this process leads to where it was opened: here.
                let is_open = path.as_bytes().starts_with(b"/proc/self/fd/");
                if is_open { open()? } else { visit(&launched.pidfd, open)? }
            }
            SourcePath::Inside(path) => visit(&launched.pidfd, || {
                let directory = OFlag::O_PATH | OFlag::O_DIRECTORY;
                let root = fs::open(&self.plan.rootfs, directory, 0)?;
                rootfs::open_tree_in_root(root.as_fd(), path, depth_of_tree)
            })?,
        };
        if let Some((index, depth)) = map {
            let (_, namespace) = self.maps.get(index).ok_or(Errno::EBADF)?;
            mount::mount_idmap(&tree, namespace.as_fd(), depth)
                .doing(|| "map owners")
                .hint(|| "does the file system allow id-mapped mounts?")?;
        }
        Ok(socket::send_fd(&launched.control, b"source", tree)?)
    }

    /// Where in `maps` the user namespace with this mapping is.
    fn owner_map(&mut self, map: &'a OwnerMap) -> Result<usize> {
        if let Some(index) = self.maps.iter().position(|(have, _)| *have == map) {
            return Ok(index);
        }
        let namespace = match map {
            OwnerMap::Namespace(path) => {
                open(path).doing(|| path.to_string_lossy().into_owned())?
            }
            OwnerMap::Ids { uids, gids } => mapped(uids, gids).doing(|| "make a user namespace")?,
        };
        self.maps.push((map, namespace));
        Ok(self.maps.len() - 1)
    }
}

fn open(path: &CStr) -> SysResult<OwnedFd> {
    let path = Path::new(OsStr::from_bytes(path.to_bytes()));
    Ok(fs::open(path, OFlag::O_RDONLY, 0)?.into())
}

/// A user namespace with these maps. It is held by a process that lives until it is written.
fn mapped(uids: &str, gids: &str) -> Result<OwnedFd> {
    let (ours, theirs) = barrier::pair()?;
    let (pid, pidfd) = match clone::clone3(NsKind::User.flag(), None)? {
        Forked::Parent { pid, pidfd } => (pid, pidfd),
        Forked::Child => {
            drop(ours);
            // Ends with the other end.
            barrier::receive(&theirs).unwrap_or_default();
            clone::exit(0)
        }
    };
    let made = [("uid_map", uids), ("gid_map", gids)]
        .into_iter()
        .try_for_each(|(name, map)| {
            let path = format!("/proc/{pid}/{name}");
            fs::write_kernel_file(Path::new(&path), map.as_bytes()).doing(|| path)
        })
        .and_then(|()| {
            let path = format!("/proc/{pid}/ns/user");
            fs::open(Path::new(&path), OFlag::O_RDONLY, 0).doing(|| path)
        });
    drop(ours);
    clone::wait(&pidfd)?;
    Ok(made?.into())
}

/// Does `work` in the mount namespace of another process, and comes back to where it was.
fn visit<T>(process: &OwnedFd, work: impl FnOnce() -> SysResult<T>) -> SysResult<T> {
    let directory = OFlag::O_PATH | OFlag::O_DIRECTORY;
    let own = fs::open(Path::new("/proc/self/ns/mnt"), OFlag::O_RDONLY, 0)?;
    let (root, here) =
        (fs::open(Path::new("/"), directory, 0)?, fs::open(Path::new("."), directory, 0)?);
    ns::setns(process, NsKind::Mount.flag())?;
    let done = work();
    // setns(2) moves both to the root of the namespace, which need not be ours.
    let back = ns::setns(own, NsKind::Mount.flag())
        .and_then(|()| nix::unistd::fchdir(root))
        .and_then(|()| mount::chroot(c"."));
    if let Err(errno) = back {
        // Every path from here on, those of the undoing too, would be looked up among the
        // container's mounts, as root. Nothing can be done with less harm than to end: the child
        // ends with its control socket, and `delete --force` finds what there is.
        abort(errno);
    }
    nix::unistd::fchdir(here)?;
    done
}

/// Ends the process, whatever unwinding would run.
fn abort(errno: Errno) -> ! {
    drop(writeln!(
        std::io::stderr(),
        "cannot leave the container's mount namespace: {}",
        errno.desc()
    ));
    std::process::abort()
}
