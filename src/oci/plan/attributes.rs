//! Attributes of a process that its programs inherit: limits, scheduling, memory policy.

use super::process::Settings;
use super::step::{At, Attribute, Step};
use super::{OWN, Plan};
use crate::error::{Error, Result};
use crate::sys::types::{NumberSet, Scheduling};
use oci_spec::runtime::{
    IOPriorityClass, LinuxMemoryPolicy, LinuxPersonality, LinuxPersonalityDomain,
    LinuxSchedulerFlag, LinuxSchedulerPolicy, MemoryPolicyFlagType, MemoryPolicyModeType,
    PosixRlimit, PosixRlimitType, Process, Scheduler,
};

/// What a process sets for itself, whatever its privileges.
pub(super) fn own(cx: &Settings<'_>, plan: &mut Plan) -> Result<()> {
    let at = At::field("process.execCPUAffinity.final");
    let last = cx.process.exec_cpu_affinity().as_ref().filter(|_| cx.mode.is_none());
    let last = last.and_then(|affinity| affinity.cpu_affinity_final().as_deref());
    let (at, cpus) = match last.filter(|list| !list.is_empty()) {
        Some(list) => (at, cpus(list, at)?),
        // Else it would keep to the processors that the runtime was told to run on.
        None => (OWN, NumberSet::ALL),
    };
    plan.child(at, Step::Attribute(Attribute::Affinity(cpus)));
    if let Some(policy) = cx.linux.and_then(|linux| linux.memory_policy().as_ref()) {
        plan.child(At::field("linux.memoryPolicy"), Step::Attribute(memory_policy(policy)?));
    }
    if let Some(wanted) = cx.linux.and_then(|linux| linux.personality().as_ref()) {
        plan.child(At::field("linux.personality"), Step::Attribute(personality(wanted)?));
    }
    Ok(())
}

/// `process.execCPUAffinity.initial`: the parent's own until the clone, as on cgroup v2 the child is
/// born in its cgroup.
pub(super) fn before_clone(process: &Process, plan: &mut Plan) -> Result<()> {
    if let Some(cpus) = initial(process)? {
        let at = At::field("process.execCPUAffinity.initial");
        plan.parent(at, Step::Attribute(Attribute::Affinity(cpus)));
    }
    Ok(())
}

/// The processors that an exec begins on, if any are named.
pub(super) fn initial(process: &Process) -> Result<Option<NumberSet>> {
    let at = At::field("process.execCPUAffinity.initial");
    let wanted = process.exec_cpu_affinity().as_ref();
    let list = wanted.and_then(|affinity| affinity.initial().as_deref());
    list.filter(|list| !list.is_empty()).map(|list| cpus(list, at)).transpose()
}

fn cpus(list: &str, at: At) -> Result<NumberSet> {
    NumberSet::parse(list).map_err(|part| Error::user(format!("{at}: {part:?} is no processor")))
}

/// What takes privilege: a process does it for itself before it changes its user; in a user
/// namespace the parent does, whose privilege counts.
pub(super) fn privileged(process: &Process, mut add: impl FnMut(At, Attribute)) -> Result<()> {
    for (index, limit) in process.rlimits().iter().flatten().enumerate() {
        add(At::item("process.rlimits", index), rlimit(limit));
    }
    if let Some(wanted) = process.scheduler() {
        add(At::field("process.scheduler"), Attribute::Scheduler(scheduling(wanted)?));
    }
    if let Some(wanted) = process.io_priority() {
        let level = u8::try_from(wanted.priority()).ok().filter(|level| *level <= 7);
        let bad = || format!("process.ioPriority.priority: {} is not 0 to 7", wanted.priority());
        let level = level.ok_or_else(|| Error::user(bad()))?;
        let class = match wanted.class() {
            IOPriorityClass::IoprioClassRt => 1,
            IOPriorityClass::IoprioClassBe => 2,
            IOPriorityClass::IoprioClassIdle => 3,
        };
        add(At::field("process.ioPriority"), Attribute::IoPriority { class, level });
    }
    Ok(())
}

/// What the kernel would pass over, or refuse without a word, is refused here.
fn scheduling(wanted: &Scheduler) -> Result<Scheduling> {
    use LinuxSchedulerPolicy as P;
    let policy = *wanted.policy();
    let number = match policy {
        P::SchedOther => 0,
        P::SchedFifo => 1,
        P::SchedRr => 2,
        P::SchedBatch => 3,
        P::SchedIso => 4,
        P::SchedIdle => 5,
        P::SchedDeadline => 6,
    };
    let flags = wanted.flags().iter().flatten().fold(0, |all, flag| all | scheduler_flag(*flag));
    let or_zero = |value: &Option<u64>| value.unwrap_or(0);
    let scheduling = Scheduling {
        policy: number,
        flags,
        nice: wanted.nice().unwrap_or(0),
        priority: u32::try_from(wanted.priority().unwrap_or(0)).unwrap_or(u32::MAX),
        runtime: or_zero(wanted.runtime()),
        deadline: or_zero(wanted.deadline()),
        period: or_zero(wanted.period()),
    };
    let times = [scheduling.runtime, scheduling.deadline, scheduling.period];
    let cause = if !(-20..=19).contains(&scheduling.nice) {
        format!("nice: {} is not -20 to 19", scheduling.nice)
    } else if scheduling.priority != 0 && !matches!(policy, P::SchedFifo | P::SchedRr) {
        "priority: only for SCHED_FIFO and SCHED_RR".into()
    } else if times != [0; 3] && policy != P::SchedDeadline {
        "runtime, deadline, period: only for SCHED_DEADLINE".into()
    } else {
        return Ok(scheduling);
    };
    Err(Error::user(format!("process.scheduler.{cause}")))
}

