//! `podctl completion SHELL`: a script for the shell, on standard output. The scripts ask
//! `podctl __complete WORD…` (see [`super::complete`]), so that names are those there are.

use super::flags::Cli;
use super::{Outcome, print};
use crate::error::Error;
use clap::{Args, CommandFactory, ValueEnum};
use clap_complete::Shell;

/// Flags of `completion`.
#[derive(Args)]
pub struct Flags {
    /// bash, zsh or fish
    #[arg(value_name = "SHELL")]
    shell: Vec<String>,
}

const BASH: &str = r#"# bash completion for podctl
_podctl() {
    local line
    COMPREPLY=()
    while IFS= read -r line; do
        case $line in
            :files) compopt -o default; COMPREPLY=(); return ;;
            */ | *=) compopt -o nospace ;;
        esac
        COMPREPLY+=("$line")
    done < <(podctl __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -F _podctl podctl
"#;

const ZSH: &str = r#"#compdef podctl
# zsh completion for podctl
_podctl() {
    local line
    local -a found
    for line in "${(@f)$(podctl __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
        case $line in
            :files) _files; return ;;
            */ | *=) compadd -S '' -- "$line" ;;
            ?*) found+=("$line") ;;
        esac
    done
    compadd -a found
}
if [ "$funcstack[1]" = "_podctl" ]; then
    _podctl
else
    compdef _podctl podctl
fi
"#;

const FISH: &str = r#"# fish completion for podctl
function __podctl_complete
    set -l words (commandline -opc) (commandline -ct)
    for line in (podctl __complete $words[2..-1] 2>/dev/null)
        if test "$line" = :files
            __fish_complete_path (commandline -ct)
        else
            echo $line
        end
    end
end
complete -c podctl -f -a '(__podctl_complete)'
"#;

/// Runs it.
pub fn run(flags: &Flags) -> Outcome {
    const SEE: &str = "See 'podctl completion -h' for help and examples";
    let script = match flags.shell.as_slice() {
        [] => return Err(Error::user(format!("Shell not specified.\n{SEE}")).into()),
        [shell] => match Shell::from_str(shell, false) {
            Ok(Shell::Bash) => BASH.to_owned(),
            Ok(Shell::Zsh) => ZSH.to_owned(),
            Ok(Shell::Fish) => FISH.to_owned(),
            // Verbs and flags, without names.
            Ok(other) => {
                let mut script = Vec::new();
                clap_complete::generate(other, &mut Cli::command(), "podctl", &mut script);
                String::from_utf8_lossy(&script).into_owned()
            }
            Err(_) => {
                let text = format!("Unsupported shell type {shell:?}.\n{SEE}");
                return Err(Error::user(text).hint("bash, zsh, fish, elvish or powershell").into());
            }
        },
        _ => {
            let text = format!("Too many arguments. Expected only the shell type.\n{SEE}");
            return Err(Error::user(text).into());
        }
    };
    print(&script)?;
    Ok(0)
}
