//! `podctl cp`: files into and out of a container, as tar archives through a command that runs in
//! it, so with no rights but the container's own. What comes out is not trusted (see
//! [`unpack`]).

mod unpack;

use super::{Call, Outcome, container, tell};
use crate::cli::progress::{Counted, Progress, Unit};
use crate::error::{Context, Error, Result};
use crate::image::Count;
use crate::kube::Pod;
use crate::pod::stream::piped::Held;
use clap::Args;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Flags of `cp`.
#[derive(Args)]
pub struct Flags {
    /// SOURCE DESTINATION: one is [NAMESPACE/]POD:PATH
    #[arg(value_name = "SOURCE DESTINATION")]
    words: Vec<String>,
    /// The container
    #[arg(short, long)]
    container: Option<String>,
    /// Leave owners and permissions to the container
    #[arg(long)]
    no_preserve: bool,
    /// Accepted for kubectl's sake: nothing here is lost on the way
    #[arg(long, hide = true, value_name = "N", allow_negative_numbers = true)]
    retries: Option<i32>,
}

/// A side of the copy.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Local(PathBuf),
    In { namespace: Option<String>, pod: String, path: String },
}

/// Runs it.
pub fn run(call: &Call, flags: &Flags) -> Outcome {
    let [source, destination] = flags.words.as_slice() else {
        return Err(Error::user("source and destination are required").into());
    };
    match (place(source)?, place(destination)?) {
        (Place::In { namespace, pod, path }, Place::Local(to)) => {
            let there = There::find(call, flags, namespace, &pod)?;
            Ok(there.copy_out(&path, &to)?)
        }
        (Place::Local(from), Place::In { namespace, pod, path }) => {
            if from.symlink_metadata().is_err() {
                let text = format!("{} doesn't exist in local filesystem", from.display());
                return Err(Error::user(text).into());
            }
            let there = There::find(call, flags, namespace, &pod)?;
            Ok(there.copy_in(&from, &path, flags.no_preserve)?)
        }
        (Place::In { .. }, Place::In { .. }) => {
            Err(Error::user("one of src or dest must be a local file specification").into())
        }
        (Place::Local(_), Place::Local(_)) => {
            Err(Error::user("one of src or dest must be a remote file specification").into())
        }
    }
}

/// Reads `[[namespace/]pod:]path`. A colon behind a slash is part of a local path.
fn place(text: &str) -> Result<Place> {
    let canonical = "filespec must match the canonical format: [[namespace/]pod:]file/path";
    let remote = text.split_once(':').filter(|(pod, _)| !pod.starts_with(['/', '.']));
    let Some((pod, path)) = remote else {
        return match text {
            "" => Err(Error::user("filepath can not be empty")),
            _ => Ok(Place::Local(text.into())),
        };
    };
    let (namespace, pod) = match pod.split('/').collect::<Vec<_>>().as_slice() {
        [pod] => (None, *pod),
        [namespace, pod] => (Some((*namespace).to_owned()), *pod),
        _ => return Err(Error::user(canonical)),
    };
    if pod.is_empty() || namespace.as_deref() == Some("") {
        return Err(Error::user(canonical));
    }
    if path.is_empty() {
        return Err(Error::user("filepath can not be empty"));
    }
    Ok(Place::In { namespace, pod: pod.to_owned(), path: path.to_owned() })
}

/// A container, and how to run tar in it.
struct There<'a> {
    call: &'a Call,
    pod: Pod,
    container: String,
}

impl<'a> There<'a> {
    fn find(call: &'a Call, flags: &Flags, namespace: Option<String>, pod: &str) -> Result<Self> {
        let namespace = namespace.as_deref().unwrap_or(&call.namespace);
        let pod = call.engine.get(namespace, pod)?;
        let container = container::pick(&pod, flags.container.as_deref())?;
        Ok(Self { call, pod, container })
    }

    fn start(&self, command: &[&str], held: Held) -> Result<crate::pod::stream::piped::Piped> {
        let command: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
        self.call.engine.exec_piped(&self.pod, &self.container, &command, held)
    }

    fn progress(&self) -> (Progress, Arc<Count>) {
        let count = Arc::default();
        let name = self.pod.metadata.name.as_deref().unwrap_or_default();
        (Progress::show(format!("Copying with pod/{name}"), Unit::Bytes, &count), count)
    }

    fn copy_out(&self, path: &str, to: &Path) -> Result<u8> {
        let (dir, base) = split(path);
        let mut tar = self.start(&["tar", "cf", "-", "-C", &dir, "--", &base], Held::Stdout)?;
        // Only now: a process with a second thread does not fork.
        let (progress, count) = self.progress();
        let unpacked = match tar.pipe.take() {
            Some(pipe) => {
                unpack::unpack(Counted { stream: pipe, count: &count }, &base, to, &mut |warning| {
                    tell(&warning)
                })
            }
            None => Ok(()),
        };
        drop(progress);
        // A tar that goes on without a reader is not waited for: it ends with us.
        unpacked?;
        ended(tar.wait()?)
    }

