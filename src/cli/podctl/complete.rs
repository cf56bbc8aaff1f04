//! `podctl __complete WORD…`: what the last word, as far as it is written, may become. Called by
//! the scripts of [`super::completion`]; a line `:files` stands for the shell's own completion.

use super::flags::Cli;
use crate::image::Store;
use crate::kube::{Pod, Resource, roster};
use crate::pod::{Config, Engine, Network, Paths};
use clap::{Arg, Command, CommandFactory};
use std::path::PathBuf;

/// The word that asks for it.
const WORD: &str = "__complete";
const FILES: &str = ":files";
const FORMATS: [&str; 8] = [
    "custom-columns=",
    "custom-columns-file=",
    "json",
    "jsonpath=",
    "jsonpath-file=",
    "name",
    "wide",
    "yaml",
];

/// The candidates, if this process was called for them.
pub fn if_called() -> Option<String> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != WORD {
        return None;
    }
    let words: Vec<String> = arguments.map(|it| it.to_string_lossy().into_owned()).collect();
    let command = Cli::command();
    let found = candidates(&command, &words, &Live::of(&command, &words));
    Some(found.into_iter().map(|candidate| format!("{candidate}\n")).collect())
}

/// What there is to name. What cannot be read has no names.
struct Live {
    engine: Option<Engine>,
    namespace: String,
}

impl Live {
    fn of(command: &Command, words: &[String]) -> Self {
        let value = |flags: &[&str]| {
            let read = Line::read(command, words);
            read.values.into_iter().find(|(flag, _)| flags.contains(flag)).map(|(_, value)| value)
        };
        let root = value(&["root"]).map(str::to_owned).or_else(|| std::env::var("RUNP_ROOT").ok());
        let root = root.filter(|root| !root.is_empty()).map(PathBuf::from);
        let paths = root.map_or_else(Paths::system, |root| Paths::below(&root));
        let config = Config { paths, node: String::new(), network: Network::None, pod_cidr: None };
        let set = super::config::namespace(&config.paths).ok().flatten();
        let namespace = value(&["namespace"]).map(str::to_owned).or(set);
        let namespace = namespace.unwrap_or_else(|| "default".to_owned());
        Self { engine: Engine::open(config).ok(), namespace }
    }

    fn names(&self, kind: Resource) -> Vec<String> {
        let listed = self.engine.as_ref().map(|engine| {
            if kind == Resource::Pods {
                let pods = engine.list_brief(Some(&self.namespace))?.into_iter();
                return Ok(pods.filter_map(|pod| pod.metadata.name).collect());
            }
            let objects = engine.list_objects(kind, Some(&self.namespace))?;
            crate::error::Result::Ok(objects.iter().map(|it| it.name().to_owned()).collect())
        });
        listed.and_then(Result::ok).unwrap_or_default()
    }

    fn pod(&self, name: &str) -> Option<Pod> {
        self.engine.as_ref()?.get(&self.namespace, name).ok()
    }

    fn images(&self) -> Vec<String> {
        let images = self.engine.as_ref().and_then(|engine| engine.images().ok());
        let images = images.and_then(|store: Store| store.list().ok()).unwrap_or_default();
        images.into_iter().flat_map(|image| image.names).collect()
    }
}

/// A command line as far as it is written.
struct Line<'a> {
    verb: Option<&'a Command>,
    /// The words after the verb that are no flags.
    words: Vec<&'a str>,
    /// Flags by their long names, with their values.
    values: Vec<(&'a str, &'a str)>,
    /// The flag whose value comes next.
    open: Option<&'a Arg>,
    /// Behind `--`.
    ended: bool,
}

impl<'a> Line<'a> {
    /// Reads all words but the last.
    fn read(command: &'a Command, words: &'a [String]) -> Self {
        let mut line =
            Line { verb: None, words: Vec::new(), values: Vec::new(), open: None, ended: false };
        let complete = words.split_last().map_or(&[][..], |(_, complete)| complete);
        for word in complete.iter().map(String::as_str) {
            if let Some(flag) = line.open.filter(|_| word != "=") {
                line.values.push((flag.get_long().unwrap_or_default(), word));
                line.open = None;
            } else if word == "--" {
                line.ended = true;
            } else if word.starts_with('-') && !line.ended {
                line.flag(command, word);
            } else if word != "=" {
                line.word(command, word);
            }
        }
        line
    }

