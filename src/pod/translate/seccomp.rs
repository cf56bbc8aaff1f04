//! The seccomp profiles of containers: the default one, which is what containerd's does, and those
//! of files.
//!
//! The default allows what programs need and denies, with EPERM, what could only harm the host: the
//! calls that need a capability are allowed where the container has it.

use super::from_json;
use crate::error::Result;
use crate::kube::Pod;
use k8s_openapi::api::core::v1::{Container, SeccompProfile};
use oci_spec::runtime::LinuxSeccomp;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Allowed to everybody.
const ALLOWED: &str = "\
    _llseek _newselect accept accept4 access adjtimex alarm arch_prctl arm_fadvise64_64 \
    arm_sync_file_range bind breakpoint brk cacheflush cachestat capget capset chdir chmod chown \
    chown32 clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime \
    clock_gettime64 clock_nanosleep clock_nanosleep_time64 close close_range connect \
    copy_file_range creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_ctl_old \
    epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 execve execveat exit \
    exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark fchdir fchmod \
    fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr \
    flock fork fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate \
    ftruncate64 futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake futimesat \
    get_robust_list get_thread_area getcpu getcwd getdents getdents64 getegid getegid32 geteuid \
    geteuid32 getgid getgid32 getgroups getgroups32 getitimer getpeername getpgid getpgrp getpid \
    getppid getpriority getrandom getresgid getresgid32 getresuid getresuid32 getrlimit \
    getrusage getsid getsockname getsockopt gettid gettimeofday getuid getuid32 getxattr \
    getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel \
    io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit ioctl \
    ioprio_get ioprio_set ipc kill landlock_add_rule landlock_create_ruleset \
    landlock_restrict_self lchown lchown32 lgetxattr link linkat listen listmount listxattr \
    listxattrat llistxattr lremovexattr lseek lsetxattr lsm_get_self_attr lsm_list_modules \
    lsm_set_self_attr lstat lstat64 madvise map_shadow_stack membarrier memfd_create \
    memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap mmap2 modify_ldt \
    mprotect mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend \
    mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync munlock \
    munlockall munmap name_to_handle_at nanosleep newfstatat open openat openat2 pause \
    pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll \
    ppoll_time64 prctl pread64 preadv preadv2 prlimit64 process_mrelease process_vm_readv \
    process_vm_writev pselect6 pselect6_time64 ptrace pwrite64 pwritev pwritev2 read readahead \
    readdir readlink readlinkat readv recv recvfrom recvmmsg recvmmsg_time64 recvmsg \
    remap_file_pages removexattr removexattrat rename renameat renameat2 restart_syscall \
    riscv_flush_icache riscv_hwprobe rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask \
    rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 \
    rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min sched_getaffinity \
    sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval \
    sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam \
    sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop \
    semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg sendto set_robust_list \
    set_thread_area set_tid_address set_tls setfsgid setfsgid32 setfsuid setfsuid32 setgid \
    setgid32 setgroups setgroups32 setitimer setpgid setpriority setregid setregid32 setresgid \
    setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit setsid setsockopt setuid \
    setuid32 setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaction sigaltstack signal \
    signalfd signalfd4 sigpending sigprocmask sigreturn sigsuspend socketcall socketpair splice \
    stat stat64 statfs statfs64 statmount statx symlink symlinkat sync sync_file_range \
    sync_file_range2 syncfs syscall sysinfo tee tgkill time timer_create timer_delete \
    timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd \
    timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times \
    tkill truncate truncate64 ugetrlimit umask uname unlink unlinkat uretprobe utime utimensat \
    utimensat_time64 utimes vfork wait4 waitid waitpid write writev";

/// Allowed to who has the capability.
const WITH_CAPABILITY: [(&str, &[&str]); 14] = [
    ("CAP_BPF", &["bpf"]),
    ("CAP_DAC_READ_SEARCH", &["open_by_handle_at"]),
    ("CAP_PERFMON", &["perf_event_open"]),
    ("CAP_SYSLOG", &["syslog"]),
    (
        "CAP_SYS_ADMIN",
        &[
            "bpf",
            "clone3",
            "fanotify_init",
            "fsconfig",
            "fsmount",
            "fsopen",
            "fspick",
            "lookup_dcookie",
            "mount",
            "mount_setattr",
            "move_mount",
            "open_tree",
            "perf_event_open",
            "quotactl",
            "quotactl_fd",
            "setdomainname",
            "sethostname",
            "setns",
            "syslog",
            "umount",
            "umount2",
            "unshare",
        ],
    ),
    ("CAP_SYS_BOOT", &["reboot"]),
    ("CAP_SYS_CHROOT", &["chroot"]),
    ("CAP_SYS_MODULE", &["delete_module", "finit_module", "init_module"]),
    ("CAP_SYS_NICE", &["get_mempolicy", "mbind", "set_mempolicy", "set_mempolicy_home_node"]),
    ("CAP_SYS_PACCT", &["acct"]),
    ("CAP_SYS_PTRACE", &["kcmp", "pidfd_getfd", "process_madvise"]),
    ("CAP_SYS_RAWIO", &["ioperm", "iopl"]),
    ("CAP_SYS_TIME", &["clock_settime", "clock_settime64", "settimeofday", "stime"]),
    ("CAP_SYS_TTY_CONFIG", &["vhangup"]),
];

