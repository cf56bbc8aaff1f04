//! Verdicts to BPF: a binary tree over call numbers, conditions at its leaves. Jumps only go
//! forward, each leaf ends in its own return.

use super::Insn;
use super::profile::{Abi, Calls, Condition, ENOSYS_RETURN, Profile, RET_KILL_THREAD, Rule};
use oci_spec::runtime::LinuxSeccompOperator;

const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
const AUDIT_ARCH_I386: u32 = 0x4000_0003;

/// Bit 30 of a call number marks x32.
const X32: u32 = 0x4000_0000;

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGS: u32 = 16;

const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER: u16 = 0x25;
const JUMP_GREATER_EQUAL: u16 = 0x35;
const RETURN: u16 = 0x06;

/// Calls from `start` up to the next leaf.
struct Leaf<'a> {
    start: u32,
    /// Narrow arguments.
    narrow: bool,
    /// Tried in order.
    rules: Vec<&'a Rule>,
    /// Returned when no rule holds.
    otherwise: u32,
}

/// The whole program.
pub(super) fn program(profile: &Profile) -> Vec<Insn> {
    let mut out = Vec::with_capacity(1024);
    out.push(op(LOAD, ARCH));
    let of = |abi: Abi| profile.calls.iter().find(|calls| calls.abi == abi);
    let x86_64 = of(Abi::X86_64).map(|calls| {
        let mut leaves = leaves(profile, calls, 0);
        match of(Abi::X32) {
            Some(x32) => leaves.extend(self::leaves(profile, x32, X32)),
            None => leaves.extend([
                Leaf::plain(X32, RET_KILL_THREAD),
                Leaf::plain(u32::MAX, profile.default),
            ]),
        }
        leaves
    });
    let i386 = of(Abi::I386).map(|calls| leaves(profile, calls, 0));
    for (arch, leaves) in [(AUDIT_ARCH_X86_64, x86_64), (AUDIT_ARCH_I386, i386)] {
        let Some(leaves) = leaves else { continue };
        out.push(jump(JUMP_EQUAL, arch, 1, 0));
        let over = out.len();
        out.push(op(JUMP, 0));
        out.push(op(LOAD, NUMBER));
        tree(&leaves, &mut out);
        let length = (out.len() - over - 1) as u32;
        if let Some(over) = out.get_mut(over) {
            over.k = length;
        }
    }
    out.push(op(RETURN, RET_KILL_THREAD));
    out
}

impl Leaf<'_> {
    fn plain(start: u32, verdict: u32) -> Self {
        Self { start, narrow: false, rules: Vec::new(), otherwise: verdict }
    }
}

/// One ABI's numbers, from `base` on, as few leaves: neighbours with one verdict share theirs.
fn leaves<'a>(profile: &'a Profile, calls: &Calls, base: u32) -> Vec<Leaf<'a>> {
    let mut leaves: Vec<Leaf<'a>> = Vec::with_capacity(128);
    let mut push = |leaf: Leaf<'a>| match leaves.last() {
        Some(last)
            if last.rules.is_empty()
                && leaf.rules.is_empty()
                && last.otherwise == leaf.otherwise => {}
        _ => leaves.push(leaf),
    };
    let narrow = calls.abi.is_narrow();
    // Sorted by number, the profile's order kept within one.
    let mut conditional = calls.rules.clone();
    conditional.sort_by_key(|(number, _)| *number);
    let mut conditional = conditional.as_slice();
    for (number, verdict) in (0..).zip(&calls.verdicts) {
        let start = base + u32::from(number);
        let end = conditional.partition_point(|(of, _)| *of <= number);
        let (own, rest) = conditional.split_at(end);
        conditional = rest;
        let rules = match verdict {
            Some(_) => Vec::new(),
            None => own.iter().filter_map(|(_, rule)| profile.rules.get(*rule)).collect(),
        };
        push(Leaf { start, narrow, rules, otherwise: verdict.unwrap_or(profile.default) });
        if profile.enosys && calls.newest == Some(number) {
            push(Leaf::plain(start + 1, ENOSYS_RETURN));
            break;
        }
    }
    leaves
}

