//! runc's command line: its commands, flags, output and exit statuses, over [`crate::oci::ops`].
//!
//! Errors exit with 1, an `exec` that could not start its process with 255; `run` and `exec` pass
//! on the exit status of what they ran.

mod exec;
mod flags;
mod help;
pub mod log;
mod parse;
mod plain;
mod show;
mod spec;
mod update;
mod watch;

use super::report;
use crate::error::{Context, Error, Result};
use crate::oci::bundle::Bundle;
use crate::oci::host::Rootless;
use crate::oci::{SPEC_VERSION, notify, ops};
use crate::sys::exec::close_inherited;
use flags::Globals;
use log::{Level, Log};
use parse::Count;
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Why a command ended without having done its work.
#[derive(Debug)]
enum Stop {
    /// Help was asked for: this is it.
    Help(String),
    /// The command line is wrong: what to print on standard output, and the error.
    Usage(String, Error),
    /// It failed; the exit status.
    Failed(Error, u8),
}

/// What a command ends with: its exit status, or why it stopped.
type Outcome = std::result::Result<u8, Stop>;

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error, 1)
    }
}

/// What every command sees of the globals.
struct Call {
    /// The state root, absolute.
    root: PathBuf,
    /// Whether it was given: only a default one may be missing.
    root_given: bool,
    rootless: Rootless,
    systemd_cgroup: bool,
    trace: Option<PathBuf>,
}

/// Runs `runp` with the process's own arguments; its exit status.
pub fn main() -> u8 {
    let mut log = Log::stderr();
    match dispatch(std::env::args_os().skip(1).collect(), &mut log) {
        Ok(status) => status,
        Err(Stop::Help(text)) => match print(&help::by_name(text)) {
            Ok(()) => 0,
            Err(error) => fail(&error, 1, &log),
        },
        Err(Stop::Usage(text, error)) => {
            drop(print(&help::by_name(text)));
            fail(&error, 1, &log)
        }
        Err(Stop::Failed(error, status)) => fail(&error, status, &log),
    }
}

fn fail(error: &Error, status: u8, log: &Log) -> u8 {
    report::error(error, log);
    status
}

fn dispatch(arguments: Vec<OsString>, log: &mut Log) -> Outcome {
    // Asked for alone, as engines do at their start, it is not worth a grammar (30 of 110 us).
    let alone = matches!(arguments.as_slice(), [only] if only == "--version" || only == "-v");
    if alone {
        return version();
    }
    let globals: Globals = parse::plainly(arguments)?;
    if globals.version {
        return version();
    }
    let mut words = globals.command.iter();
    let name = words.next().and_then(|name| name.to_str()).unwrap_or_default();
    if globals.help || matches!(name, "" | "h" | "help") && globals.command.len() < 2 {
        return Err(Stop::Help(help::overview()));
    }
    if name.starts_with('-') {
        let message = format!("flag provided but not defined: {}", name.replacen("--", "-", 1));
        let text = format!("Incorrect Usage. {message}\n\n{}", help::overview());
        return Err(Stop::Usage(text, Error::user(message)));
    }
    *log = Log::open(globals.log.as_deref(), &globals.log_format, globals.debug)?;
    let call = call(&globals)?;
    log.write(Level::Debug, &format!("{} {name} (root {})", called(), call.root.display()));
    command(name, words.cloned().collect(), &call, log)
}

fn version() -> Outcome {
    let number = env!("CARGO_PKG_VERSION");
    let (name, commit) = (called(), format!("runp-v{number}"));
    print(&format!("{name} version {number}\ncommit: {commit}\nspec: {SPEC_VERSION}\n"))?;
    Ok(0)
}

/// What it was called by: where it stands in for runc under that name, messages begin as they did,
/// for those who look for them.
fn called() -> &'static str {
    let name = std::env::args_os().next();
    match name.as_deref().and_then(|path| Path::new(path).file_name()) {
        Some(name) if name == "runc" => "runc",
        _ => "runp",
    }
}

fn command(name: &str, rest: Vec<OsString>, call: &Call, log: &Log) -> Outcome {
    match name {
        "checkpoint" => parse::command(rest).and_then(|_: flags::Checkpoint| needs_criu(name)),
        "create" => create(rest, call, log),
        "delete" => delete(rest, call, log),
        "events" => watch::events(rest, call),
        "exec" => exec::exec(rest, call, log),
        "explain" => show::explain(rest, call),
        "features" => show::features(rest),
        "kill" => kill(rest, call),
        "list" => show::list(rest, call, log),
        "pause" => pause(rest, call),
        "ps" => watch::ps(rest, call),
        "restore" => parse::command(rest).and_then(|_: flags::Restore| needs_criu(name)),
        "resume" => resume(rest, call),
        "run" => run(rest, call, log),
        "spec" => spec::spec(rest),
        "start" => start(rest, call),
        "state" => show::state(rest, call),
        "update" => update::update(rest, call, log),
        "h" | "help" => Err(Stop::Help(help::of(rest.first().and_then(|name| name.to_str())))),
        other => Err(Stop::Failed(Error::user(format!("No help topic for '{other}'")), 3)),
    }
}

