//! An archive out of a container, onto this host. The container wrote it and may be hostile
//! (CVE-2018-1002100, CVE-2019-1002101, CVE-2019-11246, CVE-2019-11249): directories and regular
//! files are made, links and everything else are left out; names stay below the destination, which
//! is held open, and no link below it is followed; modes, owners and times are this host's own;
//! headers are bounded.

use crate::error::{Context, Error, Result};
use crate::sys::{Errno, path};
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, mkdirat};
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use tar::{Archive, EntryType};

/// A name longer than the kernel's longest path is nobody's.
const MAX_NAME: u64 = 4096;
/// A pax header with more than names.
const MAX_PAX: u64 = 64 << 10;

/// Unpacks `archive`, whose names start with `base`, as `to`: a directory's content goes into `to`,
/// a file becomes `to`, or goes into `to` if that is a directory.
pub fn unpack(
    archive: impl Read,
    base: &str,
    to: &Path,
    warn: &mut dyn FnMut(String),
) -> Result<()> {
    let mut destination: Option<Destination> = None;
    let mut long_name: Option<Vec<u8>> = None;
    let mut archive = Archive::new(archive);
    let reading = || "read the archive from the container";
    for entry in archive.entries().doing(reading)?.raw(true) {
        let mut entry = entry.doing(reading)?;
        let kind = entry.header().entry_type();
        match kind {
            EntryType::GNULongName => {
                long_name = Some(bounded(&mut entry, MAX_NAME)?);
                continue;
            }
            EntryType::XHeader => {
                long_name = pax_path(&bounded(&mut entry, MAX_PAX)?).or(long_name);
                continue;
            }
            EntryType::GNULongLink | EntryType::XGlobalHeader => continue,
            _ => {}
        }
        let name = long_name.take().unwrap_or_else(|| entry.path_bytes().into_owned());
        let name = PathBuf::from(OsStr::from_bytes(name.strip_suffix(b"\0").unwrap_or(&name)));
        let Some(below) = below(&name, base) else {
            warn(format!(
                "warning: file {:?} is outside target destination, skipping",
                name.display().to_string()
            ));
            continue;
        };
        let is_dir = kind.is_dir();
        if !is_dir && !matches!(kind, EntryType::Regular | EntryType::Continuous) {
            let what =
                if kind.is_symlink() || kind.is_hard_link() { "link" } else { "special file" };
            warn(format!("warning: skipping {what}: {:?}", name.display().to_string()));
            continue;
        }
        let alone = below.as_os_str().is_empty() && !is_dir;
        let destination = match &mut destination {
            Some(destination) => destination,
            none => none.insert(Destination::open(to, !alone, base)?),
        };
        let at = if alone { destination.only.clone() } else { below };
        let made = match is_dir {
            true => destination.dir(&at),
            false => destination.file(&at).and_then(|mut file| {
                std::io::copy(&mut entry, &mut file).map(drop).doing(|| "write the file")
            }),
        };
        match made {
            Err(error) if matches!(error.errno(), Some(Errno::ELOOP | Errno::ENOTDIR)) => {
                warn(format!(
                    "warning: {:?} leads through what is no directory, skipping",
                    to.join(&at).display().to_string()
                ));
            }
            made => made.doing(|| format!("copy to {}", to.join(&at).display()))?,
        }
    }
    Ok(())
}

/// What is below `base`; `None` for a name that is elsewhere.
fn below(name: &Path, base: &str) -> Option<PathBuf> {
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    if !name.components().all(plain) {
        return None;
    }
    let below = if base == "." { Some(name) } else { name.strip_prefix(base).ok() };
    Some(below?.components().filter(|part| *part != Component::CurDir).collect())
}

fn bounded(entry: &mut impl Read, limit: u64) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    entry.take(limit + 1).read_to_end(&mut text).doing(|| "read the archive's header")?;
    match text.len() as u64 > limit {
        true => Err(Error::user("the archive from the container has a name that is too long")),
        false => Ok(text),
    }
}

/// The name in a pax header: records of `LENGTH path=NAME\n`.
fn pax_path(records: &[u8]) -> Option<Vec<u8>> {
    let mut rest = records;
    let mut found = None;
    while let Some(space) = rest.iter().position(|byte| *byte == b' ') {
        let (number, _) = rest.split_at(space);
        let length: usize = std::str::from_utf8(number).ok()?.parse().ok()?;
        let record = rest.get(space + 1..length.checked_sub(1)?)?;
        if let Some(name) = record.strip_prefix(b"path=") {
            found = Some(name.to_vec());
        }
        rest = rest.get(length..)?;
    }
    found
}

/// Where things go, held open: renames of what is above do not lead elsewhere.
struct Destination {
    dir: OwnedFd,
    /// The name of a file that is copied alone.
    only: PathBuf,
}

impl Destination {
    fn open(to: &Path, is_dir: bool, base: &str) -> Result<Self> {
        let open = |dir: &Path| {
            File::open(dir).map(OwnedFd::from).doing(|| format!("open {}", dir.display()))
        };
        if is_dir {
            std::fs::create_dir_all(to).doing(|| format!("make {}", to.display()))?;
            return Ok(Self { dir: open(to)?, only: PathBuf::new() });
        }
        if to.is_dir() {
            return Ok(Self { dir: open(to)?, only: base.into() });
        }
        let name =
            to.file_name().ok_or_else(|| Error::user(format!("{} is no file", to.display())))?;
        let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        std::fs::create_dir_all(parent).doing(|| format!("make {}", parent.display()))?;
        Ok(Self { dir: open(parent)?, only: name.into() })
    }

