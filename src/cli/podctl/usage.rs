//! What is wrong with a command line, in the words of kubectl (cobra and pflag), exit status 1.

use super::flags::Cli;
use super::{help, print, refused, tell};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command, CommandFactory};
use std::ffi::OsString;
use std::process::ExitCode;

/// Verbs of kubectl that podctl does not have, and what there is instead.
const OTHERS: [(&str, &str); 14] = [
    ("autoscale", "runp runs the pods it is given, and has nothing to scale"),
    ("certificate", "runp has no certificates to approve"),
    ("cordon", "the one node is this machine: apply no pod to it"),
    ("drain", "the one node is this machine: podctl delete pods --all -A"),
    ("expose", "runp has no services: podctl port-forward, or a hostPort in the manifest"),
    ("kuberc", "podctl keeps no preferences"),
    ("kustomize", "kubectl kustomize DIR | podctl apply -f -"),
    ("plugin", "podctl has no plugins"),
    ("proxy", "there is no API server; podctl port-forward leads to a pod"),
    ("rollout", "runp has no deployments: podctl replace --force -f FILE makes a pod anew"),
    ("scale", "runp runs the pods it is given: apply one manifest for each"),
    ("taint", "the one node is this machine: apply no pod to it"),
    ("uncordon", "the one node is this machine, and takes every pod"),
    ("alpha", "podctl has no commands in alpha"),
];

/// The arguments as clap takes them: `--validate` where `-validate` is written, as it often is, and
/// no `=true` or `=false` behind a flag that is one or the other.
pub fn plain(command: &Command, arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut plain = Vec::new();
    let mut verb = None;
    let mut ended = false;
    for argument in arguments {
        let Some(text) = argument.to_str().filter(|text| !ended && text.starts_with('-')) else {
            let below = verb.unwrap_or(command);
            let found = argument.to_str().and_then(|word| below.find_subcommand(word));
            verb = found.or(verb);
            plain.push(argument);
            continue;
        };
        ended = text == "--";
        let text = if text == "-validate" || text.starts_with("-validate=") {
            format!("-{text}")
        } else {
            text.to_owned()
        };
        match text.strip_prefix("--").and_then(|flag| flag.split_once('=')) {
            Some((flag, value)) if verb.is_some_and(|verb| is_switch(verb, flag)) => {
                match super::flags::parse_bool(value) {
                    Ok(true) => plain.push(format!("--{flag}").into()),
                    Ok(false) => {}
                    Err(_) => plain.push(text.into()),
                }
            }
            _ => plain.push(text.into()),
        }
    }
    plain
}

fn is_switch(verb: &Command, flag: &str) -> bool {
    // Those that take a value see to it themselves: --wait=false is not the same as none.
    let takes_none = |arg: &Arg| arg.get_num_args().is_none_or(|count| !count.takes_values());
    verb.get_arguments().any(|arg| {
        let is_it = arg.get_long() == Some(flag);
        is_it && matches!(arg.get_action(), ArgAction::SetTrue) && takes_none(arg)
    })
}

/// Prints what clap has to say, help or an error, and gives the exit status.
pub fn answer(error: &clap::Error, arguments: &[OsString]) -> ExitCode {
    let told = match error.kind() {
        ErrorKind::DisplayHelp => Some(help_of(arguments)),
        // As kubectl: what is missing is an error.
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            tell(help_of(arguments).trim_end());
            return ExitCode::FAILURE;
        }
        ErrorKind::DisplayVersion => Some(error.render().to_string()),
        _ => None,
    };
    if let Some(told) = told {
        return match print(&told) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    let told = words(error);
    match (error.kind(), verb(arguments)) {
        (ErrorKind::InvalidSubcommand, Some("apply")) => {
            let word = text(error, ContextKind::InvalidSubcommand);
            tell(&format!("error: Unexpected args: [{word}]"));
            tell("See 'podctl apply -h' for help and examples");
            return ExitCode::FAILURE;
        }
        (ErrorKind::InvalidSubcommand, Some(verb)) => {
            let below = text(error, ContextKind::InvalidSubcommand);
            tell(&format!("error: unknown command {below:?}"));
            tell(&format!("See 'podctl {verb} -h' for help and examples"));
            if let Some(instead) = refused::word(verb, &below) {
                tell(&format!("hint: kubectl has {verb} {below}; {instead}"));
            }
            return ExitCode::FAILURE;
        }
        _ => tell(&format!("error: {}", shorthand(told, arguments))),
    }
    match (error.kind(), verb(arguments)) {
        (ErrorKind::InvalidSubcommand, _) => hint(&text(error, ContextKind::InvalidSubcommand)),
        (ErrorKind::UnknownArgument, Some(verb)) if is_word(error) => {
            tell(&format!("See 'podctl {verb} -h' for help and examples"));
        }
        (_, Some(verb)) => tell(&format!("See 'podctl {verb} --help' for usage.")),
        (_, None) => tell("See 'podctl --help' for usage."),
    }
    let words: Vec<&str> = arguments.iter().filter_map(|word| word.to_str()).collect();
    if let Some(instead) = refused::flag(&words, name_of(&text(error, ContextKind::InvalidArg))) {
        tell(&format!("hint: {instead}"));
    }
    ExitCode::FAILURE
}

/// The help that is asked for with the words of a command line.
fn help_of(arguments: &[OsString]) -> String {
    let words = arguments.iter().skip(1).filter_map(|word| word.to_str());
    let words = words.take_while(|word| *word != "--" && *word != "--help" && *word != "-h");
    help::text(&words.collect::<Vec<_>>())
}

