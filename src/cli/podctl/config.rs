//! `podctl config`: what scripts ask of kubectl's. There is one context, this machine; what can be
//! set is its namespace, which is kept in `<lib>/context.json`.

use super::flags::parse_bool;
use super::form::Form;
use super::{Call, Outcome, print};
use crate::cli::output::{self, Format, table::Writer, yaml};
use crate::error::{Context, Error, Kind, Result};
use crate::kube::{self, table::Table};
use crate::pod::{Paths, store};
use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::io::ErrorKind;
use std::path::PathBuf;

/// The name of the one context, its cluster and its user.
const NAME: &str = "podctl";

/// Flags of `config`.
#[derive(Args)]
pub struct Flags {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Show the settings as a kubeconfig
    View {
        /// Accepted for kubectl's sake: there is one context
        #[arg(long)]
        minify: bool,
        /// Accepted for kubectl's sake: nothing lies in other files
        #[arg(long, hide = true)]
        flatten: bool,
        /// Accepted for kubectl's sake: there is one file
        #[arg(long, value_parser = parse_bool, num_args = 0..=1, require_equals = true,
            default_missing_value = "true", hide = true)]
        merge: Option<bool>,
        /// Accepted for kubectl's sake: there are no secrets in it
        #[arg(long, hide = true)]
        raw: bool,
        #[command(flatten)]
        form: Form,
    },
    /// Print the name of the context
    CurrentContext,
    /// List the contexts
    GetContexts {
        /// Context names
        names: Vec<String>,
        /// Leave the headers out
        #[arg(long)]
        no_headers: bool,
        /// Output format: name
        #[arg(short, long, value_name = "FORMAT")]
        output: Option<String>,
    },
    /// List the clusters
    GetClusters,
    /// List the users
    GetUsers,
    /// Accepted for podctl, the one context
    #[command(alias = "use")]
    UseContext {
        /// The context
        name: String,
    },
    /// Set the namespace that commands go by: --current --namespace=NAME
    SetContext {
        /// The context
        name: Option<String>,
        /// The one there is
        #[arg(long)]
        current: bool,
        /// Its cluster: podctl, the one there is
        #[arg(long, value_parser = the_one, hide = true)]
        cluster: Option<String>,
        /// Its user: podctl, the one there is
        #[arg(long, value_parser = the_one, hide = true)]
        user: Option<String>,
    },
}

#[derive(Default, Serialize, Deserialize)]
struct Settings {
    namespace: Option<String>,
}

fn file(paths: &Paths) -> PathBuf {
    paths.lib.join("context.json")
}

/// The namespace that commands without `-n` are about, if one was set.
pub fn namespace(paths: &Paths) -> Result<Option<String>> {
    Ok(store::read_json::<Settings>(&file(paths))?.and_then(|settings| settings.namespace))
}

/// `--context`: another cluster's commands are not for this machine.
pub fn context(name: &str) -> std::result::Result<String, String> {
    if name == NAME { Ok(name.to_owned()) } else { Err(format!("context {name:?} does not exist")) }
}

fn the_one(name: &str) -> std::result::Result<String, String> {
    if name == NAME { Ok(name.to_owned()) } else { Err(format!("there is only {NAME:?}")) }
}

/// Runs it.
pub fn run(call: &Call, flags: &Flags) -> Outcome {
    match &flags.what {
        What::View { form, .. } => {
            let context = json!({"cluster": NAME, "namespace": call.namespace, "user": NAME});
            let config = json!({
                "apiVersion": "v1", "kind": "Config", "preferences": {},
                "clusters": [{"name": NAME, "cluster": {"server": ""}}],
                "contexts": [{"name": NAME, "context": context}],
                "current-context": NAME, "users": [{"name": NAME, "user": {}}],
            });
            print(&match form.format()? {
                Format::Table => yaml::document(&config),
                format => output::one(&config, &format)?,
            })?;
        }
        What::CurrentContext => print(&format!("{NAME}\n"))?,
        What::GetContexts { names, no_headers, output } => {
            names.iter().try_for_each(|name| known(name))?;
            contexts(call, *no_headers, output.as_deref())?;
        }
        What::GetClusters | What::GetUsers => print(&format!("NAME\n{NAME}\n"))?,
        What::UseContext { name } => {
            known(name)?;
            print(&format!("Switched to context {NAME:?}.\n"))?;
        }
        What::SetContext { name, current, .. } => {
            match name {
                Some(name) => known(name)?,
                None if *current => {}
                None => {
                    let text = "you must specify a non-empty context name or --current";
                    return Err(Error::user(text).into());
                }
            }
            set(call)?;
            print(&format!("Context {NAME:?} modified.\n"))?;
        }
    }
    Ok(0)
}

fn set(call: &Call) -> Result<()> {
    if !call.namespace_given {
        return Ok(());
    }
    kube::namespace_name(&call.namespace)?;
    let paths = &call.engine.config.paths;
    if call.namespace == "default" {
        // As if nothing had been set.
        return match std::fs::remove_file(file(paths)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed.doing(|| "forget the namespace"),
        };
    }
    store::make_private_dir(&paths.lib)?;
    store::write_json(&file(paths), &Settings { namespace: Some(call.namespace.clone()) })
}

fn known(name: &str) -> Result<()> {
    if name == NAME {
        return Ok(());
    }
    let error = Error::new(Kind::User, format!("no context exists with the name: {name:?}"));
    Err(error.hint(format!("the one context there is, this machine, is {NAME:?}")))
}

fn contexts(call: &Call, no_headers: bool, output: Option<&str>) -> Result<()> {
    if output == Some("name") {
        return print(&format!("{NAME}\n"));
    }
    let namespace = if call.namespace == "default" { "" } else { &call.namespace };
    let headers = ["CURRENT", "NAME", "CLUSTER", "AUTHINFO", "NAMESPACE"].map(str::to_owned);
    let rows = vec![["*", NAME, NAME, NAME, namespace].map(str::to_owned).to_vec()];
    let table = Table { headers: headers.to_vec(), rows };
    let mut writer = Writer::default();
    print(&match no_headers {
        true => writer.rows(&table),
        false => writer.table(&table),
    })
}
