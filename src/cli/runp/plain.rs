//! Plain command lines, read without their grammar: to build one takes 0.05 ms and touches 0.3 MB of
//! program, and what container engines write by the thousand is plain. Whatever is not, or is wrong,
//! is left to the grammar ([`super::parse`]), which decides and complains.

use super::flags::{Create, Delete, Globals, Launch, Run, Start, State};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Where a flag's value goes.
pub enum Place<'a> {
    /// It has none.
    Switch(&'a mut bool),
    Path(&'a mut Option<PathBuf>),
    Text(&'a mut String),
    Number(&'a mut u32),
}

/// Flags that can be read plainly.
pub trait Plain: Sized {
    /// None of them given.
    fn none() -> Self;
    /// The place of the flag called `--name`; of those that are worth it.
    fn place(&mut self, name: &str) -> Option<Place<'_>>;
    /// Takes what follows the flags.
    fn take(&mut self, rest: &[OsString]) -> Option<()>;
}

/// The flags, if `arguments` are plain: `--name` or `--name value`, each once, then the rest.
pub fn read<C: Plain>(arguments: &[OsString]) -> Option<C> {
    let mut flags = C::none();
    let mut seen = 0;
    while let Some(argument) = arguments.get(seen) {
        if !argument.as_bytes().starts_with(b"-") {
            break;
        }
        // Again, or as a value.
        if arguments.get(..seen)?.contains(argument) {
            return None;
        }
        let place = flags.place(argument.to_str()?.strip_prefix("--")?)?;
        seen += 1;
        if let Place::Switch(on) = place {
            *on = true;
            continue;
        }
        put(place, arguments.get(seen)?)?;
        seen += 1;
    }
    flags.take(arguments.get(seen..)?)?;
    Some(flags)
}

/// What no value looks like is a mistake, for the grammar to name.
fn put(place: Place<'_>, value: &OsStr) -> Option<()> {
    if value.is_empty() || value.as_bytes().starts_with(b"-") {
        return None;
    }
    match place {
        Place::Switch(_) => return None,
        Place::Path(path) => *path = Some(value.into()),
        Place::Text(text) => *text = value.to_str()?.into(),
        Place::Number(number) => *number = value.to_str()?.parse().ok()?,
    }
    Some(())
}

/// One container's name.
fn id(rest: &[OsString]) -> Option<Vec<String>> {
    match rest {
        [id] => Some(vec![id.to_str()?.to_owned()]),
        _ => None,
    }
}

impl Plain for Globals {
    fn none() -> Self {
        Self {
            debug: false,
            log: None,
            log_format: "text".into(),
            root: None,
            criu: None,
            systemd_cgroup: false,
            rootless: "auto".into(),
            trace: None,
            help: false,
            version: false,
            command: Vec::new(),
        }
    }

    fn place(&mut self, name: &str) -> Option<Place<'_>> {
        Some(match name {
            "debug" => Place::Switch(&mut self.debug),
            "log" => Place::Path(&mut self.log),
            "log-format" => Place::Text(&mut self.log_format),
            "root" => Place::Path(&mut self.root),
            "systemd-cgroup" => Place::Switch(&mut self.systemd_cgroup),
            "trace" => Place::Path(&mut self.trace),
            _ => return None,
        })
    }

    fn take(&mut self, rest: &[OsString]) -> Option<()> {
        self.command = rest.to_vec();
        Some(())
    }
}

impl Plain for Launch {
    fn none() -> Self {
        Self {
            bundle: None,
            console_socket: None,
            pidfd_socket: None,
            pid_file: None,
            no_pivot: false,
            no_new_keyring: false,
            preserve_fds: 0,
            ids: Vec::new(),
        }
    }

    fn place(&mut self, name: &str) -> Option<Place<'_>> {
        Some(match name {
            "bundle" => Place::Path(&mut self.bundle),
            "console-socket" => Place::Path(&mut self.console_socket),
            "no-new-keyring" => Place::Switch(&mut self.no_new_keyring),
            "no-pivot" => Place::Switch(&mut self.no_pivot),
            "pid-file" => Place::Path(&mut self.pid_file),
            "preserve-fds" => Place::Number(&mut self.preserve_fds),
            _ => return None,
        })
    }

    fn take(&mut self, rest: &[OsString]) -> Option<()> {
        self.ids = id(rest)?;
        Some(())
    }
}

impl Plain for Create {
    fn none() -> Self {
        Self { launch: Launch::none() }
    }

    fn place(&mut self, name: &str) -> Option<Place<'_>> {
        self.launch.place(name)
    }

    fn take(&mut self, rest: &[OsString]) -> Option<()> {
        self.launch.take(rest)
    }
}