fn hint(verb: &str) {
    match OTHERS.iter().find(|(name, _)| *name == verb) {
        Some((_, instead)) => tell(&format!("hint: kubectl has {verb}; {instead}")),
        None => tell("hint: see 'podctl --help' for the commands there are"),
    }
}

/// Whether what is not known is a word, and no flag.
fn is_word(error: &clap::Error) -> bool {
    !text(error, ContextKind::InvalidArg).starts_with('-')
}

/// A flag that lacks its value is told as it was written.
fn shorthand(told: String, arguments: &[OsString]) -> String {
    let last = arguments.last().and_then(|last| last.to_str()).unwrap_or_default();
    match last.strip_prefix('-') {
        Some(letter) if letter.chars().count() == 1 && told.starts_with("flag needs an") => {
            format!("flag needs an argument: '{letter}' in {last}")
        }
        _ => told,
    }
}

fn words(error: &clap::Error) -> String {
    let flag = text(error, ContextKind::InvalidArg);
    let value = text(error, ContextKind::InvalidValue);
    let name = name_of(&flag);
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let verb = text(error, ContextKind::InvalidSubcommand);
            let mut words = format!("unknown command {verb:?} for \"podctl\"");
            if let Some(ContextValue::Strings(like)) = error.get(ContextKind::SuggestedSubcommand)
                && OTHERS.iter().all(|(name, _)| *name != verb)
            {
                words.push_str("\n\nDid you mean this?\n");
                like.iter().for_each(|like| words.push_str(&format!("\t{like}\n")));
            }
            words
        }
        ErrorKind::UnknownArgument => match name.strip_prefix("--") {
            Some(_) => format!("unknown flag: {name}"),
            None if name.starts_with('-') => {
                let letter = name.chars().nth(1).unwrap_or_default();
                format!("unknown shorthand flag: '{letter}' in {name}")
            }
            None => format!("Unexpected args: [{name}]"),
        },
        ErrorKind::InvalidValue | ErrorKind::WrongNumberOfValues if value.is_empty() => {
            format!("flag needs an argument: {name}")
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            let why = std::error::Error::source(error).map(|why| format!(": {why}"));
            format!("invalid argument {value:?} for {name:?} flag{}", why.unwrap_or_default())
        }
        _ => {
            let rendered = error.render().to_string();
            let first = rendered.lines().next().unwrap_or_default();
            first.strip_prefix("error: ").unwrap_or(first).to_owned()
        }
    }
}

fn text(error: &clap::Error, kind: ContextKind) -> String {
    match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(" "),
        _ => String::new(),
    }
}

/// A flag without its value.
fn name_of(flag: &str) -> &str {
    flag.split([' ', '=', '[']).next().unwrap_or_default()
}

/// The verb of a command line that cannot be read: the first word that is one.
fn verb(arguments: &[OsString]) -> Option<&str> {
    let command = Cli::command();
    let words = arguments.iter().skip(1).filter_map(|word| word.to_str());
    words.take_while(|word| *word != "--").find(|word| command.find_subcommand(word).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[test]
    fn errors_are_kubectls() {
        let cases: [(&[&str], &str); 10] = [
            (&["get", "po", "--foo"], "unknown flag: --foo"),
            (&["get", "po", "-x"], "unknown shorthand flag: 'x' in -x"),
            (&["frobnicate"], "unknown command \"frobnicate\" for \"podctl\""),
            (&["scale", "-f", "x"], "unknown command \"scale\" for \"podctl\""),
            (&["get", "po", "-n", "a", "-n", "b", "--foo"], "unknown flag: --foo"),
            (
                &["gett"],
                "unknown command \"gett\" for \"podctl\"\n\nDid you mean this?\n\tset\n\tget\n",
            ),
            (&["get", "-n"], "flag needs an argument: --namespace"),
            (
                &["logs", "x", "--since=5"],
                "invalid argument \"5\" for \"--since\" flag: time: missing unit in duration \"5\"",
            ),
            (
                &["--network", "x", "get"],
                "invalid argument \"x\" for \"--network\" flag: must be bridge, cni or none",
            ),
            (
                &["delete", "po", "x", "--wait=maybe"],
                "invalid argument \"maybe\" for \"--wait\" flag: strconv.ParseBool: parsing \
                 \"maybe\": invalid syntax",
            ),
        ];
        for (arguments, expected) in cases {
            let line = ["podctl"].iter().chain(arguments);
            let error = Cli::try_parse_from(line).err().unwrap();
            assert_eq!(words(&error), expected, "{arguments:?}");
        }
    }

    #[test]
    fn flags_are_made_plain() {
        let cases = [
            ("apply -validate -f x", "apply --validate -f x"),
            ("apply -validate=true -f x", "apply --validate=true -f x"),
            ("get po --watch=true --no-headers=false", "get po --watch"),
            ("get po --watch=maybe", "get po --watch=maybe"),
            ("exec x -- get --watch=true -validate", "exec x -- get --watch=true -validate"),
            ("get po -l a=true", "get po -l a=true"),
            ("delete po x --wait=false --all=false", "delete po x --wait=false"),
            ("create cm x --append-hash=true", "create cm x --append-hash"),
        ];
        for (line, expected) in cases {
            let words = line.split(' ').map(OsString::from);
            let plain = plain(&Cli::command(), words);
            let plain: Vec<&str> = plain.iter().filter_map(|word| word.to_str()).collect();
            assert_eq!(plain.join(" "), expected);
        }
    }

    #[test]
    fn a_verb_is_found_among_flags() {
        let line: Vec<OsString> = ["podctl", "-n", "x", "get", "--", "logs"].map(Into::into).into();
        assert_eq!(verb(&line), Some("get"));
    }
}