/// personality(2) may choose among these execution domains, and ask.
const PERSONALITIES: [u64; 5] = [0x0, 0x8, 0x20000, 0x20008, 0xffff_ffff];
/// `CLONE_NEW*`: namespaces are for who has `CAP_SYS_ADMIN`.
const NEW_NAMESPACES: u64 = 0x7e02_0000;
/// `AF_VSOCK` reaches the machine that this one is a guest of.
const AF_VSOCK: u64 = 40;
const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// What a container's profile is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// None.
    Unconfined,
    /// [`default_profile`].
    Default,
    /// The one in this file, below the node's directory of profiles.
    File(String),
}

/// The container's, else the pod's; none is asked for, none is given. A privileged container has
/// none whatever is asked for.
pub fn wanted(pod: &Pod, container: &Container) -> Wanted {
    let own = container.security_context.as_ref();
    if own.is_some_and(|own| own.privileged == Some(true)) {
        return Wanted::Unconfined;
    }
    let of_pod = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
    let of_pod = of_pod.and_then(|of_pod| of_pod.seccomp_profile.as_ref());
    let profile: Option<&SeccompProfile> =
        own.and_then(|own| own.seccomp_profile.as_ref()).or(of_pod);
    match profile.map(|profile| (profile.type_.as_str(), &profile.localhost_profile)) {
        Some(("RuntimeDefault", _)) => Wanted::Default,
        Some(("Localhost", file)) => Wanted::File(file.clone().unwrap_or_default()),
        _ => Wanted::Unconfined,
    }
}

/// The default profile of a container with these capabilities.
pub fn default_profile(capabilities: &BTreeSet<String>) -> Result<LinuxSeccomp> {
    let allow = |names: &[&str], args: Value| json!({"names": names, "action": "SCMP_ACT_ALLOW", "args": args});
    let is = |index: u32, value: u64, op: &str| json!([{"index": index, "value": value, "op": op}]);
    let names: Vec<&str> = ALLOWED.split_whitespace().collect();
    let mut calls =
        vec![allow(&names, json!([])), allow(&["socket"], is(0, AF_VSOCK, "SCMP_CMP_NE"))];
    for domain in PERSONALITIES {
        calls.push(allow(&["personality"], is(0, domain, "SCMP_CMP_EQ")));
    }
    for (capability, names) in WITH_CAPABILITY {
        if capabilities.contains(capability) {
            calls.push(allow(names, json!([])));
        }
    }
    if capabilities.contains("CAP_SYS_ADMIN") {
        calls.push(allow(&["clone"], json!([])));
    } else {
        // No flag of these may be set.
        let none = json!([{
            "index": 0, "value": NEW_NAMESPACES, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ",
        }]);
        calls.push(allow(&["clone"], none));
        // Its flags are in memory, where a filter cannot look: programs fall back to clone(2).
        calls.push(json!({
            "names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS,
        }));
    }
    from_json(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": EPERM,
        "architectures": architectures(),
        "syscalls": calls,
    }))
}

/// All ways into the kernel of this machine.
fn architectures() -> &'static [&'static str] {
    match std::env::consts::ARCH {
        "x86_64" => &["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "aarch64" => &["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(capabilities: &[&str]) -> BTreeSet<String> {
        let capabilities = capabilities.iter().map(ToString::to_string).collect();
        let profile = serde_json::to_value(default_profile(&capabilities).unwrap()).unwrap();
        let mut names = BTreeSet::new();
        for call in profile["syscalls"].as_array().unwrap() {
            if call["action"] == "SCMP_ACT_ALLOW" {
                let list = call["names"].as_array().unwrap();
                names.extend(list.iter().map(|name| name.as_str().unwrap().to_owned()));
            }
        }
        names
    }

    #[test]
    fn what_harms_the_host_needs_its_capability() {
        let (plain, admin) = (allowed(&[]), allowed(&["CAP_SYS_ADMIN"]));
        for name in ["mount", "bpf", "unshare", "setns", "perf_event_open", "clone3", "fsopen"] {
            assert!(!plain.contains(name), "{name}");
            assert!(admin.contains(name), "{name}");
        }
        for name in ["keyctl", "add_key", "io_uring_setup", "kexec_load", "pivot_root", "reboot"] {
            assert!(!admin.contains(name), "{name}");
        }
        for name in ["read", "execve", "clone", "openat2", "futex", "socket", "ptrace"] {
            assert!(plain.contains(name), "{name}");
        }
        assert!(allowed(&["CAP_SYS_TIME"]).contains("settimeofday"));
    }

    #[test]
    fn the_containers_profile_comes_before_the_pods() {
        let wanted = |pod: Value, container: Value| {
            let spec = json!({"containers": [], "securityContext": pod});
            let pod = serde_json::from_value(json!({"spec": spec})).unwrap();
            let container = json!({"name": "c", "securityContext": container});
            super::wanted(&pod, &serde_json::from_value(container).unwrap())
        };
        let of = |kind: &str| json!({"seccompProfile": {"type": kind}});
        assert_eq!(wanted(json!({}), json!({})), Wanted::Unconfined);
        assert_eq!(wanted(of("RuntimeDefault"), json!({})), Wanted::Default);
        assert_eq!(wanted(of("RuntimeDefault"), of("Unconfined")), Wanted::Unconfined);
        let file = json!({"seccompProfile": {"type": "Localhost", "localhostProfile": "a.json"}});
        assert_eq!(wanted(json!({}), file), Wanted::File("a.json".into()));
        assert_eq!(wanted(of("RuntimeDefault"), json!({"privileged": true})), Wanted::Unconfined);
    }
}
