//! The end of a pod: whatever any of its steps may have left, found by names that follow from its
//! uid. Every part is tried, whatever becomes of the others.

use super::{Place, network, sandbox};
use crate::error::{Context, Error, Kind, Result};
use crate::oci::cgroup::{Cgroup, Layout};
use crate::oci::ops;
use crate::pod::store::{Store, bury, remove_tree};
use crate::pod::{fault, translate};
use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;

/// Removes everything but the pod's record and its logs; the logs too if the record is to follow.
pub fn tear_down(place: &Place) -> Result<()> {
    // What plugins cannot undo is tried again after the record, too, where force is used.
    let left = network::leave(place).err().filter(|_| !is_forced(place));
    let failures = std::thread::scope(|scope| {
        // The kernel takes its time for links, for processes and for cgroups.
        let network = (!is_forced(place)).then(|| scope.spawn(|| network::detach(place)));
        let mut failures = remove_parts(place);
        failures.extend(left);
        failures.extend(network.and_then(|network| joined(network.join()).err()));
        failures
    });
    if failures.is_empty() {
        return Ok(());
    }
    let failures: Vec<String> = failures.iter().map(ToString::to_string).collect();
    Err(Error::system(failures.join("; ")))
}

/// All but the network, each part whatever becomes of the others; what could not be done.
fn remove_parts(place: &Place) -> Vec<Error> {
    let mut failures = Vec::new();
    let mut attempt = |result: Result<()>| failures.extend(result.err());
    attempt(end_containers(place));
    fault::worker("teardown: containers ended");
    attempt(remove_tree(&place.dir.join("volumes")));
    fault::worker("teardown: volumes removed");
    attempt(remove_cgroups(place));
    fault::worker("teardown: cgroups removed");
    attempt(sandbox::shm(place).parent().map_or(Ok(()), remove_tree));
    for dir in ["overlay", "termination", "sandbox", "hosts", "hostname", "resolv.conf"] {
        attempt(remove_tree(&place.dir.join(dir)));
    }
    for dir in ["bundles", "output", "rootfs"] {
        attempt(remove_tree(&place.run.join(dir)));
    }
    if place.pod.metadata.deletion_timestamp.is_some() {
        attempt(remove_tree(&place.logs()));
    }
    failures
}

/// A pod deleted by force is out of the way at once; links, which take the kernel 20 to 80 ms, go
/// after its record ([`clean_up`]).
fn is_forced(place: &Place) -> bool {
    place.pod.metadata.deletion_grace_period_seconds == Some(0)
}

/// Ends and deletes every OCI container of the pod, side by side.
fn end_containers(place: &Place) -> Result<()> {
    let ids = bundle_ids(place)?;
    let oci = &place.config.paths.oci;
    std::thread::scope(|scope| {
        let deletions: Vec<_> = ids
            .iter()
            .map(|id| scope.spawn(move || ops::delete(oci, id, true).map(drop)))
            .collect();
        deletions.into_iter().map(|it| joined(it.join())).fold(Ok(()), Result::and)
    })
}

fn joined(result: std::thread::Result<Result<()>>) -> Result<()> {
    result.unwrap_or_else(|_| Err(Error::new(Kind::Bug, "a part of the teardown panicked")))
}

/// Drops the runtime's records of the pod's containers, which tell of processes of an earlier boot.
pub fn forget(place: &Place) -> Result<()> {
    let oci = &place.config.paths.oci;
    bundle_ids(place)?.iter().try_for_each(|id| remove_tree(&oci.join(id)))
}

/// The last step of a removal: the logs, the record, and the pod's place below `run` with the lock.
/// Whoever waits for the record is told by the end of the monitor's `ear` (`pod::wake`).
/// Should a part fail, the next command finds what is left and tries again.
pub fn clean_up(place: &Place, ear: File) -> Result<()> {
    remove_tree(&place.logs())?;
    let meta = &place.pod.metadata;
    let (namespace, name) = (meta.namespace.as_deref(), meta.name.as_deref());
    let store = Store::new(&place.config.paths.lib);
    let tombstone =
        store.remove(namespace.unwrap_or_default(), name.unwrap_or_default(), &place.uid)?;
    drop(ear);
    fault::monitor("removal: record gone");
    network::detach(place)?;
    fault::monitor("removal: network gone");
    remove_tree(&place.run)?;
    bury(&tombstone)?;
    for dir in [Some(place.config.paths.logs.as_path()), place.run.parent()].into_iter().flatten() {
        remove_if_empty(dir)?;
    }
    Ok(())
}

/// The pod's own cgroup.
pub fn pod_cgroup(place: &Place) -> Result<Cgroup> {
    Cgroup::resolve(&Layout::probe()?, Some(&translate::pod_cgroup(&place.pod)), &place.uid)
}

/// The pod's cgroup, and those above it that it was the last one in.
fn remove_cgroups(place: &Place) -> Result<()> {
    let layout = Layout::probe()?;
    let path = translate::pod_cgroup(&place.pod);
    let cgroup = |path: &Path| Cgroup::resolve(&layout, Some(path), &place.uid);
    cgroup(&path)?.remove()?;
    let parents = path.ancestors().skip(1).take_while(|parent| parent.parent().is_some());
    for parent in parents {
        cgroup(parent)?.remove_if_empty()?;
    }
    Ok(())
}

/// The OCI containers that the pod has or had, its sandbox among them.
fn bundle_ids(place: &Place) -> Result<Vec<String>> {
    let dir = place.run.join("bundles");
    let entries = match std::fs::read_dir(&dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.doing(|| format!("list {}", dir.display()))?,
    };
    let mut ids = Vec::new();
    for entry in entries {
        let name = entry.doing(|| format!("list {}", dir.display()))?.file_name();
        ids.extend(name.into_string().ok());
    }
    Ok(ids)
}

/// A directory that other pods may use too.
fn remove_if_empty(dir: &Path) -> Result<()> {
    match std::fs::remove_dir(dir) {
        Err(error)
            if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty) =>
        {
            Ok(())
        }
        removed => removed.doing(|| format!("remove {}", dir.display())),
    }
}
