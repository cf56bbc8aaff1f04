//! A directory whose files all change at once, laid out as the kubelet's atomic writer does: a
//! directory `..<time>.<number>` with the files, a link `..data` to it, and for each first part of
//! a path a link through `..data`. Replacing `..data` by rename(2) is the change.
//!
//! The directory is the engine's alone, below directories that only root enters, and containers
//! have it read-only; still nothing here follows a link of it (CVE-2017-1002102).

use super::payload::{File, Files};
use crate::error::{Context, Error, Result};
use crate::sys::{Errno, fs, tree};
use k8s_openapi::jiff::{Timestamp, tz::TimeZone};
use nix::fcntl::OFlag;
use std::collections::BTreeSet;
use std::fs::{DirBuilder, Permissions};
use std::io::{ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

const DATA: &str = "..data";
const NEW_DATA: &str = "..data_tmp";

/// Makes `dir` hold `files`, which belong to `group`; false if it did already.
pub fn write(dir: &Path, files: &Files, group: Option<u32>) -> Result<bool> {
    // Two commands may want to change it at once; the lock goes with the descriptor.
    let held = fs::open(dir, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW, 0)
        .doing(|| format!("open {}", dir.display()))?;
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive)
        .map_err(|errno| Errno::from_raw(errno.raw_os_error()))
        .doing(|| format!("lock {}", dir.display()))?;
    let old = current(dir)?;
    if let Some(old) = &old
        && holds(&dir.join(old), files)
    {
        return Ok(false);
    }
    let new = fill(dir, files, group)?;
    let link = |target: &str, name: &str| {
        let made = replace_link(dir, target, name);
        made.doing(|| format!("make the link {}", dir.join(name).display()))
    };
    link(&new, DATA)?;
    let names: BTreeSet<&str> = files.keys().filter_map(|path| path.split('/').next()).collect();
    for name in &names {
        link(&format!("{DATA}/{name}"), name)?;
    }
    tidy(dir, &names, &new)?;
    Ok(true)
}

/// What `..data` leads to.
fn current(dir: &Path) -> Result<Option<String>> {
    match std::fs::read_link(dir.join(DATA)) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        read => {
            let target = read.doing(|| format!("read the link {}", dir.join(DATA).display()))?;
            // Anything but a name of ours leads elsewhere, and is replaced.
            let name = target.to_str().filter(|name| is_version(name));
            Ok(name.map(str::to_owned))
        }
    }
}

fn is_version(name: &str) -> bool {
    name.starts_with("..2") && !name.contains('/')
}

/// Whether the directory holds these files and no others. What cannot be read differs.
fn holds(dir: &Path, files: &Files) -> bool {
    let same = |(path, file): (&String, &File)| {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        let Ok(found) = fs::open(&dir.join(path), flags, 0) else { return false };
        let is_mode = found
            .metadata()
            .is_ok_and(|is| is.permissions().mode() & 0o777 & !0o440 == file.mode & !0o440);
        let content = fs::read_file_limited(&found, file.content.len() as u64 + 1);
        is_mode && content.is_ok_and(|content| content == file.content)
    };
    files.iter().all(same) && count(dir).is_ok_and(|count| count == files.len())
}

fn count(dir: &Path) -> std::io::Result<usize> {
    let mut files = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        files += if entry.file_type()?.is_dir() { count(&entry.path())? } else { 1 };
    }
    Ok(files)
}

/// A new directory with the files; its name.
fn fill(dir: &Path, files: &Files, group: Option<u32>) -> Result<String> {
    let now = Timestamp::now();
    let time = now.to_zoned(TimeZone::UTC).strftime("%Y_%m_%d_%H_%M_%S");
    let name = format!("..{time}.{}", now.subsec_nanosecond());
    let new = dir.join(&name);
    make_dir(&new, group).doing(|| format!("make {}", new.display()))?;
    for (path, file) in files {
        let mut parent = new.clone();
        let mut parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let last = parts.pop().ok_or_else(|| Error::user("a file of a volume has no name"))?;
        for part in parts {
            parent.push(part);
            match make_dir(&parent, group) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                made => made.doing(|| format!("make {}", parent.display()))?,
            }
        }
        let path = parent.join(last);
        put(&path, file, group).doing(|| format!("write {}", path.display()))?;
    }
    Ok(name)
}

