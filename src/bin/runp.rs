//! `runp`: see [`runp::cli::runp`].

fn main() -> std::process::ExitCode {
    runp::cli::runp::main()
}
