//! Several logs on one standard output: in turn, or together as they are written.

use super::Flags;
use crate::cli::podctl::resource::part;
use crate::cli::podctl::{Call, Outcome, STDOUT, done, tell};
use crate::error::{Context, Error, Result};
use crate::kube::Pod;
use crate::pod::LogOptions;
use std::io::{BufWriter, Write};

/// A line of a log may be of any length; beyond this it is broken.
const MAX_LINE: usize = 4 << 20;

/// The log of a container.
pub struct Stream {
    pub pod: Pod,
    pub container: String,
}

impl Stream {
    /// `[pod/web/nginx] `, if that is asked for.
    fn prefix(&self, flags: &Flags) -> String {
        if !flags.prefix && !flags.all_pods {
            return String::new();
        }
        format!("[pod/{}/{}] ", part(self.pod.metadata.name.as_ref()), self.container)
    }
}

/// One after the other.
pub fn in_turn(call: &Call, flags: &Flags, streams: &[Stream], options: &LogOptions) -> Outcome {
    for stream in streams {
        if let Err(error) = copy(call, stream, options, stream.prefix(flags)) {
            ignore(flags, error)?;
        }
    }
    Ok(0)
}

/// All at once, line by line, each in a thread of its own.
pub fn together(call: &Call, flags: &Flags, streams: &[Stream], options: &LogOptions) -> Outcome {
    let most = flags.max_log_requests;
    if i64::try_from(streams.len()).is_ok_and(|count| count > most) {
        let count = streams.len();
        return Err(Error::user(format!(
            "you are attempting to follow {count} log streams, but maximum allowed concurrency is \
             {most}, use --max-log-requests to increase the limit"
        ))
        .into());
    }
    let results = std::thread::scope(|scope| {
        let mut threads = Vec::with_capacity(streams.len());
        for stream in streams {
            threads.push(scope.spawn(|| copy(call, stream, options, stream.prefix(flags))));
        }
        let ended = threads.into_iter().map(std::thread::ScopedJoinHandle::join);
        ended.filter_map(std::result::Result::ok).collect::<Vec<Result<()>>>()
    });
    let errors = results.into_iter().filter_map(Result::err);
    done(errors.filter_map(|error| ignore(flags, error).err()).collect())
}

fn ignore(flags: &Flags, error: Error) -> Result<()> {
    if !flags.ignore_errors {
        return Err(error);
    }
    tell(&format!("error: {error}"));
    Ok(())
}

fn copy(call: &Call, stream: &Stream, options: &LogOptions, prefix: String) -> Result<()> {
    // Flushed by the engine whenever it waits.
    let mut out = BufWriter::with_capacity(64 << 10, Lines { prefix, line: Vec::new() });
    call.engine.logs(&stream.pod, &stream.container, options, &mut out)?;
    out.flush().doing(|| STDOUT)?;
    out.get_mut().end().doing(|| STDOUT)
}

/// Standard output, by whole lines, so that those of several logs do not mix.
struct Lines {
    prefix: String,
    /// What has no end yet.
    line: Vec<u8>,
}

impl Lines {
    /// Prints what is left of a log that does not end its last line.
    fn end(&mut self) -> std::io::Result<()> {
        let mut stdout = std::io::stdout().lock();
        if !self.line.is_empty() {
            stdout.write_all(self.prefix.as_bytes())?;
            stdout.write_all(&std::mem::take(&mut self.line))?;
        }
        stdout.flush()
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut stdout = std::io::stdout().lock();
        if self.line.len() > MAX_LINE {
            // Better torn than all in memory.
            self.line.extend((!self.prefix.is_empty()).then_some(b'\n'));
            stdout.write_all(self.prefix.as_bytes())?;
            stdout.write_all(&std::mem::take(&mut self.line))?;
        }
        if self.prefix.is_empty() && self.line.is_empty() {
            let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            let (whole, rest) = bytes.split_at(end);
            stdout.write_all(whole)?;
            self.line.extend_from_slice(rest);
            return Ok(bytes.len());
        }
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(part);
            if part.ends_with(b"\n") {
                stdout.write_all(self.prefix.as_bytes())?;
                stdout.write_all(&self.line)?;
                self.line.clear();
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stdout().flush()
    }
}
