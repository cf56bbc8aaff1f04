//! An archive out of a container, onto this host. The container wrote it and may be hostile
//! (CVE-2018-1002100, CVE-2019-1002101, CVE-2019-11246, CVE-2019-11249): directories and regular
//! files are made, links and everything else are left out; names stay below the destination, which
//! is held open, and no link below it is followed; modes, owners and times are this host's own;
//! headers are bounded, and sizes by the disk's room.

use crate::error::{Context, Error, Result};
use crate::image::{Kind, Member, Members};
use crate::sys::{Errno, fs, path};
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, mkdirat};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// What may follow an archive's end: tar fills its last record up.
const MAX_REST: u64 = 1 << 20;

/// Unpacks `archive`, whose names start with `base`, as `to`: a directory's content goes into `to`,
/// a file becomes `to`, or goes into `to` if that is a directory.
pub fn unpack(
    archive: impl Read,
    base: &str,
    to: &Path,
    warn: &mut dyn FnMut(String),
) -> Result<()> {
    let mut destination: Option<Destination> = None;
    let mut members = Members::new(archive);
    while let Some(member) = members.next().doing(|| "read the archive from the container")? {
        let name = PathBuf::from(OsStr::from_bytes(&member.path));
        let Some(below) = below(&name, base) else {
            warn(format!(
                "warning: file {:?} is outside target destination, skipping",
                name.display().to_string()
            ));
            continue;
        };
        let is_dir = member.kind == Kind::Directory;
        if !is_dir && member.kind != Kind::File {
            let is_link = matches!(member.kind, Kind::Symlink | Kind::HardLink);
            let what = if is_link { "link" } else { "special file" };
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
            false => fits(&member, &destination.path).and_then(|()| {
                let mut file = destination.file(&at)?;
                fill(&mut members, &member, &mut file).doing(|| "write the file")
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
    // Read to its end, so that tar is not told that nobody reads; one that never ends is.
    let rest = std::io::copy(&mut members.into_rest().take(MAX_REST), &mut std::io::sink());
    match rest.doing(|| "read the archive's end")? {
        MAX_REST => Err(Error::user("the container goes on after the end of its archive")),
        _ => Ok(()),
    }
}

/// Refuses a file that the disk has no room for, before it has filled it.
fn fits(member: &Member, dir: &Path) -> Result<()> {
    let stored = member.pieces.iter().flatten().map(|(_, length)| *length).sum();
    let bytes = if member.pieces.is_some() { stored } else { member.size };
    let (_, free) = fs::statvfs(dir).doing(|| "look at the disk's room")?;
    if bytes <= free {
        return Ok(());
    }
    let text = format!("it has {bytes} bytes, and the disk has room for {free}");
    Err(Error::user(text))
}

/// Writes a member's data where it belongs: a sparse file has holes.
fn fill<R: Read>(members: &mut Members<R>, member: &Member, file: &mut File) -> Result<()> {
    let Some(pieces) = &member.pieces else {
        let written = std::io::copy(members, file)?;
        debug_assert_eq!(written, member.size);
        return Ok(());
    };
    for (offset, length) in pieces {
        file.seek(SeekFrom::Start(*offset))?;
        std::io::copy(&mut members.by_ref().take(*length), file)?;
    }
    Ok(file.set_len(member.size)?)
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

/// Where things go, held open: renames of what is above do not lead elsewhere.
struct Destination {
    dir: OwnedFd,
    /// Where it was when it was opened.
    path: PathBuf,
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
            return Ok(Self { dir: open(to)?, path: to.into(), only: PathBuf::new() });
        }
        if to.is_dir() {
            return Ok(Self { dir: open(to)?, path: to.into(), only: base.into() });
        }
        let name =
            to.file_name().ok_or_else(|| Error::user(format!("{} is no file", to.display())))?;
        let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        std::fs::create_dir_all(parent).doing(|| format!("make {}", parent.display()))?;
        Ok(Self { dir: open(parent)?, path: parent.into(), only: name.into() })
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
    use tar::{Builder, EntryType, Header};

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
        let name = format!("d/{}", "x".repeat(5000));
        let mut builder = Builder::new(Vec::new());
        builder.append_data(&mut header, &name, &b"1"[..]).unwrap();
        let bytes = builder.into_inner().unwrap();
        let error = unpack(&bytes[..], "d", dir.path(), &mut |_| {}).unwrap_err();
        assert_eq!(error.errno(), Some(Errno::ENAMETOOLONG), "{error}");
    }

    #[test]
    fn sizes_are_those_of_pax_and_are_believed_no_further_than_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let sized = |records: &str, content: &[u8]| {
            let mut builder = Builder::new(Vec::new());
            let mut header = Header::new_ustar();
            header.set_entry_type(EntryType::XHeader);
            header.set_size(records.len() as u64);
            header.set_cksum();
            builder.append(&header, records.as_bytes()).unwrap();
            let mut header = Header::new_ustar();
            header.set_path("d/f").unwrap();
            header.set_size(0);
            header.set_cksum();
            builder.append(&header, &[][..]).unwrap();
            let mut bytes = builder.into_inner().unwrap();
            // The end goes behind the data.
            let end = bytes.split_off(bytes.len() - 1024);
            bytes.extend(content);
            bytes.extend(end);
            bytes
        };
        let block = [b'x'; 512];
        unpacked(&sized("12 size=512\n", &block), "d", dir.path());
        assert_eq!(std::fs::read(dir.path().join("f")).unwrap(), block);
        let huge = sized("28 size=9000000000000000000\n", &block);
        let error = unpack(&huge[..], "d", dir.path(), &mut |_| {}).unwrap_err().to_string();
        assert!(error.contains("it has 9000000000000000000 bytes, and the disk has"), "{error}");
        let early = sized("13 size=4096\n", &block);
        let error = unpack(&early[..], "d", dir.path(), &mut |_| {}).unwrap_err().to_string();
        assert!(error.contains("the archive ends early"), "{error}");
        let error =
            unpack(std::io::repeat(0), "d", dir.path(), &mut |_| {}).unwrap_err().to_string();
        assert_eq!(error, "the container goes on after the end of its archive");
    }
}
