//! What the kernel alone costs: cgroups, clone3 into the namespaces, the mounts, devices and masked
//! paths of `runp spec`'s configuration, pivot_root, execve of /bin/true, wait, and the removal of
//! the cgroups. Nothing is parsed, checked, resolved safely or recorded.
//!
//! Classic mount(2) with plain paths, so that the floor owes nothing to the code it is held against.

use std::ffi::CString;
use std::fs;
use std::path::{Path, PathBuf};
use std::ptr;

const DEVICES: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];
const MASKED: [&str; 7] =
    ["acpi", "asound", "kcore", "keys", "latency_stats", "timer_list", "scsi"];
const READ_ONLY: [&str; 5] = ["bus", "fs", "irq", "sys", "sysrq-trigger"];

/// A rootfs and the cgroup hierarchies, found once.
pub struct Floor {
    rootfs: PathBuf,
    cgroups: Vec<PathBuf>,
}

impl Floor {
    /// For containers with that rootfs.
    pub fn new(rootfs: &Path) -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
        let cgroup = |line: &&str| line.contains(" - cgroup");
        let point = |line: &str| PathBuf::from(line.split(' ').nth(4).expect("a mount point"));
        let cgroups = mounts.lines().filter(cgroup).map(point).collect();
        Self { rootfs: rootfs.to_owned(), cgroups }
    }

    /// One container, from nothing to gone.
    pub fn run(&self) {
        let dirs: Vec<PathBuf> =
            self.cgroups.iter().map(|mount| mount.join("runp-floor")).collect();
        for dir in &dirs {
            fs::create_dir(dir).expect("cgroup");
        }
        for dir in dirs.iter().filter(|dir| dir.join("tasks").exists()) {
            // A v1 cpuset takes no process before it has processors and memory.
            for file in ["cpuset.cpus", "cpuset.mems"] {
                if let Ok(value) = fs::read(dir.join("..").join(file)) {
                    fs::write(dir.join(file), value).expect("cpuset");
                }
            }
        }
        let pid = clone3();
        if pid == 0 {
            for dir in &dirs {
                // A lone thread moves itself through `tasks` without a grace period of RCU, which
                // a write to v1's cgroup.procs costs.
                let v1 = dir.join("tasks");
                let file = if v1.exists() { v1 } else { dir.join("cgroup.procs") };
                fs::write(file, "0").expect("cgroup");
            }
            child(&self.rootfs);
        }
        let mut status = 0;
        // SAFETY: `status` outlives the call.
        let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
        assert_eq!((waited, status), (pid, 0), "the floor's container failed");
        for dir in &dirs {
            fs::remove_dir(dir).expect("cgroup is empty");
        }
    }
}

fn clone3() -> libc::pid_t {
    let flags = libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWCGROUP;
    // SAFETY: clone_args is plain data, for which zero means "not used".
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    // SAFETY: as fork: no memory is shared, and this program has one thread.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of_val(&args)) };
    assert!(pid >= 0, "clone3: {}", std::io::Error::last_os_error());
    pid as libc::pid_t
}

fn child(rootfs: &Path) -> ! {
    let at = |path: &str| format!("{}/{path}", rootfs.display());
    let bind = libc::MS_BIND | libc::MS_REC;
    mount("", "/", "", libc::MS_REC | libc::MS_PRIVATE, "");
    mount(&at(""), &at(""), "", bind, "");
    mount("proc", &at("proc"), "proc", 0, "");
    mount("tmpfs", &at("dev"), "tmpfs", libc::MS_NOSUID, "mode=755,size=65536k");
    for dir in ["dev/pts", "dev/shm", "dev/mqueue"] {
        fs::create_dir(at(dir)).expect("mkdir");
    }
    mount("devpts", &at("dev/pts"), "devpts", 0, "newinstance,ptmxmode=0666,mode=0620,gid=5");
    mount("shm", &at("dev/shm"), "tmpfs", 0, "mode=1777,size=65536k");
    mount("mqueue", &at("dev/mqueue"), "mqueue", 0, "");
    mount("sysfs", &at("sys"), "sysfs", libc::MS_RDONLY, "");
    mount("/sys/fs/cgroup", &at("sys/fs/cgroup"), "", bind, "");
    for (name, major, minor) in DEVICES {
        let path = CString::new(at(&format!("dev/{name}"))).expect("no NUL");
        // SAFETY: the path is a C string.
        let made = unsafe {
            libc::mknod(path.as_ptr(), libc::S_IFCHR | 0o666, libc::makedev(major, minor))
        };
        assert_eq!(made, 0, "mknod {name}");
    }
    for name in MASKED {
        let path = at(&format!("proc/{name}"));
        match fs::metadata(&path) {
            Ok(found) if found.is_dir() => mount("tmpfs", &path, "tmpfs", libc::MS_RDONLY, ""),
            Ok(_) => mount("/dev/null", &path, "", libc::MS_BIND, ""),
            Err(_) => {}
        }
    }
    for name in READ_ONLY {
        let path = at(&format!("proc/{name}"));
        if !Path::new(&path).exists() {
            continue;
        }
        mount(&path, &path, "", bind, "");
        mount("", &path, "", libc::MS_BIND | libc::MS_REMOUNT | libc::MS_RDONLY, "");
    }
    enter(rootfs)
}

fn enter(rootfs: &Path) -> ! {
    std::env::set_current_dir(rootfs).expect("chdir");
    let (dot, program) = (c".".as_ptr(), c"/bin/true");
    // SAFETY: every pointer is to a C string or a null-terminated array of them that lives on.
    unsafe {
        assert_eq!(libc::syscall(libc::SYS_pivot_root, dot, dot), 0, "pivot_root");
        assert_eq!(libc::umount2(dot, libc::MNT_DETACH), 0, "umount");
        let argv = [program.as_ptr(), ptr::null()];
        libc::execve(program.as_ptr(), argv.as_ptr(), [ptr::null()].as_ptr());
        libc::_exit(127)
    }
}

fn mount(source: &str, target: &str, kind: &str, flags: libc::c_ulong, data: &str) {
    let [source, target, kind, data] =
        [source, target, kind, data].map(|text| CString::new(text).expect("no NUL"));
    // SAFETY: all four are C strings that outlive the call.
    let mounted = unsafe {
        libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, data.as_ptr().cast())
    };
    assert_eq!(mounted, 0, "mount {target:?}: {}", std::io::Error::last_os_error());
}
