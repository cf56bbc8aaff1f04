//! The vocabulary of a launch: of plans, errors, traces, fault points and `runp explain`.

use crate::sys::types::{AttrChange, CapSets, NsKind, NumberSet, Propagation, Scheduling};
use std::ffi::{CStr, CString};

/// Who does a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The runtime's own process.
    Parent,
    /// The container's first process, before it becomes the user's program.
    Child,
}

/// The part of config.json that a step comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct At {
    pub(super) field: &'static str,
    pub(super) index: Option<u32>,
}

impl At {
    /// A field by its path.
    pub const fn field(field: &'static str) -> Self {
        Self { field, index: None }
    }

    /// An element of an array.
    pub const fn item(field: &'static str, index: usize) -> Self {
        Self { field, index: Some(index as u32) }
    }

    /// Whether it names nothing: the step is our own.
    pub const fn is_none(&self) -> bool {
        self.field.is_empty()
    }
}

/// A step, who does it and why.
#[derive(Debug)]
pub struct Planned {
    /// Who does it.
    pub side: Side,
    /// Where config.json asks for it.
    pub at: At,
    /// What is done.
    pub step: Step,
}

/// Where parent and child wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Barrier {
    /// To the child: the id maps are written, its network devices are there.
    Mapped,
    /// To the parent: the mounts are made, hooks may look at them.
    Mounted,
    /// To the child: the hooks have run.
    HooksDone,
    /// To the parent: nothing but the start is left.
    Ready,
    /// To the child: recorded, limited, go.
    Go,
}

impl Barrier {
    /// Its name in plans and traces.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mapped => "mapped",
            Self::Mounted => "mounted",
            Self::HooksDone => "hooks-done",
            Self::Ready => "ready",
            Self::Go => "go",
        }
    }
}

/// A point in a container's life at which hooks run while it is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookPoint {
    /// Deprecated, as `createRuntime`.
    Prestart,
    /// In the runtime's namespaces.
    CreateRuntime,
    /// In the container's namespaces, before pivot_root.
    CreateContainer,
    /// In the container's namespaces, with its root; `create` leaves them to `start`.
    StartContainer,
}

impl HookPoint {
    /// Its name in config.json.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Prestart => "prestart",
            Self::CreateRuntime => "createRuntime",
            Self::CreateContainer => "createContainer",
            Self::StartContainer => "startContainer",
        }
    }
}

/// Limits of a cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limits {
    /// Memory, once the container is made: making it is not to count.
    Memory,
    /// All others.
    Others,
}

/// What a mount shows.
#[derive(Debug)]
pub enum Origin {
    /// A new instance of a file system.
    Fs {
        /// Its type.
        kind: CString,
        /// Its `source`.
        source: Option<CString>,
        /// Its options, for fsconfig(2).
        data: Vec<(CString, Option<CString>)>,
        /// An overlay's options in one, for mount(2): where fsconfig(2) does not take them.
        whole: Option<CString>,
        /// Overlay only: upper and work directory on a fresh tmpfs (`runp.upper=tmpfs`).
        scratch: bool,
        /// What it takes over from the directory that it covers.
        inherit: Inherit,
    },
    /// A file or directory that is there.
    Bind {
        /// Where.
        path: SourcePath,
        /// With the mounts below it.
        recursive: bool,
    },
    /// The same, opened by the parent in [`Step::Source`].
    Sent,
    /// What is mounted there already, and is only changed (`remount`).
    There {
        /// New options of the file system.
        data: Vec<(CString, Option<CString>)>,
    },
}

/// Where the source of a bind mount is.
#[derive(Debug)]
pub enum SourcePath {
    /// A path of the host.
    Host(CString),
    /// A path below the container's root, whose links lead nowhere else: mounts made by then are
    /// part of it.
    Inside(CString),
}

/// What a new tmpfs takes over from the directory that it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inherit {
    /// Nothing.
    Nothing,
    /// Its mode.
    Mode,
    /// Owner, mode and content (`tmpcopyup`).
    All,
}

/// A bind mount's source, for the parent to open: the child's user namespace may not reach it, or
/// may not map its owners.
#[derive(Debug)]
pub struct Source {
    /// Its place in the container's mount namespace as it is by then.
    pub path: SourcePath,
    /// With the mounts below it.
    pub recursive: bool,
    /// How owners are mapped; true for the mounts below too.
    pub map: Option<(OwnerMap, bool)>,
}

/// A network device that moves into the container.
#[derive(Debug)]
pub struct NetDevice {
    /// Its name on the host.
    pub name: String,
    /// Its name in the container; `%d` stands for a free number.
    pub new_name: String,
    /// Where it goes: a namespace that is joined, else the child's own.
    pub namespace: Option<CString>,
}

