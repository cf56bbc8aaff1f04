//! What a profile decides for each call of each ABI: pure, and no BPF yet.

use super::lookup::{self, Numbers};
use super::table::NONE;
use crate::error::{Error, Result};
use oci_spec::runtime::{Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompOperator};
use oci_spec::runtime::{LinuxSeccompArg, LinuxSyscall};
use std::ops::Range;

/// The ways into an x86 kernel, each with its own numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Abi {
    X86_64,
    I386,
    X32,
}

impl Abi {
    /// Whether arguments have 32 bits; the upper halves are noise, or zero.
    pub(super) fn is_narrow(self) -> bool {
        self != Self::X86_64
    }
}

/// A comparison of one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    /// 0 to 5.
    pub argument: u32,
    pub operator: LinuxSeccompOperator,
    /// What is compared with, or the mask.
    pub value: u64,
    /// What the masked argument must be.
    pub masked: u64,
}

/// An alternative of a call: all conditions hold, then this is returned.
pub(super) struct Rule {
    pub conditions: Vec<Condition>,
    pub action: u32,
}

/// What one ABI's calls get.
pub(super) struct Calls {
    pub abi: Abi,
    /// By number: the verdict, where it depends on nothing else.
    pub verdicts: Vec<Option<u32>>,
    /// Numbers and the index of a rule, in the profile's order: the first rule that holds decides.
    pub rules: Vec<(u16, usize)>,
    /// The highest number that the profile names; none where it names none.
    pub newest: Option<u16>,
}

/// A profile, decided.
pub(super) struct Profile {
    pub calls: Vec<Calls>,
    pub rules: Vec<Rule>,
    pub default: u32,
    /// Whether calls above [`Calls::newest`] get `ENOSYS`.
    pub enosys: bool,
    pub notify: bool,
}

/// `SECCOMP_RET_*`.
const RET_KILL_PROCESS: u32 = 0x8000_0000;
pub(super) const RET_KILL_THREAD: u32 = 0;
const RET_TRAP: u32 = 0x0003_0000;
const RET_ERRNO: u32 = 0x0005_0000;
const RET_USER_NOTIF: u32 = 0x7fc0_0000;
const RET_TRACE: u32 = 0x7ff0_0000;
const RET_LOG: u32 = 0x7ffc_0000;
const RET_ALLOW: u32 = 0x7fff_0000;

/// "There is no such call", ENOSYS.
pub(super) const ENOSYS_RETURN: u32 = RET_ERRNO | 38;

/// Room for every number of [`super::table::CALLS`].
const NUMBERS: usize = 600;

impl Profile {
    /// Reads the profile; an error names the JSON path.
    pub(super) fn decide(profile: &LinuxSeccomp) -> Result<Self> {
        let action = profile.default_action();
        let default = value(action, profile.default_errno_ret())
            .map_err(|error| error.doing("defaultErrnoRet"))?;
        if action == LinuxSeccompAction::ScmpActNotify {
            // The runtime itself could not write to say that it is ready.
            let cause = "SCMP_ACT_NOTIFY cannot be used as default action";
            return Err(Error::user(cause).doing("defaultAction"));
        }
        let mut decided = Self {
            calls: abis(profile).into_iter().map(Calls::new).collect(),
            rules: Vec::new(),
            default,
            enosys: !is_permissive(action) && default != ENOSYS_RETURN,
            notify: false,
        };
        for (index, syscall) in profile.syscalls().iter().flatten().enumerate() {
            decided.add(syscall).map_err(|error| error.doing(format!("syscalls[{index}]")))?;
        }
        Ok(decided)
    }

    fn add(&mut self, syscall: &LinuxSyscall) -> Result<()> {
        let action = value(syscall.action(), syscall.errno_ret())
            .map_err(|error| error.doing("errnoRet"))?;
        if syscall.action() == LinuxSeccompAction::ScmpActNotify {
            if syscall.names().iter().any(|name| name == "write") {
                return Err(Error::user("SCMP_ACT_NOTIFY cannot be used for the write syscall"));
            }
            self.notify = true;
        }
        let alternatives = alternatives(syscall.args().as_deref().unwrap_or_default())?;
        let first = self.rules.len();
        for conditions in alternatives {
            self.rules.push(Rule { conditions, action });
        }
        let rules = first..self.rules.len();
        for name in syscall.names() {
            self.add_call(name, action, rules.clone());
        }
        Ok(())
    }

    /// A name that no ABI knows is skipped.
    fn add_call(&mut self, name: &str, action: u32, rules: Range<usize>) {
        let Some(Numbers { x86_64, i386, x32, other_way }) = lookup::numbers(name) else { return };
        // Like runc and libseccomp: what says no more than the default is not there.
        let counts = action != self.default;
        for calls in &mut self.calls {
            let number = match calls.abi {
                Abi::X86_64 => x86_64,
                Abi::I386 => i386,
                Abi::X32 => x32,
            };
            if number != NONE {
                // Calls with two ways in do not count for the newest, as in libseccomp's tables.
                if calls.abi != Abi::I386 || other_way.is_none() {
                    calls.newest = calls.newest.max(Some(number));
                }
                if counts {
                    calls.add(number, action, rules.clone());
                }
            }
        }
        if let (true, Some(way)) = (counts, other_way) {
            self.add_multiplexed(way, action, rules);
        }
    }

