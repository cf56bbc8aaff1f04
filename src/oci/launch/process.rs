//! The child's steps on itself: terminal, working directory, user, program.

use super::child::{Slots, Tools};
use super::console::Receiver;
use crate::oci::plan::step::{Attribute, Program, User};
use crate::sys::make::{Leaf, make_in_root};
use crate::sys::mount::{self, Depth};
use crate::sys::path::open_in_root;
use crate::sys::{Errno, Result, cred, exec, limits, socket, tty};
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag};
use nix::sys::stat::{Mode, SFlag, fstat, umask};
use nix::unistd::{AccessFlags, faccessat};
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd};

/// Sets an attribute of process `pid`, 0 for the caller's own.
pub(super) fn attribute(attribute: &Attribute, pid: i32) -> Result<()> {
    match attribute {
        Attribute::Rlimit { resource, soft, hard, .. } => {
            limits::prlimit(pid, *resource, *soft, *hard)
        }
        Attribute::Scheduler(scheduling) => limits::sched_setattr(pid, scheduling),
        Attribute::IoPriority { class, level } => limits::ioprio_set(pid, *class, *level),
        Attribute::Affinity(cpus) => limits::sched_setaffinity(pid, cpus),
        Attribute::MemoryPolicy { mode, nodes } => limits::set_mempolicy(*mode, nodes),
        Attribute::Personality(domain) => limits::personality(*domain),
        // The parent's.
        Attribute::OomScore(_) => Err(Errno::ENOSYS),
    }
}

/// Opens a terminal of the container's own devpts. The other end comes from the master by ioctl: a
/// path could have been swapped (CVE-2025-52565).
pub(super) fn console(
    size: Option<(u16, u16)>,
    bind: bool,
    uid: u32,
    tools: &Tools,
    slots: &Slots,
) -> Result<()> {
    let root = slots.root()?;
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY;
    let master = open_in_root(root, c"dev/pts/ptmx", flags, 0)?;
    let terminal = tty::open_peer(&master)?;
    if let Some((rows, columns)) = size {
        tty::set_window_size(&terminal, rows, columns)?;
    }
    if uid != 0 {
        tty::give_to(&terminal, uid)?;
    }
    if bind {
        let target = make_in_root(root, c"dev/console", Leaf::File)?;
        mount::move_mount(mount::open_tree(&terminal, c"", Depth::One)?, target)?;
    }
    let socket = match tools.console.as_ref().ok_or(Errno::EBADF)? {
        Receiver::Caller(socket) => socket,
        Receiver::Relay(socket) => {
            // As runc's: what we pass on is what the program wrote.
            tty::leave_newlines(&terminal)?;
            socket
        }
    };
    socket::send_fd(socket, b"/dev/ptmx", &master)?;
    tty::set_controlling(&terminal)?;
    (0..=2).try_for_each(|standard| exec::dup_to_stdio(&terminal, standard))
}

/// Resolved below the root without magic links: `/proc/self/fd/7` might be a directory of the host
/// that the caller left open (CVE-2024-21626). Made if missing, as runc does.
pub(super) fn chdir(root: BorrowedFd<'_>, path: &CString) -> Result<()> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
    let dir = match open_in_root(root, path.as_c_str(), flags, 0) {
        Err(Errno::ENOENT) => make_in_root(root, path, Leaf::Directory)?,
        opened => opened?,
    };
    nix::unistd::fchdir(dir)
}

/// Groups first, while there is the privilege to change them; permitted capabilities survive the
/// change of user for the capset that follows.
pub(super) fn user(user: &User) -> Result<()> {
    umask(Mode::from_bits_truncate(user.umask));
    if user.uid != 0 {
        give_stdio(user.uid)?;
        cred::keep_capabilities()?;
    }
    match cred::setgroups(&user.groups) {
        // A user namespace whose maps an unprivileged user wrote; there is nothing to drop.
        Err(Errno::EPERM) if user.groups.is_empty() => {}
        set => set?,
    }
    cred::setresgid(user.gid)?;
    cred::setresuid(user.uid)
}

