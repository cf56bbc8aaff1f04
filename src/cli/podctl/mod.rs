//! kubectl's command line, for the pods of this machine: its grammar, messages and exit statuses,
//! over [`Engine`]. One file per verb.
//!
//! Every error exits with 1, as kubectl's do; `exec` passes on what its command exits with.

mod api_resources;
mod apply;
mod attach;
mod auth;
mod chosen;
mod cluster_info;
mod complete;
mod completion;
mod config;
mod container;
mod cp;
mod create;
mod debug;
mod delete;
mod describe;
mod diff;
mod doctor;
mod edit;
mod editor;
mod events;
mod exec;
mod explain;
mod files;
mod flags;
mod form;
mod gc;
mod get;
mod help;
mod images;
mod inspect;
mod label;
mod load;
mod logs;
mod monitor;
mod patch;
mod port_forward;
mod pull;
mod refused;
mod replace;
mod resource;
mod rmi;
mod run;
mod running;
mod save;
mod selection;
mod set;
mod tag;
mod timeline;
mod top;
mod tree;
mod usage;
mod version;
mod wait;
mod write;

use super::{progress, report};
use crate::error::{Context, Error, Result};
use crate::kube;
use crate::pod::Engine;
use clap::{Command, CommandFactory, FromArgMatches};
use flags::{Cli, Globals, Verb};
use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

/// The errors that a verb ends with, each reported on lines of its own.
struct Failed(Vec<Error>);

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self(vec![error])
    }
}

/// The exit status of a verb.
type Outcome = std::result::Result<u8, Failed>;

/// Success, unless something failed on the way.
fn done(failed: Vec<Error>) -> Outcome {
    if failed.is_empty() { Ok(0) } else { Err(Failed(failed)) }
}

/// What every verb sees of the globals.
struct Call {
    engine: Engine,
    /// `-n`, or `default`.
    namespace: String,
    /// Whether `-n` was given.
    namespace_given: bool,
}

/// Runs `podctl` with the process's own arguments.
pub fn main() -> ExitCode {
    // First of all, and with nothing else touched: each pod has such a process, and what it
    // allocates before its loop it keeps.
    if let Some(outcome) = monitor::if_called() {
        return match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&[error]),
        };
    }
    if let Some(candidates) = complete::if_called() {
        return print(&candidates).map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS);
    }
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let cli = flags::command_of(&arguments).and_then(|command| read(command, &arguments).ok());
    let cli = match cli.map_or_else(|| read(Cli::command(), &arguments), Ok) {
        Ok(cli) => cli,
        Err((error, arguments)) => return usage::answer(&error, &arguments),
    };
    match run(cli) {
        Ok(status) => ExitCode::from(status),
        Err(Failed(errors)) => fail(&errors),
    }
}

/// The arguments as `command` understands them; what is wrong with them, and how they were read.
fn read(
    command: Command,
    arguments: &[OsString],
) -> std::result::Result<Cli, (clap::Error, Vec<OsString>)> {
    let arguments = usage::plain(&command, arguments.iter().cloned());
    let matches = command.try_get_matches_from(&arguments);
    let cli = matches.and_then(|mut matches| Cli::from_arg_matches_mut(&mut matches));
    cli.map_err(|error| (error, arguments))
}

fn fail(errors: &[Error]) -> ExitCode {
    errors.iter().for_each(report::kubectl);
    ExitCode::FAILURE
}

fn run(cli: Cli) -> Outcome {
    let Some(verb) = cli.verb else {
        print(&help::text(&[]))?;
        return Ok(0);
    };
    match verb {
        Verb::ApiResources(args) => api_resources::run(&args),
        Verb::ApiVersions(_) => api_resources::versions(),
        Verb::Auth(args) => auth::run(&args),
        Verb::Completion(args) => completion::run(&args),
        Verb::Explain(args) => explain::run(&args),
        Verb::Help { words } => {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            print(&help::text(&words)).map(|()| 0).map_err(Into::into)
        }
        Verb::Options => print(&help::globals()).map(|()| 0).map_err(Into::into),
        Verb::Man { dir } => help::write_pages(&dir).map(|()| 0).map_err(Into::into),
        Verb::Version(args) => version::run(&args),
        verb => with_instance(verb, &call(&cli.globals)?),
    }
}

