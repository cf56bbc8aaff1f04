//! Which devices a container may use: rules to a policy, the policy to v1's files or a v2 program.
//!
//! A policy is what v1's kernel code holds: a default, and exceptions to it, each for one kind,
//! major and minor number or all of them. Both worlds get the same policy, so a container may do
//! the same on either.

use super::file::{self, Limit};
use super::{Cgroup, Mode};
use crate::error::{Context, Error, Result};
use crate::sys::bpf::{self, Insn};
use nix::fcntl::OFlag;
use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};
use std::os::fd::AsFd;

/// Access bits as the kernel's `BPF_DEVCG_ACC_*`.
const MKNOD: u8 = 1;
const READ: u8 = 2;
const WRITE: u8 = 4;
const ALL: u8 = MKNOD | READ | WRITE;

/// What every container may use, after its own rules: any node may be made (making one lets nobody
/// open it), and null, zero, full, random, urandom, tty, ptmx and the pseudo-terminals. The list
/// is runc's; the spec's "default devices" need it.
const DEFAULTS: [(Device, u8); 10] = [
    (Device { block: false, major: None, minor: None }, MKNOD),
    (Device { block: true, major: None, minor: None }, MKNOD),
    (Device::char(1, Some(3)), ALL),
    (Device::char(1, Some(8)), ALL),
    (Device::char(1, Some(7)), ALL),
    (Device::char(5, Some(0)), ALL),
    (Device::char(1, Some(5)), ALL),
    (Device::char(1, Some(9)), ALL),
    (Device::char(136, None), ALL),
    (Device::char(5, Some(2)), ALL),
];

/// A device or, where a number is left out, all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Device {
    block: bool,
    major: Option<u32>,
    minor: Option<u32>,
}

impl Device {
    const fn char(major: u32, minor: Option<u32>) -> Self {
        Self { block: false, major: Some(major), minor }
    }

    fn covers(&self, other: &Self) -> bool {
        let number = |mine: Option<u32>, other| mine.is_none() || mine == other;
        self.block == other.block
            && number(self.major, other.major)
            && number(self.minor, other.minor)
    }
}

/// Everything but the exceptions is allowed, or denied.
#[derive(Debug, PartialEq, Eq)]
struct Policy {
    allow: bool,
    exceptions: Vec<(Device, u8)>,
}

impl Policy {
    /// The rules in order, from "nothing is allowed", then the defaults.
    fn of(rules: &[LinuxDeviceCgroup]) -> Result<Self> {
        let mut policy = Self { allow: false, exceptions: Vec::new() };
        for (index, rule) in rules.iter().enumerate() {
            let json = |field| format!("linux.resources.devices[{index}]{field}");
            let access = access(rule).map_err(|error| error.doing(json(".access")))?;
            let major = number(rule.major()).map_err(|error| error.doing(json(".major")))?;
            let minor = number(rule.minor()).map_err(|error| error.doing(json(".minor")))?;
            let kinds: &[bool] = match rule.typ().unwrap_or_default() {
                LinuxDeviceType::A if access == ALL && major.is_none() && minor.is_none() => {
                    policy = Self { allow: rule.allow(), exceptions: Vec::new() };
                    continue;
                }
                LinuxDeviceType::A => &[false, true],
                LinuxDeviceType::B => &[true],
                LinuxDeviceType::C | LinuxDeviceType::U => &[false],
                LinuxDeviceType::P => {
                    return Err(Error::user("a FIFO is no device").doing(json(".type")));
                }
            };
            for block in kinds {
                let device = Device { block: *block, major, minor };
                policy
                    .apply(rule.allow(), device, access)
                    .map_err(|error| error.doing(json("")))?;
            }
        }
        for (device, access) in DEFAULTS {
            policy
                .apply(true, device, access)
                .map_err(|error| error.doing("allow the default devices"))?;
        }
        Ok(policy)
    }

    fn allows_all(&self) -> bool {
        self.allow && self.exceptions.is_empty()
    }

    fn apply(&mut self, allow: bool, device: Device, access: u8) -> Result<()> {
        let same = self.exceptions.iter_mut().find(|(known, _)| *known == device);
        if allow != self.allow {
            match same {
                Some((_, known)) => *known |= access,
                None => self.exceptions.push((device, access)),
            }
            return Ok(());
        }
        // Back to the default: what the rule covers loses the access. A wider exception would have
        // to get a hole, which v1 cannot express and would ignore, leaving the device open.
        for (known, bits) in &mut self.exceptions {
            if device.covers(known) {
                *bits &= !access;
            } else if known.covers(&device) && *bits & access != 0 {
                return Err(Error::user(
                    "takes a part from an earlier rule for more devices, which cgroups cannot do",
                ));
            }
        }
        self.exceptions.retain(|(_, bits)| *bits != 0);
        Ok(())
    }

