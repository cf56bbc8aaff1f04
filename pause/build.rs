//! Builds `pause` and `last` with plain rustc and puts them where the library embeds them
//! (`include_bytes!(concat!(env!("OUT_DIR"), "/pause"))`). A build script, because stable cargo
//! cannot embed one member's binary in another.

use std::error::Error;
use std::path::PathBuf;
use std::process::Command;

/// The contract of docs/limits.md.
const MAX_SIZE: u64 = 1024;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=pause");
    order();
    build("pause", "pause/main.rs")?;
    build("last", "pause/last.rs")
}

/// What a start runs lies together, as the linker that .cargo/config.toml and rustc agree on takes
/// it: fewer pages of the program are touched, and mapped.
fn order() {
    if std::env::var("CARGO_CFG_TARGET_ARCH").as_deref() != Ok("x86_64") {
        return;
    }
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/pause");
    for argument in [
        format!("--symbol-ordering-file={here}/libc.order"),
        "--no-warn-symbol-ordering".into(),
        format!("-T,{here}/cold.ld"),
    ] {
        println!("cargo::rustc-link-arg-bin=runp=-Wl,{argument}");
    }
}

fn build(name: &str, source: &str) -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(std::env::var("OUT_DIR")?).join(name);
    let (rustc, target) = (std::env::var("RUSTC")?, std::env::var("TARGET")?);
    let status = Command::new(rustc)
        .args(["--edition=2024", "--crate-type=bin", "--crate-name", name, source])
        .args(["--target", &target, "-o"])
        .arg(&out)
        .args(["-Cpanic=abort", "-Copt-level=s", "-Crelocation-model=static", "-Cstrip=symbols"])
        .args(["-Cforce-unwind-tables=no", "-Clinker=cc", "-Clinker-features=-lld"])
        .args(["-nostdlib", "-nostartfiles", "-static", "-no-pie"].map(|arg| format!("-Clink-arg={arg}")))
        // The text shares its page tables with the stack: 4 kB less per pod.
        .arg("-Clink-arg=-Wl,-n,-z,norelro,-z,noseparate-code,--build-id=none,--no-eh-frame-hdr,-Ttext-segment=0x7fc000000000")
        .status()?;
    if !status.success() {
        return Err(format!("building {name} failed").into());
    }
    let size = std::fs::metadata(&out)?.len();
    if size > MAX_SIZE {
        return Err(format!("{name} has {size} bytes, more than {MAX_SIZE}").into());
    }
    Ok(())
}
