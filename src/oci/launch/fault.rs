//! Fault points for tests: `RUNP_FAULT=step[#n]:errno|kill|delay=ms` makes the n-th step of that
//! name (the first, if not said) fail, die or wait. Honoured only with the `fault` feature.

use crate::error::{Error, Result};
use crate::oci::plan::step::Planned;
use crate::sys::{self, Errno};
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Fail(Errno),
    Kill,
    Delay(Duration),
}

/// A step that is to go wrong, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fault(Option<(usize, Effect)>);

impl Fault {
    /// What the environment asks for.
    pub fn from_env(steps: &[Planned]) -> Result<Self> {
        if !cfg!(feature = "fault") {
            return Ok(Self(None));
        }
        match std::env::var("RUNP_FAULT") {
            Ok(text) => Self::parse(&text, steps)
                .ok_or_else(|| Error::user(format!("RUNP_FAULT={text}: no such fault point"))),
            Err(_) => Ok(Self(None)),
        }
    }

    fn parse(text: &str, steps: &[Planned]) -> Option<Self> {
        let (point, effect) = text.split_once(':')?;
        let (name, number) = point.split_once('#').unwrap_or((point, "1"));
        let number = number.parse::<usize>().ok()?.checked_sub(1)?;
        let named = steps.iter().enumerate().filter(|(_, planned)| planned.step.name() == name);
        let (index, _) = named.clone().nth(number)?;
        let effect = match effect.strip_prefix("delay=") {
            Some(ms) => Effect::Delay(Duration::from_millis(ms.parse().ok()?)),
            None if effect == "kill" => Effect::Kill,
            None => Effect::Fail(errno(effect)?),
        };
        Some(Self(Some((index, effect))))
    }

    /// Goes wrong, if this is the step.
    pub fn strike(&self, index: usize) -> sys::Result<()> {
        match self.0 {
            Some((at, effect)) if at == index => match effect {
                Effect::Fail(errno) => Err(errno),
                Effect::Kill => {
                    nix::sys::signal::raise(nix::sys::signal::SIGKILL)?;
                    // The first process of a PID namespace cannot kill itself.
                    sys::clone::exit(128 + sys::clone::SIGKILL)
                }
                Effect::Delay(time) => {
                    std::thread::sleep(time);
                    Ok(())
                }
            },
            _ => Ok(()),
        }
    }
}

/// An errno by its name.
fn errno(name: &str) -> Option<Errno> {
    (1..134).map(Errno::from_raw).find(|errno| format!("{errno:?}") == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::plan::step::{At, Side, Step};

    #[test]
    fn points_are_counted() {
        let step = |step| Planned { side: Side::Child, at: At::default(), step };
        let steps = [step(Step::Session), step(Step::Seccomp), step(Step::Session)];
        let parse = |text| Fault::parse(text, &steps);
        assert_eq!(parse("session#2:EPERM"), Some(Fault(Some((2, Effect::Fail(Errno::EPERM))))));
        assert_eq!(parse("session:kill"), Some(Fault(Some((0, Effect::Kill)))));
        let delay = Effect::Delay(Duration::from_millis(5));
        assert_eq!(parse("seccomp#1:delay=5"), Some(Fault(Some((1, delay)))));
        for bad in
            ["session#3:EPERM", "session#0:EPERM", "nothing:kill", "session:EWHAT", "session"]
        {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
