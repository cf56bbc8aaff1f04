//! What an image's configuration and a pod's values make of a process; pure.
//!
//! The configuration is whatever its author wrote: entries of `Env` that are no `NAME=value` are
//! dropped and never looked up in the caller's environment (CVE-2026-57231), and labels,
//! annotations and volumes mean nothing here (CVE-2026-53488, CVE-2022-23648).

use crate::error::{Error, Result};
use oci_spec::image::{Config, ImageConfiguration};

/// Where programs are looked up when the image says nothing, as containerd has it.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The real-time signals that glibc leaves to programs.
const RT: (i32, i32) = (34, 64);
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// Program and arguments: a pod's `command` replaces the image's entrypoint and its command, `args`
/// only the command.
pub fn argv(
    image: &ImageConfiguration,
    command: &[String],
    args: &[String],
) -> Result<Vec<String>> {
    let list = |of: fn(&Config) -> &Option<Vec<String>>| {
        image.config().as_ref().and_then(|config| of(config).clone()).unwrap_or_default()
    };
    let mut argv = match command {
        [] => list(Config::entrypoint),
        command => command.to_vec(),
    };
    if !args.is_empty() {
        argv.extend_from_slice(args);
    } else if command.is_empty() {
        argv.extend(list(Config::cmd));
    }
    match argv.first() {
        Some(program) if !program.is_empty() => Ok(argv),
        _ => Err(Error::user("no command specified")),
    }
}

/// The environment: the image's, overridden by the pod's by name, each as `NAME=value`.
pub fn env(image: &ImageConfiguration, pod: &[(String, String)]) -> Vec<String> {
    let config = image.config().as_ref();
    let given = config.and_then(|config| config.env().as_deref()).unwrap_or_default();
    let mut env: Vec<(&str, &str)> = vec![("PATH", DEFAULT_PATH)];
    let of_image = given.iter().filter_map(|entry| entry.split_once('='));
    let of_pod = pod.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in of_image.chain(of_pod).filter(|(name, _)| !name.is_empty()) {
        match env.iter_mut().find(|(other, _)| *other == name) {
            Some(entry) => entry.1 = value,
            None => env.push((name, value)),
        }
    }
    env.iter().map(|(name, value)| format!("{name}={value}")).collect()
}

/// The working directory, absolute: the pod's, else the image's, else `/`.
pub fn cwd(image: &ImageConfiguration, pod: Option<&str>) -> String {
    let config = image.config().as_ref();
    let of_image = config.and_then(|config| config.working_dir().as_deref());
    let cwd = pod.filter(|cwd| !cwd.is_empty()).or(of_image).unwrap_or_default();
    format!("/{}", cwd.trim_start_matches('/'))
}

/// The image's USER: empty, or `user[:group]`, each a name or a number ([`super::users`]).
pub fn user(image: &ImageConfiguration) -> &str {
    image.config().as_ref().and_then(|config| config.user().as_deref()).unwrap_or_default()
}

/// The number of the signal that asks the image's program to end; SIGTERM unless it says otherwise.
pub fn stop_signal(image: &ImageConfiguration) -> Result<i32> {
    let config = image.config().as_ref();
    match config.and_then(|config| config.stop_signal().as_deref()).unwrap_or_default() {
        "" => Ok(libc::SIGTERM),
        text => signal(text)
            .ok_or_else(|| Error::user(format!("the image's stop signal {text:?} is unknown"))),
    }
}

/// `SIGTERM`, `TERM`, `15`, `SIGRTMIN+3`, `RTMAX-1`.
pub fn signal(text: &str) -> Option<i32> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let offset = |rest: &str, sign: char| match rest {
        "" => Some(0),
        rest => rest.strip_prefix(sign).and_then(decimal),
    };
    let number = if let Some(rest) = name.strip_prefix("RTMIN") {
        RT.0.checked_add(offset(rest, '+')?)?
    } else if let Some(rest) = name.strip_prefix("RTMAX") {
        RT.1.checked_sub(offset(rest, '-')?)?
    } else if let Some(number) = decimal(text) {
        return (1..=RT.1).contains(&number).then_some(number);
    } else {
        let known = SIGNALS.iter().zip(1..).find(|(known, _)| **known == name);
        return known.map(|(_, number)| number);
    };
    (RT.0..=RT.1).contains(&number).then_some(number)
}

/// Digits only: `parse` would take a sign.
fn decimal(text: &str) -> Option<i32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(config: &str) -> ImageConfiguration {
        let whole = r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]},"config":"#;
        serde_json::from_str(&format!("{whole}{config}}}")).unwrap()
    }

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn command_and_args_replace_entrypoint_and_cmd() {
        let image = image(r#"{"Entrypoint":["e","1"],"Cmd":["c"]}"#);
        for (command, args, wanted) in [
            (&[][..], &[][..], &["e", "1", "c"][..]),
            (&["x"], &[], &["x"]),
            (&[], &["a"], &["e", "1", "a"]),
            (&["x"], &["a"], &["x", "a"]),
        ] {
            let argv = argv(&image, &strings(command), &strings(args)).unwrap();
            assert_eq!(argv, strings(wanted));
        }
        for empty in ["{}", "null", r#"{"Entrypoint":[""]}"#, r#"{"Cmd":null}"#] {
            let error = argv(&self::image(empty), &[], &[]).unwrap_err();
            assert_eq!(error.to_string(), "no command specified", "{empty}");
        }
    }

    #[test]
    fn malformed_env_is_dropped() {
        let image = image(r#"{"Env":["PATH=/bin","HOME","*","=x","A=1","B=a=b","A=2"]}"#);
        let pod = [("B".to_owned(), "pod".to_owned()), ("C".to_owned(), String::new())];
        assert_eq!(env(&image, &pod), ["PATH=/bin", "A=2", "B=pod", "C="]);
        let path = format!("PATH={DEFAULT_PATH}");
        assert_eq!(env(&self::image("{}"), &[]), [path]);
    }

    #[test]
    fn the_working_directory_is_absolute() {
        let image = image(r#"{"WorkingDir":"srv/../x"}"#);
        assert_eq!(cwd(&image, None), "/srv/../x");
        assert_eq!(cwd(&image, Some("")), "/srv/../x");
        assert_eq!(cwd(&image, Some("/pod")), "/pod");
        assert_eq!(cwd(&self::image("{}"), None), "/");
    }

    #[test]
    fn stop_signals_have_many_spellings() {
        for (text, wanted) in [
            ("", 15),
            ("SIGQUIT", 3),
            ("quit", 3),
            ("9", 9),
            ("SIGRTMIN+3", 37),
            ("RTMAX", 64),
            ("SIGRTMAX-14", 50),
        ] {
            let image = image(&format!(r#"{{"StopSignal":"{text}"}}"#));
            assert_eq!(stop_signal(&image).unwrap(), wanted, "{text}");
        }
        for text in ["SIGFOO", "0", "65", "-9", "+9", "RTMIN+31", "RTMIN-1", "15 "] {
            let image = image(&format!(r#"{{"StopSignal":"{text}"}}"#));
            assert!(stop_signal(&image).is_err(), "{text}");
        }
    }
}
