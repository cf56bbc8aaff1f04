//! The commands of a scenario.

use super::world::{Happening, NAMES, World};
use k8s_openapi::jiff::SignedDuration;
use runp::pod::event::{Event, ImageFault, ProbeResult, SandboxFault, StartStage};

impl World {
    /// One command of a scenario.
    pub fn command(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let text = || quoted(line);
        match words.as_slice() {
            ["until", time] => self.until = span(time),
            ["delete", "at", time, "grace", grace] => {
                self.at(span(time), Happening::Delete(grace.parse().unwrap()));
            }
            ["debug", container, "at", time] => {
                self.at(span(time), Happening::Debug((*container).into()));
            }
            ["machine", "refuses", "it", reason, ..] => {
                self.rejects = Some(((*reason).into(), text()));
            }
            [name, "has", mib, "from", time] => {
                let mib: u64 = mib.trim_end_matches("Mi").parse().unwrap();
                self.sizes.push(((*name).into(), mib << 20, span(time)));
            }
            ["machine", "reboots", "at", time] => self.at(span(time), Happening::Reboot),
            ["node's", "network", "fails", ..] => {
                self.sandbox_fails.push((SandboxFault::Network, text()));
            }
            ["monitor", "dies", "at", time] => self.at(span(time), Happening::Crash),
            ["sandbox", attempt, "dies", "at", time] => {
                let event = Event::SandboxExited { attempt: attempt.parse().unwrap() };
                self.at(span(time), Happening::Event(event));
            }
            ["sandbox", "fails", ..] => {
                self.sandbox_fails.push((SandboxFault::Sandbox, text()));
            }
            ["volume", volume, "fails", ..] => {
                self.sandbox_fails.push((SandboxFault::Volume((*volume).into()), text()));
            }
            [container, rest @ ..] => self.program(line, container, rest),
            [] => {}
        }
    }

    /// What the programs of one container do.
    fn program(&mut self, line: &str, container: &str, rest: &[&str]) {
        let text = || quoted(line);
        let program = self.programs.entry(container.to_owned()).or_default();
        match rest {
            ["exits", codes, "after", time] => {
                program.exits = codes.split(',').map(|code| code.parse().unwrap()).collect();
                program.after = span(time);
            }
            ["takes", time, "to", "stop"] => program.heeds = Some(span(time)),
            ["ignores", "its", "stop", "signal"] => program.stubborn = true,
            ["cannot", "be", "killed", "until", time] => {
                program.stubborn = true;
                program.held_until = Some(span(time));
            }
            ["pulls", "its", "image", "for", time] => program.pulls = Some(span(time)),
            ["image", "is", "missing", ..] => {
                program.image_fails = Some((ImageFault::Pull, text()));
            }
            ["has", "no", "pull", "secret"] => program.secrets_missing = true,
            ["cannot", "start", ..] => {
                program.start_fails = Some((StartStage::Start, text()));
            }
            ["image", fault @ ("is" | "has" | "cannot"), what, ..] => {
                program.image_fails = Some((image_fault(fault, what), text()));
            }
            ["is", "killed", "for", "its", "memory", "after", time] => {
                (program.exits, program.after, program.greedy) = (vec![137], span(time), true);
            }
            ["cannot", "be", "made", ..] => {
                program.start_fails = Some((StartStage::Create, text()));
            }
            [probe, "errs", ..] => {
                let name = NAMES.iter().find(|name| *name == probe).unwrap();
                program.says.insert(name, ProbeResult::Unknown(text()));
            }
            [probe, "warns", ..] => {
                let name = NAMES.iter().find(|name| *name == probe).unwrap();
                program.says.insert(name, ProbeResult::Warning(text()));
            }
            ["cannot", "be", "configured", ..] => {
                program.start_fails = Some((StartStage::Config, text()));
            }
            ["postStart", "fails", ..] => program.post_start_fails = Some(text()),
            ["postStart", "takes", time] => program.post_start_takes = Some(span(time)),
            ["preStop", "fails", ..] => program.pre_stop_fails = Some(text()),
            ["preStop", "takes", time] => program.pre_stop_takes = Some(span(time)),
            [probe, "passes", "from", from, "to", to] => {
                let name = NAMES.iter().find(|name| *name == probe).unwrap();
                program.passes.insert(name, (span(from), span(to)));
            }
            ["gets", "image", image, "at", time] => {
                let happening = Happening::Image(container.into(), (*image).into());
                self.at(span(time), happening);
            }
            _ => panic!("no such command: {line}"),
        }
    }
}

fn image_fault(verb: &str, what: &str) -> ImageFault {
    match (verb, what) {
        ("is", "unreachable") => ImageFault::Unavailable,
        ("is", "never") => ImageFault::NeverPull,
        ("has", _) => ImageFault::InvalidName,
        _ => ImageFault::Inspect,
    }
}

/// The text in quotation marks.
fn quoted(line: &str) -> String {
    line.split_once('"').unwrap().1.trim_end_matches('"').to_owned()
}

/// `90s`, `5m`, `250ms`, `1h`.
fn span(text: &str) -> SignedDuration {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap();
    let (number, unit) = text.split_at(split);
    let number: i64 = number.parse().unwrap();
    match unit {
        "ms" => SignedDuration::from_millis(number),
        "s" => SignedDuration::from_secs(number),
        "m" => SignedDuration::from_mins(number),
        "h" => SignedDuration::from_hours(number),
        _ => panic!("no such unit: {text}"),
    }
}
