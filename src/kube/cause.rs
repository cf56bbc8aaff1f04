//! Field errors in the words of the API: `spec.containers[0].image: Required value`.

use crate::error::{Error, Kind};
use std::fmt::Display;

/// The error about the Pod `name` with all its causes, each once; `None` without causes.
pub fn invalid(name: &str, causes: Vec<String>) -> Option<Error> {
    invalid_object("Pod", name, causes)
}

/// As [`invalid`], about an object of any kind.
pub fn invalid_object(kind: &str, name: &str, causes: Vec<String>) -> Option<Error> {
    let mut once: Vec<String> = Vec::with_capacity(causes.len());
    for cause in causes {
        if !once.contains(&cause) {
            once.push(cause);
        }
    }
    let story = match once.as_slice() {
        [] => return None,
        [cause] => format!("The {kind} \"{name}\" is invalid: {cause}"),
        causes => format!("The {kind} \"{name}\" is invalid: \n* {}", causes.join("\n* ")),
    };
    Some(Error::new(Kind::Invalid, story))
}

/// Collects the causes against one object.
#[derive(Default)]
pub struct Causes(pub Vec<String>);

impl Causes {
    /// `path: Required value`.
    pub fn required(&mut self, path: impl Display) {
        self.0.push(format!("{path}: Required value"));
    }

    /// `path: Required value: why`.
    pub fn required_because(&mut self, path: impl Display, why: &str) {
        self.0.push(format!("{path}: Required value: {why}"));
    }

    /// `path: Invalid value: "text": why`.
    pub fn invalid(&mut self, path: impl Display, text: &str, why: impl Display) {
        self.0.push(format!("{path}: Invalid value: {text:?}: {why}"));
    }

    /// `path: Invalid value: 70000: why`.
    pub fn invalid_number(&mut self, path: impl Display, number: impl Display, why: impl Display) {
        self.0.push(format!("{path}: Invalid value: {number}: {why}"));
    }

    /// `path: Duplicate value: "text"`.
    pub fn duplicate(&mut self, path: impl Display, text: &str) {
        self.0.push(format!("{path}: Duplicate value: {text:?}"));
    }

    /// `path: Not found: "text"`.
    pub fn not_found(&mut self, path: impl Display, text: &str) {
        self.0.push(format!("{path}: Not found: {text:?}"));
    }

    /// `path: Forbidden: why`.
    pub fn forbidden(&mut self, path: impl Display, why: impl Display) {
        self.0.push(format!("{path}: Forbidden: {why}"));
    }

    /// Unless `text` is one of `values` (sorted): `path: Unsupported value: …`.
    pub fn one_of(&mut self, path: impl Display, text: &str, values: &[&str]) {
        if !values.contains(&text) {
            let values: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
            let values = values.join(", ");
            let cause = format!("{path}: Unsupported value: {text:?}: supported values: {values}");
            self.0.push(cause);
        }
    }
}
