//! `podctl set env`: variables of containers, also from the keys of a config map or a secret.

use super::{Common, all, chosen, named, pod_of, split};
use crate::cli::output::describe;
use crate::cli::podctl::flags::parse_bool;
use crate::cli::podctl::{Call, Outcome, done, print, resource, tell};
use crate::error::{Error, Result};
use crate::kube::{Object, Pod};
use crate::pod::objects;
use clap::Args;
use k8s_openapi::api::core::v1::{
    ConfigMapKeySelector, Container, EnvVar, EnvVarSource, SecretKeySelector,
};
use std::collections::BTreeMap;

#[derive(Args)]
pub struct Flags {
    #[command(flatten)]
    common: Common,
    /// NAME=VALUE of a variable
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Only the containers whose names match, * being anything
    #[arg(short, long, default_value = "*")]
    containers: String,
    /// configmap/NAME or secret/NAME, each key of which becomes a variable
    #[arg(long, value_name = "TYPE/NAME", default_value = "", hide_default_value = true)]
    from: String,
    /// Of --from only these keys
    #[arg(long, value_name = "KEY", value_delimiter = ',')]
    keys: Vec<String>,
    /// What the names of new variables begin with
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    prefix: String,
    /// Whether a variable that is there is changed
    #[arg(long, value_parser = parse_bool, num_args = 0..=1, require_equals = true,
        default_missing_value = "true", default_value = "true", hide_default_value = true)]
    overwrite: bool,
    /// Print what is set
    #[arg(long)]
    list: bool,
    /// With --list: print the values of what is set from elsewhere
    #[arg(long)]
    resolve: bool,
}

/// What is to be done to the variables of a container.
#[derive(Default)]
struct Changes {
    set: Vec<EnvVar>,
    remove: Vec<String>,
}

/// Runs it.
pub fn run(call: &Call, flags: &Flags) -> Outcome {
    let is_change = |word: &str| word.contains('=') || word.ends_with('-');
    let (words, pairs) = split(&flags.common.words, is_change);
    if flags.common.files.filename.is_empty() && words.is_empty() {
        let text = "one or more resources must be specified as <resource> <name> or \
                    <resource>/<name>";
        return Err(Error::user(text).into());
    }
    if flags.list && flags.common.sent.form.output.is_some() {
        return Err(Error::user("--list and --output may not be specified together").into());
    }
    if !flags.keys.is_empty() && flags.from.is_empty() {
        let text = "when specifying --keys, a configmap or secret must be provided with --from";
        return Err(Error::user(text).into());
    }
    let changes = changes(call, flags, flags.env.iter().chain(pairs))?;
    if flags.list {
        return list(call, flags, (words, &changes));
    }
    if changes.set.is_empty() && changes.remove.is_empty() && !flags.common.local {
        return Err(Error::user("at least one environment variable must be provided").into());
    }
    all(call, &flags.common, words, "env updated", &|pod| change(pod, flags, &changes))
}

/// What the words and `--from` ask for.
fn changes<'a>(
    call: &Call,
    flags: &Flags,
    pairs: impl Iterator<Item = &'a String>,
) -> Result<Changes> {
    let mut changes = Changes::default();
    for pair in pairs {
        match pair.split_once('=') {
            Some((name, value)) => changes.set.push(variable(name, value)),
            None => changes.remove.push(pair.trim_end_matches('-').to_owned()),
        }
    }
    if !flags.from.is_empty() {
        changes.set.extend(keys_of(&source(call, flags)?, &flags.keys));
    }
    for variable in &mut changes.set {
        variable.name.insert_str(0, &flags.prefix);
    }
    Ok(changes)
}

fn variable(name: &str, value: &str) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value.to_owned()), value_from: None }
}

