//! kubectl's command line.

use std::process::ExitCode;

/// Runs `podctl` with the process's own arguments.
pub fn main() -> ExitCode {
    todo!("podctl")
}
