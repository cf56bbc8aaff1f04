//! Colours, and where there are any: on terminals that know them, and never with NO_COLOR
//! (no-color.org). What is painted takes as many columns as before.

use std::ffi::OsString;
use std::io::IsTerminal;

/// What a word tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// All is well: green.
    Good,
    /// It is under way, or worth a look: yellow.
    Busy,
    /// It failed: red.
    Bad,
    /// A name among other text: cyan.
    Name,
}

/// Whether something is painted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Colours {
    /// Text as it is.
    #[default]
    Off,
    /// Words in their tones.
    On,
}

impl Colours {
    /// Those of a stream of this process.
    pub fn of(stream: &impl IsTerminal) -> Self {
        Self::decide(stream.is_terminal(), |name| std::env::var_os(name))
    }

    /// Those of standard output.
    pub fn of_stdout() -> Self {
        Self::of(&std::io::stdout())
    }

    fn decide(is_terminal: bool, variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let refused = variable("NO_COLOR").is_some_and(|value| !value.is_empty());
        match is_terminal && !refused && !dumb(variable("TERM")) {
            true => Self::On,
            false => Self::Off,
        }
    }

    /// `text` in that tone.
    pub fn paint(self, tone: Option<Tone>, text: &str) -> String {
        let number = match tone {
            Some(Tone::Good) => 32,
            Some(Tone::Busy) => 33,
            Some(Tone::Bad) => 31,
            Some(Tone::Name) => 36,
            None => return text.to_owned(),
        };
        match self {
            Self::On if !text.is_empty() => format!("\u{1b}[{number}m{text}\u{1b}[0m"),
            _ => text.to_owned(),
        }
    }
}

/// Whether the terminal of this process knows nothing but text.
pub fn is_dumb() -> bool {
    dumb(std::env::var_os("TERM"))
}

fn dumb(term: Option<OsString>) -> bool {
    term.is_none_or(|term| term.is_empty() || term == "dumb")
}

/// The tone of a status, a phase, a reason or a condition's value.
pub fn of_status(word: &str) -> Option<Tone> {
    const GOOD: [&str; 9] = [
        "Active",
        "Available",
        "Bound",
        "Completed",
        "Ready",
        "Running",
        "Started",
        "Succeeded",
        "True",
    ];
    const BAD: [&str; 15] = [
        "BackOff",
        "ContainerCannotRun",
        "ContainerStatusUnknown",
        "DeadlineExceeded",
        "Evicted",
        "FAILED",
        "Failed",
        "FailedMount",
        "FailedScheduling",
        "InvalidImageName",
        "NodeAffinity",
        "NotReady",
        "OOMKilled",
        "Unhealthy",
        "Unknown",
    ];
    const BUSY: [&str; 9] = [
        "ContainerCreating",
        "False",
        "Killing",
        "Pending",
        "PodInitializing",
        "SchedulingGated",
        "Terminating",
        "Waiting",
        "Warning",
    ];
    let bare = word.strip_prefix("Init:").unwrap_or(word);
    let fails = ["BackOff", "Error", "Signal:", "ExitCode:"].iter().any(|part| bare.contains(part));
    match bare {
        bare if fails || bare.starts_with("Err") || BAD.contains(&bare) => Some(Tone::Bad),
        bare if GOOD.contains(&bare) => Some(Tone::Good),
        bare if BUSY.contains(&bare) || bare.len() < word.len() => Some(Tone::Busy),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_terminal_that_may_has_colours() {
        let cases = [
            (true, None, Some("xterm"), Colours::On),
            (true, Some(""), Some("xterm"), Colours::On),
            (true, Some("1"), Some("xterm"), Colours::Off),
            (true, None, Some("dumb"), Colours::Off),
            (true, None, None, Colours::Off),
            (false, None, Some("xterm"), Colours::Off),
        ];
        for (terminal, no_color, term, expected) in cases {
            let variable = |name: &str| match name {
                "NO_COLOR" => no_color.map(OsString::from),
                _ => term.map(OsString::from),
            };
            let decided = Colours::decide(terminal, variable);
            assert_eq!(decided, expected, "{terminal} {no_color:?} {term:?}");
        }
    }

    #[test]
    fn a_status_has_its_tone() {
        let cases = [
            ("Running", Some(Tone::Good)),
            ("Completed", Some(Tone::Good)),
            ("CrashLoopBackOff", Some(Tone::Bad)),
            ("Init:CrashLoopBackOff", Some(Tone::Bad)),
            ("Init:Error", Some(Tone::Bad)),
            ("Init:0/2", Some(Tone::Busy)),
            ("ErrImagePull", Some(Tone::Bad)),
            ("CreateContainerConfigError", Some(Tone::Bad)),
            ("Init:ExitCode:3", Some(Tone::Bad)),
            ("Pending", Some(Tone::Busy)),
            ("Terminating", Some(Tone::Busy)),
            ("nginx", None),
        ];
        for (word, tone) in cases {
            assert_eq!(of_status(word), tone, "{word}");
        }
        assert_eq!(Colours::On.paint(Some(Tone::Bad), "x"), "\u{1b}[31mx\u{1b}[0m");
        assert_eq!(Colours::Off.paint(Some(Tone::Bad), "x"), "x");
    }
}
