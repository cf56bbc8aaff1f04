//! Sleeping without memory: a process that waits for long gives back what it can have again.
//!
//! Program text and constants come back from the page cache when they are touched, free heap and
//! the unused stack as zeros. Of a monitor's 6.5 MB 0.1 MB stay. Waking costs some 50 page faults,
//! so this is for those who have been idle for a while.

use super::poll::poll_timeout;
use super::{Errno, Result, fork, fs};
use nix::poll::{PollFd, PollFlags};
use std::arch::asm;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::Duration;

const PAGE: usize = 4096;
/// Room below the stack pointer that the compiler may use without moving it.
const RED_ZONE: usize = 256;

/// Addresses from, and how many bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    start: usize,
    length: usize,
}

/// [`super::poll::poll_in`], asleep without the memory that can be had again.
#[cfg(target_arch = "x86_64")]
pub fn poll_in(fds: &[BorrowedFd<'_>], timeout: Option<Duration>) -> Result<Vec<bool>> {
    let mut set: Vec<PollFd> = fds.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)).collect();
    let timeout = i64::from(i32::from(poll_timeout(timeout)));
    let mappings = fs::read_kernel_file(Path::new("/proc/self/smaps"))?;
    let (text, stack): (usize, usize);
    // SAFETY: reads two registers.
    unsafe { asm!("lea {}, [rip]", "mov {}, rsp", out(reg) text, out(reg) stack) };
    let ranges = droppable(&mappings, text, stack);
    drop(mappings);
    fork::malloc_trim();
    let result: isize;
    // SAFETY: the ranges hold nothing that is not in the program's file or above the stack pointer,
    // and not the page of this very code: madvise(2) with MADV_DONTNEED changes no content.
    // poll(2) writes the `revents` of `set`, which lives. No call here uses the stack.
    unsafe {
        asm!(
            "2:",
            "test {count}, {count}",
            "jz 3f",
            "mov eax, {madvise}",
            "mov rdi, [{ranges}]",
            "mov rsi, [{ranges} + 8]",
            "mov edx, {dontneed}",
            "syscall",
            "add {ranges}, 16",
            "dec {count}",
            "jmp 2b",
            "3:",
            "mov eax, {poll}",
            "mov rdi, r8",
            "mov rsi, r9",
            "mov rdx, r10",
            "syscall",
            count = inout(reg) ranges.len() => _,
            ranges = inout(reg) ranges.as_ptr() => _,
            madvise = const libc::SYS_madvise,
            dontneed = const libc::MADV_DONTNEED,
            poll = const libc::SYS_poll,
            in("r8") set.as_mut_ptr(),
            in("r9") set.len(),
            in("r10") timeout,
            out("rax") result,
            out("rdi") _, out("rsi") _, out("rdx") _, out("rcx") _, out("r11") _,
            options(nostack),
        );
    }
    match Errno::from_raw(i32::try_from(-result).unwrap_or(0)) {
        errno if result < 0 && errno != Errno::EINTR => return Err(errno),
        _ => {}
    }
    Ok(set.iter().map(|fd| fd.revents().is_some_and(|events| !events.is_empty())).collect())
}

/// What can be given up: file mappings that nobody has written to, without the page of `text` and
/// the one after it, and the main stack below `stack`.
fn droppable(smaps: &str, text: usize, stack: usize) -> Vec<Range> {
    let mut ranges = Vec::new();
    let mut clean: Option<(usize, usize)> = None;
    for line in smaps.lines() {
        let mut words = line.split_ascii_whitespace();
        let (Some(first), Some(second)) = (words.next(), words.next()) else { continue };
        if first == "Anonymous:" {
            // Relocated constants are read-only by now and still not in the file.
            if let (Some((start, end)), "0") = (clean, second) {
                let kept = text & !(PAGE - 1);
                push(&mut ranges, start, end.min(kept));
                push(&mut ranges, start.max(kept + 2 * PAGE), end);
            }
            clean = None;
        } else if let Some((start, end)) = addresses(first) {
            let inode = words.nth(2).unwrap_or("0");
            let name = words.next().unwrap_or_default();
            let read_only = second.starts_with("r-") && second.ends_with('p') && inode != "0";
            clean = read_only.then_some((start, end));
            if name == "[stack]" && (start..end).contains(&stack) {
                push(&mut ranges, start, (stack - RED_ZONE) & !(PAGE - 1));
            }
        }
    }
    ranges
}

/// `00400000-0044a000`.
fn addresses(word: &str) -> Option<(usize, usize)> {
    let (start, end) = word.split_once('-')?;
    let parse = |text| usize::from_str_radix(text, 16).ok();
    Some((parse(start)?, parse(end)?))
}

fn push(ranges: &mut Vec<Range>, start: usize, end: usize) {
    if start < end {
        ranges.push(Range { start, length: end - start });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    const SMAPS: &str = "\
00200000-00210000 r--p 00000000 fe:00 64 /bin/x
Anonymous:             0 kB
00210000-00220000 r-xp 00010000 fe:00 64 /bin/x
Anonymous:             0 kB
00220000-00221000 r--p 00020000 fe:00 64 /bin/x
Anonymous:             4 kB
00221000-00222000 rw-p 00021000 fe:00 64 /bin/x
Anonymous:             0 kB
7f0000000000-7f0000001000 r--p 00000000 00:00 0 [vvar]
Anonymous:             0 kB
7fff00000000-7fff00010000 rw-p 00000000 00:00 0 [stack]
Anonymous:            52 kB
";

    #[test]
    fn only_what_comes_back_is_given_up() {
        let range = |start, end| Range { start, length: end - start };
        let expected = [
            range(0x20_0000, 0x21_0000),
            range(0x21_0000, 0x21_1000),
            range(0x21_3000, 0x22_0000),
            range(0x7fff_0000_0000, 0x7fff_0000_8000),
        ];
        assert_eq!(droppable(SMAPS, 0x21_1234, 0x7fff_0000_9010), expected);
    }

    #[test]
    fn the_sleeper_wakes() {
        let (read, write) = nix::unistd::pipe().unwrap();
        let fds = [read.as_fd()];
        assert_eq!(poll_in(&fds, Some(Duration::from_millis(1))).unwrap(), [false]);
        nix::unistd::write(&write, b"x").unwrap();
        assert_eq!(poll_in(&fds, None).unwrap(), [true]);
        assert_eq!(format!("{:?}", "text is there"), "\"text is there\"");
    }
}
