//! The one error type. It says what was attempted, on what, why it failed and what to try:
//! `create web: mount proc on /proc (mounts[0]): EPERM: operation not permitted`.
//!
//! Every layer above the failing call adds its own words with [`Context::doing`]; nobody logs and
//! returns. Printing is the business of `cli::report` alone.

use nix::errno::Errno;
use std::fmt;

/// `Result` with our [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Who has to act, and for the Kubernetes API the reason kubectl prints in brackets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The caller asked for something that cannot be: input, state, usage.
    User,
    /// The system refused: a system call, a file, another program.
    System,
    /// We are wrong.
    Bug,
    /// `Error from server (NotFound)`.
    NotFound,
    /// `Error from server (AlreadyExists)`.
    AlreadyExists,
    /// `Error from server (Conflict)`.
    Conflict,
    /// `Error from server (Forbidden)`.
    Forbidden,
    /// `Error from server (BadRequest)`.
    BadRequest,
    /// `The Pod "x" is invalid: …`: the message is whole already.
    Invalid,
}

/// An error with the story of what was attempted.
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    /// Innermost first.
    doing: Vec<String>,
    cause: String,
    errno: Option<Errno>,
    hint: Option<String>,
}

impl Error {
    /// An error of `kind` whose cause is `cause`.
    pub fn new(kind: Kind, cause: impl Into<String>) -> Self {
        let cause = cause.into();
        Self(Box::new(Inner { kind, doing: Vec::new(), cause, errno: None, hint: None }))
    }

    /// Something is wrong with what the caller gave.
    pub fn user(cause: impl Into<String>) -> Self {
        Self::new(Kind::User, cause)
    }

    /// Something is wrong with the system, and no errno says what.
    pub fn system(cause: impl Into<String>) -> Self {
        Self::new(Kind::System, cause)
    }

    /// Adds what was being attempted; the last one added is printed first.
    #[must_use]
    pub fn doing(mut self, what: impl Into<String>) -> Self {
        self.0.doing.push(what.into());
        self
    }

    /// Adds what to try. The innermost hint, nearest to the cause, is kept.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint.get_or_insert_with(|| hint.into());
        self
    }

    /// The same story under another kind.
    #[must_use]
    pub fn kind_of(mut self, kind: Kind) -> Self {
        self.0.kind = kind;
        self
    }

    /// Who has to act.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The system's error number, where a system call failed.
    pub fn errno(&self) -> Option<Errno> {
        self.0.errno
    }

    /// What to try, printed as `hint: …` on a line of its own.
    pub fn hint_text(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// The cause alone, without the story.
    pub fn cause(&self) -> &str {
        &self.0.cause
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for doing in self.0.doing.iter().rev() {
            write!(f, "{doing}: ")?;
        }
        f.write_str(&self.0.cause)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} ({:?})", self.0.kind)
    }
}

impl std::error::Error for Error {}

impl From<Errno> for Error {
    fn from(errno: Errno) -> Self {
        let mut error = Self::system(format!("{errno:?}: {}", errno.desc().to_lowercase()));
        error.0.errno = Some(errno);
        error
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        match error.raw_os_error() {
            Some(number) => Errno::from_raw(number).into(),
            None => Self::system(error.to_string()),
        }
    }
}

/// Adds the story to any failing `Result`.
pub trait Context<T> {
    /// What was being attempted, computed only on failure.
    fn doing<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T>;
    /// What to try.
    fn hint<S: Into<String>>(self, hint: impl FnOnce() -> S) -> Result<T>;
}

impl<T, E: Into<Error>> Context<T> for std::result::Result<T, E> {
    fn doing<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|error| error.into().doing(what()))
    }

    fn hint<S: Into<String>>(self, hint: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|error| error.into().hint(hint()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_from_the_attempt_to_the_cause() {
        let failed: std::result::Result<(), Errno> = Err(Errno::EPERM);
        let error = failed
            .doing(|| "mount proc on /proc (mounts[0])")
            .hint(|| "run as root")
            .doing(|| "create web")
            .unwrap_err();
        let story = "create web: mount proc on /proc (mounts[0]): EPERM: operation not permitted";
        assert_eq!(error.to_string(), story);
        assert_eq!(error.hint_text(), Some("run as root"));
        assert_eq!((error.kind(), error.errno()), (Kind::System, Some(Errno::EPERM)));
    }
}
