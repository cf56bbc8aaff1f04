//! A machine for the part of classic BPF that seccomp(2) accepts and the compilers use.

/// `struct seccomp_data`, without the instruction pointer.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub number: u32,
    pub arch: u32,
    pub args: [u64; 6],
}

impl Call {
    fn load(&self, offset: u32) -> u32 {
        match offset {
            0 => self.number,
            4 => self.arch,
            16..64 => {
                let arg = self.args[(offset as usize - 16) / 8];
                if offset.is_multiple_of(8) { arg as u32 } else { (arg >> 32) as u32 }
            }
            _ => panic!("load from {offset}"),
        }
    }
}

/// What the program returns.
pub fn run(program: &[(u16, u8, u8, u32)], call: &Call) -> u32 {
    let (mut accumulator, mut at) = (0u32, 0);
    loop {
        let (code, jt, jf, k) = program[at];
        at += 1;
        let holds = match code {
            0x20 => {
                accumulator = call.load(k);
                continue;
            }
            0x54 => {
                accumulator &= k;
                continue;
            }
            0x05 => {
                at += k as usize;
                continue;
            }
            0x06 => return k,
            0x15 => accumulator == k,
            0x25 => accumulator > k,
            0x35 => accumulator >= k,
            0x45 => accumulator & k != 0,
            _ => panic!("instruction {code:#x}"),
        };
        at += usize::from(if holds { jt } else { jf });
    }
}
