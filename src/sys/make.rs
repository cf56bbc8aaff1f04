//! Making what is missing on a path below a root, without allocating: for a process that shares
//! its heap's history with another one.
//!
//! Where openat2(2) stops at a dangling link, this goes on: a missing file is made where the link
//! points, inside the root, as mount targets such as `/etc/resolv.conf -> ../run/resolv.conf` need
//! it. The walk holds a descriptor of the directory it is in, looks at one name at a time without
//! following it, and reads links itself, so no swap beneath it leads outside.

use super::path::{open_in_root, open_ordinary_in_root};
use super::{Errno, Result};
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, SFlag, fstat, mkdirat};
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What to make at the end of the path; directories are made on the way there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaf {
    /// A directory, mode 0755.
    Directory,
    /// An empty file, mode 0644.
    File,
}

const PATH_MAX: usize = 4096;

/// As the kernel, for a resolution.
const MAX_LINKS: usize = 40;

/// An `O_PATH` descriptor of what `path` names below `root`, made if missing.
pub fn make_in_root(root: impl AsFd, path: &CStr, leaf: Leaf) -> Result<OwnedFd> {
    let root = root.as_fd();
    match open_in_root(root, path, OFlag::O_PATH, 0) {
        Err(Errno::ENOENT) => make_missing_in_root(root, path, leaf),
        opened => opened,
    }
}

/// As [`make_in_root`], for a path that was just found missing.
pub fn make_missing_in_root(root: impl AsFd, path: &CStr, leaf: Leaf) -> Result<OwnedFd> {
    let root = root.as_fd();
    if let Some(made) = make_last_name(root, path, leaf)? {
        return Ok(made);
    }
    let mut walk = Walk {
        root,
        dir: open_in_root(root, c".", OFlag::O_PATH, 0)?,
        done: Text::new(),
        rest: Text::new(),
    };
    walk.rest.prepend(path.to_bytes())?;
    let mut links = 0;
    let mut name = Text::new();
    while walk.rest.take_name(&mut name)? {
        let made = if walk.rest.is_end() { leaf } else { Leaf::Directory };
        let Some(found) = walk.step(&name, made)? else { continue };
        match SFlag::from_bits_truncate(fstat(&found)?.st_mode) & SFlag::S_IFMT {
            SFlag::S_IFLNK if links < MAX_LINKS => {
                links += 1;
                walk.follow(&found)?;
            }
            SFlag::S_IFLNK => return Err(Errno::ELOOP),
            SFlag::S_IFDIR => walk.enter(found, &name)?,
            _ if walk.rest.is_end() => return Ok(found),
            _ => return Err(Errno::ENOTDIR),
        }
    }
    Ok(walk.dir)
}

/// The common case: the directory is there, and nothing of that name in it. `None` where it is not,
/// and only the walk can tell.
fn make_last_name(root: BorrowedFd<'_>, path: &CStr, leaf: Leaf) -> Result<Option<OwnedFd>> {
    let bytes = path.to_bytes();
    let cut = bytes.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    let (dir, last) = bytes.split_at_checked(cut).unwrap_or_default();
    if matches!(last, b"" | b"." | b"..") {
        return Ok(None);
    }
    let (mut parent, mut name) = (Text::new(), Text::new());
    parent.append(dir)?;
    name.append(last)?;
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
    let parent = match open_in_root(root, parent.as_cstr()?, flags, 0) {
        Err(Errno::ENOENT) => return Ok(None),
        opened => opened?,
    };
    match make_name(&parent, name.as_cstr()?, leaf) {
        // A dangling link, or somebody was faster.
        Err(Errno::EEXIST) => return Ok(None),
        made => made?,
    }
    let found = open_in_root(&parent, name.as_cstr()?, OFlag::O_PATH | OFlag::O_NOFOLLOW, 0)?;
    let kind = SFlag::from_bits_truncate(fstat(&found)?.st_mode) & SFlag::S_IFMT;
    Ok((kind != SFlag::S_IFLNK).then_some(found))
}

fn make_name(dir: &OwnedFd, name: &CStr, leaf: Leaf) -> Result<()> {
    match leaf {
        Leaf::Directory => mkdirat(dir, name, Mode::from_bits_truncate(0o755)),
        Leaf::File => {
            let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY;
            open_in_root(dir, name, flags, 0o644).map(drop)
        }
    }
}

struct Walk<'a> {
    root: BorrowedFd<'a>,
    /// Where the walk is.
    dir: OwnedFd,
    /// The plain names that lead from the root to it.
    done: Text,
    /// What is left to do.
    rest: Text,
}

impl Walk<'_> {
    /// Looks at `name`, and makes it if it is missing. `None` for `..`, which is done at once.
    fn step(&mut self, name: &Text, made: Leaf) -> Result<Option<OwnedFd>> {
        if name.bytes() == b".." {
            self.done.drop_name();
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
            self.dir = open_ordinary_in_root(self.root, self.done.as_cstr()?, flags)?;
            return Ok(None);
        }
        let name = name.as_cstr()?;
        let look = OFlag::O_PATH | OFlag::O_NOFOLLOW;
        match open_in_root(&self.dir, name, look, 0) {
            Err(Errno::ENOENT) => {}
            found => return found.map(Some),
        }
        match make_name(&self.dir, name, made) {
            // Somebody was faster; what is there is looked at like anything else.
            Ok(()) | Err(Errno::EEXIST) => open_in_root(&self.dir, name, look, 0).map(Some),
            Err(errno) => Err(errno),
        }
    }

    fn enter(&mut self, dir: OwnedFd, name: &Text) -> Result<()> {
        self.dir = dir;
        self.done.append_name(name.bytes())
    }

    fn follow(&mut self, link: &OwnedFd) -> Result<()> {
        let mut target = [std::mem::MaybeUninit::uninit(); PATH_MAX];
        let (target, _) =
            rustix::fs::readlinkat_raw(link, c"", &mut target[..]).map_err(super::clone::errno)?;
        self.rest.prepend(b"/")?;
        self.rest.prepend(target)?;
        if target.first() == Some(&b'/') {
            self.dir = open_in_root(self.root, c".", OFlag::O_PATH, 0)?;
            self.done = Text::new();
        }
        Ok(())
    }
}

