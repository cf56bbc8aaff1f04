//! `podctl get pods`: what there is, once or as it changes.

use super::resource::{self, Target};
use super::{Call, Outcome, done, files, print, tell};
use crate::cli::output::{self, Asked, Format, table::Writer};
use crate::error::{Error, Result};
use crate::kube::table::{self, Columns};
use crate::kube::{Pod, Selector};
use crate::pod::Change;
use clap::Args;
use k8s_openapi::jiff::Timestamp;

/// Flags of `get`.
#[derive(Args)]
pub struct Flags {
    /// pods, pods NAME… or pod/NAME…
    #[arg(value_name = "TYPE [NAME]")]
    words: Vec<String>,
    /// The pods of these manifests
    #[arg(short, long = "filename", value_name = "FILE")]
    filename: Vec<String>,
    /// Output format: wide, yaml, json or name
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<String>,
    /// Pods of all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Only pods with these labels: app=nginx,env!=prod
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    selector: Option<String>,
    /// Show all labels
    #[arg(long)]
    show_labels: bool,
    /// Show these labels as columns
    #[arg(short = 'L', long, value_name = "LABEL", value_delimiter = ',')]
    label_columns: Vec<String>,
    /// Go on with every change
    #[arg(short, long)]
    watch: bool,
    /// Leave the headers out
    #[arg(long)]
    no_headers: bool,
    /// A pod that is not there is no error
    #[arg(long)]
    ignore_not_found: bool,
}

/// Runs it.
pub fn run(call: &Call, flags: &Flags) -> Outcome {
    let format = Format::parse(flags.output.as_deref())?;
    let names = names(call, flags)?;
    if flags.watch {
        return watch(call, flags, format, names.as_deref());
    }
    let (pods, mut failed) = match &names {
        Some(names) => resource::named(call, names),
        None => {
            let selector = flags.selector.as_deref();
            let shows_rows = matches!(format, Format::Table | Format::Wide | Format::Name);
            let list = if shows_rows { resource::list_brief } else { resource::list };
            (list(call, flags.all_namespaces, selector)?, Vec::new())
        }
    };
    if flags.ignore_not_found {
        failed.retain(|error| !resource::is_missing(error));
    }
    show(call, flags, format, &pods, names.as_deref())?;
    done(failed)
}

fn show(
    call: &Call,
    flags: &Flags,
    format: Format,
    pods: &[Pod],
    names: Option<&[String]>,
) -> Result<()> {
    let one = names.is_some_and(|names| names.len() == 1);
    match format {
        Format::Table | Format::Wide if pods.is_empty() => {
            if names.is_none() {
                let namespace = (!flags.all_namespaces).then_some(call.namespace.as_str());
                tell(&output::none_found(namespace));
            }
            Ok(())
        }
        Format::Table | Format::Wide => {
            let table = table::pods(pods, &columns(flags, format), Timestamp::now());
            let mut writer = Writer::default();
            print(&match flags.no_headers {
                true => writer.rows(&table.rows),
                false => writer.table(&table),
            })
        }
        _ if pods.is_empty() && one => Ok(()),
        _ => print(&output::pods(pods, format, if one { Asked::One } else { Asked::Many })?),
    }
}

/// The names asked for, `None` for all pods.
fn names(call: &Call, flags: &Flags) -> Result<Option<Vec<String>>> {
    if !flags.filename.is_empty() {
        let manifests = files::read(&flags.filename, false)?;
        let name = |manifest: &files::Manifest| manifest.decoded.object.metadata().name.clone();
        return Ok(Some(manifests.iter().filter_map(name).collect()));
    }
    let names = match resource::target(&flags.words)? {
        Target::All => return Ok(None),
        Target::Names(names) => names,
    };
    if flags.selector.is_some() {
        return Err(Error::user("name cannot be provided when a selector is specified"));
    }
    if flags.all_namespaces {
        return Err(Error::user("a resource cannot be retrieved by name across all namespaces"));
    }
    if flags.watch && names.len() > 1 {
        return Err(Error::user("you may only specify a single resource name to watch"));
    }
    if flags.watch && !flags.ignore_not_found {
        names.iter().try_for_each(|name| call.engine.get(&call.namespace, name).map(drop))?;
    }
    Ok(Some(names))
}

fn columns(flags: &Flags, format: Format) -> Columns {
    Columns {
        wide: format == Format::Wide,
        namespace: flags.all_namespaces,
        labels: flags.label_columns.clone(),
        all_labels: flags.show_labels,
    }
}

/// Prints what there is and then every change, one row each, until interrupted.
fn watch(call: &Call, flags: &Flags, format: Format, names: Option<&[String]>) -> Outcome {
    let selector = flags.selector.as_deref().map(Selector::parse).transpose()?;
    let columns = columns(flags, format);
    let mut writer = Writer::default();
    let mut headers = !flags.no_headers;
    let mut seen = |change: Change| {
        let pod = match change {
            Change::Added(pod) | Change::Modified(pod) | Change::Deleted(pod) => pod,
        };
        let name = pod.metadata.name.as_ref();
        let named = names.is_none_or(|names| name.is_some_and(|name| names.contains(name)));
        let labels = pod.metadata.labels.as_ref();
        if !named || selector.as_ref().is_some_and(|selector| !selector.matches(labels)) {
            return Ok(true);
        }
        match format {
            Format::Table | Format::Wide => {
                let table = table::pods([&*pod], &columns, Timestamp::now());
                let with_headers = std::mem::take(&mut headers);
                print(&if with_headers { writer.table(&table) } else { writer.rows(&table.rows) })?;
            }
            Format::Yaml => {
                let text = output::pods(&[*pod], format, Asked::One)?;
                print(&if std::mem::take(&mut headers) { text } else { format!("---\n{text}") })?;
            }
            Format::Json | Format::Name => print(&output::pods(&[*pod], format, Asked::One)?)?,
        }
        Ok(true)
    };
    let namespace = (!flags.all_namespaces).then_some(call.namespace.as_str());
    call.engine.watch(namespace, None, &mut seen)?;
    Ok(0)
}