    fn copy_in(&self, from: &Path, path: &str, no_preserve: bool) -> Result<u8> {
        let mut path = path.trim_end_matches('/').to_owned();
        let name = name_of(from)?;
        if path.is_empty() || self.start(&["test", "-d", &path], Held::Nothing)?.wait()? == 0 {
            path = format!("{path}/{name}");
        }
        let (dir, base) = split(&path);
        let mut command = vec!["tar"];
        if no_preserve {
            command.extend(["--no-same-permissions", "--no-same-owner"]);
        }
        command.extend(["-xmf", "-", "-C", &dir]);
        let mut tar = self.start(&command, Held::Stdin)?;
        let (progress, count) = self.progress();
        let packed = match tar.pipe.take() {
            Some(pipe) => pack(Counted { stream: pipe, count: &count }, from, &base),
            None => Ok(()),
        };
        let status = tar.wait()?;
        drop(progress);
        // Where tar ended, its own words tell more than the broken pipe.
        if status == 0 {
            packed?;
        }
        ended(status)
    }
}

fn ended(status: i32) -> Result<u8> {
    match status {
        0 => Ok(0),
        126 | 127 => Err(Error::user("there is no tar in the container, which cp works with")
            .hint("copy by another way: podctl exec POD -- cat FILE > FILE")),
        status => {
            tell(&format!("command terminated with exit code {status}"));
            Ok(u8::try_from(status).unwrap_or(1))
        }
    }
}

/// The directory and the last name of a path in a container.
fn split(path: &str) -> (String, String) {
    let path = if path.len() > 1 { path.trim_end_matches('/') } else { path };
    match path.rsplit_once('/') {
        _ if path.ends_with("..") || path == "." || path == "/" || path.is_empty() => {
            (if path.is_empty() { "/".to_owned() } else { path.to_owned() }, ".".to_owned())
        }
        Some(("", base)) => ("/".to_owned(), base.to_owned()),
        Some((dir, ".")) => (dir.to_owned(), ".".to_owned()),
        Some((dir, base)) => (dir.to_owned(), base.to_owned()),
        None => (".".to_owned(), path.to_owned()),
    }
}

/// The name of a local file; `.` and `..` have one, too.
fn name_of(path: &Path) -> Result<String> {
    let absolute = std::path::absolute(path).doing(|| format!("resolve {}", path.display()))?;
    let name = absolute.file_name().and_then(|name| name.to_str()).map(str::to_owned);
    name.ok_or_else(|| Error::user(format!("{} has no name", path.display())))
}

/// Writes a local tree as an archive whose names start with `base`. Links go as links.
fn pack(pipe: impl Write, from: &Path, base: &str) -> Result<()> {
    let mut archive = tar::Builder::new(std::io::BufWriter::with_capacity(64 << 10, pipe));
    archive.follow_symlinks(false);
    let doing = || format!("read {}", from.display());
    // The link that was named is followed; kubectl reads through it.
    let is = std::fs::metadata(from).doing(doing)?;
    if is.is_dir() {
        archive.append_dir_all(base, from).doing(doing)?;
    } else if is.is_file() {
        let mut file = std::fs::File::open(from).doing(doing)?;
        archive.append_file(base, &mut file).doing(doing)?;
    } else {
        return Err(Error::user(format!("{} is neither a file nor a directory", from.display())));
    }
    let finished = archive.into_inner().and_then(|mut pipe| pipe.flush());
    finished.doing(|| "write to tar in the container")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_kubectl_reads_them() {
        let inside = |namespace: Option<&str>, pod: &str, path: &str| Place::In {
            namespace: namespace.map(str::to_owned),
            pod: pod.to_owned(),
            path: path.to_owned(),
        };
        let cases = [
            ("a/b", Ok(Place::Local("a/b".into()))),
            ("./a:b", Ok(Place::Local("./a:b".into()))),
            ("/a:b", Ok(Place::Local("/a:b".into()))),
            ("web:/x", Ok(inside(None, "web", "/x"))),
            ("ns/web:x", Ok(inside(Some("ns"), "web", "x"))),
            (
                "a/b/c:x",
                Err("filespec must match the canonical format: [[namespace/]pod:]file/path"),
            ),
            (":x", Err("filespec must match the canonical format: [[namespace/]pod:]file/path")),
            ("web:", Err("filepath can not be empty")),
            ("", Err("filepath can not be empty")),
        ];
        for (text, expected) in cases {
            let read = place(text).map_err(|error| error.to_string());
            assert_eq!(read, expected.map_err(str::to_owned), "{text}");
        }
    }

    #[test]
    fn paths_are_split_before_their_last_name() {
        let cases = [
            ("/a/b", "/a", "b"),
            ("/a/b/", "/a", "b"),
            ("/a", "/", "a"),
            ("a", ".", "a"),
            ("/", "/", "."),
            (".", ".", "."),
            ("/a/..", "/a/..", "."),
            ("/a/.", "/a", "."),
        ];
        for (path, dir, base) in cases {
            assert_eq!(split(path), (dir.to_owned(), base.to_owned()), "{path}");
        }
    }
}
