//! From the command line to typed flags, with runc's habits: `-flag` means `--flag`, `--flag=true`
//! switches on, and a usage error prints the command's help and exits with 1, not 2.

use super::Stop;
use super::plain::{self, Plain};
use crate::error::Error;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, Command, Parser};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// How many positional arguments a command takes.
#[derive(Clone, Copy, Debug)]
pub enum Count {
    /// Exactly so many.
    Exactly(usize),
    /// At least so many.
    AtLeast(usize),
    /// At least the first, at most the second.
    Between(usize, usize),
}

/// As [`command`]; plain lines without their grammar.
pub fn plainly<C: Parser + Plain>(arguments: Vec<OsString>) -> Result<C, Stop> {
    match plain::read(&arguments) {
        Some(flags) => Ok(flags),
        None => command(arguments),
    }
}

/// Parses the arguments after the command's name.
pub fn command<C: Parser>(arguments: Vec<OsString>) -> Result<C, Stop> {
    let mut grammar = C::command();
    let line = std::iter::once("runp".into()).chain(normalise(arguments, &grammar));
    let matches =
        grammar.try_get_matches_from_mut(line).map_err(|error| stop(&error, &mut grammar))?;
    C::from_arg_matches(&matches).map_err(|error| stop(&error, &mut grammar))
}

/// Refuses any other number of positional arguments than `wanted`.
pub fn count<C: Parser>(given: usize, wanted: Count) -> Result<(), Stop> {
    let complaint = match wanted {
        Count::Exactly(n) if given != n => format!("exactly {n}"),
        Count::AtLeast(n) | Count::Between(n, _) if given < n => format!("a minimum of {n}"),
        Count::Between(_, n) if given > n => format!("a maximum of {n}"),
        _ => return Ok(()),
    };
    let grammar = C::command();
    let name = grammar.get_name();
    let error =
        Error::user(format!("{}: \"{name}\" requires {complaint} argument(s)", super::called()));
    Err(Stop::Usage(format!("Incorrect Usage.\n\n{}", help(grammar)), error))
}

/// The help of one command in runc's layout.
pub fn help(grammar: Command) -> String {
    const LAYOUT: &str = "\
NAME:
   runp {name} - {about}

USAGE:
   {usage}

OPTIONS:
{options}
";
    grammar.help_template(LAYOUT).render_help().to_string()
}

fn stop(error: &clap::Error, grammar: &mut Command) -> Stop {
    let help = help(grammar.clone());
    if error.kind() == ErrorKind::DisplayHelp {
        return Stop::Help(help);
    }
    let message = in_words_of_runc(error);
    Stop::Usage(format!("Incorrect Usage: {message}\n\n{help}"), Error::user(message))
}

fn in_words_of_runc(error: &clap::Error) -> String {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.as_str(),
        _ => "",
    };
    let argument = context(ContextKind::InvalidArg);
    // "--flag <VALUE>" to "-flag", the way Go's flag package names it.
    let flag = argument.split([' ', '=']).next().unwrap_or_default().trim_start_matches('-');
    match error.kind() {
        ErrorKind::UnknownArgument => format!("flag provided but not defined: -{flag}"),
        ErrorKind::InvalidValue if context(ContextKind::InvalidValue).is_empty() => {
            format!("flag needs an argument: -{flag}")
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            let value = context(ContextKind::InvalidValue);
            format!("invalid value {value:?} for flag -{flag}: parse error")
        }
        ErrorKind::TooManyValues => {
            let value = context(ContextKind::InvalidValue);
            format!("invalid boolean value {value:?} for -{flag}: parse error")
        }
        _ => error.render().to_string().lines().next().unwrap_or_default().to_owned(),
    }
}

