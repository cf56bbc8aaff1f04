//! The words for a step that failed, in the plan's terms; for programs that cannot be executed, in
//! runc's.

use crate::error::Error;
use crate::oci::container::AfterStart;
use crate::oci::plan::Plan;
use crate::oci::plan::step::{Mount, Planned, Step, TargetCheck};
use crate::sys::Errno;

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
            return exec_failed(&name, number);
        }
        _ => {}
    }
    let error = errno(number).doing(planned.to_string());
    match hint(&planned.step, Errno::from_raw(number)) {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// The user's program could not be executed.
pub fn exec_failed(name: &str, number: i32) -> Error {
    let number = Errno::from_raw(number);
    let why = match number {
        Errno::ENOENT | Errno::ENOTDIR if !name.contains('/') => {
            "executable file not found in $PATH".to_owned()
        }
        Errno::ENOENT => format!("stat {name}: no such file or directory"),
        Errno::EACCES => "permission denied".to_owned(),
        Errno::ENOEXEC => "exec format error".to_owned(),
        other => other.desc().to_lowercase(),
    };
    let error = Error::user(format!("exec: {name:?}: {why}"));
    match number {
        Errno::ENOENT if name.contains('/') => {
            error.hint("is it in the image, and is its interpreter?")
        }
        Errno::EACCES => error.hint("is it an executable file, on a file system without noexec?"),
        Errno::ENOEXEC => error.hint("is it built for this machine, or a script without #!?"),
        _ => error,
    }
}

/// What is left to do after `start`, for its messages.
pub fn after_start(plan: &Plan) -> AfterStart {
    let mut after = AfterStart::default();
    let waits = |planned: &Planned| matches!(planned.step, Step::AwaitStart);
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
    Some(match (step, errno) {
        (
            Step::Mount(Mount { check: TargetCheck::Ordinary, .. }),
            Errno::ELOOP | Errno::ENOTDIR,
        ) => "it must be mounted on ordinary directory: the image has a link or a file there",
        (Step::Mount(Mount { check: TargetCheck::OutsideProc, .. }), Errno::EPERM) => {
            "not allowed inside /proc, or without privilege"
        }
        (Step::Mount(_), Errno::ENODEV) => "is the file system known to this kernel?",
        (Step::Mount(_), Errno::EINVAL) => "does the file system know all these options?",
        (Step::Mount(_) | Step::BindRoot(_), Errno::ENOENT) => "does the source exist?",
        (Step::Device(_) | Step::Symlink { .. }, Errno::ELOOP) => {
            "/dev must be an ordinary directory: the image has a link there"
        }
        (Step::PivotRoot { no_pivot: false, .. }, Errno::EINVAL) => {
            "on a host that runs from its initramfs, use --no-pivot"
        }
        (Step::Console { .. }, Errno::ENOENT) => "a terminal needs devpts on /dev/pts",
        (Step::Clone(_), Errno::EPERM) => "namespaces need root, or a user namespace",
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
            ("/x", Errno::ENOEXEC, r#"exec: "/x": exec format error"#),
        ];
        for (name, errno, text) in cases {
            assert_eq!(exec_failed(name, errno as i32).to_string(), text);
        }
    }
}
