//! Help texts, in runc's layout.

use super::{flags, parse};
use clap::CommandFactory;

/// The grammar of every command, in the order in which `--help` lists them.
const COMMANDS: [fn() -> clap::Command; 18] = [
    flags::Checkpoint::command,
    flags::Create::command,
    flags::Delete::command,
    flags::Events::command,
    flags::Exec::command,
    flags::Explain::command,
    flags::Features::command,
    flags::Kill::command,
    flags::List::command,
    flags::Pause::command,
    flags::Ps::command,
    flags::Restore::command,
    flags::Resume::command,
    flags::Run::command,
    flags::Spec::command,
    flags::Start::command,
    flags::State::command,
    flags::Update::command,
];

/// The help of `name`, or the overview where there is no such command.
pub fn of(name: Option<&str>) -> String {
    let mut commands = COMMANDS.iter().map(|grammar| grammar());
    commands.find(|known| Some(known.get_name()) == name).map_or_else(overview, parse::help)
}

/// A help text with the name that the program was called by.
pub fn by_name(text: String) -> String {
    match super::called() {
        "runp" => text,
        name => text.replace("runp ", &format!("{name} ")),
    }
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
    for grammar in COMMANDS.map(|grammar| grammar()) {
        let about = grammar.get_about().map(ToString::to_string).unwrap_or_default();
        commands.push_str(&format!("   {:<12}{about}\n", grammar.get_name()));
    }
    let grammar =
        flags::Globals::command().help_template(LAYOUT).before_help(commands.trim_end().to_owned());
    grammar.clone().render_help().to_string()
}