    fn word(&mut self, command: &'a Command, word: &'a str) {
        let inside = self.verb.unwrap_or(command);
        match inside.find_subcommand(word).filter(|_| self.words.is_empty()) {
            Some(verb) => self.verb = Some(verb),
            None => self.words.push(word),
        }
    }

    fn flag(&mut self, command: &'a Command, word: &'a str) {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        };
        let Some(flag) = find_flag(command, self.verb, name) else { return };
        match value {
            Some(value) => self.values.push((flag.get_long().unwrap_or_default(), value)),
            None if takes_value(flag) => self.open = Some(flag),
            None => {}
        }
    }
}

fn find_flag<'a>(command: &'a Command, verb: Option<&'a Command>, name: &str) -> Option<&'a Arg> {
    let all = verb.into_iter().chain([command]).flat_map(Command::get_arguments);
    let mut all = all.filter(|arg| !arg.is_positional());
    all.find(|arg| match name.strip_prefix("--") {
        Some(long) => arg.get_long() == Some(long),
        None => arg.get_short().is_some_and(|short| name == format!("-{short}")),
    })
}

/// A value that may stand in the next word.
fn takes_value(flag: &Arg) -> bool {
    flag.get_action().takes_values() && !flag.is_require_equals_set()
}

fn candidates(command: &Command, words: &[String], live: &Live) -> Vec<String> {
    let last = words.last().map_or("", String::as_str);
    let last = if last == "=" { "" } else { last };
    let line = Line::read(command, words);
    let verb = line.verb.map_or("", Command::get_name);
    if let Some(flag) = line.open {
        return beginning(last, values_of(flag, &line, live));
    }
    if line.ended {
        return vec![FILES.to_owned()];
    }
    if let Some((name, value)) = last.split_once('=').filter(|_| last.starts_with("--")) {
        let Some(flag) = find_flag(command, line.verb, name) else { return Vec::new() };
        let found = beginning(value, values_of(flag, &line, live)).into_iter();
        return found.map(|value| format!("{name}={value}")).collect();
    }
    if last.starts_with('-') {
        let all = line.verb.into_iter().chain([command]).flat_map(Command::get_arguments);
        let all = all.filter(|arg| !arg.is_hide_set()).filter_map(Arg::get_long);
        return beginning(last, all.map(|long| format!("--{long}")).collect());
    }
    let inside = line.verb.unwrap_or(command);
    let below: Vec<String> = inside
        .get_subcommands()
        .filter(|verb| !verb.is_hide_set())
        .map(|verb| verb.get_name().to_owned())
        .collect();
    if !below.is_empty() && line.words.is_empty() {
        return beginning(last, below);
    }
    words_of(verb, &line.words, last, live)
}

fn beginning(start: &str, mut all: Vec<String>) -> Vec<String> {
    all.retain(|candidate| candidate.starts_with(start) || candidate == FILES);
    all.sort();
    all.dedup();
    all
}

fn values_of(flag: &Arg, line: &Line<'_>, live: &Live) -> Vec<String> {
    let fixed = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
    match flag.get_long().unwrap_or_default() {
        "namespace" => live.names(Resource::Namespaces),
        "container" => {
            let pod = line.words.first().map(|word| word.rsplit('/').next().unwrap_or_default());
            containers(pod.and_then(|name| live.pod(name)).as_ref())
        }
        "output" => fixed(&FORMATS),
        "dry-run" => fixed(&["none", "client", "server"]),
        "for" if line.verb.is_some_and(|verb| verb.get_name() == "wait") => {
            fixed(&["condition=Ready", "create", "delete", "jsonpath="])
        }
        "for" => slashed("pod/", live),
        "network" => fixed(&["bridge", "none"]),
        "types" => fixed(&["Normal", "Warning"]),
        "field-selector" => fixed(&["metadata.name=", "spec.nodeName=", "status.phase="]),
        "filename" | "input" | "root" | "from-file" | "from-env-file" => fixed(&[FILES]),
        _ => Vec::new(),
    }
}

