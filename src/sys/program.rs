//! Programs that are asked a question and answer it: credential helpers, network plugins.

use super::cgroup::poll_exit;
use super::clone::pidfd_open;
use super::exec::memory_file;
use super::fs::errno;
use super::poll::poll_until;
use super::{Errno, Result};
use nix::poll::PollFlags;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Instant;

/// Most that a program may answer.
pub const MAX_ANSWER: u64 = 1 << 20;

/// Runs `command` with `question` as its standard input: its exit status, and what it has printed.
/// `ETIMEDOUT` if it does not end until `deadline`, `EFBIG` if it says more than [`MAX_ANSWER`]: it is
/// killed then, with all that it has started. Its standard error is the caller's to choose.
pub fn ask(
    command: &mut Command,
    question: &[u8],
    deadline: Instant,
) -> Result<(ExitStatus, Vec<u8>)> {
    // A file, not a pipe: nobody has to wait until the program reads.
    let question = memory_file(c"question", question)?;
    command.stdin(question).stdout(Stdio::piped()).process_group(0);
    let mut child = command.spawn().map_err(errno)?;
    let answered = answer(&mut child, deadline);
    if answered.is_err() {
        killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL)?;
        child.wait().map_err(errno)?;
    }
    answered
}

fn answer(child: &mut Child, deadline: Instant) -> Result<(ExitStatus, Vec<u8>)> {
    let in_time = |is: bool| is.then_some(()).ok_or(Errno::ETIMEDOUT);
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    let mut stdout = child.stdout.take().ok_or(Errno::EBADF)?;
    loop {
        in_time(poll_until(&stdout, PollFlags::POLLIN, deadline)?)?;
        match stdout.read(&mut chunk).map_err(errno)? {
            0 => break,
            size => answer.extend_from_slice(chunk.get(..size).unwrap_or_default()),
        }
        if answer.len() as u64 > MAX_ANSWER {
            return Err(Errno::EFBIG);
        }
    }
    let pidfd = pidfd_open(child.id().cast_signed())?;
    in_time(poll_exit(&pidfd, deadline)?)?;
    Ok((child.wait().map_err(errno)?, answer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn run(script: &str, patience: Duration) -> Result<(ExitStatus, Vec<u8>)> {
        ask(Command::new("sh").args(["-c", script]), b"url", Instant::now() + patience)
    }

    #[test]
    fn an_answer_is_read_whole() {
        for script in ["cat", "printf url; exec sleep 0", "exec printf url <&-"] {
            let (status, answer) = run(script, Duration::from_secs(60)).unwrap();
            assert!(status.success());
            assert_eq!(answer, b"url", "{script}");
        }
    }

    #[test]
    fn a_program_that_does_not_answer_is_killed_with_its_children() {
        for script in ["sleep 1000", "printf x; exec >&-; sleep 1000", "sleep 1000 & sleep 1000"] {
            // A file that all of them hold, and nobody else once they are gone.
            let (mut end, held) = std::io::pipe().unwrap();
            let mut command = Command::new("sh");
            command.args(["-c", script]).stderr(held);
            let answered = ask(&mut command, b"", Instant::now() + Duration::from_millis(100));
            assert_eq!(answered.unwrap_err(), Errno::ETIMEDOUT, "{script}");
            drop(command);
            let gone = Instant::now() + Duration::from_secs(60);
            assert!(poll_until(&end, PollFlags::POLLIN, gone).unwrap(), "{script}");
            assert_eq!(end.read(&mut [0]).unwrap(), 0, "{script}");
        }
        assert_eq!(run("yes", Duration::from_secs(60)).unwrap_err(), Errno::EFBIG);
    }
}