/// So that the program may open `/dev/stdout` anew, as runc does it. Whatever cannot be given
/// (a file of a read-only file system, somebody else's) stays as it is.
fn give_stdio(uid: u32) -> Result<()> {
    let stdin = std::io::stdin();
    let (stdout, stderr) = (std::io::stdout(), std::io::stderr());
    for fd in [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()] {
        let stat = match fstat(fd) {
            Err(Errno::EBADF) => continue,
            stat => stat?,
        };
        let kind = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
        let null = kind == SFlag::S_IFCHR && stat.st_rdev == nix::sys::stat::makedev(1, 3);
        if null || stat.st_uid == uid {
            continue;
        }
        match tty::give_to(fd, uid) {
            Ok(()) | Err(Errno::EPERM | Errno::EINVAL | Errno::EROFS) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Fails as execve would, without executing.
pub(super) fn find(candidates: &[CString]) -> Result<()> {
    let mut failed = Errno::ENOENT;
    for path in candidates {
        match faccessat(AT_FDCWD, path.as_c_str(), AccessFlags::X_OK, AtFlags::AT_EACCESS) {
            Ok(()) => return Ok(()),
            Err(Errno::ENOENT | Errno::ENOTDIR) => {}
            Err(errno) => failed = errno,
        }
    }
    Err(failed)
}

/// Hands over to `last`, which executes the program and reports on the control socket if it cannot.
pub(super) fn execute(program: &Program, tools: &mut Tools, slots: &Slots) -> Result<()> {
    if program.home {
        set_home(program.uid, &mut tools.envp, slots.root()?)?;
    }
    Err(exec::execve_fd(tools.last.as_fd(), &tools.argv, &tools.envp))
}

/// How much of `/etc/passwd` is looked at.
const PASSWD_LIMIT: usize = 64 << 10;

/// `HOME` as the container's `/etc/passwd` has it, else `/`. The file is the image's, so it may be
/// anything: it must be a regular one, and only a part is read.
pub(super) fn set_home(uid: u32, envp: &mut exec::CVec, root: BorrowedFd<'_>) -> Result<()> {
    let mut search = PasswdSearch::new(uid);
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    if let Ok(file) = open_in_root(root, c"etc/passwd", flags, 0)
        && SFlag::from_bits_truncate(fstat(&file)?.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG
    {
        let mut chunk = [0; 1024];
        let mut read = 0;
        while read < PASSWD_LIMIT && !search.is_done() {
            let count = nix::unistd::read(&file, &mut chunk)?;
            if count == 0 {
                break;
            }
            chunk.iter().take(count).for_each(|byte| search.feed(*byte));
            read += count;
        }
        search.feed(b'\n');
    }
    envp.set_spare(b"HOME=", search.home().unwrap_or(b"/"))
}

/// Finds the sixth field of the first line whose third is `uid`, byte by byte and without memory of
/// its own that grows.
struct PasswdSearch {
    uid: u32,
    field: usize,
    /// The third field so far; `None` if it is no number.
    number: Option<u32>,
    digits: usize,
    home: [u8; 240],
    length: usize,
    done: bool,
}

impl PasswdSearch {
    fn new(uid: u32) -> Self {
        Self { uid, field: 0, number: Some(0), digits: 0, home: [0; 240], length: 0, done: false }
    }

    fn is_done(&self) -> bool {
        self.done
    }

    fn home(&self) -> Option<&[u8]> {
        self.home.get(..self.length).filter(|home| self.done && !home.is_empty())
    }

    fn feed(&mut self, byte: u8) {
        match byte {
            _ if self.done => {}
            b'\n' => {
                self.done = self.field >= 5 && self.digits > 0 && self.number == Some(self.uid);
                if !self.done {
                    *self = Self::new(self.uid);
                }
            }
            b':' => self.field += 1,
            _ if self.field == 2 => {
                let digit = char::from(byte).to_digit(10);
                self.number = self.number.and_then(|n| n.checked_mul(10)?.checked_add(digit?));
                self.digits += 1;
            }
            _ if self.field == 5 => {
                if let Some(place) = self.home.get_mut(self.length) {
                    *place = byte;
                    self.length += 1;
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(passwd: &str, uid: u32) -> Option<String> {
        let mut search = PasswdSearch::new(uid);
        passwd.bytes().chain([b'\n']).for_each(|byte| search.feed(byte));
        search.home().map(|home| String::from_utf8_lossy(home).into_owned())
    }

    #[test]
    fn home_is_the_sixth_field_of_the_users_line() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\n1000:x:0:0::/no:\nx\nweb:x:33:33::/var/www";
        assert_eq!(home(passwd, 0).as_deref(), Some("/root"));
        assert_eq!(home(passwd, 33).as_deref(), Some("/var/www"));
        assert_eq!(home(passwd, 1000), None, "a name that looks like a number is none");
        assert_eq!(home("a:x:7:7::/seven:\n", 7).as_deref(), Some("/seven"));
        assert_eq!(home("a:x::7::/empty:\nb:x:4294967296:0::/big:", 0), None);
        assert_eq!(home("", 0), None);
    }
}