/// What the globals say.
fn call(globals: &Globals) -> Result<Call> {
    let namespace = globals.namespace.clone().filter(|namespace| !namespace.is_empty());
    namespace.as_deref().map_or(Ok(()), kube::namespace_name)?;
    let mut engine = Engine::open(globals.config()?)?;
    engine.warn = report::warning;
    let namespace_given = namespace.is_some();
    let namespace = match namespace {
        Some(namespace) => namespace,
        None => config::namespace(&engine.config.paths)?.unwrap_or_else(|| "default".to_owned()),
    };
    Ok(Call { engine, namespace_given, namespace })
}

/// The verbs that look at what an instance has, or change it.
fn with_instance(verb: Verb, call: &Call) -> Outcome {
    match verb {
        Verb::Annotate(args) => label::run(call, &args, label::Map::Annotations),
        Verb::Apply(args) => apply::run(call, &args),
        Verb::Attach(args) => attach::run(call, &args),
        Verb::ClusterInfo(args) => cluster_info::run(call, &args),
        Verb::Config(args) => config::run(call, &args),
        Verb::Cp(args) => cp::run(call, &args),
        Verb::Create(args) => create::run(call, &args),
        Verb::Debug(args) => debug::run(call, &args),
        Verb::Delete(args) => delete::run(call, &args),
        Verb::Describe(args) => describe::run(call, &args),
        Verb::Diff(args) => diff::run(call, &args),
        Verb::Doctor(args) => doctor::run(call, &args),
        Verb::Edit(args) => edit::run(call, &args),
        Verb::Events(args) => events::run(call, &args),
        Verb::Exec(args) => exec::run(call, &args),
        Verb::Get(args) => get::run(call, &args),
        Verb::Images(args) => images::run(call, &args),
        Verb::Label(args) => label::run(call, &args, label::Map::Labels),
        Verb::Load(args) => load::run(call, &args),
        Verb::Logs(args) => logs::run(call, &args),
        Verb::Patch(args) => patch::run(call, &args),
        Verb::PortForward(args) => port_forward::run(call, &args),
        Verb::Pull(args) => pull::run(call, &args),
        Verb::Replace(args) => replace::run(call, &args),
        Verb::Gc(args) => gc::run(call, &args),
        Verb::Inspect(args) => inspect::run(call, &args),
        Verb::Rmi(args) => rmi::run(call, &args),
        Verb::Run(args) => run::run(call, &args),
        Verb::Save(args) => save::run(call, &args),
        Verb::Set(args) => set::run(call, &args),
        Verb::Tag(args) => tag::run(call, &args),
        Verb::Timeline(args) => timeline::run(call, &args),
        Verb::Top(args) => top::run(call, &args),
        Verb::Tree(args) => tree::run(call, &args),
        Verb::Wait(args) => wait::run(call, &args),
        // The others need no instance.
        Verb::ApiResources(_)
        | Verb::ApiVersions(_)
        | Verb::Auth(_)
        | Verb::Completion(_)
        | Verb::Explain(_)
        | Verb::Help { .. }
        | Verb::Man { .. }
        | Verb::Options
        | Verb::Version(_) => Ok(0),
    }
}

/// Text on standard output, at once.
fn print(text: &str) -> Result<()> {
    let _aside = progress::aside();
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).doing(|| STDOUT)
}

const STDOUT: &str = "write to standard output";

/// A line on standard error; when that is closed, there is nobody left to tell.
fn tell(line: &str) {
    report::line(line);
}