/// The object of `--from`.
fn source(call: &Call, flags: &Flags) -> Result<Object> {
    let unsupported = || Error::user("unsupported resource specified in --from");
    if flags.common.local {
        return Err(unsupported().hint("--local looks at no object that is stored"));
    }
    let resource::Wanted::Named(items) = resource::wanted(std::slice::from_ref(&flags.from))?
    else {
        return Err(unsupported());
    };
    let (kind, name) = items.into_iter().next().ok_or_else(unsupported)?;
    call.engine.get_object(kind, &call.namespace, &name)
}

/// A variable for each key.
fn keys_of(object: &Object, wanted: &[String]) -> Vec<EnvVar> {
    let name = object.name();
    let keys: Vec<&String> = match object {
        Object::ConfigMap(map) => map.data.iter().flat_map(BTreeMap::keys).collect(),
        Object::Secret(secret) => secret.data.iter().flat_map(BTreeMap::keys).collect(),
        _ => Vec::new(),
    };
    let keys = keys.into_iter().filter(|key| wanted.is_empty() || wanted.contains(key));
    let source = |key: &str| match object {
        Object::Secret(_) => EnvVarSource {
            secret_key_ref: Some(SecretKeySelector {
                key: key.to_owned(),
                name: name.to_owned(),
                optional: None,
            }),
            ..EnvVarSource::default()
        },
        _ => EnvVarSource {
            config_map_key_ref: Some(ConfigMapKeySelector {
                key: key.to_owned(),
                name: name.to_owned(),
                optional: None,
            }),
            ..EnvVarSource::default()
        },
    };
    keys.map(|key| EnvVar {
        name: key.to_uppercase().replace(|c: char| !c.is_ascii_alphanumeric(), "_"),
        value: None,
        value_from: Some(source(key)),
    })
    .collect()
}

fn change(pod: &mut Pod, flags: &Flags, changes: &Changes) -> Result<()> {
    let name = pod.metadata.name.clone().unwrap_or_default();
    let found = named(pod, &flags.containers);
    if found.is_empty() {
        let pattern = &flags.containers;
        tell(&format!("Warning: Pod/{name} does not have any containers matching {pattern:?}"));
    }
    for container in found {
        if !flags.overwrite {
            refuse_overwriting(container, changes)
                .map_err(|error| Error::user(format!("pod/{name} {error}")))?;
        }
        apply(container, changes);
    }
    Ok(())
}

fn refuse_overwriting(container: &Container, changes: &Changes) -> Result<()> {
    for new in &changes.set {
        let there = container.env.iter().flatten().find(|there| there.name == new.name);
        let Some(there) = there.filter(|there| there.value != new.value) else { continue };
        let value = there.value.as_deref().unwrap_or_default();
        let text =
            format!("'{}' already has a value ({value}), and --overwrite is false", new.name);
        return Err(Error::user(text));
    }
    Ok(())
}

fn apply(container: &mut Container, changes: &Changes) {
    let mut variables = container.env.take().unwrap_or_default();
    for new in &changes.set {
        match variables.iter_mut().find(|variable| variable.name == new.name) {
            Some(there) => *there = new.clone(),
            None => variables.push(new.clone()),
        }
    }
    variables.retain(|variable| !changes.remove.contains(&variable.name));
    container.env = Some(variables).filter(|variables| !variables.is_empty());
}

fn list(call: &Call, flags: &Flags, (words, changes): (&[String], &Changes)) -> Outcome {
    let (objects, mut failed) = chosen(&flags.common, words).objects(call, flags.common.local)?;
    for object in objects {
        let mut pod = pod_of(object)?;
        change(&mut pod, flags, changes)?;
        let (before, mut unresolved) = (pod.clone(), false);
        let name = before.metadata.name.as_deref().unwrap_or_default();
        for container in named(&mut pod, &flags.containers) {
            let mut text = format!("# Pod {name}, container {}\n", container.name);
            for variable in container.env.iter().flatten() {
                match (&variable.value_from, flags.resolve) {
                    (Some(source), true) => match resolved(call, &before, container, source) {
                        Ok(value) => text += &format!("{}={value}\n", variable.name),
                        Err(error) => {
                            text += &format!("# {} from {}\n", variable.name, described(source));
                            let of = &variable.name;
                            tell(&format!("error retrieving reference for {of}: {error}"));
                            unresolved = true;
                        }
                    },
                    (Some(source), false) => {
                        text += &format!("# {} from {}\n", variable.name, described(source));
                    }
                    (None, _) => {
                        let value = variable.value.as_deref().unwrap_or_default();
                        text += &format!("{}={value}\n", variable.name);
                    }
                }
            }
            print(&text)?;
        }
        if unresolved {
            failed.push(Error::user("failed to retrieve valueFrom references"));
        }
    }
    done(failed)
}