/// Rewrites what Go's flag package accepts and clap does not, up to the first positional argument
/// of a command that takes the rest as they are.
pub fn normalise(arguments: Vec<OsString>, grammar: &Command) -> Vec<OsString> {
    let rest_is_verbatim = grammar.get_positionals().any(|arg| arg.is_trailing_var_arg_set());
    let mut rewritten = Vec::with_capacity(arguments.len());
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let bytes = argument.as_bytes();
        if !bytes.starts_with(b"-") || bytes == b"-" {
            rewritten.push(argument);
            if rest_is_verbatim {
                break;
            }
            continue;
        }
        if bytes == b"--" {
            rewritten.push(argument);
            break;
        }
        let takes_next = rewrite_flag(argument, grammar, &mut rewritten);
        if takes_next {
            rewritten.extend(arguments.next());
        }
    }
    rewritten.extend(arguments);
    rewritten
}

/// Rewrites one flag; tells whether the next argument is its value.
fn rewrite_flag(argument: OsString, grammar: &Command, rewritten: &mut Vec<OsString>) -> bool {
    let bytes = argument.as_bytes();
    let name_at = if bytes.starts_with(b"--") { 2 } else { 1 };
    let (name, value) = match bytes.iter().position(|byte| *byte == b'=') {
        Some(at) => (&bytes[name_at..at], Some(&bytes[at + 1..])),
        None => (&bytes[name_at..], None),
    };
    let known = grammar.get_arguments().find(|arg| {
        arg.get_long().is_some_and(|long| long.as_bytes() == name)
            || arg.get_short().is_some_and(|short| [short as u8] == name)
    });
    let Some(known) = known else {
        rewritten.push(argument);
        return false;
    };
    let dashes = if name.len() > 1 { "--" } else { "-" };
    let mut flag = OsString::from(dashes);
    flag.push(OsString::from_vec(name.to_vec()));
    if !matches!(known.get_action(), ArgAction::SetTrue) {
        if let Some(value) = value {
            flag.push("=");
            flag.push(OsString::from_vec(value.to_vec()));
        }
        rewritten.push(flag);
        return value.is_none();
    }
    match value {
        None | Some(b"true" | b"1" | b"t" | b"T" | b"TRUE" | b"True") => rewritten.push(flag),
        Some(b"false" | b"0" | b"f" | b"F" | b"FALSE" | b"False") => {}
        Some(other) => {
            flag.push("=");
            flag.push(OsString::from_vec(other.to_vec()));
            rewritten.push(flag);
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::super::flags;
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn flags_as_go_takes_them() {
        let grammar = flags::Globals::command();
        let table: [(&str, &str); 7] = [
            ("-root /r state x", "--root /r state x"),
            ("-root=/r -debug state", "--root=/r --debug state"),
            ("--debug=true state -debug", "--debug state -debug"),
            ("--debug=false -v", "-v"),
            ("-log -root state", "--log -root state"),
            ("--bad x", "--bad x"),
            ("-- -root", "-- -root"),
        ];
        for (given, expected) in table {
            let line = given.split(' ').map(OsString::from).collect();
            let rewritten = normalise(line, &grammar);
            let expected: Vec<OsString> = expected.split(' ').map(OsString::from).collect();
            assert_eq!(rewritten, expected, "{given}");
        }
    }

    #[test]
    fn complaints_are_those_of_runc() {
        let table: [(&str, &str); 4] = [
            ("--bad", "flag provided but not defined: -bad"),
            ("--bundle", "flag needs an argument: -bundle"),
            ("--preserve-fds x", "invalid value \"x\" for flag -preserve-fds: parse error"),
            ("-no-pivot=maybe", "invalid boolean value \"maybe\" for -no-pivot: parse error"),
        ];
        for (given, expected) in table {
            let line = given.split(' ').map(OsString::from).collect();
            match command::<flags::Create>(line) {
                Err(Stop::Usage(_, error)) => assert_eq!(error.to_string(), expected, "{given}"),
                other => panic!("{given}: {other:?}"),
            }
        }
    }
}