/// A string on the stack that grows to the left and to the right, with a zero byte behind it.
struct Text {
    bytes: [u8; 2 * PATH_MAX],
    start: usize,
    end: usize,
}

impl Text {
    fn new() -> Self {
        Self { bytes: [0; 2 * PATH_MAX], start: PATH_MAX, end: PATH_MAX }
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    fn as_cstr(&self) -> Result<&CStr> {
        let with_zero = self.bytes.get(self.start..=self.end).unwrap_or_default();
        CStr::from_bytes_until_nul(with_zero).map_err(|_| Errno::ENAMETOOLONG)
    }

    fn prepend(&mut self, text: &[u8]) -> Result<()> {
        let start = self.start.checked_sub(text.len()).ok_or(Errno::ENAMETOOLONG)?;
        let space = self.bytes.get_mut(start..self.start).ok_or(Errno::ENAMETOOLONG)?;
        space.copy_from_slice(text);
        self.start = start;
        Ok(())
    }

    fn append(&mut self, text: &[u8]) -> Result<()> {
        let end = self.end + text.len();
        // One byte stays free for the zero.
        if end >= self.bytes.len() {
            return Err(Errno::ENAMETOOLONG);
        }
        let space = self.bytes.get_mut(self.end..end).ok_or(Errno::ENAMETOOLONG)?;
        space.copy_from_slice(text);
        self.end = end;
        Ok(())
    }

    fn append_name(&mut self, name: &[u8]) -> Result<()> {
        if self.start < self.end {
            self.append(b"/")?;
        }
        self.append(name)
    }

    /// Removes the last name; nothing happens at the root.
    fn drop_name(&mut self) {
        let cut = self.bytes().iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        let end = self.start + cut;
        if let Some(dropped) = self.bytes.get_mut(end..self.end) {
            dropped.fill(0);
        }
        self.end = end;
    }

    /// Whether nothing that names anything is left.
    fn is_end(&self) -> bool {
        self.bytes().split(|byte| *byte == b'/').all(|part| matches!(part, b"" | b"."))
    }

    /// Takes the first name off; false at the end.
    fn take_name(&mut self, name: &mut Self) -> Result<bool> {
        loop {
            let rest = self.bytes();
            let Some(skip) = rest.iter().position(|byte| *byte != b'/') else { return Ok(false) };
            let part = rest.get(skip..).unwrap_or_default();
            let length = part.iter().position(|byte| *byte == b'/').unwrap_or(part.len());
            let part = part.get(..length).unwrap_or_default();
            let skipped = part == b".";
            if !skipped {
                *name = Self::new();
                name.append(part)?;
            }
            self.start += skip + length;
            if !skipped {
                return Ok(true);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn make(links: &[(&str, &str)], path: &CStr, leaf: Leaf) -> (tempfile::TempDir, Result<()>) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("etc")).unwrap();
        for (link, target) in links {
            symlink(target, root.join(link)).unwrap();
        }
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
        let fd = nix::fcntl::open(&root, flags, Mode::empty()).unwrap();
        let made = make_in_root(fd, path, leaf).map(drop);
        (dir, made)
    }

    #[test]
    fn dangling_links_are_followed_inside() {
        type Case<'a> = (&'a [(&'a str, &'a str)], &'a CStr, Leaf, &'a str);
        let cases: [Case<'_>; 5] = [
            (&[("etc/resolv.conf", "../run/r")], c"etc/resolv.conf", Leaf::File, "run/r"),
            (&[("etc/resolv.conf", "/run/a/b")], c"etc/resolv.conf", Leaf::File, "run/a/b"),
            (&[("a", "b"), ("b", "../../../c")], c"a/d/e", Leaf::Directory, "c/d/e"),
            (&[], c"/x/../y/./z/", Leaf::Directory, "y/z"),
            (&[("up", "/")], c"up/../etc/new", Leaf::File, "etc/new"),
        ];
        for (links, path, leaf, expected) in cases {
            let (dir, made) = make(links, path, leaf);
            assert_eq!(made, Ok(()), "{path:?}");
            let found = dir.path().join("root").join(expected).symlink_metadata().unwrap();
            assert_eq!(found.is_dir(), leaf == Leaf::Directory, "{path:?}");
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing outside: {path:?}");
        }
    }

    #[test]
    fn loops_and_files_on_the_way_end() {
        let loops = [("a", "b"), ("b", "a")];
        assert_eq!(make(&loops, c"a/x", Leaf::Directory).1, Err(Errno::ELOOP));
        let (dir, made) = make(&[], c"etc/f", Leaf::File);
        assert_eq!(made, Ok(()));
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
        let root = nix::fcntl::open(&dir.path().join("root"), flags, Mode::empty()).unwrap();
        let below = make_in_root(root, c"etc/f/x", Leaf::Directory).map(drop);
        assert_eq!(below, Err(Errno::ENOTDIR));
    }
}