/// Where a value comes from, in kubectl's words.
fn described(source: &EnvVarSource) -> String {
    if let Some(it) = &source.config_map_key_ref {
        return format!("configmap {}, key {}", it.name, it.key);
    }
    if let Some(it) = &source.secret_key_ref {
        return format!("secret {}, key {}", it.name, it.key);
    }
    if let Some(it) = &source.field_ref {
        return format!("field path {}", it.field_path);
    }
    if let Some(it) = &source.resource_field_ref {
        let of = it.container_name.as_deref().filter(|name| !name.is_empty());
        let of = of.map(|name| format!("{name}/")).unwrap_or_default();
        return format!("resource field {of}{}", it.resource);
    }
    "invalid valueFrom".to_owned()
}

/// A value as it is now.
fn resolved(
    call: &Call,
    pod: &Pod,
    container: &Container,
    source: &EnvVarSource,
) -> Result<String> {
    let paths = &call.engine.config.paths;
    let namespace = pod.metadata.namespace.as_deref().unwrap_or(&call.namespace);
    let lacks = |what: &str, key: &str, name: &str| {
        Error::user(format!("key {key} not found in {what} {name}"))
    };
    if let Some(it) = &source.config_map_key_ref {
        let map = objects::config_map(paths, namespace, &it.name)?;
        let map = map.ok_or_else(|| crate::kube::Resource::ConfigMaps.not_found(&it.name))?;
        let value = map.data.as_ref().and_then(|data| data.get(&it.key)).cloned();
        return value.ok_or_else(|| lacks("config map", &it.key, &it.name));
    }
    if let Some(it) = &source.secret_key_ref {
        let secret = objects::secret(paths, namespace, &it.name)?;
        let secret = secret.ok_or_else(|| crate::kube::Resource::Secrets.not_found(&it.name))?;
        let value = secret.data.as_ref().and_then(|data| data.get(&it.key));
        let value = value.map(|value| String::from_utf8_lossy(&value.0).into_owned());
        return value.ok_or_else(|| lacks("secret", &it.key, &it.name));
    }
    if let Some(it) = &source.field_ref {
        return field(pod, &it.field_path);
    }
    match &source.resource_field_ref {
        Some(it) => Ok(describe::resource(container, it).to_string()),
        None => Err(Error::user("invalid valueFrom")),
    }
}

/// What kubectl finds of a pod by itself.
fn field(pod: &Pod, path: &str) -> Result<String> {
    let field = match path {
        "metadata.name" => &pod.metadata.name,
        "metadata.namespace" => &pod.metadata.namespace,
        "metadata.uid" => &pod.metadata.uid,
        _ => {
            let text = format!("unsupported fieldPath: {path}");
            return Err(Error::user(text));
        }
    };
    Ok(field.clone().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_set_and_removed() {
        let mut container = Container::default();
        let set = [("A", "1"), ("B", "x=y"), ("A", "2"), ("C", "")];
        let set = set.map(|(name, value)| variable(name, value)).into();
        apply(&mut container, &Changes { set, remove: vec!["B".to_owned()] });
        let shown = container.env.iter().flatten();
        let shown = shown.map(|one| (one.name.as_str(), one.value.as_deref()));
        assert_eq!(shown.collect::<Vec<_>>(), [("A", Some("2")), ("C", Some(""))]);
        apply(&mut container, &Changes { set: vec![], remove: vec!["A".into(), "C".into()] });
        assert_eq!(container.env, None);
    }
}
