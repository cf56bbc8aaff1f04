//! What runs: program and environment.

use super::{Input, hostname};
use crate::error::Result;
use crate::image::config;

/// Program and arguments: the container's, or the image's.
pub fn args(input: &Input<'_>) -> Result<Vec<String>> {
    let variables = own_env(input);
    let own = |list: &Option<Vec<String>>| -> Vec<String> {
        list.iter().flatten().map(|text| expand(text, &variables)).collect()
    };
    let (command, args) = (own(&input.container.command), own(&input.container.args));
    config::argv(&input.image.config, &command, &args)
}

/// The environment: the image's, the host name, the container's own, a later value in the place of
/// an earlier one.
pub fn env(input: &Input<'_>) -> Vec<String> {
    let mut own = vec![("HOSTNAME".to_owned(), hostname(input.pod).to_owned())];
    own.extend(own_env(input));
    config::env(&input.image.config, &own)
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