    /// The call's other way in on i386, chosen by the first argument. The others point to memory
    /// there, so conditions mean little; what is made of them is what libseccomp makes of them.
    fn add_multiplexed(&mut self, way: (u16, u64), action: u32, rules: Range<usize>) {
        let Some(calls) = self.calls.iter_mut().find(|calls| calls.abi == Abi::I386) else {
            return;
        };
        let operator = LinuxSeccompOperator::ScmpCmpEq;
        let chosen = Condition { argument: 0, operator, value: way.1, masked: 0 };
        let first = self.rules.len();
        for rule in rules.clone() {
            let others = self.rules.get(rule).map(|rule| rule.conditions.as_slice());
            let others = others.unwrap_or_default().iter().filter(|one| one.argument != 0);
            let conditions = std::iter::once(chosen).chain(others.copied()).collect();
            self.rules.push(Rule { conditions, action });
        }
        if rules.is_empty() {
            self.rules.push(Rule { conditions: vec![chosen], action });
        }
        calls.add(way.0, action, first..self.rules.len());
    }
}

impl Calls {
    fn new(abi: Abi) -> Self {
        Self { abi, verdicts: vec![None; NUMBERS], rules: Vec::new(), newest: None }
    }

    /// An unconditional verdict stands above all rules, and the first one above later ones.
    fn add(&mut self, number: u16, action: u32, rules: Range<usize>) {
        match self.verdicts.get_mut(usize::from(number)) {
            Some(verdict @ None) if rules.is_empty() => *verdict = Some(action),
            _ => self.rules.extend(rules.map(|rule| (number, rule))),
        }
    }
}

const EPERM: u32 = 1;

/// The filter's return value for an action.
fn value(action: LinuxSeccompAction, errno: Option<u32>) -> Result<u32> {
    use LinuxSeccompAction as A;
    if let Some(errno) = errno {
        if errno > 0xffff {
            return Err(Error::user(format!("{errno} is no error number")));
        }
        if !matches!(action, A::ScmpActErrno | A::ScmpActTrace) {
            return Err(Error::user(format!("{action} returns no error number")));
        }
    }
    let errno = errno.unwrap_or(EPERM);
    Ok(match action {
        A::ScmpActKill | A::ScmpActKillThread => RET_KILL_THREAD,
        A::ScmpActKillProcess => RET_KILL_PROCESS,
        A::ScmpActTrap => RET_TRAP,
        A::ScmpActErrno => RET_ERRNO | errno,
        A::ScmpActTrace => RET_TRACE | errno,
        A::ScmpActNotify => RET_USER_NOTIF,
        A::ScmpActLog => RET_LOG,
        A::ScmpActAllow => RET_ALLOW,
    })
}

/// Whether an action lets the call happen, or may.
fn is_permissive(action: LinuxSeccompAction) -> bool {
    use LinuxSeccompAction as A;
    matches!(action, A::ScmpActAllow | A::ScmpActLog | A::ScmpActNotify | A::ScmpActTrace)
}

/// The ABIs of the filter. The native one always is in, as in libseccomp; those of other machines
/// cannot occur.
fn abis(profile: &LinuxSeccomp) -> Vec<Abi> {
    let listed = profile.architectures().as_deref().unwrap_or_default();
    let mut abis = vec![Abi::X86_64];
    for (arch, abi) in [(Arch::ScmpArchX86, Abi::I386), (Arch::ScmpArchX32, Abi::X32)] {
        if listed.contains(&arch) {
            abis.push(abi);
        }
    }
    abis
}

/// The conditions as alternatives. All hold together, but where two are on one argument, each
/// stands for itself: runc has kept that from the time before libseccomp could compare twice.
fn alternatives(args: &[LinuxSeccompArg]) -> Result<Vec<Vec<Condition>>> {
    let mut conditions = Vec::with_capacity(args.len());
    let mut used = [false; 6];
    let mut twice = false;
    for (index, arg) in args.iter().enumerate() {
        let Some(used) = used.get_mut(arg.index()) else {
            let cause = format!("{}: a system call has 6 arguments", arg.index());
            return Err(Error::user(cause).doing(format!("args[{index}].index")));
        };
        twice |= std::mem::replace(used, true);
        conditions.push(Condition {
            argument: arg.index() as u32,
            operator: arg.op(),
            value: arg.value(),
            masked: arg.value() & arg.value_two().unwrap_or(0),
        });
    }
    Ok(match (conditions.is_empty(), twice) {
        (true, _) => Vec::new(),
        (false, false) => vec![conditions],
        (false, true) => conditions.into_iter().map(|condition| vec![condition]).collect(),
    })
}
