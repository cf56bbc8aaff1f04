//! runc's command line.

use std::process::ExitCode;

/// Runs `runp` with the process's own arguments.
pub fn main() -> ExitCode {
    todo!("runpcli")
}
