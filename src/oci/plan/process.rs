//! `process`: from the root file system to the program.

use super::attributes;
use super::seccomp::{self, Load};
use super::step::{At, Attribute, Barrier, HookPoint, Limits, Program, Step, User};
use super::{Mode, OWN, Plan, Topic, cstring, missing, refuse, text_wanted};
use crate::error::{Error, Result};
use crate::sys::types::{CapSets, NsKind};
use oci_spec::runtime::{Capabilities, Capability, Linux, Process};
use std::collections::HashSet;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;

pub(super) fn plan(cx: &Topic<'_>, plan: &mut Plan) -> Result<()> {
    let settings = Settings {
        process: cx.process,
        linux: Some(cx.linux),
        available: cx.host.capabilities,
        preserve_fds: cx.options.preserve_fds,
        // `unified` may hold memory limits too, and is applied with them.
        limit_memory: plan
            .resources
            .as_ref()
            .is_some_and(|limits| limits.memory().is_some() || limits.unified().is_some()),
        mode: Some(cx.options.mode),
        user_namespace: cx.namespaces.has(NsKind::User),
        start_hooks: cx.spec.hooks().as_ref().and_then(|h| h.start_container().as_ref()).is_some(),
    };
    steps(&settings, plan)
}

/// What the steps of a process depend on, for a container's first and for `exec`.
pub(super) struct Settings<'a> {
    /// As configured.
    pub process: &'a Process,
    /// What of `linux` concerns every process.
    pub linux: Option<&'a Linux>,
    /// Capabilities that can be had.
    pub available: u64,
    /// Descriptors after 2 that the program gets.
    pub preserve_fds: u32,
    /// Whether there is a limit of memory to apply.
    pub limit_memory: bool,
    /// `None` for `exec`.
    pub mode: Option<Mode>,
    /// Whether it is in a user namespace of the container's.
    pub user_namespace: bool,
    /// Whether there are `startContainer` hooks.
    pub start_hooks: bool,
}

/// A filter needs privilege to load unless no_new_privs is set. So either the privileges go first
/// and the filter comes last, or the filter comes first and lets the changes of user pass.
pub(super) fn steps(cx: &Settings<'_>, plan: &mut Plan) -> Result<()> {
    let process = cx.process;
    check_user(process)?;
    if plan.cgroup.is_some() && !plan.steps.iter().any(|p| matches!(p.step, Step::EnterCgroup)) {
        plan.child(OWN, Step::EnterCgroup);
    }
    let no_new_privileges = process.no_new_privileges() == Some(true);
    let load = seccomp::load(plan.filter.as_ref(), no_new_privileges);
    let listened_to = plan.listener.is_some();
    chdir(process, plan)?;
    let first_closed = cx.preserve_fds.saturating_add(3);
    plan.child(OWN, Step::CloseFds(first_closed));
    attributes::own(cx, plan)?;
    if !cx.user_namespace {
        attributes::privileged(process, |at, attribute| {
            plan.child(at, Step::Attribute(attribute))
        })?;
    }
    let sets = capabilities(cx);
    plan.child(At::field("process.capabilities.bounding"), Step::Bounding(sets.bounding));
    if no_new_privileges {
        plan.child(At::field("process.noNewPrivileges"), Step::NoNewPrivileges);
    }
    if load == Load::First {
        seccomp::with_listener(plan);
    }
    if load != Load::First || listened_to {
        become_user(process, sets, plan);
    }
    let program = program(process)?;
    // Looked for before, so that what fails then is its interpreter or its format.
    plan.child(At::field("process.args"), Step::FindProgram(program.candidates.clone()));
    if cx.mode == Some(Mode::Create) {
        // As runc's: whoever stops a container that was never started is not made to wait. Before
        // the parent can report it created, as until then process 1 would drop the signal.
        plan.child(OWN, Step::ExitOnSignals);
    }
    seccomp::with_listener(plan);
    plan.child(OWN, Step::Send(Barrier::Ready));
    limits(cx, plan)?;
    plan.child(OWN, Step::Await(Barrier::Go));
    if cx.mode == Some(Mode::Create) {
        plan.child(OWN, Step::AwaitStart(first_closed));
    }
    if load != Load::Never && !listened_to {
        plan.child(At::field("linux.seccomp"), Step::Seccomp);
    }
    if load == Load::First && !listened_to {
        become_user(process, sets, plan);
    }
    plan.child(At::field("process.args"), Step::Execve(program));
    Ok(())
}

