//! `--help`, in kubectl's shape, and the man pages: made of the flags' own words and of
//! [`examples`].

pub mod examples;

use super::flags::Cli;
use crate::error::{Context, Result};
use clap::{Arg, ArgAction, Command, CommandFactory};
use std::fmt::Write as _;
use std::path::Path;

/// Help about the verbs that `arguments` name, or about all.
pub fn text(arguments: &[&str]) -> String {
    let mut root = Cli::command();
    root.build();
    let mut command = &root;
    let mut path = vec!["podctl"];
    for word in arguments {
        if let Some(verb) = command.find_subcommand(word) {
            command = verb;
            path.push(verb.get_name());
        }
    }
    if path.len() == 1 { overview(&root) } else { of_verb(command, &path) }
}

fn overview(root: &Command) -> String {
    let mut out = format!("{}\n", about(root));
    for (title, verbs) in examples::GROUPS {
        out += &format!("\n{title}:\n");
        for (name, _) in *verbs {
            let about = root.find_subcommand(name).map(about).unwrap_or_default();
            out += &format!("  {name:<15} {about}\n");
        }
    }
    out += "\nOptions:\n";
    out += &options(root.get_arguments());
    out += "\nUsage:\n  podctl [flags] [options]\n\nUse \"podctl <command> --help\" for more \
            information about a given command.\n";
    out
}

/// The options that every command takes.
pub fn globals() -> String {
    let root = Cli::command();
    let title = "The following options can be passed to any command:\n\n";
    title.to_owned() + &options(root.get_arguments())
}

fn of_verb(command: &Command, path: &[&str]) -> String {
    let mut out = format!("{}.\n", about(command));
    let examples = examples::of(path.get(1).copied().unwrap_or_default());
    if !examples.is_empty() && path.len() == 2 {
        let shown = examples.iter().map(|(what, line)| format!("  # {what}\n  {line}\n"));
        out += &format!("\nExamples:\n{}", shown.collect::<Vec<_>>().join("  \n"));
    }
    let below: Vec<&Command> = command.get_subcommands().filter(|it| !it.is_hide_set()).collect();
    if !below.is_empty() {
        out += "\nAvailable Commands:\n";
        let width = below.iter().map(|verb| verb.get_name().len()).max().unwrap_or(0).max(15);
        for verb in &below {
            out += &format!("  {:<width$} {}\n", verb.get_name(), about(verb));
        }
    }
    let own = options(command.get_arguments().filter(|arg| !arg.is_global_set()));
    if !own.is_empty() {
        out += &format!("\nOptions:\n{own}");
    }
    out += &format!("\nUsage:\n  {}\n\n", usage(command, path));
    out += "Use \"podctl --help\" for the options that apply to all commands.\n";
    out
}

fn about(command: &Command) -> String {
    command.get_about().map(ToString::to_string).unwrap_or_default()
}

fn usage(command: &Command, path: &[&str]) -> String {
    let mut usage = path.join(" ");
    if command.has_subcommands() {
        usage += " [command]";
    }
    for positional in command.get_positionals() {
        // Writing to a String cannot fail.
        write!(usage, " {}", names(positional)).unwrap_or_default();
    }
    usage + " [options]"
}