/// The accumulator holds a call number.
fn tree(leaves: &[Leaf<'_>], out: &mut Vec<Insn>) {
    let (left, right) = leaves.split_at(leaves.len() / 2);
    let (Some(middle), false) = (right.first(), left.is_empty()) else {
        return leaves.iter().for_each(|only| leaf(only, out));
    };
    let at = out.len();
    out.push(jump(JUMP_GREATER_EQUAL, middle.start, 0, 0));
    tree(left, out);
    let length = out.len() - at - 1;
    match u8::try_from(length) {
        Ok(short) => {
            if let Some(branch) = out.get_mut(at) {
                branch.jt = short;
            }
        }
        // A branch reaches 255; beyond, a jump of its own. What moves has no jump out of it.
        Err(_) => {
            out.insert(at + 1, op(JUMP, length as u32));
            if let Some(branch) = out.get_mut(at) {
                branch.jf = 1;
            }
        }
    }
    tree(right, out);
}

fn leaf(leaf: &Leaf<'_>, out: &mut Vec<Insn>) {
    for rule in &leaf.rules {
        let start = out.len();
        for condition in &rule.conditions {
            compare(condition, leaf.narrow, out);
        }
        out.push(op(RETURN, rule.action));
        // Now it is known where the next rule begins.
        let end = out.len();
        for (at, insn) in out.iter_mut().enumerate().skip(start) {
            let next = (end - at - 1) as u8;
            if insn.jt == FAIL {
                insn.jt = next;
            }
            if insn.jf == FAIL {
                insn.jf = next;
            }
        }
    }
    out.push(op(RETURN, leaf.otherwise));
}

/// Stands for "to the next rule". Six conditions take 36 instructions at most.
const FAIL: u8 = u8::MAX;

/// Falls through if the condition holds.
fn compare(condition: &Condition, narrow: bool, out: &mut Vec<Insn>) {
    use LinuxSeccompOperator as Op;
    let low = ARGS + 8 * condition.argument;
    let (high_value, low_value) = ((condition.value >> 32) as u32, condition.value as u32);
    if condition.operator == Op::ScmpCmpMaskedEq {
        let wanted = condition.masked;
        if !narrow && high_value != 0 {
            out.extend([op(LOAD, low + 4), op(AND, high_value)]);
            out.push(jump(JUMP_EQUAL, (wanted >> 32) as u32, 0, FAIL));
        }
        out.extend([op(LOAD, low), op(AND, low_value)]);
        return out.push(jump(JUMP_EQUAL, wanted as u32, 0, FAIL));
    }
    if !narrow {
        // The upper half decides, unless it is equal; the lower one follows in 2 instructions.
        out.push(op(LOAD, low + 4));
        match condition.operator {
            Op::ScmpCmpEq => out.push(jump(JUMP_EQUAL, high_value, 0, FAIL)),
            Op::ScmpCmpNe => out.push(jump(JUMP_EQUAL, high_value, 0, 2)),
            Op::ScmpCmpGt | Op::ScmpCmpGe => out.extend([
                jump(JUMP_GREATER, high_value, 3, 0),
                jump(JUMP_EQUAL, high_value, 0, FAIL),
            ]),
            _ => out.extend([
                jump(JUMP_GREATER_EQUAL, high_value, 0, 3),
                jump(JUMP_EQUAL, high_value, 0, FAIL),
            ]),
        }
    }
    out.push(op(LOAD, low));
    out.push(match condition.operator {
        Op::ScmpCmpNe => jump(JUMP_EQUAL, low_value, FAIL, 0),
        Op::ScmpCmpGt => jump(JUMP_GREATER, low_value, 0, FAIL),
        Op::ScmpCmpGe => jump(JUMP_GREATER_EQUAL, low_value, 0, FAIL),
        Op::ScmpCmpLt => jump(JUMP_GREATER_EQUAL, low_value, FAIL, 0),
        Op::ScmpCmpLe => jump(JUMP_GREATER, low_value, FAIL, 0),
        Op::ScmpCmpEq | Op::ScmpCmpMaskedEq => jump(JUMP_EQUAL, low_value, 0, FAIL),
    });
}

fn op(code: u16, k: u32) -> Insn {
    Insn { code, jt: 0, jf: 0, k }
}

fn jump(code: u16, k: u32, jt: u8, jf: u8) -> Insn {
    Insn { code, jt, jf, k }
}
