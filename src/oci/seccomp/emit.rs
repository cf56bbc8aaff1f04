//! Verdicts to BPF: a binary tree over call numbers, conditions at its leaves.
//!
//! Loading costs by the instruction, 0.2 us each: the kernel compiles the program in several passes,
//! and asks it for every call number whether that is always allowed. So branches share returns, and
//! the tree is balanced by numbers, not by leaves. Jumps only go forward: made from its end, a
//! program knows where they lead.

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
    let mut program = Program { reversed: Vec::with_capacity(1024), returns: Vec::new() };
    let mut other = Target::Return(RET_KILL_THREAD);
    for (arch, leaves) in [(AUDIT_ARCH_I386, i386), (AUDIT_ARCH_X86_64, x86_64)] {
        let Some(leaves) = leaves else { continue };
        let calls = program.tree(&leaves, u32::MAX);
        program.begin_with(calls);
        program.push(op(LOAD, NUMBER));
        let calls = program.here();
        other = program.branch(JUMP_EQUAL, arch, calls, other);
    }
    program.begin_with(other);
    program.push(op(LOAD, ARCH));
    program.reversed.reverse();
    program.reversed
}

impl Leaf<'_> {
    fn plain(start: u32, verdict: u32) -> Self {
        Self { start, narrow: false, rules: Vec::new(), otherwise: verdict }
    }
}

/// One ABI's numbers, from `base` on, as few leaves: neighbours with one verdict share theirs.
fn leaves<'a>(profile: &'a Profile, calls: &Calls, base: u32) -> Vec<Leaf<'a>> {
    let mut leaves: Vec<Leaf<'a>> = Vec::with_capacity(256);
    // What the last leaf returns, if that depends on nothing.
    let mut last = None;
    // Sorted by number, the profile's order kept within one.
    let mut conditional = calls.rules.clone();
    conditional.sort_by_key(|(number, _)| *number);
    let mut conditional = conditional.as_slice();
    for (number, verdict) in (0..).zip(&calls.verdicts) {
        let start = base + u32::from(number);
        let own = match conditional.first() {
            Some((of, _)) if *of == number => of_number(&mut conditional, number),
            _ => &[],
        };
        if verdict.is_none() && !own.is_empty() {
            let rules = own.iter().filter_map(|(_, rule)| profile.rules.get(*rule)).collect();
            let (narrow, otherwise) = (calls.abi.is_narrow(), profile.default);
            leaves.push(Leaf { start, narrow, rules, otherwise });
            last = None;
        } else {
            let verdict = verdict.unwrap_or(profile.default);
            if last.replace(verdict) != Some(verdict) {
                leaves.push(Leaf::plain(start, verdict));
            }
        }
        if profile.enosys && calls.newest == Some(number) {
            leaves.push(Leaf::plain(start + 1, ENOSYS_RETURN));
            break;
        }
    }
    leaves
}

/// Takes the first ones, which are of `number`.
fn of_number<'a>(conditional: &mut &'a [(u16, usize)], number: u16) -> &'a [(u16, usize)] {
    let (own, rest) =
        conditional.split_at(conditional.iter().take_while(|(of, _)| *of == number).count());
    *conditional = rest;
    own
}

/// Where a branch leads.
#[derive(Clone, Copy)]
enum Target {
    /// To a return of this value, wherever there is one.
    Return(u32),
    /// To the instruction of this index.
    Code(usize),
}

/// A program from its end.
struct Program {
    /// The last instruction first.
    reversed: Vec<Insn>,
    /// The values of returns that branches share, and their indices.
    returns: Vec<(u32, usize)>,
}

/// A branch reaches 255 instructions; a few come between the choice of its targets and itself.
const REACH: usize = 250;

/// The kernel asks for every number up to its newest call.
const ASKED: u32 = 480;

impl Program {
    fn push(&mut self, insn: Insn) {
        self.reversed.push(insn);
    }

    /// The instruction that was pushed last.
    fn here(&self) -> Target {
        Target::Code(self.reversed.len() - 1)
    }

    /// How far the instruction at `at` will be from the next one that is pushed.
    fn distance(&self, at: usize) -> usize {
        self.reversed.len() - at - 1
    }

    /// An instruction within a branch's reach that leads to `target`.
    fn near(&mut self, target: Target) -> usize {
        let next = self.reversed.len();
        match target {
            Target::Return(value) => {
                let near = |(of, at): &&(u32, usize)| *of == value && next - at < REACH;
                if let Some((_, at)) = self.returns.iter().rev().find(near) {
                    return *at;
                }
                self.returns.push((value, next));
                self.push(op(RETURN, value));
            }
            Target::Code(at) if next - at < REACH => return at,
            Target::Code(at) => self.push(op(JUMP, self.distance(at) as u32)),
        }
        next
    }

    fn branch(&mut self, code: u16, k: u32, yes: Target, no: Target) -> Target {
        let (yes, no) = (self.near(yes), self.near(no));
        let (jt, jf) = (self.distance(yes) as u8, self.distance(no) as u8);
        self.push(jump(code, k, jt, jf));
        self.here()
    }

    /// Makes what is pushed next go on with `target`.
    fn begin_with(&mut self, target: Target) {
        match target {
            Target::Code(at) if self.distance(at) == 0 => {}
            Target::Code(at) => self.push(op(JUMP, self.distance(at) as u32)),
            Target::Return(value) => self.push(op(RETURN, value)),
        }
    }

    /// Decides by the call number, below `end`, which the accumulator holds.
    fn tree(&mut self, leaves: &[Leaf<'_>], end: u32) -> Target {
        let (left, right) = leaves.split_at(middle(leaves, end));
        match right {
            [] => Target::Return(RET_KILL_THREAD),
            [only] if left.is_empty() => self.leaf(only),
            [first, ..] => {
                let yes = self.tree(right, end);
                let no = self.tree(left, first.start);
                self.branch(JUMP_GREATER_EQUAL, first.start, yes, no)
            }
        }
    }

    fn leaf(&mut self, leaf: &Leaf<'_>) -> Target {
        if leaf.rules.is_empty() {
            return Target::Return(leaf.otherwise);
        }
        let mut code = Vec::new();
        self::leaf(leaf, &mut code);
        self.reversed.extend(code.iter().rev());
        self.here()
    }
}

/// Where to halve the numbers from the first leaf to `end` that the kernel asks for; 0 of a single
/// leaf.
fn middle(leaves: &[Leaf<'_>], end: u32) -> usize {
    let [first, _, ..] = leaves else { return 0 };
    let (from, to) = (first.start.min(ASKED), end.min(ASKED));
    if from == to {
        return leaves.len() / 2;
    }
    let half = (from + to) / 2;
    leaves.partition_point(|leaf| leaf.start <= half).clamp(1, leaves.len() - 1)
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
