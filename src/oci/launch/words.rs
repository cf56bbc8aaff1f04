//! The words for a step that failed, in the plan's terms; for programs that cannot be executed, in
//! runc's.

use crate::error::Error;
use crate::oci::container::AfterStart;
use crate::oci::plan::Plan;
use crate::oci::plan::step::{Attribute, Mount, Origin, Planned, RootChange, Step, TargetCheck};
use crate::sys::Errno;

/// The policy whose processes may run on all processors or not at all.
const DEADLINE: u32 = nix::libc::SCHED_DEADLINE as u32;

/// Where a step of the child's fails, in runc's words.
const IN_INIT: &str = "unable to start container process: error during container init";

/// The bare errno.
pub(super) fn errno(errno: i32) -> Error {
    Errno::from_raw(errno).into()
}

/// A step of the child's that failed.
pub(super) fn failed(planned: &Planned, number: i32) -> Error {
    match &planned.step {
        Step::Execve(program) => return exec_failed(&program.name, number),
        Step::FindProgram(candidates) => {
            let last = candidates.last().map(|path| path.to_string_lossy());
            let name = match (&last, candidates.len()) {
                (Some(path), 1) => path.clone(),
                (Some(path), _) => path.rsplit('/').next().unwrap_or_default().to_owned().into(),
                (None, _) => "".into(),
            };
            return not_found(&name, number);
        }
        _ => {}
    }
    let error = hinted(errno(number).doing(planned.to_string()), planned);
    match planned.step {
        // What people have learnt to look for.
        Step::Mount(_) => error.doing("error mounting").doing(IN_INIT),
        _ => error,
    }
}

/// Adds what to try, if that is known of this step and errno, and nothing better was said.
pub(super) fn hinted(error: Error, planned: &Planned) -> Error {
    match error.errno().and_then(|errno| hint(&planned.step, errno)) {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// The user's program was found and could not be executed.
pub fn exec_failed(name: &str, number: i32) -> Error {
    let number = Errno::from_raw(number);
    let why = match number {
        // The file is there: said in the line itself, as engines pass on no hints.
        Errno::ENOENT => {
            "no such file or directory (is the interpreter that its first line names in the image?)"
                .to_owned()
        }
        Errno::ENOEXEC => "exec format error".to_owned(),
        other => other.desc().to_lowercase(),
    };
    let error = Error::user(format!("exec {name}: {why}"));
    match number {
        Errno::EACCES => error.hint("is it an executable file, on a file system without noexec?"),
        Errno::ENOEXEC => error.hint("is it built for this machine, or a script without #!?"),
        _ => error,
    }
}

/// There is no such program, or none to be executed by this user.
fn not_found(name: &str, number: i32) -> Error {
    let number = Errno::from_raw(number);
    let why = match number {
        Errno::ENOENT | Errno::ENOTDIR if !name.contains('/') => {
            "executable file not found in $PATH".to_owned()
        }
        Errno::ENOENT => format!("stat {name}: no such file or directory"),
        other => other.desc().to_lowercase(),
    };
    let error = Error::user(format!("exec: {name:?}: {why}"));
    match number {
        Errno::ENOENT if name.contains('/') => error.hint("is it in the image?"),
        Errno::EACCES => error.hint("is it an executable file, on a file system without noexec?"),
        _ => error,
    }
}

/// What is left to do after `start`, for its messages.
pub fn after_start(plan: &Plan) -> AfterStart {
    let mut after = AfterStart::default();
    let waits = |planned: &Planned| matches!(planned.step, Step::AwaitStart(_));
    let Some(wait) = plan.steps.iter().position(waits) else { return after };
    after.first = wait as u32 + 1;
    for planned in plan.steps.iter().skip(wait + 1) {
        match &planned.step {
            Step::Execve(program) => after.program.clone_from(&program.name),
            _ => after.steps.push(planned.to_string()),
        }
    }
    after
}

fn hint(step: &Step, errno: Errno) -> Option<&'static str> {
    let hint = match step {
        Step::Mount(mount) => return mount_hint(mount, errno),
        Step::Attribute(attribute) => return attribute_hint(attribute, errno),
        Step::Clone(_) | Step::JoinNamespace(..) | Step::IdMaps { .. } | Step::UnshareTime(_) => {
            return namespace_hint(step, errno);
        }
        Step::Device(_) | Step::Symlink { .. } if errno == Errno::ELOOP => {
            "/dev must be an ordinary directory: the image has a link there"
        }
        Step::PivotRoot { how: RootChange::Pivot, .. } if errno == Errno::EINVAL => {
            "on a host that runs from its initramfs, use --no-pivot"
        }
        Step::BindRoot(_) => match errno {
            Errno::ENOENT => "does the source exist?",
            Errno::ENOTDIR => "it must be a directory",
            Errno::EACCES => {
                "root of the user namespace must be able to enter every directory there"
            }
            _ => return None,
        },
        Step::Source(_) => match errno {
            Errno::ENOENT => "does the source exist?",
            Errno::EINVAL => "mounts below the source take rbind in a user namespace",
            _ => return None,
        },
        Step::Console { .. } if errno == Errno::ENOENT => "a terminal needs devpts on /dev/pts",
        Step::Sysctl { .. } => match errno {
            Errno::ENOENT => "does this kernel have it, and is its module loaded?",
            Errno::EINVAL => "is that a value it takes?",
            Errno::EACCES | Errno::EPERM => {
                "it belongs to another user namespace than the container's"
            }
            _ => return None,
        },
        Step::UtsName(..) if errno == Errno::EINVAL => "64 bytes at most",
        Step::Keyring(_) if errno == Errno::EDQUOT => {
            "kernel.keys.maxkeys is reached; --no-new-keyring does without"
        }
        Step::User(_) if errno == Errno::EINVAL => "is the id mapped in the user namespace?",
        Step::Chdir(_) if errno == Errno::ENOTDIR => "the image has a file there",
        Step::Seccomp if errno == Errno::EINVAL => "does this kernel know the profile's flags?",
        Step::AppArmor(_) if errno == Errno::ENOENT => {
            "is the profile loaded, and AppArmor enabled?"
        }
        Step::Listener(_) if matches!(errno, Errno::ENOENT | Errno::ECONNREFUSED) => {
            "is the agent running?"
        }
        _ => return None,
    };
    Some(hint)
}

fn mount_hint(mount: &Mount, errno: Errno) -> Option<&'static str> {
    Some(match (mount.check, errno) {
        (TargetCheck::Ordinary, Errno::ELOOP | Errno::ENOTDIR) => {
            "it must be mounted on ordinary directory: the image has a link or a file there"
        }
        (_, Errno::EPERM) if mount.attr_locked.is_some() => {
            "a user namespace may not clear flags that the source's mount has: leave them out"
        }
        (TargetCheck::OutsideProc, Errno::EPERM) => {
            "not allowed inside /proc, or without privilege"
        }
        (_, Errno::ENODEV) => "is the file system known to this kernel?",
        (_, Errno::EINVAL) if matches!(mount.origin, Origin::There { .. }) => {
            "nothing is mounted there"
        }
        (_, Errno::EINVAL) => "does the file system know all these options?",
        (_, Errno::ENOENT) => "does the source exist?",
        (_, Errno::ENOSPC) => "what is copied up must fit: see the option size",
        _ => return None,
    })
}

