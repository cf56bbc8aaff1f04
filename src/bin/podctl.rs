//! `podctl`: see [`runp::cli::podctl`].

fn main() -> std::process::ExitCode {
    runp::cli::podctl::main()
}