fn make_dir(path: &Path, group: Option<u32>) -> std::io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)?;
    std::os::unix::fs::lchown(path, None, group)?;
    let mode = if group.is_some() { 0o2775 } else { 0o755 };
    std::fs::set_permissions(path, Permissions::from_mode(mode))
}

/// With `fsGroup`, the group can read what the owner can.
fn put(path: &Path, file: &File, group: Option<u32>) -> std::io::Result<()> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW;
    let mut made = fs::open(path, flags, 0o600)?;
    made.write_all(&file.content)?;
    std::os::unix::fs::fchown(made.as_fd(), None, group)?;
    let mode = if group.is_some() { file.mode | 0o440 } else { file.mode };
    made.set_permissions(Permissions::from_mode(mode))
}

fn replace_link(dir: &Path, target: &str, name: &str) -> std::io::Result<()> {
    if std::fs::read_link(dir.join(name)).is_ok_and(|there| there == Path::new(target)) {
        return Ok(());
    }
    let new = dir.join(NEW_DATA);
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    symlink(target, &new)?;
    std::fs::rename(&new, dir.join(name))
}

/// Removes what is of none of the files any more.
fn tidy(dir: &Path, names: &BTreeSet<&str>, version: &str) -> Result<()> {
    for entry in std::fs::read_dir(dir).doing(|| format!("list {}", dir.display()))? {
        let entry = entry.doing(|| format!("list {}", dir.display()))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name == DATA || name == version || names.contains(name.as_ref()) {
            continue;
        }
        let path: PathBuf = entry.path();
        tree::remove(&path).doing(|| format!("remove {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(list: &[(&str, &str)]) -> Files {
        let file = |content: &str| File { content: content.into(), mode: 0o644 };
        list.iter().map(|(path, content)| ((*path).to_owned(), file(content))).collect()
    }

    fn entries(dir: &Path) -> Vec<String> {
        let name = |entry: std::io::Result<std::fs::DirEntry>| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if is_version(&name) { "..time".to_owned() } else { name }
        };
        let mut names: Vec<String> = std::fs::read_dir(dir).unwrap().map(name).collect();
        names.sort();
        names
    }

    #[test]
    fn all_files_change_at_once() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path();
        let first = files(&[("a", "1"), ("deep/b", "2"), ("deep/er/c", "3")]);
        assert!(write(dir, &first, None).unwrap());
        assert!(!write(dir, &first, None).unwrap(), "the same is not written again");
        assert_eq!(entries(dir), ["..data", "..time", "a", "deep"]);
        assert_eq!(std::fs::read_link(dir.join("deep")).unwrap(), Path::new("..data/deep"));
        assert_eq!(std::fs::read_to_string(dir.join("deep/er/c")).unwrap(), "3");
        let open = std::fs::File::open(dir.join("a")).unwrap();
        assert!(write(dir, &files(&[("a", "new")]), None).unwrap());
        assert_eq!(entries(dir), ["..data", "..time", "a"]);
        assert_eq!(std::fs::read_to_string(dir.join("a")).unwrap(), "new");
        assert_eq!(std::io::read_to_string(open).unwrap(), "1", "who has it open keeps it");
        assert!(write(dir, &Files::new(), None).unwrap());
        assert_eq!(entries(dir), ["..data", "..time"]);
    }

    #[test]
    fn a_planted_link_leads_nowhere() {
        let temp = tempfile::tempdir().unwrap();
        let (dir, canary) = (temp.path().join("volume"), temp.path().join("canary"));
        std::fs::create_dir(&dir).unwrap();
        std::fs::create_dir(&canary).unwrap();
        std::fs::write(canary.join("a"), "untouched").unwrap();
        symlink(&canary, dir.join(DATA)).unwrap();
        symlink(canary.join("b"), dir.join("a")).unwrap();
        assert!(write(&dir, &files(&[("a", "1")]), None).unwrap());
        assert_eq!(std::fs::read_to_string(dir.join("a")).unwrap(), "1");
        assert_eq!(std::fs::read_to_string(canary.join("a")).unwrap(), "untouched");
        assert!(!canary.join("b").exists());
    }
}