/// `SCHED_FLAG_*`.
fn scheduler_flag(flag: LinuxSchedulerFlag) -> u64 {
    use LinuxSchedulerFlag as F;
    match flag {
        F::SchedResetOnFork => 0x01,
        F::SchedFlagReclaim => 0x02,
        F::SchedFlagDLOverrun => 0x04,
        F::SchedFlagKeepPolicy => 0x08,
        F::SchedFlagKeepParams => 0x10,
        F::SchedFlagUtilClampMin => 0x20,
        F::SchedFlagUtilClampMax => 0x40,
    }
}

/// In runc's words.
fn memory_policy(wanted: &LinuxMemoryPolicy) -> Result<Attribute> {
    use MemoryPolicyModeType as M;
    let number = match wanted.mode() {
        M::MpolDefault => 0,
        M::MpolPreferred => 1,
        M::MpolBind => 2,
        M::MpolInterleave => 3,
        M::MpolLocal => 4,
        M::MpolPreferredMany => 5,
        M::MpolWeightedInterleave => 6,
    };
    let flag = |flag: &MemoryPolicyFlagType| match flag {
        MemoryPolicyFlagType::MpolFNumaBalancing => 1 << 13,
        MemoryPolicyFlagType::MpolFRelativeNodes => 1 << 14,
        MemoryPolicyFlagType::MpolFStaticNodes => 1 << 15,
    };
    let mode = wanted.flags().iter().flatten().map(flag).fold(number, |mode, flag| mode | flag);
    let nodes = NumberSet::parse(wanted.nodes().as_deref().unwrap_or_default());
    let nodes = nodes.map_err(|part| {
        Error::user(format!("linux.memoryPolicy.nodes: invalid memory policy node {part:?}"))
    })?;
    let cause = match (wanted.mode(), nodes.len()) {
        (M::MpolDefault | M::MpolLocal, count @ 1..) => {
            format!("memory policy mode requires 0 nodes but got {count}")
        }
        (M::MpolBind | M::MpolInterleave | M::MpolPreferredMany | M::MpolWeightedInterleave, 0) => {
            "memory policy mode requires at least one node but got 0".into()
        }
        _ => return Ok(Attribute::MemoryPolicy { mode, nodes }),
    };
    Err(Error::user(format!("linux.memoryPolicy: {cause}")))
}

/// The specification has no flags yet
/// ([config-linux](https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#personality)).
fn personality(wanted: &LinuxPersonality) -> Result<Attribute> {
    if let Some(flag) = wanted.flags().iter().flatten().next() {
        return Err(Error::user(format!("linux.personality.flags: {flag} is not supported")));
    }
    Ok(Attribute::Personality(match wanted.domain() {
        LinuxPersonalityDomain::PerLinux => 0,
        LinuxPersonalityDomain::PerLinux32 => 8,
    }))
}

fn rlimit(limit: &PosixRlimit) -> Attribute {
    let (name, resource) = match limit.typ() {
        PosixRlimitType::RlimitCpu => ("RLIMIT_CPU", libc::RLIMIT_CPU),
        PosixRlimitType::RlimitFsize => ("RLIMIT_FSIZE", libc::RLIMIT_FSIZE),
        PosixRlimitType::RlimitData => ("RLIMIT_DATA", libc::RLIMIT_DATA),
        PosixRlimitType::RlimitStack => ("RLIMIT_STACK", libc::RLIMIT_STACK),
        PosixRlimitType::RlimitCore => ("RLIMIT_CORE", libc::RLIMIT_CORE),
        PosixRlimitType::RlimitRss => ("RLIMIT_RSS", libc::RLIMIT_RSS),
        PosixRlimitType::RlimitNproc => ("RLIMIT_NPROC", libc::RLIMIT_NPROC),
        PosixRlimitType::RlimitNofile => ("RLIMIT_NOFILE", libc::RLIMIT_NOFILE),
        PosixRlimitType::RlimitMemlock => ("RLIMIT_MEMLOCK", libc::RLIMIT_MEMLOCK),
        PosixRlimitType::RlimitAs => ("RLIMIT_AS", libc::RLIMIT_AS),
        PosixRlimitType::RlimitLocks => ("RLIMIT_LOCKS", libc::RLIMIT_LOCKS),
        PosixRlimitType::RlimitSigpending => ("RLIMIT_SIGPENDING", libc::RLIMIT_SIGPENDING),
        PosixRlimitType::RlimitMsgqueue => ("RLIMIT_MSGQUEUE", libc::RLIMIT_MSGQUEUE),
        PosixRlimitType::RlimitNice => ("RLIMIT_NICE", libc::RLIMIT_NICE),
        PosixRlimitType::RlimitRtprio => ("RLIMIT_RTPRIO", libc::RLIMIT_RTPRIO),
        PosixRlimitType::RlimitRttime => ("RLIMIT_RTTIME", libc::RLIMIT_RTTIME),
    };
    Attribute::Rlimit { name, resource, soft: limit.soft(), hard: limit.hard() }
}