/// (uid_t)-1 means "leave it" to setresuid(2): whoever asked for it would stay root.
fn check_user(process: &Process) -> Result<()> {
    let user = process.user();
    let groups = user.additional_gids().iter().flatten().copied();
    let ids = [("uid", user.uid()), ("gid", user.gid())].into_iter();
    match ids.chain(groups.map(|gid| ("additionalGids", gid))).find(|(_, id)| *id == u32::MAX) {
        Some((field, id)) => Err(Error::user(format!("process.user.{field}: {id} is no id"))),
        None => Ok(()),
    }
}

/// The profile that the program is confined by, from its execution on. In the container's namespaces
/// and before its paths are masked: the runtime needs a procfs of its own for it. What is executed
/// first is `last` (selfexe), so the profile must let it execute the program, as those of engines do.
pub(super) fn apparmor(process: &Process, plan: &mut Plan) -> Result<()> {
    let at = At::field("process.apparmorProfile");
    if let Some(profile) = process.apparmor_profile().as_deref().filter(|name| !name.is_empty()) {
        plan.child(at, Step::AppArmor(cstring(format!("exec {profile}"), at)?));
    }
    Ok(())
}

/// Labels are refused in runc's words for a kernel without SELinux.
pub(super) fn refuse_labels(process: &Process) -> Result<()> {
    refuse(&[(
        "process.selinuxLabel: selinux label is specified in config, but selinux",
        text_wanted(process.selinux_label().as_deref()),
    )])
}

/// What the parent does while the child has nothing left but to start. Limits come this late so
/// that making the container is not charged against them: 512 KiB of memory are enough to start.
fn limits(cx: &Settings<'_>, plan: &mut Plan) -> Result<()> {
    plan.parent(OWN, Step::Await(Barrier::Ready));
    let mut set = |at, attribute| plan.parent(at, Step::Attribute(attribute));
    if let Some(score) = cx.process.oom_score_adj() {
        set(At::field("process.oomScoreAdj"), Attribute::OomScore(score));
    }
    if cx.user_namespace {
        attributes::privileged(cx.process, set)?;
    }
    if cx.limit_memory {
        let at = At::field("linux.resources.memory");
        plan.parent(at, Step::Limit(Limits::Memory));
    }
    if cx.start_hooks && cx.mode == Some(Mode::Run) {
        let at = At::field("hooks.startContainer");
        plan.parent(at, Step::Hooks(HookPoint::StartContainer));
    }
    plan.parent(OWN, Step::Send(Barrier::Go));
    Ok(())
}

fn chdir(process: &Process, plan: &mut Plan) -> Result<()> {
    let (cwd, at) = (process.cwd(), At::field("process.cwd"));
    if cwd.as_os_str().is_empty() {
        return Err(missing("process.cwd"));
    }
    if !cwd.is_absolute() {
        return Err(Error::user(format!("{at}: {cwd:?} is no absolute path")));
    }
    plan.child(at, Step::Chdir(cstring(cwd.as_os_str().as_bytes(), at)?));
    Ok(())
}

fn become_user(process: &Process, sets: CapSets, plan: &mut Plan) {
    let user = process.user();
    let user = User {
        uid: user.uid(),
        gid: user.gid(),
        groups: user.additional_gids().clone().unwrap_or_default(),
        umask: user.umask().unwrap_or(0o022),
    };
    plan.child(At::field("process.user"), Step::User(user));
    plan.child(At::field("process.capabilities"), Step::Capabilities(sets));
}

/// The terminal, once `/dev/pts` is there.
pub(super) fn console(cx: &Topic<'_>, plan: &mut Plan) {
    terminal(cx.process, true, plan);
}

/// `bind` puts it on `/dev/console` too.
pub(super) fn terminal(process: &Process, bind: bool, plan: &mut Plan) {
    if process.terminal() != Some(true) {
        return;
    }
    let cells = |cells: u64| u16::try_from(cells).unwrap_or(u16::MAX);
    let size = process.console_size().map(|size| (cells(size.height()), cells(size.width())));
    let uid = process.user().uid();
    plan.child(At::field("process.terminal"), Step::Console { size, bind, uid });
}

/// The bit of a capability in the kernel's masks.
fn bit(capability: &Capability) -> Option<u64> {
    let known: caps::Capability = format!("CAP_{capability}").parse().ok()?;
    Some(known.bitmask())
}

