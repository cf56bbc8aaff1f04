//! `podctl auth`: who may do what. Root may do everything, nobody else anything.

use super::form::Form;
use super::{Outcome, print, tell};
use crate::cli::output::{self, Format, table::text};
use crate::error::Error;
use crate::kube::Resource;
use crate::kube::table::Table;
use clap::{Args, Subcommand};
use serde_json::json;

/// Flags of `auth`.
#[derive(Args)]
pub struct Flags {
    #[command(subcommand)]
    question: Question,
}

#[derive(Subcommand)]
enum Question {
    /// May I?
    #[command(name = "can-i")]
    CanI(CanI),
    /// Who am I?
    Whoami(Whoami),
}

#[derive(Args)]
struct Whoami {
    #[command(flatten)]
    form: Form,
}

#[derive(Args)]
struct CanI {
    /// The verb, and a kind or KIND/NAME
    #[arg(value_name = "VERB [TYPE]")]
    words: Vec<String>,
    /// Say nothing, only exit with 0 or 1
    #[arg(short, long)]
    quiet: bool,
    /// List everything that may be done
    #[arg(long)]
    list: bool,
    /// In all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Leave the headers of --list out
    #[arg(long)]
    no_headers: bool,
    /// A part of the kind: log, exec
    #[arg(long, value_name = "NAME")]
    subresource: Option<String>,
}

/// Runs it.
pub fn run(flags: &Flags) -> Outcome {
    let is_root = nix::unistd::geteuid().is_root();
    match &flags.question {
        Question::CanI(asked) => can_i(asked, is_root),
        Question::Whoami(asked) => who_am_i(asked, is_root),
    }
}

fn who_am_i(asked: &Whoami, is_root: bool) -> Outcome {
    let (user, group) = if is_root { ("root", "system:masters") } else { ("nobody", "") };
    match asked.form.format()? {
        Format::Table | Format::Wide => {
            let rows = [["Username", user], ["Groups", &format!("[{group}]")]];
            let rows = rows.iter().map(|row| row.map(str::to_owned).to_vec()).collect();
            let headers = ["ATTRIBUTE", "VALUE"].map(str::to_owned).to_vec();
            print(&text(&Table { headers, rows }, false))?;
        }
        format => {
            let review = json!({
                "apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview",
                "metadata": {}, "status": {"userInfo": {"groups": [group], "username": user}},
            });
            print(&output::one(&review, &format)?)?;
        }
    }
    Ok(0)
}

fn can_i(asked: &CanI, is_root: bool) -> Outcome {
    if asked.list {
        let row = |cells: [&str; 4]| cells.map(str::to_owned).to_vec();
        let headers = row(["Resources", "Non-Resource URLs", "Resource Names", "Verbs"]);
        let verbs = if is_root { "[*]" } else { "[]" };
        let rows = vec![row(["*.*", "[]", "[]", verbs])];
        print(&text(&Table { headers, rows }, asked.no_headers))?;
        return Ok(0);
    }
    let [_, kind] = asked.words.as_slice() else {
        let text = "you must specify two arguments: verb resource or verb resource/resourceName.\n\
                    See 'podctl auth can-i -h' for help and examples.";
        return Err(Error::user(text).into());
    };
    let bare = kind.split('/').next().unwrap_or_default();
    if bare != "*" && Resource::parse(bare).is_none() {
        tell(&format!("Warning: the server doesn't have a resource type '{bare}'\n"));
    }
    if !asked.quiet {
        print(if is_root { "yes\n" } else { "no\n" })?;
    }
    Ok(u8::from(!is_root))
}