    /// The policy as a program of `BPF_PROG_TYPE_CGROUP_DEVICE`; it returns 1 to allow.
    fn program(&self) -> Vec<Insn> {
        // r1: struct bpf_cgroup_dev_ctx { access << 16 | type, major, minor }
        let mut program = vec![
            Insn::load(2, 1, 0),
            Insn::mov_register(3, 2),
            Insn::and(2, 0xffff),
            Insn::shift_right(3, 16),
            Insn::load(4, 1, 4),
            Insn::load(5, 1, 8),
        ];
        for (device, access) in &self.exceptions {
            let kind = if device.block { 1 } else { 2 };
            let mut checks = vec![(2, kind)];
            checks.extend(device.major.map(|major| (4, major)));
            checks.extend(device.minor.map(|minor| (5, minor)));
            // Every check that fails jumps behind the verdict of two instructions.
            let access_length = if *access == ALL { 0 } else { 3 };
            let mut left = checks.len() as i16 + access_length + 2;
            for (register, value) in checks {
                left -= 1;
                program.push(Insn::jump_unless_equal(register, value, left));
            }
            if *access != ALL {
                // Allowed is a request for nothing but these accesses, denied one for any of them.
                program.push(Insn::mov_register(0, 3));
                let other = if self.allow { *access } else { ALL & !access };
                program.push(Insn::and(0, other.into()));
                program.push(match self.allow {
                    true => Insn::jump_if_equal(0, 0, 2),
                    false => Insn::jump_unless_equal(0, 0, 2),
                });
            }
            program.extend([Insn::mov(0, (!self.allow).into()), Insn::exit()]);
        }
        program.extend([Insn::mov(0, self.allow.into()), Insn::exit()]);
        program
    }
}

fn access(rule: &LinuxDeviceCgroup) -> Result<u8> {
    let Some(text) = rule.access().as_deref().filter(|text| !text.is_empty()) else {
        return Ok(ALL);
    };
    let mut access = 0;
    for letter in text.chars() {
        access |= match letter {
            'r' => READ,
            'w' => WRITE,
            'm' => MKNOD,
            // The word for all devices among those for access: runc passes over it.
            'a' => 0,
            _ => return Err(Error::user(format!("\"{text}\": only r, w and m are known"))),
        };
    }
    Ok(access)
}

/// -1 is "all", as is none.
fn number(value: Option<i64>) -> Result<Option<u32>> {
    match value {
        None | Some(-1) => Ok(None),
        Some(value) => u32::try_from(value)
            .map(Some)
            .map_err(|_| Error::user(format!("{value} is no device number"))),
    }
}

impl Cgroup {
    /// Restricts devices to `rules` (`linux.resources.devices`) and the default devices every
    /// container has; nothing else is allowed. For containers at creation only: a pod's cgroup must
    /// leave room for a privileged container, and `update` does not touch devices.
    pub fn set_devices(&self, rules: &[LinuxDeviceCgroup]) -> Result<()> {
        let policy = Policy::of(rules)?;
        match self.mode {
            Mode::V2 => self.set_devices_v2(&policy),
            Mode::V1 | Mode::Hybrid => self.set_devices_v1(&policy),
        }
    }

    fn set_devices_v1(&self, policy: &Policy) -> Result<()> {
        let limit = Limit { dir: self.v1("devices"), controller: "devices", json: "devices" };
        let (default, exceptions) = match policy.allow {
            true => ("devices.allow", "devices.deny"),
            false => ("devices.deny", "devices.allow"),
        };
        let Some(dir) = limit.dir else {
            return if policy.allows_all() { Ok(()) } else { limit.write(default, "a") };
        };
        limit.write(default, "a")?;
        if policy.exceptions.is_empty() {
            return Ok(());
        }
        let file = file::open(&dir.path(), exceptions, OFlag::O_WRONLY)
            .doing(|| limit.attempt(exceptions, "the rules"))?;
        for (device, access) in &policy.exceptions {
            let line = v1_line(device, *access);
            crate::sys::fs::write_once(file.as_fd(), line.as_bytes())
                .doing(|| limit.attempt(exceptions, &line))?;
        }
        Ok(())
    }

    fn set_devices_v2(&self, policy: &Policy) -> Result<()> {
        if policy.allows_all() {
            return Ok(());
        }
        let Some(dir) = self.v2() else { return Ok(()) };
        let path = dir.path();
        let what =
            || format!("linux.resources.devices: attach a device filter to {}", path.display());
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
        let cgroup = crate::sys::fs::open(&path, flags, 0).doing(what)?;
        let program = bpf::prog_load_cgroup_device(&policy.program()).doing(what)?;
        bpf::prog_attach_cgroup_device(cgroup, program).doing(what)
    }
}

