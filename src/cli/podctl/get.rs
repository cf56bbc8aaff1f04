//! `podctl get`: what there is, once or as it changes.

mod watch;

use super::chosen::Chosen;
use super::form::Form;
use super::resource::{self, Wanted};
use super::selection::Selection;
use super::write::Files;
use super::{Call, Outcome, done, print, tell};
use crate::cli::output::{
    self, Asked, Format, sort,
    table::{Writer, text},
};
use crate::error::{Error, Result};
use crate::kube::table::{self, Columns, Table};
use crate::kube::{Object, Resource};
use crate::pod::Detail;
use clap::Args;
use k8s_openapi::jiff::Timestamp;

const NO_TYPE: &str = "You must specify the type of resource to get. Use \"podctl api-resources\" \
                       for a complete list of supported resources.\n";

/// Flags of `get`.
#[derive(Args)]
pub struct Flags {
    /// Kinds (pods, po,cm, all), a kind and names, or KIND/NAME…
    #[arg(value_name = "TYPE [NAME]")]
    words: Vec<String>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    form: Form,
    /// Objects of all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Only objects with these labels: app=nginx,env!=prod,tier in (a,b),!old
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    selector: Option<String>,
    /// Only objects with these fields: status.phase=Running,metadata.name!=web
    #[arg(long, value_name = "SELECTOR")]
    field_selector: Option<String>,
    /// Show all labels
    #[arg(long)]
    show_labels: bool,
    /// Show these labels as columns
    #[arg(short = 'L', long, value_name = "LABEL", value_delimiter = ',')]
    label_columns: Vec<String>,
    /// Show the kind before the name
    #[arg(long)]
    show_kind: bool,
    /// Order by this field, a JSONPath
    #[arg(long, value_name = "PATH")]
    sort_by: Option<String>,
    /// Go on with every change
    #[arg(short, long)]
    watch: bool,
    /// Every change, without what there is
    #[arg(long)]
    watch_only: bool,
    /// With --watch: say what happened to each object
    #[arg(long)]
    output_watch_events: bool,
    /// Leave the headers out
    #[arg(long)]
    no_headers: bool,
    /// An object that is not there is no error
    #[arg(long)]
    ignore_not_found: bool,
    /// Accepted for kubectl's sake: there is no server to spare
    #[arg(long, value_name = "N", allow_negative_numbers = true, hide = true)]
    chunk_size: Option<i64>,
    /// Accepted for kubectl's sake: columns are made here
    #[arg(long, value_parser = super::flags::parse_bool, num_args = 0..=1, require_equals = true,
        default_missing_value = "true", hide = true)]
    server_print: Option<bool>,
    /// A part of the objects: status, which they have in them
    #[arg(long, value_name = "NAME", value_parser = parse_subresource, hide = true)]
    subresource: Option<String>,
    /// Refused: there is no server to send a URI to
    #[arg(long, value_name = "URI", hide = true)]
    raw: Option<String>,
}

/// What kubectl 1.32 has; only the first is a part of what there is here.
fn parse_subresource(text: &str) -> std::result::Result<String, String> {
    match text {
        "status" => Ok(text.to_owned()),
        _ => Err("must be status".to_owned()),
    }
}

/// What a command line asks for.
struct Asking {
    wanted: Wanted,
    /// Rows say their kind: several were asked for.
    with_kind: bool,
    /// A single object, shown as itself and not in a list.
    single: bool,
}

/// Runs it.
pub fn run(call: &Call, flags: &Flags) -> Outcome {
    if let Some(uri) = &flags.raw {
        let text = format!("--raw={uri}: there is no server that answers URIs");
        return Err(Error::user(text).hint("podctl get --help lists what there is").into());
    }
    let format = flags.form.format()?;
    let mut asking = asking(flags)?;
    if flags.watch || flags.watch_only {
        return watch::run(call, flags, &format, &asking);
    }
    if is_pod_table(flags, &format, &asking)? {
        return pod_table(call, flags, (&format, &asking));
    }
    let (mut objects, mut failed) = find(call, flags, &format, &asking)?;
    if flags.files.given()? {
        asking.single = objects.len() == 1;
        asking.with_kind = objects.windows(2).any(|pair| match pair {
            [a, b] => a.resource() != b.resource(),
            _ => false,
        });
    }
    if let Some(path) = flags.sort_by.as_ref().filter(|path| !path.is_empty()) {
        objects = sorted(objects, path)?;
    }
    if flags.ignore_not_found {
        failed.retain(|error| !resource::is_missing(error));
    }
    show(call, flags, (&format, &asking), &objects, failed.is_empty())?;
    done(failed)
}

/// Whether pods are listed, in their own order, with no more of each than its row.
fn is_pod_table(flags: &Flags, format: &Format, asking: &Asking) -> Result<bool> {
    let pods = matches!(&asking.wanted, Wanted::All(kinds) if kinds == &[Resource::Pods]);
    let table = matches!(format, Format::Table | Format::Wide);
    Ok(pods && table && flags.sort_by.is_none() && !flags.files.given()?)
}

/// Each pod becomes its row as soon as it is read.
fn pod_table(call: &Call, flags: &Flags, (format, asking): (&Format, &Asking)) -> Outcome {
    let namespace = (!flags.all_namespaces).then_some(call.namespace.as_str());
    let (labels, fields) = (flags.selector.as_deref(), flags.field_selector.as_deref());
    let selection = Selection::parse(Resource::Pods, labels, fields)?;
    let (columns, now) = (columns(flags, format, asking), Timestamp::now());
    let row = |pod| {
        let object = Object::Pod(Box::new(pod));
        selection.matches(&object).then(|| table::row(&object, &columns, now))
    };
    let rows = call.engine.map_pods(namespace, Detail::Brief, &row)?;
    let rows: Vec<Vec<String>> = rows.into_iter().flatten().collect();
    if rows.is_empty() {
        return show(call, flags, (format, asking), &[], true).map(|()| 0).map_err(Into::into);
    }
    let headers = table::headers(Resource::Pods, &columns);
    print(&text(&Table { headers, rows }, flags.no_headers))?;
    Ok(0)
}

