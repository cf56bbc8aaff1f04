//! What runs: program, environment, working directory.

use super::{Input, hostname};
use crate::error::{Error, Result};
use std::path::PathBuf;

/// The search path of an image that names none.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Program and arguments. A command replaces the image's entrypoint and its arguments; arguments
/// alone replace the image's.
pub fn args(input: &Input<'_>) -> Result<Vec<String>> {
    let image = input.image.config().as_ref();
    let of_image = |list: Option<Vec<String>>| list.unwrap_or_default();
    let variables = own_env(input);
    let own = |list: &Option<Vec<String>>| -> Vec<String> {
        list.iter().flatten().map(|text| expand(text, &variables)).collect()
    };
    let (command, arguments) = (own(&input.container.command), own(&input.container.args));
    let mut args = if command.is_empty() {
        of_image(image.and_then(|config| config.entrypoint().clone()))
    } else {
        command.clone()
    };
    args.extend(if command.is_empty() && arguments.is_empty() {
        of_image(image.and_then(|config| config.cmd().clone()))
    } else {
        arguments
    });
    // containerd's words.
    if args.is_empty() { Err(Error::user("no command specified")) } else { Ok(args) }
}

/// The environment: what every container has, then the image's, then its own, a later value in the
/// place of an earlier one. An image's entry without `=` is dropped (CVE-2026-57231).
pub fn env(input: &Input<'_>) -> Vec<String> {
    let image = input.image.config().as_ref().and_then(|config| config.env().clone());
    let image = image.unwrap_or_default();
    let of_image = image.iter().filter_map(|entry| entry.split_once('='));
    let own = own_env(input);
    let base = [("PATH", PATH), ("HOSTNAME", hostname(input.pod))];
    let all = base
        .into_iter()
        .chain(of_image.filter(|(name, _)| !name.is_empty()))
        .chain(own.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let mut env: Vec<(&str, &str)> = Vec::new();
    for (name, value) in all {
        match env.iter_mut().find(|(known, _)| *known == name) {
            Some(known) => known.1 = value,
            None => env.push((name, value)),
        }
    }
    env.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

/// The working directory: the container's, the image's, `/`.
pub fn cwd(input: &Input<'_>) -> PathBuf {
    let given = input.container.working_dir.clone().filter(|dir| !dir.is_empty());
    let image = || input.image.config().as_ref().and_then(|config| config.working_dir().clone());
    // Joining makes a relative one of an image start at the root.
    PathBuf::from("/").join(given.or_else(image).unwrap_or_default())
}

/// The container's `env`, each value with the variables before it put in.
fn own_env(input: &Input<'_>) -> Vec<(String, String)> {
    let mut env: Vec<(String, String)> = Vec::new();
    for variable in input.container.env.iter().flatten() {
        let value = expand(variable.value.as_deref().unwrap_or_default(), &env);
        env.push((variable.name.clone(), value));
    }
    env
}

/// Puts in `$(NAME)` where NAME is known, and leaves it as it stands where not; `$$` is a dollar.
pub(in crate::pod) fn expand(text: &str, variables: &[(String, String)]) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        let reference = after.strip_prefix('(').and_then(|after| after.split_once(')'));
        rest = match (reference, after.strip_prefix('$')) {
            (_, Some(after)) => {
                expanded.push('$');
                after
            }
            (Some((name, after)), _) => {
                match variables.iter().rev().find(|(known, _)| known == name) {
                    Some((_, value)) => expanded.push_str(value),
                    None => expanded.extend(["$(", name, ")"]),
                }
                after
            }
            _ => {
                expanded.push('$');
                after
            }
        };
    }
    expanded + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_put_in_as_kubernetes_does() {
        let variables = [("A".to_owned(), "1".to_owned()), ("B".into(), "$(A)".into())];
        let cases = [
            ("", ""),
            ("plain", "plain"),
            ("$(A)-$(A)", "1-1"),
            ("$(B)", "$(A)"),
            ("$(NONE)", "$(NONE)"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$A $( $(A", "$A $( $(A"),
            ("100$", "100$"),
            ("$$$$", "$$"),
        ];
        for (text, expected) in cases {
            assert_eq!(expand(text, &variables), expected, "{text}");
        }
    }
}