/// `c 1:3 rwm`.
fn v1_line(device: &Device, access: u8) -> String {
    let number = |value: Option<u32>| value.map_or_else(|| "*".to_owned(), |n| n.to_string());
    let mut line = format!(
        "{} {}:{} ",
        if device.block { 'b' } else { 'c' },
        number(device.major),
        number(device.minor)
    );
    line.extend(
        [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')]
            .iter()
            .filter_map(|(bit, letter)| (access & bit != 0).then_some(*letter)),
    );
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> LinuxDeviceCgroup {
        let parts: Vec<&str> = text.split(' ').collect();
        let number = |at: usize| parts.get(at).and_then(|n| n.parse::<i64>().ok());
        let json = serde_json::json!({
            "allow": parts[0] == "+", "type": parts[1], "major": number(2), "minor": number(3),
            "access": parts.get(4),
        });
        serde_json::from_value(json).unwrap()
    }

    fn policy(rules: &[&str]) -> Result<Policy> {
        Policy::of(&rules.iter().map(|text| rule(text)).collect::<Vec<_>>())
    }

    /// What the policy means: the kernel's v1 code in three lines.
    fn allows(policy: &Policy, device: Device, access: u8) -> bool {
        let hit = |bits: u8| if policy.allow { access & bits != 0 } else { access & !bits == 0 };
        let exception = |(known, bits): &(Device, u8)| known.covers(&device) && hit(*bits);
        policy.allow != policy.exceptions.iter().any(exception)
    }

    /// What the kernel would answer: the few instructions we use, run on a request.
    fn run(program: &[Insn], device: Device, access: u8) -> bool {
        let kind = if device.block { 1 } else { 2 };
        let context =
            [u32::from(access) << 16 | kind, device.major.unwrap(), device.minor.unwrap()];
        let (mut registers, mut at) = ([0u32; 6], 0);
        loop {
            let insn = program[at];
            let (to, from) = (usize::from(insn.registers & 15), usize::from(insn.registers >> 4));
            let value = insn.immediate.cast_unsigned();
            let jump = match insn.code {
                0x16 => registers[to] == value,
                0x56 => registers[to] != value,
                _ => false,
            };
            match insn.code {
                0x61 => registers[to] = context[insn.offset as usize / 4],
                0xb4 => registers[to] = value,
                0xbc => registers[to] = registers[from],
                0x54 => registers[to] &= value,
                0x74 => registers[to] >>= value,
                0x95 => return registers[0] == 1,
                code => assert!(matches!(code, 0x16 | 0x56), "{code:#x}"),
            }
            at += 1 + if jump { insn.offset as usize } else { 0 };
        }
    }

    #[test]
    fn the_program_decides_as_the_policy() {
        for rules in [
            &[][..],
            &["- a"],
            &["+ a"],
            &["- a", "+ c 10 229 rw", "+ b 8 * r", "+ c 10 229 m"],
            &["+ a", "- c 10 229 w", "- b 8 * rwm"],
            &["- a", "+ a 7 * rw"],
            &["- a", "+ c 4294967295 1 r", "+ c 10 1 rw", "- c 10 * w"],
        ] {
            let policy = policy(rules).unwrap();
            let program = policy.program();
            for (major, minor) in [(1, 3), (1, 1), (5, 2), (136, 9), (8, 0), (8, 1), (7, 7)]
                .into_iter()
                .chain([(10, 229), (10, 1), (u32::MAX, 1), (u32::MAX, 2)])
            {
                for (block, access) in (1..=ALL).flat_map(|bits| [(false, bits), (true, bits)]) {
                    let device = Device { block, major: Some(major), minor: Some(minor) };
                    let expected = allows(&policy, device, access);
                    assert_eq!(run(&program, device, access), expected, "{rules:?} {device:?}");
                }
            }
        }
    }

    #[test]
    fn rules_apply_in_order_and_the_defaults_last() {
        let null = Device::char(1, Some(3));
        let fuse = Device::char(10, Some(229));
        assert!(allows(&policy(&["- a"]).unwrap(), null, ALL));
        assert!(!allows(&policy(&[]).unwrap(), fuse, READ));
        assert!(allows(&policy(&[]).unwrap(), fuse, MKNOD));
        assert!(allows(&policy(&["- a", "+ c 10 229"]).unwrap(), fuse, ALL));
        assert!(!allows(&policy(&["+ c 10 229", "- a"]).unwrap(), fuse, READ));
        assert!(policy(&["- c 1 3", "+ a"]).unwrap().allows_all());
        let lines: Vec<_> = policy(&["- a", "+ b 8 * rm"]).unwrap().exceptions[..2]
            .iter()
            .map(|(device, access)| v1_line(device, *access))
            .collect();
        assert_eq!(lines, ["b 8:* rm", "c *:* m"]);
    }

    #[test]
    fn what_cannot_hold_is_refused() {
        for (rules, error) in [
            (&["- a", "+ c 1 * rwm", "- c 1 5 r"][..], "devices[2]: takes a part"),
            (&["+ c 1 5 x"], "devices[0].access: \"x\""),
            (&["- a", "+ c -7 5"], "devices[1].major: -7"),
            (&["+ p 1 5"], "devices[0].type: a FIFO"),
        ] {
            let text = policy(rules).unwrap_err().to_string();
            assert!(text.contains(error), "{text}");
        }
    }
}