/// What runc itself calls experimental, and another program does.
fn needs_criu(name: &str) -> Outcome {
    let cause = format!("{name} is not supported: runp does not work with CRIU");
    Err(Error::user(cause).hint("`runp pause` stops a container where it is").into())
}

fn call(globals: &Globals) -> Result<Call> {
    let rootless = match globals.rootless.to_ascii_lowercase().as_str() {
        "" | "auto" => Rootless::Auto,
        "true" | "1" | "t" => Rootless::Yes,
        "false" | "0" | "f" => Rootless::No,
        _ => {
            let value = &globals.rootless;
            return Err(Error::user(format!(
                "invalid value {value:?} for --rootless: parse error"
            )));
        }
    };
    let root = match &globals.root {
        None => default_root()?,
        Some(given) => absolute(given)?,
    };
    if root.components().count() < 2 {
        return Err(Error::user("Option --root argument should not be set to /"));
    }
    Ok(Call {
        root,
        root_given: globals.root.is_some(),
        rootless,
        systemd_cgroup: globals.systemd_cgroup,
        trace: globals.trace.clone(),
    })
}

/// Whoever is not the host's root has a directory of his own. It is marked sticky, so that cleaners
/// of such directories leave it alone (XDG Base Directory Specification).
fn default_root() -> Result<PathBuf> {
    let dir = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty());
    let is_root = std::env::var_os("USER").is_some_and(|user| user == "root");
    let own = match crate::sys::cred::geteuid() {
        0 => !is_root && !crate::sys::ns::is_initial_user_namespace(),
        _ => true,
    };
    let Some(root) = dir.filter(|_| own).map(|dir| PathBuf::from(dir).join("runp")) else {
        return Ok(PathBuf::from("/run/runp"));
    };
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    let doing = || format!("make {} (XDG_RUNTIME_DIR)", root.display());
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&root).doing(doing)?;
    let sticky = std::fs::Permissions::from_mode(0o1700);
    std::fs::set_permissions(&root, sticky).doing(doing)?;
    Ok(root)
}

/// `path` from the working directory, `.` and `..` taken out by their names alone, as Go does.
fn absolute(path: &Path) -> Result<PathBuf> {
    let joined = std::env::current_dir().doing(|| "get the working directory")?.join(path);
    let mut clean = PathBuf::from("/");
    for part in joined.components() {
        match part {
            std::path::Component::Normal(name) => clean.push(name),
            std::path::Component::ParentDir => drop(clean.pop()),
            _ => {}
        }
    }
    Ok(clean)
}

/// The stages of a start, for the debug log; in runc's words, by which they are looked for there.
const SETUP: &str = "nsexec container setup";
const COMPLETE: &str = "init: closing the pipe to signal completion";

/// The child has done its steps, the last of which is `stage`.
fn log_child(log: &Log, pid: i32, stage: &str) {
    if log.is_debug() {
        log.write(Level::Debug, &format!("child process in init(): pid {pid}"));
        log.write(Level::Debug, stage);
    }
}

fn create(rest: Vec<OsString>, call: &Call, log: &Log) -> Outcome {
    let flags: flags::Create = parse::plainly(rest)?;
    parse::count::<flags::Create>(flags.launch.ids.len(), Count::Exactly(1))?;
    launch(&flags.launch, call, log)
        .and_then(|(bundle, options)| ops::create(&bundle, &options))
        .map(|created| log_child(log, created.pid, COMPLETE))
        .doing(|| format!("{} create failed", called()))?;
    Ok(0)
}

fn run(rest: Vec<OsString>, call: &Call, log: &Log) -> Outcome {
    let flags: flags::Run = parse::plainly(rest)?;
    parse::count::<flags::Run>(flags.launch.ids.len(), Count::Exactly(1))?;
    let after = if flags.detach {
        ops::Then::Detach
    } else if flags.keep {
        ops::Then::Keep
    } else {
        ops::Then::Delete
    };
    let (status, warnings) = launch(&flags.launch, call, log)
        .and_then(|(bundle, options)| {
            let running = ops::run(&bundle, &options, after)?;
            log_child(log, running.pid(), COMPLETE);
            running.finish()
        })
        .doing(|| format!("{} run failed", called()))?;
    warnings.iter().for_each(|warning| log.write(Level::Warning, warning));
    Ok(exit_status(status))
}