    fn dir(&self, at: &Path) -> Result<()> {
        let mut made = PathBuf::new();
        for part in at.components() {
            let above = self.above(&made)?;
            match mkdirat(&above, Path::new(part.as_os_str()), Mode::from_bits_truncate(0o777)) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
            made.push(part);
        }
        self.above(&made).map(drop)
    }

    /// The directory `at`, by no link.
    fn above(&self, at: &Path) -> Result<OwnedFd> {
        let at = if at.as_os_str().is_empty() { Path::new(".") } else { at };
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        Ok(path::open_beneath(self.dir.as_fd(), at, flags, 0)?)
    }

    fn file(&self, at: &Path) -> Result<File> {
        if let Some(parent) = at.parent() {
            self.dir(parent)?;
        }
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_NONBLOCK;
        let file = File::from(path::open_beneath(self.dir.as_fd(), at, flags, 0o666)?);
        match file.metadata() {
            Ok(is) if is.is_file() => Ok(file),
            Ok(_) => Err(Error::user("it is there and no regular file")),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tar::{Builder, Header};

    /// An archive with names as they are, hostile ones too.
    fn archive(entries: &[(&str, EntryType, &str)]) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        for (name, kind, content) in entries {
            let mut header = Header::new_gnu();
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(*kind);
            header.set_mode(0o6777);
            if kind.is_symlink() || kind.is_hard_link() {
                header.as_old_mut().linkname[..content.len()].copy_from_slice(content.as_bytes());
            }
            let content = if *kind == EntryType::Regular { content.as_bytes() } else { b"" };
            header.set_size(content.len() as u64);
            header.set_cksum();
            builder.append(&header, content).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn unpacked(bytes: &[u8], base: &str, to: &Path) -> Vec<String> {
        let mut warnings = Vec::new();
        unpack(bytes, base, to, &mut |warning| warnings.push(warning)).unwrap();
        warnings
    }

    #[test]
    fn what_a_hostile_container_sends_stays_below() {
        let dir = tempfile::tempdir().unwrap();
        let (to, canary) = (dir.path().join("to"), dir.path().join("canary"));
        std::fs::create_dir(&to).unwrap();
        std::fs::write(&canary, "safe").unwrap();
        // Planted by an earlier copy, or by the user.
        std::os::unix::fs::symlink(dir.path(), to.join("planted")).unwrap();
        std::os::unix::fs::symlink(&canary, to.join("leaf")).unwrap();
        let bytes = archive(&[
            ("d", EntryType::Directory, ""),
            ("d/ok", EntryType::Regular, "1"),
            ("d/sub/deep", EntryType::Regular, "2"),
            ("d/link", EntryType::Symlink, "../canary"),
            ("d/link", EntryType::Regular, "3"),
            ("d/hard", EntryType::Link, "../canary"),
            ("d/../../canary", EntryType::Regular, "4"),
            ("/canary", EntryType::Regular, "5"),
            ("other", EntryType::Regular, "6"),
            ("d/planted/canary", EntryType::Regular, "7"),
            ("d/leaf", EntryType::Regular, "8"),
            ("d/fifo", EntryType::Fifo, ""),
        ]);
        let warnings = unpacked(&bytes, "d", &to);
        assert_eq!(std::fs::read_to_string(&canary).unwrap(), "safe");
        assert_eq!(std::fs::read_to_string(to.join("ok")).unwrap(), "1");
        assert_eq!(std::fs::read_to_string(to.join("sub/deep")).unwrap(), "2");
        assert_eq!(std::fs::read_to_string(to.join("link")).unwrap(), "3");
        assert!(to.join("leaf").is_symlink() && !to.join("hard").exists());
        assert_eq!(warnings.len(), 8, "{warnings:#?}");
        use std::os::unix::fs::MetadataExt;
        assert_eq!(to.join("ok").metadata().unwrap().mode() & 0o6000, 0, "no setuid");
    }

    #[test]
    fn a_file_becomes_what_was_named_or_goes_into_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let bytes = archive(&[("f", EntryType::Regular, "1")]);
        unpacked(&bytes, "f", &dir.path().join("new/name"));
        unpacked(&bytes, "f", dir.path());
        assert_eq!(std::fs::read_to_string(dir.path().join("new/name")).unwrap(), "1");
        assert_eq!(std::fs::read_to_string(dir.path().join("f")).unwrap(), "1");
    }

    #[test]
    fn long_names_are_read_and_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let long = format!("d/{}/x", "n".repeat(150));
        let mut builder = Builder::new(Vec::new());
        let mut header = Header::new_gnu();
        header.set_size(1);
        header.set_entry_type(EntryType::Regular);
        builder.append_data(&mut header, &long, &b"1"[..]).unwrap();
        unpacked(&builder.into_inner().unwrap(), "d", dir.path());
        assert!(dir.path().join(&long[2..]).exists());
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::GNULongName);
        header.set_size(MAX_NAME + 1);
        header.set_cksum();
        let mut builder = Builder::new(Vec::new());
        builder.append(&header, &vec![b'x'; MAX_NAME as usize + 1][..]).unwrap();
        let bytes = builder.into_inner().unwrap();
        let error = unpack(&bytes[..], "d", dir.path(), &mut |_| {}).unwrap_err().to_string();
        assert!(error.contains("too long"), "{error}");
        assert_eq!(pax_path(b"12 path=a/b\n11 mtime=1\n").unwrap(), b"a/b");
        assert_eq!(pax_path(b"999 path=a\n"), None);
    }
}
