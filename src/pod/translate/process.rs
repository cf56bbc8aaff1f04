//! What runs: program and environment.

use super::Input;
use super::names;
use crate::error::{Error, Result};
use crate::image::config;
use std::collections::BTreeSet;

/// Program and arguments: the container's, or the image's.
pub fn args(input: &Input<'_>) -> Result<Vec<String>> {
    let own = |list: &Option<Vec<String>>| -> Vec<String> {
        list.iter().flatten().map(|text| expand(text, input.env)).collect()
    };
    let (command, args) = (own(&input.container.command), own(&input.container.args));
    config::argv(&input.image.config, &command, &args)
}

/// The environment: the image's, the name that the kernel has, the container's own, a later value in
/// the place of an earlier one.
pub fn env(input: &Input<'_>) -> Result<Vec<String>> {
    let hostname = match names::is_on_host_network(input.pod) {
        true => names::hostname(input.pod).to_owned(),
        false => names::kernel_hostname(input.pod)?,
    };
    let mut own = vec![("HOSTNAME".to_owned(), hostname)];
    if input.container.tty == Some(true) {
        own.push(("TERM".to_owned(), "xterm".to_owned()));
    }
    own.extend_from_slice(input.env);
    Ok(config::env(&input.image.config, &own))
}

/// As [`expand`], but each NAME has to have a value.
pub(in crate::pod) fn expand_strictly(
    text: &str,
    variables: &[(String, String)],
) -> Result<String> {
    let known =
        |name: &str| variables.iter().any(|(known, value)| known == name && !value.is_empty());
    let mut missing = BTreeSet::new();
    // A dollar that stands for itself begins no reference.
    for part in text.replace("$$", "").split("$(").skip(1) {
        if let Some((name, _)) = part.split_once(')')
            && !known(name)
        {
            missing.insert(name.to_owned());
        }
    }
    if !missing.is_empty() {
        let missing: Vec<String> = missing.into_iter().collect();
        return Err(Error::user(format!("missing value for {}", missing.join(", "))));
    }
    Ok(expand(text, variables))
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
        assert_eq!(expand_strictly("$(A)/$$(C)", &variables).unwrap(), "1/$(C)");
        let error = expand_strictly("$(D)-$(C)-$(A)", &variables).unwrap_err();
        assert_eq!(error.to_string(), "missing value for C, D");
    }
}