/// A warning for each capability that is asked for and cannot be had: it is left out.
pub fn missing_capabilities(process: &Process, available: u64) -> Vec<String> {
    let Some(sets) = process.capabilities() else { return Vec::new() };
    let wanted = sets.bounding().iter().chain(sets.permitted()).flatten();
    let missing = wanted.filter(|c| bit(c).is_none_or(|bit| bit & available == 0));
    let warning =
        |capability| format!("process.capabilities: CAP_{capability} cannot be had, ignored");
    let has = |set: &Option<Capabilities>, one| set.as_ref().is_some_and(|set| set.contains(one));
    let ambient = sets.ambient().iter().flatten();
    let not_raised =
        ambient.filter(|one| !has(sets.permitted(), one) || !has(sets.inheritable(), one));
    // In runc's words.
    let ambient = not_raised.map(|capability| {
        let cause = "it is not both permitted and inheritable";
        format!("can't raise ambient capability CAP_{capability}: {cause}")
    });
    let warnings: std::collections::BTreeSet<String> =
        missing.map(warning).chain(ambient).collect();
    warnings.into_iter().collect()
}

/// Masks of what can be had. Ambient capabilities are those that
/// are also permitted and inheritable: the kernel refuses others, and runc's own default
/// configuration lists some.
fn capabilities(cx: &Settings<'_>) -> CapSets {
    let Some(wanted) = cx.process.capabilities() else { return CapSets::default() };
    // Whoever enters a user namespace has all of them there.
    let available = if cx.user_namespace { u64::MAX } else { cx.available };
    let mask = |set: &Option<Capabilities>| {
        let known = set.iter().flatten().filter_map(bit);
        known.fold(0, |bits, bit| bits | bit) & available
    };
    let mut sets = CapSets {
        bounding: mask(wanted.bounding()),
        effective: mask(wanted.effective()),
        permitted: mask(wanted.permitted()),
        inheritable: mask(wanted.inheritable()),
        ambient: mask(wanted.ambient()),
    };
    sets.effective &= sets.permitted;
    sets.ambient &= sets.permitted & sets.inheritable;
    sets
}

fn program(process: &Process) -> Result<Program> {
    let at = At::field("process.args");
    let args = process.args().as_deref().unwrap_or_default();
    let name = args.first().cloned().ok_or_else(|| missing("process.args"))?;
    let env = environment(process.env().as_deref().unwrap_or_default())?;
    let path = env.iter().find_map(|variable| variable.strip_prefix("PATH="));
    let all = |strings: &[String], at| -> Result<Vec<CString>> {
        strings.iter().map(|string| cstring(string, at)).collect()
    };
    let candidates = candidates(&name, path.unwrap_or_default());
    Ok(Program {
        home: !env.iter().any(|variable| variable.starts_with("HOME=")),
        uid: process.user().uid(),
        candidates: all(&candidates, at)?,
        args: all(args, at)?,
        env: all(&env, At::field("process.env"))?,
        name,
    })
}

/// Each variable once: of several with a name the last counts, as with runc, and a program that looks
/// for the first would see another. An empty `HOME` is none.
fn environment(env: &[String]) -> Result<Vec<String>> {
    let named = env.iter().map(|variable| {
        let wrong = || format!("process.env: {variable:?} is not of the form NAME=value");
        let (name, _) = variable.split_once('=').ok_or_else(|| Error::user(wrong()))?;
        Ok((name, variable))
    });
    let named: Vec<(&str, &String)> = named.collect::<Result<_>>()?;
    let mut known = HashSet::new();
    let last = named.into_iter().rev().filter(|(name, _)| known.insert(*name));
    let mut kept: Vec<String> = last.map(|(_, variable)| variable.clone()).collect();
    kept.retain(|variable| variable != "HOME=");
    kept.reverse();
    Ok(kept)
}

/// As execvp(3), but an empty element of PATH is passed over: it would be the working directory.
fn candidates(name: &str, path: &str) -> Vec<String> {
    if name.contains('/') {
        return vec![name.into()];
    }
    let dirs = path.split(':').filter(|dir| !dir.is_empty() && !name.is_empty());
    dirs.map(|dir| format!("{}/{name}", dir.trim_end_matches('/'))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_a_name_counts() {
        let env = ["A=1", "HOME=/x", "B=2", "A=3", "HOME="].map(str::to_owned);
        assert_eq!(environment(&env).unwrap(), ["B=2", "A=3"]);
        assert!(environment(&["A".to_owned()]).is_err());
    }

    #[test]
    fn programs_are_looked_for_as_in_a_shell() {
        assert_eq!(candidates("sh", "/usr/bin/::/bin"), ["/usr/bin/sh", "/bin/sh"]);
        assert_eq!(candidates("./sh", "/bin"), ["./sh"]);
        assert!(candidates("sh", "").is_empty());
        assert!(candidates("", "/bin").is_empty());
    }
}