impl Plain for Run {
    fn none() -> Self {
        Self { launch: Launch::none(), detach: false, keep: false, no_subreaper: false }
    }

    fn place(&mut self, name: &str) -> Option<Place<'_>> {
        match name {
            "detach" => Some(Place::Switch(&mut self.detach)),
            "keep" => Some(Place::Switch(&mut self.keep)),
            _ => self.launch.place(name),
        }
    }

    fn take(&mut self, rest: &[OsString]) -> Option<()> {
        self.launch.take(rest)
    }
}

impl Plain for Start {
    fn none() -> Self {
        Self { ids: Vec::new() }
    }

    fn place(&mut self, _: &str) -> Option<Place<'_>> {
        None
    }

    fn take(&mut self, rest: &[OsString]) -> Option<()> {
        self.ids = id(rest)?;
        Some(())
    }
}

impl Plain for State {
    fn none() -> Self {
        Self { ids: Vec::new() }
    }

    fn place(&mut self, _: &str) -> Option<Place<'_>> {
        None
    }

    fn take(&mut self, rest: &[OsString]) -> Option<()> {
        self.ids = id(rest)?;
        Some(())
    }
}

impl Plain for Delete {
    fn none() -> Self {
        Self { force: false, ids: Vec::new() }
    }

    fn place(&mut self, name: &str) -> Option<Place<'_>> {
        (name == "force").then_some(Place::Switch(&mut self.force))
    }

    fn take(&mut self, rest: &[OsString]) -> Option<()> {
        self.ids = id(rest)?;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;
    use clap::Parser;

    fn line(text: &str) -> Vec<OsString> {
        text.split(' ').filter(|word| !word.is_empty()).map(OsString::from).collect()
    }

    /// Both read the same, where this reads at all.
    fn agree<C: Plain + Parser + std::fmt::Debug>(text: &str, plain: bool) {
        let read: Option<C> = read(&line(text));
        assert_eq!(read.is_some(), plain, "{text}");
        if let Some(read) = read {
            let by_grammar: C = parse::command(line(text)).unwrap();
            assert_eq!(format!("{read:?}"), format!("{by_grammar:?}"), "{text}");
        }
    }

    #[test]
    fn plain_lines_are_read_as_their_grammar_reads_them() {
        for globals in [
            "",
            "run x",
            "--root /r --log /l --log-format json --systemd-cgroup --debug create --bundle b x",
            "--trace t state --root y",
        ] {
            agree::<Globals>(globals, true);
        }
        for launch in [
            "x",
            "--bundle /b --pid-file /p --no-pivot --no-new-keyring --preserve-fds 3 x",
            "--console-socket s -x",
            "--bundle b x -y",
        ] {
            let plain = !launch.contains(" -x") && !launch.contains(" -y");
            agree::<Create>(launch, plain);
            agree::<Run>(&format!("--detach --keep {launch}"), plain);
        }
        agree::<Delete>("--force x", true);
        agree::<Start>("x", true);
        agree::<State>("x", true);
    }

    #[test]
    fn all_else_is_the_grammars() {
        for text in [
            "-b . x",
            "--bundle=. x",
            "--bundle",
            "--bundle -x y",
            "--bad x",
            "-- x",
            "- x",
            "x y",
            "--preserve-fds x y",
            "--preserve-fds -1 y",
            "--bundle a --bundle b x",
            "",
        ] {
            agree::<Create>(text, false);
        }
        for text in ["--version", "-v", "--help", "-root r run", "--rootless true run"] {
            agree::<Globals>(text, false);
        }
        let empty = ["--bundle", "", "x"].map(OsString::from);
        assert!(read::<Create>(&empty).is_none());
    }
}