fn containers(pod: Option<&Pod>) -> Vec<String> {
    let all = pod.into_iter().flat_map(roster::all);
    all.map(|(_, container)| container.name.clone()).collect()
}

fn words_of(verb: &str, words: &[&str], last: &str, live: &Live) -> Vec<String> {
    match (verb, words) {
        ("get" | "describe" | "delete" | "label" | "annotate" | "edit" | "patch" | "wait", _) => {
            if last.contains('/') {
                return beginning(last, slashed(last, live));
            }
            match words.first().filter(|word| !word.contains('/')) {
                None => beginning(last, kinds()),
                Some(kinds) => {
                    let kinds = kinds.split(',').filter_map(Resource::parse);
                    let names = kinds.flat_map(|kind| live.names(kind));
                    beginning(last, names.filter(|name| !words.contains(&name.as_str())).collect())
                }
            }
        }
        ("explain", []) => beginning(last, kinds()),
        (
            "logs" | "exec" | "attach" | "port-forward" | "tree" | "timeline" | "pod" | "debug",
            [],
        ) => {
            if last.contains('/') {
                return beginning(last, slashed(last, live));
            }
            beginning(last, live.names(Resource::Pods))
        }
        ("logs", [pod]) => beginning(last, containers(live.pod(pod).as_ref())),
        ("cp", _) if !last.contains('/') => {
            let pods = live.names(Resource::Pods).into_iter().map(|name| format!("{name}:"));
            let mut found = beginning(last, pods.collect());
            found.push(FILES.to_owned());
            found
        }
        ("rmi" | "save" | "tag" | "inspect", _) => beginning(last, live.images()),
        ("completion", []) => beginning(last, ["bash", "zsh", "fish"].map(str::to_owned).to_vec()),
        ("cp", _) => vec![FILES.to_owned()],
        _ => Vec::new(),
    }
}

fn kinds() -> Vec<String> {
    Resource::ALL.iter().map(|kind| kind.plural().to_owned()).collect()
}

/// `pod/web`, in the spelling of the kind that was begun with.
fn slashed(last: &str, live: &Live) -> Vec<String> {
    let word = last.split('/').next().unwrap_or_default();
    let names = Resource::parse(word).map(|kind| live.names(kind)).unwrap_or_default();
    names.into_iter().map(|name| format!("{word}/{name}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::store::Store as Pods;

    #[test]
    fn words_become_what_there_is() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::below(dir.path());
        for (namespace, name) in [("default", "web"), ("default", "web-2"), ("jobs", "once")] {
            let mut pod: Pod = serde_json::from_value(serde_json::json!({
                "metadata": {"namespace": namespace, "name": name, "uid": name},
                "spec": {"containers": [{"name": "a"}, {"name": "b"}]},
            }))
            .unwrap();
            Pods::new(&paths.lib).lock(namespace, name).unwrap().put_wanted(&mut pod).unwrap();
        }
        let root = dir.path().to_str().unwrap();
        let complete = |line: &str| {
            let line = format!("--root {root} {line}");
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let command = Cli::command();
            candidates(&command, &words, &Live::of(&command, &words)).join(" ")
        };
        let cases = [
            ("descr", "describe"),
            ("get po", "pods"),
            ("get pods ", "web web-2"),
            ("get po web-", "web-2"),
            ("get po web ", "web-2"),
            ("get pod/w", "pod/web pod/web-2"),
            ("-n jobs get po ", "once"),
            ("get po -n j", "jobs"),
            ("get po --namespace=j", "--namespace=jobs"),
            ("get po -o js", "json jsonpath-file= jsonpath="),
            ("get po --show-l", "--show-labels"),
            ("logs web ", "a b"),
            ("logs web -c ", "a b"),
            ("exec pod/web -c b", "b"),
            ("exec web -- ", FILES),
            ("apply -f ", FILES),
            ("completion z", "zsh"),
            ("top ", "node pod"),
            ("nonsense x ", ""),
        ];
        for (line, expected) in cases {
            assert_eq!(complete(line), expected, "{line:?}");
        }
    }
}