fn attribute_hint(attribute: &Attribute, errno: Errno) -> Option<&'static str> {
    Some(match (attribute, errno) {
        (Attribute::Rlimit { .. }, Errno::EPERM) => "raising a hard limit takes CAP_SYS_RESOURCE",
        (Attribute::OomScore(_), Errno::EACCES) => "lowering it takes CAP_SYS_RESOURCE",
        // In runc's words.
        (Attribute::Scheduler(wanted), Errno::EPERM) if wanted.policy == DEADLINE => {
            "it takes CAP_SYS_NICE and all processors: process scheduler can't be used together with \
             AllowedCPUs (linux.resources.cpu.cpus)"
        }
        (Attribute::Scheduler(_), Errno::EPERM) => {
            "it takes CAP_SYS_NICE, and on cgroup v1 a realtime budget of the cgroup"
        }
        (Attribute::Scheduler(_), Errno::EBUSY) => "there is no processor time left to promise",
        (Attribute::IoPriority { .. }, Errno::EPERM) => "the realtime class takes CAP_SYS_NICE",
        (Attribute::Affinity(_), Errno::EINVAL) => "may the cgroup use one of these processors?",
        (Attribute::MemoryPolicy { .. }, Errno::EINVAL) => "does the machine have these nodes?",
        _ => return None,
    })
}

fn namespace_hint(step: &Step, errno: Errno) -> Option<&'static str> {
    Some(match (step, errno) {
        (Step::Clone(_), Errno::EPERM) => "namespaces need root, or a user namespace",
        (Step::Clone(_), Errno::ENOSPC) => "a limit of namespaces is reached: see sysctl user",
        (Step::Clone(_), Errno::EINVAL) => "does this kernel have all these namespaces?",
        (Step::JoinNamespace(..), Errno::ENOENT) => "is the process gone that it belongs to?",
        (Step::JoinNamespace(..), Errno::EINVAL) => "is it a namespace of that kind?",
        (Step::IdMaps { .. }, Errno::EPERM) => "are these ids the caller's to give away?",
        (Step::IdMaps { .. }, Errno::EINVAL) => "do two ranges overlap?",
        (Step::UnshareTime(_), Errno::ERANGE) => "no clock can be set to before the start",
        (Step::UnshareTime(_), Errno::EACCES) => "only root of the host may set clocks off",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_that_cannot_run_are_told_in_runcs_words() {
        let cases = [
            ("x", Errno::ENOENT, r#"exec: "x": executable file not found in $PATH"#),
            ("/x", Errno::ENOENT, r#"exec: "/x": stat /x: no such file or directory"#),
            ("x", Errno::EACCES, r#"exec: "x": permission denied"#),
        ];
        for (name, errno, text) in cases {
            assert_eq!(not_found(name, errno as i32).to_string(), text);
        }
        let cases = [
            (
                Errno::ENOENT,
                "exec /x: no such file or directory (is the interpreter that its first line names in \
                 the image?)",
            ),
            (Errno::EACCES, "exec /x: permission denied"),
            (Errno::ENOEXEC, "exec /x: exec format error"),
        ];
        for (errno, text) in cases {
            assert_eq!(exec_failed("/x", errno as i32).to_string(), text);
        }
    }
}
