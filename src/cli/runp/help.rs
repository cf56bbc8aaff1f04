//! Help texts, in runc's layout.

use super::{flags, parse};
use clap::CommandFactory;

/// Every command and the line that describes it, as `--help` lists them.
const COMMANDS: [(&str, fn() -> clap::Command); 11] = [
    ("create", flags::Create::command),
    ("delete", flags::Delete::command),
    ("exec", flags::Exec::command),
    ("explain", flags::Explain::command),
    ("features", flags::Features::command),
    ("kill", flags::Kill::command),
    ("list", flags::List::command),
    ("run", flags::Run::command),
    ("spec", flags::Spec::command),
    ("start", flags::Start::command),
    ("state", flags::State::command),
];

/// The help of `name`, or the overview where there is no such command.
pub fn of(name: Option<&str>) -> String {
    let found = COMMANDS.iter().find(|(known, _)| Some(*known) == name);
    found.map_or_else(overview, |(_, grammar)| parse::help(grammar()))
}

/// What `runp --help` prints.
pub fn overview() -> String {
    const LAYOUT: &str = "\
NAME:
   runp - Open Container Initiative runtime

USAGE:
   runp [global options] command [command options] [arguments...]

COMMANDS:
{before-help}GLOBAL OPTIONS:
{options}
";
    let mut commands = String::new();
    for (name, grammar) in COMMANDS {
        let about = grammar().get_about().map(ToString::to_string).unwrap_or_default();
        commands.push_str(&format!("   {name:<10}{about}\n"));
    }
    let grammar =
        flags::Globals::command().help_template(LAYOUT).before_help(commands.trim_end().to_owned());
    grammar.clone().render_help().to_string()
}