/// The bundle and the options of `create` and `run`.
fn launch(flags: &flags::Launch, call: &Call, log: &Log) -> Result<(Bundle, ops::CreateOptions)> {
    let mut bundle = Bundle::load(flags.bundle.as_deref().unwrap_or(Path::new(".")))?;
    for warning in ops::warnings(&bundle)? {
        log.write(Level::Warning, &warning);
    }
    if log.is_debug() {
        ops::remarks(&bundle)?.iter().for_each(|remark| log.write(Level::Debug, remark));
    }
    let preserve_fds = flags.preserve_fds.saturating_add(listen_fds(&mut bundle));
    if preserve_fds > 0 {
        check_preserved(preserve_fds)?;
    }
    // A created process keeps what it has open until its start, and whoever waits for the end of a
    // pipe of the caller's would wait for that.
    let first = preserve_fds.saturating_add(3);
    close_inherited(first, log.file()).doing(|| "close descriptors of the caller's")?;
    if notify_socket().is_some() {
        bundle.text = None;
        notify::configure(&mut bundle.spec, &call.root.join(only(&flags.ids)))?;
    }
    log.write(Level::Debug, SETUP);
    let options = ops::CreateOptions {
        root: call.root.clone(),
        id: only(&flags.ids),
        pid_file: flags.pid_file.clone(),
        console_socket: flags.console_socket.clone(),
        pidfd_socket: flags.pidfd_socket.clone(),
        notify_socket: notify_socket(),
        preserve_fds,
        no_pivot: flags.no_pivot,
        no_new_keyring: flags.no_new_keyring,
        rootless: call.rootless,
        systemd_cgroup: call.systemd_cgroup,
        own_bundle: false,
        joined: Vec::new(),
        trace: call.trace.clone(),
    };
    Ok((bundle, options))
}

/// Where systemd waits to hear that the program is ready, sd_notify(3).
fn notify_socket() -> Option<PathBuf> {
    std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// How many sockets systemd has handed us for the container, sd_listen_fds(3); the program is told
/// that they are for it, which is process 1.
fn listen_fds(bundle: &mut Bundle) -> u32 {
    let number = |name| std::env::var(name).ok()?.parse::<u32>().ok();
    let ours = number("LISTEN_PID") == Some(std::process::id());
    let count = number("LISTEN_FDS").filter(|_| ours).unwrap_or(0);
    if let Some(process) = bundle.spec.process_mut().as_mut().filter(|_| count > 0) {
        bundle.text = None;
        let env = process.env_mut().get_or_insert_default();
        env.extend([format!("LISTEN_FDS={count}"), "LISTEN_PID=1".into()]);
    }
    count
}

/// Descriptors that are to be passed on must be there.
fn check_preserved(count: u32) -> Result<()> {
    for index in 0..count {
        let path = PathBuf::from(format!("/proc/self/fd/{}", u64::from(index) + 3));
        std::fs::symlink_metadata(path)
            .doing(|| format!("unable to stat preserved-fd {index} (of {count})"))?;
    }
    Ok(())
}

fn start(rest: Vec<OsString>, call: &Call) -> Outcome {
    let flags: flags::Start = parse::plainly(rest)?;
    parse::count::<flags::Start>(flags.ids.len(), Count::Exactly(1))?;
    let notify = notify_socket();
    let (notify_socket, trace) = (notify.as_deref(), call.trace.as_deref());
    let options = ops::StartOptions { notify_socket, trace };
    ops::start_with(&call.root, &only(&flags.ids), options)?;
    Ok(0)
}

fn kill(rest: Vec<OsString>, call: &Call) -> Outcome {
    let flags: flags::Kill = parse::command(rest)?;
    parse::count::<flags::Kill>(flags.arguments.len(), Count::Between(1, 2))?;
    let signal = flags.arguments.get(1).map_or("SIGTERM", String::as_str);
    ops::kill(&call.root, &only(&flags.arguments), ops::parse_signal(signal)?, flags.all)?;
    Ok(0)
}

fn delete(rest: Vec<OsString>, call: &Call, log: &Log) -> Outcome {
    let flags: flags::Delete = parse::plainly(rest)?;
    parse::count::<flags::Delete>(flags.ids.len(), Count::Exactly(1))?;
    let warnings = ops::delete(&call.root, &only(&flags.ids), flags.force)?;
    warnings.iter().for_each(|warning| log.write(Level::Warning, warning));
    Ok(0)
}

fn pause(rest: Vec<OsString>, call: &Call) -> Outcome {
    let flags: flags::Pause = parse::command(rest)?;
    parse::count::<flags::Pause>(flags.ids.len(), Count::Exactly(1))?;
    ops::pause(&call.root, &only(&flags.ids))?;
    Ok(0)
}

fn resume(rest: Vec<OsString>, call: &Call) -> Outcome {
    let flags: flags::Resume = parse::command(rest)?;
    parse::count::<flags::Resume>(flags.ids.len(), Count::Exactly(1))?;
    ops::resume(&call.root, &only(&flags.ids))?;
    Ok(0)
}

/// The container's name, of arguments counted already.
fn only(arguments: &[String]) -> String {
    arguments.first().cloned().unwrap_or_default()
}

/// One line or block on standard output; a reader that is gone is an error like any other.
fn print(text: &str) -> Result<()> {
    std::io::stdout().write_all(text.as_bytes()).doing(|| "write to standard output")
}

/// A wait status' number as a program's; what does not fit is a failure.
fn exit_status(status: i32) -> u8 {
    u8::try_from(status).unwrap_or(255)
}