/// `    -c, --container='':` and what it is.
fn options<'a>(flags: impl Iterator<Item = &'a Arg>) -> String {
    let shown = flags.filter(|arg| !arg.is_positional() && !arg.is_hide_set());
    let mut all: Vec<&Arg> = shown.filter(|arg| arg.get_id() != "help").collect();
    all.sort_by_key(|arg| arg.get_long().unwrap_or_default());
    let line = |arg: &&Arg| {
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        format!("    {}:\n\t{help}\n", spelled(arg))
    };
    all.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// `-c, --container=''`, `-f, --follow=false`, `--timeout=30s`: with its default, as kubectl has it.
fn spelled(flag: &Arg) -> String {
    let short = flag.get_short().map(|short| format!("-{short}, ")).unwrap_or_default();
    let default = flag.get_default_values().first().map(|value| value.to_string_lossy());
    let optional = flag.get_num_args().is_some_and(|count| count.min_values() == 0);
    let is_time = names(flag) == "DURATION";
    let default = match (flag.get_action(), default.as_deref()) {
        (ArgAction::Append, None) => "[]".to_owned(),
        (_, Some(value)) if is_bare(value, is_time) => value.to_owned(),
        (_, Some(value)) => format!("'{value}'"),
        (ArgAction::SetTrue | ArgAction::Version | ArgAction::Help, None) => "false".to_owned(),
        (_, None) if optional => "false".to_owned(),
        (_, None) if is_time => "0s".to_owned(),
        (_, None) => "''".to_owned(),
    };
    format!("{short}--{}={default}", flag.get_long().unwrap_or_default())
}

fn names(flag: &Arg) -> String {
    let names = flag.get_value_names().unwrap_or_default();
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// Whether a value is no text: a truth, a number or a time.
fn is_bare(value: &str, is_time: bool) -> bool {
    is_time || ["true", "false"].contains(&value) || value.parse::<i64>().is_ok()
}

/// Writes podctl.1 and a page for each verb into `dir`.
pub fn write_pages(dir: &Path) -> Result<()> {
    let mut root = Cli::command();
    root.build();
    let write = |name: &str, page: String| {
        let path = dir.join(format!("{name}.1"));
        std::fs::write(&path, page).doing(|| format!("write {}", path.display()))
    };
    write("podctl", page(&root, &["podctl"]))?;
    for verb in root.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        let name = verb.get_name();
        write(&format!("podctl-{name}"), page(verb, &["podctl", name]))?;
    }
    Ok(())
}

/// man(7).
fn page(command: &Command, path: &[&str]) -> String {
    let name = path.join("-");
    let about = about(command);
    let mut out = format!(
        ".TH {} 1 \"\" \"runp {}\" \"\"\n.SH NAME\n{} \\- {}\n.SH SYNOPSIS\n.B {}\n",
        name.to_uppercase(),
        env!("CARGO_PKG_VERSION"),
        roff(&name),
        roff(&about),
        roff(&usage(command, path)),
    );
    let below: Vec<&Command> = command.get_subcommands().filter(|it| !it.is_hide_set()).collect();
    if !below.is_empty() {
        out += ".SH COMMANDS\n";
    }
    for verb in below {
        let about = self::about(verb);
        out += &format!(".TP\n.B {}\n{}\n", roff(verb.get_name()), roff(&about));
    }
    out += ".SH OPTIONS\n";
    let shown = command.get_arguments().filter(|arg| !arg.is_positional() && !arg.is_hide_set());
    for flag in shown {
        let help = flag.get_help().map(ToString::to_string).unwrap_or_default();
        out += &format!(".TP\n.B {}\n{}\n", roff(&spelled(flag)), roff(&help));
    }
    let examples = examples::of(path.get(1).copied().unwrap_or_default());
    if !examples.is_empty() {
        out += ".SH EXAMPLES\n";
    }
    for (what, line) in examples {
        out += &format!("{}:\n.PP\n.RS\n{}\n.RE\n.PP\n", roff(what), roff(line));
    }
    out + ".SH SEE ALSO\n.BR podctl (1),\n.BR runp (8)\n"
}

/// Text in which nothing is a request.
fn roff(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    match text.starts_with(['.', '\'']) {
        true => format!("\\&{text}"),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::podctl::usage;

    #[test]
    fn every_verb_has_a_place_and_examples_that_can_be_read() {
        let command = Cli::command();
        let known: Vec<&str> = examples::GROUPS
            .iter()
            .flat_map(|(_, verbs)| verbs.iter().map(|(name, _)| *name))
            .collect();
        for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
            let name = verb.get_name();
            assert_eq!(known.iter().filter(|known| **known == name).count(), 1, "{name}");
            assert!(!examples::of(name).is_empty(), "{name}");
            for (_, line) in examples::of(name).iter().filter(|(_, line)| !line.contains('<')) {
                let words = usage::plain(&command, line.split(' ').map(Into::into));
                let read = Cli::command().try_get_matches_from(words);
                assert!(read.is_ok(), "{line}: {}", read.unwrap_err());
            }
        }
        assert!(known.iter().all(|name| command.find_subcommand(name).is_some()));
    }

    #[test]
    fn help_has_kubectls_shape() {
        let help = text(&["logs"]);
        assert!(help.starts_with("Print the logs of a container.\n\nExamples:\n  # "), "{help}");
        assert!(help.contains("\n    -f, --follow=false:\n\tGo on with"), "{help}");
        assert!(help.contains("\nUsage:\n  podctl logs POD [CONTAINER] [options]\n"), "{help}");
        let all = text(&[]);
        assert!(all.contains("\nBasic Commands:\n  create          Create objects"), "{all}");
        assert!(text(&["config", "view"]).contains("Usage:\n  podctl config view [options]"));
    }

    #[test]
    fn pages_are_written() {
        let dir = tempfile::tempdir().unwrap();
        write_pages(dir.path()).unwrap();
        let page = std::fs::read_to_string(dir.path().join("podctl-get.1")).unwrap();
        assert!(page.starts_with(".TH PODCTL-GET 1 "), "{page}");
        assert!(page.contains(".SH EXAMPLES\nList pods:\n"), "{page}");
    }
}