/// Who answers what a seccomp filter asks.
#[derive(Debug)]
pub struct Listener {
    /// The socket it listens on.
    pub path: CString,
    /// What it is told, beside the container's state.
    pub metadata: String,
}

/// The mapping of an id-mapped mount.
#[derive(Debug, PartialEq, Eq)]
pub enum OwnerMap {
    /// That of an existing user namespace.
    Namespace(CString),
    /// As for `/proc/<pid>/{uid,gid}_map`.
    Ids {
        /// Users.
        uids: String,
        /// Groups.
        gids: String,
    },
}

/// Where a mount goes.
#[derive(Debug)]
pub enum Target {
    /// It becomes the container's root; attached meanwhile on this path of the host.
    Root(CString),
    /// A path inside the container's root.
    Inside(CString),
}

/// What must hold of the place of a mount, checked by descriptor when it is made. Programs and the
/// runtime itself trust procfs: whatever is mounted over it could lie about processes and labels
/// (CVE-2019-16884, CVE-2019-19921).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetCheck {
    /// It is not in a procfs.
    OutsideProc,
    /// One of the files of procfs that may be covered.
    AllowedInProc,
    /// It is a directory, and no symbolic link leads there.
    Ordinary,
    /// What is mounted is a procfs.
    SourceIsProc,
}

/// One mount.
#[derive(Debug)]
pub struct Mount {
    /// What it shows.
    pub origin: Origin,
    /// Where it goes.
    pub target: Target,
    /// What must hold of the place.
    pub check: TargetCheck,
    /// Attributes of the mount itself.
    pub attr: AttrChange,
    /// Those to try where attributes of a bind mount's source are locked.
    pub attr_locked: Option<AttrChange>,
    /// Attributes of it and all mounts below (`rro` and its kin).
    pub tree_attr: AttrChange,
    /// Propagation, in the order given; true for the recursive kind.
    pub propagation: Vec<(Propagation, bool)>,
}

/// A file in a directory of the container, split when planned so that using it allocates nothing.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    /// The directory, relative to the root.
    pub dir: CString,
    /// The last name.
    pub name: CString,
}

/// A device file.
#[derive(Debug)]
pub struct Device {
    /// Where.
    pub place: Place,
    /// The host's own, bound where mknod(2) is not allowed (user namespaces).
    pub host: CString,
    /// Type and permission bits, `st_mode`.
    pub mode: u32,
    /// Major and minor number.
    pub number: (u32, u32),
    /// Owner and group, in the container.
    pub owner: (u32, u32),
}

/// The user that the program runs as.
#[derive(Debug)]
pub struct User {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Additional groups; exactly these.
    pub groups: Vec<u32>,
    /// File mode creation mask.
    pub umask: u32,
}

/// A name of the UTS namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UtsField {
    /// The host's.
    Hostname,
    /// The NIS domain's.
    Domainname,
}

/// What is executed.
#[derive(Debug, Default)]
pub struct Program {
    /// As given: `args[0]`.
    pub name: String,
    /// The paths to try in turn; one, when the name holds a slash.
    pub candidates: Vec<CString>,
    /// All arguments.
    pub args: Vec<CString>,
    /// `NAME=value`.
    pub env: Vec<CString>,
    /// Whether `HOME` is to be added, as the container's `/etc/passwd` has it for `uid`.
    pub home: bool,
    /// The user it runs as.
    pub uid: u32,
}

/// An attribute of a process that programs inherit.
#[derive(Debug)]
pub enum Attribute {
    /// `/proc/<pid>/oom_score_adj`.
    OomScore(i32),
    /// prlimit(2).
    Rlimit {
        /// `RLIMIT_*` as named in config.json.
        name: &'static str,
        /// Its number.
        resource: u32,
        /// Soft limit.
        soft: u64,
        /// Hard limit.
        hard: u64,
    },
    /// sched_setattr(2).
    Scheduler(Scheduling),
    /// ioprio_set(2).
    IoPriority {
        /// `IOPRIO_CLASS_*`.
        class: u8,
        /// 0 to 7, 0 the highest.
        level: u8,
    },
    /// sched_setaffinity(2).
    Affinity(NumberSet),
    /// set_mempolicy(2).
    MemoryPolicy {
        /// `MPOL_*` with its flags.
        mode: u32,
        /// Nodes.
        nodes: NumberSet,
    },
    /// personality(2).
    Personality(u32),
}

/// How the root changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootChange {
    /// pivot_root(2).
    Pivot,
    /// `MS_MOVE` and chroot(2), for a host that runs from its initramfs.
    Move,
    /// chroot(2) alone, without a mount namespace of the container's own.
    Chroot,
}

