//! libseccomp, fed as runc feeds it.

use super::bpf::Call;
use libseccomp::ScmpSyscall;
use libseccomp::error::SeccompErrno;
use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext};
use oci_spec::runtime::LinuxSeccompOperator;
use oci_spec::runtime::{Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg};
use std::io::{Read, Seek};

const ABIS: [ScmpArch; 3] = [ScmpArch::X8664, ScmpArch::X86, ScmpArch::X32];

/// Every name that libseccomp has for a call of an x86 ABI.
pub fn names() -> Vec<String> {
    let mut names: Vec<String> = ABIS
        .iter()
        .flat_map(|arch| (0..620).map(move |number| (*arch, number)))
        .filter_map(|(arch, number)| {
            let number = if arch == ScmpArch::X32 { number | 1 << 30 } else { number };
            ScmpSyscall::from_raw_syscall(number).get_name_by_arch(arch).ok()
        })
        .collect();
    names.extend(["accept", "send", "recv", "semop", "semtimedop"].map(str::to_owned));
    names.sort();
    names.dedup();
    names
}

fn action(action: LinuxSeccompAction, errno: Option<u32>) -> ScmpAction {
    use LinuxSeccompAction as A;
    let errno = errno.unwrap_or(1);
    match action {
        A::ScmpActKill | A::ScmpActKillThread => ScmpAction::KillThread,
        A::ScmpActKillProcess => ScmpAction::KillProcess,
        A::ScmpActTrap => ScmpAction::Trap,
        A::ScmpActErrno => ScmpAction::Errno(errno.cast_signed()),
        A::ScmpActNotify => ScmpAction::Notify,
        A::ScmpActTrace => ScmpAction::Trace(errno as u16),
        A::ScmpActLog => ScmpAction::Log,
        A::ScmpActAllow => ScmpAction::Allow,
    }
}

fn condition(arg: &LinuxSeccompArg) -> ScmpArgCompare {
    use LinuxSeccompOperator as Op;
    let (op, datum) = match arg.op() {
        Op::ScmpCmpNe => (ScmpCompareOp::NotEqual, arg.value()),
        Op::ScmpCmpLt => (ScmpCompareOp::Less, arg.value()),
        Op::ScmpCmpLe => (ScmpCompareOp::LessOrEqual, arg.value()),
        Op::ScmpCmpEq => (ScmpCompareOp::Equal, arg.value()),
        Op::ScmpCmpGe => (ScmpCompareOp::GreaterEqual, arg.value()),
        Op::ScmpCmpGt => (ScmpCompareOp::Greater, arg.value()),
        Op::ScmpCmpMaskedEq => {
            (ScmpCompareOp::MaskedEqual(arg.value()), arg.value_two().unwrap_or(0))
        }
    };
    ScmpArgCompare::new(arg.index() as u32, op, datum)
}

/// libseccomp's program for a profile; none if it refuses a rule that contradicts an earlier one.
pub fn program(profile: &LinuxSeccomp) -> Option<Vec<(u16, u8, u8, u32)>> {
    let default = action(profile.default_action(), profile.default_errno_ret());
    let mut filter = ScmpFilterContext::new(default).unwrap();
    for arch in profile.architectures().iter().flatten() {
        let arch = match arch {
            Arch::ScmpArchX86 => ScmpArch::X86,
            Arch::ScmpArchX32 => ScmpArch::X32,
            Arch::ScmpArchX86_64 => ScmpArch::X8664,
            _ => ScmpArch::Arm,
        };
        filter.add_arch(arch).unwrap();
    }
    for syscall in profile.syscalls().iter().flatten() {
        let action = action(syscall.action(), syscall.errno_ret());
        if action == default {
            continue;
        }
        let args = syscall.args().as_deref().unwrap_or_default();
        let conditions: Vec<ScmpArgCompare> = args.iter().map(condition).collect();
        let repeated =
            (0..6).any(|index| args.iter().filter(|arg| arg.index() == index).count() > 1);
        for name in syscall.names() {
            let Ok(call) = ScmpSyscall::from_name(name) else { continue };
            let rules: Vec<&[ScmpArgCompare]> =
                if repeated { conditions.chunks(1).collect() } else { vec![&conditions] };
            for rule in rules {
                match filter.add_rule_conditional(action, call, rule) {
                    Err(error) if error.errno() == Some(SeccompErrno::EEXIST) => return None,
                    result => drop(result.unwrap()),
                }
            }
        }
    }
    let mut file = tempfile::tempfile().unwrap();
    filter.export_bpf(&mut file).unwrap();
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    let insn = |insn: &[u8]| {
        let code = u16::from_ne_bytes([insn[0], insn[1]]);
        (code, insn[2], insn[3], u32::from_ne_bytes(insn[4..].try_into().unwrap()))
    };
    Some(bytes.chunks_exact(8).map(insn).collect())
}

/// The highest numbers that a profile names, above which runc's stub answers `ENOSYS`.
pub struct Newest {
    x86_64: Option<u32>,
    i386: Option<u32>,
    x32: Option<u32>,
    listed_x32: bool,
}

/// None where the stub is off.
pub fn newest(profile: &LinuxSeccomp) -> Newest {
    use LinuxSeccompAction as A;
    let permissive = [A::ScmpActAllow, A::ScmpActLog, A::ScmpActTrace, A::ScmpActNotify];
    let listed = profile.architectures().as_deref().unwrap_or_default();
    let on = !permissive.contains(&profile.default_action());
    let newest = |arch: ScmpArch, listed: bool| {
        let names = profile.syscalls().iter().flatten().flat_map(|syscall| syscall.names());
        let numbers = names.filter_map(|name| {
            let call = ScmpSyscall::from_name_by_arch(name, arch).ok()?;
            u32::try_from(call.as_raw_syscall()).ok()
        });
        numbers.max().filter(|_| on && listed)
    };
    Newest {
        x86_64: newest(ScmpArch::X8664, true),
        i386: newest(ScmpArch::X86, listed.contains(&Arch::ScmpArchX86)),
        x32: newest(ScmpArch::X32, listed.contains(&Arch::ScmpArchX32)),
        listed_x32: listed.contains(&Arch::ScmpArchX32),
    }
}

impl Newest {
    pub fn exceeded_by(&self, call: &Call) -> bool {
        let newest = match (call.arch, call.number >> 30) {
            (0xc000_003e, 0) => self.x86_64,
            (0xc000_003e, _) if self.listed_x32 => self.x32,
            (0x4000_0003, _) => self.i386,
            _ => None,
        };
        newest.is_some_and(|newest| call.number > newest)
    }
}