fn asking(flags: &Flags) -> Result<Asking> {
    if flags.files.given()? {
        if !flags.words.is_empty() {
            return Err(Error::user(
                "when paths, URLs, or stdin is provided as input, you may not specify a resource \
                 by arguments as well",
            ));
        }
        // What they are shows when they are found.
        let wanted = Wanted::Named(Vec::new());
        return Ok(Asking { wanted, with_kind: false, single: false });
    }
    if flags.words.is_empty() {
        tell(NO_TYPE);
        return Err(Error::user(
            "Required resource not specified.\nUse \"podctl explain <resource>\" for a detailed \
             description of that resource (e.g. podctl explain pods).\nSee 'podctl get -h' for \
             help and examples",
        ));
    }
    let wanted = resource::wanted(&flags.words)?;
    let with_kind = flags.show_kind || resource::several_kinds(&flags.words);
    let Wanted::Named(items) = &wanted else {
        return Ok(Asking { wanted, with_kind, single: false });
    };
    if flags.selector.is_some() || flags.field_selector.is_some() {
        return Err(Error::user("name cannot be provided when a selector is specified"));
    }
    if flags.all_namespaces {
        return Err(Error::user("a resource cannot be retrieved by name across all namespaces"));
    }
    let single = items.len() == 1;
    Ok(Asking { wanted, with_kind, single })
}

/// The objects asked for, and the errors about those that are not there.
fn find(
    call: &Call,
    flags: &Flags,
    format: &Format,
    asking: &Asking,
) -> Result<(Vec<Object>, Vec<Error>)> {
    if flags.files.given()? {
        return Chosen { files: &flags.files, ..Chosen::NONE }.objects(call, false);
    }
    let kinds = match &asking.wanted {
        Wanted::Named(items) => return Ok(resource::found(call, items)),
        Wanted::All(kinds) => kinds,
    };
    let namespace = (!flags.all_namespaces).then_some(call.namespace.as_str());
    let (labels, fields) = (flags.selector.as_deref(), flags.field_selector.as_deref());
    // A table has no more than that.
    let brief =
        matches!(format, Format::Table | Format::Wide | Format::Name) && flags.sort_by.is_none();
    let mut objects = Vec::new();
    for kind in kinds {
        let selection = Selection::parse(*kind, labels, fields)?;
        let mut found = match kind {
            Resource::Pods if brief => {
                let pods = call.engine.list_brief(namespace)?.into_iter();
                pods.map(|pod| Object::Pod(Box::new(pod))).collect()
            }
            kind => call.engine.list_objects(*kind, namespace)?,
        };
        found.retain(|object| selection.matches(object));
        objects.append(&mut found);
    }
    Ok((objects, Vec::new()))
}

fn sorted(objects: Vec<Object>, path: &str) -> Result<Vec<Object>> {
    let values: Vec<_> = objects.iter().map(output::value).collect::<Result<_>>()?;
    let order = sort::order(&values, path)?;
    let mut objects: Vec<Option<Object>> = objects.into_iter().map(Some).collect();
    Ok(order.into_iter().filter_map(|index| objects.get_mut(index)?.take()).collect())
}

fn show(
    call: &Call,
    flags: &Flags,
    (format, asking): (&Format, &Asking),
    objects: &[Object],
    none_failed: bool,
) -> Result<()> {
    match format {
        Format::Table | Format::Wide if objects.is_empty() => {
            if none_failed && !flags.ignore_not_found {
                let namespaced = match &asking.wanted {
                    Wanted::All(kinds) => kinds.iter().all(|kind| kind.namespaced()),
                    Wanted::Named(items) => items.iter().all(|(kind, _)| kind.namespaced()),
                };
                let namespace =
                    (!flags.all_namespaces && namespaced).then_some(call.namespace.as_str());
                tell(&output::none_found(namespace));
            }
            Ok(())
        }
        Format::Table | Format::Wide => {
            print(&tables(objects, &columns(flags, format, asking), flags.no_headers))
        }
        Format::Columns(custom) if flags.no_headers => {
            let values: Vec<_> = objects.iter().map(output::value).collect::<Result<_>>()?;
            print(&Writer::default().rows(&custom.table(&values)?))
        }
        _ if objects.is_empty() && asking.single => Ok(()),
        _ => {
            let asked = if asking.single { Asked::One } else { Asked::Many };
            print(&output::objects(objects, format, asked)?)
        }
    }
}

/// A table for each run of objects of one kind, with an empty line between.
fn tables(objects: &[Object], columns: &Columns, no_headers: bool) -> String {
    let now = Timestamp::now();
    let groups = objects.chunk_by(|a, b| a.resource() == b.resource());
    let texts = groups.map(|group| {
        let kind = group.first().map_or(Resource::Pods, Object::resource);
        text(&table::objects(kind, group, columns, now), no_headers)
    });
    texts.collect::<Vec<_>>().join("\n")
}

fn columns(flags: &Flags, format: &Format, asking: &Asking) -> Columns {
    Columns {
        wide: *format == Format::Wide,
        namespace: flags.all_namespaces,
        with_kind: asking.with_kind,
        labels: flags.label_columns.clone(),
        all_labels: flags.show_labels,
    }
}