/// Who may write the maps of a new user namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mapper {
    /// We, with the capability to map any.
    Privileged,
    /// We, since only the caller's own user and group are mapped.
    OwnIds,
    /// newuidmap(1) and newgidmap(1).
    Helpers,
}

/// One thing to do, decided wholly; see [`crate::oci::launch`] for how.
#[derive(Debug)]
pub enum Step {
    // The parent's.
    /// Make the cgroup.
    MakeCgroup,
    /// Make the child, in these new namespaces.
    Clone(Vec<NsKind>),
    /// Write the user namespace's maps, as for `/proc/<pid>/{uid,gid}_map`.
    IdMaps {
        /// Users.
        uids: String,
        /// Groups.
        gids: String,
        /// Who writes them.
        mapper: Mapper,
    },
    /// Move a network device into the container.
    NetDevice(NetDevice),
    /// Write the child's pid to state.json.
    Record,
    /// Apply limits to the cgroup.
    Limit(Limits),
    /// Open a bind mount's source when the child asks for it.
    Source(Source),
    /// Hand the filter's listener to who is to answer it.
    Listener(Listener),
    /// Run hooks.
    Hooks(HookPoint),
    // Both sides'.
    /// Set an attribute of the child's process.
    Attribute(Attribute),
    /// Tell the other side.
    Send(Barrier),
    /// Wait for the other side.
    Await(Barrier),
    // The child's.
    /// Join a namespace by path.
    JoinNamespace(NsKind, CString),
    /// Join a running container's namespaces.
    JoinContainer(Vec<NsKind>),
    /// Enter the cgroup, as far as the clone has not done it (v1).
    EnterCgroup,
    /// A new cgroup namespace, rooted at the cgroup the child is in by now.
    UnshareCgroup,
    /// A new time namespace, with these clock offsets as for `/proc/<pid>/timens_offsets`: they are
    /// to be set before anybody is in it.
    UnshareTime(CString),
    /// User and group 0 of the new user namespace.
    BecomeRoot,
    /// setsid(2).
    Session,
    /// A session keyring of its own.
    Keyring(CString),
    /// Set the loopback interface up.
    Loopback,
    /// sethostname(2) or setdomainname(2).
    UtsName(UtsField, CString),
    /// Propagation of the whole tree below `/`. Where it is shared, what contains the root file
    /// system becomes private, or mounting on it would reach the host.
    Propagate {
        /// Of the tree.
        how: Propagation,
        /// The root file system's directory.
        root: CString,
    },
    /// Copy the root file system's mounts onto themselves. Without a mount namespace the parent does
    /// it, and records it: they are the host's mounts then.
    BindRoot(CString),
    /// Mount something.
    Mount(Mount),
    /// Make a mount read-only that had to be writable until now.
    ReadOnly(CString),
    /// Make a device file.
    Device(Device),
    /// Make a symbolic link, unless something is there.
    Symlink {
        /// Where.
        place: Place,
        /// What it holds.
        target: CString,
    },
    /// Open a terminal in the container's devpts, hand it over, make it stdio.
    Console {
        /// Rows and columns.
        size: Option<(u16, u16)>,
        /// Bind it on `/dev/console`.
        bind: bool,
        /// Who owns it.
        uid: u32,
    },
    /// Write below `/proc/sys`.
    Sysctl {
        /// The key as a path relative to `/proc/sys`.
        path: CString,
        /// Its value.
        value: CString,
    },
    /// Be confined by an AppArmor profile from execve on: what is written to `attr/apparmor/exec`.
    AppArmor(CString),
    /// Hide a file or directory.
    Mask(CString),
    /// Make a path read-only.
    ReadonlyPath(CString),
    /// Make the root file system `/`, with this propagation.
    PivotRoot {
        /// By which call.
        how: RootChange,
        /// Of the new root, true for all below it too.
        propagation: Option<(Propagation, bool)>,
    },
    /// Change the working directory.
    Chdir(CString),
    /// Drop the bounding set down to this.
    Bounding(u64),
    /// Change user, groups and umask.
    User(User),
    /// Set the other capability sets.
    Capabilities(CapSets),
    /// Set no_new_privs.
    NoNewPrivileges,
    /// Load the filter.
    Seccomp,
    /// See that one of these can be executed.
    FindProgram(Vec<CString>),
    /// Mark descriptors from here on close-on-exec.
    CloseFds(u32),
    /// Let the signals that ask a process to end do so, process 1 or not.
    ExitOnSignals,
    /// Wait for `runp start`.
    AwaitStart(u32),
    /// Become the user's program.
    Execve(Program),
}

/// A C string as text.
pub fn text(string: &CStr) -> std::borrow::Cow<'_, str> {
    string.to_string_lossy()
}
